//! The brokers of a client, which are asked in turn.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::transport::Channel;

use super::error::Error;
use super::trouble::Trouble;

/// Makes a connection.
pub(super) type Connect = Box<dyn Fn() -> Connecting + Send + Sync>;
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send>>;

/// One of them.
pub(super) struct Broker {
    /// The endpoint as given, for people.
    pub(super) name: String,
    /// Makes a new connection.
    pub(super) connect: Connect,
    /// The channel for single calls. It connects by itself, and again when it has to.
    pub(super) channel: Channel,
    /// The latest reason for which the two sides cannot talk.
    pub(super) trouble: Trouble,
}

/// All brokers of a client; at least one.
pub(super) struct Brokers {
    all: Vec<Broker>,
    /// The one to ask next.
    current: AtomicUsize,
}

impl Broker {
    /// Returns why the two sides cannot talk, if that was found since it was last asked.
    pub(super) fn disagreement(&self) -> Option<Error> {
        self.trouble.take()
    }
}

impl Brokers {
    pub(super) fn new(all: Vec<Broker>) -> Brokers {
        Brokers { all, current: AtomicUsize::new(0) }
    }

    /// Returns the number of brokers.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Returns the number of the broker to ask next.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    pub(super) fn get(&self, number: usize) -> &Broker {
        &self.all[number]
    }

    /// Turns from a broker that was of no use to the next, unless somebody else has turned from it already.
    pub(super) fn turn_from(&self, number: usize) {
        let next = (number + 1) % self.all.len();
        let _ = self.current.compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns the names of all, for people.
    pub(super) fn names(&self) -> Vec<String> {
        self.all.iter().map(|broker| broker.name.clone()).collect()
    }
}

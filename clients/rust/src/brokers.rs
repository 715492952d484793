//! The brokers of a client, which are asked in turn.

use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::transport::Channel;

use super::error::Error;
use super::mutex::lock;
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
    /// The reason for which there is no session with each, if there is none.
    troubles: Mutex<Vec<Option<String>>>,
}

impl Broker {
    /// Returns why the two sides cannot talk, if that was found since it was last asked.
    pub(super) fn disagreement(&self) -> Option<Error> {
        self.trouble.take()
    }
}

impl Brokers {
    pub(super) fn new(all: Vec<Broker>) -> Brokers {
        let troubles = Mutex::new(all.iter().map(|_| None).collect());
        Brokers { all, current: AtomicUsize::new(0), troubles }
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
    pub(super) fn names(&self) -> String {
        self.all.iter().map(|broker| &*broker.name).collect::<Vec<_>>().join(", ")
    }

    /// Notes why there is no session with a broker.
    pub(super) fn trouble_with(&self, number: usize, why: &str) {
        lock(&self.troubles)[number] = Some(why.into());
    }

    /// Forgets all trouble: there is a session.
    pub(super) fn no_trouble(&self) {
        lock(&self.troubles).iter_mut().for_each(|trouble| *trouble = None);
    }

    /// Returns the reasons for which there is no session with any of them; none if there may be one.
    pub(super) fn trouble(&self) -> Option<String> {
        let troubles = lock(&self.troubles);
        let told = self.all.iter().zip(&*troubles).filter_map(|(broker, why)| Some((&broker.name, why.as_ref()?)));
        let told: Vec<String> = told.map(|(name, why)| format!("no session with a broker at {name}: {why}")).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }
}

//! The way to a shard: dialling, comparing, and what happens when a connection breaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::clock::ServerClock;
use super::server::{Payload, Shard};
use super::state_item::Witness;
use super::{Env, News, Output, Turn};
use crate::failure::Cause;
use crate::store::StoreError;
use crate::time::backoff;

/// The mean interval at which a new connection is compared with the old ones while the shard is open.
const COMPARED: Duration = Duration::from_secs(20);
/// The same while it is not, so that two servers show before they grant.
const COMPARED_CLOSED: Duration = Duration::from_secs(1);
/// The first pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest one, before jitter: a lease that waits for a memcached to come back has few seconds left.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// The interval at which a server is tried again that cannot keep locks, and at which it is told how long a shard stays
/// closed.
pub(crate) const COUNTDOWN: Duration = Duration::from_secs(5);

/// A connection to a shard. The driver chooses the number, and none twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One memcached process. Another one has another memory, and a clock of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its id, which alone does not say which it is: in a container it is 1 every time.
    pub pid: u64,
    /// The time of its beginning, in seconds since 1970, by its own wall clock.
    pub began: u64,
}

/// A connection on which the server has said what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dialled {
    /// The connection.
    pub link: LinkId,
    /// Where it leads.
    pub address: SocketAddr,
    /// The process that answers there, if it says which it is.
    pub process: Option<Process>,
    /// The reason why the server cannot keep locks, and what to do; none if it can.
    pub refusal: Option<Arc<str>>,
}

/// The reason why there is no connection to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// The explanation, for the person who reads it.
    pub why: Arc<str>,
    /// The reason, for programs. It says if another try may help, or only the operator.
    pub reason: Cause,
}

/// The way to a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// Cannot be reached, or not yet.
    Down(Arc<str>, Cause),
    /// Reached, but it cannot keep locks.
    Refused(Arc<str>),
    /// At least one connection has said what it leads to.
    Up { address: SocketAddr },
}

impl Shard {
    pub(crate) fn may_compare(&self) -> bool {
        self.comparing.is_none() && self.state.doubt.is_none() && self.state.epoch().is_some()
    }
}

impl<E: Env> Turn<'_, E> {
    pub(crate) fn dial(&mut self, address: Option<SocketAddr>) {
        self.shard.dialling = true;
        let shard = self.shard.index;
        self.output(Output::Dial { shard, address });
    }

    /// Looks on a connection of its own if the shard's address still leads to the same memory.
    pub(crate) fn compare(&mut self) {
        self.shard.comparing = Some(self.shard.state.changes());
        let shard = self.shard.index;
        self.output(Output::Compare { shard });
    }

    pub(crate) fn compared(&mut self, witness: Option<Witness>) {
        let Some(changes) = self.shard.comparing.take() else { return };
        let pause = if self.shard.is_open() { COMPARED } else { COMPARED_CLOSED };
        // At random, so that brokers do not keep step with a balancer that goes round.
        self.shard.next_comparison = self.now + self.env.spread(pause / 2, pause);
        let Some(witness) = witness else { return };
        if self.shard.state.compared(witness, changes, self.now) {
            self.shard.next_check = self.now;
        }
    }

    pub(crate) fn dialled(&mut self, dialled: Result<Dialled, Unreached>) {
        self.shard.dialling = false;
        if self.shard.is_retired {
            return dialled.into_iter().for_each(|dialled| self.hang_up(dialled.link));
        }
        self.shard.tried = true;
        match dialled {
            Ok(dialled) => match dialled.refusal {
                Some(why) => {
                    self.hang_up(dialled.link);
                    self.refused(why);
                }
                None => self.connected(&dialled),
            },
            Err(Unreached { why, reason }) => {
                self.dial_later();
                if self.shard.is_up() && self.shard.connections() > 0 {
                    // An extra connection: the ones that there are go on.
                    return;
                }
                self.in_trouble(format!("memcached cannot be reached: {why}").into());
                self.shard.link = Link::Down(why, reason);
            }
        }
    }

    fn refused(&mut self, why: Arc<str>) {
        if !matches!(&self.shard.link, Link::Refused(known) if *known == why) {
            self.tell(News::CannotKeepLocks(Arc::clone(&why)));
        }
        self.shard.next_dial = self.now + COUNTDOWN;
        self.hang_up_idle();
        self.shard.process += 1;
        self.shard.link = Link::Refused(why);
    }

    fn dial_later(&mut self) {
        let pause = backoff(&mut self.shard.failures, FIRST_PAUSE, LONGEST_PAUSE);
        self.shard.next_dial = self.now + self.env.spread(pause, pause);
    }

    /// Takes note of an answer: only now is it certain that the server is there.
    pub(crate) fn heard(&mut self) {
        self.shard.failures = 0;
        self.shard.heard_at = Some(self.now);
        if let Link::Up { address } = self.shard.link
            && !std::mem::replace(&mut self.shard.well, true)
        {
            self.shard.trouble = "".into();
            self.tell(News::Connected(address));
        }
    }

    fn in_trouble(&mut self, trouble: Arc<str>) {
        self.shard.well = false;
        if self.shard.trouble != trouble {
            self.shard.trouble = Arc::clone(&trouble);
            self.tell(News::Trouble(trouble));
        }
    }

    fn connected(&mut self, dialled: &Dialled) {
        let Dialled { link, address, process, .. } = *dialled;
        let server = process.map(|process| (address, process));
        let known_answers = self.shard.is_up() && self.shard.connections() > 0;
        if known_answers && server.is_some() && self.shard.server != server {
            // Either the one that is known has gone, which its connections will show, or there are two.
            self.shard.next_comparison = self.now;
            self.dial_later();
            return self.hang_up(link);
        }
        if self.shard.server != server || server.is_none() {
            self.shard.process += 1;
            self.hang_up_idle();
            self.shard.server = server;
            self.shard.clock = ServerClock::default();
            self.tell(News::Met(link));
            self.shard.next_check = self.now;
        }
        if !self.shard.is_up() {
            self.shard.next_check = self.now;
        }
        self.shard.link = Link::Up { address };
        self.shard.idle.push(link);
    }

    pub(crate) fn exchange_failed(&mut self, why: &str, payload: Payload) {
        if let Payload::Jobs(batch) = payload {
            let error = format!("memcached {} did not answer: {why}", self.shard.address);
            self.fail_all(batch, &StoreError::uncertain(error));
        }
        // The other connections lead to the same process, and may be as dead.
        self.hang_up_idle();
        self.dial_later();
        if self.shard.is_at_rest() && !self.shard.dialling {
            self.in_trouble(format!("the connection to memcached broke: {why}").into());
            self.shard.link = Link::Down(why.into(), Cause::StoreUnavailable);
        }
    }
}

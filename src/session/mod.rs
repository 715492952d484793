//! A session owns locks and is one stream: a Session with many, or an Acquire or WaitAcquire with one. Its end
//! releases them.

mod broker;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

pub use self::broker::{Ask, Broker, Seen, Standing};
pub use crate::bell::{End, Ended};
pub use crate::keeper::{Settings, Want};

use crate::bell::Bell;
use crate::clock::{Moment, sleep_until};
use crate::keeper::LONGEST_RELEASE;
use crate::lock::lease;
use crate::stream::{Event, Failure, Item, Ledger, LockRef, Outbox, SESSION, Seat};

/// How long late renewals are gathered before the ack that tells of them.
const GATHER: Duration = Duration::from_millis(10);
/// From here on the locks of a Session that have ended are looked for and forgotten.
const SWEEP: usize = 64;

/// The locks of one Session stream. Dropping it without [`Session::close`] ends it by silence.
#[derive(Debug)]
pub struct Session<S> {
    broker: Broker<S>,
    ttl: Duration,
    outbox: Arc<Outbox>,
    ledger: Arc<Ledger>,
    keepers: TaskTracker,
    locks: HashMap<LockRef, Weak<Bell>>,
    sweep_at: usize,
    last_ref: LockRef,
    last_seq: i64,
    last_beat: Moment,
    ack_at: Option<Moment>,
    draining: watch::Receiver<Option<Duration>>,
    _unfinished: TaskTrackerToken,
}

/// What a client may not do on a Session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// `heartbeat.seq` does not rise.
    #[error("must be above every earlier one: {got} after {last}")]
    Seq {
        /// The one before.
        last: i64,
        /// The one that came.
        got: i64,
    },
    /// `begin.lock_ref` does not rise.
    #[error("must be above every earlier one: {got} after {last}")]
    BeginRef {
        /// The one before.
        last: LockRef,
        /// The one that came.
        got: LockRef,
    },
    /// `end.lock_ref` was never begun.
    #[error("has never been begun: {0}")]
    EndRef(LockRef),
}

impl<S: crate::store::LockStore> Session<S> {
    fn open(
        broker: Broker<S>,
        ttl: Duration,
        outbox: Arc<Outbox>,
        draining: watch::Receiver<Option<Duration>>,
    ) -> Session<S> {
        outbox.push(Item::Opened { ttl });
        Session {
            ledger: Arc::new(Ledger::open(Arc::clone(&outbox), ttl)),
            outbox,
            keepers: TaskTracker::new(),
            locks: HashMap::new(),
            sweep_at: SWEEP,
            last_ref: SESSION,
            last_seq: 0,
            last_beat: Moment::now(),
            ack_at: None,
            draining,
            _unfinished: broker.unfinished(),
            ttl,
            broker,
        }
    }

    /// The ttl of all its locks.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A heartbeat has arrived: all locks are renewed, and then it is acknowledged.
    pub fn heartbeat(&mut self, seq: i64) -> Result<(), Breach> {
        if seq <= self.last_seq {
            return Err(Breach::Seq { last: self.last_seq, got: seq });
        }
        self.last_seq = seq;
        let now = Moment::now();
        let lag = now.since(self.last_beat + self.ttl / 3);
        self.broker.metrics().heartbeat_lag.observe(lag);
        self.last_beat = now;
        self.ledger.heartbeat(seq);
        self.locks.values().filter_map(Weak::upgrade).for_each(|bell| bell.ring());
        Ok(())
    }

    /// Takes note of a new lock's handle; [`Session::begin`] or [`Session::turn_back`] follows.
    pub fn take_ref(&mut self, lock_ref: LockRef) -> Result<(), Breach> {
        if lock_ref <= self.last_ref {
            return Err(Breach::BeginRef { last: self.last_ref, got: lock_ref });
        }
        self.last_ref = lock_ref;
        Ok(())
    }

    /// Begins to get a lock. What comes of it is told on the stream.
    pub fn begin(&mut self, lock_ref: LockRef, ask: Ask) {
        let room = match self.broker.admit(&ask, &self.outbox) {
            Ok(room) => room,
            Err(failure) => return self.refuse(lock_ref, failure),
        };
        let bell = Arc::new(Bell::default());
        self.remember(lock_ref, &bell);
        let seat = Seat::Shared { lock_ref, ledger: Arc::clone(&self.ledger), live: self.keepers.token() };
        self.broker.keep(ask, seat, bell, room);
    }

    /// Turns back a lock whose request does not do.
    pub fn turn_back(&self, lock_ref: LockRef, failure: Failure) {
        self.broker.metrics().failed(&failure);
        self.refuse(lock_ref, failure);
    }

    /// Tells the client why a lock was not even tried.
    fn refuse(&self, lock_ref: LockRef, failure: Failure) {
        self.outbox.push(Item::Event(lock_ref, Event::Failed(failure)));
    }

    fn remember(&mut self, lock_ref: LockRef, bell: &Arc<Bell>) {
        if self.locks.len() >= self.sweep_at {
            self.locks.retain(|_, bell| bell.strong_count() > 0);
            self.sweep_at = (2 * self.locks.len()).max(SWEEP);
            self.locks.shrink_to(self.sweep_at);
        }
        self.locks.insert(lock_ref, Arc::downgrade(bell));
    }

    /// Gives up a lock, or the wait for it. Ending what has already ended does nothing.
    pub fn end(&mut self, lock_ref: LockRef) -> Result<(), Breach> {
        if lock_ref > self.last_ref || lock_ref <= SESSION {
            return Err(Breach::EndRef(lock_ref));
        }
        if let Some(bell) = self.locks.remove(&lock_ref).and_then(|bell| bell.upgrade()) {
            bell.end(End::Word);
        }
        Ok(())
    }

    /// Sees to acks and draining, and returns when the client's heartbeats have been missing for so long that it no
    /// longer believes in its locks.
    ///
    /// # Cancel safety
    /// Nothing is lost; call it again.
    pub async fn watch_over(&mut self) {
        loop {
            let silent_at = self.last_beat + lease(self.ttl);
            let owed = self.ledger.owed_since().map(|since| since + self.ttl / 6);
            let ack_at = [owed, self.ack_at].into_iter().flatten().min();
            tokio::select! {
                () = sleep_until(silent_at) => return,
                () = sleep_until(ack_at.unwrap_or(silent_at)), if ack_at.is_some() => {
                    self.ack_at = None;
                    self.ledger.ack_what_there_is();
                }
                () = self.ledger.caught_up_late() => {
                    self.ack_at.get_or_insert(Moment::now() + GATHER);
                }
                // Said once: it never changes again.
                Ok(()) = self.draining.changed() => {
                    let grace = self.draining.borrow_and_update().unwrap_or_default();
                    self.outbox.push(Item::Event(SESSION, Event::Draining { grace }));
                }
            }
        }
    }

    /// Ends the session, by the client's word or by its silence. After a word, returns when everything on it has
    /// been released, or that takes too long, so that the end of the stream tells the client so.
    pub async fn close(self, by_word: bool) {
        for bell in self.locks.values().filter_map(Weak::upgrade) {
            bell.end(if by_word { End::Word } else { End::Silence });
        }
        self.keepers.close();
        if by_word {
            // Too long: the keepers go on by themselves.
            let _ = tokio::time::timeout(LONGEST_RELEASE, self.keepers.wait()).await;
        }
        self.outbox.close();
    }
}

/// Whoever gets dropped without a word was cut off, for instance because its task was: that proves nothing about
/// the client.
impl<S> Drop for Session<S> {
    fn drop(&mut self) {
        for bell in self.locks.values().filter_map(Weak::upgrade) {
            bell.end(End::Silence);
        }
        self.outbox.close();
    }
}

//! A held lock, as its holder sees it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::error::{Error, LostReason};
use super::mutex::lock;
use super::session::{Command, Key};
use super::validity::Validity;
use crate::clock::Moment;

/// A lock that is held until this value is dropped or [released](Guard::release).
///
/// The lock can be lost all the same: when no broker renews it in time, because the network or all brokers are
/// away, or when somebody releases it by its lock id. A holder therefore watches [`lost`](Guard::lost), or looks at
/// [`remaining`](Guard::remaining) before each step that must not be done twice, and hands the
/// [`fencing_token`](Guard::fencing_token) to whatever the lock protects.
///
/// # Dropping
/// The release is sent and not waited for; dropping never blocks.
#[must_use = "dropping the guard releases the lock"]
pub struct Guard {
    name: Arc<str>,
    key: Key,
    fencing_token: i64,
    hold: Arc<Hold>,
    commands: mpsc::UnboundedSender<Command>,
}

impl Guard {
    pub(super) fn new(
        name: Arc<str>,
        key: Key,
        fencing_token: i64,
        hold: Arc<Hold>,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Guard {
        Guard { name, key, fencing_token, hold, commands }
    }

    /// Returns the lock's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names this grant at any broker: see [`Client::release`](super::Client::release). It changes when the client
    /// has to move to another stream, and it is a capability: keep it out of logs.
    pub fn lock_id(&self) -> String {
        self.hold.state().lock_id.clone()
    }

    /// Returns the fencing token. It is greater than that of every earlier grant of the same name, below 2^53, and the
    /// same for as long as this guard lives. What the lock protects should refuse a token below the highest that it
    /// has seen.
    pub fn fencing_token(&self) -> i64 {
        self.fencing_token
    }

    /// Returns the lock's ttl as the broker granted it: for so long the lock outlives a holder that falls silent.
    pub fn ttl(&self) -> Duration {
        self.hold.state().ttl
    }

    /// Returns the time for which the holder may act without hearing from a broker again, counted from now. It ends a
    /// thirtieth of the ttl before the broker could give the lock to anybody else (R6a). It is zero once the lock is
    /// lost. It is zero as well while the stream to the broker is broken and the lock not yet reattached: the broker
    /// may have taken the break for the client's end.
    pub fn remaining(&self) -> Duration {
        let state = self.hold.state();
        if state.lost.is_some() || state.validity().is_broken() {
            return Duration::ZERO;
        }
        state.until().remaining()
    }

    /// Returns the longest time until the lock is lost if no broker is heard any more, counted from now. Other than
    /// [`remaining`](Guard::remaining) it runs on through a broken stream and after a loss, and then nothing adds to it. Within this time, end your
    /// work on what the lock protects.
    pub fn expires_in(&self) -> Duration {
        self.hold.state().until().remaining()
    }

    /// Waits until the lock is lost: a broker says so, or its validity has run out. Never returns while the lock is
    /// held. It answers again whenever it is asked again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn lost(&self) -> LostReason {
        loop {
            // Made before looking, so that no change between the two is missed.
            let changed = self.hold.ended.notified();
            if let Some(loss) = self.hold.state().lost {
                return loss.reason;
            }
            changed.await;
        }
    }

    /// Releases the lock and waits until a broker has confirmed it. If the stream breaks meanwhile, the release is
    /// repeated at whichever broker answers until the lock has run out.
    ///
    /// # Errors
    /// [`Error::Lost`] if the lock had been lost before; [`Error::Unavailable`] if no broker confirmed the release
    /// before the lock ran out.
    ///
    /// # Cancel safety
    /// The release goes on when the future is dropped.
    pub async fn release(self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let lost = |reason| Error::Lost { lock: self.name.to_string(), reason };
        // The drop at the end of this function sends a second one, which finds nothing.
        let _ = self.commands.send(Command::End { key: self.key, reply: Some(reply) });
        match answer.await {
            Ok(result) => result,
            Err(_) => match self.hold.state().lost {
                Some(loss) => Err(lost(loss.reason)),
                None => Err(Error::unavailable(&self.name, "the runtime of the client has been shut down")),
            },
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Fails only if the session has ended, which released everything.
        let _ = self.commands.send(Command::End { key: self.key, reply: None });
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("name", &self.name)
            .field("fencing_token", &self.fencing_token)
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// The state that a guard shares with the session's task.
pub(super) struct Hold {
    state: Mutex<HoldState>,
    /// Notified when `lost` is set.
    ended: Notify,
}

/// The lock's place and state.
pub(super) struct HoldState {
    lock_id: String,
    ttl: Duration,
    /// The validity of the stream that the lock is on.
    stream: Arc<Mutex<Validity>>,
    /// The lock on that stream.
    lock_ref: i64,
    lost: Option<Loss>,
}

/// The loss of the lock.
#[derive(Clone, Copy)]
struct Loss {
    reason: LostReason,
    /// The end of the validity as it was then. What renews the stream's other locks does not move it.
    until: Moment,
}

impl Hold {
    pub(super) fn new(lock_id: String, ttl: Duration, stream: Arc<Mutex<Validity>>, lock_ref: i64) -> Hold {
        let state = HoldState { lock_id, ttl, stream, lock_ref, lost: None };
        Hold { state: Mutex::new(state), ended: Notify::new() }
    }

    /// Returns the lock's state. First marks a lock that has run out as lost, so that nothing later can revive it.
    fn state(&self) -> MutexGuard<'_, HoldState> {
        let mut state = lock(&self.state);
        if state.lost.is_none() && state.until().has_passed() {
            state.lose(LostReason::Expired);
            self.ended.notify_waiters();
        }
        state
    }

    /// Ends the hold, unless it has ended.
    pub(super) fn lose(&self, reason: LostReason) {
        lock(&self.state).lose(reason);
        self.ended.notify_waiters();
    }

    /// Returns the lock id, if the lock is not lost.
    pub(super) fn lock_id(&self) -> Option<String> {
        let state = self.state();
        state.lost.is_none().then(|| state.lock_id.clone())
    }

    /// Returns the end of the lock's validity, by what its stream said last.
    pub(super) fn until(&self) -> Moment {
        self.state().until()
    }

    /// Moves the hold to another stream, where it has been reattached. False if that came too late: the lock is
    /// lost, or the new stream is not valid either.
    pub(super) fn reattach(&self, lock_id: String, ttl: Duration, stream: &Arc<Mutex<Validity>>, to: i64) -> bool {
        let mut state = self.state();
        if state.lost.is_some() || lock(stream).until(to).has_passed() {
            return false;
        }
        *state = HoldState { lock_id, ttl, stream: Arc::clone(stream), lock_ref: to, lost: None };
        true
    }
}

impl HoldState {
    fn validity(&self) -> MutexGuard<'_, Validity> {
        lock(&self.stream)
    }

    fn until(&self) -> Moment {
        self.lost.map_or_else(|| self.validity().until(self.lock_ref), |loss| loss.until)
    }

    fn lose(&mut self, reason: LostReason) {
        let until = self.until();
        self.lost.get_or_insert(Loss { reason, until });
    }
}

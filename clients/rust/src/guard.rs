//! A held lock, as its holder sees it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::error::{Error, LostReason};
use super::mutex::lock;
use super::observe::{bring_value, check_value, without_value};
use super::request::check_limit;
use super::session::Command;
use super::settings::ClientSettings;
use crate::core::{Granted, Held, Key};

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
    asked: Asked,
    key: Key,
    grant: Grant,
    hold: Arc<Hold>,
    commands: mpsc::UnboundedSender<Command>,
    settings: Arc<ClientSettings>,
}

/// One of the locks of a guard.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLock {
    /// The lock's name.
    pub name: String,
    /// The id of the grant; see [`Guard::lock_id`].
    pub lock_id: String,
    /// The fencing token; see [`Guard::fencing_token`]. Tokens of different names say nothing about each other.
    pub fencing_token: i64,
    /// The permit; see [`Guard::permit`].
    pub permit: Option<u32>,
}

/// Without the lock id, which is a capability.
impl fmt::Debug for HeldLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldLock")
            .field("name", &self.name)
            .field("fencing_token", &self.fencing_token)
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}

/// The part of what was asked for that its guard has to know.
pub(super) struct Asked {
    pub(super) name: Arc<str>,
    /// The names of the locks that are held together with it.
    pub(super) also: Box<[String]>,
    pub(super) has_value: bool,
}

/// The part of a grant that stays the same for as long as the lock is held.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) fencing_token: i64,
    /// The locks that are held together with it.
    pub(super) also: Box<[Granted]>,
}

impl Guard {
    pub(super) fn new(
        asked: Asked,
        key: Key,
        grant: Grant,
        hold: Arc<Hold>,
        commands: mpsc::UnboundedSender<Command>,
        settings: Arc<ClientSettings>,
    ) -> Guard {
        Guard { asked, key, grant, hold, commands, settings }
    }

    /// Returns the lock's name.
    pub fn name(&self) -> &str {
        &self.asked.name
    }

    /// Names this grant at any broker: see [`Client::release`](super::Client::release). It changes when the client
    /// has to move to another stream, and it is a capability: keep it out of logs.
    pub fn lock_id(&self) -> String {
        self.hold.state().held.lock_id.clone()
    }

    /// Returns the fencing token. It is greater than that of every earlier grant of the same name, below 2^53, and the
    /// same for as long as this guard lives. What the lock protects should refuse a token below the highest that it
    /// has seen.
    pub fn fencing_token(&self) -> i64 {
        self.grant.fencing_token
    }

    /// Returns the number of the permit, from 0 to the limit - 1; none for a lock that is not
    /// [shared](super::Acquire::shared). Nobody else has the same permit of this name at the same time, so it can number a worker. It
    /// stays the same for as long as this guard lives, once it is shared.
    pub fn permit(&self) -> Option<u32> {
        self.hold.state().held.permit
    }

    /// Returns all locks that this guard holds, in the order in which they were named: the one that was asked for, and those of
    /// [`also`](super::Acquire::also).
    pub fn locks(&self) -> Vec<HeldLock> {
        let Grant { fencing_token, also } = &self.grant;
        let held = &self.hold.state().held;
        let first = HeldLock {
            name: self.asked.name.to_string(),
            lock_id: held.lock_id.clone(),
            fencing_token: *fencing_token,
            permit: held.permit,
        };
        let also = self.asked.also.iter().zip(also).zip(&held.also).map(|((name, granted), lock_id)| HeldLock {
            name: name.clone(),
            lock_id: lock_id.clone(),
            fencing_token: granted.fencing_token,
            permit: granted.permit,
        });
        std::iter::once(first).chain(also).collect()
    }

    /// Returns the lock's ttl as the broker granted it: for so long the lock outlives a holder that falls silent.
    pub fn ttl(&self) -> Duration {
        self.hold.state().held.ttl
    }

    /// Returns the time for which the holder may act without hearing from a broker again, counted from now. It ends a
    /// thirtieth of the ttl before the broker could give the lock to anybody else (R6a). It is zero once the lock is
    /// lost. It is zero as well while the stream to the broker is broken and the lock not yet reattached: the broker
    /// may have taken the break for the client's end.
    pub fn remaining(&self) -> Duration {
        let state = self.hold.state();
        if state.lost.is_some() || state.held.is_broken {
            return Duration::ZERO;
        }
        state.held.until.remaining()
    }

    /// Returns the longest time until the lock is lost if no broker is heard any more, counted from now. Other than
    /// [`remaining`](Guard::remaining) it runs on through a broken stream and after a loss, and then nothing adds to it.
    /// Within this time, end your work on what the lock protects.
    pub fn expires_in(&self) -> Duration {
        self.hold.state().held.until.remaining()
    }

    /// Waits until the lock is lost: a broker says so, or its validity has run out. Never returns while the lock is
    /// held. It answers again whenever it is asked again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn lost(&self) -> LostReason {
        loop {
            if let Some(reason) = self.hold.state().lost {
                return reason;
            }
            self.hold.ended.cancelled().await;
        }
    }

    /// Returns a token that is cancelled when the lock is lost, for code that takes such tokens. It is not cancelled by
    /// the release.
    pub fn lost_token(&self) -> CancellationToken {
        self.hold.ended.child_token()
    }

    /// Checks that the holder may act at this moment; for the steps between which the work can stop.
    ///
    /// # Errors
    /// [`Error::Lost`] if the lock is lost; [`Error::Unavailable`] while the stream to the broker is broken and the lock
    /// not yet reattached.
    pub fn check(&self) -> Result<(), Error> {
        let state = self.hold.state();
        match state.lost {
            Some(reason) => Err(Error::Lost { lock: self.asked.name.to_string(), reason }),
            None if state.held.is_broken => Err(Error::unavailable(
                &self.asked.name,
                "the stream to the broker is broken and the lock not reattached yet",
            )),
            None => Ok(()),
        }
    }

    /// Gives the lock another value, for those who [observe](super::Client::observe) it, and waits until a broker has taken it. The lock
    /// has to have been asked for with a [value](super::Acquire::value). Of several updates at a time the last one counts.
    ///
    /// # Errors
    /// [`Error::Lost`] if the lock is lost. [`Error::Invalid`] if the value has more than 1,024 bytes, or the lock was asked for without
    /// one. [`Error::Unavailable`] if no broker could do it within the client's
    /// [`answer_timeout`](super::ClientBuilder::answer_timeout): then those who observe may see either value, until the next update.
    ///
    /// # Cancel safety
    /// The update may happen all the same when the future is dropped.
    pub async fn update(&self, value: impl Into<Vec<u8>>) -> Result<(), Error> {
        let value = value.into();
        check_value(&self.asked.name, &value)?;
        // Only the broker that keeps the lock could say so.
        if !self.asked.has_value {
            return Err(without_value(&self.asked.name));
        }
        self.hold.state().value = Some(value.clone());
        // Fails only if the session has ended, and the lock with it.
        let _ = self.commands.send(Command::Value { key: self.key, value });
        bring_value(&self.settings, &self.asked.name, &self.hold).await
    }

    /// Shares the lock from now on, and waits until it has a [permit](Guard::permit): others may share it too, up to `limit` at a time
    /// (1 to 4,096; none: 4,096), and nobody has it alone in between. The fencing token stays. Does nothing if it is shared already, by
    /// one permit.
    ///
    /// **Stop writing before you call it**: others may share the lock before this returns.
    ///
    /// # Errors
    /// After [`Error::Invalid`] and [`Error::Denied`] the lock is held alone, as before: if the limit is out of range, if the lock has a
    /// [`min_hold`](super::Acquire::min_hold), a [value](super::Acquire::value), or others beside it ([`also`](super::Acquire::also),
    /// [`weight`](super::Acquire::weight)), and if the policy says so. After [`Error::Unavailable`], because no broker could do it within the
    /// client's [`answer_timeout`](super::ClientBuilder::answer_timeout), it may be a shared one or become one: do not write. After
    /// [`Error::Lost`] it is lost.
    ///
    /// # Cancel safety
    /// The lock may become a shared one all the same when the future is dropped.
    pub async fn downgrade(&self, limit: Option<u32>) -> Result<(), Error> {
        check_limit(&self.asked.name, limit)?;
        if !self.asked.also.is_empty() {
            let message =
                "several locks or permits are held together, and only one alone can be shared from now on".to_owned();
            return Err(Error::Invalid { lock: self.asked.name.to_string(), message, reason: None });
        }
        self.hold.state().not_shared = None;
        // Fails only if the session has ended, and the lock with it.
        let _ = self.commands.send(Command::Share { key: self.key, limit });
        let until = tokio::time::Instant::now() + self.settings.answer_timeout;
        loop {
            let changed = self.hold.changed.notified();
            if let Some(result) = self.hold.shared(&self.asked.name) {
                return result;
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                let why = "no broker has shared the lock in time; it may still become a shared one";
                return Err(Error::unavailable(&self.asked.name, why));
            }
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
        let lost = |reason| Error::Lost { lock: self.asked.name.to_string(), reason };
        // The drop at the end of this function sends a second one, which finds nothing.
        let _ = self.commands.send(Command::End { key: self.key, reply: Some(reply) });
        match answer.await {
            Ok(result) => result,
            Err(_) => match self.hold.state().lost {
                Some(reason) => Err(lost(reason)),
                None => Err(Error::unavailable(&self.asked.name, "the runtime of the client has been shut down")),
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
            .field("locks", &self.locks())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// The state that a guard shares with the session's task.
pub(super) struct Hold {
    state: Mutex<HoldState>,
    /// Cancelled when `lost` is set.
    ended: CancellationToken,
    /// Told when its permit has changed, or it is lost.
    changed: Notify,
    /// Held by whoever brings the brokers its value.
    pub(super) updating: tokio::sync::Mutex<()>,
}

/// The belief of the holder.
struct HoldState {
    held: Held,
    lost: Option<LostReason>,
    /// The value that it was given last. None: it has that with which it was asked for.
    value: Option<Vec<u8>>,
    /// The reason for which it is not shared, as was wanted.
    not_shared: Option<Error>,
}

impl Hold {
    pub(super) fn new(held: Held) -> Hold {
        let state = Mutex::new(HoldState { held, lost: None, value: None, not_shared: None });
        let (ended, changed) = (CancellationToken::new(), Notify::new());
        Hold { state, ended, changed, updating: tokio::sync::Mutex::default() }
    }

    /// Returns what came of sharing it, once that is known.
    fn shared(&self, name: &str) -> Option<Result<(), Error>> {
        let state = self.state();
        if let Some(reason) = state.lost {
            return Some(Err(Error::Lost { lock: name.into(), reason }));
        }
        let not_shared = state.not_shared.clone().map(Err);
        not_shared.or_else(|| state.held.permit.map(|_| Ok(())))
    }

    /// Takes note that it is not shared, as was wanted.
    pub(super) fn refuse_to_share(&self, why: Error) {
        self.state().not_shared = Some(why);
        self.changed.notify_waiters();
    }

    /// Returns the lock id, and the value that the lock was given last, if it was given one.
    pub(super) fn to_update(&self, name: &str) -> Result<Option<(String, Vec<u8>)>, Error> {
        let state = self.state();
        match state.lost {
            Some(reason) => Err(Error::Lost { lock: name.into(), reason }),
            None => Ok(state.value.clone().map(|value| (state.held.lock_id.clone(), value))),
        }
    }

    /// Returns true if the lock has this id, as far as is known by now.
    pub(super) fn has_lock_id(&self, lock_id: &str) -> bool {
        self.state().held.lock_id == lock_id
    }

    /// Returns the lock's state. First marks a lock that has run out as lost, so that nothing later can revive it.
    fn state(&self) -> MutexGuard<'_, HoldState> {
        let mut state = lock(&self.state);
        if state.lost.is_none() && state.held.until.has_passed() {
            state.lost = Some(LostReason::Expired);
            self.ended.cancel();
        }
        state
    }

    /// Ends the hold, unless it has ended.
    pub(super) fn lose(&self, reason: LostReason) {
        lock(&self.state).lost.get_or_insert(reason);
        self.ended.cancel();
        self.changed.notify_waiters();
    }

    /// Takes what the core knows of the lock by now. False if that comes too late: the holder has been told that the lock
    /// is lost.
    pub(super) fn publish(&self, held: Held) -> bool {
        let mut state = self.state();
        if state.lost.is_some() {
            return false;
        }
        state.held = held;
        self.changed.notify_waiters();
        true
    }
}

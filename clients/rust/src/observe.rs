//! Observing a lock: who holds it, and with which value; and giving a lock that is held another value.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tonic::Streaming;

use super::Client;
use super::error::Error;
use super::guard::Hold;
use super::settings::{ClientSettings, unexpected};
use super::wire::from_wire;
use crate::clock::Moment;
use crate::core;
use crate::proto::observe_response::State;
use crate::proto::update_lock_response::Outcome;
use crate::proto::{ObserveRequest, ObserveResponse, UpdateLockRequest};

/// The longest silence of a broker that is believed: it repeats the last state every 5 s.
const SILENCE: Duration = Duration::from_secs(15);
/// The longest pause before brokers are asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause before an update is tried again that somebody else's was in the way of, or a reattach.
const UPDATES_AGAIN: Duration = Duration::from_millis(50);
/// The longest value, as brokers have it.
pub(super) const MAX_VALUE_BYTES: usize = 1_024;

/// A lock as those see it who [observe](Client::observe) it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Observed {
    /// Its state.
    pub state: ObservedState,
    /// The holder's label; empty if it has none or it is not known.
    pub owner: String,
    /// The holder's value; none if it has none, or it is not known yet.
    pub value: Option<Vec<u8>>,
    /// The holder's fencing token; none if it is not known. It tells one holder from the next.
    pub fencing_token: Option<i64>,
    /// The lock is free this long after the broker looked, at the latest, if nobody renews it.
    pub expires_in: Option<Duration>,
}

/// The state of a lock that is observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObservedState {
    /// Nobody can tell: no broker answers, or the brokers' store is away, or has lost its memory, or an earlier holder is told again. The
    /// lock may be held as before.
    Unknown,
    /// Nobody has it.
    Free,
    /// Somebody holds it, or several share it.
    Held,
    /// It was released and nobody can acquire it yet.
    Lingering,
    /// It was revoked, and nobody can acquire it until its holder no longer believes in it.
    Revoked,
}

impl fmt::Display for ObservedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ObservedState::Unknown => "unknown",
            ObservedState::Free => "free",
            ObservedState::Held => "held",
            ObservedState::Lingering => "lingering",
            ObservedState::Revoked => "revoked",
        })
    }
}

impl Observed {
    /// An observation for when nobody can tell.
    pub const UNKNOWN: Observed = Observed {
        state: ObservedState::Unknown,
        owner: String::new(),
        value: None,
        fencing_token: None,
        expires_in: None,
    };

    fn of(answer: ObserveResponse) -> Observed {
        let state = match answer.state() {
            State::Free => ObservedState::Free,
            State::Held => ObservedState::Held,
            State::Lingering => ObservedState::Lingering,
            State::Revoked => ObservedState::Revoked,
            // A later version may know more.
            State::Unknown | State::Unspecified => ObservedState::Unknown,
        };
        Observed {
            state,
            owner: answer.owner,
            value: answer.value,
            fencing_token: (answer.fencing_token > 0).then_some(answer.fencing_token),
            expires_in: answer.expires_in.as_ref().and_then(from_wire),
        }
    }

    fn says_the_same(&self, other: &Observed) -> bool {
        *self == Observed { expires_in: self.expires_in, ..other.clone() }
    }
}

/// Tells what a lock is, from now on. Made by [`Client::observe`].
///
/// Between two states a lock may have been free, or held by others, and a value may have been another one: what is told is the latest.
/// A lower fencing token is never told after a higher one: that is [`ObservedState::Unknown`], for the store has lost its memory, or this
/// broker has seen less than the one before.
#[derive(Debug)]
pub struct Observe {
    client: Client,
    name: String,
    inbound: Option<Streaming<ObserveResponse>>,
    /// The number of the broker that it comes from.
    broker: usize,
    /// The moments at which its stream began, and at which the broker was heard last.
    began: Moment,
    heard: Moment,
    /// True once it has told something.
    has_told: bool,
    told: Option<Observed>,
    highest: Option<i64>,
    /// The number of attempts in a row that have found no broker, or one that ended at once or has told nothing.
    failures: u32,
    /// The error that has ended it.
    over: Option<Error>,
}

impl Observe {
    pub(super) fn new(client: Client, name: &str) -> Observe {
        Observe {
            client,
            name: name.into(),
            inbound: None,
            broker: 0,
            began: Moment::now(),
            heard: Moment::now(),
            has_told: false,
            told: None,
            highest: None,
            failures: 0,
            over: None,
        }
    }

    /// Waits for the next state: the first one as soon as a broker tells it, and then whenever it has changed. Where no broker answers,
    /// that is [`ObservedState::Unknown`], and the next one is asked again and again.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Denied`] as the broker says: they are final, and each further call returns the same.
    /// [`Error::Exhausted`] if as many observe there as may, [`Error::Unexpected`] as elsewhere: the next call asks the next broker.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn next(&mut self) -> Result<Observed, Error> {
        if let Some(error) = &self.over {
            return Err(error.clone());
        }
        loop {
            let Some(inbound) = &mut self.inbound else {
                if self.failures > 0 {
                    tokio::time::sleep(core::pause(self.failures - 1, LONGEST_PAUSE, rand::random())).await;
                }
                if let Some(unknown) = self.connect().await? {
                    return Ok(unknown);
                }
                continue;
            };
            // Checked in pieces: timers stand still while the machine is suspended.
            let silent = self.heard.elapsed() >= SILENCE;
            let message = tokio::time::timeout(Duration::from_secs(1), inbound.message()).await;
            let answer = match message {
                Ok(Ok(Some(answer))) => answer,
                Err(_) if !silent => continue,
                Ok(Err(_) | Ok(None)) | Err(_) => {
                    // Unless somebody else has turned from it already.
                    self.client.settings.brokers.turn_from(self.broker);
                    self.inbound = None;
                    if self.has_told && self.began.elapsed() >= LONGEST_PAUSE {
                        self.failures = 0;
                    } else if self.failures as usize >= self.client.settings.brokers.count()
                        && let Some(unknown) = self.take(Observed::UNKNOWN)
                    {
                        return Ok(unknown);
                    }
                    continue;
                }
            };
            (self.heard, self.has_told) = (Moment::now(), true);
            if let Some(observed) = self.take(Observed::of(answer)) {
                return Ok(observed);
            }
        }
    }

    /// Makes a stream of it, which ends only after an error that is final.
    pub fn into_stream(self) -> impl Stream<Item = Result<Observed, Error>> + Send {
        unfold(self, async |mut observe| {
            if observe.over.is_some() {
                return None;
            }
            let next = observe.next().await;
            Some((next, observe))
        })
    }

    /// Looks for a broker. Returns what is to be told if there is none.
    async fn connect(&mut self) -> Result<Option<Observed>, Error> {
        let request = ObserveRequest { name: self.name.clone() };
        let answer = self.client.settings.call(&self.name, |mut stub| {
            let request = request.clone();
            Box::pin(async move { stub.observe(request).await })
        });
        match answer.await {
            Ok(inbound) => {
                (self.inbound, self.has_told) = (Some(inbound), false);
                (self.began, self.heard) = (Moment::now(), Moment::now());
                self.broker = self.client.settings.brokers.current();
                // If this one ends at once, the next attempt comes after a pause.
                self.failures = self.failures.saturating_add(1);
                Ok(None)
            }
            Err(Error::Unavailable { .. } | Error::Handshake { .. } | Error::Protocol { .. }) => {
                self.failures = self.failures.saturating_add(1);
                Ok(self.take(Observed::UNKNOWN))
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                if matches!(error, Error::Invalid { .. } | Error::Denied { .. }) {
                    self.over = Some(error.clone());
                }
                self.client.settings.brokers.turn_from(self.client.settings.brokers.current());
                Err(error)
            }
        }
    }

    /// Returns what is to be told, if it is new. An earlier holder is not told as one: the store may have lost its memory, or another
    /// broker has seen less so far. But nor does the one that was told before stand for ever.
    fn take(&mut self, mut observed: Observed) -> Option<Observed> {
        if observed.fencing_token.is_some() && observed.fencing_token < self.highest {
            observed = Observed::UNKNOWN;
        }
        self.highest = self.highest.max(observed.fencing_token);
        if self.told.as_ref().is_some_and(|told| observed.says_the_same(told)) {
            return None;
        }
        self.told = Some(observed.clone());
        Some(observed)
    }
}

/// Refuses a value that no broker takes.
pub(super) fn check_value(lock: &str, value: &[u8]) -> Result<(), Error> {
    if value.len() > MAX_VALUE_BYTES {
        let message = format!("the value has {} bytes, and brokers take at most {MAX_VALUE_BYTES}", value.len());
        return Err(Error::Invalid { lock: lock.into(), message, reason: None });
    }
    Ok(())
}

/// Says that a lock was asked for without a value.
pub(super) fn without_value(lock: &str) -> Error {
    let message = "it was asked for without a value, so it can be given none".to_owned();
    Error::Invalid { lock: lock.into(), message, reason: None }
}

/// Brings brokers the value that the holder of a lock has given it last. One at a time does so, and each brings the latest: so an
/// older one never comes after it.
pub(super) async fn bring_value(settings: &ClientSettings, name: &str, hold: &Arc<Hold>) -> Result<(), Error> {
    let _turn = hold.updating.lock().await;
    let until = Moment::now() + settings.answer_timeout;
    loop {
        let Some((lock_id, value)) = hold.to_update(name)? else { return Ok(()) };
        let request = UpdateLockRequest { name: name.into(), lock_id: lock_id.clone(), value };
        let answer = settings.call(name, |mut stub| {
            let request = request.clone();
            Box::pin(async move { stub.update_lock(request).await })
        });
        let error = match answer.await.map(|answer| answer.outcome()) {
            Ok(Outcome::Updated) if hold.has_lock_id(&lock_id) => return Ok(()),
            // It has moved meanwhile, perhaps with the value from before.
            Ok(Outcome::Updated) => continue,
            // It is about to move: its new id is on the way.
            Ok(Outcome::NotHeld | Outcome::HeldByAnother) => {
                Error::unavailable(name, "the brokers know this lock by another id, or no more")
            }
            Ok(Outcome::NoValue) => return Err(without_value(name)),
            Ok(Outcome::Unspecified) => return Err(unexpected(name, "an update without an outcome")),
            Err(error @ Error::Unavailable { .. }) => error,
            Err(error) => return Err(error),
        };
        if until.has_passed() {
            return Err(error);
        }
        tokio::time::sleep(UPDATES_AGAIN).await;
    }
}

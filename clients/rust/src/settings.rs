//! The settings and state that a client shares with its task, and the single calls that are made besides the session.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Response, Status};

use super::ReleaseOutcome;
use super::brokers::{Broker, Brokers};
use super::error::{Error, broken};
use crate::clock::Moment;
use crate::core;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::{self, ReleaseRequest};

/// The settings of a client, and the state that it shares with its task.
pub(super) struct ClientSettings {
    pub(super) brokers: Brokers,
    pub(super) ttl: Option<Duration>,
    pub(super) owner: String,
    pub(super) answer_timeout: Duration,
    pub(super) last_key: AtomicU64,
}

/// The answer to a call that may have been made more than once.
pub(super) struct Answered<T> {
    pub(super) answer: T,
    /// The moment at which the call was sent that was answered.
    pub(super) sent: Moment,
    /// The number of calls that were made.
    pub(super) tries: usize,
}

/// A call at one broker that failed.
enum Failed {
    /// Another broker would say the same.
    Refused(Error),
    /// Another broker may be able to do it.
    Away(Error),
}

/// The longest pause between two rounds of calls.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A single call under way.
type Calling<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

impl ClientSettings {
    /// Returns the longest time that one broker may take to answer.
    fn share(&self) -> Duration {
        core::share(self.answer_timeout, self.brokers.count())
    }

    /// Makes a single call, at each broker in turn until one answers.
    pub(super) async fn call<T>(
        &self,
        lock: &str,
        call: impl Fn(LockServiceClient<Channel>) -> Calling<T>,
    ) -> Result<T, Error> {
        let mut failure = Error::unavailable(lock, "there is no endpoint");
        for _ in 0..self.brokers.count() {
            match self.call_one(lock, self.share(), &call).await {
                Ok((answer, _)) => return Ok(answer),
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Away(error)) => failure = error,
            }
        }
        Err(failure)
    }

    /// Makes a call that may be made more than once, at each broker in turn and again, until one answers. Each broker may wait
    /// until `wait_until` before it answers. Fails when the answer timeout is over beyond that; or else, when there is no wait any
    /// more, as soon as every broker has said that it cannot do it now.
    pub(super) async fn call_again<T>(
        &self,
        lock: &str,
        wait_until: Moment,
        call: impl Fn(LockServiceClient<Channel>) -> Calling<T>,
    ) -> Result<Answered<T>, Error> {
        let last = wait_until.max(Moment::now()) + self.answer_timeout;
        let brokers = self.brokers.count();
        let (mut tries, mut said) = (0_usize, 0);
        loop {
            let limit = (wait_until.remaining() + self.share()).min(last.remaining());
            tries += 1;
            let error = match self.call_one(lock, limit, &call).await {
                Ok((answer, sent)) => return Ok(Answered { answer, sent, tries }),
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Away(error)) => error,
            };
            said += usize::from(error.reason().is_some());
            if said >= brokers && wait_until.has_passed() {
                return Err(error);
            }
            let mut pause = Duration::ZERO;
            // Each broker has been asked once more.
            if tries.is_multiple_of(brokers) {
                let rounds = u32::try_from(tries / brokers - 1).unwrap_or(u32::MAX);
                pause = core::pause(rounds, LONGEST_PAUSE, rand::random());
            }
            if last.remaining() <= pause {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes a single call at the broker whose turn it is. Turns to the next if that does not answer within `limit`. Returns the
    /// answer, and the moment at which the call was sent.
    async fn call_one<T>(
        &self,
        lock: &str,
        limit: Duration,
        call: impl Fn(LockServiceClient<Channel>) -> Calling<T>,
    ) -> Result<(T, Moment), Failed> {
        let number = self.brokers.current();
        let broker = self.brokers.get(number);
        let sent = Moment::now();
        let calling = call(LockServiceClient::new(broker.channel.clone()));
        let error = match tokio::time::timeout(limit, calling).await {
            Ok(Ok(answer)) => return Ok((answer.into_inner(), sent)),
            Ok(Err(status)) => match self.failure(lock, broker, &status) {
                error @ (Error::Handshake { .. } | Error::Protocol { .. } | Error::Unavailable { .. }) => error,
                error => return Err(Failed::Refused(error)),
            },
            Err(_) => {
                let message = format!("no answer from the broker at {} within {limit:?}", broker.name);
                Error::unavailable(lock, message)
            }
        };
        self.brokers.turn_from(number);
        Err(Failed::Away(error))
    }

    pub(super) async fn release(&self, name: &str, lock_id: &str) -> Result<ReleaseOutcome, Error> {
        let request = ReleaseRequest { name: name.into(), lock_id: lock_id.into() };
        let answer = self.call(name, |mut stub| {
            let request = request.clone();
            Box::pin(async move { stub.release(request).await })
        });
        match answer.await?.outcome() {
            proto::release_response::Outcome::Released => Ok(ReleaseOutcome::Released),
            proto::release_response::Outcome::NotHeld => Ok(ReleaseOutcome::NotHeld),
            proto::release_response::Outcome::HeldByAnother => Ok(ReleaseOutcome::HeldByAnother),
            proto::release_response::Outcome::Unspecified => Err(unexpected(name, "a release without an outcome")),
        }
    }

    /// Returns the failure of a single call: the broker's own words, or the reason for which no broker answered.
    fn failure(&self, lock: &str, broker: &Broker, status: &Status) -> Error {
        if let Some(error) = broker.disagreement() {
            return error;
        }
        match status.source() {
            Some(cause) => {
                Error::unavailable(lock, format!("no connection to a broker at {}: {}", broker.name, broken(cause)))
            }
            None => Error::from_failure(lock, status.into()),
        }
    }
}

pub(super) fn unexpected(lock: &str, message: impl Into<String>) -> Error {
    Error::Unexpected { lock: lock.into(), code: tonic::Code::Ok, message: message.into(), reason: None }
}

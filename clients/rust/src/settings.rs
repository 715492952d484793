//! The settings and state that a client shares with its task, and the single calls that are made besides the session.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::ReleaseOutcome;
use super::brokers::{Broker, Brokers};
use super::error::{Error, broken};
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
            let number = self.brokers.current();
            let broker = self.brokers.get(number);
            let calling = call(LockServiceClient::new(broker.channel.clone()));
            let error = match tokio::time::timeout(self.share(), calling).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => {
                    let is_away = status.source().is_some() || status.code() == Code::Unavailable;
                    match self.failure(lock, broker, &status) {
                        error @ (Error::Handshake { .. } | Error::Protocol { .. }) => error,
                        error if is_away => error,
                        error => return Err(error),
                    }
                }
                Err(_) => Error::unavailable(
                    lock,
                    format!("no answer from the broker at {} within {:?}", broker.name, self.share()),
                ),
            };
            self.brokers.turn_from(number);
            failure = error;
        }
        Err(failure)
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

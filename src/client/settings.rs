//! What a client and its task share, and the single calls that are made besides the session.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use tonic::transport::{Channel, Endpoint};

use super::ReleaseOutcome;
use super::error::{Error, LostReason};
use super::guard::{Hold, lock};
use super::session::Reply;
use crate::clock::sleep_until;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::{self, ReleaseRequest};

/// How connections are made.
pub(super) type Connect = Box<dyn Fn() -> Connecting + Send + Sync>;
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Channel, tonic::transport::Error>> + Send>>;

/// What a client and its task are told at the beginning, and what they share.
pub(super) struct Settings {
    /// The endpoint as given, for people.
    pub(super) name: String,
    /// Makes a new connection.
    pub(super) connect: Connect,
    /// For single calls; connects itself, and anew when it has to.
    pub(super) channel: Channel,
    pub(super) ttl: Option<Duration>,
    pub(super) owner: String,
    pub(super) answer_timeout: Duration,
    pub(super) last_key: AtomicU64,
    /// Why there is no session, if there is none.
    pub(super) trouble: Mutex<Option<String>>,
}

impl Settings {
    pub(super) fn set_trouble(&self, trouble: Option<&str>) {
        *lock(&self.trouble) = trouble.map(String::from);
    }

    pub(super) fn why_no_answer(&self) -> String {
        match &*lock(&self.trouble) {
            Some(trouble) => format!("no session with a broker at {}: {trouble}", self.name),
            None => format!("no answer from the broker at {} within {:?}", self.name, self.answer_timeout),
        }
    }

    /// Bounds a single call.
    pub(super) async fn in_time<T>(
        &self,
        lock: &str,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(self.answer_timeout, call).await.unwrap_or_else(|_| {
            let message = format!("no answer from the broker at {} within {:?}", self.name, self.answer_timeout);
            Err(Error::unavailable(lock, message))
        })
    }

    pub(super) async fn release(&self, name: &str, lock_id: &str) -> Result<ReleaseOutcome, Error> {
        let request = ReleaseRequest { name: name.into(), lock_id: lock_id.into() };
        match LockServiceClient::new(self.channel.clone()).release(request).await {
            Ok(answer) => match answer.get_ref().outcome() {
                proto::release_response::Outcome::Released => Ok(ReleaseOutcome::Released),
                proto::release_response::Outcome::NotHeld => Ok(ReleaseOutcome::NotHeld),
                proto::release_response::Outcome::HeldByAnother => Ok(ReleaseOutcome::HeldByAnother),
                proto::release_response::Outcome::Unspecified => Err(unexpected(name, "a release without an outcome")),
            },
            Err(status) => Err(self.failure(name, &status)),
        }
    }

    /// The failure of a single call: what the broker says, or why there is none.
    pub(super) fn failure(&self, lock: &str, status: &tonic::Status) -> Error {
        match status.source() {
            Some(cause) => {
                Error::unavailable(lock, format!("no connection to a broker at {}: {}", self.name, chain(cause)))
            }
            None => Error::from_status(lock, status),
        }
    }
}

/// Releases a lock whose stream cannot say whether it did: at whichever broker answers, for as long as the lock has
/// not run out by itself.
pub(super) async fn release_elsewhere(settings: Arc<Settings>, name: String, hold: Arc<Hold>, reply: Option<Reply>) {
    let result = match hold.lock_id() {
        None => Err(Error::Lost { lock: name, reason: LostReason::Expired }),
        Some(lock_id) => {
            let one = || settings.in_time(&name, settings.release(&name, &lock_id));
            let pace = ExponentialBuilder::default().with_min_delay(Duration::from_millis(50));
            let pace = pace.with_max_delay(Duration::from_secs(1)).without_max_times().with_jitter();
            let release = one.retry(pace).when(|error| matches!(error, Error::Unavailable { .. }));
            tokio::select! {
                // Whoever ended it, it is not held any more.
                result = release => result.map(|_| ()),
                () = sleep_until(hold.until()) => Err(Error::unavailable(
                    &name,
                    "no broker confirmed the release before the lock ran out by itself",
                )),
            }
        }
    };
    if let Some(reply) = reply {
        let _ = reply.send(result);
    }
}

pub(crate) fn parse_endpoint(text: &str) -> Result<Endpoint, Error> {
    let wrong = |reason: String| Error::Endpoint { endpoint: text.into(), reason };
    if text.starts_with("https:") {
        return Err(wrong("this client has no TLS".into()));
    }
    let full = if text.starts_with("unix:") || text.contains("://") { text.into() } else { format!("http://{text}") };
    // HTTP/2 keepalive stays off: it would close a stream that is silent, and closing is the client's word.
    Endpoint::from_shared(full).map_err(|error| wrong(chain(&error)))
}

pub(super) fn unexpected(lock: &str, message: &str) -> Error {
    Error::Unexpected { lock: lock.into(), code: tonic::Code::Ok, message: message.into() }
}

/// An error with all its causes, in one line, without what says nothing or says it twice.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| (*error).source()).map(ToString::to_string);
    let mut texts: Vec<String> = all.filter(|text| text != "transport error").collect();
    texts.dedup();
    texts.join(": ")
}

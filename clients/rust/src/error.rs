//! The client's errors, sorted by what the caller may do about them.

use std::fmt;
use std::time::Duration;

use tonic::{Code, ConnectError};

use crate::core::{self, Failure};
use crate::error_reason::ErrorReason;

pub use crate::core::LostReason;

/// A failure. Not getting a lock is none: that is an [`Outcome`](super::Outcome).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The endpoint is none. Nothing was sent.
    #[error(
        "{endpoint:?} is no endpoint: {reason}; write http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH"
    )]
    Endpoint {
        /// The endpoint as given.
        endpoint: String,
        /// The mistake in it.
        reason: String,
    },
    /// A certificate or key for TLS cannot be used. Nothing was sent.
    #[error("cannot use TLS: {reason}")]
    Tls {
        /// The mistake, with the file and its line.
        reason: String,
    },
    /// The broker's certificate is not accepted here, or this client's is not accepted there. It would be the same
    /// again.
    #[error("cannot agree on TLS with the broker at {endpoint}: {reason}")]
    Handshake {
        /// The broker.
        endpoint: String,
        /// The mistake, and what to do.
        reason: String,
    },
    /// The other side speaks another protocol: TLS where the endpoint says plain text, or the other way round, or
    /// it is no broker at all. It would be the same again.
    #[error("cannot talk to {endpoint}: {reason}")]
    Protocol {
        /// The endpoint as given.
        endpoint: String,
        /// The protocol that it speaks, and what to do.
        reason: String,
    },
    /// The request is wrong, and would be again: a name, an owner or a duration out of bounds.
    #[error("lock {lock:?}: the broker refuses the request: {message}")]
    Invalid {
        /// The lock's name.
        lock: String,
        /// The broker's words, with the field's path.
        message: String,
        /// The reason, for programs; none if the broker gave no reason, or one that this version does not know.
        reason: Option<ErrorReason>,
    },
    /// No broker could be reached or none answered in time, or the broker cannot reach its store. Try again
    /// later.
    #[error("lock {lock:?}: unavailable: {message}")]
    Unavailable {
        /// The lock's name.
        lock: String,
        /// The part that cannot be reached, as far as known.
        message: String,
        /// The time after which another try makes sense, if the broker said one.
        retry_after: Option<Duration>,
        /// The reason, for programs; none if the broker gave no reason, or one that this version does not know.
        reason: Option<ErrorReason>,
    },
    /// The store is full, or the broker has as many locks or waiters as it may have.
    #[error("lock {lock:?}: no room: {message}")]
    Exhausted {
        /// The lock's name.
        lock: String,
        /// The broker's words.
        message: String,
        /// The time after which another try makes sense, if the broker said one.
        retry_after: Option<Duration>,
        /// The reason, for programs; none if the broker gave no reason, or one that this version does not know.
        reason: Option<ErrorReason>,
    },
    /// The broker does not allow it.
    #[error("lock {lock:?}: not allowed: {message}")]
    Denied {
        /// The lock's name.
        lock: String,
        /// The broker's words.
        message: String,
        /// The reason, for programs; none if the broker gave no reason, or one that this version does not know.
        reason: Option<ErrorReason>,
    },
    /// The lock was lost before it could be released; somebody else may have had it since.
    #[error("lock {lock:?} was lost: {reason}")]
    Lost {
        /// The lock's name.
        lock: String,
        /// The way in which it was lost.
        reason: LostReason,
    },
    /// An answer that a broker does not give. Is it one that listens there, and of this version?
    #[error("lock {lock:?}: unexpected answer ({code:?}): {message}")]
    Unexpected {
        /// The lock's name.
        lock: String,
        /// The gRPC status code.
        code: Code,
        /// The answer's text. Its author is whoever answered.
        message: String,
        /// The reason, for programs; none if the broker gave no reason, or one that this version does not know.
        reason: Option<ErrorReason>,
    },
}

impl Error {
    /// Returns the time after which another try makes sense, if the broker said one.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Unavailable { retry_after, .. } | Error::Exhausted { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Returns the reason, for programs, if a broker gave one that this version knows.
    pub fn reason(&self) -> Option<ErrorReason> {
        match self {
            Error::Invalid { reason, .. }
            | Error::Unavailable { reason, .. }
            | Error::Exhausted { reason, .. }
            | Error::Denied { reason, .. }
            | Error::Unexpected { reason, .. } => *reason,
            Error::Endpoint { .. }
            | Error::Tls { .. }
            | Error::Handshake { .. }
            | Error::Protocol { .. }
            | Error::Lost { .. } => None,
        }
    }

    pub(super) fn unavailable(lock: &str, message: impl Into<String>) -> Error {
        Error::Unavailable { lock: lock.into(), message: message.into(), retry_after: None, reason: None }
    }

    /// Makes the error of a call, or of one lock of a Session, that failed.
    pub(super) fn from_failure(lock: &str, failure: Failure) -> Error {
        let Failure { code, message, reason, retry_after } = failure;
        // The broker names the lock in its text, and so does this error.
        let named = format!("lock {lock:?}: ");
        let message = message.strip_prefix(&named).map(str::to_owned).unwrap_or(message);
        let (lock, reason) = (lock.to_owned(), ErrorReason::parse(&reason));
        match code {
            core::Code::InvalidArgument => Error::Invalid { lock, message, reason },
            core::Code::Unavailable | core::Code::Handshake => {
                Error::Unavailable { lock, message, retry_after, reason }
            }
            core::Code::ResourceExhausted => Error::Exhausted { lock, message, retry_after, reason },
            core::Code::PermissionDenied | core::Code::Unauthenticated => Error::Denied { lock, message, reason },
            core::Code::Unimplemented => Error::Unexpected { lock, code: Code::Unimplemented, message, reason },
            core::Code::Other(code) => Error::Unexpected { lock, code: code.into(), message, reason },
        }
    }

    /// Tells the core of a call that failed.
    pub(super) fn into_failure(self) -> Failure {
        let code = match &self {
            Error::Unavailable { .. } | Error::Handshake { .. } | Error::Protocol { .. } => core::Code::Unavailable,
            Error::Invalid { .. } => core::Code::InvalidArgument,
            Error::Denied { .. } => core::Code::PermissionDenied,
            Error::Exhausted { .. } => core::Code::ResourceExhausted,
            Error::Unexpected { code, .. } => (*code).into(),
            Error::Endpoint { .. } | Error::Tls { .. } | Error::Lost { .. } => Code::Internal.into(),
        };
        let reason = self.reason().map_or_else(String::new, |reason| reason.as_str().to_owned());
        let retry_after = self.retry_after();
        let message = match self {
            Error::Unavailable { message, .. }
            | Error::Invalid { message, .. }
            | Error::Denied { message, .. }
            | Error::Exhausted { message, .. }
            | Error::Unexpected { message, .. } => message,
            other => other.to_string(),
        };
        Failure { code, message, reason, retry_after }
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LostReason::Expired => "no renewal got through in time",
            LostReason::Gone => "the store no longer has it",
            LostReason::TakenOver => "another grant took its place",
            LostReason::Revoked => "an operator revoked it",
            LostReason::Released => "it was released by its lock id",
        })
    }
}

/// Writes an error with all its causes in one line. Leaves out texts that say nothing, or repeat the one before.
pub fn chain(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(Some(error), |error| (*error).source()).map(ToString::to_string);
    let mut texts: Vec<String> = all.filter(|text| text != "transport error").collect();
    texts.dedup();
    texts.join(": ")
}

/// Says why there is no connection, and what to do if the broker closed it. `cause` is the source of a call's status.
pub fn broken(cause: &(dyn std::error::Error + 'static)) -> String {
    // Without this error the connection stood, and was closed. The broker has no way to say why: where HTTP/2 has begun,
    // gRPC takes the connection for a good one, and does not ask the next broker.
    if std::iter::successors(Some(cause), |error| (*error).source()).any(|error| error.is::<ConnectError>()) {
        return chain(cause);
    }
    format!(
        "it was closed before an answer came ({}): the broker has as many clients as its --max-connections allows, or is \
         ending, and its log says which; or what listens there speaks TLS (https://)",
        chain(cause)
    )
}

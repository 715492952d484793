//! Why a broker did not do what it was asked.

use std::sync::Arc;
use std::time::Duration;

use crate::lock::LockName;
use crate::store::StoreError;

/// The cause of a failure, for programs. The wire has a name for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The store did not answer, or not in time.
    StoreUnavailable,
    /// The store has lost its memory and grants nothing until every lock that went with it is over.
    StoreQuarantined,
    /// The broker does not use the store: it cannot keep locks, or other brokers use it otherwise.
    StoreRefused,
    /// The store has no memory for another lock.
    StoreFull,
    /// The broker is going away.
    BrokerDraining,
    /// The broker holds as many locks as it may.
    MaxLocks,
    /// As many wait at the broker as may.
    MaxWaiters,
    /// The caller has as many locks at the broker as its quota lets it.
    QuotaLocks,
    /// As many of the caller's requests wait at the broker as its quota lets it.
    QuotaWaiters,
    /// As many of the caller's streams observe locks at the broker as its quota lets it.
    QuotaObservers,
    /// The caller asks more often than its quota lets it.
    QuotaRate,
    /// A field of the request is wrong.
    InvalidField,
    /// The policy knows nobody by this connection.
    UnknownCaller,
    /// The policy does not let this caller do that with this name.
    PolicyDenied,
}

/// Why the broker could not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// Not now.
    #[error("{why}")]
    Unavailable {
        /// For the person who reads it.
        why: Arc<str>,
        /// For programs.
        cause: Cause,
        /// When a new try makes sense, where that is known.
        retry_after: Option<Duration>,
    },
    /// A limit of the broker's or the store's is reached.
    #[error("{why}")]
    Exhausted {
        /// For the person who reads it.
        why: Arc<str>,
        /// For programs.
        cause: Cause,
        /// When a new try makes sense, where that is known.
        retry_after: Option<Duration>,
    },
    /// The request itself does not do.
    #[error("{why}")]
    Invalid {
        /// Which field, and why.
        why: Arc<str>,
    },
    /// It is not known whose request it is.
    #[error("{why}")]
    Unknown {
        /// For the person who reads it.
        why: Arc<str>,
    },
    /// Whose request it is may not make it.
    #[error("{why}")]
    Denied {
        /// For the person who reads it.
        why: Arc<str>,
    },
}

impl Failure {
    /// The store did not do as asked, or not in time.
    pub fn unavailable(why: impl Into<Arc<str>>) -> Failure {
        Failure::Unavailable { why: why.into(), cause: Cause::StoreUnavailable, retry_after: None }
    }

    /// A limit is reached, of which `cause` says which.
    pub fn exhausted(cause: Cause, why: impl Into<Arc<str>>) -> Failure {
        Failure::Exhausted { why: why.into(), cause, retry_after: None }
    }

    /// Returns the same failure, which says of which lock it is.
    pub fn about(mut self, name: &LockName) -> Failure {
        let (Failure::Unavailable { why, .. }
        | Failure::Exhausted { why, .. }
        | Failure::Invalid { why }
        | Failure::Unknown { why }
        | Failure::Denied { why }) = &mut self;
        *why = format!("lock {:?}: {why}", name.as_str()).into();
        self
    }

    /// Returns why, for the person who reads it.
    pub fn why(&self) -> &str {
        match self {
            Failure::Unavailable { why, .. }
            | Failure::Exhausted { why, .. }
            | Failure::Invalid { why }
            | Failure::Unknown { why }
            | Failure::Denied { why } => why,
        }
    }

    /// Returns the cause, for programs.
    pub fn cause(&self) -> Cause {
        match self {
            Failure::Unavailable { cause, .. } | Failure::Exhausted { cause, .. } => *cause,
            Failure::Invalid { .. } => Cause::InvalidField,
            Failure::Unknown { .. } => Cause::UnknownCaller,
            Failure::Denied { .. } => Cause::PolicyDenied,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match error {
            StoreError::Unavailable { why, cause, retry_after } => Failure::Unavailable { why, cause, retry_after },
            StoreError::Uncertain { why } => Failure::unavailable(why),
            StoreError::Full { why } => Failure::exhausted(Cause::StoreFull, why),
        }
    }
}

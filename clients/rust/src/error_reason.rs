//! Reasons of errors, for programs: the `reason` of the `google.rpc.ErrorInfo` that every error status carries.

use tonic::Code;

/// The `domain` of every `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "lockbroker";

/// Declares the reasons in one place, so that their names, codes and list agree.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $code:ident;)*) => {
        /// The reason of an error. A reason never changes its meaning or its code; later versions may add some.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorReason { $($(#[$doc])* $variant,)* }

        impl ErrorReason {
            /// All reasons.
            pub const ALL: &'static [ErrorReason] = &[$(ErrorReason::$variant,)*];

            /// Returns its name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorReason::$variant => $text,)* }
            }

            /// Returns the status code that it comes with.
            pub fn code(self) -> Code {
                match self { $(ErrorReason::$variant => Code::$code,)* }
            }
        }
    };
}

reasons! {
    /// A field of the request is wrong, and would be again. `google.rpc.BadRequest` names it.
    InvalidField = "INVALID_FIELD", InvalidArgument;
    /// The message is none of this service's, or is compressed and broken.
    MalformedMessage = "MALFORMED_MESSAGE", Internal;
    /// The message is longer than 4 KiB, as it came or decompressed.
    MessageTooLarge = "MESSAGE_TOO_LARGE", ResourceExhausted;
    /// The message is compressed by something else than gzip.
    UnsupportedEncoding = "UNSUPPORTED_ENCODING", Unimplemented;
    /// There is no such method.
    UnknownMethod = "UNKNOWN_METHOD", Unimplemented;
    /// A health check names a service that does not exist.
    UnknownService = "UNKNOWN_SERVICE", NotFound;
    /// The policy knows nobody by this connection.
    UnknownCaller = "UNKNOWN_CALLER", Unauthenticated;
    /// The policy does not let this caller do that with this name.
    PolicyDenied = "POLICY_DENIED", PermissionDenied;
    /// Over HTTP: a web page of another site asks, or for a host that is not known.
    OriginRefused = "ORIGIN_REFUSED", PermissionDenied;
    /// The broker is going away. Ask another one.
    BrokerDraining = "BROKER_DRAINING", Unavailable;
    /// The store did not answer, or not in time. What was asked for may still have been done, but for a lock that was
    /// asked for: that is undone.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable;
    /// The store has lost its memory and grants nothing until every lock that went with it is over.
    StoreQuarantined = "STORE_QUARANTINED", Unavailable;
    /// The broker does not use the store: it cannot keep locks, or other brokers use it otherwise. The operator has to
    /// mend that.
    StoreRefused = "STORE_REFUSED", Unavailable;
    /// The store has no memory for another lock.
    StoreFull = "STORE_FULL", ResourceExhausted;
    /// The broker holds as many locks as it may (`--max-locks`).
    MaxLocks = "MAX_LOCKS", ResourceExhausted;
    /// As many wait at the broker as may (`--max-waiters`).
    MaxWaiters = "MAX_WAITERS", ResourceExhausted;
    /// As many streams observe locks at the broker as may (`--max-observers`).
    MaxObservers = "MAX_OBSERVERS", ResourceExhausted;
    /// As many calls are under way as may be (`--max-concurrent-rpcs`).
    MaxConcurrentRpcs = "MAX_CONCURRENT_RPCS", ResourceExhausted;
    /// As many streams are open as may be (`--max-streams`).
    MaxStreams = "MAX_STREAMS", ResourceExhausted;
    /// The caller has as many locks here as its quota allows (`max_locks` in its policy).
    QuotaLocks = "QUOTA_LOCKS", ResourceExhausted;
    /// As many of the caller's requests wait here as its quota allows (`max_waiters` in its policy).
    QuotaWaiters = "QUOTA_WAITERS", ResourceExhausted;
    /// As many of the caller's streams observe locks here as its quota allows (`max_observers` in its policy).
    QuotaObservers = "QUOTA_OBSERVERS", ResourceExhausted;
    /// The caller asks more often than its quota allows (`max_rate` in its policy).
    QuotaRate = "QUOTA_RATE", ResourceExhausted;
    /// The request did not come whole within 30 s, or a Session's `open` within 10 s.
    RequestIncomplete = "REQUEST_INCOMPLETE", DeadlineExceeded;
    /// The call's deadline is over.
    DeadlineOver = "DEADLINE_OVER", DeadlineExceeded;
    /// The lock is lost: no renewal got through in time.
    LostExpired = "LOST_EXPIRED", Aborted;
    /// The lock is lost: the store no longer has the grant.
    LostGone = "LOST_GONE", Aborted;
    /// The lock is lost: the store has another grant in its place.
    LostTakenOver = "LOST_TAKEN_OVER", Aborted;
    /// The lock is lost: an operator revoked it.
    LostRevoked = "LOST_REVOKED", Aborted;
    /// The Session's heartbeats were missing for so long that its locks are lost.
    SessionSilent = "SESSION_SILENT", Aborted;
    /// The store does not list its keys: memcached runs with `-X`.
    ListRefused = "LIST_REFUSED", Unimplemented;
    /// The broker failed in a way of which it knows nothing more.
    BrokerFault = "BROKER_FAULT", Internal;
}

impl ErrorReason {
    /// Reads its name from the wire; none if it is not one of these.
    pub fn parse(text: &str) -> Option<ErrorReason> {
        ErrorReason::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }
}

impl std::fmt::Display for ErrorReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns the words in capitals that begin a line of a list, behind `bullet`, between two lines.
    fn listed<'a>(text: &'a str, from: &str, to: &str, bullet: &str) -> BTreeSet<(&'a str, &'a str)> {
        let (_, rest) = text.split_once(from).expect(from);
        let (list, _) = rest.split_once(to).expect(to);
        let words = |line: &'a str| {
            let mut words = line.strip_prefix(bullet)?.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
            let mut next = || words.by_ref().find(|word| word.len() > 3);
            Some((next()?, next()?))
        };
        list.lines().filter_map(words).collect()
    }

    #[test]
    fn the_proto_and_the_page_list_the_same_reasons() {
        let codes = |reason: ErrorReason| match reason.code() {
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::Internal => "INTERNAL",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::NotFound => "NOT_FOUND",
            Code::Unauthenticated => "UNAUTHENTICATED",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::Unavailable => "UNAVAILABLE",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::Aborted => "ABORTED",
            other => panic!("{other:?} is not expected of a reason"),
        };
        let ours: BTreeSet<_> = ErrorReason::ALL.iter().map(|&reason| (reason.as_str(), codes(reason))).collect();
        assert_eq!(ours.len(), ErrorReason::ALL.len());
        let proto = include_str!("../../../proto/lockbroker/v1/lockbroker.proto");
        assert_eq!(listed(proto, "// Errors:", "syntax = ", "//   "), ours);
        let page = include_str!("../../../docs/protocol.md");
        assert_eq!(listed(page, "## Reasons", "\n## ", "| `"), ours);
    }

    #[test]
    fn reasons_are_read_as_they_are_written() {
        for &reason in ErrorReason::ALL {
            assert_eq!(ErrorReason::parse(reason.as_str()), Some(reason));
        }
        assert_eq!(ErrorReason::parse("LATER"), None);
    }
}

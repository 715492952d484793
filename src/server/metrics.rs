//! The metrics of the process, its connections and its calls.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tonic::Code;

use super::dispatch::method_of;
use super::{LOCK_ADMIN, LOCK_SERVICE};
use crate::metrics::{By, Counter, Gauge, Label, Metrics};
use crate::service::connection::ConnectionMetrics;

/// The calls of the lock services, the most frequent first. No two have the same name.
const METHODS: [&str; 10] = [
    "Acquire",
    "WaitAcquire",
    "Release",
    "Session",
    "AcquireLease",
    "RenewLease",
    "GetLock",
    "ListLocks",
    "ListWaiters",
    "RevokeLock",
];
/// The label of all other calls: health checks, reflection, methods that do not exist.
const OTHER: &str = "other";

/// The metrics of one server.
#[derive(Debug)]
pub(super) struct ServerMetrics {
    pub(super) ready: Gauge,
    pub(super) draining: Gauge,
    pub(super) connections: Arc<ConnectionMetrics>,
    pub(super) shed: Counter,
    pub(super) calls: CallMetrics,
}

/// The metrics of all calls.
#[derive(Debug, Clone)]
pub(super) struct CallMetrics {
    methods: [(&'static str, Arc<MethodMetrics>); METHODS.len()],
    other: Arc<MethodMetrics>,
}

/// The metrics of one method's calls.
#[derive(Debug)]
pub(super) struct MethodMetrics {
    open: Gauge,
    ended: By<Code>,
}

impl ServerMetrics {
    pub(super) fn new(metrics: &Metrics) -> ServerMetrics {
        metrics
            .gauges("build_info", "1; the labels say which build this is")
            .of(&[("version", env!("CARGO_PKG_VERSION"))])
            .set(true);
        // A clock before 1970 is wrong: the start shows as 0 then.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        metrics
            .gauge("start_time_seconds", "When this process began, in seconds since 1970")
            .set(i64::try_from(since_1970).unwrap_or(i64::MAX));

        let ended = metrics.counters("rpcs", "Calls that have ended, streams included, by their status");
        let open = metrics.gauges("rpcs_open", "Calls that have not ended, streams included");
        let method = |method| {
            let label = [("method", method)];
            Arc::new(MethodMetrics { open: open.of(&label), ended: ended.by("code", &label) })
        };
        ServerMetrics {
            ready: metrics.gauge("ready", "1 while the broker says that it is ready: a shard is open, and it stays"),
            draining: metrics.gauge("draining", "1 from the signal to stop on"),
            connections: Arc::new(ConnectionMetrics {
                open: metrics.gauge("connections", "Connections of clients"),
                ended: metrics
                    .counters("connections_ended", "Connections of clients that have ended, by how")
                    .by("how", &[]),
            }),
            shed: metrics.counter("rpcs_shed", "Calls refused for --max-concurrent-rpcs"),
            calls: CallMetrics { methods: METHODS.map(|name| (name, method(name))), other: method(OTHER) },
        }
    }
}

impl CallMetrics {
    /// Returns the metrics of the method that a path names.
    pub(super) fn of(&self, path: &str) -> &Arc<MethodMetrics> {
        let name = method_of(path, LOCK_SERVICE).or_else(|| method_of(path, LOCK_ADMIN));
        self.methods.iter().find(|(known, _)| name == Some(known)).map_or(&self.other, |(_, method)| method)
    }
}

impl MethodMetrics {
    /// Counts a call that has begun; [`MethodMetrics::end`] follows.
    pub(super) fn begin(&self) {
        self.open.begin();
    }

    /// Counts a call that has ended.
    pub(super) fn end(&self, status: Code) {
        self.open.end();
        self.ended.inc(status);
    }
}

impl Label for Code {
    const ALL: &'static [Code] = &[
        Code::Ok,
        Code::Cancelled,
        Code::Unavailable,
        Code::Aborted,
        Code::InvalidArgument,
        Code::ResourceExhausted,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::Unimplemented,
        Code::Internal,
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::NotFound,
        Code::AlreadyExists,
        Code::FailedPrecondition,
        Code::OutOfRange,
        Code::DataLoss,
    ];

    fn label(self) -> &'static str {
        match self {
            Code::Ok => "OK",
            Code::Cancelled => "CANCELLED",
            Code::Unknown => "UNKNOWN",
            Code::InvalidArgument => "INVALID_ARGUMENT",
            Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Code::NotFound => "NOT_FOUND",
            Code::AlreadyExists => "ALREADY_EXISTS",
            Code::PermissionDenied => "PERMISSION_DENIED",
            Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Code::FailedPrecondition => "FAILED_PRECONDITION",
            Code::Aborted => "ABORTED",
            Code::OutOfRange => "OUT_OF_RANGE",
            Code::Unimplemented => "UNIMPLEMENTED",
            Code::Internal => "INTERNAL",
            Code::Unavailable => "UNAVAILABLE",
            Code::DataLoss => "DATA_LOSS",
            Code::Unauthenticated => "UNAUTHENTICATED",
        }
    }
}

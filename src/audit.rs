//! Writes who had which lock when: a line of JSON for each grant, release, loss and refusal.
//!
//! The lines are events of `tracing` with a target of their own, so that they cost next to nothing while nobody asked for
//! them. A line is dropped, and counted, rather than making a broker wait for a disk. No line has a lock id.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use rustix::fs::{OFlags, fcntl_setfl};

use crate::lock::{FencingToken, LockName, Owner};
use crate::metrics::{Label, Metrics};
use crate::output::Output;
use crate::policy::Identity;

/// The target of the audit's events.
pub(crate) const TARGET: &str = "lockbroker::audit";

/// Says who made a call: all by which its connection is known.
pub(crate) fn caller(identities: &[Identity]) -> Option<Arc<str>> {
    tracing::enabled!(target: TARGET, tracing::Level::INFO).then(|| {
        let words: Vec<String> = identities.iter().map(Identity::to_string).collect();
        words.join(",").into()
    })
}

/// A lock and the client that it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a LockName,
    pub(crate) owner: &'a Owner,
    pub(crate) caller: Option<&'a str>,
}

impl Subject<'_> {
    /// Notes a grant, or a reattach, `waited` after it was asked for.
    pub(crate) fn granted(self, token: FencingToken, reattached: bool, waited: Duration) {
        let event = if reattached { "reattached" } else { "granted" };
        self.write(event, Some(token), "", Some(waited.as_secs_f64()));
    }

    /// Notes a request that got no lock.
    pub(crate) fn refused(self, reason: &str) {
        self.write("refused", None, reason, None);
    }

    /// Notes that the client was told of a loss.
    pub(crate) fn lost(self, token: FencingToken, reason: impl Label) {
        self.write("lost", Some(token), reason.label(), None);
    }

    /// Notes the end of a grant.
    pub(crate) fn released(self, token: FencingToken, cause: impl Label) {
        self.write("released", Some(token), cause.label(), None);
    }

    fn write(self, event: &str, token: Option<FencingToken>, reason: &str, waited_seconds: Option<f64>) {
        let Subject { name, owner, caller } = self;
        tracing::info!(
            target: TARGET,
            event,
            name = name.as_str(),
            owner = owner.as_str(),
            caller,
            token = token.map(FencingToken::get),
            reason,
            waited_seconds,
        );
    }
}

/// Notes a Release call: who called it, for which grant, and what came of it.
pub(crate) fn release_called(name: &LockName, caller: Option<&str>, token: FencingToken, outcome: &str) {
    tracing::info!(target: TARGET, event = "release_called", name = name.as_str(), caller, token = token.get(), outcome);
}

/// Notes that `caller` wanted a lock revoked, and what came of it.
pub(crate) fn revoke_called(name: &LockName, caller: Option<&str>, immediate: bool, outcome: &str) {
    tracing::info!(target: TARGET, event = "revoke_called", name = name.as_str(), caller, immediate, outcome);
}

/// Notes that the policy refused `caller` what it wanted `to` do with a lock.
pub(crate) fn denied(name: &LockName, caller: Option<&str>, to: &str) {
    tracing::info!(target: TARGET, event = "denied", name = name.as_str(), caller, to);
}

/// Notes that the policy refused `caller` what it wanted `to` do with all locks whose names begin so.
pub(crate) fn denied_prefix(prefix: &str, caller: Option<&str>, to: &str) {
    tracing::info!(target: TARGET, event = "denied", prefix, caller, to);
}

/// The file that the audit's lines go to.
#[derive(Debug, Clone)]
pub(crate) struct AuditFile(Output);

impl AuditFile {
    /// Opens `path` to append to it; `-` is stdout.
    ///
    /// # Errors
    /// Returns the operating system's error. A named pipe that nobody reads is an error, so that the start does not wait.
    pub(crate) fn open(path: &Path) -> io::Result<AuditFile> {
        if path == Path::new("-") {
            return Ok(AuditFile(Output::start("audit", io::stdout())));
        }
        let at_once = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().create(true).append(true).custom_flags(at_once).open(path)?;
        // From here on its own thread may wait for it.
        fcntl_setfl(&file, OFlags::APPEND)?;
        Ok(AuditFile(Output::start("audit", file)))
    }

    /// Returns the output to which `tracing` writes the lines.
    pub(crate) fn writer(&self) -> Output {
        self.0.clone()
    }

    /// Declares how many lines were dropped.
    pub(crate) fn count(&self, metrics: &Metrics) {
        let help = "Lines of the audit that were not written: too many waited, or the file could not be written";
        metrics.declare("audit_dropped", help, Dropped(self.0.clone()));
    }

    /// Waits until everything is written, or for a second.
    pub(crate) fn end(&self) {
        self.0.flush();
    }
}

/// The number of lines that were dropped, read when metrics are.
#[derive(Debug, Clone)]
struct Dropped(Output);

impl EncodeMetric for Dropped {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        encoder.encode_counter::<NoLabelSet, _, u64>(&self.0.lost_so_far(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

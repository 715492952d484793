//! Sets up logs: text for people or JSON for machines, on stderr. With the cargo feature `otlp`, traces for a
//! collector as well.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tracing::Metadata;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, Registry};

use crate::audit::{self, AuditFile};
use crate::config::{LogFormat, LogOptions, TraceOptions};
use crate::metrics::Metrics;
use crate::output;
#[cfg(feature = "otlp")]
use crate::traces::Traces;

/// The audit, and the traces that have not been sent yet. [`Telemetry::end`] writes and sends what is left.
#[derive(Debug)]
#[must_use = "traces that have not been sent are lost without Telemetry::end"]
pub struct Telemetry {
    audit: Option<AuditFile>,
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
}

impl Telemetry {
    /// Counts the audit's lost lines among `metrics`, if there is an audit.
    pub fn count(&self, metrics: &Metrics) {
        if let Some(audit) = &self.audit {
            audit.count(metrics);
        }
    }

    /// Writes the rest of the audit and sends the traces that have not been sent yet. This takes three seconds at most. Logs
    /// need no such call.
    ///
    /// # Cancel safety
    /// The traces are sent all the same while the runtime lives.
    pub async fn end(self) {
        if let Some(audit) = &self.audit {
            audit.end();
        }
        #[cfg(feature = "otlp")]
        if let Some(traces) = self.traces {
            traces.end().await;
        }
    }
}

/// Logging or tracing could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InitError {
    /// It was set up before.
    #[error(transparent)]
    Again(#[from] TryInitError),

    /// The file of the audit cannot be opened.
    #[error("cannot write the audit to {} (--audit): {error}", path.display())]
    Audit {
        /// The path as given.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },

    /// The collector's address, or a variable `OTEL_EXPORTER_OTLP_…`, is wrong.
    #[cfg(feature = "otlp")]
    #[error("cannot send traces to --otlp-endpoint: {0}")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Sets up logs on stderr as `log` says, traces as `traces` says, and the audit to the file `audit`. Call it within
/// the runtime that is to send the traces.
///
/// # Errors
/// Fails as [`InitError`] says. A collector that cannot be reached is no error.
pub fn init(log: &LogOptions, traces: &TraceOptions, audit: Option<&Path>) -> Result<Telemetry, InitError> {
    let audit = match audit {
        Some(path) => {
            let failed = |error| InitError::Audit { path: path.to_owned(), error };
            Some(AuditFile::open(path).map_err(failed)?)
        }
        None => None,
    };
    let layers = layers(log, audit.as_ref());
    let TraceOptions {
        #[cfg(feature = "otlp")]
        otlp_endpoint,
    } = traces;
    #[cfg(feature = "otlp")]
    let traces = otlp_endpoint.as_ref().map(Traces::start).transpose()?;
    #[cfg(feature = "otlp")]
    let layers: Vec<Part> = layers.into_iter().chain(traces.as_ref().map(|traces| traces.layer().boxed())).collect();

    tracing_subscriber::registry().with(layers).try_init()?;
    Ok(Telemetry {
        audit,
        #[cfg(feature = "otlp")]
        traces,
    })
}

/// A part of the subscriber, with a filter of its own.
type Part = Box<dyn Layer<Registry> + Send + Sync>;

/// Makes what writes logs, and the audit if there is one. Only layers that are there, each with a filter that says up to
/// which level it wants anything: otherwise all spans of all crates would be made, a tenth of what a broker does.
fn layers(log: &LogOptions, audit: Option<&AuditFile>) -> Vec<Part> {
    let terminal = io::stderr().is_terminal();
    let json = match log.log_format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = fmt::layer().with_writer(output::stderr().clone()).with_ansi(terminal).log_internal_errors(false);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    let is_audit = |metadata: &Metadata<'_>| metadata.target() == audit::TARGET;
    let log_only = filter_fn(move |metadata| !is_audit(metadata)).with_max_level_hint(LevelFilter::TRACE);
    let mut layers = vec![lines.with_filter(log.log.clone().and(log_only)).boxed()];
    layers.extend(audit.map(|audit| {
        let lines = fmt::layer().json().flatten_event(true).with_target(false).with_level(false);
        let lines = lines.with_current_span(false).with_span_list(false).with_writer(audit.writer());
        lines.with_filter(filter_fn(is_audit).with_max_level_hint(LevelFilter::INFO)).boxed()
    }));
    layers
}

#[cfg(test)]
mod tests {
    use tracing::Subscriber;

    use super::*;

    /// What nobody wants is not made: h2 alone has a dozen spans for each frame.
    #[test]
    fn a_span_that_no_filter_lets_through_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let audit = AuditFile::open(&folder.path().join("audit")).unwrap();
        for (level, audit, most) in [
            ("warn", None, LevelFilter::WARN),
            ("info", Some(&audit), LevelFilter::INFO),
            ("off", Some(&audit), LevelFilter::INFO),
            ("off", None, LevelFilter::OFF),
        ] {
            let log = LogOptions { log: level.parse().unwrap(), log_format: LogFormat::Json };
            let subscriber = tracing_subscriber::registry().with(layers(&log, audit));
            assert_eq!(subscriber.max_level_hint(), Some(most), "{level}");
            tracing::subscriber::with_default(subscriber, || {
                assert!(tracing::debug_span!("made for nobody").is_disabled(), "{level}");
                assert_eq!(tracing::enabled!(target: audit::TARGET, tracing::Level::INFO), audit.is_some());
            });
        }
    }
}

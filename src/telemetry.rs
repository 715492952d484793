//! Sets up logs: text for people or JSON for machines, on stderr. With the cargo feature `otlp`, traces for a
//! collector as well.

use std::io::{self, IsTerminal};

use thiserror::Error;
use tracing_subscriber::Layer;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogOptions, TraceOptions};
use crate::output;
#[cfg(feature = "otlp")]
use crate::traces::Traces;

/// The traces that have not been sent yet. [`Telemetry::end`] sends them.
#[derive(Debug)]
#[must_use = "traces that have not been sent are lost without Telemetry::end"]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    traces: Option<Traces>,
}

impl Telemetry {
    /// Sends the traces that have not been sent yet. This takes two seconds at most. Logs need no such call.
    ///
    /// # Cancel safety
    /// The traces are sent all the same while the runtime lives.
    pub async fn end(self) {
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

    /// The collector's address, or a variable `OTEL_EXPORTER_OTLP_…`, is wrong.
    #[cfg(feature = "otlp")]
    #[error("cannot send traces to --otlp-endpoint: {0}")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Sets up logs on stderr as `log` says, and traces as `traces` says. Call it within the runtime that is to send the
/// traces.
///
/// # Errors
/// Fails as [`InitError`] says. A collector that cannot be reached is no error.
pub fn init(log: &LogOptions, traces: &TraceOptions) -> Result<Telemetry, InitError> {
    let terminal = io::stderr().is_terminal();
    let json = match log.log_format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = fmt::layer().with_writer(output::stderr().clone()).with_ansi(terminal).log_internal_errors(false);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(log.log.clone()));

    let TraceOptions {
        #[cfg(feature = "otlp")]
        otlp_endpoint,
    } = traces;
    #[cfg(feature = "otlp")]
    let traces = otlp_endpoint.as_ref().map(Traces::start).transpose()?;
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(traces.as_ref().map(Traces::layer));

    subscriber.try_init()?;
    Ok(Telemetry {
        #[cfg(feature = "otlp")]
        traces,
    })
}

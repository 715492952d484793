//! Logs: text for people, JSON for machines, on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::Layer;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogFormat, LogOptions};

/// Sends what this process logs to stderr from now on, as `options` say.
///
/// # Errors
/// Only if logging was set up before.
pub fn init(options: &LogOptions) -> Result<(), TryInitError> {
    let terminal = io::stderr().is_terminal();
    let json = match options.log_format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(terminal);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    tracing_subscriber::registry().with(lines.with_filter(options.log.clone())).try_init()
}

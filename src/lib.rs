//! Distributed locks over gRPC, kept in memcached and tied to the client's stream.

// Their failures would end the process, and a reader that does not read would hold it up: `output` is for that.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod client;
pub mod clock;
pub mod error_reason;
#[cfg(feature = "tls")]
pub mod files;
pub mod proto;
#[cfg(feature = "tls")]
pub mod tls;

#[cfg(feature = "server")]
mod audit;
#[cfg(feature = "server")]
pub mod bell;
#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod keeper;
#[cfg(feature = "server")]
pub mod lock;
#[cfg(feature = "server")]
pub mod metrics;
#[cfg(feature = "server")]
mod mutations;
#[cfg(feature = "server")]
pub mod output;
#[cfg(feature = "server")]
pub mod policy;
#[cfg(feature = "server")]
mod quota;
#[cfg(feature = "server")]
mod rate_limited;
#[cfg(feature = "server")]
pub mod reloaded;
#[cfg(feature = "server")]
pub mod server;
#[cfg(feature = "server")]
pub mod service;
#[cfg(feature = "server")]
pub mod session;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod stream;
#[cfg(feature = "server")]
pub mod telemetry;
#[cfg(feature = "otlp")]
mod traces;
#[cfg(feature = "server")]
mod waiters;
#[cfg(feature = "server")]
pub mod wake;

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Distributed locks over gRPC, kept in memcached and tied to the client's stream.

// Their failures would end the process, and a reader that does not read would hold it up: `output` is for that.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod tls;

/// The Rust client, a crate of its own.
pub use lockbroker_client as client;
pub use lockbroker_client::{clock, files, proto};
/// Names, ids and times of locks, which the core needs too.
pub use lockbroker_core::lock;

mod accounts;
mod aside;
mod audit;
pub mod broker;
pub mod cli;
pub mod config;
mod etag;
pub mod ids;
pub mod metrics;
mod mutations;
pub mod output;
pub mod policy;
mod quota;
mod rate_limited;
pub mod reloaded;
pub mod server;
pub mod service;
pub mod signal_mask;
pub mod store;
pub mod telemetry;
mod times;
#[cfg(feature = "otlp")]
mod traces;
pub mod wake;

/// The README's code compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! The tests that need nothing but themselves: one module per behaviour, in one program, so that there is one to link and
//! those that wait for a time to pass do it side by side. What needs a process of its own, or quiet, lies beside this.
//!
//! ```text
//! ./scripts/test --test suite lingers::
//! ```

mod admin_page;
mod adopt;
mod alerts;
mod audit;
mod authority;
mod bad_input;
mod bench;
mod change;
mod client;
mod compression;
mod container;
mod contract;
mod draining;
mod election;
mod environment;
mod errors;
mod formats;
mod full_memory;
mod gone;
mod health_command;
mod holds;
mod http;
mod keep;
mod lease;
mod limits;
mod lingers;
mod listing;
mod metrics;
mod min_hold;
mod moves;
mod notice;
mod odd_servers;
mod old_memory;
#[cfg(feature = "otlp")]
mod otlp;
mod outputs;
mod pages;
mod permits;
mod policy;
mod proxies;
mod python;
mod quarantine;
mod quotas;
mod reattach;
mod recipes;
mod release;
mod restart;
mod revoke;
mod rolling;
mod rules;
mod run;
mod security_page;
mod server;
mod servers;
mod session;
mod shard_status;
mod silence;
mod sockets;
mod stopped;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod together;
mod tools;
mod r#try;
mod two_shards;
mod unsafe_servers;
mod wait;
mod wakeup;

//! Distributed locks over gRPC, kept in memcached and tied to the client's stream.

pub mod client;
pub mod clock;
pub mod proto;

#[cfg(feature = "server")]
pub mod cli;
#[cfg(feature = "server")]
pub mod lock;

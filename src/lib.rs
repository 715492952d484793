//! Distributed locks over gRPC, kept in memcached and tied to the client's stream.

pub mod clock;
pub mod proto;

#[cfg(feature = "server")]
pub mod lock;
#[cfg(feature = "server")]
pub mod store;
#[cfg(feature = "server")]
pub mod keeper;
#[cfg(feature = "server")]
pub mod stream;
#[cfg(feature = "server")]
mod waiters;
#[cfg(feature = "server")]
pub mod session;

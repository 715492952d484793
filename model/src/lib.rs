//! A model of lockbroker's protocol on memcached, for a checker that tries every order in which things can happen.
//! README.md says what is in it and what is not.

mod broker;
mod canon;
mod client;
mod properties;

pub mod check;
pub mod configurations;
pub mod coverage;
pub mod memcached;
pub mod model;
pub mod rules;
pub mod sessions;
mod shard;
pub mod state;
pub mod teeth;
pub mod topology;
pub use properties::{FREE_AGAIN, LEASE_KEPT, LINGER_WHOLE, ONE_HOLDER, TOKENS_RISE};

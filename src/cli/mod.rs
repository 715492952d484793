//! The commands of the command line that are clients of a broker, those that look after its servers, and how they read their
//! arguments.

mod acquire;
pub mod bench;
pub mod bound;
mod common;
pub mod elect;
pub mod environment;
pub mod get;
pub mod health;
pub mod list;
mod lists;
mod misuse;
pub mod observe;
mod processes;
pub mod revoke;
pub mod run;
pub mod shard;
pub mod signals;
mod supervise;
pub mod waiters;
pub mod watch;

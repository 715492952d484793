//! The domain as state machines without I/O: what a broker does with locks, streams and its store.
//!
//! Whoever drives it says what time it is, draws what is random, and does what takes time. So the same code can be
//! shipped and simulated.

mod admission;
mod asking;
mod broker;
pub mod command;
mod contention;
pub mod env;
mod errand;
pub mod event;
pub mod failure;
mod group;
mod hold;
mod ledger;
pub mod listing;
pub mod lock;
mod names;
pub mod normal;
mod outbox;
mod queue;
pub mod request;
pub mod rules;
mod session;
pub mod shard;
mod slab;
pub mod store;
pub mod table;
mod telling;
mod tickets;
mod time;
mod timers;
mod wakeups;

pub use broker::{Broker, Call, Counts, Output, RequestId, Seen};
pub use group::MOST_TOGETHER;
pub use outbox::{Item, Read};
pub use session::StreamKey;
pub use time::Time;

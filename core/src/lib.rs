//! The domain as state machines without I/O: what a broker does with locks, streams and its store.
//!
//! Whoever drives it says what time it is, draws what is random, and does what takes time. So the same code is shipped,
//! simulated and explored by a model.

pub mod event;
pub mod failure;
pub mod lock;
pub mod rules;
pub mod store;
mod time;

pub use time::Time;

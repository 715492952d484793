//! A deployment in one thread, out of one seed.
//!
//! [`World`] is a heap of events by time. Its brokers are the shipped core. Everything that is left to chance comes from
//! [`Choices`], so a seed, or a list of choices, is a run. `check` says what must hold after every event, and `finish`
//! what must hold when all faults are over.

#![allow(missing_docs)]

mod acts;
mod brokers;
mod campaigns;
mod check;
mod choices;
mod client;
pub mod command;
mod event;
mod exchanges;
mod faults;
mod finish;
mod lists;
pub mod marks;
pub mod memcached;
mod messages;
mod net;
mod operator;
mod options;
mod report;
mod rollout;
pub mod scenario;
mod servers;
mod shipped;
pub mod shrink;
mod streams;
mod themes;
mod time;
mod words;
mod world;

pub use choices::{Asked, Choices};
pub use options::{Fault, Options};
pub use report::{Changing, Report};
pub use themes::Theme;
pub use world::World;

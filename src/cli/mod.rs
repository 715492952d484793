//! The commands of the command line that are clients of a broker.

pub mod bench;
pub mod bound;
mod common;
pub mod get;
pub mod health;
pub mod run;
mod supervise;

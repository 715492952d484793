//! The outer shell of the broker, on loopback, around a service that only pretends to keep locks.

mod connection;
mod health;
mod limits;
mod pretender;
pub(crate) mod raw;
mod shutdown;

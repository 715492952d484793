//! The outer shell of the broker, on loopback, around a service that only pretends to keep locks.

#![cfg(feature = "server")]

mod connection;
mod health;
mod limits;
mod pretender;
mod raw;
mod shutdown;

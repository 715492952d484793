//! The programs of `docs/clients.md`: others' gRPC, and nothing of ours but the proto. They take, await, lose and
//! release locks over TCP and Unix sockets, and never act on a lock that somebody else may have.
//!
//! Each says `acting` every 20 ms while it works. The test notes when a line arrives, which is never before it was
//! written, and holds it against what the brokers do: whether somebody else has been granted the lock.

mod connect;
mod judge;
mod losing;
mod page;
#[path = "../support/mod.rs"]
mod support;
mod testee;
mod working;

//! The gRPC side of the broker: the wire format, and what a connection tells about its client.

pub mod connection;

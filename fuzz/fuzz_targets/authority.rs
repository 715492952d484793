//! A client that sends any bytes over a Unix socket.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lockbroker::server::fuzzing::frames(bytes));

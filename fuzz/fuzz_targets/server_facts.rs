//! A server that says any bytes of itself.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lockbroker::store::memcached::fuzzing::server_facts(bytes));

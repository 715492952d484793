//! A server that answers a batch with any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lockbroker::store::memcached::fuzzing::answers(bytes));

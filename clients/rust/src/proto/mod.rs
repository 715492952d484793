//! The wire format, generated from `proto/lockbroker/v1/lockbroker.proto` and committed;
//! `tests/stubs.rs` says how to write it anew.

#![allow(missing_docs, clippy::all, rustdoc::all)]

mod codec;

pub use codec::SmallCodec;

include!("lockbroker.v1.rs");

/// The descriptor of everything here, encoded, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("lockbroker.v1.bin");

impl From<LockEvent> for AcquireResponse {
    fn from(event: LockEvent) -> AcquireResponse {
        AcquireResponse { event: Some(event) }
    }
}

impl From<LockEvent> for WaitAcquireResponse {
    fn from(event: LockEvent) -> WaitAcquireResponse {
        WaitAcquireResponse { event: Some(event) }
    }
}

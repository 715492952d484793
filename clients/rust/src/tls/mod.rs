//! Makes TLS settings from certificates and keys. TLS 1.2 and 1.3, by rustls.

mod client;
pub mod pem;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub(crate) use client::{ClientFiles, connector};

/// The name of HTTP/2 in ALPN, where client and server agree on a protocol.
pub const H2: &[u8] = b"h2";

/// Returns the ciphers.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

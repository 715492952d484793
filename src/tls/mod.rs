//! Makes TLS settings from certificates and keys, for the client and for the broker. TLS 1.2 and 1.3, by rustls.

mod client;
mod pem;
#[cfg(feature = "server")]
mod server;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub(crate) use client::{ClientFiles, connector};
#[cfg(feature = "server")]
pub use server::ServerFiles;

/// The name of HTTP/2 in ALPN, where client and server agree on a protocol.
const H2: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

//! TLS: what is made of certificates and keys, for the client and for the broker. Version 1.2 and 1.3, by rustls.

mod client;
mod pem;
#[cfg(feature = "server")]
mod server;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub(crate) use client::{ClientFiles, connector};
#[cfg(feature = "server")]
pub use server::ServerFiles;

/// What HTTP/2 is called where the protocol is agreed on.
const H2: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

//! Why the two sides of a connection cannot agree on TLS.

use std::sync::{Arc, Mutex};

use super::mutex::lock;

/// The reason for which the two sides of a connection cannot agree on TLS. TLS may find it only after the connection
/// stands, and an HTTP/2 client has no room for it in its own errors.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// Notes what was found.
    #[cfg(feature = "tls")]
    pub(crate) fn note(&self, why: String) {
        *lock(&self.0) = Some(why);
    }

    /// Returns and forgets what was found last.
    pub fn take(&self) -> Option<String> {
        lock(&self.0).take()
    }
}

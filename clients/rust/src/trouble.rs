//! Why the two sides of a connection cannot talk to each other.

use std::sync::{Arc, Mutex};

use super::error::Error;
use super::mutex::lock;

/// The reason for which the two sides of a connection cannot talk to each other. It may be found only after the
/// connection stands, and an HTTP/2 client has no room for it in its own errors.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// The endpoint as given.
    endpoint: Arc<str>,
    found: Arc<Mutex<Option<Error>>>,
}

impl Trouble {
    pub(crate) fn new(endpoint: &str) -> Trouble {
        Trouble { endpoint: endpoint.into(), found: Arc::default() }
    }

    /// Notes that one side does not accept the other's certificate.
    #[cfg(feature = "tls")]
    pub(crate) fn disagrees(&self, reason: String) {
        *lock(&self.found) = Some(Error::Handshake { endpoint: self.endpoint.to_string(), reason });
    }

    /// Notes that the other side speaks another protocol.
    pub(crate) fn speaks(&self, reason: &str) {
        *lock(&self.found) = Some(Error::Protocol { endpoint: self.endpoint.to_string(), reason: reason.to_owned() });
    }

    /// Returns and forgets what was found last.
    pub fn take(&self) -> Option<Error> {
        lock(&self.found).take()
    }
}

//! Parses an endpoint as people write it, and connects to it.

use tonic::transport::{self, Channel, Endpoint};

use super::error::Error;
use super::settings::chain;

#[cfg(feature = "tls")]
use crate::tls::ClientFiles;
#[cfg(feature = "tls")]
use std::sync::Arc;

/// Connects to one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    endpoint: Endpoint,
    /// None: plain text.
    #[cfg(feature = "tls")]
    tls: Option<Arc<ClientFiles>>,
}

impl Connector {
    /// Parses `text`. Fails if it is no endpoint, or if it needs the TLS files and they cannot be used.
    pub(crate) fn new(text: &str, #[cfg(feature = "tls")] files: &ClientFiles) -> Result<Connector, Error> {
        let endpoint = plain_endpoint(text)?;
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(Connector {
                endpoint,
                #[cfg(feature = "tls")]
                tls: None,
            });
        }
        let wrong = |reason: String| Error::Endpoint { endpoint: text.into(), reason };
        #[cfg(not(feature = "tls"))]
        return Err(wrong("this client was built without TLS (the crate's feature `tls`)".into()));
        #[cfg(feature = "tls")]
        {
            files.read().map_err(|error| Error::Tls { reason: error.to_string() })?;
            // tonic is told nothing of TLS, so that it does not matter whether its own is compiled in.
            let host = endpoint.uri().host().unwrap_or_default();
            let port = endpoint.uri().port_u16().unwrap_or(443);
            let plain = Endpoint::from_shared(format!("http://{host}:{port}")).map_err(|error| wrong(chain(&error)))?;
            let origin = endpoint.uri().clone();
            Ok(Connector { endpoint: plain.origin(origin), tls: Some(Arc::new(files.clone())) })
        }
    }

    /// Makes a new connection.
    pub(crate) async fn connect(&self) -> Result<Channel, transport::Error> {
        #[cfg(feature = "tls")]
        if let Some(files) = &self.tls {
            return self.endpoint.connect_with_connector(crate::tls::connector(Arc::clone(files))).await;
        }
        self.endpoint.connect().await
    }

    /// Makes a channel that connects when it is first used, and again after a failure.
    pub(crate) fn connect_lazy(&self) -> Channel {
        #[cfg(feature = "tls")]
        if let Some(files) = &self.tls {
            return self.endpoint.connect_with_connector_lazy(crate::tls::connector(Arc::clone(files)));
        }
        self.endpoint.connect_lazy()
    }
}

/// Parses `text` into an endpoint. An `https` one still needs TLS around it.
pub(crate) fn plain_endpoint(text: &str) -> Result<Endpoint, Error> {
    let full = if text.starts_with("unix:") || text.contains("://") { text.into() } else { format!("http://{text}") };
    // HTTP/2 keepalive stays off: it would close a stream that is silent, and closing is the client's word.
    Endpoint::from_shared(full).map_err(|error| Error::Endpoint { endpoint: text.into(), reason: chain(&error) })
}

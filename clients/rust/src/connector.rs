//! Parses an endpoint as people write it, and connects to it.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tonic::transport::{self, Channel, Endpoint};

use super::error::{Error, chain};
use super::plain;
use super::trouble::Trouble;

#[cfg(feature = "tls")]
use std::sync::Arc;

#[cfg(feature = "tls")]
use crate::tls::ClientFiles;

/// Connects to one endpoint.
#[derive(Debug, Clone)]
pub struct Connector {
    /// The endpoint as given.
    name: String,
    endpoint: Endpoint,
    trouble: Trouble,
    /// The files for TLS; none for plain text.
    #[cfg(feature = "tls")]
    tls: Option<Arc<ClientFiles>>,
    /// The name that the certificate has to be for, where that is not the endpoint's host.
    #[cfg(feature = "tls")]
    host: Option<Arc<str>>,
}

impl Connector {
    /// Parses `text`. Fails if it is no endpoint, or if it needs the TLS files and they cannot be used.
    pub(crate) fn new(text: &str, #[cfg(feature = "tls")] files: &ClientFiles) -> Result<Connector, Error> {
        let endpoint = plain_endpoint(text)?;
        let (name, trouble) = (text.to_owned(), Trouble::new(text));
        #[cfg(feature = "tls")]
        if *files != ClientFiles::default() && !text.contains("://") && !text.starts_with("unix:") {
            // Plain text would be a surprise: the files say that TLS is meant.
            let reason = format!("with certificates it has to say if it speaks TLS: https://{text} or http://{text}");
            return Err(Error::Endpoint { endpoint: text.into(), reason });
        }
        if endpoint.uri().scheme_str() != Some("https") {
            return Ok(Connector {
                name,
                endpoint,
                trouble,
                #[cfg(feature = "tls")]
                tls: None,
                #[cfg(feature = "tls")]
                host: None,
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
            let tls = Some(Arc::new(files.clone()));
            Ok(Connector { name, endpoint: plain.origin(origin), trouble, tls, host: None })
        }
    }

    /// Returns the endpoint as given.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the place in which the connector notes why the two sides cannot talk.
    pub fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }

    /// Resolves the endpoint's name, and returns a connector for each address behind it. Those are named as addresses. An
    /// endpoint with a single address stays as it is.
    ///
    /// # Errors
    /// The name cannot be resolved.
    pub async fn each(&self) -> io::Result<Vec<Connector>> {
        let uri = self.endpoint.uri();
        let host = uri.host().unwrap_or_default();
        if self.is_unix() || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Ok(vec![self.clone()]);
        }
        // An endpoint has the port of its scheme where it names none, and that for TLS names its own.
        let port = uri.port_u16().unwrap_or(80);
        let addresses: BTreeSet<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
        if addresses.len() < 2 {
            return Ok(vec![self.clone()]);
        }
        addresses.into_iter().map(|address| self.at(address)).collect()
    }

    /// Returns a connector to one address behind the endpoint's name, for which certificates are good as before.
    fn at(&self, address: SocketAddr) -> io::Result<Connector> {
        let (name, origin) = (address.to_string(), self.endpoint.uri().clone());
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(io::Error::other)?;
        Ok(Connector {
            trouble: Trouble::new(&name),
            name,
            endpoint: endpoint.origin(origin.clone()),
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
            #[cfg(feature = "tls")]
            host: origin.host().map(Arc::from),
        })
    }

    /// Makes a new connection.
    pub async fn connect(&self) -> Result<Channel, transport::Error> {
        #[cfg(feature = "tls")]
        if let Some(files) = &self.tls {
            let connector = crate::tls::connector(Arc::clone(files), self.host.clone(), self.trouble());
            return self.endpoint.connect_with_connector(connector).await;
        }
        match self.is_unix() {
            true => self.endpoint.connect().await,
            false => self.endpoint.connect_with_connector(plain::connector(self.trouble())).await,
        }
    }

    /// Makes a channel that connects when it is first used, and again after a failure.
    pub fn connect_lazy(&self) -> Channel {
        #[cfg(feature = "tls")]
        if let Some(files) = &self.tls {
            let connector = crate::tls::connector(Arc::clone(files), self.host.clone(), self.trouble());
            return self.endpoint.connect_with_connector_lazy(connector);
        }
        match self.is_unix() {
            true => self.endpoint.connect_lazy(),
            false => self.endpoint.connect_with_connector_lazy(plain::connector(self.trouble())),
        }
    }

    fn is_unix(&self) -> bool {
        self.name.starts_with("unix:")
    }
}

/// Parses `text` into an endpoint. An `https` one still needs TLS around it.
pub fn plain_endpoint(text: &str) -> Result<Endpoint, Error> {
    let wrong = |reason: String| Error::Endpoint { endpoint: text.into(), reason };
    let full = match text.split_once("://") {
        Some((scheme, _)) if !["http", "https", "unix"].contains(&scheme) => {
            return Err(wrong(format!("there is no scheme {scheme}://")));
        }
        None if !text.starts_with("unix:") => format!("http://{text}"),
        _ => text.to_owned(),
    };
    // HTTP/2 keepalive stays off: it would close a silent stream, and the broker takes a close for a release.
    let endpoint = Endpoint::from_shared(full).map_err(|error| wrong(chain(&error)))?;
    if let Some(path) = text.strip_prefix("unix:") {
        return match path.trim_start_matches('/') {
            "" => Err(wrong("there is no path".into())),
            _ => Ok(endpoint),
        };
    }
    let uri = endpoint.uri();
    let (host, authority) =
        (uri.host().unwrap_or_default(), uri.authority().map_or("", |authority| authority.as_str()));
    if authority.contains('@') {
        return Err(wrong("there is something before the host".into()));
    }
    match authority.strip_prefix(host) {
        // A URL has the port of its scheme; a host alone is a port forgotten.
        Some("") if !text.contains("://") => return Err(wrong("there is no port".into())),
        Some("") => {}
        // Another number would be taken for none, and the port would be the scheme's.
        Some(port) if port[1..].parse::<u16>().is_ok_and(|port| port > 0) => {}
        _ => return Err(wrong("the port is no number from 1 to 65535".into())),
    }
    match endpoint.uri().path() {
        "" | "/" if endpoint.uri().query().is_none() => Ok(endpoint),
        _ => Err(wrong("there is something after the port".into())),
    }
}

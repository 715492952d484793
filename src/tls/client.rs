//! The client's side.

use std::path::PathBuf;
use std::sync::Arc;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tower::util::service_fn;
use tower::{BoxError, Service};

use super::{H2, pem, provider};
use crate::files::{self, FileError};

/// The files that a client knows its broker by, and shows who it is by.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClientFiles {
    /// The certificates of the authorities that the broker's certificate must come from; PEM. None: the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The client's certificate and its private key; PEM.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    /// What they say now.
    pub(crate) fn read(&self) -> Result<ClientConfig, FileError> {
        let roots = match &self.ca {
            Some(file) => pem::authorities(file, &files::read(file)?)?,
            None => system_roots(),
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for them")
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => config.with_no_client_auth(),
            Some((cert_file, key_file)) => {
                let chain = pem::certificates(cert_file, &files::read(cert_file)?)?;
                let key = pem::key(key_file, &files::read(key_file)?)?;
                let cert_line = chain[0].line;
                config
                    .with_client_auth_cert(chain.into_iter().map(|certificate| certificate.item).collect(), key.item)
                    .map_err(|error| pem::mismatch((cert_file, cert_line), (key_file, key.line), &error))?
            }
        };
        config.alpn_protocols = vec![H2.to_vec()];
        Ok(config)
    }
}

/// The authorities that this system trusts. None at all is told by every handshake.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Connects by TLS. The files are read for every connection, so that one made after a certificate was renewed shows
/// the new one.
pub(crate) fn connector(
    files: Arc<ClientFiles>,
) -> impl Service<Uri, Response = TokioIo<TlsStream<TcpStream>>, Error = BoxError, Future: Send> + Send + 'static {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    service_fn(move |broker: Uri| {
        let (mut tcp, files) = (tcp.clone(), Arc::clone(&files));
        async move {
            let config = Arc::new(files.read()?);
            let host = broker.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned())?;
            let io = tcp.call(broker).await?.into_inner();
            Ok(TokioIo::new(TlsConnector::from(config).connect(name, io).await?))
        }
    })
}

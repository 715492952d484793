//! Makes the client's TLS settings from files, and connects to brokers with them.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tower::util::service_fn;
use tower::{BoxError, Service};

use super::{H2, pem, provider};
use crate::files::{self, FileError};
use crate::trouble::Trouble;

/// The files by which a client verifies its broker, and proves its own identity.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientFiles {
    /// The certificates of the authorities that the broker's certificate must come from; PEM. None: the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The client's certificate and its private key; PEM.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

impl ClientFiles {
    /// Reads the files and makes TLS settings of what they say now.
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

/// Returns the authorities that this system trusts. If there are none, every handshake fails and says so.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Connects by TLS, and notes in `trouble` why the two sides cannot agree. Reads the files for every connection, so
/// that a connection made after a certificate was renewed shows the new one. The broker's certificate has to be for `host`,
/// or for that of the endpoint.
pub(crate) fn connector(
    files: Arc<ClientFiles>,
    host: Option<Arc<str>>,
    trouble: Trouble,
) -> impl Service<Uri, Response = TokioIo<Noted>, Error = BoxError, Future: Send> + Send + 'static {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    service_fn(move |broker: Uri| {
        let (mut tcp, files, host, trouble) = (tcp.clone(), Arc::clone(&files), host.clone(), trouble.clone());
        async move {
            let config = Arc::new(files.read()?);
            let host =
                host.as_deref().or(broker.host()).unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let name = ServerName::try_from(host.to_owned())?;
            let io = tcp.call(broker).await?.into_inner();
            let connected = TlsConnector::from(config).connect(name, io).await;
            let io = connected.inspect_err(|error| {
                note(&trouble, error);
            })?;
            Ok(TokioIo::new(Noted { io, trouble, write_error: None }))
        }
    })
}

/// A connection that notes the broker's verdict on the client's certificate. With TLS 1.3 the verdict comes after the
/// handshake is over for the client.
pub(crate) struct Noted {
    io: TlsStream<TcpStream>,
    trouble: Trouble,
    /// The error of a failed write, whose reason is still to be read.
    write_error: Option<io::Error>,
}

impl Noted {
    /// Returns a failed write's error once the reason is known for which the other side has gone. The reason may still
    /// be unread, and no more comes after it.
    fn failed<T>(&mut self, cx: &mut Context<'_>, error: io::Error) -> Poll<io::Result<T>> {
        let mut last = [0; 256];
        loop {
            let mut last = ReadBuf::new(&mut last);
            match Pin::new(&mut self.io).poll_read(cx, &mut last) {
                Poll::Pending => {
                    self.write_error = Some(error);
                    return Poll::Pending;
                }
                Poll::Ready(Ok(())) if !last.filled().is_empty() => {}
                Poll::Ready(Ok(())) => return Poll::Ready(Err(error)),
                Poll::Ready(Err(why)) => {
                    note(&self.trouble, &why);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn write<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TlsStream<TcpStream>>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if let Some(error) = self.write_error.take() {
            return self.failed(cx, error);
        }
        match write(Pin::new(&mut self.io), cx) {
            Poll::Ready(Err(error)) if !note(&self.trouble, &error) => self.failed(cx, error),
            result => result,
        }
    }
}

impl AsyncRead for Noted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.io).poll_read(cx, buf);
        if let Poll::Ready(Err(error)) = &result {
            note(&this.trouble, error);
        }
        result
    }
}

impl AsyncWrite for Noted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(cx, |io, cx| io.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().write(cx, |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// Notes an error of TLS, and returns whether it is one.
fn note(trouble: &Trouble, error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(error) = error {
        match error {
            Error::InvalidMessage(_) => trouble.speaks("it speaks no TLS; write http:// for plain text"),
            error => trouble.disagrees(explain(error)),
        }
    }
    error.is_some()
}

/// Explains an error of TLS, and what to do about it.
fn explain(error: &Error) -> String {
    use AlertDescription::*;
    let what = match error {
        Error::InvalidCertificate(why) => explain_certificate(why),
        Error::AlertReceived(CertificateRequired) => {
            "the broker lets in only clients that show a certificate (--tls-cert and --tls-key)"
        }
        Error::AlertReceived(
            BadCertificate
            | UnsupportedCertificate
            | CertificateRevoked
            | CertificateExpired
            | CertificateUnknown
            | UnknownCA
            | AccessDenied
            | DecryptError,
        ) => {
            "the broker does not accept this client's certificate: it has expired, is of X.509 version 1, or comes from \
             no authority of the broker's --tls-client-ca"
        }
        _ => return error.to_string(),
    };
    format!("{what} ({error})")
}

fn explain_certificate(why: &CertificateError) -> &'static str {
    match why {
        CertificateError::UnknownIssuer => {
            "no authority that this client trusts vouches for the broker; name its authority by --tls-ca"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the broker's certificate is for other names; name the broker as one of them, or make a certificate with this \
             one in its subjectAltName"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the broker's certificate has expired, or the clock of this machine is wrong"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the broker's certificate is not valid yet, or the clock of this machine is wrong"
        }
        // The one error that has no name of its own here.
        other if format!("{other:?}").contains("UnsupportedCertVersion") => {
            "the broker's certificate is of X.509 version 1, which names nobody; make one of version 3, with a \
             subjectAltName (docs/security.md shows how)"
        }
        _ => "the broker's certificate is not good",
    }
}

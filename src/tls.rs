//! Makes the broker's TLS settings from files.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use x509_parser::prelude::{FromDer, X509Certificate, X509Version};
use x509_parser::time::ASN1Time;

use crate::client::tls::{H2, pem, provider};
use crate::files::{self, FileError};
use crate::reloaded::Files;

/// The files by which the broker proves its identity, and verifies its clients.
#[derive(Debug, Clone)]
pub struct ServerFiles {
    /// The broker's certificate, and those between it and its authority's; PEM.
    pub cert: PathBuf,
    /// Its private key; PEM.
    pub key: PathBuf,
    /// The certificates of the authorities that clients' certificates must come from; PEM. None: clients need no
    /// certificate.
    pub client_ca: Option<PathBuf>,
}

/// The certificate, the key and the authorities.
type Content = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

impl Files for ServerFiles {
    type Content = Content;
    type Made = ServerConfig;

    fn read(&self) -> Result<Content, FileError> {
        let client_ca = self.client_ca.as_deref().map(files::read).transpose()?;
        Ok((files::read(&self.cert)?, files::read(&self.key)?, client_ca))
    }

    fn make(&self, (cert, key, client_ca): &Content) -> Result<ServerConfig, FileError> {
        let chain = pem::certificates(&self.cert, cert)?;
        let cert_line = chain[0].line;
        check(&chain[0].item).map_err(|why| FileError::at(&self.cert, cert_line, why))?;
        let key = pem::key(&self.key, key)?;

        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| FileError::of(&self.cert, error.to_string()))?;
        let config = match (&self.client_ca, client_ca) {
            (Some(file), Some(text)) => {
                let roots = Arc::new(pem::authorities(file, text)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                    .build()
                    .map_err(|error| FileError::of(file, error.to_string()))?;
                config.with_client_cert_verifier(verifier)
            }
            _ => config.with_no_client_auth(),
        };
        let certificates = chain.into_iter().map(|certificate| certificate.item).collect();
        let mut config = config
            .with_single_cert(certificates, key.item)
            .map_err(|error| pem::mismatch((&self.cert, cert_line), (&self.key, key.line), &error))?;
        config.alpn_protocols = vec![H2.to_vec()];
        // A resumed session would bring its client's certificate along unchecked, and gain little: connections here
        // live long.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

impl fmt::Display for ServerFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("certificates")
    }
}

/// Checks that the certificate has not expired: clients would refuse it at once.
fn check(der: &[u8]) -> Result<(), String> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|error| format!("not a certificate that can be read: {error}"))?;
    if certificate.version() != X509Version::V3 {
        let version = certificate.version().0 + 1;
        return Err(format!(
            "the certificate is of X.509 version {version}, which clients refuse; make one of version 3, with a \
             subjectAltName (docs/security.md shows how)"
        ));
    }
    let until = certificate.validity().not_after;
    if until < ASN1Time::now() { Err(format!("the certificate has expired, on {until}")) } else { Ok(()) }
}

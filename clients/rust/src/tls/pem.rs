//! Reads certificates and keys from PEM files, and finds the line in which each begins.

use std::path::Path;

use tokio_rustls::rustls::pki_types::pem::{self, PemObject, SectionKind};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{Error, RootCertStore};

use crate::files::{FileError, line_of};

/// Something in a file, and its line.
#[derive(Debug)]
pub struct At<T> {
    /// The line, counted from 1.
    pub line: usize,
    /// The section that begins there.
    pub item: T,
}

/// Returns the certificates in `text`, at least one. `file` is where the text comes from.
pub fn certificates(file: &Path, text: &[u8]) -> Result<Vec<At<CertificateDer<'static>>>, FileError> {
    let certificates: Vec<_> = sections(file, text)?
        .into_iter()
        .filter(|section| section.item.0 == SectionKind::Certificate)
        .map(|At { line, item: (_, der) }| At { line, item: CertificateDer::from(der) })
        .collect();
    if certificates.is_empty() {
        return Err(FileError::at(file, 1, "there is no certificate (-----BEGIN CERTIFICATE-----) in it"));
    }
    Ok(certificates)
}

/// Returns the certificates in `text` as authorities that sign others.
pub fn authorities(file: &Path, text: &[u8]) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for At { line, item } in certificates(file, text)? {
        roots
            .add(item)
            .map_err(|error| FileError::at(file, line, format!("not an authority's certificate: {error}")))?;
    }
    Ok(roots)
}

/// Returns the first private key in `text`.
pub fn key(file: &Path, text: &[u8]) -> Result<At<PrivateKeyDer<'static>>, FileError> {
    sections(file, text)?
        .into_iter()
        .find_map(|At { line, item: (kind, der) }| PrivateKeyDer::from_pem(kind, der).map(|item| At { line, item }))
        .ok_or_else(|| FileError::at(file, 1, "there is no private key (-----BEGIN PRIVATE KEY-----) in it"))
}

/// Explains why rustls refuses a certificate together with a key.
pub fn mismatch(
    (cert_file, cert_line): (&Path, usize),
    (key_file, key_line): (&Path, usize),
    error: &Error,
) -> FileError {
    match error {
        Error::InconsistentKeys(_) => {
            let why = format!("not the key of the certificate in {}", cert_file.display());
            FileError::at(key_file, key_line, why)
        }
        Error::InvalidCertificate(_) => FileError::at(cert_file, cert_line, error.to_string()),
        _ => FileError::at(key_file, key_line, format!("not a key that can be used: {error}")),
    }
}

/// The kind of a PEM section, and its bytes.
type Section = (SectionKind, Vec<u8>);

fn sections(file: &Path, text: &[u8]) -> Result<Vec<At<Section>>, FileError> {
    let mut sections = Vec::new();
    let mut rest = text;
    loop {
        let offset = text.len() - rest.len();
        let begin = rest.windows(11).position(|window| window == b"-----BEGIN ").unwrap_or_default();
        let line = line_of(text, offset + begin);
        match pem::from_buf(&mut rest) {
            Ok(Some(item)) => sections.push(At { line, item }),
            Ok(None) => return Ok(sections),
            Err(error) => return Err(FileError::at(file, line, format!("not PEM: {error}"))),
        }
    }
}

//! Authorities and certificates, made for one test.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType};

/// An authority that signs certificates.
pub struct Authority {
    folder: PathBuf,
    name: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub cert: String,
    pub key: String,
}

impl Authority {
    /// Makes one that keeps its files in `folder`.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
        Self { folder: folder.to_owned(), name: name.to_owned(), issuer: Issuer::new(params, key) }
    }

    /// Returns the file with its own certificate.
    pub fn file(&self) -> String {
        text(self.folder.join(format!("{}.pem", self.name)))
    }

    /// Makes a broker's certificate for the loopback addresses, as files called `name`.
    pub fn server(&self, name: &str) -> Certificate {
        self.sign(name, |_| {})
    }

    /// Makes a client's certificate with this common name and these URIs.
    pub fn client(&self, name: &str, uris: &[&str]) -> Certificate {
        self.sign(name, |params| {
            params.subject_alt_names = uris.iter().map(|&uri| SanType::URI(uri.try_into().unwrap())).collect();
        })
    }

    /// Makes a client's certificate that has expired.
    pub fn expired(&self, name: &str) -> Certificate {
        self.sign(name, |params| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        })
    }

    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let mut params = CertificateParams::new(["localhost".into(), "127.0.0.1".into()]).unwrap();
        params.distinguished_name = distinguished(name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let [cert, key_file] = ["crt", "key"].map(|kind| self.folder.join(format!("{name}.{kind}")));
        fs::write(&cert, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        Certificate { cert: text(cert), key: text(key_file) }
    }
}

fn distinguished(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

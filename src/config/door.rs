//! The HTTP door: where it is, and which names and sites it knows.

use std::str::FromStr;

use clap::Args;
use http::Uri;

use super::{HostName, ListenAddress};

/// The settings of the lock service by JSON over HTTP.
#[derive(Debug, Clone, Default, Args)]
pub struct HttpOptions {
    /// Address to serve the lock service on by JSON over HTTP, for curl and others that have no gRPC: ADDRESS:PORT or
    /// unix:/PATH; may be given several times [default: none]
    #[arg(long, env = "LOCKBROKER_HTTP_LISTEN", value_name = "WHERE", value_delimiter = ',')]
    pub http_listen: Vec<ListenAddress>,

    /// A name by which clients may call --http-listen in plain text, besides IP addresses and localhost; may be given
    /// several times. Other names could be those of a web page elsewhere
    #[arg(long = "http-host", env = "LOCKBROKER_HTTP_HOST", value_name = "NAME", value_delimiter = ',')]
    pub http_hosts: Vec<HostName>,

    /// A site whose web pages may use --http-listen, https://HOST as a browser says it; may be given several times
    /// [default: none]
    #[arg(long = "http-origin", env = "LOCKBROKER_HTTP_ORIGIN", value_name = "SITE", value_delimiter = ',')]
    pub http_origins: Vec<HttpOrigin>,
}

/// A site, as browsers write it into `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOrigin(String);

impl HttpOrigin {
    /// Returns true if an `Origin` names this site.
    pub fn is(&self, origin: &[u8]) -> bool {
        self.0.as_bytes() == origin
    }
}

impl FromStr for HttpOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<HttpOrigin, String> {
        let lower = text.to_ascii_lowercase();
        let is_site = lower.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
        });
        if !is_site || lower.ends_with('/') {
            return Err("expected a site as browsers write it, without a path, such as https://app.example.org".into());
        }
        // Browsers leave it out.
        let default = if lower.starts_with("https:") { ":443" } else { ":80" };
        Ok(HttpOrigin(lower.strip_suffix(default).unwrap_or(&lower).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_a_scheme_and_a_host() {
        let site = |text: &str| text.parse::<HttpOrigin>();
        assert!(site("https://App.example.org:443").unwrap().is(b"https://app.example.org"));
        assert!(site("http://localhost:3000").unwrap().is(b"http://localhost:3000"));
        for text in
            ["", "*", "app.example.org", "https://", "https://a/", "https://a/b", "ftp://a", "https://a@b", "null"]
        {
            assert!(site(text).is_err(), "{text}");
        }
    }
}

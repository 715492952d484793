//! Keeps web pages from using the broker by way of the browser of somebody who can reach it.
//!
//! Browsers name the page's site in `Origin` with each POST, so a request with one is refused unless the operator has named that
//! site. A page can also make its own name lead to this broker (DNS rebinding). So over plain TCP, requests have to name a
//! host that nobody else can have, as they have to for the operators' page. (By TLS the certificate shows whose name it is, and
//! no web page reaches a Unix socket.)

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, header};

use crate::config::{HostName, HttpOptions};

/// The way on which a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    /// TCP in plain text, which any name can lead to.
    Plain,
    /// TLS, or a Unix socket.
    Proven,
}

/// The sites whose pages may use the broker, and the names that it has.
#[derive(Debug, Clone)]
pub(super) struct Origins(Arc<HttpOptions>);

/// A site that may.
#[derive(Debug)]
pub(super) struct Allowed(HeaderValue);

impl Origins {
    pub(super) fn new(options: HttpOptions) -> Origins {
        Origins(Arc::new(options))
    }

    /// Checks for which host a request is, and from which site's page it comes. Returns the site if it is a named one.
    ///
    /// # Errors
    /// Says why it is refused, and what to do.
    pub(super) fn check(&self, request: &Parts, site: Site) -> Result<Option<Allowed>, String> {
        if site == Site::Plain {
            host(request, &self.0.http_hosts, "--http-host")?;
        }
        let mut origins = request.headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(None) };
        let is_named = self.0.http_origins.iter().any(|named| named.is(origin.as_bytes()));
        if !is_named || origins.next().is_some() {
            return Err(format!(
                "refused: a page of the site {origin:?} asks. If it may, start the broker with --http-origin and that site"
            ));
        }
        Ok(Some(Allowed(origin.clone())))
    }
}

impl Allowed {
    /// Lets the browser give the answer to the page.
    pub(super) fn allow(self, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.0);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET"));
        let taken = HeaderValue::from_static("content-type, connect-protocol-version, connect-timeout-ms");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, taken);
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// Returns the host and port that a request is for.
///
/// # Errors
/// Says what to do if it names none, or one that others can have: none of `hosts`, which the operator names by `flag`.
pub(super) fn host(request: &Parts, hosts: &[HostName], flag: &str) -> Result<Authority, String> {
    let authority = named(request).ok_or("refused: the request does not say for which host it is")?;
    let name = authority.host().trim_end_matches('.');
    // Nobody can make an IP address lead elsewhere.
    let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if is_address || name.eq_ignore_ascii_case("localhost") || hosts.iter().any(|host| host.is(name)) {
        return Ok(authority);
    }
    Err(format!(
        "refused: in plain text, requests are for http://localhost, IP addresses and hosts that {flag} names. If {name} is this \
         broker, start it with {flag}={name}"
    ))
}

fn named(request: &Parts) -> Option<Authority> {
    let mut headers = request.headers.get_all(header::HOST).iter();
    let authority = match (request.uri.authority(), headers.next(), headers.next()) {
        (Some(authority), ..) => authority.clone(),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok()?,
        _ => return None,
    };
    (!authority.as_str().contains('@')).then_some(authority)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn post(headers: &[(&str, &str)]) -> Parts {
        let request = headers.iter().fold(Request::post("/a"), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    fn origins(hosts: &[&str], origins: &[&str]) -> Origins {
        Origins::new(HttpOptions {
            http_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            http_origins: origins.iter().map(|origin| origin.parse().unwrap()).collect(),
            ..HttpOptions::default()
        })
    }

    #[test]
    fn in_plain_text_a_host_is_an_address_localhost_or_named() {
        let origins = origins(&["locks.example.org"], &[]);
        let allowed = |host: &str, site| origins.check(&post(&[("host", host)]), site).is_ok();
        for own in
            ["127.0.0.1", "10.1.2.3:28554", "[::1]:80", "localhost", "LOCALHOST:1", "locks.Example.org:1", "localhost."]
        {
            assert!(allowed(own, Site::Plain), "{own}");
        }
        for other in ["evil.org", "a.locks.example.org", "127.0.0.1.nip.io", "localhost.evil", "a@localhost", "", "a b"]
        {
            assert!(!allowed(other, Site::Plain), "{other}");
            assert!(allowed(other, Site::Proven), "{other}");
        }
        assert!(origins.check(&post(&[]), Site::Plain).is_err());
        assert!(origins.check(&post(&[("host", "localhost"), ("host", "evil")]), Site::Plain).is_err());
        let by_http2 = |uri: &str| {
            let request = Request::post(uri).body(()).unwrap().into_parts().0;
            origins.check(&request, Site::Plain).is_ok()
        };
        assert!(by_http2("http://localhost:1/") && !by_http2("http://evil/"));
        let why = origins.check(&post(&[("host", "lb.local:80")]), Site::Plain).unwrap_err();
        assert!(why.contains("--http-host=lb.local"), "{why}");
    }

    #[test]
    fn pages_of_named_sites_alone_are_answered() {
        let origins = origins(&[], &["https://app.example.org", "http://localhost:3000"]);
        let allowed = |origin: &str| origins.check(&post(&[("origin", origin)]), Site::Proven).is_ok();
        assert!(allowed("https://app.example.org") && allowed("http://localhost:3000"));
        for other in ["http://app.example.org", "https://app.example.org:444", "null", "", "http://localhost:30000"] {
            assert!(!allowed(other), "{other}");
        }
        let two = [("origin", "http://localhost:3000"), ("origin", "http://evil")];
        assert!(origins.check(&post(&two), Site::Proven).is_err());
        let mut headers = HeaderMap::new();
        let named = post(&[("origin", "http://localhost:3000")]);
        origins.check(&named, Site::Proven).unwrap().unwrap().allow(&mut headers);
        assert_eq!(headers["access-control-allow-origin"], "http://localhost:3000");
    }
}

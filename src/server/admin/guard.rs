//! Keeps web pages elsewhere from reading what the page shows, by way of an operator's browser.
//!
//! A page of somebody else's can make its own name lead to this broker (DNS rebinding), and the browser would take both for
//! one site. So requests are answered only if they name a host that nobody else can have. And one site may not ask for
//! another's data.

use std::net::IpAddr;

use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, header};

use crate::config::HostName;

/// The header by which browsers say where a request comes from.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// Returns the host and port that a request is for.
///
/// # Errors
/// Says what to do if it names none, or one that only others have.
pub(super) fn host(request: &Parts, hosts: &[HostName]) -> Result<Authority, String> {
    let authority = named(request).ok_or("refused: the request does not say for which host it is")?;
    let name = authority.host().trim_end_matches('.');
    // Nobody can make an IP address lead elsewhere.
    let is_address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    if is_address || name.eq_ignore_ascii_case("localhost") || hosts.iter().any(|host| host.is(name)) {
        return Ok(authority);
    }
    Err(format!(
        "refused: the page is for http://localhost, IP addresses and hosts that --admin-host names. If {name} is this \
         broker, start it with --admin-host={name}"
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

/// Says whether data may be given to whoever asks, where the request is for `host`.
///
/// # Errors
/// A page of another site asks.
pub(super) fn origin(headers: &HeaderMap, host: &Authority) -> Result<(), String> {
    let refused = || Err("refused: a page of another site asks for this broker's data".to_owned());
    let is_own = |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(host.as_str()));
    for origin in headers.get_all(header::ORIGIN) {
        if !origin.to_str().is_ok_and(is_own) {
            return refused();
        }
    }
    // Another port of this machine is the same site, and may be another's all the same.
    for site in headers.get_all(SEC_FETCH_SITE) {
        if !matches!(site.as_bytes(), b"same-origin" | b"none") {
            return refused();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn get(headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(Request::get("/locks.json"), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn hosts_are_addresses_localhost_and_those_that_are_named() {
        let named = ["locks.example.org".parse().unwrap()];
        let allowed = |host: &str| self::host(&get(&[("host", host)]), &named).is_ok();
        for own in [
            "127.0.0.1",
            "10.1.2.3:28552",
            "[::1]:80",
            "localhost",
            "LOCALHOST:1",
            "locks.Example.org:28552",
            "localhost.",
        ] {
            assert!(allowed(own), "{own}");
        }
        for other in
            ["example.org", "evil.locks.example.org", "127.0.0.1.nip.io", "localhost.evil", "a@localhost", "", "a b"]
        {
            assert!(!allowed(other), "{other}");
        }
        assert!(self::host(&get(&[]), &named).is_err());
        assert!(self::host(&get(&[("host", "localhost"), ("host", "evil")]), &named).is_err());
        let by_http2 = |uri: &str| self::host(&Request::get(uri).body(()).unwrap().into_parts().0, &named).is_ok();
        assert!(by_http2("http://localhost:1/") && !by_http2("http://evil/"));
        let why = self::host(&get(&[("host", "admin.local:80")]), &[]).unwrap_err();
        assert!(why.contains("--admin-host=admin.local"), "{why}");
    }

    #[test]
    fn another_site_gets_no_data() {
        let host = Authority::from_static("localhost:28552");
        let allowed = |headers: &[(&str, &str)]| origin(&get(headers).headers, &host).is_ok();
        assert!(allowed(&[]));
        assert!(allowed(&[("origin", "http://localhost:28552"), ("sec-fetch-site", "same-origin")]));
        assert!(allowed(&[("sec-fetch-site", "none")]));
        for origin in
            ["null", "http://localhost", "http://localhost:1", "http://evil", "", "https://evil://localhost:28552"]
        {
            assert!(!allowed(&[("origin", origin)]), "{origin}");
        }
        for site in ["cross-site", "same-site", "other"] {
            assert!(!allowed(&[("sec-fetch-site", site)]), "{site}");
        }
    }
}

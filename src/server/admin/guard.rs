//! Keeps web pages elsewhere from reading what the page shows, by way of an operator's browser.
//!
//! A page of somebody else's can make its own name lead to this broker (DNS rebinding), and the browser would take both for
//! one site. So requests are answered only if they name a host that nobody else can have (`server::origin`). And one site may not ask for
//! another's data.

use http::uri::Authority;
use http::{HeaderMap, header};

/// The header by which browsers say where a request comes from.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

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

    fn get(headers: &[(&str, &str)]) -> HeaderMap {
        let request =
            headers.iter().fold(Request::get("/locks.json"), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0.headers
    }

    #[test]
    fn another_site_gets_no_data() {
        let host = Authority::from_static("localhost:28552");
        let allowed = |headers: &[(&str, &str)]| origin(&get(headers), &host).is_ok();
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

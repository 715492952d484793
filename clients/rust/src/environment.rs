//! Reads a client's settings from the environment.

use std::ffi::OsString;

use crate::{Client, ClientBuilder, DEFAULT_SERVER, Error};

/// Begins a client with what the variables say.
pub(super) fn builder(read: impl Fn(&str) -> Option<OsString>) -> Result<ClientBuilder, Error> {
    let wrong = |server: &str, reason: &str| Error::Endpoint {
        endpoint: server.into(),
        reason: format!("LOCKBROKER_SERVER, or a part of it, {reason}: unset it or give it a value"),
    };
    let server = match read("LOCKBROKER_SERVER").map(OsString::into_string) {
        None => DEFAULT_SERVER.to_owned(),
        Some(Ok(server)) => server,
        Some(Err(bytes)) => return Err(wrong(&bytes.to_string_lossy(), "is not UTF-8")),
    };
    let mut endpoints: Vec<_> = server.split(',').map(str::trim).collect();
    if endpoints.contains(&"") {
        return Err(wrong(&server, "is empty"));
    }
    let first = Client::builder(endpoints.remove(0));
    let builder = endpoints.iter().fold(first, |builder, &endpoint| builder.endpoint(endpoint));
    #[cfg(feature = "tls")]
    let builder = tls(builder, read)?;
    Ok(builder)
}

#[cfg(feature = "tls")]
fn tls(mut builder: ClientBuilder, read: impl Fn(&str) -> Option<OsString>) -> Result<ClientBuilder, Error> {
    let file = |name: &str| match read(name) {
        Some(value) if value.is_empty() => {
            Err(Error::Tls { reason: format!("{name} is empty: unset it or give it a value") })
        }
        value => Ok(value),
    };
    if let Some(ca) = file("LOCKBROKER_CLIENT_TLS_CA")? {
        builder = builder.tls_ca(ca);
    }
    match (file("LOCKBROKER_CLIENT_TLS_CERT")?, file("LOCKBROKER_CLIENT_TLS_KEY")?) {
        (Some(cert), Some(key)) => Ok(builder.tls_identity(cert, key)),
        (None, None) => Ok(builder),
        _ => Err(Error::Tls {
            reason: "LOCKBROKER_CLIENT_TLS_CERT and LOCKBROKER_CLIENT_TLS_KEY go together: set both or none".into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn builder_of(variables: &[(&str, &str)]) -> Result<ClientBuilder, Error> {
        let find = |name: &str| variables.iter().find(|variable| variable.0 == name);
        builder(|name| find(name).map(|variable| variable.1.into()))
    }

    #[test]
    fn several_servers_have_commas_between_them() {
        assert_eq!(builder_of(&[]).unwrap().endpoints, [DEFAULT_SERVER]);
        let two = builder_of(&[("LOCKBROKER_SERVER", "http://a:1, unix:/b")]).unwrap();
        assert_eq!(two.endpoints, ["http://a:1", "unix:/b"]);
    }

    #[test]
    fn an_empty_variable_is_an_error_that_names_it() {
        for (name, value) in [("LOCKBROKER_SERVER", ""), ("LOCKBROKER_SERVER", "http://a:1,")] {
            assert!(builder_of(&[(name, value)]).unwrap_err().to_string().contains(name), "{value:?}");
        }
    }

    #[cfg(feature = "tls")]
    #[test]
    fn files_for_tls_are_read() {
        let [ca, cert, key] = ["CA", "CERT", "KEY"].map(|part| format!("LOCKBROKER_CLIENT_TLS_{part}"));
        assert!(builder_of(&[(&ca, "/ca"), (&cert, "/cert"), (&key, "/key")]).is_ok());
        for variables in [[(ca.as_str(), "")].as_slice(), &[(&cert, "/cert")], &[(&key, "/key")]] {
            let error = builder_of(variables).unwrap_err();
            assert!(error.to_string().contains("LOCKBROKER_CLIENT_TLS_"), "{error}");
        }
    }
}

//! The addresses on which the broker listens, and who may connect to them.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::tls::ServerFiles;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A TCP address and port; port 0 takes any that is free.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Returns true if only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            ListenAddress::Tcp(address) => address.ip().is_loopback(),
            ListenAddress::Unix(_) => true,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<ListenAddress, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // As gRPC writes absolute paths: unix:///PATH.
            let path = if path.starts_with("///") { &path[2..] } else { path };
            if path.is_empty() || path.contains('\0') {
                return Err("expected a path after unix:, such as unix:/run/lockbroker/lb.sock".into());
            }
            return Ok(ListenAddress::Unix(path.into()));
        }
        tcp_address(text)
            .map(ListenAddress::Tcp)
            .map_err(|expected| format!("{expected}, or unix:/path, such as unix:/run/lockbroker/lb.sock"))
    }
}

/// Reads an address and a port. `*` is every address of the machine.
pub(super) fn tcp_address(text: &str) -> Result<SocketAddr, String> {
    // "[::]" listens for IPv4 as well (`Listener::tcp`).
    text.replacen("*:", "[::]:", 1).parse().map_err(|_| {
        "expected address:port, such as 127.0.0.1:28551, or *:28551 for every address of this machine".into()
    })
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp(address) => address.fmt(f),
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The permissions of a Unix socket: up to 0777.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketMode(u32);

impl SocketMode {
    /// Returns the mode as `chmod` takes it.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for SocketMode {
    type Err = String;

    fn from_str(text: &str) -> Result<SocketMode, String> {
        // Without a sign, which from_str_radix would take.
        let octal = !text.is_empty() && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(text, 8) {
            Ok(bits @ ..=0o777) if octal => Ok(SocketMode(bits)),
            _ => Err("expected permissions in octal, such as 0660".into()),
        }
    }
}

/// The group of a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketGroup {
    /// The group's number.
    Id(u32),
    /// The group's name, which is looked up when the socket is made.
    Name(String),
}

impl FromStr for SocketGroup {
    type Err = String;

    fn from_str(text: &str) -> Result<SocketGroup, String> {
        match text.parse() {
            // chown takes the last of them for "as it is".
            Ok(u32::MAX) => Err("there is no such group".into()),
            Ok(id) => Ok(SocketGroup::Id(id)),
            Err(_) if text.is_empty() || text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err("expected a group's name or number".into())
            }
            Err(_) => Ok(SocketGroup::Name(text.into())),
        }
    }
}

/// The permissions of the Unix sockets that the broker listens on.
#[derive(Debug, Clone, Args)]
pub struct SocketOptions {
    /// The permissions of Unix sockets, in octal; to connect one needs to be allowed to write
    #[arg(long, env = "LOCKBROKER_SOCKET_MODE", value_name = "MODE", default_value = "0660")]
    pub socket_mode: SocketMode,

    /// The group of Unix sockets, by name or number [default: that of the broker's process]
    #[arg(long, env = "LOCKBROKER_SOCKET_GROUP", value_name = "GROUP")]
    pub socket_group: Option<SocketGroup>,
}

/// Certificates. On every TCP address TLS is spoken then; Unix sockets stay plain. Files are read again when they
/// change.
#[derive(Debug, Clone, Args)]
pub(super) struct TlsArgs {
    /// Speak TLS on TCP, with this certificate and those that link it to its authority's: a PEM file
    #[arg(long, env = "LOCKBROKER_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key: a PEM file
    #[arg(long, env = "LOCKBROKER_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Let in only clients that show a certificate from one of these authorities: a PEM file
    #[arg(long, env = "LOCKBROKER_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    tls_client_ca: Option<PathBuf>,
}

impl TlsArgs {
    /// Returns the files, if TLS is wanted.
    pub(super) fn files(self) -> Option<ServerFiles> {
        let TlsArgs { tls_cert, tls_key, tls_client_ca: client_ca } = self;
        tls_cert.zip(tls_key).map(|(cert, key)| ServerFiles { cert, key, client_ca })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_every_address() {
        assert_eq!("*:28551".parse(), Ok(ListenAddress::Tcp("[::]:28551".parse().unwrap())));
        for text in ["*", "*:", "*:*:1", "x*:1", "a:*:1"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_socket_is_a_path_a_mode_and_a_group() {
        let unix = |path: &str| ListenAddress::Unix(path.into());
        assert_eq!("unix:///run/a.sock".parse(), Ok(unix("/run/a.sock")));
        assert_eq!(unix("/run/a.sock").to_string(), "unix:/run/a.sock");

        let mode = |text: &str| text.parse().ok().map(SocketMode::bits);
        assert_eq!((mode("0600"), mode("777"), mode("0")), (Some(0o600), Some(0o777), Some(0)));
        for text in ["", "8", "1777", "+7", "0o660", "rw"] {
            assert_eq!(mode(text), None, "{text}");
        }
        assert_eq!("0".parse(), Ok(SocketGroup::Id(0)));
        assert_eq!("adm".parse(), Ok(SocketGroup::Name("adm".into())));
        for text in ["", "4294967295", "4294967296"] {
            assert!(text.parse::<SocketGroup>().is_err(), "{text}");
        }
    }
}

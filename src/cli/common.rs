//! The parts that client commands share: the brokers' addresses, messages and exit codes.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::environment::origin;
use crate::client::{Client, ClientBuilder, DEFAULT_SERVER, Error, ErrorReason};
use crate::lock::MAX_PERMITS;
use crate::output::say;

/// Wrong usage, as clap has it.
pub(super) const USAGE: u8 = 2;
/// EX_UNAVAILABLE of sysexits.h: no broker answered, or none can do it.
pub(super) const UNAVAILABLE: u8 = 69;
/// EX_PROTOCOL: the server is no broker that this client understands.
pub(super) const PROTOCOL: u8 = 76;
/// EX_NOPERM: refused by the policy, or because of a certificate.
pub(super) const REFUSED: u8 = 77;
/// The shell's exit code for a command that cannot be run.
pub(super) const NOT_EXECUTABLE: u8 = 126;

/// The addresses of the brokers.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ServerArgs {
    /// A broker: http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH. Several of one store, with commas or given
    /// several times, are asked in turn: one that does not answer costs its share of the time, and no more
    #[arg(
        long,
        visible_alias = "address",
        value_name = "URL",
        env = "LOCKBROKER_SERVER",
        value_delimiter = ',',
        default_value = DEFAULT_SERVER
    )]
    pub(super) server: Vec<String>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// The files for TLS.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct TlsArgs {
    /// Authorities that may sign the broker's certificate, with https; PEM [default: the system's]
    #[arg(long, value_name = "FILE", env = "LOCKBROKER_CLIENT_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// Certificate to show where the broker asks for one, with https; PEM
    #[arg(long, value_name = "FILE", env = "LOCKBROKER_CLIENT_TLS_CERT", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key; PEM
    #[arg(long, value_name = "FILE", env = "LOCKBROKER_CLIENT_TLS_KEY", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
}

impl ServerArgs {
    /// Returns a client of all brokers, still to be set up.
    pub(super) fn client(&self) -> ClientBuilder {
        let first = self.tls.client(&self.server[0]);
        self.server[1..].iter().fold(first, |client, server| client.endpoint(server))
    }

    /// Turns to the next broker: the next client asks that one first.
    pub(super) fn turn(&mut self) {
        self.server.rotate_left(1);
    }
}

impl TlsArgs {
    /// Returns a client of one broker, still to be set up.
    pub(super) fn client(&self, server: &str) -> ClientBuilder {
        let mut client = Client::builder(server);
        if let Some(ca) = &self.tls_ca {
            client = client.tls_ca(ca);
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            client = client.tls_identity(cert, key);
        }
        client
    }
}

/// Reads the number of a permit.
pub(super) fn permit() -> clap::builder::RangedI64ValueParser<u16> {
    clap::value_parser!(u16).range(..i64::from(MAX_PERMITS))
}

/// The arguments that set fields of requests, by the fields' paths on the wire, and what else there is to say of them.
const ARGUMENTS: [(&str, &str, &str); 13] = [
    ("open.ttl", "--ttl", "; the broker's --max-ttl is the most"),
    ("begin.lock.linger", "--linger", ""),
    ("begin.lock.min_hold", "--at-least", ""),
    ("begin.lock.limit", "--limit", ""),
    ("begin.lock.owner", "--owner", ""),
    ("begin.lock.value", "--value", ""),
    ("begin.wait.max_wait", "--wait", ""),
    ("begin.lock.name", "NAME", ""),
    ("name", "NAME", ""),
    ("prefix", "PREFIX", ""),
    ("limit", "--limit", ""),
    ("etag", "--etag", ""),
    ("permit", "--permit", ""),
];

/// Says what is wrong with a request by the argument that is to be changed; none if no argument sets that field.
pub(super) fn by_option(message: &str) -> Option<String> {
    let (field, why) = message.split_once(": ")?;
    let (_, argument, more) = ARGUMENTS.iter().find(|(path, ..)| *path == field)?;
    Some(format!("{argument} {why}{more}"))
}

/// Says what went wrong and what to do about it, and returns the exit code.
pub(super) fn fail(error: &Error) -> ExitCode {
    match error {
        Error::Endpoint { .. } => say(format_args!("{error} ({})", origin("--server", "LOCKBROKER_SERVER"))),
        Error::Tls { .. } => say(format_args!("{error} (--tls-ca, --tls-cert, --tls-key; LOCKBROKER_CLIENT_TLS_…)")),
        // Only the operator can mend it, and the broker has said how.
        Error::Unavailable { reason: Some(ErrorReason::StoreRefused), .. } => {
            say(format_args!("{error}; the broker uses it as soon as that is mended, without a restart"));
        }
        Error::Unavailable { retry_after: Some(after), .. } | Error::Exhausted { retry_after: Some(after), .. } => {
            // In whole seconds: a person reads it.
            let after = Duration::from_secs(after.as_secs_f64().round().max(1.0) as u64);
            say(format_args!("{error}; try again in {}", humantime::format_duration(after)));
        }
        Error::Unavailable { .. } => say(format_args!("{error}; try again later, or name another broker by --server")),
        Error::Invalid { message, .. } => match by_option(message) {
            Some(message) => say(message),
            None => say(error),
        },
        Error::Denied { .. } => say(format_args!("{error}; the broker's --policy says who may do what")),
        _ => say(error),
    }
    match error {
        Error::Endpoint { .. } | Error::Tls { .. } | Error::Invalid { .. } => USAGE.into(),
        Error::Denied { .. } | Error::Handshake { .. } => REFUSED.into(),
        Error::Unexpected { .. } | Error::Protocol { .. } => PROTOCOL.into(),
        _ => UNAVAILABLE.into(),
    }
}

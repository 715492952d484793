//! `lockbroker list`: shows who has which locks.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::common::ServerArgs;
use super::lists::{Entry, Failed, Key, List, Row, ShowArgs, as_seconds, ask, ask_any, plain, seconds};
use crate::client::Connector;
use crate::proto::get_lock_response::State;
use crate::proto::{ListLocksRequest, ListLocksResponse, LockInfo};

/// Show who has which locks
///
/// Lists what the store has, whichever broker granted it, also if that broker has died. Of a lock that several share, each permit is an
/// entry. Nobody holds a lock that is claimed: somebody waits for those who share it, and lets no new ones in. A lock that is acquired or
/// released meanwhile may be missing.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 answered, whatever the answer; 69 no broker, or none that can do it; 77 refused, by \
    the policy or for a certificate; 74 the answer cannot be written; 76 what answers is no broker, or \
    no TLS where https:// is said, or the other way round; 2 wrong usage."
)]
pub struct ListArgs {
    /// The beginning of the locks' names; without this, all locks
    #[arg(default_value = "", hide_default_value = true)]
    prefix: String,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: ListArgs) -> ExitCode {
    args.show.show(async || ask_any(&args.server, async |connector| locks(&args, connector).await).await).await
}

/// Asks a broker for the locks, which come in the order of their names.
async fn locks(args: &ListArgs, connector: &Connector) -> Result<List<LockInfo>, Failed> {
    let mut list = List::new();
    let request = ListLocksRequest { prefix: args.prefix.clone(), limit: args.show.limit() };
    let take = |ListLocksResponse { locks, total }| {
        list.entries.extend(locks);
        list.total += usize::try_from(total).unwrap_or_default();
    };
    ask(connector, async |mut stub| stub.list_locks(request).await, take).await?;
    Ok(list)
}

fn state(lock: &LockInfo) -> &'static str {
    match lock.state() {
        State::Held => "held",
        State::Claimed => "claimed",
        State::Lingering => "lingering",
        State::Revoked => "revoked",
        State::Free => "free",
        State::Unspecified => "unknown",
    }
}

fn permit(lock: &LockInfo) -> String {
    lock.permit.map_or_else(|| "-".to_owned(), |permit| permit.to_string())
}

impl Row for LockInfo {
    const COLUMNS: &'static [&'static str] = &["NAME", "PERMIT", "STATE", "OWNER", "HELD FOR", "EXPIRES", "TOKEN"];

    fn cells(&self) -> Vec<String> {
        let token = if self.fencing_token == 0 { "-".to_owned() } else { self.fencing_token.to_string() };
        let (held_for, expires) = (seconds(self.held_for), seconds(self.free_within));
        vec![plain(&self.name), permit(self), state(self).to_owned(), plain(&self.owner), held_for, expires, token]
    }
}

impl Entry for LockInfo {
    fn key(&self) -> Key {
        [self.name.clone(), self.etag.clone(), permit(self)]
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "permit": self.permit,
            "state": state(self),
            "owner": self.owner,
            "held_for_seconds": as_seconds(self.held_for),
            "free_within_seconds": as_seconds(self.free_within),
            "fencing_token": (self.fencing_token != 0).then_some(self.fencing_token),
            "etag": self.etag,
        })
    }
}

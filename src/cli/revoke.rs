//! `lockbroker revoke`: takes a lock from its holder.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::common::{ServerArgs, permit};
use super::lists::{Failed, as_seconds, ask_any, ask_once, plain};
use crate::client::Connector;
use crate::output::{print, say};
use crate::proto::revoke_lock_response::Outcome;
use crate::proto::{RevokeLockRequest, RevokeLockResponse};

/// The exit code if there was nothing to revoke.
const NOTHING: u8 = 1;

/// Take a lock from its holder
///
/// The holder is told that it has lost the lock, and `lockbroker run` stops its command. Nobody else can have the lock until
/// the holder can no longer believe in it, and its linger is over: at most --max-ttl of the brokers and the linger together. A
/// holder that asks again stands in line like everybody else.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 revoked, or freed; 1 nobody holds the lock, or not the grant of --etag any more; 69 no broker, or none \
    that can do it; 77 refused, by the policy or for a certificate; 74 the answer cannot be written; 76 what answers is no \
    broker, or no TLS where https:// is said, or the other way round; 2 wrong usage."
)]
pub struct RevokeArgs {
    /// The lock's name
    name: String,
    /// Revoke this grant alone, or with --immediate free this linger or revocation alone: the etag that `get --json` or `list --json`
    /// shows [default: whatever the lock is now]
    #[arg(long, value_name = "ETAG", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    etag: Option<String>,
    /// Revoke this permit of a lock that several share: 0 to 4095. The others keep theirs
    #[arg(long, value_name = "N", value_parser = permit())]
    permit: Option<u16>,
    /// Free the lock at once, without its linger. If nobody holds it, end what keeps it closed: a linger, an `--at-least`, or an
    /// earlier revocation. A holder may act for up to --max-ttl more, beside the next one: use this only if you know that it is gone
    #[arg(long)]
    immediate: bool,
    /// Write one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: RevokeArgs) -> ExitCode {
    match ask_any(&args.server, async |connector| revoke(&args, connector).await).await {
        Ok(revoked) => {
            let is_nobodys = revoked.outcome() == Outcome::NotHeld && args.permit.is_none();
            let shared_by = if is_nobodys { shared_by(&args).await } else { 0 };
            tell(&args, &revoked, shared_by)
        }
        Err(failed) => failed.tell(),
    }
}

async fn revoke(args: &RevokeArgs, connector: &Connector) -> Result<RevokeLockResponse, Failed> {
    let etag = args.etag.clone().unwrap_or_default();
    let (name, permit) = (args.name.clone(), args.permit.map(i32::from));
    let request = RevokeLockRequest { name, etag, immediate: args.immediate, permit };
    ask_once(connector, async |mut stub| stub.revoke_lock(request).await).await
}

/// Returns how many share the lock; 0 if nobody says.
async fn shared_by(args: &RevokeArgs) -> u32 {
    let Ok(client) = args.server.client().connect() else { return 0 };
    client.get(&args.name, None).await.map_or(0, |lock| lock.shared_count)
}

fn tell(args: &RevokeArgs, revoked: &RevokeLockResponse, shared_by: u32) -> ExitCode {
    let (word, is_done) = match revoked.outcome() {
        Outcome::Revoked => ("revoked", true),
        Outcome::Freed => ("freed", true),
        Outcome::NotHeld => ("not_held", false),
        Outcome::Changed => ("changed", false),
        Outcome::Unspecified => ("unknown", false),
    };
    let code = if is_done { ExitCode::SUCCESS } else { ExitCode::from(NOTHING) };
    let printed = if args.json {
        print(&format!(
            "{}\n",
            json!({
                "name": args.name,
                "permit": args.permit,
                "outcome": word,
                "owner": revoked.owner,
                "free_within_seconds": as_seconds(revoked.free_within),
            })
        ))
    } else if is_done {
        print(&text(revoked))
    } else {
        let why = match revoked.outcome() {
            Outcome::Changed => "is not held under that etag any more".to_owned(),
            _ if shared_by > 0 => format!("is shared by {shared_by}, and --permit says whose permit is meant"),
            _ => "is not held by anybody".to_owned(),
        };
        let permit = args.permit.map(|permit| format!("permit {permit} of ")).unwrap_or_default();
        say(format_args!("{permit}lock {:?} {why}; nothing was revoked", args.name));
        ExitCode::SUCCESS
    };
    if printed == ExitCode::SUCCESS { code } else { printed }
}

fn text(revoked: &RevokeLockResponse) -> String {
    if revoked.outcome() == Outcome::Freed {
        return "nobody held it, and it was closed; it is free now\n".to_owned();
    }
    let owner = if revoked.owner.is_empty() { "a holder without a label".to_owned() } else { plain(&revoked.owner) };
    let free_within = revoked.free_within.and_then(|span| Duration::try_from(span).ok()).unwrap_or_default();
    match free_within {
        Duration::ZERO => format!("revoked from {owner}; it is free\n"),
        span => format!("revoked from {owner}; it is free in {:.1} s at most\n", span.as_secs_f64()),
    }
}

//! `lockbroker get`: shows who has a lock.

use std::process::ExitCode;
use std::time::Duration;

use super::common::{ServerArgs, fail, permit};
use crate::client::{Error, LockInfo, LockState};
use crate::output::print;

/// Show who has a lock and for how long at most
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 answered, whatever the answer; 69 no broker, or none that can do it; 77 refused, by \
    the policy or for a certificate; 74 the answer cannot be written; 76 what answers is no broker, or \
    no TLS where https:// is said, or the other way round; 2 wrong usage."
)]
pub struct GetArgs {
    /// The lock's name
    name: String,
    /// Show this permit of a lock that several share: 0 to 4095. Without it, their number is shown
    #[arg(long, value_name = "N", value_parser = permit())]
    permit: Option<u16>,
    /// Write one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command.
pub async fn run(args: GetArgs) -> ExitCode {
    match look(&args).await {
        Ok(lock) if args.json => print(&format!("{}\n", json(&args, &lock))),
        Ok(lock) => print(&text(&lock)),
        Err(error) => fail(&error),
    }
}

async fn look(args: &GetArgs) -> Result<LockInfo, Error> {
    let client = args.server.client().connect()?;
    match args.permit {
        Some(permit) => client.get_permit(&args.name, permit.into()).await,
        None => client.get(&args.name, None).await,
    }
}

fn text(lock: &LockInfo) -> String {
    let mut text = format!("state: {}\n", lock.state);
    if lock.shared_count > 0 {
        text += &format!("shared by: {}\n", lock.shared_count);
    } else if lock.state == LockState::Held {
        let owner = if lock.owner.is_empty() { "unknown" } else { &lock.owner };
        text += &format!("owner: {owner}\n");
    }
    if lock.claimed {
        text += "claimed: somebody waits for those who share it, and lets no new ones in\n";
    }
    if let Some(token) = lock.fencing_token {
        text += &format!("fencing token: {token}\n");
    }
    if let Some(held_for) = lock.held_for {
        text += &format!("held for: {}\n", to_tenths(held_for));
    }
    if let Some(expires_in) = lock.free_within {
        let within = to_tenths(expires_in);
        text += &match lock.state {
            LockState::Held => format!("expires in: {within} at most, unless it is renewed\n"),
            _ => format!("free in: {within} at most\n"),
        };
    }
    text
}

fn json(args: &GetArgs, lock: &LockInfo) -> serde_json::Value {
    serde_json::json!({
        "name": args.name,
        "permit": args.permit,
        "state": lock.state.to_string(),
        "owner": lock.owner,
        "free_within_seconds": lock.free_within.map(|span| span.as_secs_f64()),
        "fencing_token": lock.fencing_token,
        "held_for_seconds": lock.held_for.map(|span| span.as_secs_f64()),
        "etag": lock.etag,
        // Of one permit nobody counts the others.
        "shared_count": args.permit.is_none().then_some(lock.shared_count),
        "claimed": args.permit.is_none().then_some(lock.claimed),
    })
}

fn to_tenths(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

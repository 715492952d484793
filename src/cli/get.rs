//! `lockbroker get`: shows who has a lock.

use std::process::ExitCode;
use std::time::Duration;

use super::common::{ServerArgs, fail, permit};
use crate::client::{Client, Error, LockInfo, LockState};
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
    /// Show this permit of a lock that several share: 0 to 4095, and what of the lock itself keeps it closed while it is free. Without
    /// this, their number is shown
    #[arg(long, value_name = "N", value_parser = permit())]
    permit: Option<u16>,
    /// Write one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// The answer, as it is shown.
struct Shown {
    /// The lock, or the permit that is asked about.
    lock: LockInfo,
    /// The lock itself, where it keeps a permit closed that nobody has.
    closed_by: Option<LockInfo>,
}

/// Runs the command.
pub async fn run(args: GetArgs) -> ExitCode {
    match look(&args).await {
        Ok(shown) if args.json => print(&format!("{}\n", json(&args, &shown))),
        Ok(shown) => print(&text(&shown)),
        Err(error) => fail(&error),
    }
}

async fn look(args: &GetArgs) -> Result<Shown, Error> {
    let client = args.server.client().connect()?;
    let Some(permit) = args.permit else {
        return Ok(Shown { lock: client.get(&args.name, None).await?, closed_by: None });
    };
    let lock = client.get_permit(&args.name, permit.into()).await?;
    let closed_by = if lock.state == LockState::Free { closing(&client, &args.name).await? } else { None };
    Ok(Shown { lock, closed_by })
}

/// Looks at the lock itself, and returns it if nobody gets a permit of it now.
async fn closing(client: &Client, name: &str) -> Result<Option<LockInfo>, Error> {
    let lock = client.get(name, None).await?;
    // Permits alone close nothing, also those that linger: a lock that is shared has no etag.
    let is_alone = lock.state != LockState::Free && lock.shared_count == 0 && !lock.etag.is_empty();
    Ok((lock.claimed || is_alone).then_some(lock))
}

const CLAIMED: &str = "claimed: somebody waits for those who share it, and lets no new ones in\n";

fn text(Shown { lock, closed_by }: &Shown) -> String {
    let mut text = format!("state: {}\n", lock.state);
    if lock.shared_count > 0 {
        text += &format!("shared by: {}\n", lock.shared_count);
    } else if lock.state == LockState::Held {
        text += &format!("owner: {}\n", owner(lock));
    }
    if lock.claimed {
        text += CLAIMED;
    }
    if let Some(closed_by) = closed_by {
        text += &closed(closed_by);
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

/// Says why nobody gets a permit of a lock, though it is free.
fn closed(lock: &LockInfo) -> String {
    let within = lock.free_within.map(|within| format!(", for {} at most", to_tenths(within))).unwrap_or_default();
    match lock.state {
        _ if lock.claimed => CLAIMED.to_owned(),
        LockState::Held => {
            format!("closed: the lock is held by one alone{within}, unless it is renewed\nheld by: {}\n", owner(lock))
        }
        state => format!("closed: the lock itself is {state}{within}\n"),
    }
}

fn owner(lock: &LockInfo) -> &str {
    if lock.owner.is_empty() { "unknown" } else { &lock.owner }
}

fn json(args: &GetArgs, Shown { lock, closed_by }: &Shown) -> serde_json::Value {
    let closed_by = closed_by.as_ref().map(|lock| {
        serde_json::json!({
            "state": if lock.claimed { "claimed".to_owned() } else { lock.state.to_string() },
            "owner": lock.owner,
            "free_within_seconds": lock.free_within.map(|span| span.as_secs_f64()),
        })
    });
    serde_json::json!({
        "name": args.name,
        "permit": args.permit,
        "state": lock.state.to_string(),
        "closed_by": closed_by,
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

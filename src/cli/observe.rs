//! `lockbroker observe`: tells who holds a lock, and whenever that changes.

use std::process::ExitCode;
use std::time::Duration;

use data_encoding::BASE64;
use tokio::time::timeout;

use super::common::{ServerArgs, UNAVAILABLE, fail};
use super::lists::plain;
use crate::client::{Client, DEFAULT_ANSWER_TIMEOUT, Error, Observe, Observed, ObservedState};
use crate::output::{print_more, say};

/// With `--once`: nobody holds it.
const NOBODY: u8 = 1;
/// The longest time for finding out why nobody can tell.
const WHY: Duration = Duration::from_secs(1);
/// The least time until a broker is asked again after one had no room.
const FULL: Duration = Duration::from_secs(1);

/// Show who holds a lock and with which value, and whenever that changes
///
/// Writes a line at once and for each change, until a signal: the state, the fencing token, the holder's label and its value. `unknown`
/// means that nobody can tell, because no broker answers or their store is away: the lock may be held as before.
///
/// With --once it writes one line, and its exit code tells a script if there is a holder.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 128 + the signal that ended it; with --once 0 somebody holds it, 1 nobody does; \
    69 no broker that can do it, and with --once nobody can tell; 77 refused, by \
    the policy or for a certificate; 74 a line cannot be written; 76 what answers is no broker, or \
    no TLS where https:// is said, or the other way round; 2 wrong usage.")]
pub struct ObserveArgs {
    /// The lock's name
    name: String,
    /// Write what is known now, and end: 0 somebody holds it, 1 nobody does, 69 nobody could tell within 5 s
    #[arg(long)]
    once: bool,
    /// Write lines of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs the command. It ends with a failure, or when nobody reads what it writes.
pub async fn run(args: ObserveArgs) -> ExitCode {
    let client = match args.server.client().connect() {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    let mut observe = client.observe(&args.name);
    if args.once {
        return once(&args, &client, observe).await;
    }
    loop {
        match observe.next().await {
            Ok(seen) => {
                if let Some(code) = show(&args, &seen) {
                    return code;
                }
                if seen.state == ObservedState::Unknown
                    && let Some(error) = why_unknown(&args, &client).await
                {
                    if is_final(&error) {
                        return fail(&error);
                    }
                    say(format_args!("{error}; asking again"));
                }
            }
            // The next broker that is named may have room, or this one after a moment.
            Err(error @ Error::Exhausted { retry_after, .. }) => {
                say(format_args!("{error}; asking again"));
                tokio::time::sleep(retry_after.unwrap_or(FULL).max(FULL)).await;
            }
            Err(error) => return fail(&error),
        }
    }
}

/// Writes what is known now. Where nobody can tell at first, it is given the time for an answer.
async fn once(args: &ObserveArgs, client: &Client, mut observe: Observe) -> ExitCode {
    match timeout(DEFAULT_ANSWER_TIMEOUT, definite(&mut observe)).await {
        Ok(Ok(seen)) => {
            let code = if seen.state == ObservedState::Held { ExitCode::SUCCESS } else { NOBODY.into() };
            // A closed pipe is no failure: the exit code is the answer.
            show(args, &seen).filter(|code| *code != ExitCode::SUCCESS).unwrap_or(code)
        }
        Ok(Err(error)) => fail(&error),
        Err(_) => unknown(args, client).await,
    }
}

/// Waits for something that is known.
async fn definite(observe: &mut Observe) -> Result<Observed, Error> {
    loop {
        let seen = observe.next().await?;
        if seen.state != ObservedState::Unknown {
            return Ok(seen);
        }
    }
}

/// Finds out why nobody can tell. A stream tells only that it is so; the error of a call says why.
async fn why_unknown(args: &ObserveArgs, client: &Client) -> Option<Error> {
    timeout(WHY, client.get(&args.name, None)).await.ok()?.err()
}

/// Returns true if asking again is of no use.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::Protocol { .. } | Error::Handshake { .. } | Error::Denied { .. } | Error::Unexpected { .. })
}

/// Says that nobody can tell, and why.
async fn unknown(args: &ObserveArgs, client: &Client) -> ExitCode {
    if let Some(code) = show(args, &Observed::UNKNOWN).filter(|code| *code != ExitCode::SUCCESS) {
        return code;
    }
    if let Some(error) = why_unknown(args, client).await {
        return fail(&error);
    }
    say(format_args!("nobody can tell now who holds lock {:?}: it may be held as before; try again later", args.name));
    UNAVAILABLE.into()
}

/// Writes a line. Returns the exit code if no more can be written.
fn show(args: &ObserveArgs, seen: &Observed) -> Option<ExitCode> {
    print_more(&if args.json { format!("{}\n", json(args, seen)) } else { text(seen) })
}

fn text(seen: &Observed) -> String {
    let mut line = seen.state.to_string();
    if let Some(token) = seen.fencing_token {
        line += &format!(" {token}");
    }
    if !seen.owner.is_empty() {
        line += &format!(" owner={:?}", plain(&seen.owner));
    }
    if let Some(value) = &seen.value {
        line += &format!(" value={:?}", String::from_utf8_lossy(value));
    }
    line + "\n"
}

fn json(args: &ObserveArgs, seen: &Observed) -> serde_json::Value {
    let text = seen.value.as_deref().map(str::from_utf8);
    serde_json::json!({
        "name": args.name,
        "state": seen.state.to_string(),
        "owner": seen.owner,
        "value": text.and_then(Result::ok),
        // Only that of a value which is no text.
        "value_base64": text.filter(Result::is_err).and(seen.value.as_deref()).map(|value| BASE64.encode(value)),
        "fencing_token": seen.fencing_token,
        "expires_in_seconds": seen.expires_in.map(|span| span.as_secs_f64()),
    })
}

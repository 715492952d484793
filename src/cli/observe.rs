//! `lockbroker observe`: tells who holds a lock, and whenever that changes.

use std::process::ExitCode;

use data_encoding::BASE64;

use super::common::{ServerArgs, fail};
use super::lists::plain;
use crate::client::Observed;
use crate::output::print_more;

/// Show who holds a lock and with which value, and whenever that changes
///
/// Writes a line at once and for each change, until a signal: the state, the fencing token, the holder's label and its value. `unknown`
/// means that nobody can tell, because no broker answers or their store is away: the lock may be held as before.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 128 + the signal that ended it; 69 no broker that can do it; 77 refused, by \
    the policy or for a certificate; 74 a line cannot be written; 76 what answers is no broker, or \
    no TLS where https:// is said, or the other way round; 2 wrong usage.")]
pub struct ObserveArgs {
    /// The lock's name
    name: String,
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
    loop {
        let line = match observe.next().await {
            Ok(seen) if args.json => format!("{}\n", json(&args, &seen)),
            Ok(seen) => text(&seen),
            Err(error) => return fail(&error),
        };
        if let Some(code) = print_more(&line) {
            return code;
        }
    }
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

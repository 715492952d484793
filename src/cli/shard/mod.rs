//! `lockbroker shard`: opens and adopts the memcached servers that keep the locks, and shows what they are.

mod change;
mod rehearsal;
mod status;

use std::process::ExitCode;

use clap::{CommandFactory, Subcommand};

use super::environment;
use super::lists::plain;
use crate::config::{AdoptArgs, ShardArgs, StatusArgs, TraceOptions};
use crate::output;
use crate::store::ShardAddress;
use crate::store::memcached::{self, Adopted, MemcachedSettings, Opened};
use crate::telemetry;

/// The commands for the servers.
#[derive(Debug, Subcommand)]
pub enum ShardCommand {
    /// Open the shards by hand, where it is known that nobody holds a lock on them, instead of waiting
    /// until the last lease must be over
    Open(ShardArgs),
    /// Change the list of servers, their weights or --max-ttl while brokers run: name the servers that are to be used from now on. Locks
    /// that are held stay held. Can be stopped and run again at any point
    #[command(
        after_help = "Exit codes: 0 the change is through, or with --dry-run would be begun; 1 not so, and a line says why; 74 the \
                      answer cannot be written; 2 wrong usage."
    )]
    Adopt(AdoptArgs),
    /// Show what the servers are, how many locks stand on each, and which brokers use them. Changes nothing
    #[command(after_help = "STATE is one of\n  \
                            open            grants locks\n  \
                            closed          in quarantine: nobody grants locks there\n  \
                            moving          grants nothing until a change of the servers is through\n  \
                            no-state        new, or has lost its memory, and no broker has met it since\n  \
                            other-topology  belongs to another list of servers, other weights or another --max-ttl\n  \
                            other-version   set up by a version of lockbroker that keeps locks in another way\n  \
                            unreadable      somebody else uses the keys in which its state belongs, or it is no memcached\n  \
                            refused         cannot keep locks, or may lose them and --allow-unsafe-store is missing\n  \
                            unreachable     does not answer\n\n\
                            Exit codes: 0 every server is open; 1 one is not, whatever else it is; 74 the answer cannot be \
                            written; 2 wrong usage. Locks that cannot be counted, as with -X, change nothing of that.")]
    Status(StatusArgs),
}

/// Runs the command. `C` is the whole command line, in whose words wrong usage is told.
///
/// # Errors
/// Fails if a shard is not, or would not be, what it is to be, after all lines are printed.
pub async fn run<C: CommandFactory>(command: ShardCommand) -> anyhow::Result<ExitCode> {
    let args = match &command {
        ShardCommand::Open(shards)
        | ShardCommand::Adopt(AdoptArgs { shards, .. })
        | ShardCommand::Status(StatusArgs { shards, .. }) => shards,
    };
    let _telemetry = telemetry::init(&args.log, &TraceOptions::default(), None)?;
    let settings = MemcachedSettings {
        shards: args.shards().unwrap_or_else(|error| environment::exit::<C>(&error)).to_vec(),
        max_ttl: args.max_ttl,
        key_prefix: args.key_prefix.as_str().to_owned(),
        allow_unsafe: args.allow_unsafe_store,
        note: None,
    };
    match command {
        ShardCommand::Open(_) => {
            let opened = memcached::open(&settings).await.into_iter().map(|(shard, opened)| {
                let done = opened.map(|opened| match opened {
                    Opened::Opened => "open".to_owned(),
                    Opened::WasOpen => "was open already".to_owned(),
                });
                (shard, done)
            });
            show(opened.collect(), "open")
        }
        ShardCommand::Adopt(AdoptArgs { force, stopped, dry_run: true, .. }) => {
            rehearsal::run(&settings, force || !stopped).await
        }
        ShardCommand::Adopt(AdoptArgs { from, dead, stopped: false, .. }) => {
            change::run(&settings, from.as_ref(), &dead).await
        }
        ShardCommand::Adopt(AdoptArgs { force, .. }) => {
            let adopted = memcached::adopt(&settings, force).await.into_iter();
            let said = |adopted| match adopted {
                Adopted::Opened => "adopted".to_owned(),
                Adopted::Closed => "closed for good: it is in the list before alone".to_owned(),
                Adopted::LeftAlone(why) => format!("not closed, and it is in the list before: {why}"),
            };
            show(adopted.map(|(shard, done)| (shard, done.map(said))).collect(), "adopted")
        }
        ShardCommand::Status(StatusArgs { json, .. }) => status::run(&settings, json).await,
    }
}

/// Prints a line for each server. Fails if one of them is not `done`.
fn show(results: Vec<(ShardAddress, Result<String, String>)>, done: &str) -> anyhow::Result<ExitCode> {
    let failed = results.iter().filter(|(_, result)| result.is_err()).count();
    let all = results.len();
    let lines = results.into_iter().map(|(shard, result)| {
        // Some have words of a server's in them.
        format!("{shard}: {}\n", plain(&result.unwrap_or_else(|why| why)))
    });
    let printed = output::print(&lines.collect::<String>());
    anyhow::ensure!(failed == 0, "{failed} of {all} servers are not {done}");
    Ok(printed)
}

/// Joins a table and what is said below it, with an empty line before each part that says something.
fn with_parts(table: String, parts: [String; 3]) -> String {
    parts.into_iter().filter(|part| !part.is_empty()).fold(table, |text, part| text + "\n" + &part)
}

/// Returns a line for each reason, behind the servers that have it.
fn reasons<'a>(reasons: impl Iterator<Item = (&'a ShardAddress, &'a str)>) -> String {
    let mut grouped: Vec<(&str, Vec<String>)> = Vec::new();
    for (shard, why) in reasons {
        match grouped.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, shards)) => shards.push(shard.to_string()),
            None => grouped.push((why, vec![shard.to_string()])),
        }
    }
    // Some have words of a server's in them.
    grouped.into_iter().map(|(why, shards)| format!("{}: {}\n", shards.join(", "), plain(why))).collect()
}

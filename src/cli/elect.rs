//! `lockbroker elect`: campaigns for a lock, and runs a command as its leader.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use super::common::ServerArgs;
use super::run::{self, MaxWait, RunArgs};
use crate::config::duration;

/// Campaign for a lock, and run a command as the leader
///
/// This is `lockbroker run --wait forever` with a value, which `lockbroker observe` shows to others: where the leader can be reached,
/// say. Everything else is as there: the command's environment, its signals and its end when the lock is lost, and the exit codes.
///
/// The command's end ends the leadership. If it is lost, the command is stopped, and this ends with 70; with --again it campaigns
/// once more.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: the command's own, or 128 + the signal that ended it; 70 the lock was lost; \
    69 no broker, or none that can do it; 77 refused, by the policy or for a certificate; \
    76 what answers is no broker, or no TLS where https:// is said, or the other way round; 2 wrong usage; \
    126 the command cannot be run; 127 there is no such command. \
    Where a `lockbroker run` or `elect` that started this one has the lock, it ends at once, with 75.")]
pub struct ElectArgs {
    /// The value that those see who observe the lock; at most 1,024 bytes
    #[arg(long, value_name = "TEXT")]
    value: String,
    /// Time that the lock outlives a leader that falls silent [default: the broker's, 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
    /// If the connection ends, keep the lock until its validity is over, as `run --keep` does
    #[arg(long)]
    keep: bool,
    /// If the leadership is lost, campaign again, and run the command again
    #[arg(long)]
    again: bool,
    /// Label that others see who ask for the lock [default: the host's name and the process id]
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
    /// The lock's name
    name: String,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command.
pub async fn run(args: ElectArgs) -> ExitCode {
    let ElectArgs { value, ttl, keep, again, owner, server, name, command } = args;
    run::run(RunArgs {
        wait: Some(MaxWait::Forever),
        value: Some(value),
        ttl,
        linger: None,
        keep,
        at_least: None,
        shared: false,
        limit: None,
        weight: None,
        timeout: None,
        again,
        owner,
        conflict_exit_code: run::CONFLICT,
        server,
        names: vec![name],
        command,
    })
    .await
}

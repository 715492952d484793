//! `lockbroker exec-watch`: stands between `lockbroker run` and its command, and ends the command if `run` dies.
//!
//! `run` may be killed at any moment, and can do nothing about its command then. The kernel can end a process when its
//! parent dies, but not one that is setuid, and not what the command has started. So a second process watches. A
//! process below it that loses its parent becomes its child, even one that has left the process group. All of them end
//! with `run`. Not for people: hidden in the help.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitStatus, getpgrp, getpid, getppid, kill_process, kill_process_group, set_child_subreaper,
    set_parent_process_death_signal,
};
use tokio::signal::unix::{SignalKind, signal};

use super::bound::BoundArgs;
use super::common::NOT_EXECUTABLE;
use super::processes::{Children, code, kill_all_below};
use super::signals::{Signals, code_of};
use crate::output::say;

/// The signal that the kernel sends when `run` dies. Nobody else sends it, and by default it does nothing.
const RUN_HAS_DIED: Signal = Signal::URG;

/// The time in which a signal that this process has caught is told here. One that comes meanwhile may reach the command twice.
const UNTIL_DELIVERED: Duration = Duration::from_millis(1);

/// Watch over a command
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// The process that the command must not outlive; the parent of this one
    run: i32,
    /// The command takes the terminal first
    #[arg(long)]
    terminal: bool,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl WatchArgs {
    /// The name under which `main` must offer this command.
    pub const COMMAND: &str = "exec-watch";
}

/// Runs the command and returns its exit code. If `run` dies, kills it and all that it has started.
pub async fn run(args: &WatchArgs) -> ExitCode {
    watch(args)
        .await
        .unwrap_or_else(|error| {
            say(format_args!("cannot start the command: {error}"));
            NOT_EXECUTABLE
        })
        .into()
}

async fn watch(args: &WatchArgs) -> io::Result<u8> {
    // Signals for the command's group come here too.
    let mut signals = Signals::catch_all()?;
    let mut died = signal(SignalKind::from_raw(RUN_HAS_DIED.as_raw()))?;
    let mut children = Children::watch()?;
    set_child_subreaper(Some(getpid()))?;
    set_parent_process_death_signal(Some(RUN_HAS_DIED))?;
    let is_alone = || getppid().map(Pid::as_raw_pid) != Some(args.run);
    // `run` may have died before this process asked for the signal.
    if is_alone() {
        return Ok(code_of(Signal::KILL));
    }
    let command = Pid::from_child(&bound(args).spawn()?);
    // What came before the command was there reached nobody but this process.
    while let Ok(signal) = tokio::time::timeout(UNTIL_DELIVERED, signals.next()).await {
        let _ = kill_process(command, signal);
    }
    loop {
        tokio::select! {
            (pid, status) = children.next() => match status {
                _ if pid != command => {}
                status if status.stopped() => stopped(status, args.terminal),
                status => return Ok(code(status)),
            },
            _ = died.recv() => if is_alone() {
                // The first child to end is the command that `run` has started.
                let _ = kill_process(command, Signal::KILL);
                kill_all_below(&[]);
                return Ok(code_of(Signal::KILL));
            },
        }
    }
}

/// Makes the command, which starts by way of `exec-bound`, in this process's group.
fn bound(args: &WatchArgs) -> Command {
    let mut bound = Command::new("/proc/self/exe");
    bound.arg0("lockbroker").arg(BoundArgs::COMMAND);
    if args.terminal {
        bound.arg("--terminal");
    }
    bound.arg(std::process::id().to_string()).arg("--").args(&args.command);
    bound
}

/// Handles a command that was stopped: lets it go on where nobody else could, or says what it waits for.
fn stopped(status: WaitStatus, terminal: bool) {
    match status.stopping_signal().and_then(Signal::from_named_raw) {
        // Ctrl-Z reaches only the command, so no shell would notice, and `run` must go on renewing.
        Some(Signal::TSTP) if terminal => {
            say("cannot suspend the command while it holds a lock; going on");
            let _ = kill_process_group(getpgrp(), Signal::CONT);
        }
        Some(Signal::TTIN | Signal::TTOU) => {
            say("the command waits for the terminal, which it has only if `run` is in the foreground, with stdin and \
                 stdout on the terminal; end it with Ctrl-C or redirect its input");
        }
        // The process that stopped it will let it go on.
        _ => {}
    }
}

//! `lockbroker exec-bound`: becomes a command that dies with its parent, the watcher.
//!
//! A process can ask the kernel to kill it when its parent dies, but only for itself, and a user's command does not
//! ask. So `exec-watch` starts this program once more, which asks and then becomes the command. Not for people: hidden
//! in the help.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, getpgrp, getppid, set_parent_process_death_signal};
use rustix::termios::tcsetpgrp;

use super::common::NOT_EXECUTABLE;
use crate::output::say;
use crate::signal_mask::held_back;

/// The shell's exit code for a command that is not there.
const NOT_FOUND: u8 = 127;

/// Become a command that dies with its parent
#[derive(Debug, clap::Args)]
pub struct BoundArgs {
    /// The process which it must not outlive; its parent
    parent: i32,
    /// Take the terminal first
    #[arg(long)]
    terminal: bool,
    /// Command to become
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

impl BoundArgs {
    /// The name under which `main` must offer this command.
    pub const COMMAND: &str = "exec-bound";
}

/// Runs the command. Returns only if that fails.
pub fn run(args: &BoundArgs) -> ExitCode {
    match become_command(args) {
        Ok(never) => match never {},
        Err(error) => {
            let command = args.command[0].display();
            match error.kind() {
                io::ErrorKind::NotFound => {
                    say(format_args!("{command}: command not found"));
                    NOT_FOUND.into()
                }
                _ => {
                    say(format_args!("{command}: cannot be run: {error}"));
                    NOT_EXECUTABLE.into()
                }
            }
        }
    }
}

fn become_command(args: &BoundArgs) -> io::Result<std::convert::Infallible> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before this process asked for the signal.
    if getppid().map(Pid::as_raw_pid) != Some(args.parent) {
        return Err(io::Error::other("`lockbroker run` was killed"));
    }
    if args.terminal {
        // SIGTTOU would stop this process for it: it is in the background.
        held_back(|| tcsetpgrp(io::stdin(), getpgrp()))?;
    }
    Err(Command::new(&args.command[0]).args(&args.command[1..]).exec())
}

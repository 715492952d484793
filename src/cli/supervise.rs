//! Runs a command for as long as a lock is held.

use std::ffi::OsString;
use std::future::poll_fn;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::task::Poll;
use std::time::Duration;
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpgrp, kill_process_group, waitpid};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::mpsc;

use super::bound::BoundArgs;
use super::common::{from_background, say};
use crate::client::Guard;

/// How long before the lock runs out the command is told to stop; a sixth of the ttl where that is less.
const STOP_BEFORE: Duration = Duration::from_secs(2);

/// How long a timer may be trusted: timers stand still while the machine is suspended, locks do not.
const LOOK: Duration = Duration::from_secs(1);

/// What ended the command.
pub(super) enum Ended {
    /// Itself or a signal that was not ours; with its exit code, or 128 + the signal.
    ByItself(u8),
    /// We, because of the lock.
    ForTheLock,
}

/// Runs `command` until it ends, or the lock does.
///
/// # Errors
/// If it could not be started.
pub(super) async fn supervise(guard: &Guard, command: &[OsString]) -> io::Result<Ended> {
    let mut signals = Signals::catch()?;
    let terminal = owns_terminal();
    let (group, mut changes) = start(bound(guard, command, terminal)).await?;
    let stop_before = STOP_BEFORE.min(guard.ttl() / 6);
    let (mut lost, mut stopping) = (None, false);
    let ended = loop {
        let left = guard.expires_in();
        if !stopping && (lost.is_some() || left <= stop_before) {
            stopping = true;
            let why = match lost {
                Some(reason) => format!("was lost: {reason}"),
                None => "is about to run out: no broker renews it".into(),
            };
            say(format_args!("lock {:?} {why}; stopping the command", guard.name()));
            pass_on(Signal::TERM, group);
        }
        if stopping && left.is_zero() {
            pass_on(Signal::KILL, group);
        }
        let pause = if stopping { left } else { left.saturating_sub(stop_before) };
        tokio::select! {
            change = changes.recv() => match change {
                Some(Ok(status)) if status.stopped() => stopped(status, terminal, group),
                Some(Ok(status)) => break Ok(code(status)),
                Some(Err(error)) => break Err(error),
                None => break Err(io::Error::other("nobody watches the command")),
            },
            reason = guard.lost(), if lost.is_none() => lost = Some(reason),
            signal = signals.next() => pass_on(signal, group),
            () = tokio::time::sleep(pause.min(LOOK)), if !(stopping && left.is_zero()) => {}
        }
    };
    if stopping {
        // The command has gone; what it leaves behind does not hold the lock either.
        pass_on(Signal::KILL, group);
    }
    if terminal && tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground == group) {
        from_background(|| tcsetpgrp(io::stdin(), getpgrp()))?;
    }
    ended.map(|code| if stopping { Ended::ForTheLock } else { Ended::ByItself(code) })
}

/// The command, by way of `exec-bound`.
fn bound(guard: &Guard, command: &[OsString], terminal: bool) -> Command {
    let mut bound = Command::new("/proc/self/exe");
    bound.arg0("lockbroker").arg(BoundArgs::COMMAND);
    if terminal {
        bound.arg("--terminal");
    }
    bound.arg(std::process::id().to_string()).arg("--").args(command);
    bound.env("LOCKBROKER_FENCING_TOKEN", guard.fencing_token().to_string());
    bound.env("LOCKBROKER_LOCK_ID", guard.lock_id());
    bound.process_group(0);
    bound
}

/// What is heard of a command: its stops and its end, which is the last.
type Changes = mpsc::UnboundedReceiver<io::Result<WaitStatus>>;

/// Starts `command` and watches it, both on a thread that lives for as long as the command does, because a command
/// that is to die with its parent dies with the thread that started it.
async fn start(mut command: Command) -> io::Result<(Pid, Changes)> {
    let (started, pid) = tokio::sync::oneshot::channel();
    let (changed, changes) = mpsc::unbounded_channel();
    thread::Builder::new().name("command".into()).spawn(move || {
        let pid = match command.spawn() {
            Ok(child) => Pid::from_child(&child),
            Err(error) => return drop(started.send(Err(error))),
        };
        let _ = started.send(Ok(pid));
        loop {
            let status = match waitpid(Some(pid), WaitOptions::UNTRACED) {
                Ok(Some((_, status))) => Ok(status),
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
            let last = !status.as_ref().is_ok_and(|status| status.stopped());
            if changed.send(status).is_err() || last {
                return;
            }
        }
    })?;
    let pid = pid.await.map_err(io::Error::other)??;
    Ok((pid, changes))
}

/// The exit code, or 128 + the signal, as shells have it.
fn code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Sends a signal to all of the command.
fn pass_on(signal: Signal, group: Pid) {
    // Fails if the group has just ended, and then nothing is to be done.
    let _ = kill_process_group(group, signal);
    if matches!(signal, Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT) {
        // Who is stopped takes a signal only when it goes on.
        let _ = kill_process_group(group, Signal::CONT);
    }
}

/// The command was stopped.
fn stopped(status: WaitStatus, terminal: bool, group: Pid) {
    let signal = status.stopping_signal().and_then(Signal::from_named_raw);
    match signal {
        // Ctrl-Z reaches only the command, so no shell would notice, and we must go on renewing.
        Some(Signal::TSTP) if terminal => {
            say("cannot suspend the command while it holds a lock; going on");
            let _ = kill_process_group(group, Signal::CONT);
        }
        Some(Signal::TTIN | Signal::TTOU) => {
            say("the command waits for the terminal, which it has only if `run` is in the foreground, with stdin and \
                 stdout on the terminal; end it with Ctrl-C or redirect its input");
        }
        // Whoever stopped it will let it go on.
        _ => {}
    }
}

/// Whether to hand the terminal to the command: it reads from it, writes to it, and has it now. In a pipeline it
/// belongs to the others as well.
fn owns_terminal() -> bool {
    isatty(io::stdin())
        && isatty(io::stdout())
        && tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground == getpgrp())
}

/// The signals that are passed on to the command.
struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Catches them, except those that are ignored: `nohup` and a shell's `&` mean it for the command too.
    fn catch() -> io::Result<Signals> {
        let ignored = ignored_signals();
        let all = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::ALARM];
        let caught = all.into_iter().filter(|signal| ignored & (1 << (signal.as_raw() - 1)) == 0);
        let caught = caught.map(|signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?)));
        Ok(Signals(caught.collect::<io::Result<_>>()?))
    }

    /// # Cancel safety
    /// No signal is lost when the future is dropped.
    async fn next(&mut self) -> Signal {
        poll_fn(|cx| {
            for (signal, caught) in &mut self.0 {
                if let Poll::Ready(Some(())) = caught.poll_recv(cx) {
                    return Poll::Ready(*signal);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The mask of ignored signals; none if it cannot be read.
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

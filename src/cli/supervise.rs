//! Runs a command for as long as a lock is held.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process_group, set_child_subreaper};
use rustix::termios::{isatty, tcgetpgrp, tcsetpgrp};

use super::processes::{Children, children, code, kill_all_below};
use super::signals::Signals;
use super::watch::WatchArgs;
use crate::client::{Guard, HeldLock, LostReason};
use crate::clock::Moment;
use crate::output::say;
use crate::signal_mask::held_back;

/// The time before the lock runs out at which the command is told to stop; a sixth of the ttl where that is less.
const STOP_BEFORE: Duration = Duration::from_secs(2);
/// The longest time that a command may take to end after its `--timeout`.
pub(super) const KILL_AFTER: Duration = Duration::from_secs(10);
/// The longest sleep. Timers stand still while the machine is suspended, locks do not.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The reason for which the command ended.
pub(super) enum Ended {
    /// By itself, or by a signal that `run` did not send; with its exit code, or 128 + the signal.
    ByItself(u8),
    /// `run` ended it, because of the lock. A signal may have asked for its end as well: then it is not run again.
    ForTheLock { asked_to_end: bool },
    /// `run` ended it, because its `--timeout` was over.
    Timeout,
}

/// A command that runs.
struct Job<'a> {
    lock: &'a Guard,
    /// The process group of the command and its watcher; it is the watcher's process id.
    group: Pid,
    /// The children that this process had before.
    spared: Vec<Pid>,
    timeout: Option<Moment>,
    stop: Stop,
}

/// The way in which the command has been told to stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// It has not been told.
    No,
    /// For its `--timeout`; it is killed at that moment.
    Timeout(Moment),
    /// For the lock; it is killed at that moment, or before if the lock runs out before.
    Lock(Moment),
}

/// Runs `command` until it ends, its `timeout` is over, or the lock is lost.
///
/// # Errors
/// If it could not be started.
pub(super) async fn supervise(
    lock: &Guard,
    command: &[OsString],
    timeout: Option<Duration>,
    signals: &mut Signals,
    children: &mut Children,
) -> io::Result<Ended> {
    let terminal = owns_terminal();
    let mut job = Job::start(lock, command, timeout, terminal)?;
    let mut lost = None;
    let mut asked_to_end = false;
    let code = loop {
        let pause = job.stop_if_due(lost);
        tokio::select! {
            (pid, status) = children.next() => {
                if pid == job.group && !status.stopped() {
                    if status.signaled() {
                        // Without its watcher, what runs on would be nobody's.
                        job.kill();
                    }
                    break code(status);
                }
            }
            reason = lock.lost(), if lost.is_none() => lost = Some(reason),
            signal = signals.next() => {
                // SIGHUP asks many commands to read their settings again.
                asked_to_end |= matches!(signal, Signal::INT | Signal::TERM | Signal::QUIT);
                job.pass_on(signal);
            }
            () = tokio::time::sleep(pause.min(MAX_SLEEP)) => {}
        }
    };
    if job.stop != Stop::No {
        // The command has gone; what it leaves behind does not hold the lock either.
        job.kill();
    }
    if terminal && tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground == job.group) {
        // The background may not do that: SIGTTOU would stop this process for it. It fails only if the terminal has gone.
        let _ = held_back(|| tcsetpgrp(io::stdin(), getpgrp()));
    }
    Ok(match job.stop {
        Stop::No => Ended::ByItself(code),
        Stop::Timeout(_) => Ended::Timeout,
        Stop::Lock(_) => Ended::ForTheLock { asked_to_end },
    })
}

impl<'a> Job<'a> {
    fn start(lock: &'a Guard, command: &[OsString], timeout: Option<Duration>, terminal: bool) -> io::Result<Job<'a>> {
        // Processes below the watcher that lose their parent after it has gone become this process's, and can be
        // found.
        set_child_subreaper(Some(getpid()))?;
        let spared = children();
        let group = Pid::from_child(&watched(lock, command, terminal).spawn()?);
        let timeout = timeout.map(|timeout| Moment::now() + timeout);
        Ok(Job { lock, group, spared, timeout, stop: Stop::No })
    }

    /// Sends the signals that are due. Returns the time until the next one.
    fn stop_if_due(&mut self, lost: Option<LostReason>) -> Duration {
        let left = self.lock.expires_in();
        let stop_before = STOP_BEFORE.min(self.lock.ttl() / 6);
        if !matches!(self.stop, Stop::Lock(_)) && (lost.is_some() || left <= stop_before) {
            // The moment stays, even if a broker renews the lock after all: the command has been told to end.
            let kill_at = Moment::now() + left.min(stop_before);
            self.stop = Stop::Lock(if let Stop::Timeout(moment) = self.stop { moment.min(kill_at) } else { kill_at });
            let why = match lost {
                Some(reason) => format!("was lost: {reason}"),
                None if left.is_zero() => {
                    "has run out, and others may have had it: this process stood still, or no broker renewed it".into()
                }
                None => "is about to run out: no broker renews it".into(),
            };
            self.tell_to_stop(&format!("lock {:?} {why}", self.lock.name()));
        }
        if self.stop == Stop::No && self.timeout.is_some_and(Moment::has_passed) {
            self.stop = Stop::Timeout(Moment::now() + KILL_AFTER);
            self.tell_to_stop("--timeout is over");
        }
        let until_stop = left.saturating_sub(stop_before);
        let (kill_in, pause) = match self.stop {
            Stop::No => return until_stop.min(self.timeout.map_or(Duration::MAX, Moment::remaining)),
            Stop::Timeout(moment) => (moment.remaining(), until_stop),
            Stop::Lock(moment) => (moment.remaining().min(left), Duration::MAX),
        };
        if !kill_in.is_zero() {
            return kill_in.min(pause);
        }
        self.kill();
        // Whatever is still there is killed again then.
        MAX_SLEEP
    }

    fn tell_to_stop(&self, why: &str) {
        self.pass_on(Signal::TERM);
        say(format_args!("{why}; stopping the command"));
    }

    /// Sends a signal to all of the command.
    fn pass_on(&self, signal: Signal) {
        if signal == Signal::TSTP {
            say("cannot be suspended while it holds a lock; going on");
            return;
        }
        // Fails if the group has just ended, and then nothing is to be done.
        let _ = kill_process_group(self.group, signal);
        if matches!(signal, Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT) {
            // A stopped process takes a signal only when it goes on.
            let _ = kill_process_group(self.group, Signal::CONT);
        }
    }

    /// Kills the command and all that it has started.
    fn kill(&self) {
        let _ = kill_process_group(self.group, Signal::KILL);
        kill_all_below(&self.spared);
    }
}

/// What the command finds of one lock, and of several: a line for each.
const VARIABLES: [[&str; 4]; 2] = [
    ["LOCKBROKER_NAME", "LOCKBROKER_FENCING_TOKEN", "LOCKBROKER_LOCK_ID", "LOCKBROKER_PERMIT"],
    ["LOCKBROKER_NAMES", "LOCKBROKER_FENCING_TOKENS", "LOCKBROKER_LOCK_IDS", "LOCKBROKER_PERMITS"],
];

/// Puts what is known of some locks into these variables, a line for each lock.
fn describe(command: &mut Command, [names, tokens, ids, permits]: [&str; 4], locks: &[HeldLock]) {
    let lines = |text: &dyn Fn(&HeldLock) -> String| locks.iter().map(text).collect::<Vec<_>>().join("\n");
    command.env(names, lines(&|lock| lock.name.clone()));
    command.env(tokens, lines(&|lock| lock.fencing_token.to_string()));
    command.env(ids, lines(&|lock| lock.lock_id.clone()));
    if locks.iter().any(|lock| lock.permit.is_some()) {
        command.env(permits, lines(&|lock| lock.permit.map_or_else(String::new, |permit| permit.to_string())));
    }
}

/// Makes the command, which starts by way of `exec-watch`.
fn watched(lock: &Guard, command: &[OsString], terminal: bool) -> Command {
    let mut watch = Command::new("/proc/self/exe");
    watch.arg0("lockbroker").arg(WatchArgs::COMMAND);
    if terminal {
        watch.arg("--terminal");
    }
    watch.arg(std::process::id().to_string()).arg("--").args(command);
    // A `run` above this one may have set others, of another lock.
    for variable in VARIABLES.into_iter().flatten() {
        watch.env_remove(variable);
    }
    let locks = lock.locks();
    let [one, several] = VARIABLES;
    // Of several permits of one lock the first stands for it, so that a command finds what it knows from one.
    if locks.iter().all(|other| other.name == lock.name()) {
        describe(&mut watch, one, &locks[..1]);
    }
    if locks.len() > 1 {
        describe(&mut watch, several, &locks);
    }
    watch.process_group(0);
    watch
}

/// Returns true if the command is to have the terminal: it reads from it, writes to it, and has it now. In a pipeline
/// it belongs to the others as well.
fn owns_terminal() -> bool {
    isatty(io::stdin())
        && isatty(io::stdout())
        && tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground == getpgrp())
}

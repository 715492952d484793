//! `lockbroker run`: holds a lock while a command runs.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use rustix::process::Signal;

use super::acquire::{acquire, held_above, refused};
use super::common::{NOT_EXECUTABLE, ServerArgs, USAGE, fail};
use super::misuse::misuse;
use super::processes::Children;
use super::signals::{Signals, code_of};
use super::supervise::{Ended, supervise};
use crate::client::{Error, Outcome};
use crate::config::duration;
use crate::lock::MAX_PERMITS;
use crate::output::say;

/// EX_SOFTWARE of sysexits.h: the lock was lost while the command ran.
const LOST: u8 = 70;

/// The exit code if the lock is not acquired, unless another one is named.
pub(super) const CONFLICT: u8 = 75;

/// The exit code of timeout(1): `--timeout` is over.
const TIMEOUT: u8 = 124;

/// The longest time that the command's end waits for the release to be confirmed. The end of the process releases too.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);
/// The pause after a loss before the lock is asked for again.
const PAUSE: Duration = Duration::from_secs(1);

/// Run a command while holding a lock
///
/// The command finds LOCKBROKER_NAME, LOCKBROKER_FENCING_TOKEN and LOCKBROKER_LOCK_ID in its environment. The token
/// rises with every grant of the lock; what must not be corrupted should refuse a lower one than it has seen. (The id
/// changes when the lock moves to another broker; the token does not.) With --shared it also finds LOCKBROKER_PERMIT: the number of
/// its permit, from 0 to the limit - 1, which nobody else has at the same time. It can be a worker's number.
///
/// With several names it finds LOCKBROKER_NAMES, LOCKBROKER_FENCING_TOKENS, LOCKBROKER_LOCK_IDS and LOCKBROKER_PERMITS instead: each has a
/// line for each lock, in the order of the names. With a --weight above 1 it finds these too, with a line for each permit; the others are
/// those of the first permit. Who waits for several locks never waits in a circle with others,
/// in whatever order they are named. The locks before the one that it waits for, by their names' bytes, are held meanwhile.
///
/// The command runs in a process group of its own, and signals sent to `lockbroker run` are passed on to that. If the
/// lock is lost, or about to run out because no broker can be reached, the group gets SIGTERM, 2 s before the end where
/// there is time (a sixth of the ttl if that is less), and SIGKILL at the end, also if a broker comes back meanwhile: a
/// command that does not heed SIGTERM has no longer than that. Whatever the command has started is killed then too, and
/// so is all of it when `lockbroker run` itself is killed. Only what runs as another user (sudo, su) is beyond its reach.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: the command's own, or 128 + the signal that ended it; \
    75 the lock was not acquired (see --conflict-exit-code); 70 the lock was lost; 124 the --timeout was over; \
    69 no broker, or none that can do it; 77 refused, by the policy or for a certificate; \
    76 what answers is no broker, or no TLS where https:// is said, or the other way round; 2 wrong usage; \
    126 the command cannot be run; 127 there is no such command.")]
pub struct RunArgs {
    /// Longest wait for the lock (30s, 5m, or `forever`), also where a broker has no room for now; without this, try once
    #[arg(long, value_name = "DURATION")]
    pub(super) wait: Option<MaxWait>,
    /// The value for those who observe the lock: that of `elect`.
    #[arg(skip)]
    pub(super) value: Option<String>,
    /// Time that the lock outlives a holder that falls silent [default: the broker's, 15s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) ttl: Option<Duration>,
    /// Time after the release for which nobody can acquire the lock
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) linger: Option<Duration>,
    /// If the connection ends, keep the lock until its validity is over, and take it along to the next connection. Without this, a
    /// proxy that ends connections frees it at once. If this process is killed, others wait for up to the ttl
    #[arg(long)]
    pub(super) keep: bool,
    /// Time from the grant on for which nobody else can acquire the lock, also if the command ends or dies sooner
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) at_least: Option<Duration>,
    /// Share the lock: others who share it may run at the same time, and nobody who wants the lock alone, as without this
    #[arg(long)]
    pub(super) shared: bool,
    /// Share the lock among so many at a time, 1 to 4096; implies --shared. Everybody should say the same [default: 4096]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_PERMITS.into()))]
    pub(super) limit: Option<u32>,
    /// Take so many permits at once, 1 to 16 and at most the limit, all or none. For one name [default: 1]
    #[arg(long, value_name = "N", requires = "limit", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(super) weight: Option<u32>,
    /// Longest time that the command may run, from when it has the lock: then it gets SIGTERM, and SIGKILL 10 s later
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Option<Duration>,
    /// If the lock is lost, wait for it once more and run the command again. Needs --wait, which says for how long
    #[arg(long, requires = "wait")]
    pub(super) again: bool,
    /// Label that others see who ask for the lock [default: the host's name and the process id]
    #[arg(long, value_name = "TEXT")]
    pub(super) owner: Option<String>,
    /// The exit code if the lock is not acquired
    #[arg(long, value_name = "N", default_value_t = CONFLICT)]
    pub(super) conflict_exit_code: u8,
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// The lock's name; several are held together, all or none, up to 16
    #[arg(required = true, value_name = "NAME", num_args = 1..)]
    pub(super) names: Vec<String>,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true)]
    pub(super) command: Vec<OsString>,
}

/// The longest wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MaxWait {
    For(Duration),
    Forever,
}

impl FromStr for MaxWait {
    type Err = String;

    fn from_str(text: &str) -> Result<MaxWait, String> {
        let other = |error| format!("{error}, or `forever`");
        if text == "forever" { Ok(MaxWait::Forever) } else { duration(text).map(MaxWait::For).map_err(other) }
    }
}

/// Runs the command.
pub async fn run(args: RunArgs) -> ExitCode {
    if let Some(why) = misuse(&args) {
        say(why);
        return USAGE.into();
    }
    hold_and_run(&args).await.unwrap_or_else(|error| fail(&error))
}

async fn hold_and_run(args: &RunArgs) -> Result<ExitCode, Error> {
    let mut events = match Events::listen() {
        Ok(events) => events,
        Err(error) => return Ok(cannot_start(&error)),
    };
    loop {
        let outcome = tokio::select! {
            outcome = acquire(args) => outcome?,
            signal = events.end() => return Ok(code_of(signal).into()),
        };
        let guard = match outcome {
            Outcome::Acquired(guard) => guard,
            Outcome::NotAcquired(why) => {
                let hint = match (held_above(args), args.wait) {
                    (true, _) => "; the `lockbroker run` that started this one has it, and waits for it to end",
                    (false, None) => "; --wait waits for it",
                    (false, Some(_)) => "",
                };
                say(format_args!("lock {:?} is {}{hint}", why.lock, refused(args, &why).await));
                return Ok(args.conflict_exit_code.into());
            }
        };
        let ended = match events.for_a_command() {
            Ok((signals, children)) => supervise(&guard, &args.command, args.timeout, signals, children).await,
            Err(error) => Err(error),
        };
        let released = tokio::time::timeout(RELEASE_WITHIN, guard.release()).await;
        return Ok(match ended {
            Ok(Ended::ForTheLock { asked_to_end: false }) if args.again => tokio::select! {
                () = tokio::time::sleep(PAUSE) => continue,
                signal = events.end() => code_of(signal).into(),
            },
            Ok(Ended::ForTheLock { .. }) => LOST.into(),
            Ok(Ended::Timeout) => TIMEOUT.into(),
            Ok(Ended::ByItself(code)) => {
                if let Ok(Err(error)) = released {
                    say(format_args!("the command is done, but: {error}"));
                }
                code.into()
            }
            Err(error) => cannot_start(&error),
        });
    }
}

fn cannot_start(error: &io::Error) -> ExitCode {
    say(format_args!("cannot start the command: {error}"));
    NOT_EXECUTABLE.into()
}

/// The other things that may happen to this process.
struct Events {
    /// The signals; none: a signal ends the process by itself, as shells expect it.
    signals: Option<Signals>,
    children: Children,
}

impl Events {
    fn listen() -> io::Result<Events> {
        // The first process of a container would ignore every signal that it does not catch.
        let signals = (std::process::id() == 1).then(Signals::catch_all).transpose()?;
        Ok(Events { signals, children: Children::watch()? })
    }

    /// Returns what a command needs. From now on no signal ends this process by itself, and none is missed: what comes
    /// while no command runs waits for [`Events::end`].
    fn for_a_command(&mut self) -> io::Result<(&mut Signals, &mut Children)> {
        let signals = self.signals.take().map_or_else(Signals::catch_all, Ok)?;
        Ok((self.signals.insert(signals), &mut self.children))
    }

    /// Waits for a signal to end, and reaps children meanwhile: the first process of a container inherits some.
    async fn end(&mut self) -> Signal {
        loop {
            let signal = async {
                match &mut self.signals {
                    Some(signals) => signals.end().await,
                    None => pending().await,
                }
            };
            tokio::select! {
                signal = signal => return signal,
                _ = self.children.next() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_durations_or_forever() {
        assert_eq!("forever".parse(), Ok(MaxWait::Forever));
        assert_eq!("1m 500ms".parse(), Ok(MaxWait::For(Duration::from_millis(60_500))));
        for wrong in ["30", "nightly", ""] {
            assert!(wrong.parse::<MaxWait>().unwrap_err().ends_with("such as 30s or 5m, or `forever`"), "{wrong}");
        }
    }
}

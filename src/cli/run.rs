//! `lockbroker run`: holds a lock while a command runs.

use std::ffi::OsString;
use std::future::{IntoFuture, pending};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use super::common::{ServerArgs, fail, say};
use super::supervise::{Ended, supervise};
use crate::client::{Client, Error, LockState, Outcome};

/// EX_SOFTWARE of sysexits.h: the lock was lost while the command ran.
const LOST: u8 = 70;
/// The shell's exit code for a command that cannot be run.
const NOT_EXECUTABLE: u8 = 126;

/// How long to wait before saying so, and how often to look whether the reason has changed.
const SAY_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long the command's end may wait for the release to be confirmed; the end of the process releases too.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// Run a command while holding a lock
///
/// The command finds LOCKBROKER_FENCING_TOKEN and LOCKBROKER_LOCK_ID in its environment. The token rises with every
/// grant of the lock; what must not be corrupted should refuse a lower one than it has seen. (The id changes when
/// the lock moves to another broker; the token does not.)
///
/// The command runs in a process group of its own, and signals sent to `lockbroker run` are passed on to that. If
/// the lock is lost, or about to run out because no broker can be reached, the group gets SIGTERM, 2 s before the
/// end where there is time, and SIGKILL at the end. The command does not outlive `lockbroker run`, but
/// what it has started and left behind may.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: the command's own, or 128 + the signal that ended it; \
    75 the lock was not acquired (see --conflict-exit-code); 70 the lock was lost; 69 no broker answered; \
    2 wrong usage; 126 the command cannot be run; 127 there is no such command.")]
pub struct RunArgs {
    /// How long to wait for the lock (30s, 5m, or `forever`); without this, try once
    #[arg(long, value_name = "DURATION")]
    wait: Option<MaxWait>,
    /// How long the lock outlives a holder of which nothing is heard [default: the broker's, 15s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// How long nobody can acquire the lock after its release
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    linger: Option<Duration>,
    /// What others see who ask for the lock [default: the host's name and the process id]
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// The exit code if the lock is not acquired
    #[arg(long, value_name = "N", default_value_t = 75)]
    conflict_exit_code: u8,
    #[command(flatten)]
    server: ServerArgs,
    /// The lock's name
    name: String,
    /// The command and its arguments, after `--`
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MaxWait {
    For(Duration),
    Forever,
}

impl FromStr for MaxWait {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<MaxWait, humantime::DurationError> {
        if text == "forever" { Ok(MaxWait::Forever) } else { humantime::parse_duration(text).map(MaxWait::For) }
    }
}

/// Runs the command.
pub async fn run(args: RunArgs) -> ExitCode {
    hold_and_run(&args).await.unwrap_or_else(|error| fail(&error))
}

async fn hold_and_run(args: &RunArgs) -> Result<ExitCode, Error> {
    let guard = match acquire(args).await? {
        Outcome::Acquired(guard) => guard,
        Outcome::NotAcquired(why) => {
            let hint = if args.wait.is_none() { "; --wait waits for it" } else { "" };
            say(format_args!("lock {:?} is {why}{hint}", args.name));
            return Ok(args.conflict_exit_code.into());
        }
    };
    let ended = supervise(&guard, &args.command).await;
    let released = tokio::time::timeout(RELEASE_WITHIN, guard.release()).await;
    Ok(match ended {
        Ok(Ended::ForTheLock) => LOST.into(),
        Ok(Ended::ByItself(code)) => {
            if let Ok(Err(error)) = released {
                say(format_args!("the command is done, but: {error}"));
            }
            code.into()
        }
        Err(error) => {
            say(format_args!("cannot start the command: {error}"));
            NOT_EXECUTABLE.into()
        }
    })
}

async fn acquire(args: &RunArgs) -> Result<Outcome, Error> {
    let host = rustix::system::uname();
    let default_owner = || format!("{} pid {}", host.nodename().to_string_lossy(), std::process::id());
    let mut client = args.server.client().owner(args.owner.clone().unwrap_or_else(default_owner));
    if let Some(ttl) = args.ttl {
        client = client.ttl(ttl);
    }
    let client = client.connect()?;
    let linger = args.linger.unwrap_or_default();
    let Some(wait) = args.wait else {
        return client.acquire(&args.name).linger(linger).await;
    };
    let mut ask = client.wait_acquire(&args.name).linger(linger);
    if let MaxWait::For(max_wait) = wait {
        ask = ask.max_wait(max_wait);
    }
    tokio::select! {
        outcome = ask.into_future() => outcome,
        () = say_why_it_waits(&client, &args.name) => pending().await,
    }
}

/// Says for what it waits, and again whenever that is something else. Never returns.
async fn say_why_it_waits(client: &Client, name: &str) {
    let mut said = String::new();
    let mut next = SAY_AFTER;
    loop {
        tokio::time::sleep(next).await;
        let why = match client.get(name, None).await {
            Ok(lock) if lock.state == LockState::Held && !lock.owner.is_empty() => {
                format!("lock {name:?} is held by {}", lock.owner)
            }
            Ok(lock) => format!("lock {name:?} is {}", lock.state),
            Err(error) => error.to_string(),
        };
        if why != said {
            say(format_args!("{why}; waiting"));
            said = why;
        }
        next = LOOK_EVERY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_durations_or_forever() {
        assert_eq!("forever".parse(), Ok(MaxWait::Forever));
        assert_eq!("1m 500ms".parse(), Ok(MaxWait::For(Duration::from_millis(60_500))));
        assert!("30".parse::<MaxWait>().is_err());
    }
}

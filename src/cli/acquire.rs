//! Asks for the locks of `lockbroker run`, and says what is in the way.

use std::future::{IntoFuture, pending};
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::common::ServerArgs;
use super::processes::parent;
use super::run::{MaxWait, RunArgs};
use super::watch::WatchArgs;
use crate::client::{Client, Error, ErrorReason, LockInfo, LockState, NotAcquired, Outcome, Reason};
use crate::output::say;

/// The time after which a wait is reported, and the interval at which its reason is looked at again.
const SAY_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The least time until a broker is asked again after one had no room.
const FULL: Duration = Duration::from_secs(1);
/// The longest time that a lock which is closed is looked at, to say for how long.
const LOOK_WITHIN: Duration = Duration::from_secs(2);

/// Returns true if a `lockbroker run` above this process holds the lock, so that waiting for it would never end. Both may share it.
pub(super) fn held_above(args: &RunArgs) -> bool {
    let shares = args.shared || args.limit.is_some() || args.weight.is_some();
    // One name alone, or a line for each of several.
    let names_one = |variable: &[u8]| {
        let value = variable.strip_prefix(b"LOCKBROKER_NAME=").or_else(|| variable.strip_prefix(b"LOCKBROKER_NAMES="));
        value.is_some_and(|value| {
            value.split(|&byte| byte == b'\n').any(|line| args.names.iter().any(|name| name.as_bytes() == line))
        })
    };
    let mut above = parent(std::process::id() as i32);
    while let Some(pid) = above.map(Pid::as_raw_pid) {
        let read = |file: &str| std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let watches = read("cmdline").split(|&byte| byte == 0).nth(1) == Some(WatchArgs::COMMAND.as_bytes());
        let environ = read("environ");
        let has = |wanted: &dyn Fn(&[u8]) -> bool| environ.split(|&byte| byte == 0).any(wanted);
        let both_share = || shares && has(&|variable| variable.starts_with(b"LOCKBROKER_PERMIT"));
        if watches && has(&names_one) && !both_share() {
            return true;
        }
        above = parent(pid);
    }
    false
}

/// Asks for the locks, and waits for them if it may. A broker that has no room for now is asked again, or the next one that is named.
pub(super) async fn acquire(args: &RunArgs) -> Result<Outcome, Error> {
    let Some(wait) = args.wait.filter(|_| !held_above(args)) else {
        return ask(args, &args.server, None).await;
    };
    let until = match wait {
        MaxWait::For(max_wait) => Instant::now().checked_add(max_wait),
        MaxWait::Forever => None,
    };
    let (mut wait, mut server, mut has_said) = (wait, args.server.clone(), false);
    loop {
        let error = match ask(args, &server, Some(wait)).await {
            Err(error) if is_for_now(&error) => error,
            ended => return ended,
        };
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(error);
        }
        // Once: of two brokers each may have another reason.
        if !has_said {
            say(format_args!("{error}; asking again"));
            has_said = true;
        }
        let pause = error.retry_after().unwrap_or(FULL).max(FULL);
        tokio::time::sleep(left.map_or(pause, |left| left.min(pause))).await;
        if let Some(until) = until {
            wait = MaxWait::For(until.saturating_duration_since(Instant::now()));
        }
        server.turn();
    }
}

/// Returns true if a limit of the broker or a quota of the caller is reached, and others may give something back.
fn is_for_now(error: &Error) -> bool {
    matches!(
        error.reason(),
        Some(
            ErrorReason::MaxLocks
                | ErrorReason::MaxWaiters
                | ErrorReason::MaxStreams
                | ErrorReason::MaxConcurrentRpcs
                | ErrorReason::QuotaLocks
                | ErrorReason::QuotaWaiters
                | ErrorReason::QuotaRate
        )
    )
}

async fn ask(args: &RunArgs, server: &ServerArgs, wait: Option<MaxWait>) -> Result<Outcome, Error> {
    let host = rustix::system::uname();
    let default_owner = || format!("{} pid {}", host.nodename().to_string_lossy(), std::process::id());
    let owner = args.owner.clone().unwrap_or_else(default_owner);
    let mut client = server.client().owner(&owner);
    if let Some(ttl) = args.ttl {
        client = client.ttl(ttl);
    }
    let client = client.connect()?;
    // There is one at least, as the command line says.
    let (name, also) = args.names.split_first().map_or(("", &[][..]), |(name, also)| (name.as_str(), also));
    let (linger, min_hold) = (args.linger.unwrap_or_default(), args.at_least.unwrap_or_default());
    // The two ways to ask have the same options, by different types.
    macro_rules! with_options {
        ($ask:expr) => {{
            let mut ask = $ask.also(also).linger(linger).min_hold(min_hold);
            if args.shared {
                ask = ask.shared();
            }
            if let Some(limit) = args.limit {
                ask = ask.limit(limit);
            }
            if let Some(weight) = args.weight {
                ask = ask.weight(weight);
            }
            if let Some(value) = &args.value {
                ask = ask.value(value.as_bytes());
            }
            if args.keep { ask.keep_on_disconnect() } else { ask }
        }};
    }
    let Some(wait) = wait else {
        return with_options!(client.acquire(name)).await;
    };
    let mut ask = with_options!(client.wait_acquire(name));
    if let MaxWait::For(max_wait) = wait {
        ask = ask.max_wait(max_wait);
    }
    tokio::select! {
        outcome = ask.into_future() => outcome,
        () = say_why_it_waits(&client, &args.names, &owner) => pending().await,
    }
}

/// Says why a lock was not acquired. Where nobody is known to have it alone, a look at it says more; if it is not so any more, or
/// nobody answers in time, that is left out.
pub(super) async fn refused(args: &RunArgs, why: &NotAcquired) -> String {
    let more = match why.reason {
        Reason::Lingering | Reason::Held if why.owner.is_empty() => in_the_way(args, &why.lock, why.reason).await,
        _ => None,
    };
    more.unwrap_or_else(|| why.to_string())
}

async fn in_the_way(args: &RunArgs, name: &str, reason: Reason) -> Option<String> {
    let client = args.server.client().connect().ok()?;
    let lock = tokio::time::timeout(LOOK_WITHIN, client.get(name, None)).await.ok()?.ok()?;
    if reason == Reason::Held {
        return lock.claimed.then(|| claimed(&lock));
    }
    let why = closed_why(lock.state)?;
    let left = lock.free_within.unwrap_or_default();
    Some(format!("{why}, for another {:.1} s at most", left.as_secs_f64()))
}

/// Says that somebody claims a lock, and who is in its way.
fn claimed(lock: &LockInfo) -> String {
    let shared = if lock.shared_count > 0 { format!("shared by {}, and ", lock.shared_count) } else { String::new() };
    format!(
        "{shared}claimed: somebody waits for those who share it, and lets no new ones in (`lockbroker waiters` shows who)"
    )
}

fn closed_why(state: LockState) -> Option<&'static str> {
    match state {
        LockState::Lingering => Some("lingering after its release"),
        LockState::Revoked => Some("revoked, and closed until its holder can believe in it no more"),
        _ => None,
    }
}

/// Reports what it waits for, and reports again when that changes. Never returns.
async fn say_why_it_waits(client: &Client, names: &[String], own: &str) {
    let mut said = String::new();
    let mut next = SAY_AFTER;
    loop {
        tokio::time::sleep(next).await;
        if let Some(why) = why_it_waits(client, names, own).await {
            if why != said {
                say(format_args!("{why}; waiting"));
                said = why;
            }
            next = LOOK_EVERY;
        }
    }
}

/// Says why one of the locks cannot be had, the first by name. Of several, those before the one that it waits for are held meanwhile,
/// with the label `own`. None if nobody else has any: it may be granted in this moment, or somebody else is before us.
async fn why_it_waits(client: &Client, names: &[String], own: &str) -> Option<String> {
    let mut in_order: Vec<&String> = names.iter().collect();
    in_order.sort_unstable();
    for name in in_order {
        return Some(match client.get(name, None).await {
            Ok(lock) if names.len() > 1 && lock.owner == own => continue,
            Ok(lock) if lock.state == LockState::Held && !lock.owner.is_empty() => {
                format!("lock {name:?} is held by {}", lock.owner)
            }
            Ok(lock) if lock.state == LockState::Held && lock.shared_count > 0 => {
                format!("lock {name:?} is shared by {}", lock.shared_count)
            }
            Ok(lock) if lock.state == LockState::Free => continue,
            Ok(lock) => match closed_why(lock.state) {
                Some(why) => format!("lock {name:?} is {why}"),
                None => format!("lock {name:?} is {}", lock.state),
            },
            Err(error) => error.to_string(),
        });
    }
    None
}

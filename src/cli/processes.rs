//! Lists this process's children, and all processes below one.

use std::collections::HashMap;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, wait};
use tokio::signal::unix::{self, SignalKind};

/// The longest time spent on killing processes that go on starting more.
const KILL_WITHIN: Duration = Duration::from_secs(1);

/// Ends and stops of this process's children, inherited ones included.
pub(super) struct Children(unix::Signal);

impl Children {
    /// Begins to listen.
    pub(super) fn watch() -> io::Result<Children> {
        unix::signal(SignalKind::child()).map(Children)
    }

    /// Waits for the next child that has ended or been stopped. A child that has ended is reaped.
    ///
    /// # Cancel safety
    /// No child is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> (Pid, WaitStatus) {
        loop {
            match wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some(change)) => return change,
                // None has changed, or there is none.
                Ok(None) | Err(_) => self.0.recv().await.unwrap_or_default(),
            }
        }
    }
}

/// Returns the exit code, or 128 + the signal, as shells have it.
pub(super) fn code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Returns the ids of the processes that run now and are children of this one.
pub(super) fn children() -> Vec<Pid> {
    let me = getpid();
    running().into_iter().filter(|&(_, parent)| parent == me).map(|(pid, _)| pid).collect()
}

/// Kills everything below this process, except `spared` and what lies below those. Gives up after a second if
/// processes go on starting others. Cannot kill another user's processes: the kernel protects them.
pub(super) fn kill_all_below(spared: &[Pid]) {
    let give_up = Instant::now() + KILL_WITHIN;
    loop {
        let killed = below(getpid(), spared).into_iter().filter(|&pid| kill_process(pid, Signal::KILL).is_ok());
        // The children of a killed process become this one's, so the next round finds them.
        if killed.count() == 0 || Instant::now() > give_up {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the running processes below `root`.
fn below(root: Pid, spared: &[Pid]) -> Vec<Pid> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for (pid, parent) in running() {
        children.entry(parent).or_default().push(pid);
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(parent) = next.pop() {
        let of = children.remove(&parent).unwrap_or_default();
        let of = of.into_iter().filter(|pid| !spared.contains(pid));
        for pid in of {
            found.push(pid);
            next.push(pid);
        }
    }
    found
}

/// Returns the processes of the system, each with its parent. Zombies are left out; they have no children.
fn running() -> Vec<(Pid, Pid)> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((Pid::from_raw(pid)?, parent(pid)?))).collect()
}

/// Returns the parent of a process that runs.
pub(super) fn parent(pid: i32) -> Option<Pid> {
    // The name, in brackets, may contain anything.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split_whitespace();
    let state = fields.next()?;
    let parent = Pid::from_raw(fields.next()?.parse().ok()?)?;
    (!["Z", "X"].contains(&state)).then_some(parent)
}

//! The signals that end a command, or that `run` passes on.

use std::future::poll_fn;
use std::process::ExitCode;
use std::task::Poll;
use std::{fs, io};

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::signal_mask::held_back;

/// The signals that ask a process to end.
const END: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
/// The others that are passed on.
const OTHER: [Signal; 4] = [Signal::USR1, Signal::USR2, Signal::ALARM, Signal::TSTP];

/// Caught signals.
pub(super) struct Signals(Vec<(Signal, unix::Signal)>);

impl Signals {
    /// Catches those that ask a process to end, and no others.
    pub(super) fn catch_ends() -> io::Result<Signals> {
        Self::catch(&END)
    }

    /// Catches all that are passed on to the command.
    pub(super) fn catch_all() -> io::Result<Signals> {
        Self::catch(&[END, OTHER].concat())
    }

    /// Catches these, except those that are ignored: `nohup` and a shell's `&` mean it for the command too.
    fn catch(all: &[Signal]) -> io::Result<Signals> {
        let ignored = ignored();
        let caught = all.iter().filter(|signal| ignored & (1 << (signal.as_raw() - 1)) == 0);
        let caught = caught.map(|&signal| Ok((signal, unix::signal(SignalKind::from_raw(signal.as_raw()))?)));
        // The kernel knows of a handler before the handler knows whom to tell, and a signal between would be lost.
        held_back(|| caught.collect::<io::Result<_>>()).map(Signals)
    }

    /// Waits for the next signal.
    ///
    /// # Cancel safety
    /// No signal is lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Signal {
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

    /// Waits for a signal that asks this process to end.
    ///
    /// # Cancel safety
    /// No such signal is lost when the future is dropped.
    pub(super) async fn end(&mut self) -> Signal {
        loop {
            let signal = self.next().await;
            if END.contains(&signal) {
                return signal;
            }
        }
    }
}

/// Runs `command` until its end, or until a signal ends it. As process 1 of a container it would ignore signals
/// otherwise; elsewhere the kernel ends it.
pub async fn or_ended(command: impl Future<Output = ExitCode>) -> ExitCode {
    if std::process::id() != 1 {
        return command.await;
    }
    match Signals::catch_ends() {
        Err(_) => command.await,
        Ok(mut signals) => tokio::select! {
            code = command => code,
            signal = signals.end() => code_of(signal).into(),
        },
    }
}

/// Returns the exit code that shells give a process which a signal has ended.
pub(super) fn code_of(signal: Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

/// Returns the mask of ignored signals; none if it cannot be read.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

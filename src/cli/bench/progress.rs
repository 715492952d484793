//! Shows the progress on stderr, one line every second. On a terminal each line replaces the last one.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::task::AbortOnDropHandle;

use super::measure::Tally;
use crate::output;

/// Shows the progress until this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    _task: AbortOnDropHandle<()>,
    on_terminal: bool,
}

impl Progress {
    /// Tells how far `tally` has come with what the mode calls `phase`.
    pub(super) fn start(phase: &'static str, tally: Arc<Tally>) -> Progress {
        let on_terminal = io::stderr().is_terminal();
        let began = Instant::now();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            ticks.tick().await;
            loop {
                ticks.tick().await;
                let (done, failed) = tally.so_far();
                let warm_up = if Instant::now() < tally.window().from { ", warming up" } else { "" };
                let line = format!("{phase}: {} s{warm_up}, {done} done, {failed} failed", began.elapsed().as_secs());
                let line = if on_terminal { format!("\r{line}\x1b[K") } else { line + "\n" };
                output::stderr().write(line.as_bytes());
            }
        });
        Progress { _task: AbortOnDropHandle::new(task), on_terminal }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.on_terminal {
            output::stderr().write(b"\r\x1b[K");
        }
    }
}

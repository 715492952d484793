//! Timeouts of one connection: for its first byte, without a call, and while its client does not read.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::clock::Moment;

/// The longest time from accepting a connection to its first byte.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    open: AtomicUsize,
    /// The end of the last one, in milliseconds since the connection was accepted.
    last: AtomicU64,
}

impl OpenCalls {
    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, accepted: Moment) {
        self.last.store(accepted.elapsed().as_millis() as u64, Ordering::Relaxed);
        self.open.fetch_sub(1, Ordering::Release);
    }
}

/// The timeouts of one connection.
#[derive(Debug)]
pub(crate) struct Timeouts {
    idle: Idle,
    /// The longest time that a write may wait.
    stuck_after: Duration,
    /// Fires when the connection may have been idle for too long.
    idle_check: Pin<Box<Sleep>>,
    /// Runs while a write waits.
    stuck: Option<Pin<Box<Sleep>>>,
}

/// The definition of an idle connection.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Idle {
    /// It has had no call for so long.
    WithoutCalls(Duration),
    /// Nothing has come on it for so long.
    WithoutBytes(Duration),
}

impl Timeouts {
    pub(crate) fn new(idle: Idle, stuck_after: Duration) -> Timeouts {
        let (Idle::WithoutCalls(limit) | Idle::WithoutBytes(limit)) = idle;
        Timeouts { idle, stuck_after, idle_check: Box::pin(sleep(FIRST_BYTE.min(limit))), stuck: None }
    }

    /// Is ready when the connection has been idle for too long. `age` is the time since it was accepted. `last_byte`
    /// is the time from then to the last byte; 0 if none has come.
    pub(super) fn poll_idle(
        &mut self,
        cx: &mut Context<'_>,
        calls: &OpenCalls,
        age: Duration,
        last_byte: Duration,
    ) -> Poll<()> {
        loop {
            ready!(self.idle_check.as_mut().poll(cx));
            let (limit, busy_until) = match self.idle {
                _ if last_byte.is_zero() => (FIRST_BYTE, Duration::ZERO),
                Idle::WithoutCalls(limit) if calls.open.load(Ordering::Acquire) > 0 => (limit, age),
                Idle::WithoutCalls(limit) => (limit, Duration::from_millis(calls.last.load(Ordering::Relaxed))),
                Idle::WithoutBytes(limit) => (limit, last_byte),
            };
            let left = limit.saturating_sub(age.saturating_sub(busy_until));
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.idle_check.as_mut().reset(Instant::now() + left);
        }
    }

    /// Notes if a write waits, and returns true if it has waited for too long.
    pub(super) fn is_stuck(&mut self, cx: &mut Context<'_>, waits: bool) -> bool {
        if !waits {
            self.stuck = None;
            return false;
        }
        let after = self.stuck_after;
        self.stuck.get_or_insert_with(|| Box::pin(sleep(after))).as_mut().poll(cx).is_ready()
    }
}

//! For how long a connection may be of no use: before its first byte, without a call, and while its client does not read.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::clock::Moment;

/// For how long a connection may say nothing at all after it was accepted.
const FIRST_BYTE: Duration = Duration::from_secs(10);

/// The calls of one connection.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    open: AtomicUsize,
    /// When the last one ended, in milliseconds since the connection was accepted.
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

/// How long to bear with one connection.
#[derive(Debug)]
pub(crate) struct Patience {
    idle: Idle,
    /// For how long a write may wait.
    stuck_after: Duration,
    /// When to look at it again.
    look: Pin<Box<Sleep>>,
    /// Runs while a write waits.
    stuck: Option<Pin<Box<Sleep>>>,
}

/// When a connection is idle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Idle {
    /// When it has had no call for so long.
    WithoutCalls(Duration),
    /// When nothing has come on it for so long.
    WithoutBytes(Duration),
}

impl Patience {
    pub(crate) fn new(idle: Idle, stuck_after: Duration) -> Patience {
        let (Idle::WithoutCalls(limit) | Idle::WithoutBytes(limit)) = idle;
        Patience { idle, stuck_after, look: Box::pin(sleep(FIRST_BYTE.min(limit))), stuck: None }
    }

    /// Ready when the connection, which was accepted so long ago, has been idle for too long. `last_byte` is when a byte
    /// last came, in time since then; 0 if none has.
    pub(super) fn poll_idle(
        &mut self,
        cx: &mut Context<'_>,
        calls: &OpenCalls,
        age: Duration,
        last_byte: Duration,
    ) -> Poll<()> {
        loop {
            ready!(self.look.as_mut().poll(cx));
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
            self.look.as_mut().reset(Instant::now() + left);
        }
    }

    /// Takes note of whether a write waits, and returns whether it has for too long.
    pub(super) fn is_stuck(&mut self, cx: &mut Context<'_>, waits: bool) -> bool {
        if !waits {
            self.stuck = None;
            return false;
        }
        let after = self.stuck_after;
        self.stuck.get_or_insert_with(|| Box::pin(sleep(after))).as_mut().poll(cx).is_ready()
    }
}

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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;
    use tonic::transport::server::Connected;

    use super::*;
    use crate::clock::follow_tokio;
    use crate::service::connection::{StreamEnd, TrackedIo, Transport};

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    /// Returns the age at which a connection is idle whose last byte came after a second.
    async fn idle_at(idle: Idle, calls: &OpenCalls, accepted: Moment) -> Duration {
        let mut timeouts = Timeouts::new(idle, MINUTE);
        poll_fn(|cx| timeouts.poll_idle(cx, calls, accepted.elapsed(), SECOND)).await;
        accepted.elapsed()
    }

    fn is_about(age: Duration, seconds: u32) -> bool {
        age.abs_diff(seconds * SECOND) < Duration::from_millis(10)
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_call_on() {
        follow_tokio();
        let (calls, accepted) = (OpenCalls::default(), Moment::now());
        (0..2).for_each(|_| calls.begin());
        let ending = async {
            for _ in 0..2 {
                sleep(70 * SECOND).await;
                calls.end(accepted);
            }
        };
        let (age, ()) = tokio::join!(idle_at(Idle::WithoutCalls(MINUTE), &calls, accepted), ending);
        assert!(is_about(age, 200), "{age:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_to_say_something_is_idle_from_its_last_byte_on() {
        follow_tokio();
        let (calls, accepted) = (OpenCalls::default(), Moment::now());
        calls.begin();
        let age = idle_at(Idle::WithoutBytes(MINUTE), &calls, accepted).await;
        assert!(is_about(age, 61), "{age:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_loses_its_connection() {
        follow_tokio();
        let (near, mut far) = tokio::io::duplex(64);
        let timeouts = Timeouts::new(Idle::WithoutCalls(100 * MINUTE), MINUTE);
        let mut io = TrackedIo::new(near, Transport::Tcp, 100 * MINUTE, Vec::new()).with_timeouts(timeouts);
        let connection = io.connect_info();
        // One that reads now and then does not.
        for _ in 0..3 {
            let reading = async {
                sleep(59 * SECOND).await;
                far.read_exact(&mut [0; 65]).await
            };
            let (written, read) = tokio::join!(io.write_all(&[0; 65]), reading);
            written.and(read).unwrap();
        }
        let since = Moment::now();
        timeout(2 * MINUTE, io.write_all(&[0; 65])).await.expect("an end").unwrap();
        assert!(is_about(since.elapsed(), 60), "{:?}", since.elapsed());
        assert_eq!(io.read_u8().await.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(connection.settle().await, StreamEnd::Unresponsive);
    }
}

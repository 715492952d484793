//! Gives up a client that does not answer a ping.
//!
//! hyper sends the pings. It would also give up clients, by a clock alone: on a busy broker the answer may have come and
//! wait to be read, behind everything that the client sent before. So here nobody is given up before all that has come
//! is read, and other bytes give a client more time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The longest time to an answer while other bytes come, as a multiple of the time without. It is not unlimited: a
/// network may have lost one direction, and then a client that sends on hears nothing.
const WITH_BYTES: u32 = 6;

/// The time for a last look before a client is given up. If this process stood still, its timers are over before it
/// knows which connections have something to read.
const LAST_LOOK: Duration = Duration::from_millis(50);

/// The pings that the client has not answered.
#[derive(Debug)]
pub(super) struct Pings {
    /// The longest silence after a ping.
    silence: Duration,
    unanswered: u32,
    /// The moment of the first of them.
    asked: Instant,
    /// The moment of the last byte since then.
    heard: Instant,
    /// The time is over but for the last look.
    is_late: bool,
    /// Runs while there are any.
    check: Option<Pin<Box<Sleep>>>,
}

impl Pings {
    pub(super) fn new(silence: Duration) -> Pings {
        let now = Instant::now();
        Pings { silence, unanswered: 0, asked: now, heard: now, is_late: false, check: None }
    }

    /// Notes that a ping was sent.
    pub(super) fn asked(&mut self, cx: &mut Context<'_>) {
        self.unanswered += 1;
        if self.unanswered == 1 {
            (self.asked, self.heard, self.is_late) = (Instant::now(), Instant::now(), false);
            // Polled, since the connection may have nothing to read before it is over.
            let _ = self.check.insert(Box::pin(sleep_until(self.end()))).as_mut().poll(cx);
        }
    }

    /// Notes that something came.
    pub(super) fn heard(&mut self) {
        if self.unanswered > 0 {
            self.heard = Instant::now();
        }
    }

    /// Notes that a ping was answered.
    pub(super) fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered == 0 {
            self.check = None;
        }
    }

    /// Is ready when the client is to be given up. Call it when everything has been read.
    pub(super) fn poll_silent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = self.end();
        let Some(check) = &mut self.check else { return Poll::Pending };
        loop {
            ready!(check.as_mut().poll(cx));
            let now = Instant::now();
            if now >= end && self.is_late {
                return Poll::Ready(());
            }
            self.is_late = now >= end;
            check.as_mut().reset(if self.is_late { now + LAST_LOOK } else { end });
        }
    }

    fn end(&self) -> Instant {
        (self.heard + self.silence).min(self.asked + self.silence * WITH_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{advance, sleep};

    use super::*;

    const SILENCE: Duration = Duration::from_secs(5);
    const SECOND: Duration = Duration::from_secs(1);

    async fn ask(pings: &mut Pings) {
        poll_fn(|cx| {
            pings.asked(cx);
            Poll::Ready(())
        })
        .await;
    }

    async fn asked() -> Pings {
        let mut pings = Pings::new(SILENCE);
        ask(&mut pings).await;
        pings
    }

    async fn is_given_up(pings: &mut Pings) -> bool {
        poll_fn(|cx| Poll::Ready(pings.poll_silent(cx).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_given_up_in_time() {
        let (mut pings, began) = (asked().await, Instant::now());
        poll_fn(|cx| pings.poll_silent(cx)).await;
        assert_eq!(began.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_read_late_counts() {
        let mut pings = asked().await;
        advance(10 * SILENCE).await;
        // Not known to have come, or not yet read.
        assert!(!is_given_up(&mut pings).await);
        pings.answered();
        advance(10 * SILENCE).await;
        assert!(!is_given_up(&mut pings).await);
        ask(&mut pings).await;
        assert!(!is_given_up(&mut pings).await);
    }

    #[tokio::test(start_paused = true)]
    async fn other_bytes_give_more_time_but_not_for_ever() {
        let (mut pings, began) = (asked().await, Instant::now());
        while !is_given_up(&mut pings).await {
            sleep(SECOND).await;
            pings.heard();
        }
        assert_eq!(began.elapsed().as_secs(), (SILENCE * WITH_BYTES).as_secs() + 1);

        let mut pings = asked().await;
        sleep(3 * SECOND).await;
        let heard = Instant::now();
        pings.heard();
        poll_fn(|cx| pings.poll_silent(cx)).await;
        assert_eq!(heard.elapsed().as_secs(), 5);
    }
}

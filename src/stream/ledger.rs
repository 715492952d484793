//! Which locks of a Session have been renewed since its latest heartbeat, and what may be acknowledged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::event::{Ack, Event, LockRef};
use super::outbox::{Item, Outbox};
use crate::clock::Moment;

/// A heartbeat, or the `open` that counts as the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    /// The client's number; 0 is `open`.
    pub seq: i64,
    /// When it arrived.
    pub arrived: Moment,
}

/// The locks of one Session that its client has been told of.
///
/// The one rule: an ack covers a lock only if a command that renewed it was sent after the heartbeat had
/// arrived. So a client needs to keep one instant for the whole Session, the sending of the latest
/// acknowledged heartbeat, and nothing of its clock is compared with ours.
#[derive(Debug)]
pub struct Ledger {
    book: Mutex<Book>,
    outbox: Arc<Outbox>,
    changed: Notify,
    ttl: Duration,
}

#[derive(Debug)]
struct Book {
    beat: Beat,
    /// When the first beat arrived that has not been acknowledged, not even in part.
    owed_since: Option<Moment>,
    /// The beat after whose arrival each announced lock was last renewed.
    renewed: HashMap<LockRef, Beat>,
    /// How many of them have not been renewed since the latest beat.
    behind: usize,
}

impl Ledger {
    /// The ledger of a Session whose `open` has just arrived.
    pub fn open(outbox: Arc<Outbox>, ttl: Duration) -> Ledger {
        let beat = Beat { seq: 0, arrived: Moment::now() };
        let book = Book { beat, owed_since: None, renewed: HashMap::new(), behind: 0 };
        Ledger { book: Mutex::new(book), outbox, changed: Notify::new(), ttl }
    }

    /// The Session's queue.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The latest beat.
    pub fn beat(&self) -> Beat {
        self.book().beat
    }

    /// A heartbeat has arrived; whoever tells it to the ledger then wakes the keepers, for them to renew.
    pub fn heartbeat(&self, seq: i64) {
        let mut book = self.book();
        book.beat = Beat { seq, arrived: Moment::now() };
        book.owed_since = book.owed_since.or(Some(book.beat.arrived));
        book.behind = book.renewed.len();
        self.ack_if_complete(&mut book);
    }

    /// Tells the client of a grant whose command was sent at `sent`. If a heartbeat has arrived since, does
    /// nothing and returns `false`: the grant has to be renewed first, since the ack will cover it.
    pub fn announce(&self, lock_ref: LockRef, sent: Moment, granted: Event) -> bool {
        let mut book = self.book();
        if sent < book.beat.arrived {
            return false;
        }
        let beat = book.beat;
        book.renewed.insert(lock_ref, beat);
        self.outbox.push(Item::Event(lock_ref, granted));
        true
    }

    /// A lock has been renewed by a command sent at `sent`.
    pub fn renewed(&self, lock_ref: LockRef, sent: Moment) {
        let mut book = self.book();
        let beat = book.beat;
        if sent < beat.arrived {
            return;
        }
        if let Some(renewed) = book.renewed.get_mut(&lock_ref)
            && renewed.seq < beat.seq
        {
            *renewed = beat;
            self.caught_up(&mut book);
        }
    }

    /// When the beat arrived by which an announced lock is covered: what the client believes counts from then, at the
    /// latest.
    pub fn covered_since(&self, lock_ref: LockRef) -> Option<Moment> {
        self.book().renewed.get(&lock_ref).map(|beat| beat.arrived)
    }

    /// Tells the client the last event of a lock.
    pub fn end(&self, lock_ref: LockRef, last: Event) {
        let mut book = self.book();
        self.outbox.push(Item::Event(lock_ref, last));
        if let Some(renewed) = book.renewed.remove(&lock_ref)
            && renewed.seq < book.beat.seq
        {
            self.caught_up(&mut book);
        }
    }

    fn caught_up(&self, book: &mut Book) {
        book.behind -= 1;
        if book.owed_since.is_none() {
            // It was acknowledged without this lock: again, with what has been renewed by the time that
            // whoever waits for `caught_up_late` comes to it.
            self.changed.notify_one();
        }
        self.ack_if_complete(book);
    }

    fn ack_if_complete(&self, book: &mut Book) {
        if book.behind == 0 {
            book.owed_since = None;
            self.outbox.push(Item::Ack(Ack { seq: book.beat.seq, ttl: self.ttl, not_renewed: Vec::new() }));
        }
    }

    /// Acknowledges the latest beat with what has been renewed since, if that is worth telling.
    pub fn ack_what_there_is(&self) {
        let mut book = self.book();
        if book.behind > 0 {
            book.owed_since = None;
            let seq = book.beat.seq;
            let behind = book.renewed.iter().filter(|(_, renewed)| renewed.seq < seq);
            let not_renewed = behind.map(|(lock_ref, _)| *lock_ref).collect();
            self.outbox.push(Item::Ack(Ack { seq, ttl: self.ttl, not_renewed }));
        }
    }

    /// Since when an ack is owed.
    pub fn owed_since(&self) -> Option<Moment> {
        self.book().owed_since
    }

    /// Resolves when a lock has been renewed that the latest ack had to leave out.
    ///
    /// # Cancel safety
    /// A dropped future loses nothing.
    pub async fn caught_up_late(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::{Context, Poll, Waker};

    const TTL: Duration = Duration::from_secs(15);

    fn ack(seq: i64, not_renewed: Vec<LockRef>) -> Ack {
        Ack { seq, ttl: TTL, not_renewed }
    }

    fn acks(outbox: &Outbox) -> Vec<Ack> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut acks = Vec::new();
        while let Poll::Ready(Some(item)) = outbox.poll_next(&mut cx) {
            if let Item::Ack(ack) = item {
                acks.push(ack);
            }
        }
        acks
    }

    fn ledger() -> (Ledger, Arc<Outbox>) {
        crate::clock::follow_tokio();
        let outbox = Arc::new(Outbox::default());
        (Ledger::open(Arc::clone(&outbox), TTL), outbox)
    }

    async fn a_moment_later() -> Moment {
        tokio::time::advance(Duration::from_millis(10)).await;
        Moment::now()
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_session_is_acknowledged_at_once() {
        let (ledger, outbox) = ledger();
        ledger.heartbeat(1);
        assert_eq!(acks(&outbox), [ack(1, vec![])]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_ack_waits_for_every_lock_and_covers_only_what_was_sent_after_the_beat() {
        let (ledger, outbox) = ledger();
        let before = Moment::now();
        assert!(ledger.announce(1, before, Event::Released));
        assert!(ledger.announce(2, before, Event::Released));
        a_moment_later().await;
        ledger.heartbeat(1);
        ledger.renewed(1, before);
        assert_eq!(acks(&outbox), [], "a renewal sent before the beat had arrived covers nothing");
        let after = a_moment_later().await;
        ledger.renewed(1, after);
        assert_eq!(acks(&outbox), []);
        ledger.renewed(2, after);
        assert_eq!(acks(&outbox), [ack(1, vec![])]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_left_out_and_made_up_for() {
        let (ledger, outbox) = ledger();
        let before = Moment::now();
        ledger.announce(1, before, Event::Released);
        ledger.announce(2, before, Event::Released);
        ledger.heartbeat(1);
        let after = a_moment_later().await;
        ledger.renewed(1, after);
        ledger.ack_what_there_is();
        assert_eq!(acks(&outbox), [ack(1, vec![2])]);
        assert_eq!(ledger.owed_since(), None);
        ledger.renewed(2, after);
        ledger.caught_up_late().await;
        assert_eq!(acks(&outbox), [ack(1, vec![])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_grant_sent_before_the_beat_is_renewed_before_it_is_announced() {
        let (ledger, outbox) = ledger();
        let sent = Moment::now();
        a_moment_later().await;
        ledger.heartbeat(1);
        assert_eq!(acks(&outbox).len(), 1);
        assert!(!ledger.announce(1, sent, Event::Released));
        assert!(ledger.announce(1, a_moment_later().await, Event::Released));
        ledger.ack_what_there_is();
        assert_eq!(acks(&outbox), [], "it counts as renewed since the beat");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_is_covered_since_the_beat_after_which_it_was_renewed() {
        let (ledger, _outbox) = ledger();
        let opened = Moment::now();
        let sent = a_moment_later().await;
        assert_eq!(ledger.covered_since(1), None);
        ledger.announce(1, sent, Event::Released);
        assert_eq!(ledger.covered_since(1), Some(opened));
        let first = a_moment_later().await;
        ledger.heartbeat(1);
        let between = a_moment_later().await;
        let second = a_moment_later().await;
        ledger.heartbeat(2);
        // Sent between two beats and answered after the second: it covers neither.
        ledger.renewed(1, between);
        assert_eq!(ledger.covered_since(1), Some(opened));
        assert!(first < between && between < second);
        ledger.renewed(1, a_moment_later().await);
        assert_eq!(ledger.covered_since(1), Some(second));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_ends_holds_up_no_ack() {
        let (ledger, outbox) = ledger();
        ledger.announce(1, Moment::now(), Event::Released);
        a_moment_later().await;
        ledger.heartbeat(1);
        ledger.end(1, Event::Released);
        assert_eq!(acks(&outbox), [ack(1, vec![])]);
    }
}

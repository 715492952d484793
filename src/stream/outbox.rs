//! What waits to be written to one client's stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use super::event::{Ack, Event, LockRef};
use crate::metrics::Gauge;

/// One thing to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A Session is open, and its locks have this ttl.
    Opened {
        /// As granted.
        ttl: Duration,
    },
    /// Something happened to a lock.
    Event(LockRef, Event),
    /// A heartbeat is answered.
    Ack(Ack),
}

/// The queue between the keepers of a stream and whoever writes it. A slow reader holds up nobody: what can be
/// coalesced is (a `renewed`, a `queued`, an ack replaces the one before it that is still unread), so each lock
/// has a handful of items here at the most. The last event of a lock is never dropped.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    reader: AtomicWaker,
    /// Who reads it, for the audit. None if there is no audit.
    caller: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// What the items weigh together.
    unread: usize,
    /// Shows what waits in all outboxes that share it.
    all_unread: Gauge,
    closed: bool,
}

impl Queue {
    fn push(&mut self, item: Item) {
        self.weighs(item.weight() as i64);
        self.items.push_back(item);
    }

    fn took(&mut self, item: &Item) {
        self.weighs(-(item.weight() as i64));
    }

    fn weighs(&mut self, more: i64) {
        self.unread = self.unread.saturating_add_signed(more as isize);
        self.all_unread.add(more);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.all_unread.add(-(self.unread as i64));
    }
}

impl Item {
    /// How much of a broker's memory it takes, in events: an ack also has the locks that it leaves out.
    fn weight(&self) -> usize {
        match self {
            Item::Ack(ack) => 1 + ack.not_renewed.len(),
            Item::Opened { .. } | Item::Event(..) => 1,
        }
    }
}

impl Outbox {
    /// Makes one whose unread items are counted in `all_unread` as well, and whose reader the audit calls `caller`.
    pub(crate) fn counted_by(all_unread: &Gauge, caller: Option<Arc<str>>) -> Outbox {
        let outbox = Outbox { caller, ..Outbox::default() };
        outbox.queue().all_unread = all_unread.clone();
        outbox
    }

    /// Who reads it, for the audit.
    pub fn caller(&self) -> Option<&str> {
        self.caller.as_deref()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item; a later one of the same sort for the same lock takes the place of one not read yet.
    pub fn push(&self, item: Item) {
        {
            let mut queue = self.queue();
            if queue.closed {
                return;
            }
            // At the end, not in the old one's place: an ack must not overtake the grants that came between,
            // which the client would take to be covered by it.
            let recent = queue.items.len().saturating_sub(Self::COALESCE_AMONG)..queue.items.len();
            if let Some(unread) = recent.rev().find(|index| supersedes(&item, &queue.items[*index])) {
                queue.items.remove(unread).inspect(|item| queue.took(item));
            }
            queue.push(item);
        }
        self.reader.wake();
    }

    /// How far back an unread item is looked for. A single lock's stream never has more; on a Session only acks
    /// recur.
    const COALESCE_AMONG: usize = 8;

    /// Takes a grant back that has not been read, so that the client cannot know of it. Returns whether it was
    /// still here.
    pub fn retract_grant(&self, lock_ref: LockRef) -> bool {
        let mut queue = self.queue();
        let is_grant = |item: &Item| matches!(item, Item::Event(of, Event::Acquired { .. }) if *of == lock_ref);
        let unread = queue.items.iter().position(is_grant);
        let grant = unread.and_then(|index| queue.items.remove(index));
        grant.inspect(|item| queue.took(item)).is_some()
    }

    /// How many events wait to be read; an ack counts as one more for each lock that it leaves out.
    pub fn unread(&self) -> usize {
        self.queue().unread
    }

    /// Lets the reader end when it has read what is here. What comes later is dropped.
    pub fn close(&self) {
        self.queue().closed = true;
        self.reader.wake();
    }

    /// The next item; `None` at the end.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.reader.register(cx.waker());
        let mut queue = self.queue();
        match queue.items.pop_front() {
            Some(item) => {
                queue.took(&item);
                if queue.items.is_empty() {
                    // An idle stream keeps no room for what may come, and most are idle.
                    queue.items = VecDeque::new();
                }
                Poll::Ready(Some(item))
            }
            None if queue.closed => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// Whether a reader of `new` misses nothing by not reading `old`.
fn supersedes(new: &Item, old: &Item) -> bool {
    match (new, old) {
        (Item::Ack(_), Item::Ack(_)) => true,
        (Item::Event(a, Event::Renewed { .. }), Item::Event(b, Event::Renewed { .. }))
        | (Item::Event(a, Event::Queued { .. }), Item::Event(b, Event::Queued { .. })) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Moment;
    use crate::ids::grant_id;
    use crate::lock::{FencingToken, GrantId, LockId};
    use crate::stream::LostReason;

    fn read(outbox: &Outbox) -> Vec<Item> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut items = Vec::new();
        while let Poll::Ready(Some(item)) = outbox.poll_next(&mut cx) {
            items.push(item);
        }
        items
    }

    #[tokio::test]
    async fn a_slow_reader_gets_the_latest_renewal_and_the_end() {
        let outbox = Outbox::default();
        let now = Moment::now();
        for second in 1..=100 {
            outbox.push(Item::Event(1, Event::Renewed { until: now + Duration::from_secs(second) }));
        }
        outbox.push(Item::Event(1, Event::Lost(LostReason::Expired)));
        outbox.close();
        outbox.push(Item::Event(1, Event::Released));
        assert_eq!(
            read(&outbox),
            [
                Item::Event(1, Event::Renewed { until: now + Duration::from_secs(100) }),
                Item::Event(1, Event::Lost(LostReason::Expired)),
            ]
        );
    }

    #[tokio::test]
    async fn one_locks_events_do_not_take_anothers_place() {
        let outbox = Outbox::default();
        outbox.push(Item::Event(1, Event::Queued { position: 2 }));
        outbox.push(Item::Event(2, Event::Queued { position: 3 }));
        outbox.push(Item::Event(1, Event::Queued { position: 1 }));
        assert_eq!(
            read(&outbox),
            [Item::Event(2, Event::Queued { position: 3 }), Item::Event(1, Event::Queued { position: 1 })]
        );
    }

    #[tokio::test]
    async fn whatever_becomes_of_an_item_its_weight_is_given_back() {
        let all = Gauge::default();
        let outbox = Outbox::counted_by(&all, None);
        let lock_id = LockId { grant: grant_id(), token: FencingToken::new(1).unwrap(), linger: Duration::ZERO };
        let ack = |seq| Item::Ack(Ack { seq, ttl: Duration::ZERO, not_renewed: vec![1; 9] });
        outbox.push(Item::Event(7, Event::Acquired { lock_id, until: Moment::now() }));
        (1..=3).for_each(|seq| outbox.push(ack(seq)));
        assert_eq!((outbox.unread(), all.get()), (11, 11), "an ack takes the place of the one before it");
        assert!(outbox.retract_grant(7));
        assert_eq!((outbox.unread(), all.get()), (10, 10));
        read(&outbox);
        assert_eq!((outbox.unread(), all.get()), (0, 0));
        outbox.push(ack(4));
        drop(outbox);
        assert_eq!(all.get(), 0);
    }

    #[tokio::test]
    async fn an_ack_does_not_overtake_a_grant() {
        let outbox = Outbox::default();
        let ack = |seq, not_renewed| Item::Ack(Ack { seq, ttl: Duration::ZERO, not_renewed });
        outbox.push(ack(1, vec![]));
        outbox.push(Item::Event(7, Event::Released));
        outbox.push(ack(2, vec![7]));
        assert_eq!(read(&outbox), [Item::Event(7, Event::Released), ack(2, vec![7])]);
    }
}

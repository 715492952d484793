//! What waits to be read by one client.

use std::collections::VecDeque;
use std::time::Duration;

use crate::event::{Ack, Event, LockRef, Together};
use crate::normal::{Form, Normal};

/// One thing to write to a client's stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// The result of reading an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The next item.
    Item(Item),
    /// Nothing now.
    Nothing,
    /// Nothing, and nothing more will come.
    End,
}

/// The items that wait to be read by one client. A slow reader holds up nobody: what can be coalesced is (a `renewed`, a `queued`,
/// an ack replaces the one before it that is still unread), so each lock has a handful of items here at the most. The
/// last event of a lock is never dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Outbox {
    /// By rising numbers, so that one can be found again.
    items: VecDeque<(u64, Item)>,
    /// The number of the next item.
    next: u64,
    /// What the items weigh together.
    unread: usize,
    /// What is pushed from now on is dropped.
    sealed: bool,
    /// The reader ends when it has read what is here.
    closed: bool,
}

impl Item {
    /// Returns how much of a broker's memory it takes, in events: an ack also has the locks that it leaves out, and
    /// the grant of several has them all.
    fn weight(&self) -> usize {
        match self {
            Item::Ack(ack) => 1 + ack.not_renewed.len(),
            Item::Event(_, Event::Together(together)) => match &**together {
                Together::Acquired { locks } => locks.len(),
                Together::NotAcquired { .. } | Together::Lost { .. } => 1,
            },
            Item::Opened { .. } | Item::Event(..) => 1,
        }
    }

    /// Returns true if a reader of this one misses nothing by not reading `old`.
    fn supersedes(&self, old: &Item) -> bool {
        match (self, old) {
            (Item::Ack(_), Item::Ack(_)) => true,
            (Item::Event(a, Event::Renewed { .. }), Item::Event(b, Event::Renewed { .. }))
            | (Item::Event(a, Event::Queued { .. }), Item::Event(b, Event::Queued { .. })) => a == b,
            _ => false,
        }
    }
}

impl Outbox {
    /// How far back an unread item is looked for. The stream of one lock never has more; on a Session only acks recur.
    const COALESCE_AMONG: usize = 8;

    /// Adds an item. A later one of the same sort for the same lock takes the place of one that is not read yet. Returns its
    /// number, or none if the outbox is sealed, and the item dropped. `in_place` breaks the rule that it goes to the end.
    pub(crate) fn push(&mut self, item: Item, in_place: bool) -> Option<u64> {
        if self.sealed {
            return None;
        }
        // At the end, not in the old one's place: an ack must not overtake the grants that came between, which the client
        // would take to be covered by it (R19).
        let recent = self.items.len().saturating_sub(Self::COALESCE_AMONG)..self.items.len();
        let old = recent.rev().find(|index| item.supersedes(&self.items[*index].1));
        let number = self.items.get(old.unwrap_or(0)).filter(|_| in_place && old.is_some()).map(|(number, _)| *number);
        if let Some(old) = old {
            self.take(old);
        }
        self.unread += item.weight();
        match (number, old) {
            (Some(number), Some(old)) => self.items.insert(old, (number, item)),
            _ => {
                self.items.push_back((self.next, item));
                self.next += 1;
            }
        }
        Some(self.next - 1)
    }

    fn take(&mut self, index: usize) -> Option<Item> {
        let (_, item) = self.items.remove(index)?;
        self.unread -= item.weight();
        if self.items.is_empty() {
            // An idle stream keeps no room for what may come, and most are idle.
            self.items = VecDeque::new();
        }
        Some(item)
    }

    /// Takes an item back that has not been read, so that the client cannot know of it. Returns true if it was still here.
    pub(crate) fn retract(&mut self, number: u64) -> bool {
        let found = self.items.binary_search_by_key(&number, |(number, _)| *number);
        found.is_ok_and(|index| self.take(index).is_some())
    }

    /// Returns how many events wait to be read. An ack counts as one more for each lock that it leaves out.
    pub(crate) fn unread(&self) -> usize {
        self.unread
    }

    /// Drops what comes later.
    pub(crate) fn seal(&mut self) {
        self.sealed = true;
    }

    /// Lets the reader end when it has read what is here. What comes later is dropped.
    pub(crate) fn close(&mut self) {
        self.sealed = true;
        self.closed = true;
    }

    pub(crate) fn read(&mut self) -> Read {
        match self.take(0) {
            Some(item) => Read::Item(item),
            None if self.closed => Read::End,
            None => Read::Nothing,
        }
    }
}

impl Outbox {
    /// Returns the place at which the item with this number waits to be read. That is its number in the normal form.
    pub(crate) fn place(&self, number: u64) -> Option<u64> {
        let found = self.items.binary_search_by_key(&number, |(number, _)| *number);
        found.ok().map(|place| place as u64)
    }

    /// Brings it into its normal form.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        self.next = self.items.len() as u64;
        for ((number, item), place) in self.items.iter_mut().zip(0..) {
            *number = place;
            match item {
                Item::Event(_, Event::Acquired { lock_id, until }) => {
                    form.grant(&mut lock_id.grant);
                    form.token(&mut lock_id.token);
                    form.until_any([until]);
                }
                Item::Event(_, Event::Together(together)) => {
                    if let Together::Acquired { locks } = &mut **together {
                        locks.iter_mut().for_each(|lock_id| {
                            form.grant(&mut lock_id.grant);
                            form.token(&mut lock_id.token);
                        });
                    }
                }
                Item::Event(_, Event::Renewed { until }) => form.until_any([until]),
                Item::Opened { .. } | Item::Event(..) | Item::Ack(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Time;
    use crate::event::LostReason;
    use crate::lock::{FencingToken, GrantId, LockId};

    fn read(outbox: &mut Outbox) -> Vec<Item> {
        let next = || match outbox.read() {
            Read::Item(item) => Some(item),
            Read::Nothing | Read::End => None,
        };
        std::iter::from_fn(next).collect()
    }

    fn ack(seq: i64, not_renewed: Vec<LockRef>) -> Item {
        Item::Ack(Ack { seq, ttl: Duration::ZERO, not_renewed })
    }

    #[test]
    fn a_slow_reader_gets_the_latest_renewal_and_the_end() {
        let mut outbox = Outbox::default();
        let renewed = |second| Item::Event(1, Event::Renewed { until: Time::from_nanos(second) });
        for second in 1..=100 {
            outbox.push(renewed(second), false);
        }
        let lost = Item::Event(1, Event::Lost(LostReason::Expired));
        outbox.push(lost.clone(), false);
        outbox.close();
        assert_eq!(outbox.push(Item::Event(1, Event::Released), false), None);
        assert_eq!(read(&mut outbox), [renewed(100), lost]);
        assert_eq!(outbox.read(), Read::End);
    }

    #[test]
    fn one_locks_events_do_not_take_anothers_place() {
        let mut outbox = Outbox::default();
        outbox.push(Item::Event(1, Event::Queued { position: 2 }), false);
        outbox.push(Item::Event(2, Event::Queued { position: 3 }), false);
        outbox.push(Item::Event(1, Event::Queued { position: 1 }), false);
        assert_eq!(
            read(&mut outbox),
            [Item::Event(2, Event::Queued { position: 3 }), Item::Event(1, Event::Queued { position: 1 })]
        );
    }

    #[test]
    fn whatever_becomes_of_an_item_its_weight_is_given_back() {
        let mut outbox = Outbox::default();
        let lock_id = LockId {
            grant: GrantId::from_random(1),
            token: FencingToken::new(1).unwrap(),
            linger: Duration::ZERO,
            min_hold: Duration::ZERO,
            permit: None,
        };
        outbox.push(Item::Event(3, Event::Released), false);
        let grant =
            outbox.push(Item::Event(7, Event::Acquired { lock_id, until: Time::from_nanos(1) }), false).unwrap();
        (1..=3).for_each(|seq| assert!(outbox.push(ack(seq, vec![1; 9]), false).is_some()));
        assert_eq!(outbox.unread(), 12, "an ack takes the place of the one before it");
        assert!(outbox.retract(grant) && !outbox.retract(grant));
        assert_eq!(outbox.unread(), 11);
        read(&mut outbox);
        assert_eq!(outbox.unread(), 0);
    }

    #[test]
    fn an_ack_does_not_overtake_a_grant() {
        let mut outbox = Outbox::default();
        outbox.push(ack(1, vec![]), false);
        outbox.push(Item::Event(7, Event::Released), false);
        outbox.push(ack(2, vec![7]), false);
        assert_eq!(read(&mut outbox), [Item::Event(7, Event::Released), ack(2, vec![7])]);
    }
}

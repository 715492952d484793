//! The normal form of a broker's tables, for whoever explores all that a broker can come to: brokers that will do the same
//! become equal, though they have numbered and timed it otherwise.
//!
//! What is only shown (how long a lock has been held) is set to one value. Numbers that are compared and never shown, such
//! as those of requests and tickets, begin anew. Moments and ids, which others know too, are changed by a [`Normal`].

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Time;
use crate::broker::{Asker, Broker, Core, RequestId};
use crate::errand::ErrandKey;
use crate::hold::HoldKey;
use crate::lock::{FencingToken, GrantId, LingerId};
use crate::queue::Ticket;
use crate::session::StreamKey;
use crate::timers::Timed;

/// Changes the moments and ids in the tables of a broker.
pub trait Normal {
    /// Returns the moment that the clock shows from now on.
    fn now(&self) -> Time;
    /// Changes a moment at which something began. It makes no difference any more when that is `span` ago.
    fn since(&mut self, time: &mut Time, span: Duration);
    /// Changes a moment from which on something is over. How long ago that was makes no difference.
    fn until(&mut self, time: &mut Time);
    /// Changes a moment at which a pause ends. What is due then is done at that moment or later.
    fn pause(&mut self, time: &mut Time);
    /// Changes a moment up to which something is tried again.
    fn effort(&mut self, time: &mut Time);
    /// Changes the id of a grant.
    fn grant(&mut self, id: &mut GrantId);
    /// Changes the id of a linger.
    fn linger(&mut self, id: &mut LingerId);
    /// Returns true if an item may carry this id, now or later. A grant that none can needs no clean-up.
    fn may_stand(&self, id: GrantId) -> bool;
}

/// A [`Normal`] for what others know, and new keys and tickets.
pub(crate) struct Form<'a, N> {
    pub(crate) outside: &'a mut N,
    pub(crate) now: Time,
    holds: &'a BTreeMap<HoldKey, HoldKey>,
    streams: &'a BTreeMap<StreamKey, StreamKey>,
    tickets: &'a BTreeMap<Ticket, Ticket>,
}

impl<N: Normal> Form<'_, N> {
    pub(crate) fn since(&mut self, time: &mut Time, span: Duration) {
        self.outside.since(time, span);
    }

    pub(crate) fn until(&mut self, time: &mut Time) {
        self.outside.until(time);
    }

    pub(crate) fn effort(&mut self, time: &mut Time) {
        self.outside.effort(time);
    }

    pub(crate) fn pause<'t>(&mut self, times: impl IntoIterator<Item = &'t mut Time>) {
        times.into_iter().for_each(|time| self.outside.pause(time));
    }

    pub(crate) fn until_any<'t>(&mut self, times: impl IntoIterator<Item = &'t mut Time>) {
        times.into_iter().for_each(|time| self.outside.until(time));
    }

    pub(crate) fn grant(&mut self, id: &mut GrantId) {
        self.outside.grant(id);
    }

    pub(crate) fn linger(&mut self, id: &mut LingerId) {
        self.outside.linger(id);
    }

    /// Sets a moment that is only shown.
    pub(crate) fn shown(&mut self, time: &mut Time) {
        *time = self.now;
    }

    /// Sets a token that is only shown.
    pub(crate) fn token(&mut self, token: &mut FencingToken) {
        *token = FencingToken::FIRST;
    }

    pub(crate) fn hold(&self, key: &mut HoldKey) {
        *key = self.holds.get(key).copied().unwrap_or(HoldKey::NOBODY);
    }

    pub(crate) fn stream(&self, key: &mut StreamKey) {
        *key = self.streams.get(key).copied().unwrap_or(StreamKey::NOBODY);
    }

    /// Returns the first ticket that nobody has.
    pub(crate) fn next_ticket(&self) -> Ticket {
        self.tickets.len() as Ticket
    }

    pub(crate) fn ticket(&self, ticket: &mut Ticket) {
        *ticket = self.tickets[ticket];
    }
}

impl Broker {
    /// Brings the tables into their normal form. `streams` are all that the driver knows, in an order that decides which
    /// holds come first; `requests` are all that it may still answer. All outputs must have been taken.
    pub fn normalise<'a>(
        &mut self,
        outside: &mut impl Normal,
        streams: &mut [Option<StreamKey>],
        requests: impl Iterator<Item = &'a mut RequestId>,
    ) {
        let core = &mut self.core;
        debug_assert!(
            core.outputs.is_empty() && core.work.is_empty() && core.groups_to_step.is_empty(),
            "a turn is over"
        );
        core.drop_idle_clean_ups(outside);
        core.number_what_is_unread();
        core.number_members();
        let order: Vec<StreamKey> = streams.iter().flatten().copied().collect();
        let place = |key: StreamKey| order.iter().position(|other| *other == key).unwrap_or(usize::MAX);
        let stream_keys = core.streams.renumber(|key, _| place(key));
        let hold_keys =
            core.holds.renumber(|_, hold| hold.subscriber.map_or(usize::MAX, |client| place(client.stream)));
        let errand_keys = core.errands.renumber(|_, _| 0);
        let tickets = core.tickets();
        let now = outside.now();
        let mut form = Form { outside, now, holds: &hold_keys, streams: &stream_keys, tickets: &tickets };
        core.normalise(&mut form);
        for key in streams.iter_mut().flatten() {
            form.stream(key);
        }
        requests.for_each(|request| request.normalise(&hold_keys, &errand_keys));
    }
}

impl RequestId {
    fn normalise(&mut self, holds: &BTreeMap<HoldKey, HoldKey>, errands: &BTreeMap<ErrandKey, ErrandKey>) {
        self.number = 0;
        match &mut self.asker {
            Asker::Hold(key) => *key = holds.get(key).copied().unwrap_or(HoldKey::NOBODY),
            Asker::Errand(key) => *key = errands.get(key).copied().unwrap_or(ErrandKey::NOBODY),
            Asker::Outside => {}
        }
    }
}

impl Core {
    /// Forgets clean-ups that have nothing to delete.
    fn drop_idle_clean_ups(&mut self, outside: &impl Normal) {
        let is_idle = |key: &ErrandKey| {
            let id = self.errands.get(*key).and_then(crate::errand::Errand::cleans_up);
            id.is_some_and(|id| !outside.may_stand(id))
        };
        let idle: Vec<ErrandKey> = self.errands.keys().filter(is_idle).collect();
        for key in idle {
            let has_room = self.errands.remove(key).is_some_and(|errand| errand.has_room);
            self.counts.locks -= usize::from(has_room);
        }
    }

    /// Numbers the tickets anew.
    fn tickets(&self) -> BTreeMap<Ticket, Ticket> {
        let tickets: std::collections::BTreeSet<Ticket> =
            self.holds.values().filter_map(|hold| hold.state.ticket()).collect();
        tickets.into_iter().zip(0..).collect()
    }

    /// Numbers the items anew that wait to be read, and forgets the numbers of those that have been read.
    fn number_what_is_unread(&mut self) {
        for client in self.holds.values_mut().filter_map(|hold| hold.subscriber.as_mut()) {
            let stream = self.streams.get(client.stream);
            client.told = stream.and_then(|stream| stream.outbox.place(client.told)).unwrap_or(u64::MAX);
        }
    }

    fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        self.now = form.now;
        self.budget = crate::broker::no_budget_spent(form.now);
        self.next_look = self.next_look.filter(|at| *at > form.now + Duration::from_secs(1));
        self.names.normalise(form);
        self.holds.values_mut().for_each(|hold| hold.normalise(form));
        let values = std::mem::take(&mut self.values).into_iter().map(|(mut hold, mut value)| {
            form.hold(&mut hold);
            value.normalise(form);
            (hold, value)
        });
        self.values = values.collect();
        self.streams.values_mut().for_each(|stream| stream.normalise(form));
        self.errands.values_mut().for_each(|errand| errand.normalise(form));
        self.timers.clear();
        for key in self.holds.keys().collect::<Vec<_>>() {
            self.timers.restore(Timed::hold(key), self.holds.get(key).and_then(|hold| hold.due));
        }
        for key in self.streams.keys().collect::<Vec<_>>() {
            self.timers.restore(Timed::stream(key), self.streams.get(key).and_then(|stream| stream.due));
        }
        for key in self.errands.keys().collect::<Vec<_>>() {
            self.timers.restore(Timed::errand(key), self.errands.get(key).and_then(|errand| errand.due));
        }
    }
}

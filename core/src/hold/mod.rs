//! The record of one item in the store: from asking for it until it is gone.
//!
//! A hold belongs to one request, and while it keeps a grant nothing else here renews or releases that. Those of Release
//! calls have no client. It asks the store one thing at a
//! time. Whatever happens, it looks anew at what there is to do, so no event is lost on it.
//!
//! [`LIFE`] has the states to which each state leads; ARCHITECTURE.md draws them.

mod acquire;
mod expire;
mod keep;
mod leased;
mod linger;
mod min_hold;
mod reattach;
mod release;
mod revoke;
mod share;
mod value;
mod wait;

use std::time::Duration;

pub(crate) use self::acquire::{Inspecting, LAST_ATTEMPT, Trying, going_away};
pub(crate) use self::expire::Expiring;
pub(crate) use self::keep::Held;
pub(crate) use self::leased::Leased;
pub(crate) use self::linger::Lingering;
pub(crate) use self::reattach::Reattaching;
pub(crate) use self::release::{HandingOver, Releasing};
pub(crate) use self::revoke::{FreeCall, RevokeCall};
pub(crate) use self::value::{HeldValue, UpdateCall};
pub(crate) use self::wait::Waiting;
use crate::Time;
use crate::admission::Room;
use crate::broker::{Call, Cx};
use crate::env::{Env, Observed, ReleaseCause};
use crate::event::{Event, LockRef, LostReason, Reason, SESSION};
use crate::failure::Failure;
use crate::lock::{
    CallKey, FencingToken, GrantId, LingerId, LockId, LockItem, LockName, Owner, Permit, item_ttl, lease, min_hold_ttl,
    notice,
};
use crate::normal::{Form, Normal};
use crate::request::{Access, Account, LockRequest, Mode, OnDisconnect, StreamEnd};
use crate::rules::Rule;
use crate::session::StreamKey;
use crate::slab::Key;
use crate::store::Reply;
use crate::time::{Span, backoff};

/// The longest pause before a store that did not answer is asked again.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(1);
/// The first pause before a store that did not answer is asked again.
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// Names a hold.
pub(crate) type HoldKey = Key<Hold>;

/// The record of one item in the store, and of the client that has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Hold {
    pub(crate) name: LockName,
    /// The permit that it has, or tries to get.
    pub(crate) permit: Option<Permit>,
    pub(crate) access: Access,
    pub(crate) owner: Owner,
    ttl: Span,
    linger: Span,
    min_hold: Span,
    /// Whom to tell what happens. None once the last has been told and the grant has ended, and where a Release call names
    /// a grant that is kept by nobody here.
    pub(crate) subscriber: Option<Subscriber>,
    /// What somebody wants of it, and it has not come to yet.
    pub(crate) end: Option<End>,
    /// Where it counts.
    pub(crate) room: Option<Room>,
    /// Whose quota it counts for until it is gone.
    pub(crate) account: Option<Account>,
    /// True if it becomes a lease once it is announced, which notes its label then.
    pub(crate) is_for_lease: bool,
    /// What the end of its stream means for it.
    pub(crate) on_disconnect: OnDisconnect,
    pub(crate) state: State,
    /// The number of the request that is under way or was the last: the answer to an earlier one is passed over.
    pub(crate) request: u32,
    /// True while that is under way.
    pub(crate) asks: bool,
    /// When it looks anew by itself.
    pub(crate) due: Option<Time>,
}

/// A hold's client: a stream of one lock, or one lock of a Session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Subscriber {
    pub(crate) stream: StreamKey,
    pub(crate) lock_ref: LockRef,
    /// When the heartbeat arrived that covers the lock, once it is announced (R19). On a stream of its own only that it is
    /// set counts: the grant was announced.
    pub(crate) covered: Option<Time>,
    /// The number of the item by which the grant was announced.
    pub(crate) told: u64,
}

/// What a hold does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// Asks the store for the lock, once.
    Trying(Box<Trying>),
    /// Looks who has the lock that it did not get.
    Inspecting(Inspecting),
    /// Waits for the lock.
    Waiting(Box<Waiting>),
    /// Takes over a grant that its client has already.
    Reattaching(Box<Reattaching>),
    /// Has the lock, and renews it.
    Held(Held),
    /// Knows of a lease, whose client has no stream.
    Leased(Box<Leased>),
    /// Renews no more, and waits until its client no longer believes in the lock.
    Expiring(Box<Expiring>),
    /// Gives the lock to the first that waits here.
    HandingOver(Box<HandingOver>),
    /// Ends its grant in the store.
    Releasing(Box<Releasing>),
    /// Keeps the lock closed after the release.
    Lingering(Box<Lingering>),
    /// Does nothing any more: the process ends with the lock held.
    Frozen,
    /// Is done.
    Over,
}

/// The states to which each state leads.
const LIFE: &[(StateName, &[StateName])] = {
    use StateName::*;
    &[
        (Trying, &[Held, Inspecting, Over]),
        (Inspecting, &[Over]),
        (Waiting, &[Held, Inspecting, Over]),
        (Reattaching, &[Held, Over]),
        (Held, &[Leased, Expiring, HandingOver, Releasing, Frozen, Over]),
        (Leased, &[HandingOver, Releasing, Over]),
        (Expiring, &[HandingOver, Releasing, Over]),
        (HandingOver, &[Releasing, Over]),
        (Releasing, &[Lingering, Over]),
        (Lingering, &[Over]),
        (Frozen, &[]),
        (Over, &[]),
    ]
};

/// A [`State`] without what it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum StateName {
    Trying,
    Inspecting,
    Waiting,
    Reattaching,
    Held,
    Leased,
    Expiring,
    HandingOver,
    Releasing,
    Lingering,
    Frozen,
    Over,
}

impl State {
    fn name(&self) -> StateName {
        match self {
            State::Trying(_) => StateName::Trying,
            State::Inspecting(_) => StateName::Inspecting,
            State::Waiting(_) => StateName::Waiting,
            State::Reattaching(_) => StateName::Reattaching,
            State::Held(_) => StateName::Held,
            State::Leased(_) => StateName::Leased,
            State::Expiring(_) => StateName::Expiring,
            State::HandingOver(_) => StateName::HandingOver,
            State::Releasing(_) => StateName::Releasing,
            State::Lingering(_) => StateName::Lingering,
            State::Frozen => StateName::Frozen,
            State::Over => StateName::Over,
        }
    }
}

/// Why a hold is to end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum End {
    /// Its client ended it: a cancel, a half-close, a closed connection, an `EndLock`. Release now.
    Closed,
    /// Its stream fell silent. Renew no more, and release when the client no longer believes.
    Unresponsive,
    /// A Release call names this grant, and waits for what comes of it.
    Release(Box<ReleaseCall>),
    /// An operator revokes this grant, and waits for what comes of it.
    Revoke(Box<RevokeCall>),
    /// Another hold of this broker has a later grant of the lock.
    Superseded,
}

/// A Release call, and the grant that it names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReleaseCall {
    pub(crate) call: Call,
    pub(crate) lock_id: LockId,
}

/// A lock that is ours in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Grant {
    pub(crate) id: GrantId,
    pub(crate) token: FencingToken,
    /// When the command was sent that granted it, or last renewed it.
    pub(crate) sent: Time,
    /// After a reattach: until when the client may believe in it by what the broker before us told it. No release but by
    /// the client's own word, and no shorter item, before then (R12).
    pub(crate) protected_until: Option<Time>,
    /// Until when the lock stays closed, however the grant ends: the end of its `min_hold` (R31).
    pub(crate) closed_until: Option<Time>,
}

/// What makes a hold look at what there is to do.
#[derive(Debug)]
pub(crate) enum Stimulus {
    /// Something has changed, or it is time.
    Look,
    /// The store has answered the request that is under way.
    Answer(Reply),
    /// Somebody says that the lock was revoked elsewhere. Only one that holds it hears of that.
    Suspect,
}

impl Grant {
    /// Returns true if its client can know of it: it has heard of it here, or has had it before it reattached.
    fn is_known(&self, heard: bool) -> bool {
        heard || self.protected_until.is_some()
    }
}

impl Hold {
    /// Makes the record of a lock that a client asks for.
    pub(crate) fn of_request(request: LockRequest, subscriber: Subscriber) -> Hold {
        let LockRequest { name, ttl, linger, min_hold, owner, access, mode, account, on_disconnect, value: _ } =
            request;
        // A reattached lock keeps what it was granted with.
        let (linger, min_hold, permit) = match &mode {
            Mode::Reattach(lock_id) => (lock_id.linger, lock_id.min_hold, lock_id.permit),
            Mode::Once | Mode::Wait { .. } => (linger, min_hold, None),
        };
        let (subscriber, min_hold) = (Some(subscriber), min_hold.into());
        let hold = Hold::without_client(LockItem { name, permit }, ttl, linger);
        Hold { access, owner, subscriber, min_hold, room: None, account, on_disconnect, ..hold }
    }

    /// Makes the record of a lock that is ended here for nobody who keeps it. It counts among `--max-locks`.
    pub(crate) fn without_client(item: LockItem, ttl: Duration, linger: Duration) -> Hold {
        let LockItem { name, permit } = item;
        Hold {
            name,
            permit,
            access: Access::Alone,
            owner: Owner::default(),
            ttl: ttl.into(),
            linger: linger.into(),
            min_hold: Duration::ZERO.into(),
            subscriber: None,
            end: None,
            room: Some(Room::Lock),
            account: None,
            is_for_lease: false,
            on_disconnect: OnDisconnect::Release,
            state: State::Over,
            request: 0,
            asks: false,
            due: None,
        }
    }

    /// Returns the item that it has, or tries to get.
    pub(crate) fn item(&self) -> LockItem {
        LockItem { name: self.name.clone(), permit: self.permit }
    }

    /// Returns true if the end of its stream releases it only when its validity is over.
    pub(crate) fn is_kept(&self) -> bool {
        self.on_disconnect == OnDisconnect::Keep
    }

    /// Returns for how long a grant stands without renewal.
    pub(crate) fn ttl(&self) -> Duration {
        self.ttl.into()
    }

    /// Returns for how long nobody can acquire after the release.
    pub(crate) fn linger(&self) -> Duration {
        self.linger.into()
    }

    /// Returns for how long nobody can acquire after the grant.
    fn min_hold(&self) -> Duration {
        self.min_hold.into()
    }

    /// Returns until when the grant may be believed in.
    fn lease_end(&self, grant: &Grant) -> Time {
        grant.sent + lease(self.ttl())
    }

    /// Returns true if an answer that comes now to a command sent at `sent` still counts for this lock.
    fn counts(&self, sent: Time, now: Time) -> bool {
        counts(sent, self.ttl(), now)
    }

    /// Returns true while a Release call, or the end of its stream, still makes a difference.
    pub(crate) fn heeds(&self) -> bool {
        match self.state {
            State::Trying(_) | State::Inspecting(_) | State::Waiting(_) | State::Reattaching(_) => true,
            State::Held(_) | State::Leased(_) | State::Expiring(_) => true,
            State::HandingOver(_) | State::Releasing(_) | State::Lingering(_) | State::Frozen | State::Over => false,
        }
    }

    /// Returns the end of its lease, while its client is told that it is valid.
    pub(crate) fn told_lease_end(&self) -> Option<Time> {
        match &self.state {
            State::Held(held) if self.is_announced() => Some(self.lease_end(&held.grant)),
            State::Leased(leased) => Some(self.lease_end(&leased.grant)),
            State::Expiring(expiring) if !expiring.told && self.is_announced() => Some(self.lease_end(&expiring.grant)),
            _ => None,
        }
    }

    /// Returns the token of the grant that it has.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        match &self.state {
            State::Held(held) => Some(held.grant.token),
            State::Leased(leased) => Some(leased.grant.token),
            State::Expiring(expiring) => Some(expiring.grant.token),
            _ => None,
        }
    }

    /// Returns the call that it came from, if it is a lease whose call had a request id.
    pub(crate) fn call(&self) -> Option<CallKey> {
        if let State::Leased(leased) = &self.state { leased.call } else { None }
    }

    /// Returns true if its label is that of the grant: a lease that another broker has granted is known without.
    pub(crate) fn has_label(&self) -> bool {
        if let State::Leased(leased) = &self.state { leased.granted_here } else { true }
    }

    /// Returns until when it keeps the lock closed under this id, if it does.
    pub(crate) fn closed_until(&self, id: LingerId) -> Option<Time> {
        if let State::Lingering(lingering) = &self.state { lingering.closed_until(id) } else { None }
    }

    /// Returns when the grant began that it has, if that is known.
    pub(crate) fn held_since(&self) -> Option<Time> {
        match &self.state {
            State::Held(held) => Some(held.since),
            State::Leased(leased) => leased.granted_here.then_some(leased.since),
            State::Expiring(expiring) => Some(expiring.since),
            _ => None,
        }
    }

    fn is_announced(&self) -> bool {
        self.subscriber.is_some_and(|subscriber| subscriber.covered.is_some())
    }
}

impl<E: Env> Cx<'_, E> {
    /// Returns what the end of its stream means to a hold. One that is to be kept takes a close for silence once it may be held
    /// (R30): a proxy may have closed the stream, and its client still believes.
    pub(crate) fn end_by(&self, hold: HoldKey, by: StreamEnd) -> Option<End> {
        let hold = self.core.holds.get(hold)?;
        let is_asked_for = matches!(hold.state, State::Trying(_) | State::Inspecting(_) | State::Waiting(_));
        let is_kept = hold.is_kept() && !is_asked_for && !self.env.breaks(Rule::KeptOnClose);
        Some(if by == StreamEnd::Closed && !is_kept { End::Closed } else { End::Unresponsive })
    }

    /// Lets a hold look at what there is to do.
    pub(crate) fn step(&mut self, me: HoldKey, stimulus: Stimulus) {
        let Some(hold) = self.core.holds.get_mut(me) else { return };
        let state = std::mem::replace(&mut hold.state, State::Over);
        let name = state.name();
        self.wake_hold_at(me, None);
        let next = match state {
            State::Trying(trying) => trying.on(me, stimulus, self),
            State::Inspecting(inspecting) => inspecting.on(me, stimulus, self),
            State::Waiting(waiting) => waiting.on(me, stimulus, self),
            State::Reattaching(reattaching) => reattaching.on(me, stimulus, self),
            State::Held(held) => held.on(me, stimulus, self),
            State::Leased(leased) => leased.on(me, stimulus, self),
            State::Expiring(expiring) => expiring.on(me, stimulus, self),
            State::HandingOver(handing) => handing.on(me, stimulus, self),
            State::Releasing(releasing) => releasing.on(me, stimulus, self),
            State::Lingering(lingering) => lingering.on(me, stimulus, self),
            State::Frozen => State::Frozen,
            State::Over => State::Over,
        };
        let leads_to = |next| LIFE.iter().any(|(from, to)| *from == name && to.contains(&next));
        debug_assert!(next.name() == name || leads_to(next.name()), "{name:?} does not lead to {:?}", next.name());
        match next {
            State::Over => self.remove_hold(me),
            next => self.hold_mut(me).state = next,
        }
    }

    /// Takes what somebody wants of a hold, to come to it now.
    fn take_end(&mut self, me: HoldKey) -> Option<End> {
        self.hold_mut(me).end.take()
    }

    /// Returns the moment from which a lease counts, for a command that was sent at `sent` and is answered now (R3).
    fn counted_from(&self, sent: Time) -> Time {
        if self.env.breaks(Rule::AnswerInTime) { self.now } else { sent }
    }

    /// Returns the T of a fresh item.
    fn fresh_item_ttl(&self, me: HoldKey) -> u32 {
        let lives = item_ttl(self.hold(me).ttl(), self.linger_of_item(me));
        if self.env.breaks(Rule::MinHoldInItem) { lives } else { lives.max(min_hold_ttl(self.hold(me).min_hold())) }
    }

    /// Returns the linger that is part of the T of an item that is held.
    fn linger_of_item(&self, me: HoldKey) -> Duration {
        if self.env.breaks(Rule::ItemOutlivesLinger) { Duration::ZERO } else { self.hold(me).linger() }
    }

    /// Counts one more failure in a row, and returns the pause after it.
    pub(crate) fn retry_pause(&mut self, failures: &mut u8) -> Duration {
        let pause = backoff(failures, FIRST_RETRY, LONGEST_RETRY);
        self.env.spread(pause, pause)
    }

    /// Tells the client that its request came to nothing, which ends the hold.
    fn refuse(&mut self, me: HoldKey, why: Event) -> State {
        match &why {
            Event::NotAcquired { reason, .. } => {
                let reason = *reason;
                self.observe_of(me, |subject| Observed::NotAcquired { subject, reason });
            }
            Event::Failed(failure) => self.observe_of(me, |subject| Observed::Failed { subject, failure }),
            _ => {}
        }
        self.tell_last(me, why);
        State::Over
    }

    /// Tells a client that its lock is lost, or, where it has not heard of the grant, that it came to nothing.
    fn tell_lost(&mut self, me: HoldKey, token: FencingToken, reason: LostReason, announced: bool) {
        self.observe_of(me, |subject| Observed::Lost { subject, token, reason, announced });
        let last = match announced {
            true => Event::Lost(reason),
            false => Event::Failed(Failure::unavailable("the lock was granted, and lost before it could be announced")),
        };
        self.tell_last(me, last);
    }

    /// Takes note that the store gave the client its lock.
    fn observe_grant(&mut self, me: HoldKey, token: FencingToken, mode: &Mode, asked: Time) {
        let waited = self.now.since(asked);
        self.observe_of(me, |subject| Observed::Granted { subject, token, mode, waited });
    }

    fn observe_release(&mut self, me: HoldKey, token: FencingToken, cause: ReleaseCause) {
        self.observe_of(me, |subject| Observed::Released { subject, token, cause });
    }
}

/// Returns true if an answer that comes now to a command sent at `sent` still counts: its lease is not about to end (R3,
/// R6a).
fn counts(sent: Time, ttl: Duration, now: Time) -> bool {
    now < sent + lease(ttl) - notice(ttl)
}

pub(crate) fn not_acquired(reason: Reason) -> Event {
    Event::NotAcquired { reason, owner: Owner::default() }
}

impl State {
    /// Returns the ticket that it knows.
    pub(crate) fn ticket(&self) -> Option<crate::queue::Ticket> {
        match self {
            State::Waiting(waiting) => Some(waiting.ticket()),
            State::HandingOver(handing) => Some(handing.ticket()),
            _ => None,
        }
    }
}

impl Hold {
    /// Brings it into its normal form.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        self.request = 0;
        form.pause(&mut self.due);
        let (announced, ttl) = (self.is_announced(), self.ttl());
        if let Some(client) = &mut self.subscriber {
            form.stream(&mut client.stream);
            if let Some(covered) = &mut client.covered {
                if client.lock_ref == SESSION { form.shown(covered) } else { form.since(covered, ttl) }
            }
        }
        if let Some(End::Release(release)) = &mut self.end {
            form.grant(&mut release.lock_id.grant);
        }
        let (lease, span) = (lease(ttl), (lease(ttl) + self.linger()).max(self.min_hold()));
        match &mut self.state {
            State::Trying(trying) => trying.normalise(lease, form),
            State::Inspecting(inspecting) => inspecting.normalise(form),
            State::Waiting(waiting) => {
                let tells_place = self.due == Some(waiting.normalise(lease, form));
                self.due = self.due.filter(|_| !tells_place);
            }
            State::Reattaching(reattaching) => reattaching.normalise(lease, form),
            State::Held(held) => held.normalise((span, announced), form),
            State::Leased(leased) => leased.normalise(span, form),
            State::Expiring(expiring) => expiring.normalise(span, form),
            State::HandingOver(handing) => handing.normalise(span, form),
            State::Releasing(releasing) => releasing.normalise(form),
            State::Lingering(lingering) => lingering.normalise(form),
            State::Frozen | State::Over => {}
        }
    }
}

impl Grant {
    /// Brings it into its normal form: its lease and its linger are over after `span`. Its token is `shown` once its client
    /// has been told.
    fn normalise(&mut self, (span, shown): (Duration, bool), form: &mut Form<'_, impl Normal>) {
        form.grant(&mut self.id);
        form.since(&mut self.sent, span);
        form.until_any(&mut self.protected_until);
        form.until_any(&mut self.closed_until);
        self.closed_until = self.closed_until.filter(|until| *until > form.now);
        if shown {
            form.token(&mut self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_is_small() {
        // Each lock that is held costs one.
        assert!(size_of::<Hold>() <= 208, "{}", size_of::<Hold>());
    }

    #[test]
    fn the_picture_of_a_locks_life_is_that_of_the_code() {
        let page = include_str!("../../../ARCHITECTURE.md");
        let picture = page.split("```mermaid\nstateDiagram-v2\n").nth(1).unwrap().split("```").next().unwrap();
        let arrows = picture.lines().filter_map(|line| line.split_once("-->"));
        let arrow =
            |(from, to): (&str, &str)| (from.trim().to_owned(), to.split(':').next().unwrap().trim().to_owned());
        // Where a hold begins.
        let mut drawn: Vec<_> = arrows.map(arrow).filter(|(from, _)| from != "[*]").collect();
        let is_end = |state: &StateName| matches!(state, StateName::Over | StateName::Frozen);
        let name = |state: &StateName| if is_end(state) { "[*]".to_owned() } else { format!("{state:?}") };
        let mut coded: Vec<_> =
            LIFE.iter().flat_map(|(from, to)| to.iter().map(move |to| (name(from), name(to)))).collect();
        drawn.sort();
        coded.sort();
        coded.dedup();
        assert_eq!(drawn, coded);
    }
}

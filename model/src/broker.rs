//! Brokers: the shipped core, and what the world does with what it says.
//!
//! A tick is two seconds of the core's time. Within a tick a broker takes any number of turns. Its clock then shows the
//! beginning of the tick; and a little later when it looks by itself, so that its short pauses are over.

use std::sync::Arc;
use std::time::Duration;

use lockbroker_core::env::{Env, Mark};
use lockbroker_core::event::{Event, LostReason};
use lockbroker_core::failure::Failure;
use lockbroker_core::lock::{GrantId, LeaseId, LingerId, LockId, LockItem, Owner as Label, Permit};
use lockbroker_core::request::{
    Access, LeaseRenewal, LockRequest, Mode, OnDisconnect, Purpose, Settings, StoreTraits, StreamEnd,
};
use lockbroker_core::rules::Rule;
use lockbroker_core::shard::machine::Op as Shipped;
use lockbroker_core::store::{Change, ItemState, Order, Reply, Request, StoreError};
use lockbroker_core::{Broker as Core, Item as News, Output, Read, RequestId, StreamKey, Time};

use crate::memcached::place_of;
use crate::model::Model;
use crate::rules::Rules;
use crate::state::{Client, DOWNGRADING, Id, LINGER, Link, Node, Op, Owner, Place, State, Token};

/// The length of a tick: the margin of a lease.
pub const TICK: Duration = Duration::from_secs(2);
/// The beginning of the tick that it is, for every broker.
pub const NOW: Time = Time::from_nanos(1_000_000_000_000_000);
/// When a broker looks by itself: after every pause that is shorter than this.
pub const SOON: Duration = Duration::from_millis(60);
/// The least pause that a broker makes.
pub const PAUSE: Duration = Duration::from_millis(1);

/// Returns so many ticks.
pub(crate) fn ticks(number: u8) -> Duration {
    TICK * number.into()
}

/// Returns the ticks of a T: a second of it is for rounding.
pub(crate) fn ticks_of(seconds: u32) -> u8 {
    ((seconds - 1) / TICK.as_secs() as u32) as u8
}

/// Returns the T of so many ticks.
pub(crate) fn seconds(ticks: u8) -> u32 {
    u32::from(ticks) * TICK.as_secs() as u32 + 1
}

/// Returns the number of whole ticks that are left until then.
fn ticks_left(until: Time) -> u8 {
    u8::try_from(until.since(NOW).as_secs() / TICK.as_secs()).unwrap_or(u8::MAX)
}

/// Returns the ticks in a span, the last one in part.
fn ticks_in(span: Duration) -> u8 {
    u8::try_from(span.as_nanos().div_ceil(TICK.as_nanos())).unwrap_or(u8::MAX)
}

pub(crate) fn of_grant(id: GrantId) -> Id {
    (id.get() - GrantId::from_random(0).get()) as Id
}

pub(crate) fn of_linger(id: LingerId) -> Id {
    (id.get() - LingerId::from_random(0).get()) as Id | LINGER
}

pub(crate) fn grant_id(id: Id) -> GrantId {
    GrantId::from_random(id.into())
}

pub(crate) fn linger_id(id: Id) -> LingerId {
    LingerId::from_random((id & !LINGER).into())
}

pub(crate) fn of_item(state: ItemState) -> Id {
    match state {
        ItemState::Held(id) => of_grant(id),
        ItemState::Lingering(id) => of_linger(id),
    }
}

/// The rules that a core leaves out.
pub(crate) trait LeavesOut {
    /// Returns true if it leaves this one out.
    fn leaves_out(&self, rule: Rule) -> bool;
}

/// The outside of a core.
pub(crate) struct Outside<'a, R> {
    pub(crate) now: Time,
    pub(crate) ids: &'a mut u8,
    pub(crate) marks: &'a mut u64,
    pub(crate) rules: &'a R,
}

impl<R: LeavesOut> Env for Outside<'_, R> {
    fn now(&self) -> Time {
        self.now
    }

    fn grant_id(&mut self) -> GrantId {
        *self.ids += 1;
        grant_id(*self.ids)
    }

    fn linger_id(&mut self) -> LingerId {
        *self.ids += 1;
        linger_id(*self.ids)
    }

    /// All lingers are alike here: only the reason that a client is told differs.
    fn revocation_id(&mut self) -> LingerId {
        self.linger_id()
    }

    fn spread(&mut self, _: Duration, _: Duration) -> Duration {
        PAUSE
    }

    fn mark(&mut self, mark: Mark) {
        *self.marks |= 1 << mark as u64;
    }

    fn breaks(&self, rule: Rule) -> bool {
        self.rules.leaves_out(rule)
    }
}

impl LeavesOut for Rules {
    fn leaves_out(&self, rule: Rule) -> bool {
        !match rule {
            Rule::AnswerInTime => self.answer_in_time,
            Rule::LostIsFinal => self.lost_is_final,
            Rule::NewIdOnReattach => self.reattach_new_id,
            Rule::NewIdStays => self.reattach_never_undone,
            Rule::Protected => self.reattach_protected,
            Rule::Silence => self.silence_waits,
            Rule::CleanUp | Rule::HandOverCleanedUp => self.scrub,
            Rule::LingerKeepsLife => self.linger_never_shortens,
            Rule::MovingReleaseLingers => self.moving_release_lingers,
            Rule::ItemOutlivesLinger => self.item_outlives_linger,
            Rule::RevokedWaits => self.revoked_waits,
            Rule::RevokedLives => self.revoked_lives,
            Rule::LeaseNotRecreated => self.lease_not_recreated,
            Rule::KeptOnClose => self.kept_on_close,
            Rule::MinHoldKept => self.min_hold_kept,
            Rule::MinHoldInItem => self.min_hold_in_item,
            Rule::MinHoldNeverCut => self.min_hold_never_cut,
            Rule::LockOutlivesDowngrade => self.lock_outlives_downgrade,
            Rule::GateCompared => self.gate_compares,
            Rule::PermitBeforeLook => self.permit_before_look,
            Rule::LockBeforeLook => self.lock_before_look,
            _ => true,
        }
    }
}

impl LeavesOut for Option<Rule> {
    fn leaves_out(&self, rule: Rule) -> bool {
        *self == Some(rule)
    }
}

/// The things that a turn leaves to be done at another broker.
#[derive(Default)]
struct After {
    hang_up: Option<(usize, usize)>,
}

impl Model {
    /// Makes a broker that has no locks.
    pub(crate) fn new_core(&self) -> Node {
        let settings = Settings {
            default_ttl: ticks(self.bounds.max_ttl()),
            max_ttl: ticks(self.bounds.max_ttl()),
            poll_interval: PAUSE,
            max_locks: std::num::NonZeroUsize::MAX,
            max_waiters: std::num::NonZeroUsize::MAX,
        };
        Node::new(Core::new(settings, StoreTraits { is_shared: true, can_be_woken: false }, 1))
    }

    fn outside<'a>(&'a self, now: Time, ids: &'a mut u8, marks: &'a mut u64) -> Outside<'a, Rules> {
        Outside { now, ids, marks, rules: &self.rules }
    }

    /// Returns the name of an item.
    pub(crate) fn item(&self, place: Place) -> LockItem {
        LockItem { name: self.name.clone(), permit: permit_at(place) }
    }

    /// Returns what a client has in its hands to reattach or release its lock with.
    fn lock_id(&self, client: usize, held: &Client) -> LockId {
        let token = lockbroker_core::lock::FencingToken::FIRST;
        let (linger, min_hold) = (ticks(self.bounds.linger[client]), ticks(held.min_hold));
        LockId { grant: grant_id(held.id), token, linger, min_hold, permit: permit_at(held.place) }
    }

    /// Opens a stream on which a client asks for the lock, or reattaches the one that it has.
    pub(crate) fn begin(&self, state: &mut State, broker: usize, client: usize) {
        let held = state.clients[client];
        let mode = match held.id {
            0 => Mode::Wait { max_wait: None, poll_interval: None },
            _ => Mode::Reattach(self.lock_id(client, &held)),
        };
        let request = LockRequest {
            name: self.name.clone(),
            access: match self.bounds.shared[client] || held.place == DOWNGRADING {
                true => Access::Shared { limit: self.bounds.permits, weight: self.bounds.weight[client] },
                false => Access::Alone,
            },
            ttl: ticks(self.bounds.ttl[client]),
            linger: ticks(self.bounds.linger[client]),
            min_hold: ticks(self.bounds.min_hold[client]),
            owner: Label::default(),
            value: None,
            mode,
            account: None,
            on_disconnect: if self.bounds.kept[client] { OnDisconnect::Keep } else { OnDisconnect::Release },
        };
        let node = state.cores[broker].as_mut().expect("a broker that is asked is alive");
        let key = Arc::make_mut(&mut node.core).stream(None);
        state.links[broker][client] = Some(Link { key, connected: true, live: true });
        self.turn(state, broker, NOW, |core, outside| drop(core.begin_alone(key, request, Purpose::Stream, outside)));
    }

    /// Calls Release at a broker.
    pub(crate) fn call_release(&self, state: &mut State, broker: usize, client: usize, held: &Client) {
        let (name, lock_id) = (&self.name, self.lock_id(client, held));
        self.turn(state, broker, NOW, |core, outside| core.release(0, name, lock_id, outside));
    }

    /// Renews a lease at a broker.
    pub(crate) fn call_renew(&self, state: &mut State, broker: usize, client: usize) {
        let lease = LeaseId { lock: self.lock_id(client, &state.clients[client]), ttl: ticks(self.bounds.ttl[client]) };
        let name = &self.name;
        self.turn(state, broker, NOW, |core, outside| core.renew_lease(client as u64, name, (lease, None), outside));
    }

    /// Lets a client hear what came of the renewal of its lease.
    fn renewed(&self, state: &mut State, client: usize, result: Result<LeaseRenewal, Failure>) {
        let held = &mut state.clients[client];
        held.calls = None;
        if !held.leased {
            // It has left meanwhile.
            return;
        }
        match result {
            Ok(LeaseRenewal::Renewed { until }) => {
                held.valid = held.valid.max(ticks_left(until));
                if !state.ghost.revoked {
                    state.ghost.linger[client] = self.bounds.linger[client];
                }
            }
            Ok(LeaseRenewal::Lost(reason)) => {
                state.ghost.lease_lost |= held.valid > 0 && self.is_unkept(state, client, reason, true);
                state.clients[client].valid = 0;
            }
            Err(_) => {}
        }
    }

    /// Returns true if a client that is told of this loss should have kept its lock.
    fn is_unkept(&self, state: &State, client: usize, reason: LostReason, hears: bool) -> bool {
        match reason {
            LostReason::Revoked => false,
            LostReason::Expired => hears && self.bounds.prompt && !self.is_excused(state),
            LostReason::Gone | LostReason::TakenOver => state.clients[client].valid > 0 && !state.ghost.revoked,
        }
    }

    /// Revokes the lock at a broker.
    pub(crate) fn call_revoke(&self, state: &mut State, broker: usize) {
        let item = self.item(0);
        self.turn(state, broker, NOW, |core, outside| core.revoke(0, item, (None, false), outside));
    }

    /// Lets a broker know how a stream has ended.
    pub(crate) fn end_stream(&self, state: &mut State, broker: usize, client: usize, by: StreamEnd) {
        let Some(link) = &mut state.links[broker][client] else { return };
        (link.connected, link.live) = (false, false);
        let key = link.key;
        self.turn(state, broker, NOW, |core, outside| {
            core.end(key, by, outside);
            core.stop_reading(key, outside);
        });
    }

    /// Returns true if something is due at a broker, or will be within this tick.
    pub(crate) fn is_due(state: &State, broker: usize) -> bool {
        let due = state.cores[broker].as_ref().and_then(|node| node.core.due());
        due.is_some_and(|due| due <= NOW + SOON)
    }

    /// Lets a broker look by itself.
    pub(crate) fn time_out(&self, state: &mut State, broker: usize) {
        self.turn(state, broker, NOW + SOON, |core, outside| core.timeout(outside));
    }

    /// Brings a broker the answer to a request.
    pub(crate) fn answer(&self, state: &mut State, broker: usize, id: RequestId, reply: Reply) {
        self.turn(state, broker, NOW, |core, outside| core.answered(id, reply, outside));
    }

    /// Lets a broker's core take a turn, and does what it says.
    fn turn(&self, state: &mut State, broker: usize, now: Time, act: impl FnOnce(&mut Core, &mut Outside<'_, Rules>)) {
        let Some(node) = state.cores[broker].take() else { return };
        let mut core = Arc::unwrap_or_clone(node.core);
        let mut after = After::default();
        let mut outside = self.outside(now, &mut state.ids, &mut state.reached.marks);
        act(&mut core, &mut outside);
        while let Some(output) = core.output() {
            match output {
                Output::Order(Order::Ask { id, item, request, .. }) => {
                    if let Some(reply) = self.ask_store(state, broker, id, place_of(item.permit), request) {
                        let mut outside = self.outside(now, &mut state.ids, &mut state.reached.marks);
                        core.answered(id, reply, &mut outside);
                    }
                }
                Output::Order(Order::GiveUp(id)) => self.drop_request(state, broker, id),
                Output::Readable(key) => self.read(state, &mut core, broker, (key, now), &mut after),
                Output::Silent(_) => unreachable!("there are no Sessions"),
                Output::Order(Order::Note(..)) | Output::Drained => {}
                Output::Released { .. } | Output::Revoked { .. } | Output::Looked { .. } => {}
                Output::Observed { .. } | Output::Updated { .. } => unreachable!("nobody observes"),
                Output::LeaseRenewed { call, result } => self.renewed(state, call as usize, result),
            }
        }
        for link in &mut state.links[broker] {
            *link = link.filter(|link| core.has_stream(link.key));
        }
        state.cores[broker] = Some(Node::new(core));
        if let Some((broker, client)) = after.hang_up {
            self.hang_up(state, broker, client);
        }
    }

    /// Reads what a broker has to tell a client.
    fn read(
        &self,
        state: &mut State,
        core: &mut Core,
        broker: usize,
        (key, now): (StreamKey, Time),
        after: &mut After,
    ) {
        let link = |link: &Option<Link>| link.is_some_and(|link| link.key == key && link.live);
        let Some(client) = state.links[broker].iter().position(link) else { return };
        loop {
            let mut outside = self.outside(now, &mut state.ids, &mut state.reached.marks);
            match core.read(key, &mut outside) {
                Read::Item(News::Event(_, event)) => {
                    self.hear(state, broker, client, event, after);
                    if self.bounds.leases[client] && state.clients[client].id != 0 {
                        let mut outside = self.outside(now, &mut state.ids, &mut state.reached.marks);
                        state.clients[client].leased = core.make_lease(key, None, &mut outside);
                        core.stop_reading(key, &mut outside);
                        return;
                    }
                }
                Read::Item(_) | Read::Nothing => break,
                Read::End => {
                    core.stop_reading(key, &mut outside);
                    let ended = state.links[broker][client].as_mut();
                    ended.into_iter().for_each(|link| (link.connected, link.live) = (false, false));
                    return;
                }
            }
        }
    }

    /// Lets a client hear of its lock, if what the broker says reaches it.
    fn hear(&self, state: &mut State, broker: usize, client: usize, event: Event, after: &mut After) {
        let here = Some(broker as u8);
        let link = state.links[broker][client].expect("it was read");
        let hears = link.connected && link.live;
        let held = state.clients[client];
        let is_mover = held.moving_to == here;
        match event {
            Event::Acquired { lock_id, until } => {
                let (id, lease) = (of_grant(lock_id.grant), ticks_left(until));
                if !is_mover {
                    self.note_grant(state, (lock_id.token.get() - 1) as Token, id);
                }
                let told = &mut state.clients[client];
                let min_hold = lock_id.min_hold;
                if hears && is_mover && held.valid > 0 {
                    // It takes that up only while the old validity lasts (R11).
                    (told.at, told.moving_to, told.id, told.valid) = (here, None, id, lease);
                    told.place = place_of(lock_id.permit);
                    told.min_hold = ticks_in(min_hold);
                    after.hang_up = held.at.map(|at| (at as usize, client));
                } else if hears && held.at == here && held.id == 0 && lease > 0 {
                    (told.id, told.valid, told.moved) = (id, lease, false);
                    told.place = place_of(lock_id.permit);
                    told.min_hold = ticks_in(min_hold);
                    // It is told with what was left when the command was sent from which the lease counts.
                    let sent = until - (ticks(self.bounds.ttl[client]) - TICK);
                    state.ghost.min_hold[client] = ticks_left(sent + min_hold);
                    // It may have been revoked before its client has heard of it.
                    state.ghost.revoked &= !state.memcached.carries(id);
                    if !state.ghost.revoked {
                        state.ghost.linger[client] = self.bounds.linger[client];
                    }
                }
            }
            Event::Renewed { until } if hears && held.at == here => {
                state.clients[client].valid = ticks_left(until);
                if !state.ghost.revoked {
                    state.ghost.linger[client] = self.bounds.linger[client];
                }
            }
            Event::Lost(reason) => {
                if held.at == here && held.id != 0 && !held.moved {
                    state.ghost.lease_lost |= self.is_unkept(state, client, reason, hears);
                }
                if hears && held.at == here && held.moving_to.is_none() {
                    state.clients[client].valid = 0;
                }
            }
            Event::NotAcquired { .. } | Event::Failed(_) if hears && is_mover => {
                state.clients[client].moving_to = None;
            }
            _ => {}
        }
    }

    /// Takes note of a grant that is told.
    fn note_grant(&self, state: &mut State, token: Token, id: Id) {
        let ghost = &mut state.ghost;
        if self.bounds.tokens.is_some() {
            ghost.token_fell |= token <= ghost.told;
            ghost.told = ghost.told.max(token);
        }
        ghost.linger_cut |= ghost.cutter == Some(id);
    }

    /// Returns true if something happened after which a lease may run out, although its client was there and everybody was
    /// prompt: a memcached that is away for too long, a broker that dies between a grant and its undoing, and a holder that
    /// re-asserts what was released or revoked through another broker.
    fn is_excused(&self, state: &State) -> bool {
        let (left, most) = (&state.left, &self.bounds);
        let ended = left.releases < most.releases_elsewhere || left.revocations < most.revocations;
        left.stops < most.stops || left.deaths < most.deaths || ended
    }

    /// Asks the store. Returns the answer if it comes at once.
    fn ask_store(
        &self,
        state: &mut State,
        broker: usize,
        id: RequestId,
        place: Place,
        request: Request,
    ) -> Option<Reply> {
        let op = Op::packed(&Shipped::of(request, false));
        if op.looks() {
            return self.look(state, Owner::Core(broker as u8, id), op, place);
        }
        if !id.is_of_errand() && !self.may_send(state, broker, op) {
            return Some(op.shipped().failed(StoreError::unavailable("", None)));
        }
        self.send(state, Owner::Core(broker as u8, id), op, place);
        None
    }

    /// Lets a request go whose answer nobody waits for any more. It may still be carried out.
    fn drop_request(&self, state: &mut State, broker: usize, id: RequestId) {
        let owner = Owner::Core(broker as u8, id);
        let Some(index) = state.flights.iter().position(|flight| flight.owner == owner) else { return };
        let flight = state.flights.remove(index);
        if !flight.landed {
            state.flights.push(crate::canon::stray(flight.op, flight.place));
        }
    }
}

fn permit_at(place: Place) -> Option<Permit> {
    place.checked_sub(1).filter(|_| place != DOWNGRADING).and_then(|number| Permit::new(number.into()))
}

/// Returns the answer to a change.
pub(crate) fn changed(change: Change) -> Reply {
    Reply::Changed(Ok(change))
}

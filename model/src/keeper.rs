//! The steps that a broker's keepers take of their own accord: ask, renew, move, hand over, release, linger.

use crate::model::Model;
use crate::rules::MARGIN;
use crate::state::{Client, Doing, Flight, Id, Keeper, Left, Op, Owner, Phase, State, Stream, Token, Verdict};

impl Model {
    /// Returns the length of a lease, from before its command was sent (R2).
    pub(crate) fn lease(&self, client: usize) -> u8 {
        self.bounds.ttl[client] - if self.rules.margin { MARGIN } else { 0 }
    }

    /// Returns the T of the item of a lock that is held.
    pub(crate) fn item_ttl(&self, client: usize, protected: u8) -> u8 {
        let ttl = match protected > 0 && self.rules.reattach_protected {
            true => self.bounds.max_ttl(),
            false => self.bounds.ttl[client],
        };
        ttl + if self.rules.item_outlives_linger { self.bounds.linger[client] } else { 0 }
    }

    /// Returns true if this client asks for a permit.
    pub(crate) fn is_shared(&self, client: usize) -> bool {
        self.bounds.shared && client == 1
    }

    pub(crate) fn send(&self, state: &mut State, owner: Owner, op: Op) {
        let (broker, shared) = match owner {
            Owner::Keeper(broker, client) => (broker as usize, self.is_shared(client as usize)),
            Owner::Probe(broker) => (broker as usize, false),
            Owner::Nobody => unreachable!("somebody sends"),
        };
        let epoch = state.brokers[broker].phase.epoch().unwrap_or(0);
        state.flights.push(Flight {
            owner,
            op,
            shared,
            stage: self.first_stage(op),
            age: 0,
            epoch,
            stale: false,
            lag: 0,
            verdict: Verdict::Missing,
            token: None,
            witness: None,
            cuts_linger: false,
        });
    }

    /// Returns true if another client's lock is held or given away at this broker, so that who waits here need not
    /// poll.
    fn is_held_here(state: &State, broker: usize, client: usize) -> bool {
        let other = &state.keepers[broker][1 - client];
        !matches!(other.doing, Doing::Nothing | Doing::Wants)
    }

    fn may_grant(&self, state: &State, broker: usize) -> bool {
        let known = &state.brokers[broker];
        let open = match self.rules.grant_only_if_open {
            true => known.phase.is_open(),
            false => known.phase.epoch().is_some(),
        };
        open && (known.clock_known || !self.rules.clock_learned)
    }

    pub(crate) fn may_attempt(&self, state: &State, broker: usize, client: usize) -> bool {
        let keeper = &state.keepers[broker][client];
        keeper.doing == Doing::Wants
            && keeper.stream == Stream::Live
            && self.may_grant(state, broker)
            && !Model::is_held_here(state, broker, client)
            && !state.is_busy(broker, client)
            && self.may_draw(state)
    }

    fn may_draw(&self, state: &State) -> bool {
        self.bounds.tokens.is_none() || state.left.draws > 0
    }

    fn will_draw(&self, left: &mut Left) {
        if self.bounds.tokens.is_some() {
            left.draws -= 1;
        }
    }

    pub(crate) fn attempt(&self, state: &mut State, broker: usize, client: usize) {
        let id = state.fresh_id();
        self.will_draw(&mut state.left);
        let ttl = self.item_ttl(client, 0);
        self.send(state, Owner::Keeper(broker as u8, client as u8), Op::Grant { id, ttl });
    }

    pub(crate) fn may_renew(&self, state: &State, broker: usize, client: usize) -> bool {
        let keeper = &state.keepers[broker][client];
        keeper.doing == Doing::Holds
            && keeper.stream == Stream::Live
            && (1..self.lease(client)).contains(&keeper.lease)
            && state.brokers[broker].phase.epoch().is_some()
            && !state.is_busy(broker, client)
    }

    pub(crate) fn renew(&self, state: &mut State, broker: usize, client: usize) {
        let Keeper { id, protected, .. } = state.keepers[broker][client];
        let ttl = self.item_ttl(client, protected);
        self.send(state, Owner::Keeper(broker as u8, client as u8), Op::Renew { id, ttl });
    }

    /// Returns true if it is time to end the grant: the client has said so, or neither can believe in it any more.
    fn is_over(&self, keeper: &Keeper) -> bool {
        let disbelieved = keeper.protected == 0 || !self.rules.reattach_protected;
        match keeper.stream {
            Stream::Word => true,
            Stream::Silence => (keeper.lease == 0 || !keeper.told || !self.rules.silence_waits) && disbelieved,
            Stream::Live => keeper.lease == 0 && disbelieved,
        }
    }

    pub(crate) fn may_release(&self, state: &State, broker: usize, client: usize) -> bool {
        let keeper = &state.keepers[broker][client];
        let ready = match keeper.doing {
            Doing::Holds => self.is_over(keeper),
            Doing::Releases => true,
            _ => false,
        };
        ready && state.brokers[broker].phase.epoch().is_some() && !state.is_busy(broker, client)
    }

    /// Returns true if a release has a linger to create where there is no item.
    pub(crate) fn creates_linger(&self, state: &State, broker: u8, client: u8) -> bool {
        let keeper = &state.keepers[broker as usize][client as usize];
        let lingers = match keeper.doing {
            Doing::Holds => keeper.told && self.bounds.linger[client as usize] > 0,
            _ => keeper.next > 0,
        };
        lingers && state.memcached.item.is_none() && self.rules.release_creates_linger
    }

    pub(crate) fn may_hand_over(&self, state: &State, broker: usize, client: usize) -> bool {
        let heir = &state.keepers[broker][1 - client];
        let keeper = &state.keepers[broker][client];
        keeper.doing == Doing::Holds
            && (self.bounds.linger[client] == 0 || !keeper.told)
            && heir.doing == Doing::Wants
            && heir.stream == Stream::Live
            && !state.is_busy(broker, 1 - client)
            && self.may_release(state, broker, client)
            && self.may_grant(state, broker)
            && self.may_draw(state)
    }

    pub(crate) fn hand_over(&self, state: &mut State, broker: usize, client: usize) {
        let from = state.keepers[broker][client].id;
        let to = state.fresh_id();
        self.will_draw(&mut state.left);
        let ttl = self.item_ttl(1 - client, 0);
        self.send(state, Owner::Keeper(broker as u8, client as u8), Op::HandOver { from, to, ttl });
        state.keepers[broker][client] = Keeper { doing: Doing::HandsOver, id: from, ..Keeper::default() };
    }

    pub(crate) fn release(&self, state: &mut State, broker: usize, client: usize) {
        let fresh = state.fresh_id();
        let keeper = &mut state.keepers[broker][client];
        let linger = self.bounds.linger[client];
        if keeper.doing == Doing::Holds {
            let next = if linger > 0 && keeper.told { fresh } else { 0 };
            *keeper = Keeper { doing: Doing::Releases, id: keeper.id, next, ..Keeper::default() };
        }
        let op = match keeper.next {
            0 => Op::Remove { id: keeper.id },
            next => {
                let longer = if self.rules.linger_never_shortens { self.bounds.ttl[client] } else { MARGIN };
                Op::Linger { from: keeper.id, to: next, ttl: linger + longer }
            }
        };
        self.send(state, Owner::Keeper(broker as u8, client as u8), op);
    }

    pub(crate) fn may_swap(&self, state: &State, broker: usize, client: usize) -> bool {
        state.keepers[broker][client].doing == Doing::Reattaches
            && state.brokers[broker].phase.epoch().is_some()
            && !state.is_busy(broker, client)
    }

    /// Sends a reattach, or what its client's word makes of one that is unanswered.
    pub(crate) fn swap(&self, state: &mut State, broker: usize, client: usize) {
        let keeper = state.keepers[broker][client];
        match keeper.stream {
            Stream::Live => {
                let ttl = match self.rules.reattach_protected {
                    true => self.bounds.max_ttl() + self.bounds.linger[client],
                    false => self.item_ttl(client, 0),
                };
                let op = Op::Reattach { from: keeper.id, to: keeper.next, ttl };
                self.send(state, Owner::Keeper(broker as u8, client as u8), op);
            }
            Stream::Word if self.bounds.linger[client] > 0 && self.rules.moving_release_lingers => {
                let next = state.fresh_id();
                let Keeper { id, .. } = state.keepers[broker][client];
                state.keepers[broker][client] = Keeper { doing: Doing::Releases, id, next, ..Keeper::default() };
            }
            Stream::Word => {
                self.unwant(state, broker, keeper.id);
                self.unwant(state, broker, keeper.next);
                state.keepers[broker][client] = Keeper::default();
            }
            Stream::Silence => self.give_reattach_up(state, broker, client),
        }
    }

    pub(crate) fn give_reattach_up(&self, state: &mut State, broker: usize, client: usize) {
        let keeper = state.keepers[broker][client];
        if !self.rules.reattach_never_undone {
            self.unwant(state, broker, keeper.next);
        }
        self.not_reattached(state, broker, client);
    }

    pub(crate) fn not_reattached(&self, state: &mut State, broker: usize, client: usize) {
        let keeper = std::mem::take(&mut state.keepers[broker][client]);
        let waits = state.clients[client].moving_to == Some(broker as u8);
        if waits && keeper.connected && keeper.stream == Stream::Live {
            state.clients[client].moving_to = None;
        }
    }

    /// Deletes a grant that nobody wants, or whose outcome nobody knows, until it cannot be there (R5).
    pub(crate) fn unwant(&self, state: &mut State, broker: usize, id: Id) {
        if self.rules.scrub {
            state.unwanted.push((broker as u8, id));
        }
    }

    pub(crate) fn may_end_linger(state: &State, broker: usize, client: usize) -> bool {
        let keeper = &state.keepers[broker][client];
        let known = state.brokers[broker].phase.epoch().is_some();
        keeper.doing == Doing::Lingers && keeper.lease == 0 && known && !state.is_busy(broker, client)
    }

    /// Returns true if a linger may be renewed. The broker renews lingers now and then. Here only those matter whose
    /// item has gone.
    pub(crate) fn may_renew_linger(&self, state: &State, broker: usize, client: usize) -> bool {
        let keeper = &state.keepers[broker][client];
        let gone = state.memcached.item.is_none_or(|item| item.id != keeper.id);
        let known = state.brokers[broker].phase.epoch().is_some();
        keeper.doing == Doing::Lingers && keeper.lease > 0 && gone && known && !state.is_busy(broker, client)
    }

    pub(crate) fn renew_linger(&self, state: &mut State, broker: usize, client: usize) {
        let Keeper { id, lease, .. } = state.keepers[broker][client];
        self.send(state, Owner::Keeper(broker as u8, client as u8), Op::Renew { id, ttl: lease + MARGIN });
    }

    /// Returns what a broker may ask the shard, or do to it; none where the answer would tell it nothing.
    pub(crate) fn probe(&self, state: &State, broker: usize) -> Option<Op> {
        let owner = Owner::Probe(broker as u8);
        if state.brokers[broker].dead || state.flights.iter().any(|flight| flight.owner == owner) {
            return None;
        }
        let known = &state.brokers[broker];
        let epoch = known.phase.epoch();
        let fences = epoch.is_some_and(|epoch| state.fence(epoch).is_some());
        let same = state.memcached.epoch.is_some() && state.memcached.epoch == epoch;
        let learns_clock = self.rules.clock_learned && !known.clock_known && state.memcached.lag == 0;
        match known.phase {
            Phase::Unread | Phase::Found(_) => Some(Op::Look),
            Phase::Lost if state.memcached.epoch.is_some() => Some(Op::Look),
            Phase::Lost => Some(Op::Begin(match self.rules.fresh_epoch {
                true => state.fresh_epoch(),
                false => crate::canon::FIXED_EPOCHS + broker as u8,
            })),
            Phase::Closed(..) if fences || !same => Some(Op::Look),
            Phase::Closed(epoch, 0) => Some(Op::Open(epoch, self.first_token(state, broker))),
            Phase::Closed(..) => None,
            Phase::Open(_) => (!fences || !same || learns_clock).then_some(Op::Look),
        }
    }

    /// Returns the token after which those of an epoch that is opened now begin. The brokers' wall clocks differ by
    /// less than the longest ttl (A7), so that much of the past may be missing from them.
    fn first_token(&self, state: &State, broker: usize) -> Token {
        match self.rules.fence_start {
            true => state.ghost.drawn_long_ago.max(state.brokers[broker].seen),
            false => 0,
        }
    }

    /// Tells the client for how long its lock is valid, if it can hear it.
    pub(crate) fn tell(&self, state: &mut State, broker: usize, client: usize) {
        let Keeper { id, lease, connected, .. } = state.keepers[broker][client];
        let Client { at, id: held, .. } = state.clients[client];
        if connected && at == Some(broker as u8) && (held == id || held == 0) && lease > 0 {
            let client_state = &mut state.clients[client];
            if held == 0 {
                client_state.moved = false;
            }
            client_state.id = id;
            client_state.valid = lease;
            state.ghost.linger[client] = self.bounds.linger[client];
        }
    }
}

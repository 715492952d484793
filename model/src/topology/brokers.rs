//! A broker: what it reads, what it does to S, and how it keeps a lock.

use super::state::{Broker, Hold, Id, Item, Known, Op, Plan, Said, Set, Stamp, State, View};
use super::{Model, PRESENT, is_within};

impl Model {
    /// Returns the servers that a broker knows of.
    pub(crate) fn known_to(&self, broker: &Broker) -> Set {
        let next = if broker.aware == 0 { 0 } else { self.topology(broker.aware).servers };
        self.bounds.present.servers | next
    }

    /// Reads S, N and the fences of a server. Returns none if it cannot be reached.
    pub(crate) fn look(&self, state: &State, number: usize, server: usize) -> Option<Broker> {
        let mut broker = state.brokers[number].clone()?;
        if self.is_down(state, server, Some(number)) {
            return None;
        }
        let shown = state.servers[server];
        let known = &mut broker.known[server];
        let view = match shown.stamp() {
            None => View::Missing,
            // Flipped, and nobody can tell to what.
            Some(Stamp { plan: 0, .. }) => View::Unread,
            Some(stamp) => {
                let closed_for = match known.view {
                    View::Shows { stamp: before, closed_for, .. } if before == stamp && !shown.open => closed_for,
                    _ => 0,
                };
                View::Shows { stamp, open: shown.open, notice: shown.notice, closed_for }
            }
        };
        let is_same = match (known.view, view) {
            (View::Shows { stamp: before, .. }, View::Shows { stamp, .. }) => before == stamp,
            (before, view) => before == view,
        };
        *known = if is_same { Known { view, ..*known } } else { Known { view, ..Known::default() } };
        let flipped = shown.stamp().map(|stamp| stamp.plan).filter(|plan| *plan > PRESENT);
        let is_present = self.bounds.present.servers & 1 << server != 0;
        if let Some(plan) = flipped {
            if is_present || broker.aware == 0 {
                broker.aware = plan;
            }
            if plan == broker.aware {
                // S of a flipped server names those that are dead.
                broker.flipped |= self.bounds.dead.map_or(0, |dead| 1 << dead);
                broker.moved |= shown.open;
            }
            if is_present {
                broker.flipped |= 1 << server;
            }
        }
        if broker.aware == 0 && shown.notice != 0 {
            broker.aware = shown.notice;
        }
        if broker.aware == 0 {
            for (other, known) in broker.known.iter_mut().enumerate().filter(|(other, _)| *other != server) {
                if is_within(1 << other, self.bounds.present.servers) {
                    known.clean |= 1 << server;
                    known.open |= if shown.open { 1 << server } else { 0 };
                }
            }
        }
        self.tidy(&mut broker);
        Some(broker)
    }

    /// Forgets what makes no difference any more.
    fn tidy(&self, broker: &mut Broker) {
        for known in &mut broker.known {
            // Evidence is of use to those who may open an epoch.
            if broker.aware != 0 || !matches!(known.view, View::Shows { open: false, .. }) {
                (known.clean, known.open) = (0, 0);
            }
        }
        let opens = [PRESENT, broker.aware].map(|plan| self.may_come_to_open(broker, plan));
        let (aware, now) = (broker.aware, opens);
        for known in &mut broker.known {
            if let View::Shows { stamp, open, closed_for, .. } = &mut known.view {
                let counts = match stamp.plan {
                    PRESENT => now[0],
                    plan => plan == aware && now[1],
                };
                if !counts || *open {
                    *closed_for = 0;
                }
            }
        }
    }

    /// Returns true if the broker opens epochs of this topology once they have been closed for long enough.
    fn may_come_to_open(&self, broker: &Broker, plan: Plan) -> bool {
        match plan {
            0 => false,
            PRESENT => !broker.moved && (broker.aware == 0 || !self.rules.aware_opens_nothing),
            plan => plan == broker.aware && (broker.moved || !self.rules.adopter_opens_first),
        }
    }

    /// Returns true if nothing speaks of a next topology: another present server that is open was reached, or all were.
    fn has_evidence(&self, known: &Known, server: usize) -> bool {
        let others = self.bounds.present.servers & !(1 << server);
        known.open != 0 || is_within(others, known.clean)
    }

    /// Returns the stamp under which a broker begins an epoch here, where S is missing; its epoch is still to be chosen.
    pub(crate) fn begins(&self, broker: &Broker, server: usize) -> Option<Plan> {
        let known = &broker.known[server];
        if known.view != View::Missing {
            return None;
        }
        let is_of = |plan: Plan| plan != 0 && self.topology(plan).servers & 1 << server != 0;
        match has_begun(broker) {
            true => (is_of(broker.aware) || is_of(PRESENT)).then_some(broker.aware),
            false => is_of(PRESENT).then_some(PRESENT),
        }
    }

    /// Returns true if the broker writes N here: it completes a change.
    pub(crate) fn notes(&self, broker: &Broker, server: usize) -> bool {
        let is_noted = !matches!(broker.known[server].view, View::Shows { notice: 0, .. });
        has_begun(broker) && broker.known[server].view.of(PRESENT).is_some() && !is_noted
    }

    /// Returns the epoch that a broker flips here, since it has seen that others were.
    pub(crate) fn flips(&self, broker: &Broker, server: usize) -> Option<Stamp> {
        let View::Shows { stamp, notice, .. } = broker.known[server].view else { return None };
        (has_begun(broker) && stamp.plan == PRESENT && notice == broker.aware).then_some(stamp)
    }

    /// Returns the epoch that a broker opens here.
    pub(crate) fn opens(&self, broker: &Broker, server: usize) -> Option<Stamp> {
        let known = &broker.known[server];
        let View::Shows { stamp, open: false, closed_for, .. } = known.view else { return None };
        if !self.may_come_to_open(broker, stamp.plan) || closed_for < self.quarantine_of(stamp.plan) {
            return None;
        }
        let evidence = self.has_evidence(known, server) || !self.rules.opens_with_evidence;
        (stamp.plan != PRESENT || broker.aware != 0 || evidence).then_some(stamp)
    }

    /// Returns how long a broker keeps an epoch closed whose memory was lost (R15).
    pub(crate) fn quarantine_of(&self, plan: Plan) -> u8 {
        self.topology(plan).max_ttl
    }

    /// Returns the server at which the lock is kept by what the broker knows, and the topology by which it is.
    fn home(&self, broker: &Broker) -> (usize, Plan) {
        let old = self.bounds.present.place;
        let has_left = broker.moved || broker.flipped & 1 << old != 0;
        match broker.aware != 0 && has_left {
            true => (self.topology(broker.aware).place, broker.aware),
            false => (old, PRESENT),
        }
    }

    /// Returns what the broker asks for its clients now, and of which servers, unless it can change nothing.
    pub(crate) fn wants(&self, state: &State, broker: &Broker) -> Vec<(usize, usize, Op)> {
        let mut homes = vec![self.home(broker)];
        if !self.rules.old_place_first && broker.aware != 0 && homes[0].1 == PRESENT {
            homes.push((self.topology(broker.aware).place, broker.aware));
        }
        let fresh = state.clone().fresh_id();
        let mut wanted = Vec::new();
        for (server, plan) in homes {
            let View::Shows { stamp, open, .. } = broker.known[server].view else { continue };
            if stamp.plan != plan {
                continue;
            }
            let item = state.servers[server].item;
            let creates = !open && self.rules.reasserts;
            for (client, hold) in broker.holds.into_iter().enumerate() {
                let op = match hold {
                    Hold::Asked if open && item.is_none() => Op::Grant { id: fresh },
                    Hold::Held { id, lease } if lease < self.bounds.ttl || !carries(item, id) => {
                        // In a closed shard nothing comes of what finds another item, or none and creates none.
                        let may_come_of_it = open || carries(item, id) || creates && item.is_none();
                        if !may_come_of_it {
                            continue;
                        }
                        Op::Keep { id, creates }
                    }
                    Hold::Moving { from, to, .. } => Op::Swap { from, to },
                    // A grant, for which the shard has to be open.
                    Hold::HandingOver { from, to, .. } if open => Op::Swap { from, to },
                    Hold::Lingering { from, id, left } if !carries(item, id) => Op::Linger { from, id, left, creates },
                    _ => continue,
                };
                wanted.push((client, server, op));
            }
        }
        wanted
    }

    /// Asks for a client. What the broker knows may be old: so it makes no difference that nothing comes between the sending, the
    /// command and the answer.
    pub(crate) fn ask(&self, state: &mut State, number: usize, client: usize, server: usize, op: Op) {
        let Some(broker) = &state.brokers[number] else { return };
        let View::Shows { stamp, open, .. } = broker.known[server].view else { return };
        let (said, counts) = self.execute(state, server, op, stamp.epoch);
        let Some(broker) = &mut state.brokers[number] else { return };
        if !counts {
            return;
        }
        let hold = broker.holds[client];
        match (op, said, hold) {
            (Op::Grant { id } | Op::Keep { id, .. }, Said::Done, _) => self.has(state, number, client, id, server),
            (Op::Swap { to, .. }, Said::Done, Hold::Moving { .. }) => self.has(state, number, client, to, server),
            (Op::Swap { to, .. }, Said::Done, Hold::HandingOver { .. }) => {
                broker.holds[client] = Hold::None;
                if broker.holds[1 - client] == Hold::Asked {
                    self.has(state, number, 1 - client, to, server);
                }
            }
            // Only an open shard has the last word.
            (Op::Keep { .. } | Op::Swap { .. }, _, Hold::Held { .. } | Hold::Moving { .. }) if open => {
                broker.holds[client] = Hold::None;
                if state.at[client] == number as u8 {
                    state.valid[client] = 0;
                    state.lock_lost = true;
                }
            }
            (Op::Linger { .. } | Op::Swap { .. }, Said::Exists | Said::Missing, _) if open => {
                broker.holds[client] = Hold::None;
            }
            _ => {}
        }
    }

    /// A command that counts has given a client the lock, or kept it.
    fn has(&self, state: &mut State, number: usize, client: usize, id: Id, server: usize) {
        let lease = self.bounds.ttl;
        let is_new = {
            let Some(broker) = &mut state.brokers[number] else { return };
            let is_new = !matches!(broker.holds[client], Hold::Held { .. } | Hold::Moving { .. });
            broker.holds[client] = Hold::Held { id, lease };
            is_new
        };
        if is_new {
            state.linger_cut |= state.closed.iter().any(|left| *left > 0);
            state.closed[client] = self.bounds.linger;
            state.at[client] = number as u8;
            if self.bounds.tokens {
                let token = state.servers[server].draw();
                state.drawn.push((token, 0));
                state.token_fell |= token <= state.told;
                state.told = state.told.max(token);
            }
        }
        // A client that has gone to the other broker hears nothing here.
        if state.at[client] == number as u8 {
            state.ids[client] = id;
            state.valid[client] = lease;
        }
    }

    /// A client lets its lock go, or its broker does since the lease is over.
    pub(crate) fn let_go(&self, state: &mut State, number: usize, client: usize) {
        if state.at[client] == number as u8 {
            state.valid[client] = 0;
        }
        let to = state.fresh_id();
        let Some(broker) = &mut state.brokers[number] else { return };
        if let Hold::Held { id, lease } = broker.holds[client] {
            let waits = broker.holds[1 - client] == Hold::Asked;
            broker.holds[client] = match self.bounds.linger {
                0 if waits && lease > 0 => Hold::HandingOver { from: id, to, left: lease },
                0 => Hold::None,
                left => Hold::Lingering { from: id, id: to, left },
            };
        }
    }

    /// Passes one tick for a broker.
    pub(crate) fn age_broker(&self, state: &mut State, number: usize) {
        let Some(broker) = &mut state.brokers[number] else { return };
        for known in &mut broker.known {
            if let View::Shows { stamp, open: false, closed_for, .. } = &mut known.view {
                *closed_for = (*closed_for + 1).min(self.quarantine_of(stamp.plan));
            }
        }
        let mut aged = broker.clone();
        self.tidy(&mut aged);
        for hold in &mut aged.holds {
            if let Some(left) = hold.left_mut() {
                *left = left.saturating_sub(1);
                if *left == 0 && !matches!(hold, Hold::Held { .. }) {
                    // Under the new id the client's lock may stand, in which it still believes by what the old broker told it.
                    if let Hold::Moving { to, .. } = hold {
                        state.orphans.push(*to);
                    }
                    *hold = Hold::None;
                }
            }
        }
        let over = [0, 1].map(|client| matches!(aged.holds[client], Hold::Held { lease: 0, .. }));
        *broker = aged;
        for client in (0..2).filter(|client| over[*client]) {
            state.lock_lost |= state.at[client] == number as u8;
            self.let_go(state, number, client);
        }
    }
}

fn carries(item: Option<Item>, id: u8) -> bool {
    item.is_some_and(|item| item.id == id)
}

/// Returns true if the broker has seen that a change has begun.
fn has_begun(broker: &Broker) -> bool {
    broker.aware != 0 && (broker.flipped != 0 || broker.moved)
}

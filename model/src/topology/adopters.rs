//! A run of `lockbroker shard adopt`. It can begin anywhere, with nothing in mind.

use super::state::{Adopter, Op, Plan, SERVERS, Stamp, State};
use super::{Model, NEXT, PRESENT, RIVAL, each};

/// A step of an adopter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Creates S on a new server, or N on a present one, and reads both.
    Prepare(u8),
    /// Flips S, or creates it where it was lost.
    Flip(u8),
    /// Reads that a server is in the next topology.
    See(u8),
    /// Reads what lives at the old place.
    Dump,
    /// Does not find it, though it is there.
    Miss,
    /// Writes that at the new one.
    Write,
    Open(u8),
}

impl Model {
    /// Returns the topology that a run adopts.
    pub(crate) fn aim(&self, adopter: usize) -> Plan {
        if adopter == 1 && self.bounds.rival.is_some() { RIVAL } else { NEXT }
    }

    /// Returns true once every present server has been seen flipped.
    fn has_flipped(&self, adopter: &Adopter, plan: Plan) -> bool {
        let wanted = if self.rules.opens_when_all_flipped { self.involved(plan) } else { self.topology(plan).servers };
        each(wanted).all(|server| adopter.seen[server] != 0)
    }

    /// Returns true if each server still shows the epoch under which it was seen.
    fn is_as_seen(&self, state: &State, adopter: &Adopter, plan: Plan) -> bool {
        each(self.involved(plan))
            .filter(|server| adopter.seen[*server] != 0)
            .all(|server| state.servers[server].stamp() == Some(Stamp { epoch: adopter.seen[server], plan }))
    }

    /// Returns true if this server may be flipped: all others are prepared, or have been flipped.
    fn may_flip(&self, adopter: &Adopter, plan: Plan) -> bool {
        let is_ready = |server: usize| adopter.prepared[server] != 0 || adopter.seen[server] != 0;
        each(self.involved(plan)).all(is_ready) || !self.rules.prepared
    }

    /// Returns the steps that lead on.
    pub(crate) fn steps(&self, state: &State, number: usize) -> Vec<Step> {
        let adopter = &state.adopters[number];
        let plan = self.aim(number);
        // A server is said to be dead when it is.
        let waits = self.bounds.dead.is_some() && !state.down;
        let refuses = self.bounds.ttl > self.topology(plan).max_ttl && self.rules.lowered_with_care;
        if adopter.stopped || waits || refuses {
            return Vec::new();
        }
        let next = self.topology(plan);
        let mut steps = Vec::new();
        for server in each(self.involved(plan)) {
            let shown = state.servers[server].stamp();
            let (prepared, seen) = (adopter.prepared[server], adopter.seen[server]);
            match shown {
                Some(stamp) if stamp.plan == plan => {
                    if seen != stamp.epoch {
                        steps.push(Step::See(server as u8));
                    }
                }
                Some(stamp) if prepared == stamp.epoch && stamp.plan == PRESENT => {
                    if self.may_flip(adopter, plan) {
                        steps.push(Step::Flip(server as u8));
                    }
                }
                _ => steps.push(Step::Prepare(server as u8)),
            }
        }
        if !self.has_flipped(adopter, plan) {
            return steps;
        }
        let moves = next.place != self.bounds.present.place && self.bounds.dead != Some(self.bounds.present.place);
        if moves && !adopter.copied && self.rules.copies {
            steps.push(if adopter.carries.is_some() { Step::Write } else { Step::Dump });
            if self.bounds.dump_misses && adopter.carries.is_none() {
                steps.push(Step::Miss);
            }
            return steps;
        }
        let is_over = adopter.since >= self.quarantine(plan);
        let unchanged = self.is_as_seen(state, adopter, plan) || !self.rules.counts_anew;
        if is_over && unchanged {
            let closed = each(next.servers).filter(|server| {
                let shown = state.servers[*server];
                !shown.open && shown.stamp().is_some_and(|stamp| stamp.plan == plan)
            });
            steps.extend(closed.map(|server| Step::Open(server as u8)));
        }
        steps
    }

    /// Returns the command of a step, which may also be given up and land late.
    pub(crate) fn command(&self, state: &mut State, number: usize, step: Step) -> Option<(usize, Op)> {
        let plan = self.aim(number);
        let epoch = state.fresh_epoch();
        let adopter = &state.adopters[number];
        match step {
            Step::Prepare(server) => {
                let server = server as usize;
                let is_new = self.present() & 1 << server == 0;
                let has_begun =
                    adopter.seen.iter().enumerate().any(|(at, seen)| self.present() & 1 << at != 0 && *seen != 0);
                let op = match state.servers[server].state {
                    None if is_new || has_begun => Op::Begin { stamp: Stamp { epoch, plan } },
                    None => Op::Begin { stamp: Stamp { epoch, plan: PRESENT } },
                    Some(_) => Op::Notice { plan },
                };
                Some((server, op))
            }
            Step::Flip(server) => {
                let server = server as usize;
                Some((server, Op::Flip { from: adopter.prepared[server], to: epoch }))
            }
            Step::Write => {
                let item = state.adopters[number].carries?;
                Some((self.topology(plan).place, Op::Copy { item }))
            }
            Step::Open(server) => {
                let server = server as usize;
                let epoch = match self.rules.counts_anew {
                    true => state.adopters[number].seen[server],
                    false => state.servers[server].state?.epoch,
                };
                let highest = state.adopters[number].highest;
                Some((server, Op::Open { epoch, start: self.start(state, highest) }))
            }
            Step::See(_) | Step::Dump | Step::Miss => None,
        }
    }

    /// Takes note of what a step has shown, once its command was carried out.
    pub(crate) fn note(&self, state: &mut State, number: usize, step: Step) {
        let plan = self.aim(number);
        let old_place = state.servers[self.bounds.present.place].item;
        let servers = state.servers;
        let adopter = &mut state.adopters[number];
        match step {
            Step::Prepare(server) | Step::Flip(server) | Step::See(server) => {
                let server = server as usize;
                let shown = servers[server];
                match shown.stamp() {
                    Some(stamp) if stamp.plan == plan => self.see(adopter, server, stamp, shown.token),
                    // Somebody else's, or nobody can tell whose.
                    Some(stamp) if stamp.plan != PRESENT => adopter.stopped = true,
                    Some(stamp) if shown.notice == plan => adopter.prepared[server] = stamp.epoch,
                    _ if shown.notice != 0 => adopter.stopped = true,
                    _ => {}
                }
            }
            Step::Dump => {
                adopter.carries = old_place;
                adopter.copied = old_place.is_none();
            }
            Step::Write => (adopter.carries, adopter.copied) = (None, true),
            Step::Miss => adopter.copied = true,
            Step::Open(_) => {}
        }
    }

    /// Returns the token after which those of a new epoch come: above all that the wall clock is sure to show (A7), and above what
    /// was read.
    pub(crate) fn start(&self, state: &State, highest: u8) -> u8 {
        let longest = self.bounds.present.max_ttl.max(self.bounds.next.max_ttl);
        let by_the_wall = state.drawn.iter().filter(|(_, age)| *age >= longest).map(|(token, _)| *token).max();
        if self.rules.tokens_go_on { highest.max(by_the_wall.unwrap_or(0)) } else { 0 }
    }

    fn see(&self, adopter: &mut Adopter, server: usize, stamp: Stamp, token: u8) {
        if adopter.seen[server] == stamp.epoch {
            return;
        }
        adopter.highest = adopter.highest.max(token);
        let is_first = adopter.seen.iter().all(|seen| *seen == 0);
        if self.rules.waits_from_last_flip || is_first {
            adopter.since = 0;
        }
        adopter.seen[server] = stamp.epoch;
        adopter.prepared[server] = 0;
        // The copy that was written there may be gone.
        (adopter.carries, adopter.copied) = (None, false);
    }

    /// Passes one tick for an adopter.
    pub(crate) fn age_adopter(&self, adopter: &mut Adopter, plan: Plan) {
        if adopter.seen != [0; SERVERS] {
            adopter.since = (adopter.since + 1).min(self.quarantine(plan));
        }
        // It carries an absolute time.
        adopter.carries = adopter.carries.map(|mut item| {
            item.left = item.left.saturating_sub(1);
            item
        });
    }
}

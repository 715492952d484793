//! The list with which brokers are started while an operator changes the servers, and the servers that only those with a wrong one use.

use std::collections::BTreeSet;

use lockbroker_core::command::Key;
use lockbroker_core::shard::state_item::{Made, Stamp, StateItem};
use lockbroker_core::shard::{Shards, protocol};

use crate::world::World;

impl World {
    /// Starts brokers with a list that have heard of another one last, which is not the next one either. Returns false if there are
    /// none.
    pub(crate) fn roll_out(&mut self, list: usize, next: usize) -> bool {
        self.operator.rolled_out = list;
        let lists = [list, next].map(|list| self.lists.fingerprint(list));
        let is_late = |broker: &usize| {
            let node = &self.brokers[*broker];
            node.core.is_some() && !node.is_paused() && !lists.contains(&node.list)
        };
        let late: Vec<usize> = (0..self.brokers.len()).filter(is_late).collect();
        late.iter().for_each(|broker| self.kill(*broker, true));
        !late.is_empty()
    }

    /// Restarts servers in force that a broker with an old list has set up after a loss: nobody else uses them. And all those of the lists
    /// at hand of which nobody can tell any more to which list they were flipped.
    pub(crate) fn restart_foreign_servers(&mut self) {
        let present = self.lists.present();
        let ours: Vec<u64> =
            (present..=self.lists.next().unwrap_or(present)).map(|list| self.lists.fingerprint(list)).collect();
        let next = self.lists.next().map_or(&[][..], |next| self.lists.servers(next));
        let servers: BTreeSet<usize> = self.lists.servers(present).iter().chain(next).copied().collect();
        for server in servers {
            let stopped = self.machines[server].down || self.machines[server].server.clock().is_stopped();
            if stopped || !self.may_lose(server) {
                continue;
            }
            let is_foreign = match protocol::read_state(&self.execute(server, &protocol::probe())) {
                Ok(StateItem::Shows { fingerprint, .. }) => {
                    !ours.contains(&fingerprint) && self.lists.servers(present).contains(&server)
                }
                _ => false,
            };
            if is_foreign || self.has_lost_its_note(server) {
                self.lose_memory(server, false);
            }
        }
    }

    /// Returns true if a server was flipped, and a flush that has spared S has taken the N that says to which list. No broker uses it.
    fn has_lost_its_note(&mut self, server: usize) -> bool {
        let StateItem::Flipped { stamp, .. } = self.state_of(server) else { return false };
        self.peek(server, &Key::Notice(stamp.generation.get())).is_none()
    }

    /// Returns true if a broker with a list that looks at one of its servers hears of the next one.
    fn speaks(&mut self, server: usize, list: usize) -> bool {
        let next = self.lists.generation(list + 1);
        let Some(stamp) = self.peek(server, &Key::State).and_then(Stamp::of_cas) else { return false };
        let noted = stamp.generation.next().map(|generation| Key::Notice(generation.get()));
        let is_noted = noted.is_some_and(|noted| self.peek(server, &noted).is_some());
        let is_early = is_noted && self.is_set_up_early(server, list + 1);
        (stamp.generation >= next || is_noted && !is_early) && !self.has_lost_its_note(server)
    }

    /// Returns true if some server of a list, other than this one, speaks of the next one.
    fn is_spoken_of(&mut self, list: usize, other_than: Option<usize>) -> bool {
        let servers = self.lists.servers(list).to_vec();
        servers.into_iter().any(|server| Some(server) != other_than && self.speaks(server, list))
    }

    /// Returns true if a server may lose its memory: who has not heard of a change that has begun hears of it from another one (A11).
    pub fn may_lose(&mut self, server: usize) -> bool {
        let latest = self.lists.latest_begun();
        let living = self.brokers.iter().filter(|node| node.core.is_some());
        let mut lists: Vec<usize> = living.map(|node| self.lists.of(node.list)).collect();
        lists.sort_unstable();
        lists.dedup();
        lists.into_iter().filter(|list| *list < latest).all(|list| self.is_spoken_of(list, Some(server)))
    }

    /// Returns the list with which a broker starts: the one before as long as a server speaks of the change, and the new one is not
    /// rolled out everywhere.
    pub fn list_for_start(&mut self) -> usize {
        let (present, latest) = (self.lists.present(), self.lists.latest_begun());
        let Some(before) = latest.checked_sub(1) else { return latest };
        let is_rolled_out = self.operator.rolled_out == latest || latest == present && self.among(2) == 0;
        if !is_rolled_out && self.is_spoken_of(before, None) { before } else { latest }
    }

    /// Returns true if a broker was started with a list before that was in force, and has set up this server. Who has the list before
    /// refuses it, and hears nothing there.
    fn is_set_up_early(&mut self, server: usize, list: usize) -> bool {
        let (fingerprint, generation) = (self.lists.fingerprint(list), self.lists.generation(list));
        let is_early = |shown: Stamp, whose: u64| whose == fingerprint && shown.generation < generation;
        matches!(self.state_of(server), StateItem::Shows { stamp, fingerprint, .. } if is_early(stamp, fingerprint))
    }

    /// Reads S without leaving a trace.
    fn state_of(&mut self, server: usize) -> StateItem {
        let machine = &mut self.machines[server];
        let listed = machine.server.list(machine.clock.time(self.now), &mut self.choices);
        let state = listed.into_iter().find(|listed| listed.key == Key::State);
        state.map_or(StateItem::Missing, |state| StateItem::of(state.cas, &state.value))
    }

    /// Returns the list with which brokers are to be started that have none of those which matter. Where servers in force have lost their
    /// memory and were set up by the next list, or can no more say that it is the next one, the brokers' logs ask for that one.
    pub(crate) fn list_to_roll_out(&mut self) -> usize {
        let present = self.lists.present();
        let Some(next) = self.lists.next() else { return self.operator.rolled_out.max(present) };
        let servers = self.lists.servers(present).to_vec();
        match servers.into_iter().any(|server| self.is_set_up_early(server, next) || self.has_lost_its_note(server)) {
            true => next,
            false => self.operator.rolled_out.max(present),
        }
    }

    /// Takes up a change again that was through, if its servers have lost their memory again, and whoever knew it to be through was started
    /// anew with the list before: all wait for its end then.
    pub(crate) fn take_up_again(&mut self) {
        let present = self.lists.present();
        if present == 0 || self.lists.next().is_some() {
            return;
        }
        let servers = self.lists.servers(present).to_vec();
        let generation = self.lists.generation(present);
        if servers.iter().any(|server| self.is_open_since(*server, generation)) {
            return;
        }
        let mut living = self.brokers.iter().filter_map(|node| node.shards.as_ref());
        let all_wait = living.all(Shards::is_changing);
        let waits = |state| match state {
            StateItem::Shows { made, .. } => made == Made::ByChange || all_wait,
            StateItem::Missing | StateItem::Flipped { .. } | StateItem::Unusable { .. } => false,
        };
        if servers.into_iter().any(|server| waits(self.state_of(server))) {
            self.note("taken up again", [present as u64, 0, 0]);
            self.lists.take_back();
            self.operator.announced = true;
        }
    }
}

//! Carries out batches at a memcached.

use super::Model;
use super::state::{Epoch, Id, Item, Op, Said, Server, State, StateItem};

impl Model {
    /// Carries out a batch. Returns its answer, and true if it counts: S shows the epoch that its sender knew.
    pub(crate) fn execute(&self, state: &mut State, server: usize, op: Op, known: Epoch) -> (Said, bool) {
        let life = self.bounds.ttl + self.bounds.linger;
        let server = &mut state.servers[server];
        let knew = server.state.is_some_and(|state| state.epoch == known);
        match op {
            // Only an open epoch has tokens.
            Op::Grant { id } => (server.create(Item { id, lingers: false, left: life }), knew && server.open),
            Op::Keep { id, creates } => {
                (server.change([id, id], Item { id, lingers: false, left: life }, creates), knew)
            }
            Op::Swap { from, to } => {
                (server.change([from, to], Item { id: to, lingers: false, left: life }, false), knew)
            }
            Op::Linger { from, id, left, creates } => {
                (server.change([from, id], Item { id, lingers: true, left }, creates), knew)
            }
            Op::Begin { stamp } => match server.state {
                Some(_) => (Said::Exists, true),
                None => {
                    server.state = Some(StateItem { epoch: stamp.epoch, made_for: stamp.plan, flipped: false });
                    server.open = false;
                    (Said::Done, true)
                }
            },
            Op::Flip { from, to } => match server.state {
                Some(state) if state.epoch == from => {
                    let epoch = if self.rules.flip_is_fresh { to } else { from };
                    server.state = Some(StateItem { epoch, flipped: true, ..state });
                    server.open &= !self.rules.flip_is_fresh;
                    (Said::Done, true)
                }
                Some(_) => (Said::Exists, true),
                None => (Said::Missing, true),
            },
            Op::Notice { plan } => {
                if server.notice == 0 {
                    server.notice = plan;
                }
                (Said::Done, true)
            }
            Op::Open { epoch, start } => {
                // The fences of another epoch are of no use to this one.
                if !server.open && server.state.is_some_and(|state| state.epoch == epoch) {
                    (server.open, server.token) = (true, start);
                }
                (Said::Done, true)
            }
            Op::Copy { item } => (server.create(item), true),
        }
    }
}

impl Server {
    /// Replaces the item that carries one of these ids. Where there is none, creates it if that is wanted.
    fn change(&mut self, ids: [Id; 2], item: Item, creates: bool) -> Said {
        match self.item {
            Some(there) if ids.contains(&there.id) => {
                self.item = Some(item);
                Said::Done
            }
            Some(_) => Said::Exists,
            None if creates => self.create(item),
            None => Said::Missing,
        }
    }

    /// Creates the item, where there is none.
    fn create(&mut self, item: Item) -> Said {
        match self.item {
            Some(_) => Said::Exists,
            None if item.left == 0 => Said::Missing,
            None => {
                self.item = Some(item);
                Said::Done
            }
        }
    }
}

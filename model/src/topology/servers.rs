//! What a memcached does with a batch.

use super::Model;
use super::state::{Epoch, Item, Op, Said, Server, State, StateItem};

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
                let item = Item { id, lingers: false, left: life };
                let said = match server.item {
                    Some(there) if there.id == id => {
                        server.item = Some(item);
                        Said::Done
                    }
                    None if creates => server.create(item),
                    Some(_) => Said::Exists,
                    None => Said::Missing,
                };
                (said, knew)
            }
            Op::Swap { from, to } => {
                let said = match server.item {
                    Some(there) if there.id == from || there.id == to => {
                        server.item = Some(Item { id: to, lingers: false, left: life });
                        Said::Done
                    }
                    Some(_) => Said::Exists,
                    None => Said::Missing,
                };
                (said, knew)
            }
            Op::Linger { from, id, left, creates } => {
                let item = Item { id, lingers: true, left };
                let said = match server.item {
                    Some(there) if there.id == from || there.id == id => {
                        server.item = Some(item);
                        Said::Done
                    }
                    None if creates => server.create(item),
                    Some(_) => Said::Exists,
                    None => Said::Missing,
                };
                (said, knew)
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

//! What the clients do, by chance.

use std::time::Duration;

use lockbroker_core::request::{Access, Mode};

use crate::world::{Belief, LIMIT, World};

impl World {
    /// Lets a client do something.
    pub(crate) fn act(&mut self) {
        if self.clients.iter().filter(|client| client.open).count() < 3 {
            let broker = self.random.below(2) as usize;
            self.open(broker);
        }
        let open: Vec<usize> = (0..self.clients.len()).filter(|at| self.clients[*at].open).collect();
        let at = open[self.random.below(open.len() as u64) as usize];
        match self.random.below(14) {
            0..5 if self.clients[at].beliefs.is_empty() => {
                let access = match self.random.below(4) {
                    0 => Access::Alone,
                    1 => Access::Shared { limit: LIMIT, weight: 1 },
                    weight => Access::Shared { limit: LIMIT, weight: weight as u8 },
                };
                let max_wait = match self.random.below(4) {
                    0 => Some(Duration::ZERO),
                    1 => Some(Duration::from_millis(40)),
                    _ => None,
                };
                let mode =
                    if self.random.one_in(2) { Mode::Once } else { Mode::Wait { max_wait, poll_interval: None } };
                self.ask(at, access, mode);
            }
            5..9 => self.read(at),
            9..11 => {
                let Some((lock_ref, belief)) = self.clients[at].beliefs.iter().next().map(|(a, b)| (*a, b.clone()))
                else {
                    return;
                };
                if let (Belief::Alone(id), true) = (&belief, self.random.one_in(2)) {
                    let to =
                        if self.random.one_in(2) { at } else { open[self.random.below(open.len() as u64) as usize] };
                    if to == at || self.clients[to].beliefs.is_empty() {
                        self.clients[at].beliefs.remove(&lock_ref);
                        self.ask(to, Access::Shared { limit: LIMIT, weight: 1 }, Mode::Reattach(*id));
                        return;
                    }
                }
                self.end(at, lock_ref);
            }
            11 if self.random.one_in(3) => {
                let reads = self.random.one_in(2);
                self.close(at, reads);
            }
            _ => {}
        }
    }

    pub(crate) fn run(&mut self, steps: usize) {
        for step in 0..steps {
            match self.random.below(10) {
                0 | 1 => self.act(),
                2 => {
                    let micros = self.random.below(4_000);
                    self.pass(Duration::from_micros(micros));
                }
                _ => self.step_store(),
            }
            if step % 2_000 == 0 {
                self.beat();
            }
        }
    }
}

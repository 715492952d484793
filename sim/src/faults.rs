//! Faults: which comes next, what it hits, and how it ends.

use lockbroker_core::request::OnDisconnect;

use crate::client::{Client, Phase};
use crate::event::{Event, Mend};
use crate::net::{Down, Up};
use crate::options::Fault;
use crate::time::MS;
use crate::world::World;

impl World {
    /// Lets a fault happen, and plans the next.
    pub fn fault(&mut self) {
        if self.calm {
            return;
        }
        let every = self.options.fault_every / MS;
        let next = 1 + self.choices.spread(2 * every);
        self.plan_in(next * MS, Event::Fault);
        let count = self.options.faults.len();
        let at = self.choices.spread(count as u64 + 1) as usize;
        if at == 0 {
            return;
        }
        let fault = self.options.faults[at - 1];
        // A shard that has lost its memory grants nothing for long, so that there is little left for other faults to hit.
        if matches!(fault, Fault::Loss | Fault::Down) && self.among(8) < 8 - self.options.losses {
            return;
        }
        self.note("fault", [fault as u64, 0, 0]);
        self.say(|| format!("{fault:?}"));
        match fault {
            Fault::Pause | Fault::Kill | Fault::Drain | Fault::Cut | Fault::Broken => self.break_broker(fault),
            Fault::Loss | Fault::Uncertain | Fault::Slow | Fault::Full | Fault::Stop | Fault::Down => {
                self.break_shard(fault);
            }
            Fault::BlackHole | Fault::Reset => self.break_conn(fault),
            Fault::ClientDeath | Fault::ClientPause => self.break_client(fault),
        }
    }

    fn span(&mut self) -> u64 {
        let which = self.among(self.options.spans.len());
        let most = self.options.spans[which];
        (1 + self.choices.spread(most / MS)) * MS
    }

    fn count(&mut self, fault: Fault, hits: bool) {
        self.report.faults[fault as usize] += 1;
        self.report.hits[fault as usize] += u64::from(hits);
    }

    fn break_broker(&mut self, fault: Fault) {
        let broker = self.among(self.options.brokers);
        if self.brokers[broker].core.is_none() {
            return;
        }
        let hits = self.brokers[broker].core.as_ref().is_some_and(|core| core.counts().held > 0);
        self.count(fault, hits);
        let span = self.span();
        match fault {
            Fault::Pause => self.pause_broker(broker, span),
            Fault::Kill => {
                let told = self.among(3) != 2;
                self.kill(broker, told);
            }
            Fault::Drain => self.drain(broker, span),
            Fault::Broken => {
                let shard = self.among(self.machines.len());
                self.machines[shard].trouble = self.now;
                self.break_links_where(|link| link.broker == broker && link.shard == shard);
            }
            _ => {
                let shard = self.among(self.machines.len());
                self.brokers[broker].cut[shard] = true;
                self.plan_in(span, Event::Mend { mend: Mend::Cut { broker, shard } });
            }
        }
    }

    fn break_shard(&mut self, fault: Fault) {
        let shard = self.among(self.machines.len());
        let held = self.check.believers.iter().any(|believer| self.shard_of(believer.name) == shard);
        self.count(fault, held);
        let span = self.span();
        match fault {
            Fault::Loss => {
                let flushes = self.among(3) == 1;
                if self.may_lose(shard) {
                    self.lose_memory(shard, flushes);
                }
            }
            Fault::Stop => {
                self.stop_server(shard);
                self.plan_in(span, Event::Mend { mend: Mend::Stop { shard } });
                if self.among(3) >= 3 - self.options.together {
                    // As where both are on one machine: the broker's connections live through it.
                    let (broker, later) = (self.among(self.options.brokers), self.choices.spread(40) * MS);
                    match self.among(4) {
                        // The next one meets the server when that goes on.
                        3 => self.kill(broker, true),
                        _ => self.pause_broker(broker, span + later),
                    }
                }
            }
            Fault::Down if !self.may_lose(shard) => {}
            Fault::Down => {
                self.lose_memory(shard, false);
                self.machines[shard].down = true;
                self.plan_in(span, Event::Mend { mend: Mend::Down { shard } });
            }
            Fault::Uncertain => {
                self.machines[shard].uncertain = true;
                self.plan_in(span, Event::Mend { mend: Mend::Uncertain { shard } });
            }
            Fault::Slow => {
                self.machines[shard].slow = true;
                self.plan_in(span, Event::Mend { mend: Mend::Slow { shard } });
            }
            _ => {
                self.machines[shard].full = true;
                match self.among(4) {
                    0 => self.machines[shard].server.set_full(true),
                    _ => self.machines[shard].server.set_shared(true),
                }
                self.plan_in(span, Event::Mend { mend: Mend::Full { shard } });
            }
        }
    }

    fn break_conn(&mut self, fault: Fault) {
        let open = |conn: &crate::net::Conn| conn.broker_open && conn.client_open;
        let conns: Vec<usize> = (0..self.conns.len()).filter(|conn| open(&self.conns[*conn])).collect();
        if conns.is_empty() {
            return;
        }
        let conn = conns[self.among(conns.len())];
        let client = self.conns[conn].client;
        let held = self.clients[client].locks.values().any(|l| l.phase == Phase::Held && l.home.conn == conn);
        self.count(fault, held);
        self.conns[conn].trouble = self.now;
        let ways = self.among(3);
        if fault == Fault::BlackHole {
            let span = self.span();
            self.block(conn, ways != 1, ways != 2);
            self.plan_in(span, Event::Mend { mend: Mend::BlackHole { conn } });
            return;
        }
        self.note("reset", [conn as u64, ways as u64, 0]);
        if self.options.on_disconnect(client) == OnDisconnect::Keep {
            // A proxy has closed it on both sides.
            self.send_up(conn, Up::Close);
            self.conns[conn].down.clear();
            self.send_down(conn, Down::Broken);
            return;
        }
        if ways != 1 {
            self.send_up(conn, Up::Reset);
        }
        if ways != 2 {
            self.conns[conn].down.clear();
            self.send_down(conn, Down::Broken);
        }
        if ways != 0 {
            // The half that is left says nothing more to nobody.
            self.block(conn, true, true);
        }
    }

    fn block(&mut self, conn: usize, up: bool, down: bool) {
        self.note("block", [conn as u64, up.into(), down.into()]);
        self.conns[conn].up.blocked |= up && self.conns[conn].client_open;
        self.conns[conn].down.blocked |= down;
        let after = self.ping_time() + self.choices.spread(1_000) * MS;
        self.plan_in(after, Event::Unanswered { conn });
    }

    fn break_client(&mut self, fault: Fault) {
        let client = self.among(self.options.clients);
        let now = self.now;
        let held = self.clients[client].believed(now).next().is_some();
        self.count(fault, held);
        if fault == Fault::ClientPause {
            if !self.clients[client].is_paused() {
                self.clients[client].pause += 1;
                let (pause, span) = (self.clients[client].pause, self.span());
                self.note("client stands still", [client as u64, span, 0]);
                self.plan_in(span, Event::ClientResume { client, pause });
            }
            return;
        }
        let way = self.among(3);
        self.replace_client(client, way);
    }

    /// Ends a client's process, and begins another. Its kernel closes its streams (0), resets them (1), or its machine is
    /// gone (2).
    pub fn replace_client(&mut self, client: usize, way: usize) {
        self.note("client dies", [client as u64, way as u64, 0]);
        let conns: Vec<usize> =
            self.clients[client].links.iter().filter(|(_, link)| link.open).map(|(conn, _)| *conn).collect();
        for conn in conns {
            self.conns[conn].client_open = false;
            match way {
                0 => self.send_up(conn, Up::Close),
                1 => self.send_up(conn, Up::Reset),
                _ => self.block(conn, true, true),
            }
            if way == 2 {
                self.conns[conn].up.blocked = true;
            }
        }
        let Client { clock, next_key, pause, .. } = self.clients[client];
        // The next one is of the same kind, or shipped clients would become fewer and fewer.
        let was_shipped = self.clients[client].shipped.is_some();
        let shipped = was_shipped.then(|| self.options.new_shipped(clock.at(self.now), &mut self.choices));
        let fresh =
            Client { next_key, shipped, pause: pause + 2 * (pause % 2), trouble: self.now, ..Client::new(clock) };
        let was_paused = self.clients[client].is_paused();
        self.clients[client] = fresh;
        if was_paused {
            self.clients[client].pause += 1;
            self.plan_in(MS, Event::Act { client });
        }
    }

    /// Ends a fault.
    pub fn mend(&mut self, mend: Mend) {
        self.note("mend", [0, 0, 0]);
        self.say(|| format!("{mend:?}"));
        match mend {
            Mend::Cut { broker, shard } => {
                self.brokers[broker].cut[shard] = false;
                self.machines[shard].trouble = self.now;
            }
            Mend::Uncertain { shard } => {
                self.machines[shard].uncertain = false;
                self.machines[shard].trouble = self.now;
            }
            Mend::Slow { shard } => {
                self.machines[shard].slow = false;
                self.machines[shard].trouble = self.now;
            }
            Mend::Full { shard } => {
                self.machines[shard].full = false;
                self.machines[shard].server.set_full(false);
                self.machines[shard].server.set_shared(false);
                self.machines[shard].trouble = self.now;
            }
            Mend::Stop { shard } => self.resume_server(shard),
            Mend::Down { shard } => {
                self.machines[shard].trouble = self.now;
                self.machines[shard].down = false;
            }
            Mend::BlackHole { conn } => {
                // A connection of which an end is gone stays as it is.
                if self.conns[conn].client_open && self.conns[conn].broker_open {
                    self.conns[conn].up.blocked = false;
                    self.conns[conn].down.blocked = false;
                    self.conns[conn].trouble = self.now;
                    self.plan(self.now, Event::Up { conn });
                    self.plan(self.now, Event::Down { conn });
                }
            }
        }
    }
}

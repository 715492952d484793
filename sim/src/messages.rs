//! The client's end of connections: what it makes of what it is told.

use lockbroker_core::lock::LeaseId;

use crate::client::{Kind, Link, Lock, Phase, Place};
use crate::event::Event;
use crate::net::{Down, News, Up};
use crate::time::{SEC, nanos};
use crate::world::{Asked, CallUnderWay, World};

impl World {
    /// Takes what has arrived at the client's end.
    pub fn down(&mut self, conn: usize) {
        let client = self.conns[conn].client;
        if self.clients[client].is_paused() {
            // It is looked at again when the client goes on.
            return;
        }
        while let Some(message) = self.conns[conn].down.pop(self.now) {
            if self.conns[conn].client_open && self.clients[client].links.contains_key(&conn) {
                self.note("down", [conn as u64, client as u64, 0]);
                self.say(|| format!("{message:?}"));
                self.hear(client, conn, message);
            }
        }
    }

    fn hear(&mut self, client: usize, conn: usize, message: Down) {
        if self.clients[client].shipped.is_some() {
            return self.client_hears(client, conn, message);
        }
        match message {
            Down::Opened { ttl, expires } => {
                let Some(session) = self.clients[client].links.get_mut(&conn).and_then(|link| link.session_mut())
                else {
                    return;
                };
                let sent = session.beats.get(&0).copied().unwrap_or(0);
                session.opened = true;
                session.ttl = ttl;
                session.covered_until = sent + expires;
                session.next_beat = sent + ttl / 3;
            }
            Down::Ack { seq, expires, not_renewed } => self.acked(client, conn, seq, expires, &not_renewed),
            Down::Draining => {
                if let Some(link) = self.clients[client].links.get_mut(&conn) {
                    link.draining = true;
                }
            }
            Down::Lock(lock_ref, news) => self.news(client, Place { conn, lock_ref }, news),
            Down::End | Down::Broken => self.broken(client, conn),
        }
    }

    fn acked(&mut self, client: usize, conn: usize, seq: i64, expires: u64, not_renewed: &[i64]) {
        let client = &mut self.clients[client];
        let Some(session) = client.links.get_mut(&conn).and_then(|link| link.session_mut()) else { return };
        let Some(sent) = session.beats.get(&seq).copied().filter(|_| seq >= session.acked) else { return };
        session.acked = seq;
        session.beats.retain(|number, _| *number >= seq);
        session.covered_until = sent + expires;
        let until = session.covered_until;
        for lock in client.locks.values_mut() {
            let here = lock.home.conn == conn && lock.phase == Phase::Held && !lock.settled;
            if here && !not_renewed.contains(&lock.home.lock_ref) && lock.until > client.clock.at(self.now) {
                lock.until = until;
            }
        }
    }

    /// Returns until when a lock is valid that is granted at a place now.
    fn valid_until(&self, client: usize, place: Place, expires: u64) -> u64 {
        match self.clients[client].links.get(&place.conn).map(|link| &link.kind) {
            Some(Kind::Alone { sent }) => sent + expires,
            Some(Kind::Session(session)) => session.covered_until,
            Some(Kind::Shipped) | None => 0,
        }
    }

    fn news(&mut self, client: usize, place: Place, news: News) {
        let Some(key) = self.clients[client].lock_at(place) else { return };
        let local = self.clients[client].clock.at(self.now);
        let Some(lock) = self.clients[client].locks.get(&key).cloned() else { return };
        let moving = lock.moving == Some(place);
        match news {
            News::Acquired { lock_id, expires } => {
                let until = self.valid_until(client, place, expires);
                let in_time = until > local && (lock.phase == Phase::Asked || lock.until > local);
                self.report.grants += u64::from(lock.phase == Phase::Asked);
                self.report.moves += u64::from(lock.phase != Phase::Asked);
                if !in_time {
                    return self.forget(client, key);
                }
                if let Some(old) = lock.id.filter(|_| moving) {
                    self.check.lineage.entry(lock_id.grant.get()).or_insert(old.grant.get());
                }
                if let Some(lock) = self.clients[client].locks.get_mut(&key) {
                    let home = lock.home;
                    (lock.phase, lock.id, lock.until) = (Phase::Held, Some(lock_id), until);
                    (lock.home, lock.moving, lock.settled) = (place, None, false);
                    if std::mem::take(&mut lock.downgrading) && lock_id.permit.is_none() {
                        // There was no permit to be had: it has the lock alone, as before.
                        lock.limit = None;
                    }
                    // A lease that is moved is held on its new stream.
                    lock.lease &= !moving;
                    lock.renew_at = local + nanos(lock.ttl) / 3;
                    // The old place is forgotten: that broker finds out by itself, or is told.
                    if moving && home != place && self.among(2) == 1 {
                        self.give_up_place(client, home);
                    }
                }
            }
            News::Renewed { expires } => {
                let until = self.valid_until(client, place, expires);
                if let Some(lock) = self.clients[client].locks.get_mut(&key).filter(|lock| lock.home == place)
                    && lock.phase == Phase::Held
                    && !lock.settled
                    && lock.until > local
                {
                    lock.until = until;
                }
            }
            // Stubs ask for one alone.
            News::Queued | News::AllAcquired(_) => {}
            News::Failed if moving => {
                if let Some(lock) = self.clients[client].locks.get_mut(&key) {
                    lock.moving = None;
                }
            }
            News::NotAcquired | News::Lost | News::Released | News::Failed => {
                self.ended(client, key, &lock, moving, &news);
            }
        }
    }

    fn ended(&mut self, client: usize, key: u64, lock: &Lock, moving: bool, news: &News) {
        if !moving && lock.moving.is_some() {
            // The reattach makes the old broker lose the lock: the answer to it decides.
            if let Some(lock) = self.clients[client].locks.get_mut(&key) {
                lock.settled = true;
            }
            return;
        }
        if lock.phase == Phase::Held && matches!(news, News::Lost) {
            self.report.lost += 1;
            self.check_cause(client, lock, "told that it is lost");
        }
        if lock.phase == Phase::Held && moving {
            self.give_up_place(client, lock.home);
        }
        self.clients[client].locks.remove(&key);
    }

    /// Takes a stream as ended against the client's will.
    fn broken(&mut self, client: usize, conn: usize) {
        self.conns[conn].client_open = false;
        // Its kernel answers with a reset, if anything comes through.
        self.plan_in(self.ping_time(), Event::Unanswered { conn });
        let client = &mut self.clients[client];
        if let Some(link) = client.links.get_mut(&conn) {
            link.open = false;
        }
        client.locks.retain(|_, lock| lock.phase != Phase::Asked || lock.home.conn != conn);
        for lock in client.locks.values_mut() {
            if lock.moving.is_some_and(|place| place.conn == conn) {
                lock.moving = None;
            }
            if lock.home.conn == conn && !lock.lease {
                lock.phase = Phase::Broken;
            }
        }
    }

    /// Gives a lock up wherever it is, and believes in it no more.
    pub fn forget(&mut self, client: usize, key: u64) {
        let Some(lock) = self.clients[client].locks.remove(&key) else { return };
        self.give_up_place(client, lock.home);
        if let Some(place) = lock.moving {
            self.give_up_place(client, place);
        }
    }

    /// Tells the broker at a place that the lock there, or the wait for it, is not wanted any more.
    pub fn give_up_place(&mut self, client: usize, place: Place) {
        let Some(link) = self.clients[client].links.get_mut(&place.conn).filter(|link| link.open) else { return };
        match &link.kind {
            Kind::Session(session) if session.mute => {}
            Kind::Shipped => {}
            Kind::Session(_) => self.send_up(place.conn, Up::End(place.lock_ref)),
            Kind::Alone { .. } => {
                link.open = false;
                self.conns[place.conn].client_open = false;
                self.send_up(place.conn, Up::Close);
            }
        }
    }

    /// Lets a client go on that stood still.
    pub fn client_resume(&mut self, client: usize, pause: u32) {
        if self.clients[client].pause != pause || !self.clients[client].is_paused() {
            return;
        }
        self.clients[client].pause += 1;
        self.clients[client].trouble = self.now;
        self.note("client goes on", [client as u64, 0, 0]);
        let conns: Vec<usize> = self.clients[client].links.keys().copied().collect();
        for conn in conns {
            self.plan(self.now, Event::Down { conn });
        }
        self.client_goes_on(client);
        self.plan(self.now, Event::Act { client });
    }

    /// Takes the answer to a call: the client ends the lock on its stream too.
    pub fn called(&mut self, call: u64, done: bool) {
        let Some(call) = self.calls.remove(&call) else { return };
        self.note("called", [call.client as u64, call.name as u64, done.into()]);
        if let (Asked::Renew(lease), Some(key)) = (call.asked, call.key) {
            return self.lease_renewed(&call, key, lease);
        }
        if let Some(key) = call.key {
            return self.client_called(call.client, key, done);
        }
        if let Some(home) = call.home {
            self.give_up_place(call.client, home);
        }
    }

    /// Takes what the renewal of a lease came to: for what it says, however late.
    fn lease_renewed(&mut self, call: &CallUnderWay, key: u64, lease: LeaseId) {
        if !self.clients[call.client].alive || self.clients[call.client].is_paused() {
            return;
        }
        let local = self.clients[call.client].clock.at(self.now);
        let lock = self.clients[call.client].locks.get_mut(&key);
        let Some(lock) = lock.filter(|lock| lock.lease && lock.id == Some(lease.lock)) else { return };
        match call.renewed {
            Some(Some(expires)) => lock.until = lock.until.max(call.sent + expires),
            Some(None) => {
                let (lock, was_valid) = (lock.clone(), lock.until > local);
                self.clients[call.client].locks.remove(&key);
                self.report.lost += 1;
                let since = crate::time::nanos(lock.ttl) + 3 * SEC;
                let spot = self.spot_of(lock.name, lock.permit());
                let is_well = self.is_well(self.shard_of(spot), since) && self.check.moved[spot] + since < self.now;
                if was_valid && is_well {
                    self.check.fail(format!("client {} lost the lease of n{} without a cause", call.client, lock.name));
                }
            }
            None => {}
        }
    }

    /// Returns true if nothing went wrong lately between a client and its broker that could have cost it a message.
    pub fn is_heard(&self, client: usize, lock: &Lock) -> bool {
        if self.options.dawdle > 0 || self.options.tick > 300_000_000 || self.conns[lock.home.conn].late {
            return false;
        }
        let conn = &self.conns[lock.home.conn];
        let blocked = conn.up.blocked || conn.down.blocked;
        let trouble = [
            if blocked { self.now } else { conn.trouble },
            if self.clients[client].is_paused() { self.now } else { self.clients[client].trouble },
            self.broker_trouble(conn.broker),
            self.check.moved[self.spot_of(lock.name, lock.permit())],
        ];
        // A lock that was reattached has the ttl of the Session to which it came.
        let session = self.clients[client].links.get(&lock.home.conn).and_then(Link::session);
        let since = session.map_or(0, |session| session.ttl).max(nanos(lock.ttl)) + 3 * SEC;
        self.now > since && trouble.iter().all(|at| *at + since < self.now)
    }

    /// Returns true if nothing went wrong lately between the brokers and a shard.
    pub fn is_well(&mut self, shard: usize, since: u64) -> bool {
        if self.options.spares > 0 {
            return self.are_well(shard, since);
        }
        let cut = self.brokers.iter().any(|node| node.cut[shard]);
        let open = self.is_open(shard);
        let shard = &self.machines[shard];
        let stopped = shard.down || shard.server.clock().is_stopped();
        let busy = shard.slow || shard.uncertain || shard.full || stopped || !open || cut;
        !busy && self.now > since && shard.trouble + since < self.now
    }

    /// Fails if a client has lost its lock without a cause.
    pub fn check_cause(&mut self, client: usize, lock: &Lock, how: &str) {
        if self.is_without_cause(client, lock) {
            self.check.fail(format!("client {client} lost n{} without a cause: {how}", lock.name));
        }
    }

    /// Returns true if nothing is known for which a lock can have been lost.
    pub fn is_without_cause(&mut self, client: usize, lock: &Lock) -> bool {
        let since = crate::time::nanos(lock.ttl) + 3 * SEC;
        self.is_heard(client, lock) && self.is_well(self.shard_of(lock.name), since)
    }
}

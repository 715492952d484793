//! What clients do: ask, hold, let go, move, and be odd.

use std::collections::BTreeMap;
use std::time::Duration;

use lockbroker_core::lock::{LeaseId, Owner};
use lockbroker_core::request::{Access, LockRequest, Mode};

use crate::brokers::ACCOUNT;
use crate::client::{Kind, Link, Lock, Phase, Place, Session, Value};
use crate::event::Event;
use crate::net::{Conn, Down, Up};
use crate::time::{MS, SEC, nanos};
use crate::world::{Asked, CallUnderWay, PERMITS, World};

/// The most locks that a client has at a time.
const MOST: usize = 4;

impl World {
    /// Lets a client act, and plans when it does so again.
    pub fn act(&mut self, client: usize) {
        if self.clients[client].is_paused() || !self.clients[client].alive {
            return;
        }
        if self.clients[client].shipped.is_some() {
            self.act_shipped(client);
            let tick = self.options.tick;
            return self.plan_in(tick, Event::Act { client });
        }
        self.ask_for_probe(client);
        self.expire(client);
        self.beat(client);
        self.reattach_what_broke(client);
        self.renew_leases(client);
        self.let_go(client);
        self.close_idle(client);
        if !self.calm {
            self.do_something(client);
        }
        let tick = self.options.tick;
        self.plan_in(tick, Event::Act { client });
    }

    /// Loses what has run out.
    fn expire(&mut self, client: usize) {
        let local = self.clients[client].clock.at(self.now);
        // Those who have a lease may try to renew it when it is too late.
        let over = |lock: &Lock| lock.phase != Phase::Asked && lock.until <= local && !lock.lease;
        let keys: Vec<u64> =
            self.clients[client].locks.iter().filter(|(_, lock)| over(lock)).map(|(key, _)| *key).collect();
        for key in keys {
            let lock = self.clients[client].locks[&key].clone();
            if lock.phase == Phase::Held {
                self.report.ran_out += 1;
                // Whatever became of the lock, that was to be told before.
                if !lock.settled && self.is_heard(client, &lock) {
                    self.check.fail(format!("client {client} was not told that it lost n{}", lock.name));
                }
            }
            self.forget(client, key);
        }
    }

    /// Renews leases, at any broker.
    fn renew_leases(&mut self, client: usize) {
        let local = self.clients[client].clock.at(self.now);
        let due = |lock: &&mut Lock| {
            lock.lease && lock.phase == Phase::Held && lock.moving.is_none() && lock.renew_at <= local
        };
        let mut renewals = Vec::new();
        for (key, lock) in
            self.clients[client].locks.iter_mut().map(|(key, lock)| (*key, lock)).filter(|(_, lock)| due(lock))
        {
            lock.renew_at = local + nanos(lock.ttl) / 3;
            renewals.extend(lock.id.map(|id| (key, lock.name, LeaseId { lock: id, ttl: lock.ttl })));
        }
        for (key, name, lease) in renewals {
            let call = self.make_call(client, name, Asked::Renew(lease), None);
            if let Some(call) = self.calls.get_mut(&call) {
                call.key = Some(key);
            }
        }
    }

    fn beat(&mut self, client: usize) {
        let local = self.clients[client].clock.at(self.now);
        let mut beats = Vec::new();
        for (conn, link) in &mut self.clients[client].links {
            let open = link.open;
            let Some(session) = link.session_mut() else { continue };
            if open && session.opened && !session.mute && local >= session.next_beat {
                session.last_seq += 1;
                session.beats.insert(session.last_seq, local);
                session.next_beat = local + session.ttl / 3;
                beats.push((*conn, session.last_seq));
            }
        }
        for (conn, seq) in beats {
            self.send_up(conn, Up::Heartbeat(seq));
        }
    }

    /// Asks for the reattach of what is on a stream that has ended, or whose broker goes away.
    fn reattach_what_broke(&mut self, client: usize) {
        let links = &self.clients[client].links;
        let leaves = |lock: &Lock| {
            let draining = links.get(&lock.home.conn).is_some_and(|link| link.draining);
            lock.moving.is_none() && (lock.phase == Phase::Broken || (lock.phase == Phase::Held && draining))
        };
        let keys: Vec<u64> =
            self.clients[client].locks.iter().filter(|(_, lock)| leaves(lock)).map(|(key, _)| *key).collect();
        for key in keys {
            self.reattach(client, key);
        }
    }

    /// Asks for the reattach of a lock on another stream.
    pub fn reattach(&mut self, client: usize, key: u64) {
        let Some(lock) = self.clients[client].locks.get(&key).cloned() else { return };
        let Some(id) = lock.id else { return };
        let alone = self.choices.spread(10) < self.options.alone;
        let conn = match self.clients[client].session().filter(|conn| *conn != lock.home.conn && !alone) {
            Some(conn) => Some(conn),
            None if alone => None,
            None => Some(self.open_session(client, lock.ttl)),
        };
        let mut lock = lock;
        let is_alone = lock.limit.is_none() && lock.phase == Phase::Held && lock.min_hold.is_zero();
        if self.options.shares > 0 && is_alone && self.among(2) == 1 {
            // It shares the lock from when it asks.
            (lock.limit, lock.downgrading) = (Some(PERMITS as u16), true);
            self.check.downgraded.insert(id.grant.get());
        }
        let place = self.begin(client, conn, &lock, Mode::Reattach(id));
        self.moves(lock.name);
        if let Some(known) = self.clients[client].locks.get_mut(&key) {
            (known.limit, known.downgrading, known.moving) = (lock.limit, lock.downgrading, Some(place));
        }
    }

    /// Takes note that a lock, or a permit of it, is moved or released by a call now.
    pub fn moves(&mut self, name: usize) {
        let now = self.now;
        self.rivals(name).for_each(|spot| self.check.moved[spot] = now);
    }

    fn let_go(&mut self, client: usize) {
        let local = self.clients[client].clock.at(self.now);
        let done = |lock: &Lock| lock.phase == Phase::Held && lock.let_go <= local;
        let keys: Vec<u64> =
            self.clients[client].locks.iter().filter(|(_, lock)| done(lock)).map(|(key, _)| *key).collect();
        for key in keys {
            let by_call = match self.clients[client].locks.get(&key).is_some_and(|lock| lock.lease) {
                true => self.among(2) == 1,
                false => self.options.moves && self.among(4) == 3,
            };
            match by_call {
                true => self.release_by_call(client, key),
                false => self.forget(client, key),
            }
        }
    }

    /// Closes Sessions that have no lock any more and take none, and forgets streams that have ended.
    fn close_idle(&mut self, client: usize) {
        let used: Vec<usize> = self.clients[client]
            .locks
            .values()
            .flat_map(|lock| [Some(lock.home.conn), lock.moving.map(|place| place.conn)])
            .flatten()
            .collect();
        let mute = |link: &Link| link.session().is_some_and(|session| session.mute);
        let idle = |conn: &usize, link: &Link| !used.contains(conn) && (!link.open || (link.draining && !mute(link)));
        let conns: Vec<usize> =
            self.clients[client].links.iter().filter(|(conn, link)| idle(conn, link)).map(|(conn, _)| *conn).collect();
        for conn in conns {
            if let Some(link) = self.clients[client].links.remove(&conn)
                && link.open
            {
                self.conns[conn].client_open = false;
                self.send_up(conn, Up::Close);
            }
        }
    }

    fn do_something(&mut self, client: usize) {
        match self.choices.spread(if self.options.rude { 12 } else { 6 }) {
            1..=3 if self.clients[client].locks.len() < MOST => self.want(client),
            4 if self.options.moves => {
                if let Some(key) = self.pick_lock(client, |lock| lock.phase == Phase::Held && lock.moving.is_none()) {
                    self.reattach(client, key);
                }
            }
            5 => self.cancel(client),
            6 => self.mute(client),
            7 if self.odd(200_000) => self.break_rules(client),
            8 if self.odd(200_000) => self.half_close(client),
            9 => {
                // In mid-reattach too.
                if let Some(key) = self.pick_lock(client, |lock| lock.moving.is_some()) {
                    self.forget(client, key);
                }
            }
            10 => self.look(client),
            11 => self.leave_new_place(client),
            0 if self.options.leads > 0 => self.observe_or_update(client),
            _ => {}
        }
    }

    pub fn pick_lock(&mut self, client: usize, like: impl Fn(&Lock) -> bool) -> Option<u64> {
        let keys: Vec<u64> =
            self.clients[client].locks.iter().filter(|(_, lock)| like(lock)).map(|(key, _)| *key).collect();
        let at = self.among(keys.len());
        keys.get(at).copied()
    }

    /// Asks for a lock.
    fn want(&mut self, client: usize) {
        let name = self.among(self.options.names);
        let ttl = self.options.ttls[self.choices.spread(self.options.ttls.len() as u64) as usize];
        let linger = self.options.lingers[self.choices.spread(self.options.lingers.len() as u64) as usize];
        let min_hold = match &self.options.min_holds[..] {
            [one] => *one,
            several => several[self.choices.spread(several.len() as u64) as usize],
        };
        let mode = match self.choices.spread(10) < self.options.waits {
            false => Mode::Once,
            true => Mode::Wait {
                max_wait: [None, Some(3_000), Some(300), Some(0), Some(20_000)][self.among(5)]
                    .map(Duration::from_millis),
                poll_interval: [None, Some(50), Some(700)][self.among(3)].map(Duration::from_millis),
            },
        };
        let alone = self.choices.spread(10) < self.options.alone;
        let conn = if alone { None } else { Some(self.a_session(client, ttl)) };
        let local = self.clients[client].clock.at(self.now);
        let ttl = conn.map_or(ttl, |conn| self.ttl_of(client, conn));
        let hold = self.choices.spread(self.options.hold / MS) * MS;
        let lease = conn.is_none() && self.choices.spread(10) < self.options.leases;
        let shares = self.options.shares > 0 && self.choices.spread(10) < self.options.shares;
        let limit = shares.then(|| 1 + self.choices.spread(PERMITS as u64) as u16);
        // Of several permits it gets one here: the shipped client takes all.
        let weight = match limit {
            Some(limit @ 2..) if self.choices.spread(10) < self.options.collects => limit as u8,
            _ => 1,
        };
        let wanted = Lock::wanted(name, ttl, linger);
        let leads = self.options.leads > 0 && limit.is_none() && !lease && self.choices.spread(10) < self.options.leads;
        let value = leads.then(|| self.check.campaigns.begin());
        let mut lock = Lock { let_go: local + hold, lease, min_hold, limit, weight, value, ..wanted };
        lock.home = self.begin(client, conn, &lock, mode);
        let client = &mut self.clients[client];
        client.next_key += 1;
        client.locks.insert(client.next_key, lock);
    }

    fn a_session(&mut self, client: usize, ttl: Duration) -> usize {
        match self.clients[client].session() {
            Some(conn) => conn,
            None => self.open_session(client, ttl),
        }
    }

    fn ttl_of(&self, client: usize, conn: usize) -> Duration {
        let session = self.clients[client].links.get(&conn).and_then(Link::session);
        Duration::from_nanos(session.map_or(0, |session| session.ttl))
    }

    /// Asks for a lock on a Session, or on a new stream of its own.
    pub fn begin(&mut self, client: usize, conn: Option<usize>, lock: &Lock, mode: Mode) -> Place {
        let ttl = conn.map_or(lock.ttl, |conn| self.ttl_of(client, conn));
        let request = LockRequest {
            name: self.names[lock.name].clone(),
            ttl,
            linger: lock.linger,
            min_hold: lock.min_hold,
            owner: owner_of(client),
            value: lock.value.filter(|_| lock.limit.is_none()).map(Value::text),
            access: lock.limit.map_or(Access::Alone, |limit| Access::Shared { limit, weight: lock.weight }),
            mode,
            account: Some(ACCOUNT),
            on_disconnect: self.options.on_disconnect(client),
        };
        let Some(conn) = conn else {
            let conn = self.connect(client);
            let sent = self.clients[client].clock.at(self.now);
            self.clients[client].links.insert(conn, Link { kind: Kind::Alone { sent }, open: true, draining: false });
            let is_lease = lock.lease && !matches!(mode, Mode::Reattach(_));
            self.conns[conn].is_lease = is_lease;
            self.send_up(conn, if is_lease { Up::Lease(request) } else { Up::Alone(request) });
            return Place { conn, lock_ref: 0 };
        };
        let session = self.clients[client].links.get_mut(&conn).and_then(Link::session_mut);
        let lock_ref = session.map_or(1, |session| {
            session.last_ref += 1;
            session.last_ref
        });
        self.send_up(conn, Up::Begin(lock_ref, request));
        Place { conn, lock_ref }
    }

    /// Opens a Session at some broker.
    pub fn open_session(&mut self, client: usize, ttl: Duration) -> usize {
        let conn = self.connect(client);
        let local = self.clients[client].clock.at(self.now);
        let session = Session {
            ttl: nanos(ttl),
            opened: false,
            beats: BTreeMap::from([(0, local)]),
            last_seq: 0,
            acked: 0,
            last_ref: 0,
            next_beat: 0,
            covered_until: 0,
            mute: false,
        };
        let kind = Kind::Session(Box::new(session));
        self.clients[client].links.insert(conn, Link { kind, open: true, draining: false });
        self.send_up(conn, Up::Open { ttl: nanos(ttl) });
        conn
    }

    fn connect(&mut self, client: usize) -> usize {
        let broker = self.among(self.options.brokers);
        let conn = self.conns.len();
        self.conns.push(Conn::new(client, broker, self.brokers[broker].life));
        self.note("connect", [client as u64, broker as u64, conn as u64]);
        if self.brokers[broker].core.is_none() {
            self.conns[conn].broker_open = false;
            self.send_down(conn, Down::Broken);
        }
        conn
    }

    fn release_by_call(&mut self, client: usize, key: u64) {
        let Some(lock) = self.clients[client].locks.remove(&key) else { return };
        let Some(id) = lock.id else { return };
        self.moves(lock.name);
        if let Some(place) = lock.moving {
            self.give_up_place(client, place);
        }
        self.make_call(client, lock.name, Asked::Release(id), Some(lock.home));
    }

    pub fn make_call(&mut self, client: usize, name: usize, asked: Asked, home: Option<Place>) -> u64 {
        let broker = self.among(self.options.brokers);
        self.next_call += 1;
        let call = self.next_call;
        let sent = self.clients[client].clock.at(self.now);
        let under_way = CallUnderWay { client, broker, name, asked, home, key: None, sent, arrived: 0, renewed: None };
        self.calls.insert(call, under_way);
        let delay = self.delay();
        self.plan_in(delay, Event::Call { call });
        call
    }

    fn look(&mut self, client: usize) {
        let Some(key) = self.pick_lock(client, |lock| lock.id.is_some()) else { return };
        let lock = &self.clients[client].locks[&key];
        if let Some(id) = lock.id {
            self.make_call(client, lock.name, Asked::Look(id), None);
        }
    }

    /// Looks at who leads, or changes the value with which this one does.
    fn observe_or_update(&mut self, client: usize) {
        let leads = |lock: &Lock| lock.phase == Phase::Held && lock.limit.is_none() && lock.value.is_some();
        if let Some(key) = self.pick_lock(client, leads).filter(|_| self.among(3) > 0)
            && let Some(lock) = self.clients[client].locks.get_mut(&key)
            && let (Some(id), Some(value)) = (lock.id, lock.value)
        {
            let (name, value) = (lock.name, self.check.campaigns.update(value));
            lock.value = Some(value);
            self.make_call(client, name, Asked::Update(id, value), None);
            return;
        }
        let name = self.among(self.options.names);
        let known = self.check.campaigns.last_seen(client, name);
        self.make_call(client, name, Asked::Observe(known), None);
    }

    /// Lets an operator revoke a lock, and plans when that is done again.
    pub fn revoke(&mut self) {
        if self.calm {
            return;
        }
        let name = self.among(self.options.names);
        self.check.moved[name] = self.now;
        self.make_call(0, name, Asked::Revoke, None);
        if let Some(every) = self.options.revokes_every {
            let next = every / 2 + self.choices.spread(every / MS) * MS;
            self.plan_in(next, Event::Revoke);
        }
    }

    fn cancel(&mut self, client: usize) {
        if let Some(key) = self.pick_lock(client, |lock| lock.phase == Phase::Asked) {
            self.forget(client, key);
        }
    }

    /// Says nothing more on a Session, and believes on.
    fn mute(&mut self, client: usize) {
        if let Some(conn) = self.clients[client].session().filter(|_| self.odd(50_000)) {
            self.clients[client].trouble = self.now + 20 * SEC;
            if let Some(session) = self.clients[client].links.get_mut(&conn).and_then(Link::session_mut) {
                session.mute = true;
            }
        }
    }

    /// Sends what no client may send.
    fn break_rules(&mut self, client: usize) {
        let Some(conn) = self.clients[client].session() else { return };
        self.clients[client].trouble = self.now + 20 * SEC;
        let message = if self.among(2) == 0 { Up::Heartbeat(0) } else { Up::End(99_999) };
        self.send_up(conn, message);
    }

    /// Closes a Session with all its locks.
    fn half_close(&mut self, client: usize) {
        let Some(conn) = self.clients[client].session() else { return };
        let here = |place: Place| place.conn == conn;
        let keys: Vec<u64> = self.clients[client]
            .locks
            .iter()
            .filter(|(_, lock)| here(lock.home) || lock.moving.is_some_and(here))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            if let Some(lock) = self.clients[client].locks.remove(&key) {
                let other = [Some(lock.home), lock.moving].into_iter().flatten().find(|place| !here(*place));
                if let Some(place) = other {
                    self.give_up_place(client, place);
                }
            }
        }
        if let Some(link) = self.clients[client].links.get_mut(&conn) {
            link.draining = true;
        }
        self.send_up(conn, Up::HalfClose);
    }

    /// Falls silent on the stream where a reattach is under way, and goes on where it was.
    fn leave_new_place(&mut self, client: usize) {
        let Some(key) = self.pick_lock(client, |lock| lock.moving.is_some()) else { return };
        let Some(place) = self.clients[client].locks.get_mut(&key).and_then(|lock| lock.moving.take()) else { return };
        let Some(link) = self.clients[client].links.get_mut(&place.conn) else { return };
        match &mut link.kind {
            Kind::Alone { .. } => {
                link.open = false;
                self.conns[place.conn].client_open = false;
                self.send_up(place.conn, Up::Reset);
            }
            Kind::Shipped => {}
            Kind::Session(session) => {
                session.mute = true;
                self.clients[client].trouble = self.now + 20 * SEC;
            }
        }
    }
}

/// Returns the label of a client. Every other one has one.
pub(crate) fn owner_of(client: usize) -> Owner {
    let label = if client % 2 == 1 { format!("c{client}") } else { String::new() };
    Owner::new(&label).expect("it is short")
}

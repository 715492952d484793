//! Clients that are the shipped one: the core of the Rust client, and what its task does around it. What the task would
//! publish to a guard is what the client believes.

use std::collections::BTreeMap;
use std::time::Duration;

use lockbroker_client::clock::Moment;
use lockbroker_client::core::{
    Access as Wanted, Core, Event as LockEvent, Failure, Granted, Input, Key, LinkId, LockSpec, Message, Output,
    Refusal, RefusalReason, Request, Settings, Wait, WaitLeft,
};

use lockbroker_core::request::{Access, LockRequest, Mode};

use crate::choices::Choices;
use crate::client::{Client, Kind, Link, Lock, Phase, Place};
use crate::event::Event;
use crate::net::{Conn, Down, News, Up};
use crate::time::{MS, SEC};
use crate::world::{Asked, PERMITS, World};

/// The most locks that a client has, or asks for, at a time.
const MOST: usize = 4;
/// The client's default for how long it waits for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The core of a shipped client, and what its task keeps.
#[derive(Debug)]
pub struct Shipped {
    core: Core,
    /// The ttl of its Sessions, in nanoseconds.
    ttl: u64,
    /// The connections that it is making, or has made.
    conns: BTreeMap<LinkId, usize>,
    /// When its core is called next.
    due: Option<Moment>,
    /// The dials that ended while it stood still.
    dialled: Vec<usize>,
    /// Where it has heard last of a lock.
    heard: Place,
    /// The names of the locks that it wants together with another.
    also: BTreeMap<Key, Vec<usize>>,
}

impl Shipped {
    /// Makes one that has nothing, by a clock that shows `now`.
    pub fn new(brokers: usize, ttl: Duration, now: u64, choices: &mut Choices) -> Shipped {
        let endpoints = (0..brokers).map(|broker| format!("broker {broker}")).collect();
        let settings = Settings { endpoints, answer_timeout: ANSWER_TIMEOUT };
        let mut own = Choices::seeded(choices.spread(1 << 16), 0);
        let chance = Box::new(move || own.spread(1 << 16) as f64 / f64::from(1 << 16));
        let core = Core::new(settings, chance, Moment::from_nanos(now));
        let ttl = crate::time::nanos(ttl);
        Shipped {
            core,
            ttl,
            conns: BTreeMap::new(),
            due: None,
            dialled: Vec::new(),
            heard: Place { conn: 0, lock_ref: 0 },
            also: BTreeMap::new(),
        }
    }

    fn link_of(&self, conn: usize) -> Option<LinkId> {
        self.conns.iter().find(|(_, of)| **of == conn).map(|(link, _)| *link)
    }
}

impl World {
    /// Tells a shipped client's core what has happened, and does what it says.
    fn tell(&mut self, client: usize, input: Input) {
        let now = Moment::from_nanos(self.clients[client].clock.at(self.now));
        let Some(shipped) = &mut self.clients[client].shipped else { return };
        // These change what all locks of a stream may believe in.
        let concerns_all =
            matches!(input, Input::Ended { .. } | Input::Message { message: Message::HeartbeatAck { .. }, .. });
        let outputs = shipped.core.handle(now, input);
        for output in outputs {
            self.say(|| format!("client {client}: {}", told(&output)));
            self.carry_out_of_client(client, output);
        }
        if concerns_all {
            let keys: Vec<Key> = self.clients[client].locks.keys().copied().collect();
            keys.into_iter().for_each(|key| self.publish(client, key));
        }
        self.plan_client(client);
    }

    fn plan_client(&mut self, client: usize) {
        let Some(shipped) = &mut self.clients[client].shipped else { return };
        let Some(due) = shipped.core.due().filter(|due| shipped.due.is_none_or(|planned| *due < planned)) else {
            return;
        };
        shipped.due = Some(due);
        let at = self.clients[client].clock.when(due.nanos());
        let late = self.lateness(400);
        self.plan(at + late, Event::ClientDue { client, due });
    }

    /// Calls a shipped client's core, if its time has come: `due` is what was planned last.
    pub fn client_due(&mut self, client: usize, due: Moment) {
        if self.clients[client].is_paused() {
            return;
        }
        let shipped = self.clients[client].shipped.as_mut();
        if let Some(shipped) = shipped.filter(|shipped| shipped.due == Some(due)) {
            shipped.due = None;
            self.tell(client, Input::Timeout);
        }
    }

    fn carry_out_of_client(&mut self, client: usize, output: Output) {
        match output {
            Output::Dial { link, endpoint } => self.client_dials(client, link, endpoint),
            Output::Send { link, request } => self.client_sends(client, link, request),
            Output::Hangup { link } => self.client_hangs_up(client, link),
            Output::Granted { key, .. } => {
                self.report.grants += 1;
                self.report.shipped += 1;
                self.publish_at(client, key);
            }
            Output::Moved { key, .. } => {
                self.report.moves += 1;
                self.publish_at(client, key);
            }
            Output::Lost { key, .. } => {
                self.report.lost += 1;
                let mut locks = self.forget_all(client, key);
                locks.retain(|lock| lock.phase == Phase::Held);
                // Of several, one had a cause.
                let has_cause = locks.iter().any(|lock| !self.is_without_cause(client, lock));
                if let Some(lock) = locks.first().filter(|_| !has_cause) {
                    self.check_cause(client, lock, "its core says so");
                }
            }
            Output::Refused { key, .. } | Output::Failed { key, .. } | Output::Released { key } => {
                self.forget_all(client, key);
            }
            // Nothing here keeps a broker from it for good.
            Output::NotShared { key, .. } => self.check.fail(format!("client {client} may not share its lock {key}")),
            Output::ReleaseElsewhere { key, name, lock_id } => {
                let name = self.names.iter().position(|known| known.as_str() == name).expect("it asked for it");
                self.moves(name);
                let id = lock_id.parse().expect("a broker has told it");
                let call = self.make_call(client, name, Asked::Release(id), None);
                if let Some(call) = self.calls.get_mut(&call) {
                    call.key = Some(key);
                }
                // The client waits no longer than this.
                self.plan_in(3 * SEC, Event::Called { call, done: false });
            }
        }
    }

    /// Forgets a lock, and those that were wanted together with it. Returns them.
    fn forget_all(&mut self, client: usize, key: Key) -> Vec<Lock> {
        let Client { locks, shipped, .. } = &mut self.clients[client];
        let also = shipped.as_mut().and_then(|shipped| shipped.also.remove(&key)).unwrap_or_default();
        let keys = std::iter::once(key).chain((0..also.len()).map(|place| member_key(key, place)));
        keys.filter_map(|key| locks.remove(&key)).collect()
    }

    /// Does the same for a lock that is held from now on where the client has just heard of it.
    fn publish_at(&mut self, client: usize, key: Key) {
        self.publish(client, key);
        let Client { locks, shipped, .. } = &mut self.clients[client];
        if let (Some(lock), Some(shipped)) = (locks.get_mut(&key), shipped) {
            lock.home = shipped.heard;
        }
    }

    /// Tells a guard for how long its lock is valid.
    fn publish(&mut self, client: usize, key: Key) {
        let Some(shipped) = &self.clients[client].shipped else { return };
        let Some(held) = shipped.core.held(key) else { return };
        let Some(lock) = self.clients[client].locks.get_mut(&key) else { return };
        lock.phase = if held.is_broken { Phase::Broken } else { Phase::Held };
        lock.id = held.lock_id.parse().ok();
        lock.until = held.until.nanos();
        lock.downgrading &= held.permit.is_none();
        let lock = lock.clone();
        let also = shipped_names(&self.clients[client], key);
        for ((place, name), id) in also.into_iter().enumerate().zip(&held.also) {
            // Its program lets go of all together.
            let member = Lock { name, id: id.parse().ok(), let_go: u64::MAX, ..lock.clone() };
            self.clients[client].locks.insert(member_key(key, place), member);
        }
    }

    fn client_dials(&mut self, client: usize, link: LinkId, broker: usize) {
        let conn = self.conns.len();
        self.conns.push(Conn::new(client, broker, self.brokers[broker].life));
        self.note("dial", [client as u64, broker as u64, conn as u64]);
        if let Some(shipped) = &mut self.clients[client].shipped {
            shipped.conns.insert(link, conn);
        }
        self.clients[client].links.insert(conn, Link { kind: Kind::Shipped, open: true, draining: false });
        let delay = 2 * self.delay();
        self.plan_in(delay, Event::ClientDialled { client, conn });
    }

    /// Tells a shipped client of a connection, or that there is none.
    pub fn client_dialled(&mut self, client: usize, conn: usize) {
        let paused = self.clients[client].is_paused();
        let Some(shipped) = &mut self.clients[client].shipped else { return };
        let Some(link) = shipped.link_of(conn) else { return };
        if paused {
            return shipped.dialled.push(conn);
        }
        let broker = self.conns[conn].broker;
        let result = match &self.brokers[broker] {
            node if node.core.is_some() && node.life == self.conns[conn].life => Ok(()),
            _ => {
                self.drop_conn(client, conn);
                Err(Failure::unavailable("nobody listens there"))
            }
        };
        self.tell(client, Input::Dialled { link, result });
    }

    fn drop_conn(&mut self, client: usize, conn: usize) {
        self.conns[conn].client_open = false;
        self.clients[client].links.remove(&conn);
        if let Some(shipped) = &mut self.clients[client].shipped {
            shipped.conns.retain(|_, of| *of != conn);
        }
    }

    fn client_hangs_up(&mut self, client: usize, link: LinkId) {
        let Some(conn) = self.clients[client].shipped.as_ref().and_then(|shipped| shipped.conns.get(&link)).copied()
        else {
            return;
        };
        self.drop_conn(client, conn);
        self.send_up(conn, Up::Close);
    }

    fn client_sends(&mut self, client: usize, link: LinkId, request: Request) {
        let Some(shipped) = &self.clients[client].shipped else { return };
        // Fails only when the stream has ended, and with it all that could be said on it.
        let Some(&conn) = shipped.conns.get(&link) else { return };
        let ttl = shipped.ttl;
        let message = match request {
            Request::Open => Up::Open { ttl },
            Request::Heartbeat { seq } => Up::Heartbeat(seq),
            Request::End { lock_ref } => Up::End(lock_ref),
            Request::Begin { lock_ref, spec, wait, reattach, reattach_also } => {
                let ttl = Duration::from_nanos(ttl);
                let ids = std::iter::once(reattach).chain(reattach_also.into_iter().map(Some));
                let names = std::iter::once(spec.name.as_str()).chain(spec.others());
                let wanted = names.zip(ids.chain(std::iter::repeat(None)));
                let mut requests: Vec<LockRequest> =
                    wanted.map(|(name, id)| self.shipped_request(client, (name, ttl), &spec, wait, id)).collect();
                // The first asks for all permits; see the service.
                if let (Access::Shared { limit, .. }, Mode::Once | Mode::Wait { .. }) =
                    (requests[0].access, requests[0].mode)
                {
                    let weight = requests.len() as u8;
                    requests[0].access = Access::Shared { limit, weight };
                }
                match requests.len() {
                    1 => Up::Begin(lock_ref, requests.remove(0)),
                    _ => Up::Together(lock_ref, requests),
                }
            }
        };
        self.send_up(conn, message);
    }

    fn shipped_request(
        &mut self,
        client: usize,
        (name, ttl): (&str, Duration),
        spec: &LockSpec,
        wait: Option<WaitLeft>,
        reattach: Option<String>,
    ) -> LockRequest {
        let name = self.names.iter().find(|known| known.as_str() == name).expect("it knows no other").clone();
        let mode = match (reattach, wait) {
            (Some(id), _) => Mode::Reattach(id.parse().expect("a broker has told it")),
            (None, Some(wait)) => Mode::Wait { max_wait: wait.max_wait, poll_interval: wait.poll_interval },
            (None, None) => Mode::Once,
        };
        if matches!(mode, Mode::Reattach(_)) {
            let number = self.number_of(&name);
            self.moves(number);
        }
        LockRequest {
            name,
            ttl,
            linger: spec.linger.unwrap_or_default(),
            min_hold: spec.min_hold.unwrap_or_default(),
            owner: crate::acts::owner_of(client),
            value: None,
            access: match spec.access {
                Wanted::Exclusive => Access::Alone,
                Wanted::Shared { limit, .. } => Access::Shared { limit: limit.map_or(1, |it| it as u16), weight: 1 },
            },
            mode,
            account: Some(crate::brokers::ACCOUNT),
            on_disconnect: self.options.on_disconnect(client),
        }
    }

    /// Brings a shipped client what has arrived for it.
    pub fn client_hears(&mut self, client: usize, conn: usize, message: Down) {
        let Some(link) = self.clients[client].shipped.as_ref().and_then(|shipped| shipped.link_of(conn)) else {
            return;
        };
        let message = match message {
            Down::Opened { ttl, expires } => {
                let span = Duration::from_nanos;
                Message::Opened { ttl: span(ttl), expires_after: span(expires), heartbeat_interval: span(ttl / 3) }
            }
            Down::Ack { seq, expires, not_renewed } => {
                Message::HeartbeatAck { seq, expires_after: Duration::from_nanos(expires), not_renewed }
            }
            Down::Draining => Message::Draining,
            Down::Lock(lock_ref, news) => {
                if let Some(shipped) = &mut self.clients[client].shipped {
                    shipped.heard = Place { conn, lock_ref };
                }
                lock_event(news).map_or(Message::Other, |event| Message::Event { lock_ref, event })
            }
            Down::End | Down::Broken => {
                self.drop_conn(client, conn);
                // Its kernel answers with a reset, if anything comes through.
                self.plan_in(self.ping_time(), Event::Unanswered { conn });
                let failure = Failure::unavailable("the stream has ended");
                return self.tell(client, Input::Ended { link, failure });
            }
        };
        self.tell(client, Input::Message { link, message });
    }

    /// Takes the answer to a Release call of a shipped client's.
    pub fn client_called(&mut self, client: usize, key: Key, done: bool) {
        let result = if done { Ok(()) } else { Err(Failure::unavailable("no broker has done it")) };
        self.tell(client, Input::ReleasedElsewhere { key, result });
    }

    /// Lets a shipped client go on that stood still.
    pub fn client_goes_on(&mut self, client: usize) {
        let due = Moment::from_nanos(self.clients[client].clock.at(self.now));
        let Some(shipped) = &mut self.clients[client].shipped else { return };
        // What was due meanwhile came to nothing.
        shipped.due = Some(due);
        for conn in std::mem::take(&mut shipped.dialled) {
            self.client_dialled(client, conn);
        }
        self.plan(self.now, Event::ClientDue { client, due });
    }

    /// Lets a shipped client's program act.
    pub fn act_shipped(&mut self, client: usize) {
        let local = self.clients[client].clock.at(self.now);
        let done = |lock: &Lock| lock.phase != Phase::Asked && lock.let_go <= local;
        let keys: Vec<Key> =
            self.clients[client].locks.iter().filter(|(_, lock)| done(lock)).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.drop_guard(client, key));
        if self.calm {
            return;
        }
        match self.choices.spread(6) {
            1..=3 if self.clients[client].locks.len() < MOST => self.want_shipped(client),
            4 if self.options.several > 0 => self.share_shipped(client),
            5 => {
                let asked = |lock: &Lock| lock.phase == Phase::Asked;
                if let Some(key) = self.pick_lock(client, asked) {
                    self.drop_guard(client, key);
                }
            }
            _ => {}
        }
    }

    /// Shares a lock from now on that a shipped client has alone.
    fn share_shipped(&mut self, client: usize) {
        let names = |key: Key| shipped_names(&self.clients[client], key).is_empty();
        let is_alone = |lock: &Lock| lock.phase == Phase::Held && !lock.downgrading && lock.permit().is_none();
        let locks = self.clients[client].locks.iter();
        let alone = locks.filter(|(key, lock)| **key < member_key(0, 0) && is_alone(lock) && names(**key));
        let Some(key) = alone.map(|(key, _)| *key).next() else { return };
        if let Some(lock) = self.clients[client].locks.get_mut(&key) {
            lock.downgrading = true;
            self.check.downgraded.extend(lock.id.map(|id| id.grant.get()));
        }
        self.tell(client, Input::Share { key, limit: Some(PERMITS as u32) });
    }

    /// Drops a guard, or a call. Nobody believes in the lock from then on.
    fn drop_guard(&mut self, client: usize, key: Key) {
        self.forget_all(client, key);
        self.tell(client, Input::End { key });
    }

    /// Draws the names that are wanted together with one.
    fn others(&mut self, name: usize) -> Vec<usize> {
        if self.options.several == 0 || self.choices.spread(10) >= self.options.several {
            return Vec::new();
        }
        let others: Vec<usize> = (0..self.options.names).filter(|other| *other != name).collect();
        let drawn = self.choices.spread(1 << others.len());
        others.into_iter().enumerate().filter(|(place, _)| drawn & (1 << place) != 0).map(|(_, other)| other).collect()
    }

    fn want_shipped(&mut self, client: usize) {
        let name = self.among(self.options.names);
        let linger = self.options.lingers[self.choices.spread(self.options.lingers.len() as u64) as usize];
        let local = self.clients[client].clock.at(self.now);
        let wait = (self.choices.spread(10) < self.options.waits).then(|| Wait {
            until: [None, Some(3_000), Some(300), Some(0), Some(20_000)][self.among(5)]
                .map(|wait| Moment::from_nanos(local) + Duration::from_millis(wait)),
            poll_interval: [None, Some(50), Some(700)][self.among(3)].map(Duration::from_millis),
        });
        let hold = self.choices.spread(self.options.hold / MS) * MS;
        let ttl = Duration::from_nanos(self.clients[client].shipped.as_ref().map_or(0, |shipped| shipped.ttl));
        let mut also = self.others(name);
        let mut access = Wanted::Exclusive;
        // Or several permits of one.
        if self.options.several > 0 && also.is_empty() && self.among(2) == 1 {
            let limit = 1 + self.among(PERMITS) as u32;
            let weight = 1 + self.choices.spread(limit.into()) as u32;
            access = Wanted::Shared { limit: Some(limit), weight };
            also = vec![name; weight as usize - 1];
        }
        let names = if access == Wanted::Exclusive { &also[..] } else { &[] };
        let spec = LockSpec {
            name: self.names[name].as_str().to_owned(),
            also: names.iter().map(|name| self.names[*name].as_str().to_owned()).collect(),
            linger: Some(linger),
            min_hold: None,
            owner: String::new(),
            value: None,
            is_kept: false,
            access,
        };
        let known = &mut self.clients[client];
        known.next_key += 1;
        let key = known.next_key;
        if let Some(shipped) = known.shipped.as_mut().filter(|_| !also.is_empty()) {
            shipped.also.insert(key, also);
        }
        known.locks.insert(key, Lock { let_go: local + hold, ..Lock::wanted(name, ttl, linger) });
        self.tell(client, Input::Acquire { key, spec, wait, adopt: None });
    }
}

/// Returns the names that a shipped client wants together with a lock.
fn shipped_names(client: &Client, key: Key) -> Vec<usize> {
    client.shipped.as_ref().and_then(|shipped| shipped.also.get(&key)).cloned().unwrap_or_default()
}

/// Returns the key under which a lock is believed in that is held together with another.
fn member_key(key: Key, place: usize) -> Key {
    (1 << 40) + (key << 8) + place as u64
}

/// Returns what the client's core hears of a lock.
fn lock_event(news: News) -> Option<LockEvent> {
    let refusal = Refusal { reason: RefusalReason::Unknown, owner: String::new(), name: String::new() };
    Some(match news {
        News::Acquired { lock_id, .. } => LockEvent::Acquired {
            lock_id: lock_id.expose(),
            fencing_token: i64::try_from(lock_id.token.get()).expect("tokens are below 2^53"),
            permit: lock_id.permit.map(|permit| permit.get().into()),
            also: Vec::new(),
        },
        News::AllAcquired(locks) => {
            let mut granted = locks.iter().map(|lock_id| Granted {
                lock_id: lock_id.expose(),
                fencing_token: i64::try_from(lock_id.token.get()).expect("tokens are below 2^53"),
                permit: lock_id.permit.map(|permit| permit.get().into()),
            });
            let Granted { lock_id, fencing_token, permit } = granted.next()?;
            LockEvent::Acquired { lock_id, fencing_token, permit, also: granted.collect() }
        }
        News::NotAcquired => LockEvent::NotAcquired(refusal),
        News::Lost => LockEvent::Lost(lockbroker_client::LostReason::Gone),
        News::Released => LockEvent::Released,
        News::Failed => LockEvent::Failed(Failure::unavailable("the broker could not do it")),
        News::Queued | News::Renewed { .. } => return None,
    })
}

/// Says what a core wants, without ids.
fn told(output: &Output) -> String {
    match output {
        Output::Granted { key, .. } => format!("granted {key}"),
        Output::Moved { key, .. } => format!("moved {key}"),
        Output::ReleaseElsewhere { key, .. } => format!("release {key} elsewhere"),
        Output::Send { link, request: Request::Begin { lock_ref, reattach, .. } } => {
            format!("begin {lock_ref} on {link}, a reattach: {}", reattach.is_some())
        }
        other => format!("{other:?}"),
    }
}

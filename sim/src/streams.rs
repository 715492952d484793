//! The broker's end of connections: what it reads, what it writes, and how it takes their end (R7, R7a).

use std::time::Duration;

use lockbroker_core::event::{Event as LockEvent, Together};
use lockbroker_core::failure::Failure;
use lockbroker_core::lock::lease;
use lockbroker_core::request::{LeaseRenewal, LockRequest, Look, Purpose, StreamEnd};
use lockbroker_core::rules::Rule;
use lockbroker_core::{Item, Read, StreamKey};

use crate::client::Kind;
use crate::event::Event;
use crate::net::{Conn, Down, News, Up};
use crate::time::{MS, SEC, less_drift, nanos};
use crate::world::{Asked, World};

impl World {
    /// Sends something to a client.
    pub fn send_down(&mut self, conn: usize, message: Down) {
        let delay = self.delay();
        let now = self.now;
        let at = self.conns[conn].down.push(message, now, delay);
        self.plan(at, Event::Down { conn });
    }

    /// Sends something to a broker.
    pub fn send_up(&mut self, conn: usize, message: Up) {
        let delay = self.delay();
        let now = self.now;
        let at = self.conns[conn].up.push(message, now, delay);
        self.plan(at, Event::Up { conn });
    }

    /// Takes what has arrived at the broker's end.
    pub fn up(&mut self, conn: usize) {
        loop {
            let broker = self.conns[conn].broker;
            self.stall(broker);
            if self.brokers[broker].is_paused() {
                self.defer(broker, &Event::Up { conn });
                return;
            }
            let Some(message) = self.conns[conn].up.pop(self.now) else { return };
            if self.conns[conn].broker_open && self.brokers[broker].life == self.conns[conn].life {
                self.take(conn, message);
            }
        }
    }

    fn take(&mut self, conn: usize, message: Up) {
        let broker = self.conns[conn].broker;
        self.note("up", [conn as u64, kind(&message), broker as u64]);
        self.say(|| format!("{message:?}"));
        match message {
            Up::Open { ttl } => {
                let stream = self.new_stream(conn, true);
                let opened = self.turn(broker, |core, outside| core.open(stream, Duration::from_nanos(ttl), outside));
                if opened.is_none_or(|opened| opened.is_err()) {
                    self.turn(broker, |core, outside| core.end(stream, StreamEnd::Closed, outside));
                }
            }
            Up::Alone(_) | Up::Lease(_) => {
                let (purpose, request) = match message {
                    Up::Lease(request) => (Purpose::Lease, request),
                    Up::Alone(request) => (Purpose::Stream, request),
                    _ => return,
                };
                let stream = self.new_stream(conn, false);
                self.conns[conn].received = self.brokers[broker].clock.at(self.now);
                let client = &self.clients[self.conns[conn].client];
                if let Some(Kind::Alone { sent }) = client.links.get(&conn).map(|link| &link.kind) {
                    self.conns[conn].late = client.clock.when(*sent) + 50 * MS < self.now;
                }
                let begun = self.turn(broker, |core, outside| core.begin_alone(stream, request, purpose, outside));
                if begun.is_none_or(|begun| begun.is_err()) {
                    self.send_down(conn, Down::Lock(0, News::Failed));
                    self.send_down(conn, Down::End);
                    self.stop_reading(conn);
                }
            }
            Up::HalfClose => {
                self.conns[conn].closing = true;
                if let Some(stream) = self.conns[conn].stream {
                    self.turn(broker, |core, outside| core.end(stream, StreamEnd::Closed, outside));
                }
            }
            Up::Close => self.end_at_broker(conn, StreamEnd::Closed),
            Up::Reset if self.rule == Some(Rule::ResetIsSilence) => self.end_at_broker(conn, StreamEnd::Closed),
            Up::Reset => self.end_at_broker(conn, StreamEnd::Unresponsive),
            Up::Heartbeat(_) | Up::Begin(..) | Up::Together(..) | Up::End(_) => self.take_on_session(conn, message),
        }
    }

    fn take_on_session(&mut self, conn: usize, message: Up) {
        let broker = self.conns[conn].broker;
        let Some(stream) = self.conns[conn].stream.filter(|_| !self.conns[conn].closing) else { return };
        let begins = matches!(message, Up::Begin(..) | Up::Together(..));
        let before = self.made_to_hold(broker);
        let broken = self.turn(broker, |core, outside| match message {
            Up::Heartbeat(seq) => core.heartbeat(stream, seq, outside).is_err(),
            Up::End(lock_ref) => core.end_lock(stream, lock_ref, outside).is_err(),
            Up::Begin(lock_ref, request) => match core.take_ref(stream, lock_ref, outside) {
                Ok(()) => {
                    begin(core, stream, lock_ref, request, outside);
                    false
                }
                Err(_) => true,
            },
            Up::Together(lock_ref, requests) => match core.take_ref(stream, lock_ref, outside) {
                Ok(()) => {
                    core.begin_together(stream, lock_ref, requests, outside);
                    false
                }
                Err(_) => true,
            },
            _ => false,
        });
        if begins && self.conns[conn].closing && self.made_to_hold(broker) > before {
            self.check.fail(format!("broker {broker} took a request of a Session that it has found silent"));
        }
        // Whoever breaks the rules is not listened to any more, and may believe on.
        if broken == Some(true) {
            self.conns[conn].closing = true;
            self.turn(broker, |core, outside| core.end(stream, StreamEnd::Unresponsive, outside));
        }
    }

    /// Returns how much clients make a broker hold.
    fn made_to_hold(&self, broker: usize) -> usize {
        let counts = self.brokers[broker].core.as_ref().map(|core| core.counts());
        counts.map_or(0, |counts| counts.locks + counts.waits)
    }

    fn new_stream(&mut self, conn: usize, is_session: bool) -> StreamKey {
        let broker = self.conns[conn].broker;
        let core = self.brokers[broker].core.as_mut().expect("a broker that is dead takes nothing");
        let stream = core.stream(None);
        self.brokers[broker].streams.insert(stream, conn);
        (self.conns[conn].stream, self.conns[conn].is_session) = (Some(stream), is_session);
        stream
    }

    /// Plans the writing of what waits in an outbox.
    pub fn readable(&mut self, broker: usize, stream: StreamKey) {
        let Some(&conn) = self.brokers[broker].streams.get(&stream) else { return };
        if self.conns[conn].reading || !self.conns[conn].broker_open {
            return;
        }
        self.conns[conn].reading = true;
        let delay = self.delay();
        self.plan_in(if delay > 200_000 { 3 * delay } else { 10_000 }, Event::Read { conn });
    }

    /// Writes what waits in an outbox.
    pub fn read(&mut self, conn: usize) {
        let broker = self.conns[conn].broker;
        if !self.conns[conn].broker_open || self.brokers[broker].life != self.conns[conn].life {
            return;
        }
        if self.defer(broker, &Event::Read { conn }) {
            return;
        }
        self.conns[conn].reading = false;
        let Some(stream) = self.conns[conn].stream else { return };
        loop {
            let read = self.turn(broker, |core, outside| core.read(stream, outside));
            match read {
                Some(Read::Item(Item::Event(_, LockEvent::Acquired { lock_id, until })))
                    if self.conns[conn].is_lease =>
                {
                    // Whoever answers the call lets the stream go first. If it cannot, what became of the lock comes next.
                    if self.turn(broker, |core, outside| core.make_lease(stream, None, outside)) == Some(true) {
                        self.check.leases.insert(lock_id.grant.get());
                        let message = self.message(conn, Item::Event(0, LockEvent::Acquired { lock_id, until }));
                        self.send_down(conn, message);
                        self.send_down(conn, Down::End);
                        return self.stop_reading(conn);
                    }
                }
                Some(Read::Item(item)) => {
                    let message = self.message(conn, item);
                    self.send_down(conn, message);
                }
                Some(Read::Nothing) | None => return,
                Some(Read::End) => {
                    self.send_down(conn, Down::End);
                    return self.stop_reading(conn);
                }
            }
        }
    }

    fn message(&mut self, conn: usize, item: Item) -> Down {
        let received = self.conns[conn].received;
        let expires = |until: lockbroker_core::Time| less_drift(until.nanos().saturating_sub(received));
        match item {
            Item::Opened { ttl } => Down::Opened { ttl: nanos(ttl), expires: less_drift(nanos(lease(ttl))) },
            Item::Ack(ack) => {
                Down::Ack { seq: ack.seq, expires: less_drift(nanos(lease(ack.ttl))), not_renewed: ack.not_renewed }
            }
            Item::Event(lock_ref, event) => {
                let news = match event {
                    LockEvent::Acquired { lock_id, until } => {
                        self.check.told.insert(lock_id.grant.get());
                        News::Acquired { lock_id, expires: expires(until) }
                    }
                    LockEvent::Renewed { until } => News::Renewed { expires: expires(until) },
                    LockEvent::NotAcquired { .. } => News::NotAcquired,
                    LockEvent::Queued { .. } => News::Queued,
                    LockEvent::Lost(_) => News::Lost,
                    LockEvent::Released => News::Released,
                    LockEvent::Failed(_) => News::Failed,
                    LockEvent::Draining { .. } => return Down::Draining,
                    LockEvent::Together(together) => match *together {
                        Together::Acquired { locks } => {
                            self.check.told.extend(locks.iter().map(|lock_id| lock_id.grant.get()));
                            News::AllAcquired(locks)
                        }
                        Together::NotAcquired { .. } => News::NotAcquired,
                        Together::Lost { .. } => News::Lost,
                    },
                };
                Down::Lock(lock_ref, news)
            }
        }
    }

    /// Takes note that a broker has written everything of a stream. A Session whose reader is gone ends.
    fn stop_reading(&mut self, conn: usize) {
        let broker = self.conns[conn].broker;
        self.conns[conn].broker_open = false;
        let Some(stream) = self.conns[conn].stream else { return };
        self.brokers[broker].streams.remove(&stream);
        self.turn(broker, |core, outside| core.stop_reading(stream, outside));
    }

    /// Ends a Session whose client was silent: whoever drives it has heard of that.
    pub fn silent(&mut self, broker: usize, stream: StreamKey) {
        let life = self.brokers[broker].life;
        let late = self.lateness(500);
        if let Some(&conn) = self.brokers[broker].streams.get(&stream) {
            self.conns[conn].closing = true;
        }
        self.plan_in(late, Event::Settled { broker, life, stream, by: StreamEnd::Unresponsive });
    }

    /// Takes a connection as ended. That nobody reads, and how the stream ended, are found out in either order.
    pub fn end_at_broker(&mut self, conn: usize, by: StreamEnd) {
        if !std::mem::replace(&mut self.conns[conn].broker_open, false) {
            return;
        }
        let (broker, life) = (self.conns[conn].broker, self.conns[conn].life);
        let Some(stream) = self.conns[conn].stream else { return };
        self.note("ended", [conn as u64, (by == StreamEnd::Closed).into(), broker as u64]);
        self.brokers[broker].streams.remove(&stream);
        let late = match self.odd(self.options.dawdle) {
            true => self.choices.spread(100) * self.choices.spread(51) * MS,
            false => 0,
        };
        let first = self.among(2) == 1;
        // The driver of a Session that has been closed already has ended it.
        let told = self.conns[conn].is_session && self.conns[conn].closing;
        let unread = Event::Unread { broker, life, stream };
        if first {
            self.plan(self.now, unread.clone());
        }
        if !told {
            self.plan_in(late, Event::Settled { broker, life, stream, by });
        }
        if !first {
            self.plan_in(late, unread);
        }
    }

    /// Ends a stream at the core.
    pub fn settled(&mut self, broker: usize, life: u32, stream: StreamKey, by: StreamEnd) {
        if self.brokers[broker].life == life {
            self.turn(broker, |core, outside| core.end(stream, by, outside));
        }
    }

    /// Tells the core that nobody reads a stream.
    pub fn unread(&mut self, broker: usize, life: u32, stream: StreamKey) {
        if self.brokers[broker].life == life {
            self.turn(broker, |core, outside| core.stop_reading(stream, outside));
        }
    }

    /// Ends a connection whose other end answers no ping.
    pub fn unanswered(&mut self, conn: usize) {
        let broker = self.conns[conn].broker;
        let Conn { up, down, client_open, .. } = &self.conns[conn];
        let blocked = up.blocked || down.blocked || !client_open;
        if !blocked || !self.conns[conn].broker_open || self.brokers[broker].life != self.conns[conn].life {
            return;
        }
        if self.defer(broker, &Event::Unanswered { conn }) {
            return;
        }
        self.end_at_broker(conn, StreamEnd::Unresponsive);
    }

    /// Brings a call to its broker.
    pub fn call(&mut self, call: u64) {
        let Some(under_way) = self.calls.get(&call).cloned() else { return };
        if self.brokers[under_way.broker].core.is_none() {
            return self.answer_call(call, false);
        }
        if self.defer(under_way.broker, &Event::Call { call }) {
            return;
        }
        let name = self.names[under_way.name].clone();
        self.note("call", [call, under_way.broker as u64, under_way.name as u64]);
        let arrived = self.brokers[under_way.broker].clock.at(self.now);
        self.calls.entry(call).and_modify(|call| call.arrived = arrived);
        self.turn(under_way.broker, |core, outside| match under_way.asked {
            Asked::Release(id) => core.release(call, &name, id, outside),
            Asked::Look(id) => core.look(call, name.into(), Some(id), outside),
            Asked::Revoke => core.revoke(call, name.into(), (None, false), outside),
            Asked::Update(id, value) => core.update(call, &name, id, value.text(), outside),
            Asked::Observe(known) => core.observe(call, &name, Look { known, note_for: Some(10) }, outside),
            Asked::Renew(lease) => core.renew_lease(call, &name, (lease, Some(crate::brokers::ACCOUNT)), outside),
        });
    }

    /// Brings the answer to the renewal of a lease.
    pub fn answer_renewal(&mut self, call: u64, result: &Result<LeaseRenewal, Failure>) {
        self.calls.entry(call).and_modify(|call| {
            call.renewed = match result {
                Ok(LeaseRenewal::Renewed { until }) => {
                    Some(Some(less_drift(until.nanos().saturating_sub(call.arrived))))
                }
                Ok(LeaseRenewal::Lost(_)) => Some(None),
                Err(_) => None,
            };
        });
        self.answer_call(call, result.is_ok());
    }

    /// Brings a call's answer.
    pub fn answer_call(&mut self, call: u64, done: bool) {
        let delay = self.delay();
        self.plan_in(delay, Event::Called { call, done });
    }

    /// Returns how long a broker waits for the answer to a ping.
    pub fn ping_time(&self) -> u64 {
        2 * SEC
    }
}

fn begin(
    core: &mut lockbroker_core::Broker,
    stream: StreamKey,
    lock_ref: i64,
    request: LockRequest,
    outside: &mut crate::brokers::Outside<'_>,
) {
    core.begin(stream, lock_ref, request, outside);
}

/// Returns a number for the trace.
fn kind(message: &Up) -> u64 {
    match message {
        Up::Open { .. } => 1,
        Up::Alone(_) | Up::Lease(_) => 2,
        Up::Heartbeat(_) => 3,
        Up::Begin(..) | Up::Together(..) => 4,
        Up::End(_) => 5,
        Up::HalfClose => 6,
        Up::Close => 7,
        Up::Reset => 8,
    }
}

//! One Session stream on a connection of its own.
//!
//! A link sends, receives and keeps its own time: it knows when to send a heartbeat, and when the broker has been
//! silent for too long. The session decides what its messages mean for locks.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::brokers::Connecting;
use super::error::broken;
use super::mutex::lock;
use super::session::Key;
use super::validity::{RunOut, Validity};
use super::wire::{from_wire, to_wire};
use crate::clock::{Moment, notice};
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::session_request::Kind;
use crate::proto::{
    BeginLock, EndLock, Heartbeat, HeartbeatAck, LockSpec, OpenSession, SessionOpened, SessionRequest, SessionResponse,
    WaitSpec, session_response,
};

/// The longest time that a new connection and its Session may take to answer; less where several brokers share the
/// time.
const DIAL: Duration = Duration::from_secs(3);

/// A stream, its locks and its validity.
pub(super) struct Link {
    /// Tells links of one client apart.
    pub(super) id: u64,
    /// The number of the broker.
    pub(super) broker: usize,
    /// The ttl of its locks, as granted.
    pub(super) ttl: Duration,
    /// Shared with the guards of its locks.
    pub(super) validity: Arc<Mutex<Validity>>,
    /// The locks that were begun here and have not ended: lock_ref to the client's key.
    pub(super) locks: HashMap<i64, Key>,
    /// Takes no new locks; goes as soon as it has none.
    pub(super) retired: bool,
    outbound: mpsc::UnboundedSender<SessionRequest>,
    /// The incoming messages; none once the stream has ended.
    inbound: Option<Streaming<SessionResponse>>,
    last_ref: i64,
    last_seq: i64,
    beat_every: Duration,
    next_beat: Moment,
    /// The moment of the broker's last message.
    heard: Moment,
}

impl Link {
    /// Makes a connection and opens a Session on it. A link is returned only once the broker has answered, so that
    /// nothing is asked of one which is not there: a reattach that is sent and then given up counts as a release.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection; no lock was asked for on it.
    pub(super) async fn dial(
        id: u64,
        broker: usize,
        connecting: Connecting,
        ttl: Option<Duration>,
        within: Duration,
    ) -> Result<Link, Status> {
        let within = within.min(DIAL);
        match tokio::time::timeout(within, Link::open(id, broker, connecting, ttl)).await {
            Ok(result) => result,
            Err(_) => Err(Status::unavailable(format!("no broker answered within {within:?}"))),
        }
    }

    async fn open(id: u64, broker: usize, connecting: Connecting, ttl: Option<Duration>) -> Result<Link, Status> {
        let channel = connecting.await.map_err(|error| Status::unavailable(broken(&error)))?;
        let (outbound, mut queue) = mpsc::unbounded_channel();
        let sent = Moment::now();
        let open = OpenSession { ttl: ttl.map(to_wire) };
        let _ = outbound.send(SessionRequest { kind: Some(Kind::Open(open)) });
        let requests = futures_util::stream::poll_fn(move |cx| queue.poll_recv(cx));
        let mut inbound = LockServiceClient::new(channel).session(requests).await?.into_inner();
        let opened = match inbound.message().await? {
            Some(SessionResponse { kind: Some(session_response::Kind::Opened(opened)) }) => opened,
            Some(_) => return Err(Status::internal("the Session did not begin with `opened`")),
            None => return Err(Status::unavailable("the Session ended at once")),
        };
        let (ttl, expires_after, beat_every) = spans(&opened)
            .ok_or_else(|| Status::internal("`opened` lacks a duration, or has one that makes no sense"))?;
        let now = Moment::now();
        Ok(Link {
            id,
            broker,
            ttl,
            validity: Arc::new(Mutex::new(Validity::new(sent, expires_after.saturating_sub(notice(ttl))))),
            locks: HashMap::new(),
            retired: false,
            outbound,
            inbound: Some(inbound),
            last_ref: 0,
            last_seq: 0,
            beat_every,
            next_beat: now + beat_every,
            heard: now,
        })
    }

    /// Asks for a lock and returns its lock_ref here.
    pub(super) fn begin(&mut self, key: Key, spec: LockSpec, wait: Option<WaitSpec>, reattach: Option<String>) -> i64 {
        self.last_ref += 1;
        let lock_ref = self.last_ref;
        self.locks.insert(lock_ref, key);
        let reattach_lock_id = reattach.unwrap_or_default();
        self.send(Kind::Begin(BeginLock { lock_ref, lock: Some(spec), wait, reattach_lock_id }));
        lock_ref
    }

    /// Releases a lock or gives up the wait for it. The stream keeps order, so a grant that crosses this is
    /// released by it.
    pub(super) fn end(&mut self, lock_ref: i64) {
        self.send(Kind::End(EndLock { lock_ref }));
    }

    /// Ends a lock, as [`end`](Link::end) does, and ignores whatever the broker says of it from now on.
    pub(super) fn forget(&mut self, lock_ref: i64) {
        self.locks.remove(&lock_ref);
        self.end(lock_ref);
    }

    fn send(&self, kind: Kind) {
        // Fails only when the stream has ended, and with it all that could be said on it.
        let _ = self.outbound.send(SessionRequest { kind: Some(kind) });
    }

    /// Notes an acknowledgement.
    pub(super) fn acknowledged(&mut self, ack: &HeartbeatAck) {
        if let Some(expires_after) = ack.expires_after_heartbeat.as_ref().and_then(from_wire) {
            let valid_for = expires_after.saturating_sub(notice(self.ttl));
            lock(&self.validity).acknowledged(ack.seq, valid_for, &ack.not_renewed);
        }
    }

    /// Notes that no more events come for a lock that may still be valid. Acknowledgements no longer cover it.
    pub(super) fn settle(&self, lock_ref: i64) {
        lock(&self.validity).settle(lock_ref);
    }

    /// Returns true if a lock granted now would be valid.
    pub(super) fn is_valid(&self) -> bool {
        // 0 is no lock's: what covers the stream.
        !lock(&self.validity).until(0).has_passed()
    }

    /// Returns true while the stream is open.
    pub(super) fn is_open(&self) -> bool {
        self.inbound.is_some()
    }

    /// Sends a heartbeat if one is due.
    pub(super) fn beat(&mut self, now: Moment) {
        if !self.is_open() || now < self.next_beat {
            return;
        }
        self.last_seq += 1;
        lock(&self.validity).beat(self.last_seq, now);
        self.send(Kind::Heartbeat(Heartbeat { seq: self.last_seq }));
        self.next_beat = now + self.beat_every;
    }

    /// Returns what has run out by `now` and was not reported before.
    pub(super) fn run_out(&self, now: Moment) -> Option<RunOut> {
        lock(&self.validity).run_out(now)
    }

    /// Returns the moment from which the silence means that something is wrong: half a ttl after the last message. An
    /// acknowledgement may take a sixth of the ttl. The rest is for its way.
    fn silent_at(&self) -> Moment {
        self.heard + self.ttl / 2 + self.ttl / 30
    }

    /// Returns true if the silence has lasted too long.
    pub(super) fn is_silent(&self, now: Moment) -> bool {
        now >= self.silent_at()
    }

    /// Returns the moment at which this link has something to do next. None: not before a message comes.
    pub(super) fn wake(&self) -> Option<Moment> {
        let runs_out = lock(&self.validity).next().filter(|_| !self.locks.is_empty());
        let beats = self.is_open().then_some(self.next_beat);
        let silent = (!self.retired).then(|| self.silent_at());
        [runs_out, beats, silent].into_iter().flatten().min()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Received> {
        let Some(inbound) = &mut self.inbound else { return Poll::Pending };
        let received = match std::task::ready!(std::pin::Pin::new(inbound).poll_next(cx)) {
            Some(Ok(message)) => {
                self.heard = Moment::now();
                return Poll::Ready(Received::Message(message));
            }
            Some(Err(status)) => status,
            None => Status::new(Code::Unavailable, "the broker ended the Session"),
        };
        self.inbound = None;
        lock(&self.validity).broke();
        Poll::Ready(Received::Ended(received))
    }
}

/// Something that came on a link.
pub(super) enum Received {
    /// A message.
    Message(SessionResponse),
    /// The stream's end, against our will: the client itself only ends links that it drops.
    Ended(Status),
}

/// Waits for what comes next on any of `links`, and on which.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
pub(super) async fn receive(links: &mut [Link]) -> (u64, Received) {
    poll_fn(|cx| {
        for link in links.iter_mut() {
            if let Poll::Ready(received) = link.poll(cx) {
                return Poll::Ready((link.id, received));
            }
        }
        Poll::Pending
    })
    .await
}

/// Returns the ttl, the validity and the interval of heartbeats.
fn spans(opened: &SessionOpened) -> Option<(Duration, Duration, Duration)> {
    let beat = opened.heartbeat_interval.as_ref().and_then(from_wire).filter(|beat| !beat.is_zero())?;
    Some((opened.ttl.as_ref().and_then(from_wire)?, opened.expires_after_open.as_ref().and_then(from_wire)?, beat))
}

//! A Session as a load generator needs it: any number of callers share the stream, each awaiting its own answer, and
//! nothing is done on their behalf but heartbeats.
//!
//! The Rust client does more for each lock, and its cost is not the broker's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Interval;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::proto::lock_event::Kind;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::session_request::Kind as Ask;
use crate::proto::session_response::Kind as Answer;
use crate::proto::{
    BeginLock, EndLock, Heartbeat, HeartbeatAck, LockSpec, OpenSession, SessionEvent, SessionRequest, SessionResponse,
    WaitSpec,
};

/// A Session with a broker. Dropping it cancels the stream, which releases its locks.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

/// A lock that was asked for.
#[derive(Debug)]
pub struct Begun {
    /// The lock's handle on this stream.
    pub lock_ref: i64,
    /// Resolves when the request has its place in the line. An error says that it needs none any more: `answer` is
    /// there.
    pub queued: oneshot::Receiver<()>,
    answer: oneshot::Receiver<Kind>,
    shared: Arc<Shared>,
}

impl Begun {
    /// Waits for the grant.
    ///
    /// # Errors
    /// One line that says what came in its place.
    pub async fn granted(self) -> Result<(), String> {
        self.lock_id().await.map(|_| ())
    }

    /// Waits for the grant, and returns the lock id.
    pub(super) async fn lock_id(self) -> Result<String, String> {
        match self.shared.answer(self.answer).await? {
            Kind::Acquired(acquired) => Ok(acquired.lock_id),
            other => Err(tell(&other)),
        }
    }
}

/// A release that was sent.
#[derive(Debug)]
pub struct Ended {
    answer: oneshot::Receiver<Kind>,
    shared: Arc<Shared>,
}

impl Ended {
    /// Waits until the broker says that the lock is released.
    ///
    /// # Errors
    /// One line that says what came in its place.
    pub async fn released(self) -> Result<(), String> {
        match self.shared.answer(self.answer).await? {
            Kind::Released(_) => Ok(()),
            other => Err(tell(&other)),
        }
    }
}

/// A message of a Session that is no answer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// A heartbeat was acknowledged for the first time.
    Acknowledged {
        /// The time since it was sent.
        after: Duration,
        /// The number of locks that it did not cover.
        not_renewed: usize,
    },
    /// A lock ended by itself.
    Over(Kind),
    /// The broker is going away: what is held is to be reattached on a new connection.
    Draining,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: mpsc::UnboundedSender<SessionRequest>,
    last_ref: i64,
    /// The callers that wait for the next event, by lock.
    listeners: HashMap<i64, Listener>,
    /// The last word on locks to which nobody listened then.
    over: HashMap<i64, Kind>,
    /// The reason for which there will be no more answers.
    end: Option<String>,
}

#[derive(Debug)]
struct Listener {
    queued: Option<oneshot::Sender<()>>,
    answer: oneshot::Sender<Kind>,
}

impl Session {
    /// Opens a Session, with the broker's default ttl if none is given. Whoever wants no notices drops the receiver.
    ///
    /// # Errors
    /// The broker's, or the connection's.
    pub async fn open(
        channel: Channel,
        ttl: Option<Duration>,
    ) -> Result<(Session, mpsc::UnboundedReceiver<Notice>), Status> {
        let (requests, mut queue) = mpsc::unbounded_channel();
        let ttl = ttl.map(|ttl| ttl.try_into().map_err(|_| Status::invalid_argument("the ttl is too long")));
        let sent = tokio::time::Instant::now();
        send(&requests, Ask::Open(OpenSession { ttl: ttl.transpose()? }));
        let stream = futures_util::stream::poll_fn(move |cx| queue.poll_recv(cx));
        let mut responses = LockServiceClient::new(channel).session(stream).await?.into_inner();
        let beat_every = match responses.message().await? {
            Some(SessionResponse { kind: Some(Answer::Opened(opened)) }) => opened.heartbeat_interval,
            other => return Err(Status::internal(format!("{other:?} where `opened` was expected"))),
        };
        let beat_every = beat_every.and_then(|span| Duration::try_from(span).ok()).filter(|span| !span.is_zero());
        let beat_every = beat_every.ok_or_else(|| Status::internal("`opened` without a heartbeat interval"))?;
        let state = State { requests, last_ref: 0, listeners: HashMap::new(), over: HashMap::new(), end: None };
        let shared = Arc::new(Shared { state: Mutex::new(state) });
        let (notices, noticed) = mpsc::unbounded_channel();
        let beats = tokio::time::interval_at(sent + beat_every, beat_every);
        let task = tokio::spawn(run(Arc::clone(&shared), responses, beats, notices));
        Ok((Session { shared, _task: AbortOnDropHandle::new(task) }, noticed))
    }

    /// Asks for a lock: once, or as `wait` says. The request is on its way when this returns.
    pub fn begin(&self, name: &str, wait: Option<WaitSpec>) -> Begun {
        self.ask(name, wait, String::new())
    }

    /// Asks for a lock that is held on another stream under `lock_id`.
    pub(super) fn reattach(&self, name: &str, lock_id: String) -> Begun {
        self.ask(name, None, lock_id)
    }

    fn ask(&self, name: &str, wait: Option<WaitSpec>, reattach_lock_id: String) -> Begun {
        let (queue, queued) = oneshot::channel();
        let (sender, answer) = oneshot::channel();
        let mut state = self.shared.state();
        state.last_ref += 1;
        let lock_ref = state.last_ref;
        if state.end.is_none() {
            state.listeners.insert(lock_ref, Listener { queued: Some(queue), answer: sender });
        }
        let lock = LockSpec { name: name.to_owned(), ..LockSpec::default() };
        // Under the mutex, since the stream's lock_refs must rise.
        send(
            &state.requests,
            Ask::Begin(BeginLock { lock_ref, lock: Some(lock), wait, reattach_lock_id, also: Vec::new() }),
        );
        Begun { lock_ref, queued, answer, shared: Arc::clone(&self.shared) }
    }

    /// Releases a lock. The request is on its way when this returns.
    pub fn end(&self, lock_ref: i64) -> Ended {
        let (sender, answer) = oneshot::channel();
        let mut state = self.shared.state();
        if let Some(last) = state.over.remove(&lock_ref) {
            let _ = sender.send(last);
        } else if state.end.is_none() {
            state.listeners.insert(lock_ref, Listener { queued: None, answer: sender });
        }
        send(&state.requests, Ask::End(EndLock { lock_ref }));
        Ended { answer, shared: Arc::clone(&self.shared) }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, answer: oneshot::Receiver<Kind>) -> Result<Kind, String> {
        answer.await.map_err(|_| self.state().end.clone().unwrap_or_else(|| "the Session is gone".into()))
    }
}

/// Reads what the broker says and sends heartbeats, until the stream ends.
async fn run(
    shared: Arc<Shared>,
    mut responses: Streaming<SessionResponse>,
    mut beats: Interval,
    notices: mpsc::UnboundedSender<Notice>,
) {
    let (mut seq, mut sent) = (0, HashMap::new());
    let end = loop {
        tokio::select! {
            // `message` and `tick` lose nothing when they are dropped.
            message = responses.message() => match message {
                Ok(Some(SessionResponse { kind: Some(Answer::Event(event)) })) => deliver(&shared, event, &notices),
                Ok(Some(SessionResponse { kind: Some(Answer::HeartbeatAck(ack)) })) => {
                    acknowledged(&mut sent, &ack, &notices);
                }
                // Kinds that are not known are passed over.
                Ok(Some(_)) => {}
                Ok(None) => break "the broker ended the Session".to_owned(),
                Err(status) => break format!("the Session ended: {}", status_line(&status)),
            },
            _ = beats.tick() => {
                seq += 1;
                sent.insert(seq, Instant::now());
                send(&shared.state().requests, Ask::Heartbeat(Heartbeat { seq }));
            }
        }
    };
    let mut state = shared.state();
    state.end = Some(end);
    state.listeners.clear();
}

fn acknowledged(sent: &mut HashMap<i64, Instant>, ack: &HeartbeatAck, notices: &mpsc::UnboundedSender<Notice>) {
    if let Some(at) = sent.remove(&ack.seq) {
        // One that was never acknowledged is not any more.
        sent.retain(|&seq, _| seq > ack.seq);
        // Nobody listens: nobody wants to know.
        let _ = notices.send(Notice::Acknowledged { after: at.elapsed(), not_renewed: ack.not_renewed.len() });
    }
}

fn deliver(shared: &Shared, event: SessionEvent, notices: &mpsc::UnboundedSender<Notice>) {
    let Some(kind) = event.event.and_then(|event| event.kind) else { return };
    let mut state = shared.state();
    match kind {
        Kind::Queued(_) => {
            let listener = state.listeners.get_mut(&event.lock_ref);
            // Repeated every 5 s; the first one is of interest.
            if let Some(queued) = listener.and_then(|listener| listener.queued.take()) {
                let _ = queued.send(());
            }
        }
        Kind::Draining(_) => {
            let _ = notices.send(Notice::Draining);
        }
        Kind::Renewed(_) => {}
        kind => match state.listeners.remove(&event.lock_ref) {
            Some(listener) => {
                let _ = listener.answer.send(kind);
            }
            None => {
                let _ = notices.send(Notice::Over(kind.clone()));
                state.over.insert(event.lock_ref, kind);
            }
        },
    }
}

fn send(requests: &mpsc::UnboundedSender<SessionRequest>, ask: Ask) {
    // Fails when the stream has ended, which its reader tells.
    let _ = requests.send(SessionRequest { kind: Some(ask) });
}

/// Describes an event of a lock that is not the expected one.
pub(super) fn tell(kind: &Kind) -> String {
    match kind {
        Kind::NotAcquired(not) => format!("not acquired: {}", not.reason().as_str_name()),
        Kind::Lost(lost) => format!("lost: {}", lost.reason().as_str_name()),
        Kind::Failed(failed) => format!("failed: {:?}: {}", tonic::Code::from(failed.code), failed.message),
        other => format!("unexpected: {other:?}").split('(').next().unwrap_or_default().to_owned(),
    }
}

/// Writes a status in one line.
pub(super) fn status_line(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

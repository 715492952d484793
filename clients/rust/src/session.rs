//! The task behind a client. It owns the streams, and knows every lock that the client has or wants.
//!
//! One link is current and takes new locks. Others are on their way out: they drain, are silent, or have ended. A link
//! on its way out stays, and sends heartbeats, until each of its locks has been reattached elsewhere or has run out,
//! because closing it would release them. The task never waits for anything but the next thing to happen. `locks.rs`
//! has what it does about a single lock.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Status};

use super::error::{Error, LostReason, broken};
use super::guard::Hold;
use super::link::{Link, Received, receive};
use super::locks::{At, Lock};
use super::settings::ClientSettings;
use super::validity::RunOut;
use crate::clock::{Moment, sleep_until};
use crate::proto::lock_event::Kind;
use crate::proto::{LockSpec, NotAcquired, SessionResponse, session_response};

/// The client's own number for one call of acquire and for its lock. It rises.
pub(super) type Key = u64;

/// A request of a guard or a call to the task.
pub(super) enum Command {
    /// A lock is wanted.
    Begin(Key, Wanted),
    /// A lock, or the wait for it, is no longer wanted. If it has ended already, `reply` is dropped.
    End {
        /// The key given with `Begin`.
        key: Key,
        /// Told when a held lock has been released.
        reply: Option<Reply>,
    },
}

/// The channel that tells the end of a release.
pub(super) type Reply = oneshot::Sender<Result<(), Error>>;

/// A lock that is not held yet.
pub(super) struct Wanted {
    pub(super) lock: LockSpec,
    /// The wait; none to try once.
    pub(super) wait: Option<Wait>,
    pub(super) reply: oneshot::Sender<Result<AcquireAnswer, Error>>,
}

/// The way to wait for a lock.
pub(super) struct Wait {
    /// The end of the wait; none to wait for as long as it takes.
    pub(super) until: Option<Moment>,
    pub(super) poll_interval: Option<Duration>,
}

/// The outcome of a call.
pub(super) enum AcquireAnswer {
    /// The lock is held.
    Granted {
        /// Shared with the guard.
        hold: Arc<Hold>,
        fencing_token: i64,
    },
    /// The lock was not acquired.
    Refused(NotAcquired),
}

/// A new link in the making.
type Dial = Pin<Box<dyn Future<Output = Result<Link, Status>> + Send>>;

/// The task's state.
pub(super) struct Session {
    pub(super) settings: Arc<ClientSettings>,
    commands: mpsc::UnboundedReceiver<Command>,
    pub(super) locks: HashMap<Key, Lock>,
    pub(super) links: Vec<Link>,
    last_link: u64,
    /// The dial under way, with the number of its broker.
    dialing: Option<(usize, Dial)>,
    /// The number of dials in a row that failed in a way in which they would fail again.
    refused: usize,
    /// The earliest moment of the next dial.
    dial_at: Moment,
    /// The pauses between dials, whether they succeed or not. They start over with every heartbeat that is
    /// acknowledged.
    pace: ExponentialBackoff,
    /// The moment at which to ask again for what a broker has failed to do.
    pub(super) place_at: Option<Moment>,
}

/// The longest sleep of the task. Leases run on while the machine is suspended and timers do not, so the task may
/// notice that late that something has run out.
const MAX_SLEEP: Duration = Duration::from_secs(1);

fn pace() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .without_max_times()
        .with_jitter()
        .build()
}

impl Session {
    pub(super) fn new(settings: Arc<ClientSettings>, commands: mpsc::UnboundedReceiver<Command>) -> Session {
        Session {
            settings,
            commands,
            locks: HashMap::new(),
            links: Vec::new(),
            last_link: 0,
            dialing: None,
            refused: 0,
            dial_at: Moment::now(),
            pace: pace(),
            place_at: None,
        }
    }

    /// Runs until the client and all its guards and calls are gone. Then the streams are dropped, which releases
    /// what is left on them.
    pub(super) async fn run(mut self) {
        loop {
            self.links.retain(|link| !(link.retired && link.locks.is_empty()));
            self.dial_if_due();
            let wake = self.wake();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Begin(key, wanted)) => self.begin(key, wanted),
                    Some(Command::End { key, reply }) => self.end(key, reply),
                    None => return,
                },
                (link, received) = receive(&mut self.links) => self.received(link, received),
                result = dialed(&mut self.dialing) => {
                    let broker = self.dialing.take().map_or(0, |(broker, _)| broker);
                    self.dialed(broker, result);
                }
                () = sleep(wake) => {}
            }
            self.keep_time();
        }
    }

    pub(super) fn link(&mut self, id: u64) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    fn needs_link(&self) -> bool {
        !self.locks.is_empty() && self.dialing.is_none() && self.links.iter().all(|link| link.retired)
    }

    fn dial_if_due(&mut self) {
        if self.needs_link() && self.dial_at.has_passed() {
            self.last_link += 1;
            self.dial_at = Moment::now() + self.pace.next().unwrap_or_default();
            let broker = self.settings.brokers.current();
            let connecting = (self.settings.brokers.get(broker).connect)();
            let dial = Link::dial(self.last_link, broker, connecting, self.settings.ttl, self.settings.share());
            self.dialing = Some((broker, Box::pin(dial)));
        }
    }

    fn dialed(&mut self, number: usize, result: Result<Link, Status>) {
        let settings = Arc::clone(&self.settings);
        let broker = settings.brokers.get(number);
        let status = match result {
            Ok(link) => {
                settings.brokers.no_trouble();
                self.refused = 0;
                self.links.push(link);
                return self.place_all();
            }
            Err(status) => status,
        };
        tracing::debug!(endpoint = broker.name, %status, "no session");
        settings.brokers.turn_from(number);
        let disagreement = broker.disagreement();
        match &disagreement {
            Some(error) => settings.brokers.trouble_with(number, &error.to_string()),
            None => {
                let why = status.source().map_or_else(|| status.message().to_owned(), broken);
                settings.brokers.trouble_with(number, &why);
            }
        }
        self.refused = if disagreement.is_some() || is_final(status.code()) { self.refused + 1 } else { 0 };
        // Another broker may take what one refuses.
        if self.refused >= settings.brokers.count() {
            self.refuse_all(|lock| disagreement.clone().unwrap_or_else(|| Error::from_status(lock, &status)));
        }
    }

    /// Takes a link out of use: what is wanted or held there moves to the next. `answers` says whether
    /// releases that were asked for on it are still answered there.
    pub(super) fn retire(&mut self, id: u64, answers: bool) {
        let Some(link) = self.link(id) else { return };
        if !link.retired {
            link.retired = true;
            let broker = link.broker;
            tracing::debug!(endpoint = self.settings.brokers.get(broker).name, link = id, "moving to another stream");
            self.settings.brokers.turn_from(broker);
        }
        self.leave(id, answers);
        self.place_all();
    }

    fn trouble_on(&mut self, id: u64, why: &str) {
        if let Some(broker) = self.link(id).map(|link| link.broker) {
            self.settings.brokers.trouble_with(broker, why);
        }
    }

    fn received(&mut self, id: u64, received: Received) {
        match received {
            Received::Ended(status) => {
                tracing::debug!(link = id, %status, "the stream has ended");
                self.trouble_on(id, status.message());
                self.retire(id, false);
            }
            Received::Message(SessionResponse { kind: Some(session_response::Kind::HeartbeatAck(ack)) }) => {
                if let Some(link) = self.link(id) {
                    link.acknowledged(&ack);
                    self.pace = pace();
                    self.dial_at = Moment::now();
                }
            }
            Received::Message(SessionResponse { kind: Some(session_response::Kind::Event(event)) }) => {
                match event.event.and_then(|event| event.kind) {
                    Some(Kind::Draining(_)) if event.lock_ref == 0 => self.retire(id, true),
                    Some(kind) => self.event(At { link: id, lock_ref: event.lock_ref }, kind),
                    None => {}
                }
            }
            Received::Message(_) => {}
        }
    }

    fn keep_time(&mut self) {
        self.run_out();
        let now = Moment::now();
        self.links.iter_mut().for_each(|link| link.beat(now));
        let silent: Vec<u64> =
            self.links.iter().filter(|link| !link.retired && link.is_silent(now)).map(|link| link.id).collect();
        for id in silent {
            tracing::debug!(link = id, "the broker is silent");
            self.trouble_on(id, "the broker is silent");
            self.retire(id, false);
        }
        if self.place_at.is_some_and(Moment::has_passed) {
            self.place_at = None;
            self.place_all();
        }
    }

    /// Loses what has run out.
    fn run_out(&mut self) {
        let now = Moment::now();
        for at in 0..self.links.len() {
            let link = &mut self.links[at];
            let keys: Vec<Key> = match link.run_out(now) {
                None => continue,
                Some(RunOut::All) => link.locks.values().copied().collect(),
                Some(RunOut::Some(refs)) => refs.iter().filter_map(|at| link.locks.get(at).copied()).collect(),
            };
            let id = link.id;
            for key in keys {
                if self.lives_on(key, id) {
                    self.lose(key, LostReason::Expired);
                }
            }
        }
    }

    /// Returns the moment at which the task has something to do next, if nothing comes.
    fn wake(&self) -> Option<Moment> {
        let dial = self.needs_link().then_some(self.dial_at);
        let look = (!self.locks.is_empty()).then(|| Moment::now() + MAX_SLEEP);
        self.links.iter().filter_map(Link::wake).chain(dial).chain(look).chain(self.place_at).min()
    }
}

/// Returns true if a broker that refuses a session with this code would refuse it again.
fn is_final(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented)
}

async fn dialed(dialing: &mut Option<(usize, Dial)>) -> Result<Link, Status> {
    match dialing {
        Some((_, dial)) => dial.await,
        None => pending().await,
    }
}

async fn sleep(until: Option<Moment>) {
    match until {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

//! The task behind a client: does what the [core](crate::core) says, and tells it what happens.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{Stream, TryFutureExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::error::{Error, broken};
use super::guard::{Grant, Hold};
use super::observe::bring_value;
use super::settings::ClientSettings;
use super::wire;
use crate::clock::{Moment, sleep_until};
use crate::core::{
    self, Core, Failure, Input, Key, LinkId, LockSpec, LostReason, Message, Output, Refusal, Request, Wait,
};
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::{SessionRequest, SessionResponse};

/// A request of a guard or a call to the task.
pub(super) enum Command {
    /// A lock is wanted.
    Begin {
        /// A new key.
        key: Key,
        spec: LockSpec,
        /// The wait; none to try once.
        wait: Option<Wait>,
        /// The lock id of a grant to take over.
        adopt: Option<String>,
        reply: oneshot::Sender<Result<AcquireAnswer, Error>>,
    },
    /// A lock has another value.
    Value {
        /// The key given with `Begin`.
        key: Key,
        value: Vec<u8>,
    },
    /// A lock that is held alone is to be shared.
    Share {
        /// The key given with `Begin`.
        key: Key,
        limit: Option<u32>,
    },
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

/// The outcome of a call.
pub(super) enum AcquireAnswer {
    /// The lock is held.
    Granted {
        /// Shared with the guard.
        hold: Arc<Hold>,
        grant: Grant,
    },
    /// The lock was not acquired.
    Refused(Refusal),
}

/// The one to be told what becomes of a lock.
enum Caller {
    /// A call waits for the answer.
    Asks { name: String, reply: oneshot::Sender<Result<AcquireAnswer, Error>> },
    /// A guard holds the lock, or its release is under way.
    Holds { name: String, hold: Arc<Hold>, release: Option<Reply> },
}

/// A connection in the making.
type Dial = Pin<Box<dyn Future<Output = Result<Channel, Failure>> + Send>>;
/// The messages from a broker.
type Inbound = Pin<Box<dyn Stream<Item = Result<SessionResponse, Status>> + Send>>;

/// A Session stream on a connection of its own.
struct Link {
    id: LinkId,
    outbound: mpsc::UnboundedSender<SessionRequest>,
    inbound: Inbound,
}

/// The task's state.
pub(super) struct Session {
    settings: Arc<ClientSettings>,
    commands: mpsc::UnboundedReceiver<Command>,
    core: Core,
    callers: HashMap<Key, Caller>,
    /// The connection being made, and the number of its endpoint.
    dialing: Option<(LinkId, usize, Dial)>,
    /// A connection that stands, until its Session is opened.
    channel: Option<Channel>,
    links: Vec<Link>,
    /// The calls of Release under way.
    releases: JoinSet<(Key, Result<(), Failure>)>,
    /// The latest reason for which the two sides cannot talk.
    disagreement: Option<Error>,
}

/// The longest sleep of the task. Leases run on while the machine is suspended and timers do not, so the task may
/// notice that late that something has run out.
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// Something that came on a link.
enum Received {
    Message(SessionResponse),
    Ended(Status),
}

impl Session {
    pub(super) fn new(
        settings: Arc<ClientSettings>,
        commands: mpsc::UnboundedReceiver<Command>,
        chance: core::Chance,
    ) -> Session {
        let told = core::Settings { endpoints: settings.brokers.names(), answer_timeout: settings.answer_timeout };
        Session {
            core: Core::new(told, chance, Moment::now()),
            settings,
            commands,
            callers: HashMap::new(),
            dialing: None,
            channel: None,
            links: Vec::new(),
            releases: JoinSet::new(),
            disagreement: None,
        }
    }

    /// Runs until the client and all its guards and calls are gone. Then the streams are dropped, which releases what
    /// is left on them; what only a call can release is released.
    pub(super) async fn run(mut self) {
        loop {
            let due = self.due();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                (link, received) = receive(&mut self.links) => self.received(link, received),
                result = dialed(&mut self.dialing) => self.dialed(result),
                Some(ended) = self.releases.join_next() => self.released_elsewhere(ended),
                () = sleep(due) => self.step(Input::Timeout),
            }
        }
        (self.links, self.channel, self.dialing) = (Vec::new(), None, None);
        while self.core.is_releasing_elsewhere() {
            let due = self.due();
            tokio::select! {
                Some(ended) = self.releases.join_next() => self.released_elsewhere(ended),
                () = sleep(due) => self.step(Input::Timeout),
            }
            self.dialing = None;
        }
    }

    fn due(&self) -> Option<Moment> {
        self.core.due().map(|due| due.min(Moment::now() + MAX_SLEEP))
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Begin { key, spec, wait, adopt, reply } => {
                self.callers.insert(key, Caller::Asks { name: spec.name.clone(), reply });
                self.step(Input::Acquire { key, spec, wait, adopt });
            }
            Command::Value { key, value } => self.step(Input::Value { key, value }),
            Command::Share { key, limit } => self.step(Input::Share { key, limit }),
            Command::End { key, reply } => {
                match self.callers.get_mut(&key) {
                    None => return,
                    Some(Caller::Asks { .. }) => {
                        self.callers.remove(&key);
                    }
                    Some(Caller::Holds { release, .. }) => *release = release.take().or(reply),
                }
                self.step(Input::End { key });
            }
        }
    }

    /// Tells the core what has happened, and does what it says.
    fn step(&mut self, input: Input) {
        // These change what all locks of a stream may believe in.
        let concerns_all =
            matches!(input, Input::Ended { .. } | Input::Message { message: Message::HeartbeatAck { .. }, .. });
        let endpoint = self.core.next_endpoint();
        let outputs = self.core.handle(Moment::now(), input);
        if self.core.next_endpoint() != endpoint {
            // Single calls turn from it too. What is to be released elsewhere is not asked of a broker that was just left.
            self.settings.brokers.turn_from(endpoint);
        }
        for output in outputs {
            self.carry_out(output);
        }
        if concerns_all {
            let held = self.callers.iter().filter(|(_, caller)| matches!(caller, Caller::Holds { .. }));
            let held: Vec<Key> = held.map(|(&key, _)| key).collect();
            held.into_iter().for_each(|key| self.publish(key));
        }
    }

    /// Tells a guard for how long its lock is valid. A guard that has seen its lock run out since the core looked is
    /// believed: the lock is given up.
    fn publish(&mut self, key: Key) {
        let (Some(Caller::Holds { hold, .. }), Some(held)) = (self.callers.get(&key), self.core.held(key)) else {
            return;
        };
        if !hold.publish(held) {
            self.step(Input::End { key });
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Dial { link, endpoint } => {
                let connecting = (self.settings.brokers.get(endpoint).connect)();
                let connecting = connecting.map_err(|error| Failure::unavailable(broken(&error)));
                self.dialing = Some((link, endpoint, Box::pin(connecting)));
            }
            Output::Send { link, request: Request::Open } => self.open(link),
            Output::Send { link, request } => {
                if let Some(link) = self.links.iter().find(|each| each.id == link) {
                    // Fails only when the stream has ended, and with it all that could be said on it.
                    let _ = link.outbound.send(wire::request(request, self.settings.ttl));
                }
            }
            Output::Hangup { link } => {
                tracing::debug!(link, "hanging up");
                self.links.retain(|each| each.id != link);
                self.dialing.take_if(|(dialing, ..)| *dialing == link);
            }
            Output::Granted { key, fencing_token, also, .. } => {
                self.granted(key, Grant { fencing_token, also: also.into() });
            }
            Output::Moved { key, .. } => {
                self.publish(key);
                self.bring_value(key);
            }
            Output::NotShared { key, failure } => {
                if let Some(Caller::Holds { name, hold, .. }) = self.callers.get(&key) {
                    hold.refuse_to_share(Error::from_failure(name, failure));
                }
            }
            Output::Refused { key, refusal } => self.answer(key, |_| Ok(AcquireAnswer::Refused(refusal))),
            Output::Failed { key, failure } => {
                let disagreement = self.disagreement.clone().filter(|_| failure.code == core::Code::Handshake);
                self.end(key, |name| Err(disagreement.unwrap_or_else(|| Error::from_failure(name, failure))));
            }
            Output::Lost { key, reason } => self.lost(key, reason),
            Output::Released { key } => self.end(key, |_| Ok(())),
            Output::ReleaseElsewhere { key, name, lock_id } => {
                let settings = Arc::clone(&self.settings);
                self.releases.spawn(async move {
                    let result = settings.release(&name, &lock_id).await;
                    (key, result.map(|_| ()).map_err(Error::into_failure))
                });
            }
        }
    }

    fn open(&mut self, id: LinkId) {
        let Some(channel) = self.channel.take() else { return };
        let (outbound, mut queue) = mpsc::unbounded_channel();
        let _ = outbound.send(wire::request(Request::Open, self.settings.ttl));
        let requests = futures_util::stream::poll_fn(move |cx| queue.poll_recv(cx));
        let responses =
            async move { LockServiceClient::new(channel).session(requests).await.map(|it| it.into_inner()) };
        self.links.push(Link { id, outbound, inbound: Box::pin(responses.try_flatten_stream()) });
    }

    fn dialed(&mut self, result: Result<Channel, Failure>) {
        let Some((link, endpoint, _)) = self.dialing.take() else { return };
        let result = match result {
            Ok(channel) => {
                self.channel = Some(channel);
                Ok(())
            }
            Err(failure) => Err(self.explained(endpoint, failure)),
        };
        self.step(Input::Dialled { link, result });
    }

    /// Puts the reason for which the two sides cannot talk in the place of the failure that it led to.
    fn explained(&mut self, endpoint: usize, failure: Failure) -> Failure {
        match self.settings.brokers.get(endpoint).disagreement() {
            None => failure,
            Some(error) => {
                let failure = Failure { code: core::Code::Handshake, ..Failure::unavailable(error.to_string()) };
                self.disagreement = Some(error);
                failure
            }
        }
    }

    fn received(&mut self, link: LinkId, received: Received) {
        let ended = match received {
            Received::Message(message) => match wire::message(message) {
                Ok(message) => return self.step(Input::Message { link, message }),
                Err(why) => Failure { code: core::Code::Other(Code::Internal.into()), ..Failure::unavailable(why) },
            },
            Received::Ended(status) => {
                let message = status.source().map_or_else(|| status.message().to_owned(), broken);
                Failure { message, ..Failure::from(&status) }
            }
        };
        tracing::debug!(link, status = ended.message, "the stream has ended");
        self.links.retain(|each| each.id != link);
        let failure = match self.core.endpoint(link) {
            Some(endpoint) => self.explained(endpoint, ended),
            None => ended,
        };
        self.step(Input::Ended { link, failure });
    }

    fn granted(&mut self, key: Key, grant: Grant) {
        let (Some(caller), Some(held)) = (self.callers.remove(&key), self.core.held(key)) else { return };
        let Caller::Asks { name, reply } = caller else { return };
        let hold = Arc::new(Hold::new(held));
        self.callers.insert(key, Caller::Holds { name, hold: Arc::clone(&hold), release: None });
        // Fails if the call has been dropped; then its `End` is on the way.
        let _ = reply.send(Ok(AcquireAnswer::Granted { hold, grant }));
    }

    /// Brings the value that a lock was given last to where it has moved: its reattach may have been under way with an earlier one.
    fn bring_value(&self, key: Key) {
        let Some(Caller::Holds { name, hold, .. }) = self.callers.get(&key) else { return };
        if !matches!(hold.to_update(name), Ok(Some(_))) {
            return;
        }
        let (settings, name, hold) = (Arc::clone(&self.settings), name.clone(), Arc::clone(hold));
        tokio::spawn(async move {
            if let Err(error) = bring_value(&settings, &name, &hold).await {
                tracing::debug!(lock = name, %error, "the value has not moved along");
            }
        });
    }

    fn answer(&mut self, key: Key, answer: impl FnOnce(&str) -> Result<AcquireAnswer, Error>) {
        if let Some(Caller::Asks { name, reply }) = self.callers.remove(&key) {
            let _ = reply.send(answer(&name));
        }
    }

    /// Tells the end of a lock, or of a call that has failed.
    fn end(&mut self, key: Key, end: impl FnOnce(&str) -> Result<(), Error>) {
        match self.callers.remove(&key) {
            Some(Caller::Holds { name, release: Some(release), .. }) => {
                let _ = release.send(end(&name));
            }
            Some(Caller::Asks { name, reply }) => {
                if let Err(error) = end(&name) {
                    let _ = reply.send(Err(error));
                }
            }
            Some(Caller::Holds { .. }) | None => {}
        }
    }

    fn lost(&mut self, key: Key, reason: LostReason) {
        if let Some(Caller::Holds { name, hold, .. }) = self.callers.get(&key) {
            hold.lose(reason);
            tracing::debug!(lock = name, %reason, "lock lost");
        }
        self.end(key, |name| Err(Error::Lost { lock: name.to_owned(), reason }));
    }

    fn released_elsewhere(&mut self, ended: Result<(Key, Result<(), Failure>), tokio::task::JoinError>) {
        // Fails only if the runtime is being shut down.
        if let Ok((key, result)) = ended {
            self.step(Input::ReleasedElsewhere { key, result });
        }
    }
}

/// Waits for what comes next on any of `links`, and on which.
///
/// # Cancel safety
/// Nothing is lost when the future is dropped.
async fn receive(links: &mut [Link]) -> (LinkId, Received) {
    poll_fn(|cx| {
        for link in links.iter_mut() {
            if let Poll::Ready(received) = link.inbound.as_mut().poll_next(cx) {
                let ended = || Status::unavailable("the broker ended the Session");
                let received = match received {
                    Some(Ok(message)) => Received::Message(message),
                    Some(Err(status)) => Received::Ended(status),
                    None => Received::Ended(ended()),
                };
                return Poll::Ready((link.id, received));
            }
        }
        Poll::Pending
    })
    .await
}

async fn dialed(dialing: &mut Option<(LinkId, usize, Dial)>) -> Result<Channel, Failure> {
    match dialing {
        Some((_, _, dial)) => dial.await,
        None => pending().await,
    }
}

async fn sleep(until: Option<Moment>) {
    match until {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

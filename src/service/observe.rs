//! Values of locks, and those who observe them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::time::{Instant, sleep_until};
use tonic::{Request, Response, Status};
use tracing::Span;

use super::authorizer::Authorizer;
use super::connection::Connection;
use super::{Arrival, Service, about, parse, reply};
use crate::accounts::ObserverShare;
use crate::broker::{Failure, Observed, ObservedState, Observing, Updated, going_away};
use crate::client::ErrorReason;
use crate::lock::LockName;
use crate::policy::Action;
use crate::proto::observe_response::State;
use crate::proto::update_lock_response::Outcome;
use crate::proto::{ObserveRequest, ObserveResponse, UpdateLockRequest, UpdateLockResponse};
use crate::quota::Share;
use crate::store::ItemState;

/// The interval at which the policy is asked again, which may have changed, and at which the last state is told again, so that a client notices a stream on which nothing comes any more.
const REPEATED: Duration = Duration::from_secs(5);

/// The answers to one that observes a lock.
pub(super) type ObserveStream = Pin<Box<dyn Stream<Item = Result<ObserveResponse, Status>> + Send>>;

/// One that observes a lock, as its stream has it. It is asked when there is room: whoever reads slowly gets the latest alone.
struct Observer {
    observing: Observing,
    name: LockName,
    authorizer: Authorizer,
    connection: Option<Arc<Connection>>,
    checks_at: Instant,
    repeats_at: Instant,
    /// True once the stream has been told why it ends.
    is_over: bool,
    _room: Share,
    _own: Option<ObserverShare>,
}

impl Service {
    pub(super) async fn update_a_lock(
        &self,
        request: Request<UpdateLockRequest>,
    ) -> Result<Response<UpdateLockResponse>, Status> {
        let connection = Arrival::of(&request).connection;
        let UpdateLockRequest { name, lock_id, value } = request.into_inner();
        let name = parse::name(&name, "name")?;
        Span::current().record("lock", name.as_str());
        let lock_id = parse::lock_id(&lock_id, "lock_id")?;
        let value = parse::value(&value, "value")?;
        self.authorizer.admit_update(connection.as_ref(), &name).map_err(about(&name))?;
        let outcome = match self.broker.update(&name, lock_id, value).await.map_err(about(&name))? {
            Updated::Done => Outcome::Updated,
            Updated::NotHeld => Outcome::NotHeld,
            Updated::HeldByAnother => Outcome::HeldByAnother,
            Updated::NoValue => Outcome::NoValue,
        };
        Ok(Response::new(UpdateLockResponse { outcome: outcome.into() }))
    }

    pub(super) fn observe_a_lock(&self, request: Request<ObserveRequest>) -> Result<Response<ObserveStream>, Status> {
        let connection = Arrival::of(&request).connection;
        let name = parse::name(&request.into_inner().name, "name")?;
        Span::current().record("lock", name.as_str());
        let own = self.authorizer.admit_observer(connection.as_ref(), &name).map_err(about(&name))?;
        let full = || {
            let why = "as many observe locks at this broker as may: raise --max-observers, or ask another broker";
            reply::error(ErrorReason::MaxObservers, why)
        };
        let room = self.observers.take().ok_or_else(full)?;
        let observing = self.broker.observe(&name).map_err(about(&name))?;
        let (authorizer, at) = (self.authorizer.clone(), Instant::now() + REPEATED);
        let observer = Observer {
            observing,
            name,
            authorizer,
            connection,
            checks_at: at,
            repeats_at: at,
            is_over: false,
            _room: room,
            _own: own,
        };
        Ok(Response::new(Box::pin(unfold(observer, Observer::next))))
    }
}

impl Observer {
    async fn next(mut self) -> Option<(Result<ObserveResponse, Status>, Observer)> {
        if self.is_over {
            return None;
        }
        let seen = loop {
            tokio::select! {
                seen = self.observing.next() => break seen,
                () = sleep_until(self.repeats_at) => {
                    self.repeats_at = Instant::now() + REPEATED;
                    if let Some(last) = self.observing.last() {
                        break Some(last);
                    }
                }
            }
        };
        self.repeats_at = Instant::now() + REPEATED;
        let answer = match (self.check(), seen) {
            (Ok(()), Some(seen)) => Ok(response(&seen)),
            (Ok(()), None) => Err(going_away()),
            (Err(denied), _) => Err(denied),
        };
        self.is_over = answer.is_err();
        Some((answer.map_err(about(&self.name)), self))
    }

    /// Asks the policy again, from time to time.
    fn check(&mut self) -> Result<(), Failure> {
        if Instant::now() < self.checks_at {
            return Ok(());
        }
        self.checks_at = Instant::now() + REPEATED;
        self.authorizer.check(self.connection.as_ref(), Action::Look, &self.name)
    }
}

fn response(seen: &Arc<Observed>) -> ObserveResponse {
    let state = match seen.state {
        ObservedState::Unknown => State::Unknown,
        ObservedState::Free => State::Free,
        ObservedState::Taken(ItemState::Held(_)) => State::Held,
        ObservedState::Taken(ItemState::Lingering(id)) if id.is_revocation() => State::Revoked,
        ObservedState::Taken(ItemState::Lingering(_)) => State::Lingering,
    };
    ObserveResponse {
        state: state.into(),
        owner: seen.owner.as_str().to_owned(),
        value: seen.value.as_ref().map(|value| value.as_bytes().to_vec()),
        // Below 2^53 by its type.
        fencing_token: seen.token.map_or(0, |token| token.get() as i64),
        expires_in: seen.expires_in().map(reply::span),
    }
}

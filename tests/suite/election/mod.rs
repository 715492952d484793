//! Values of locks, and those who observe them: leaders and their followers.

mod client;
mod commands;
mod limits;
mod observers;
mod once;
mod quotas;
mod told;
mod values;

use std::time::{Duration, Instant};

use lockbroker::proto::observe_response::State;
use lockbroker::proto::update_lock_response::Outcome as Updated;
use lockbroker::proto::{AcquireRequest, LockSpec, ObserveRequest, ObserveResponse, UpdateLockRequest};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::support::*;

/// The shortest ttl, as the longest one too.
const SHORT: &[&str] = &["--max-ttl", "5s", "--default-ttl", "5s"];
/// What another broker has done is told within this time.
const POLLED: Duration = Duration::from_millis(1_500);
/// What the broker itself has done is told long before the next poll.
const AT_ONCE: Duration = Duration::from_millis(700);

/// The spec of a lock with a value.
fn valued(name: &str, value: &str) -> Option<LockSpec> {
    Some(LockSpec { name: name.to_owned(), value: Some(value.into()), ..LockSpec::default() })
}

fn campaign(name: &str, value: &str) -> AcquireRequest {
    AcquireRequest { lock: valued(name, value), ..AcquireRequest::default() }
}

async fn update(broker: &Broker, name: &str, lock_id: &str, value: &str) -> Result<Updated, Status> {
    let request = UpdateLockRequest { name: name.to_owned(), lock_id: lock_id.to_owned(), value: value.into() };
    broker.stub().await.update_lock(request).await.map(|answer| answer.into_inner().outcome())
}

/// One that observes a lock, and all that it was told.
struct Observer {
    stream: Streaming<ObserveResponse>,
    told: Vec<ObserveResponse>,
}

impl Observer {
    async fn at(broker: &Broker, name: &str) -> Observer {
        let request = ObserveRequest { name: name.to_owned() };
        let stream = broker.stub().await.observe(request).await.unwrap().into_inner();
        Observer { stream, told: Vec::new() }
    }

    /// Waits until it is told what is wanted, and returns that.
    async fn until(
        &mut self,
        within: Duration,
        what: &str,
        wanted: impl Fn(&ObserveResponse) -> bool,
    ) -> ObserveResponse {
        let began = Instant::now();
        loop {
            let next = timeout(within.saturating_sub(began.elapsed()), self.stream.message()).await;
            let Ok(next) = next else { panic!("{what}: not told within {within:?}: {:?}", self.told) };
            let next = next.unwrap().expect("the stream does not end by itself");
            self.told.push(next.clone());
            if wanted(&next) {
                return next;
            }
        }
    }

    /// Waits until it is told of a holder with this value.
    async fn value(&mut self, within: Duration, value: &str) -> ObserveResponse {
        self.until(within, value, |seen| is_held_with(seen, value)).await
    }

    async fn state(&mut self, within: Duration, state: State) -> ObserveResponse {
        self.until(within, state.as_str_name(), |seen| seen.state() == state).await
    }

    fn was_told(&self, state: State) -> bool {
        self.told.iter().any(|seen| seen.state() == state)
    }
}

fn is_held_with(seen: &ObserveResponse, value: &str) -> bool {
    seen.state() == State::Held && seen.value.as_deref() == Some(value.as_bytes())
}

/// Two brokers on one memcached.
async fn two_brokers(arguments: &[&str]) -> (Memcached, [Broker; 2]) {
    let memcached = Memcached::start(&[]).await;
    let brokers =
        [Broker::on_store(&memcached.store(), arguments).await, Broker::on_store(&memcached.store(), arguments).await];
    (memcached, brokers)
}

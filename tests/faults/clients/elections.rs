//! Who leads: clients that give their lock one value after another, and those who observe that. Neither has a hand in who has a lock.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lockbroker::proto::observe_response::State;
use lockbroker::proto::update_lock_response::Outcome;
use lockbroker::proto::{Acquired, ObserveRequest, UpdateLockRequest};
use rand::RngExt;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{KINDS, Life, PATIENCE, PAUSE};
use crate::elections::{Sight, View};
use crate::world::CLIENTS;

/// The number of names that have leaders now and then: the first ones.
pub(super) const LEADERS: usize = 4;
/// The time between two updates, in milliseconds.
const UPDATES: std::ops::Range<u64> = 10..600;
/// The time for which a lock is observed on one stream, in milliseconds.
const OBSERVES: std::ops::Range<u64> = 2_000..15_000;
/// Whoever hears nothing for so long asks elsewhere.
const SILENCE: Duration = Duration::from_secs(8);

/// The updates of a lock that is held, until it is dropped.
pub(super) struct Leads {
    /// None while the lock is reattached, which says its latest value too.
    lock_id: Arc<Mutex<Option<String>>>,
    updates: JoinHandle<()>,
}

impl Leads {
    pub(super) fn begin(life: &mut Life, campaign: usize, name: usize, acquired: &Acquired) -> Self {
        life.world.notes.elected(campaign, acquired.fencing_token);
        let mut life = life.share();
        // By an observer's link: what the notes say of a client's link is which broker has its locks.
        life.client = CLIENTS + life.client / KINDS;
        life.link = life.world.client_links[life.client].address();
        let lock_id = Arc::new(Mutex::new(Some(acquired.lock_id.clone())));
        let latest_id = Arc::clone(&lock_id);
        let updates = tokio::spawn(async move {
            while life.goes_on() {
                sleep(Duration::from_millis(life.rng.random_range(UPDATES))).await;
                update(&life, campaign, name, &latest_id).await;
            }
        });
        Self { lock_id, updates }
    }

    /// Begins no update while the lock is reattached.
    pub(super) fn pause(&self) {
        *self.lock_id.lock().unwrap() = None;
    }

    /// Goes on under the lock's new id.
    pub(super) fn move_to(&self, acquired: &Acquired) {
        *self.lock_id.lock().unwrap() = Some(acquired.lock_id.clone());
    }
}

impl Drop for Leads {
    fn drop(&mut self) {
        self.updates.abort();
    }
}

/// Sends one more value until that is answered, so that no more than one is ever without an answer.
async fn update(life: &Life, campaign: usize, name: usize, lock_id: &Mutex<Option<String>>) {
    let begin = || {
        let lock_id = lock_id.lock().unwrap();
        lock_id.is_some().then(|| life.world.notes.update(campaign))
    };
    let Some(value) = begin() else { return };
    while life.goes_on() {
        let id = lock_id.lock().unwrap().clone();
        if let Some(lock_id) = id
            && let Some(mut stub) = life.dial().await
        {
            let request = UpdateLockRequest { name: life.world.names[name].clone(), lock_id, value: value.clone() };
            if let Ok(Ok(answer)) = timeout(PATIENCE, stub.update_lock(request)).await {
                match answer.into_inner().outcome() {
                    Outcome::Updated => return life.world.notes.answered(campaign),
                    Outcome::NoValue => panic!("the lock was asked for with a value"),
                    // It was reattached meanwhile, or it is lost, which its stream will tell.
                    _ => {}
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Observes one lock after another until the end.
pub(crate) async fn observe(mut life: Life) {
    while life.goes_on() {
        let name = life.rng.random_range(0..LEADERS);
        let until = (Instant::now() + Duration::from_millis(life.rng.random_range(OBSERVES))).min(life.end);
        let seen = look(&life, name, until).await;
        if let Some(broker) = life.world.signposts.broker_of(life.client)
            && !seen.is_empty()
        {
            life.world.notes.views.lock().unwrap().push(View { broker, name, seen });
        }
        sleep(PAUSE).await;
    }
}

/// Returns what is told of a lock on one stream until then.
async fn look(life: &Life, name: usize, until: Instant) -> Vec<Sight> {
    let mut seen = Vec::new();
    let Some(mut stub) = life.dial().await else { return seen };
    let request = ObserveRequest { name: life.world.names[name].clone() };
    let Ok(Ok(stream)) = timeout(PATIENCE, stub.observe(request)).await else { return seen };
    let mut stream = stream.into_inner();
    loop {
        let patience = until.saturating_duration_since(Instant::now()).min(SILENCE);
        let Ok(Ok(Some(told))) = timeout(patience, stream.message()).await else { return seen };
        let at = Instant::now();
        assert!(told.value.is_none() || told.state() == State::Held, "who holds it not has no value: {told:?}");
        if told.fencing_token > 0 || told.value.is_some() {
            seen.push(Sight { at, token: told.fencing_token, value: told.value });
        }
    }
}

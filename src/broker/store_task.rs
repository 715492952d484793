//! The task that asks the store what the core orders, and brings the core its answers and the time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lockbroker_core::RequestId;
use lockbroker_core::store::{Note, Reply, Request};
use tokio::sync::Notify;

use super::engine::{Engine, Order};
use crate::clock::{Moment, sleep_until};
use crate::lock::LockName;
use crate::store::LockStore;

/// The longest sleep: tokio's timers stand still during a suspend, and leases do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// An answer, and what it answers.
pub(super) type Answer = (RequestId, Reply);

/// Runs until the broker is dropped.
pub(super) async fn run<S: LockStore>(engine: Weak<Engine>, alarm: Arc<Notify>, store: Arc<S>) {
    let mut orders = Vec::new();
    let mut answers = Vec::new();
    let mut under_way: FuturesUnordered<BoxFuture<'static, Answer>> = FuturesUnordered::new();
    loop {
        // Answers, and then orders, until there are neither: a turn on the answers may leave orders behind.
        let due = loop {
            while let Some(Some(answer)) = under_way.next().now_or_never() {
                answers.push(answer);
            }
            let Some(engine) = engine.upgrade() else { return };
            let due = engine.exchange(&mut answers, &mut orders);
            if orders.is_empty() {
                break due;
            }
            for order in orders.drain(..) {
                carry_out(&store, order, &mut under_way, &mut answers);
            }
        };
        let wake = due.map(|due| due.min(Moment::now() + LONGEST_SLEEP));
        tokio::select! {
            biased;
            Some(answer) = under_way.next(), if !under_way.is_empty() => answers.push(answer),
            () = alarm.notified() => {}
            () = sleep_until(wake.unwrap_or_else(Moment::now)), if wake.is_some() => {}
        }
    }
}

/// Tells the store, or asks it. What is answered at once, as from memory, is not waited for.
fn carry_out<S: LockStore>(
    store: &Arc<S>,
    order: Order,
    under_way: &mut FuturesUnordered<BoxFuture<'static, Answer>>,
    answers: &mut Vec<Answer>,
) {
    match order {
        Order::Note(name, note) => tell(&**store, &name, note),
        Order::Ask(id, name, request) => {
            let store = Arc::clone(store);
            let mut asking = async move { (id, ask(&*store, &name, request).await) }.boxed();
            match (&mut asking).now_or_never() {
                Some(answer) => answers.push(answer),
                None => under_way.push(asking),
            }
        }
    }
}

async fn ask<S: LockStore>(store: &S, name: &LockName, request: Request) -> Reply {
    match request {
        Request::Grant { id, ttl } => Reply::Granted(store.grant(name, id, ttl).await),
        Request::HandOver { from, to, ttl } => Reply::Granted(store.hand_over(name, from, to, ttl).await),
        Request::Renew { state, owner, ttl } => Reply::Changed(store.renew(name, state, &owner, ttl).await),
        Request::Replace { from, to, ttl } => Reply::Changed(store.replace(name, from, to, ttl).await),
        Request::Linger { from, to, ttl, certain } => Reply::Changed(store.linger(name, from, to, ttl, certain).await),
        Request::Remove { state } => Reply::Changed(store.remove(name, state).await),
        Request::Look => Reply::Status(store.look(name).await),
        Request::Stands(id) => Reply::Stands(store.stands(name, id).await),
        Request::Watch { kept, ttl } => Reply::Watching(store.watch(name, kept, ttl).await),
    }
}

fn tell<S: LockStore>(store: &S, name: &LockName, note: Note) {
    match note {
        Note::Describe { id, owner, ttl } => store.describe(name, id, &owner, ttl),
        Note::Unwatch => store.unwatch(name),
        Note::QueueHere { ttl } => store.note_line(name, ttl),
        Note::WakeQueue => store.wake_line(name),
    }
}

//! The task that asks the store what the core orders, and brings the core its answers and the time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use lockbroker_core::RequestId;
use lockbroker_core::store::{Note, Reply, Request};
use tokio::sync::{Notify, mpsc};

use super::engine::{Engine, Order};
use crate::clock::{Moment, sleep_until};
use crate::lock::LockName;
use crate::store::LockStore;

/// How many orders are taken before answers are looked at again.
const TAKEN_AT_ONCE: usize = 1024;
/// The longest sleep: tokio's timers stand still during a suspend, and leases do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Runs until the broker is dropped.
pub(super) async fn run<S: LockStore>(
    engine: Weak<Engine>,
    alarm: Arc<Notify>,
    store: Arc<S>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut taken = Vec::new();
    let mut under_way: FuturesUnordered<BoxFuture<'static, (RequestId, Reply)>> = FuturesUnordered::new();
    loop {
        let Some(due) = engine.upgrade().map(|engine| engine.schedule()) else { return };
        let wake = due.map(|due| due.min(Moment::now() + LONGEST_SLEEP));
        tokio::select! {
            biased;
            Some((id, reply)) = under_way.next(), if !under_way.is_empty() => {
                let Some(engine) = engine.upgrade() else { return };
                engine.turn(|core, outside| core.answered(id, reply, outside));
            }
            count = orders.recv_many(&mut taken, TAKEN_AT_ONCE) => {
                if count == 0 {
                    return;
                }
                for order in taken.drain(..) {
                    match order {
                        Order::Ask(id, name, request) => {
                            let store = Arc::clone(&store);
                            under_way.push(Box::pin(async move { (id, ask(&*store, &name, request).await) }));
                        }
                        Order::Note(name, note) => tell(&*store, &name, note),
                    }
                }
            }
            () = alarm.notified() => {}
            () = sleep_until(wake.unwrap_or_else(Moment::now)), if wake.is_some() => {
                let Some(engine) = engine.upgrade() else { return };
                engine.turn(|core, outside| core.timeout(outside));
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

//! The task that asks the store what the core orders, and brings the core its answers and the time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use foldhash::HashMap;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
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

/// How many times the core is asked for orders before other tasks have their turn.
const ROUNDS_AT_ONCE: usize = 8;

/// An answer, and what it answers.
pub(super) type Answer = (RequestId, Reply);

/// What the store is asked, until it answers.
#[derive(Default)]
struct UnderWay {
    asked: FuturesUnordered<BoxFuture<'static, Option<Answer>>>,
    /// Ends those of which something is left to do that need not be done when nobody waits for the answer.
    handles: HashMap<RequestId, AbortHandle>,
    answers: Vec<Answer>,
}

/// Runs until the broker is dropped.
pub(super) async fn run<S: LockStore>(engine: Weak<Engine>, alarm: Arc<Notify>, store: Arc<S>) {
    let mut orders = Vec::new();
    let mut under_way = UnderWay::default();
    loop {
        // Answers, and then orders, until there are neither: a turn on the answers may leave orders behind.
        let mut rounds = 0;
        let due = loop {
            while let Some(Some(answer)) = under_way.asked.next().now_or_never() {
                under_way.take(answer);
            }
            let Some(engine) = engine.upgrade() else { return };
            let due = engine.exchange(&mut under_way.answers, &mut orders);
            drop(engine);
            if orders.is_empty() && under_way.answers.is_empty() {
                break due;
            }
            for order in orders.drain(..) {
                under_way.carry_out(&store, order);
            }
            rounds += 1;
            if rounds % ROUNDS_AT_ONCE == 0 {
                // On several threads there may always be orders. Others are to have this thread too.
                tokio::task::yield_now().await;
            }
        };
        let wake = due.map(|due| due.min(Moment::now() + LONGEST_SLEEP));
        tokio::select! {
            biased;
            Some(answer) = under_way.asked.next(), if !under_way.asked.is_empty() => under_way.take(answer),
            () = alarm.notified() => {}
            () = sleep_until(wake.unwrap_or_else(Moment::now)), if wake.is_some() => {}
        }
    }
}

impl UnderWay {
    /// Keeps an answer for the core. None of one that was given up.
    fn take(&mut self, answer: Option<Answer>) {
        if let Some((id, _)) = &answer {
            self.handles.remove(id);
        }
        self.answers.extend(answer);
    }

    /// Tells the store, or asks it. What is answered at once, as from memory, is not waited for.
    fn carry_out<S: LockStore>(&mut self, store: &Arc<S>, order: Order) {
        match order {
            Order::Note(name, note) => tell(&**store, &name, note),
            Order::GiveUp(id) => {
                if let Some(handle) = self.handles.remove(&id) {
                    handle.abort();
                }
            }
            Order::Ask(id, name, request) => {
                let store = Arc::clone(store);
                // A look that nobody waits for need not be sent, and a renewal no more re-asserts a lock that is lost.
                let ends = matches!(request, Request::Look | Request::Stands(_) | Request::Renew { .. });
                let asking = async move { (id, ask(&*store, &name, request).await) };
                let mut asking = if ends {
                    let (handle, registration) = AbortHandle::new_pair();
                    self.handles.insert(id, handle);
                    Abortable::new(asking, registration).map(Result::ok).boxed()
                } else {
                    asking.map(Some).boxed()
                };
                match (&mut asking).now_or_never() {
                    Some(answer) => self.take(answer),
                    None => self.asked.push(asking),
                }
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

//! The task that takes the core's orders to the store, and brings the core its answers and the time.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::engine::Engine;
use crate::clock::{Moment, sleep_until};
use crate::store::LockStore;

/// The longest sleep: tokio's timers stand still during a suspend, and leases do not.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// The number of times that the core is asked for orders before other tasks have their turn…
const ROUNDS_AT_ONCE: usize = 8;
/// …and the number of orders and events.
const WORK_AT_ONCE: usize = 1024;

/// Runs until the broker is dropped.
pub(super) async fn run(engine: Weak<Engine>, alarm: Arc<Notify>, mut store: impl LockStore) {
    let (mut orders, mut events) = (Vec::new(), Vec::new());
    let (mut rounds, mut work) = (0, 0);
    loop {
        // Answers, and then orders, until there are neither: a turn on the answers may leave orders behind.
        let due = loop {
            rounds += 1;
            if rounds > ROUNDS_AT_ONCE || work > WORK_AT_ONCE {
                (rounds, work) = (0, 0);
                // On several threads there may always be orders, and hints may come faster than they are heeded. The store
                // goes on all the same, and others are to have this thread too.
                let _ = store.drive(&mut events).now_or_never();
                tokio::task::yield_now().await;
            }
            let Some(engine) = engine.upgrade() else { return };
            work += events.len();
            let due = engine.exchange(&mut events, &mut orders);
            work += orders.len();
            drop(engine);
            if orders.is_empty() && events.is_empty() {
                break due;
            }
            if !orders.is_empty() {
                store.take(&mut orders, &mut events);
            }
        };
        let wake = due.map(|due| due.min(Moment::now() + LONGEST_SLEEP));
        tokio::select! {
            biased;
            () = store.drive(&mut events) => {}
            () = alarm.notified() => {}
            () = sleep_until(wake.unwrap_or_else(Moment::now)), if wake.is_some() => {}
        }
    }
}

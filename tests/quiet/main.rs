//! The tests that measure, and that others beside them would disturb: they run one after another, in a program of their own.

mod contention;
mod cost;
mod fairness;
mod hand_over_cost;
mod kill;
mod listing;
mod races;
mod release_elsewhere;
#[path = "../support/mod.rs"]
mod support;
mod wait_on_time;

use tokio::sync::{Mutex, MutexGuard};

/// Waits until no other test of this program runs; the next one starts when this is dropped.
pub(crate) async fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::const_new(());
    QUIET.lock().await
}

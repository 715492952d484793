//! The tests that measure, and that others beside them would disturb: they run one after another, in a program of their own.

mod contention;
mod cost;
mod fairness;
mod hand_over_cost;
mod kill;
mod listing;
mod permits;
mod races;
mod release_elsewhere;
#[path = "../support/mod.rs"]
mod support;
mod wait_on_time;

use tokio::sync::{Mutex, MutexGuard};

/// True if what is measured is an optimised broker: then its aims hold. Otherwise those of a debug build do, which takes up to ten times
/// as long.
pub(crate) fn is_optimised() -> bool {
    std::env::var_os("LOCKBROKER_TEST_BROKER").is_some() || !cfg!(debug_assertions)
}

/// Waits until no other test of this program runs; the next one starts when this is dropped.
pub(crate) async fn quiet() -> MutexGuard<'static, ()> {
    static QUIET: Mutex<()> = Mutex::const_new(());
    QUIET.lock().await
}

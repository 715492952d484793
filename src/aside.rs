//! Long work for one, aside from what everybody waits for.

use std::thread;

use rustix::process::nice;
use tokio::runtime::Builder;

/// How much less of the processors such work gets, as nice(1) counts it.
const NICE: i32 = 10;

/// Does work in a thread of its own, which gets less of the processors than others. Nobody waits for it: its end is known by
/// what it drops. Where there are no more threads, it is dropped at once.
pub(crate) fn aside<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let run = move || {
        // Where that is not allowed, it goes without.
        let _ = nice(NICE);
        // With a runtime of its own, it does not mind that the broker's may end before it.
        if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
            runtime.block_on(work());
        }
    };
    let _ = thread::Builder::new().name("list".into()).spawn(run);
}

//! Which threads take signals: the main thread, and that one when it can.

use nix::sys::signal::{SigSet, SigmaskHow};

/// Leaves all signals to the main thread: for every other one, as it starts.
pub fn leave_signals_to_the_main_thread() {
    // This cannot fail: the signals exist.
    let _ = SigSet::all().thread_block();
}

/// Does something during which no signal reaches this thread, nor one that it starts meanwhile. What comes is delivered after that.
pub(crate) fn held_back<T>(act: impl FnOnce() -> T) -> T {
    // Neither fails: the signals exist.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK);
    let done = act();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    done
}

//! Leaves out each rule, in the configuration in which that makes a difference.

use crate::properties::{LEASE_KEPT, LINGER_WHOLE, ONE_HOLDER, TOKENS_RISE};
use crate::rules::{Bounds, Losses, Rules};

/// A rule left out.
#[derive(Clone, Copy, Debug)]
pub struct Mutilation {
    pub rule: &'static str,
    pub rules: Rules,
    pub bounds: Bounds,
    /// The property that does not hold without it.
    pub breaks: &'static str,
}

const QUIET: Bounds = Bounds::QUIET;
const ONCE: Bounds = Bounds { asks: Some(1), ..QUIET };
const NO_LOSS: Losses = Losses { whole: false, state: false, fences: false, flush: false };
const WHOLE: Bounds = Bounds { losses: Losses { whole: true, ..NO_LOSS }, loss_count: 1, ..ONCE };
const FLUSH: Bounds = Bounds { losses: Losses { flush: true, ..NO_LOSS }, loss_count: 1, ..ONCE };
/// A holder and one who asks for a permit; a lease is long enough for a batch to outlast the quarantine.
const SHARED: Bounds = Bounds { shared: [false, true], stay: true, ttl: [4, 4], ..WHOLE };
/// One who has the lock alone goes on as one who shares it, and another one wants it alone.
const DOWNGRADE: Bounds = Bounds { downgrades: [true, false], reattaches: 1, ttl: [2, 2], ..ONCE };
/// One who wants two permits at once, and another one who wants the lock alone.
const COLLECT: Bounds = Bounds { shared: [true, false], permits: 2, weight: [2, 1], ttl: [2, 2], ..ONCE };
const PROMPT: Bounds = Bounds { prompt: true, ttl: [4, 3], ..WHOLE };

macro_rules! without {
    ($rule:ident, $bounds:expr, $breaks:expr) => {
        Mutilation {
            rule: stringify!($rule),
            rules: Rules { $rule: false, ..Rules::ALL },
            bounds: Bounds { name: stringify!($rule), ..$bounds },
            breaks: $breaks,
        }
    };
}

/// All of them.
pub const ALL: &[Mutilation] = &[
    without!(witness, FLUSH, ONE_HOLDER),
    without!(witness_last, FLUSH, ONE_HOLDER),
    without!(witness_unwritten, FLUSH, ONE_HOLDER),
    without!(witness_unread, FLUSH, ONE_HOLDER),
    without!(grant_only_if_open, SHARED, ONE_HOLDER),
    without!(lost_is_final, SHARED, ONE_HOLDER),
    without!(permit_before_look, Bounds { shared: [false, true], ..ONCE }, ONE_HOLDER),
    without!(lock_before_look, Bounds { shared: [false, true], ..ONCE }, ONE_HOLDER),
    without!(gate_compares, COLLECT, ONE_HOLDER),
    without!(lock_outlives_downgrade, DOWNGRADE, ONE_HOLDER),
    without!(fresh_epoch, Bounds { ttl: [3, 3], new_server: true, strays: 2, prompt: true, ..WHOLE }, ONE_HOLDER),
    without!(quarantine, WHOLE, ONE_HOLDER),
    without!(quarantine_length, WHOLE, ONE_HOLDER),
    without!(quarantine_per_epoch, Bounds { new_server: true, ..WHOLE }, ONE_HOLDER),
    without!(quarantine_from_arrival, Bounds { ttl: [2, 2], ..WHOLE }, ONE_HOLDER),
    without!(margin, QUIET, ONE_HOLDER),
    without!(answer_in_time, QUIET, ONE_HOLDER),
    without!(renewal_compares, QUIET, ONE_HOLDER),
    without!(release_compares, QUIET, ONE_HOLDER),
    without!(hand_over_compares, Bounds { asks_at: [[true, false], [true, true]], ..QUIET }, ONE_HOLDER),
    without!(reattach_new_id, Bounds { reattaches: 1, ..ONCE }, ONE_HOLDER),
    without!(reattach_never_undone, Bounds { reattaches: 1, strays: 1, ..ONCE }, ONE_HOLDER),
    without!(reattach_protected, Bounds { reattaches: 1, breaks: 1, ..ONCE }, ONE_HOLDER),
    without!(silence_waits, Bounds { breaks: 1, ..ONCE }, ONE_HOLDER),
    without!(reset_is_silence, Bounds { breaks: 1, ..ONCE }, ONE_HOLDER),
    without!(clock_lag, Bounds { stops: 1, ..ONCE }, ONE_HOLDER),
    without!(clock_learned, Bounds { stops: 1, deaths: 1, restarts: true, ..ONCE }, ONE_HOLDER),
    without!(fence_after_lock, Bounds { tokens: Some(3), ..QUIET }, TOKENS_RISE),
    without!(fence_start, Bounds { tokens: Some(3), ..PROMPT }, TOKENS_RISE),
    without!(scrub, PROMPT, LEASE_KEPT),
    without!(closed_is_unsettled, PROMPT, LEASE_KEPT),
    without!(reassert, PROMPT, LEASE_KEPT),
    without!(reassert_linger, Bounds { linger: [6, 0], ..PROMPT }, LINGER_WHOLE),
    without!(item_outlives_linger, Bounds { linger: [1, 0], ..QUIET }, LINGER_WHOLE),
    without!(linger_never_shortens, Bounds { linger: [1, 0], stops: 1, ..ONCE }, LINGER_WHOLE),
    without!(release_creates_linger, Bounds { linger: [6, 0], ..PROMPT }, LINGER_WHOLE),
    without!(revoked_waits, Bounds { revocations: 1, ..ONCE }, ONE_HOLDER),
    without!(revoked_lives, Bounds { revocations: 1, ..ONCE }, ONE_HOLDER),
    without!(lease_not_recreated, Bounds { leases: [true, false], ..PROMPT }, ONE_HOLDER),
    without!(kept_on_close, Bounds { kept: [true, false], breaks: 1, ..PROMPT }, ONE_HOLDER),
    without!(min_hold_kept, Bounds { min_hold: [6, 0], ..ONCE }, LINGER_WHOLE),
    without!(min_hold_in_item, Bounds { min_hold: [6, 0], deaths: 1, ..ONCE }, LINGER_WHOLE),
    without!(
        min_hold_never_cut,
        Bounds { min_hold: [6, 0], stops: 1, losses: NO_LOSS, loss_count: 0, ..PROMPT },
        LINGER_WHOLE
    ),
    without!(moving_release_lingers, Bounds { linger: [1, 0], reattaches: 1, ..ONCE }, LINGER_WHOLE),
];

//! The configurations: each has a few features on, and together they pair every fault with every step.

use crate::rules::{Bounds, Losses};

const QUIET: Bounds = Bounds::QUIET;
/// Each client asks once.
const ONCE: Bounds = Bounds { asks: Some(1), ..QUIET };
/// Time goes on only when all work is done, so that more can happen within reach. The ttls leave room for a renewal.
const PROMPT: Bounds = Bounds { ttl: [4, 3], prompt: true, ..ONCE };
/// One who has the lock alone goes on as one who shares it, and another asks for a permit.
const DOWNGRADE: Bounds =
    Bounds { shared: [false, true], downgrades: [true, false], permits: 2, ttl: [3, 3], reattaches: 1, ..PROMPT };
/// One wants two permits at once, and another one.
const WEIGHT: Bounds = Bounds { shared: [true, true], permits: 2, weight: [2, 1], ttl: [3, 3], ..PROMPT };
const BREAKS_AND_DEATH: Bounds = Bounds { breaks: 1, deaths: 1, restarts: true, ..PROMPT };
const NO_LOSS: Losses = Losses { whole: false, state: false, fences: false, flush: false };
const WHOLE: Losses = Losses { whole: true, ..NO_LOSS };
const PARTS: Losses = Losses { state: true, fences: true, ..NO_LOSS };
const FLUSH: Losses = Losses { flush: true, ..NO_LOSS };
const EVERY: Losses = Losses { whole: true, state: true, fences: true, flush: true };
/// Both clients at broker 0, so that it hands over.
const TOGETHER: [[bool; 2]; 2] = [[true, false], [true, false]];
/// Client 0 alone.
const ALONE: [[bool; 2]; 2] = [[true, false], [false, false]];
/// Client 1 at either.
const EITHER: [[bool; 2]; 2] = [[true, false], [true, true]];

/// The configurations that are explored to the end. With every change those that are not slow; by night all.
pub const ALL: &[Bounds] = &[
    QUIET,
    Bounds { name: "late", slow: true, strays: 2, ..QUIET },
    Bounds { name: "hand-over", slow: true, asks_at: EITHER, strays: 1, ..ONCE },
    Bounds { name: "hand-over, breaks", asks_at: TOGETHER, strays: 1, breaks: 1, ..ONCE },
    Bounds { name: "hand-over, death", slow: true, asks_at: EITHER, deaths: 1, restarts: true, strays: 1, ..ONCE },
    Bounds { name: "hand-over, stop", slow: true, asks_at: TOGETHER, stops: 1, strays: 1, ..ONCE },
    Bounds { name: "hand-over, loss", slow: true, asks_at: TOGETHER, losses: WHOLE, loss_count: 1, ..ONCE },
    Bounds { name: "breaks", slow: true, strays: 1, breaks: 1, ..QUIET },
    Bounds { name: "death", slow: true, deaths: 1, restarts: true, strays: 1, ..QUIET },
    Bounds { name: "stop", slow: true, stops: 1, strays: 1, ..ONCE },
    Bounds { name: "stop, death", slow: true, stops: 1, deaths: 1, restarts: true, ..ONCE },
    Bounds { name: "stop, breaks", slow: true, stops: 1, breaks: 1, ..ONCE },
    Bounds { name: "reattach", slow: true, reattaches: 1, breaks: 1, ..ONCE },
    Bounds { name: "reattach, late", slow: true, ttl: [2, 2], reattaches: 1, strays: 1, ..ONCE },
    Bounds { name: "reattach, death", slow: true, reattaches: 1, deaths: 1, ..ONCE },
    Bounds { name: "reattach, stop", slow: true, ttl: [2, 2], reattaches: 1, stops: 1, ..ONCE },
    Bounds { name: "release elsewhere, stop", slow: true, ttl: [2, 2], releases_elsewhere: 1, stops: 1, ..ONCE },
    Bounds { name: "release elsewhere", slow: true, releases_elsewhere: 1, strays: 1, ..ONCE },
    Bounds { name: "two breaks", slow: true, breaks: 2, ..ONCE },
    Bounds { name: "two deaths", slow: true, deaths: 2, restarts: true, strays: 1, ..ONCE },
    Bounds { name: "two stops", slow: true, ttl: [2, 2], stops: 2, ..ONCE },
    Bounds { name: "two reattaches", slow: true, ttl: [2, 2], reattaches: 2, ..ONCE },
    Bounds { name: "two releases elsewhere", releases_elsewhere: 2, ..ONCE },
    Bounds { name: "apart", slow: true, apart: true, strays: 1, ..ONCE },
    Bounds { name: "apart, hand-over", ttl: [2, 2], apart: true, asks_at: TOGETHER, strays: 1, ..ONCE },
    Bounds { name: "apart, reattach", slow: true, ttl: [2, 2], apart: true, reattaches: 1, ..ONCE },
    Bounds { name: "apart, stop", slow: true, ttl: [2, 2], apart: true, stops: 1, ..ONCE },
    Bounds { name: "linger", slow: true, linger: [1, 0], strays: 1, ..QUIET },
    Bounds { name: "linger, breaks", slow: true, linger: [1, 0], breaks: 1, ..ONCE },
    Bounds { name: "linger, stop", slow: true, linger: [1, 0], stops: 1, ..ONCE },
    Bounds { name: "linger, death", linger: [1, 0], deaths: 1, ..ONCE },
    Bounds { name: "linger, reattach", slow: true, linger: [1, 0], reattaches: 1, releases_elsewhere: 1, ..ONCE },
    Bounds { name: "revoke", slow: true, revocations: 1, ..ONCE },
    Bounds { name: "revoke, prompt", revocations: 1, ..PROMPT },
    Bounds { name: "revoke, twice", revocations: 2, ..PROMPT },
    Bounds { name: "revoke, hand-over", revocations: 1, asks_at: EITHER, ..PROMPT },
    Bounds { name: "revoke, late", slow: true, revocations: 1, strays: 1, ..PROMPT },
    Bounds { name: "revoke, breaks", revocations: 1, breaks: 1, ..PROMPT },
    Bounds { name: "revoke, death", revocations: 1, deaths: 1, restarts: true, ..PROMPT },
    Bounds { name: "revoke, stop", slow: true, ttl: [3, 3], revocations: 1, stops: 1, ..PROMPT },
    Bounds { name: "revoke, reattach", slow: true, ttl: [3, 3], revocations: 1, reattaches: 1, ..PROMPT },
    Bounds { name: "revoke, linger", linger: [1, 0], revocations: 1, ..PROMPT },
    Bounds { name: "revoke, loss", slow: true, losses: EVERY, loss_count: 1, revocations: 1, ..PROMPT },
    Bounds {
        name: "revoke, two losses",
        slow: true,
        ttl: [3, 3],
        losses: WHOLE,
        loss_count: 2,
        revocations: 1,
        ..PROMPT
    },
    Bounds {
        name: "revoke, loss, death",
        slow: true,
        ttl: [3, 3],
        losses: WHOLE,
        loss_count: 1,
        revocations: 1,
        deaths: 1,
        ..PROMPT
    },
    Bounds { name: "lease", leases: [true, false], ..ONCE },
    Bounds { name: "lease, prompt", leases: [true, true], ..PROMPT },
    Bounds { name: "lease, hand-over", leases: [true, false], asks_at: EITHER, ..PROMPT },
    Bounds { name: "lease, late", leases: [true, false], strays: 1, ..PROMPT },
    Bounds { name: "lease, death", leases: [true, false], deaths: 1, restarts: true, ..PROMPT },
    Bounds { name: "lease, stop", slow: true, ttl: [3, 3], leases: [true, false], stops: 1, ..PROMPT },
    Bounds { name: "lease, release", leases: [true, false], releases_elsewhere: 1, ..PROMPT },
    Bounds { name: "lease, linger", leases: [true, false], linger: [1, 0], ..PROMPT },
    Bounds { name: "lease, revoke", slow: true, leases: [true, false], revocations: 1, ..PROMPT },
    Bounds { name: "lease, loss", slow: true, leases: [true, false], losses: EVERY, loss_count: 1, ..PROMPT },
    Bounds {
        name: "lease, two losses",
        slow: true,
        ttl: [3, 3],
        leases: [true, false],
        losses: WHOLE,
        loss_count: 2,
        ..PROMPT
    },
    Bounds { name: "kept", slow: true, kept: [true, false], breaks: 2, ..ONCE },
    Bounds { name: "kept, hand-over", kept: [true, true], breaks: 1, asks_at: EITHER, ..PROMPT },
    Bounds { name: "kept, linger", kept: [true, false], linger: [1, 0], breaks: 1, ..PROMPT },
    Bounds { name: "kept, reattach", ttl: [3, 3], kept: [true, false], breaks: 1, reattaches: 1, ..PROMPT },
    Bounds { name: "kept, stop", slow: true, ttl: [3, 3], kept: [true, false], breaks: 1, stops: 1, ..PROMPT },
    Bounds { name: "kept, late", slow: true, kept: [true, false], breaks: 1, strays: 1, ..PROMPT },
    Bounds { name: "kept, loss", slow: true, kept: [true, false], breaks: 1, losses: EVERY, loss_count: 1, ..PROMPT },
    Bounds { name: "min hold", min_hold: [6, 0], ..PROMPT },
    Bounds { name: "min hold, hand-over", min_hold: [6, 0], asks_at: TOGETHER, ..PROMPT },
    Bounds { name: "min hold, late", min_hold: [5, 0], strays: 1, ..PROMPT },
    Bounds { name: "min hold, breaks", min_hold: [6, 0], breaks: 1, ..PROMPT },
    Bounds { name: "min hold, death", min_hold: [6, 0], deaths: 1, restarts: true, ..PROMPT },
    Bounds { name: "min hold, stop", slow: true, ttl: [3, 3], min_hold: [6, 0], stops: 1, ..PROMPT },
    Bounds { name: "min hold, stop, death", slow: true, ttl: [3, 3], min_hold: [6, 0], stops: 1, deaths: 1, ..PROMPT },
    Bounds { name: "min hold, release elsewhere", min_hold: [6, 0], releases_elsewhere: 1, ..PROMPT },
    Bounds { name: "min hold, reattach", ttl: [3, 3], min_hold: [6, 0], reattaches: 1, deaths: 1, ..PROMPT },
    Bounds {
        name: "min hold, lease",
        slow: true,
        leases: [true, false],
        min_hold: [6, 0],
        releases_elsewhere: 1,
        ..PROMPT
    },
    Bounds { name: "min hold, lease, death", slow: true, leases: [true, false], min_hold: [6, 0], deaths: 1, ..PROMPT },
    Bounds { name: "min hold, loss", slow: true, min_hold: [6, 0], losses: EVERY, loss_count: 1, ..PROMPT },
    Bounds { name: "shared, two", shared: [true, true], permits: 2, ..PROMPT },
    Bounds { name: "shared, in turn", shared: [true, true], permits: 1, ..PROMPT },
    Bounds { name: "shared, together", shared: [false, true], asks_at: TOGETHER, ..PROMPT },
    Bounds { name: "shared, breaks", shared: [false, true], breaks: 1, ..PROMPT },
    Bounds { name: "shared, death", shared: [false, true], deaths: 1, restarts: true, ..PROMPT },
    Bounds {
        name: "shared, two, loss",
        slow: true,
        shared: [true, true],
        permits: 2,
        losses: EVERY,
        loss_count: 1,
        ..PROMPT
    },
    Bounds {
        name: "shared, death, loss",
        slow: true,
        ttl: [3, 3],
        shared: [false, true],
        deaths: 1,
        losses: WHOLE,
        loss_count: 1,
        ..PROMPT
    },
    Bounds { name: "shared, release elsewhere", shared: [false, true], releases_elsewhere: 1, ..PROMPT },
    Bounds {
        name: "shared, loss, breaks",
        slow: true,
        ttl: [3, 3],
        shared: [false, true],
        losses: WHOLE,
        loss_count: 1,
        breaks: 1,
        ..PROMPT
    },
    Bounds {
        name: "shared, loss, reattach",
        slow: true,
        ttl: [3, 3],
        shared: [false, true],
        losses: WHOLE,
        loss_count: 1,
        reattaches: 1,
        ..PROMPT
    },
    Bounds {
        name: "shared, loss, release elsewhere",
        slow: true,
        ttl: [3, 3],
        shared: [false, true],
        losses: WHOLE,
        loss_count: 1,
        releases_elsewhere: 1,
        ..PROMPT
    },
    Bounds { name: "shared, stop", slow: true, shared: [false, true], ttl: [3, 3], stops: 1, ..PROMPT },
    Bounds { name: "shared, reattach", shared: [false, true], ttl: [3, 3], reattaches: 1, ..PROMPT },
    Bounds { name: "shared, apart", slow: true, shared: [false, true], ttl: [2, 2], apart: true, ..ONCE },
    Bounds { name: "shared", shared: [false, true], ..QUIET },
    Bounds { name: "shared, late", slow: true, shared: [false, true], strays: 1, ..ONCE },
    Bounds { name: "shared, loss", slow: true, shared: [false, true], losses: WHOLE, loss_count: 1, ..ONCE },
    Bounds {
        name: "shared, loss, long ttls",
        slow: true,
        shared: [false, true],
        stay: true,
        ttl: [4, 4],
        losses: WHOLE,
        loss_count: 1,
        ..ONCE
    },
    Bounds { name: "shared, loss, prompt", slow: true, shared: [false, true], losses: EVERY, loss_count: 1, ..PROMPT },
    Bounds { name: "downgrade", ..DOWNGRADE },
    Bounds { name: "downgrade, writer", shared: [false, false], ..DOWNGRADE },
    Bounds { name: "downgrade, together", asks_at: TOGETHER, ..DOWNGRADE },
    Bounds { name: "downgrade, two", reattaches: 2, ..DOWNGRADE },
    Bounds { name: "downgrade, breaks", breaks: 1, ..DOWNGRADE },
    Bounds { name: "downgrade, death", deaths: 1, ..DOWNGRADE },
    Bounds { name: "downgrade, death, writer", deaths: 1, shared: [false, false], ..DOWNGRADE },
    Bounds { name: "downgrade, loss", slow: true, losses: WHOLE, loss_count: 1, ..DOWNGRADE },
    Bounds { name: "downgrade, late", slow: true, prompt: false, ttl: [2, 2], strays: 1, ..DOWNGRADE },
    Bounds {
        name: "downgrade, late, writer",
        slow: true,
        prompt: false,
        ttl: [2, 2],
        strays: 1,
        shared: [false, false],
        ..DOWNGRADE
    },
    Bounds { name: "downgrade, stop", slow: true, stops: 1, ..DOWNGRADE },
    Bounds { name: "weight", ..WEIGHT },
    Bounds { name: "weight, both", weight: [2, 2], ..WEIGHT },
    Bounds { name: "weight, writer", shared: [true, false], ..WEIGHT },
    Bounds { name: "weight, together", asks_at: TOGETHER, ..WEIGHT },
    Bounds { name: "weight, breaks", breaks: 1, ..WEIGHT },
    Bounds { name: "weight, death", deaths: 1, restarts: true, shared: [true, false], ..WEIGHT },
    Bounds { name: "weight, loss", slow: true, losses: WHOLE, loss_count: 1, shared: [true, false], ..WEIGHT },
    Bounds { name: "weight, late", slow: true, prompt: false, ttl: [2, 2], strays: 1, shared: [true, false], ..WEIGHT },
    Bounds { name: "tokens", slow: true, tokens: Some(3), ..QUIET },
    Bounds { name: "tokens, late", slow: true, tokens: Some(2), strays: 1, ..ONCE },
    Bounds { name: "tokens, loss", slow: true, ttl: [3, 3], tokens: Some(3), losses: EVERY, loss_count: 1, ..PROMPT },
    Bounds { name: "loss, whole", slow: true, losses: WHOLE, loss_count: 1, ..ONCE },
    Bounds { name: "loss, parts", losses: PARTS, loss_count: 1, ..PROMPT },
    Bounds { name: "loss, flush", slow: true, losses: FLUSH, loss_count: 1, ..PROMPT },
    Bounds { name: "loss, apart", slow: true, losses: WHOLE, loss_count: 1, apart: true, ..PROMPT },
    Bounds {
        name: "loss, slow probes",
        slow: true,
        ttl: [3, 3],
        losses: EVERY,
        loss_count: 1,
        slow_probes: true,
        ..PROMPT
    },
    Bounds {
        name: "tokens, loss, late",
        slow: true,
        ttl: [3, 3],
        tokens: Some(2),
        losses: WHOLE,
        loss_count: 1,
        strays: 1,
        ..PROMPT
    },
    Bounds { name: "two losses", slow: true, losses: EVERY, loss_count: 2, ..PROMPT },
    Bounds {
        name: "new server",
        slow: true,
        ttl: [3, 3],
        losses: WHOLE,
        loss_count: 1,
        new_server: true,
        strays: 1,
        ..PROMPT
    },
    Bounds { name: "loss, linger", slow: true, losses: EVERY, loss_count: 1, linger: [6, 0], ..PROMPT },
    Bounds { name: "loss, hand-over", slow: true, losses: EVERY, loss_count: 1, asks_at: EITHER, ..PROMPT },
    Bounds { name: "loss, reattach", slow: true, losses: EVERY, loss_count: 1, reattaches: 1, ..PROMPT },
    Bounds {
        name: "loss, release elsewhere",
        slow: true,
        losses: EVERY,
        loss_count: 1,
        releases_elsewhere: 1,
        ..PROMPT
    },
    Bounds { name: "loss, breaks", slow: true, losses: EVERY, loss_count: 1, breaks: 1, ..PROMPT },
    Bounds { name: "loss, death", slow: true, losses: EVERY, loss_count: 1, deaths: 1, restarts: true, ..PROMPT },
    Bounds { name: "loss, stop", slow: true, ttl: [3, 3], losses: WHOLE, loss_count: 1, stops: 1, ..PROMPT },
    Bounds { name: "loss, stop, alone", ttl: [3, 3], losses: EVERY, loss_count: 1, stops: 1, asks_at: ALONE, ..PROMPT },
    Bounds { name: "loss, late", slow: true, losses: EVERY, loss_count: 1, strays: 1, ..PROMPT },
    Bounds { name: "reattach, breaks, death", slow: true, ttl: [3, 3], strays: 1, reattaches: 1, ..BREAKS_AND_DEATH },
    Bounds { name: "release, breaks, death", ttl: [3, 3], releases_elsewhere: 1, ..BREAKS_AND_DEATH },
    Bounds { name: "release, hand-over", asks: Some(2), asks_at: TOGETHER, releases_elsewhere: 1, ..PROMPT },
];

/// Larger ones, for hours to spare.
pub const LARGER: &[Bounds] = &[
    Bounds { name: "release, reattach, stop", strays: 1, reattaches: 1, releases_elsewhere: 1, stops: 1, ..PROMPT },
    Bounds { name: "loss of any kind, stop", ttl: [3, 3], losses: EVERY, loss_count: 1, stops: 1, ..PROMPT },
    Bounds { name: "hand-over", asks_at: EITHER, strays: 1, ..QUIET },
    Bounds { name: "reattach, late", reattaches: 1, strays: 1, ..ONCE },
    Bounds { name: "reattach, stop", reattaches: 1, stops: 1, ..ONCE },
    Bounds { name: "new server", ttl: [3, 3], losses: WHOLE, loss_count: 1, new_server: true, strays: 2, ..PROMPT },
    Bounds { name: "new server, two losses", losses: WHOLE, loss_count: 2, new_server: true, strays: 2, ..PROMPT },
    Bounds { name: "tokens, loss", tokens: Some(3), losses: EVERY, loss_count: 1, ..PROMPT },
    Bounds { name: "tokens, late", tokens: Some(3), strays: 1, ..QUIET },
    Bounds {
        name: "loss, late, reattach",
        ttl: [3, 3],
        losses: WHOLE,
        loss_count: 1,
        strays: 1,
        reattaches: 1,
        ..PROMPT
    },
    Bounds { name: "loss, parts", losses: PARTS, loss_count: 1, ..ONCE },
    Bounds { name: "loss, flush", losses: FLUSH, loss_count: 1, ..ONCE },
    Bounds { name: "loss, slow and late", ttl: [2, 2], losses: WHOLE, loss_count: 1, strays: 1, ..ONCE },
    Bounds { name: "loss, whole, late", losses: WHOLE, loss_count: 1, strays: 1, ..ONCE },
    Bounds { name: "two losses, slow", losses: WHOLE, loss_count: 2, ..ONCE },
    Bounds { name: "two losses, apart", losses: EVERY, loss_count: 2, apart: true, ..PROMPT },
    Bounds { name: "reattach, breaks, late", reattaches: 1, breaks: 1, strays: 1, ..ONCE },
    Bounds { name: "reattach twice", reattaches: 2, ..ONCE },
];

//! The configurations: each has a few features on, and together they pair every fault with every step.

use crate::rules::{Bounds, Losses};

const QUIET: Bounds = Bounds::QUIET;
const ONCE: Bounds = Bounds { asks: Some(1), ..QUIET };
const ONE_BROKER: [[bool; 2]; 2] = [[true, false], [true, false]];
const WHOLE: Losses = Losses { whole: true, state: false, fences: false, flush: false };
const PARTS: Losses = Losses { whole: false, state: true, fences: true, flush: false };
const FLUSH: Losses = Losses { whole: false, state: false, fences: false, flush: true };

/// Those that are explored with every change.
pub const ALL: &[Bounds] = &[
    QUIET,
    Bounds { name: "late", strays: 1, ..QUIET },
    Bounds { name: "hand-over", asks_at: ONE_BROKER, strays: 1, ..QUIET },
    Bounds { name: "breaks", strays: 1, breaks: 1, ..QUIET },
    Bounds { name: "reattach", reattaches: 1, breaks: 1, ..ONCE },
    Bounds { name: "reattach late", reattaches: 1, strays: 1, ..ONCE },
    Bounds { name: "linger", linger: [1, 0], strays: 1, ..QUIET },
    Bounds { name: "stop", stops: 1, ..QUIET },
    Bounds { name: "loss whole", losses: WHOLE, loss_count: 1, ..ONCE },
    Bounds { name: "loss parts", losses: PARTS, loss_count: 1, ..ONCE },
    Bounds { name: "loss flush", losses: FLUSH, loss_count: 1, ..ONCE },
    Bounds { name: "tokens", tokens: Some(3), strays: 1, ..QUIET },
    Bounds { name: "death", deaths: 1, restarts: true, strays: 1, ..QUIET },
];

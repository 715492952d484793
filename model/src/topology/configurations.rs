//! The configurations that are explored, and what goes wrong without each rule.

use super::properties::{LINGER_WHOLE, LOCK_KEPT, ONE_HOLDER, TOKENS_RISE};
use super::{Bounds, Rules, Topology};

const fn on(servers: u8, place: usize) -> Topology {
    Topology { servers, place, max_ttl: 2 }
}

const BASE: Bounds = Bounds {
    name: "",
    present: on(0b001, 0),
    next: on(0b010, 1),
    rival: None,
    ttl: 2,
    linger: 0,
    asks: 0,
    leaves: false,
    losses: 0,
    deaths: 0,
    adopter_deaths: 0,
    reattaches: 0,
    together: false,
    tokens: false,
    strays: 0,
    dead: None,
    dump_misses: true,
    prompt: false,
    recovers: false,
};
/// One server takes another one's place.
const REPLACE: Bounds = Bounds { name: "replace", ..BASE };
/// A second server takes the name over.
const GROW: Bounds = Bounds { name: "grow", next: on(0b011, 1), ..BASE };
/// Weights change, so that the name moves.
const WEIGHTS: Bounds = Bounds { name: "weights", present: on(0b011, 0), next: on(0b011, 1), ..BASE };
/// A server is added, and the name stays.
const STAYS: Bounds = Bounds { name: "stays", next: on(0b011, 0), ..BASE };
const THREE: Bounds = Bounds { name: "three", present: on(0b111, 0), next: on(0b111, 1), ..BASE };

const LINGER: Bounds = Bounds { name: "weights, linger", linger: 6, leaves: true, dump_misses: false, ..WEIGHTS };

const RIVAL: Option<Topology> = Some(on(0b110, 2));
const DEAD: Bounds = Bounds { name: "dead", dead: Some(0), next: on(0b010, 1), ..WEIGHTS };
/// Locks that are kept by brokers that work in time.
const KEPT: Bounds = kept(Bounds { name: "weights, kept", ..WEIGHTS });

/// The configurations that are explored with every change.
pub const QUICK: &[Bounds] = &[
    REPLACE,
    GROW,
    WEIGHTS,
    STAYS,
    DEAD,
    KEPT,
    kept(Bounds { name: "replace, kept", ..REPLACE }),
    kept(Bounds { name: "grow, kept", ..GROW }),
    kept(Bounds { name: "stays, kept", ..STAYS }),
    Bounds { name: "weights, kept, loss", losses: 1, ..KEPT },
    Bounds { name: "weights, death", deaths: 1, asks: 1, ..WEIGHTS },
    Bounds { name: "weights, late", strays: 1, ..WEIGHTS },
    Bounds { name: "weights, adopter dies", adopter_deaths: 1, ..WEIGHTS },
    Bounds { name: "weights, free again", recovers: true, ..WEIGHTS },
    Bounds { name: "weights, reattach", reattaches: 1, ..WEIGHTS },
    Bounds { name: "weights, hand-over", together: true, leaves: true, asks: 1, ..WEIGHTS },
    Bounds { name: "weights, tokens", tokens: true, ..WEIGHTS },
    Bounds { name: "longer ttl", next: Topology { max_ttl: 3, ..on(0b011, 1) }, ..WEIGHTS },
    Bounds { name: "shorter ttl", present: Topology { max_ttl: 3, ..on(0b011, 0) }, ..WEIGHTS },
];

/// Those that are explored by night alone.
pub const LONG: &[Bounds] = &[
    THREE,
    LINGER,
    Bounds { name: "replace, loss", losses: 1, ..REPLACE },
    Bounds { name: "grow, loss", losses: 1, ..GROW },
    Bounds { name: "stays, loss", losses: 1, ..STAYS },
    Bounds { name: "weights, loss", losses: 1, ..WEIGHTS },
    Bounds { name: "weights, rival", rival: RIVAL, ..WEIGHTS },
    Bounds { name: "weights, linger, death", deaths: 1, ..LINGER },
    Bounds { name: "replace, death", deaths: 1, asks: 1, ..REPLACE },
    Bounds { name: "replace, late", strays: 1, ..REPLACE },
    Bounds { name: "grow, late", strays: 1, ..GROW },
    Bounds { name: "dead, late", strays: 1, ..DEAD },
    Bounds { name: "dead, loss", losses: 1, ..DEAD },
    kept(Bounds { name: "weights, kept, linger", ..LINGER }),
    kept(Bounds { name: "weights, kept, linger, loss", losses: 1, ..LINGER }),
    Bounds { name: "weights, reattach, late", reattaches: 1, strays: 1, ..WEIGHTS },
    Bounds { name: "weights, reattach, death", reattaches: 1, deaths: 1, asks: 1, ..WEIGHTS },
    Bounds { name: "weights, hand-over, late", together: true, leaves: true, strays: 1, ..WEIGHTS },
    Bounds { name: "weights, tokens, again", tokens: true, asks: 1, leaves: true, ..WEIGHTS },
    Bounds { name: "replace, reattach", reattaches: 1, ..REPLACE },
    Bounds { name: "weights, again", asks: 1, leaves: true, ..WEIGHTS },
    Bounds { name: "weights, two strays", strays: 2, ..WEIGHTS },
];

/// Those that are too large to be explored to the end.
pub const LARGER: &[Bounds] = &[
    Bounds { name: "weights, loss, late", losses: 1, strays: 1, ..WEIGHTS },
    Bounds { name: "weights, two losses", losses: 2, ..WEIGHTS },
    Bounds { name: "weights, loss, death", losses: 1, deaths: 1, asks: 1, ..WEIGHTS },
    Bounds { name: "replace, loss, death", losses: 1, deaths: 1, asks: 1, ..REPLACE },
    Bounds { name: "to a third, two losses", next: on(0b111, 2), losses: 2, ..WEIGHTS },
    Bounds { name: "weights, loss, adopter dies", losses: 1, adopter_deaths: 1, ..WEIGHTS },
    Bounds { name: "grow, loss, late", losses: 1, strays: 1, ..GROW },
    Bounds { name: "weights, rival, loss", rival: RIVAL, losses: 1, ..WEIGHTS },
    Bounds { name: "three, loss", losses: 1, ..THREE },
    Bounds { name: "three, two losses", losses: 2, ..THREE },
];

const fn kept(bounds: Bounds) -> Bounds {
    let present = Topology { max_ttl: 4, ..bounds.present };
    let next = Topology { max_ttl: 4, ..bounds.next };
    // No lock is lost though the list misses it; a linger may be.
    Bounds { present, next, ttl: 4, prompt: true, dump_misses: bounds.linger == 0, ..bounds }
}

/// A rule left out, and the property that does not hold then.
#[derive(Clone, Copy, Debug)]
pub struct Mutilation {
    pub rule: &'static str,
    pub rules: Rules,
    /// The rules with which nothing goes wrong.
    pub with: Rules,
    pub bounds: Bounds,
    pub breaks: &'static str,
}

macro_rules! without {
    ($rule:ident, $bounds:expr, $breaks:expr) => {
        Mutilation {
            rule: stringify!($rule),
            rules: Rules { $rule: false, ..Rules::ALL },
            with: Rules::ALL,
            bounds: Bounds { name: stringify!($rule), ..$bounds },
            breaks: $breaks,
        }
    };
}

const LOWERED: Bounds = Bounds { ttl: 4, present: Topology { max_ttl: 4, ..on(0b001, 0) }, ..REPLACE };
const LOSS: Bounds = Bounds { losses: 1, ..WEIGHTS };

/// All rules.
pub const TEETH: &[Mutilation] = &[
    without!(flip_is_fresh, WEIGHTS, ONE_HOLDER),
    without!(prepared, LOSS, ONE_HOLDER),
    without!(opens_with_evidence, LOSS, ONE_HOLDER),
    without!(aware_opens_nothing, LOSS, ONE_HOLDER),
    without!(old_place_first, WEIGHTS, ONE_HOLDER),
    without!(reasserts, KEPT, LOCK_KEPT),
    without!(opens_when_all_flipped, REPLACE, ONE_HOLDER),
    without!(waits_from_last_flip, WEIGHTS, ONE_HOLDER),
    without!(adopter_opens_first, WEIGHTS, ONE_HOLDER),
    without!(copies, Bounds { deaths: 1, ..LINGER }, LINGER_WHOLE),
    without!(tokens_go_on, Bounds { tokens: true, asks: 1, ..WEIGHTS }, TOKENS_RISE),
    without!(counts_anew, LOSS, ONE_HOLDER),
    Mutilation {
        rule: "longer_ttl",
        // A lock in use with a ttl of 4 stands for one that was, and in which somebody still believes.
        rules: Rules { longer_ttl: false, lowered_with_care: false, ..Rules::ALL },
        with: Rules { lowered_with_care: false, ..Rules::ALL },
        bounds: Bounds { name: "longer_ttl", ..LOWERED },
        breaks: ONE_HOLDER,
    },
    without!(lowered_with_care, Bounds { losses: 1, ..LOWERED }, ONE_HOLDER),
    without!(somebody_remembers, Bounds { losses: 1, ..REPLACE }, ONE_HOLDER),
    without!(dead_is_down, DEAD, ONE_HOLDER),
];

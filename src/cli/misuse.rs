//! Finds what is wrong with the arguments of `lockbroker run` taken together, in their own words: a broker would speak of its fields.

use std::collections::BTreeSet;

use super::run::RunArgs;
use crate::broker::MOST_TOGETHER;

/// Says which arguments do not go together, if some do not.
pub(super) fn misuse(args: &RunArgs) -> Option<String> {
    let (number, weight) = (args.names.len(), args.weight.unwrap_or(1));
    let has_min_hold = args.at_least.is_some_and(|span| !span.is_zero());
    let mut seen = BTreeSet::new();
    let twice = args.names.iter().find(|name| !seen.insert(name.as_str()));
    if let Some(name) = twice {
        return Some(format!("{name:?} is named twice; name each lock once"));
    }
    if number > MOST_TOGETHER {
        return Some(format!("{number} locks are named, and at most {MOST_TOGETHER} can be held together"));
    }
    if let Some(limit) = args.limit.filter(|&limit| weight > limit) {
        return Some(format!("--weight is {weight}; it may be 1 to {limit}, which --limit says"));
    }
    if weight > 1 && number > 1 {
        return Some(format!("--weight takes several permits of one lock alone, and {number} locks are named"));
    }
    if weight > 1 && has_min_hold {
        return Some("--at-least is for one permit alone, and --weight takes several".to_owned());
    }
    if number > 1 && has_min_hold {
        return Some(format!("--at-least is for one lock alone, and {number} are named"));
    }
    None
}

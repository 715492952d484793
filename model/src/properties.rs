//! The properties that must hold in every state that can be reached.

use stateright::Property;

use crate::broker::TICK;
use crate::model::{Action, Model};
use crate::rules::Bounds;
use crate::state::State;
use std::time::Duration;

/// The names of the properties.
pub const ONE_HOLDER: &str = "at most one client within its validity";
pub const TOKENS_RISE: &str = "tokens rise";
pub const LEASE_KEPT: &str = "a kept lease survives a loss of memory";
pub const LINGER_WHOLE: &str = "no linger and no min_hold is cut short";
pub const FREE_AGAIN: &str = "somebody can acquire again";

/// Returns true if no two clients may act that exclude each other: each has another permit, or only one may.
fn one_holder(state: &State) -> bool {
    let [first, second] = &state.clients;
    let apart = first.place > 0 && second.place > 0 && first.place != second.place;
    first.valid == 0 || second.valid == 0 || apart
}

/// A broker that dies with the memory takes its lingers along.
fn linger_whole(model: &Model, state: &State) -> bool {
    let excused = state.left.losses < model.bounds.loss_count && state.left.deaths < model.bounds.deaths;
    excused || !state.ghost.linger_cut
}

pub(crate) fn is_violated(state: &State) -> bool {
    !one_holder(state) || state.ghost.token_fell
}

/// Returns true if a client gets the lock when from now on nothing fails and the holder, if there is one, leaves.
/// Checked where nothing is under way.
fn free_again(model: &Model, state: &State) -> bool {
    let settled = state.flights.is_empty() && state.clients.iter().all(|client| client.valid == 0);
    if !settled || model.bounds.tokens.is_some() {
        return true;
    }
    if model.bounds.stay {
        let bounds = Bounds { stay: false, ..model.bounds };
        return recovers(&Model { bounds, ..model.clone() }, state.clone());
    }
    recovers(model, state.clone())
}

/// Far more steps than any recovery takes.
const PATIENCE: usize = 300;

fn recovers(model: &Model, mut state: State) -> bool {
    let mut actions = Vec::new();
    state.left.asks = [1; 2];
    for step in 0..PATIENCE {
        if state.clients.iter().any(|client| client.valid > 0) || is_violated(&state) {
            return true;
        }
        actions.clear();
        model.possible(&state, &mut actions);
        let ranked = actions.iter().map(|action| (rank(model, &state, *action), action));
        let ranked = ranked.filter(|(rank, _)| *rank > 0);
        // Now and then what comes last has its turn, or those who are in each other's way would let no time pass.
        let next = match step % 16 {
            15 => ranked.min_by_key(|(rank, _)| *rank),
            _ => ranked.max_by_key(|(rank, _)| *rank),
        };
        match next {
            Some((_, action)) => {
                model.apply(&mut state, *action);
                let passes = if *action == Action::Tick { TICK } else { Duration::ZERO };
                state = model.canonical_after(state, passes);
            }
            None => return false,
        }
    }
    false
}

/// Returns the rank of a step where nothing fails, the lowest first; 0 for a step that does not come at all.
fn rank(model: &Model, state: &State, action: Action) -> u8 {
    if !action.is_useful(model, state) {
        return 0;
    }
    match action {
        Action::MemcachedGoesOn | Action::MemcachedCatchesUp | Action::BrokerStarts { .. } => 9,
        Action::Command { .. } | Action::LateCommand { .. } | Action::Answer { .. } => 8,
        Action::CleanUp { .. } | Action::Probe { .. } => 7,
        Action::TimeOut { .. } => 6,
        // Whoever has lost the lock leaves; who waits for it stays.
        Action::Leave { client } => {
            if state.waits(client as usize) {
                0
            } else {
                5
            }
        }
        Action::StreamSilent { broker, client } => {
            let link = state.links[broker as usize][client as usize];
            if link.is_some_and(|link| link.connected) { 0 } else { 5 }
        }
        Action::Ask { .. } => 5,
        Action::Tick => 1,
        _ => 0,
    }
}

pub(crate) fn all() -> Vec<Property<Model>> {
    vec![
        Property::always(ONE_HOLDER, |_, state: &State| one_holder(state)),
        Property::always(TOKENS_RISE, |_, state: &State| !state.ghost.token_fell),
        Property::always(LEASE_KEPT, |_, state: &State| !state.ghost.lease_lost),
        Property::always(LINGER_WHOLE, linger_whole),
        Property::always(FREE_AGAIN, free_again),
    ]
}

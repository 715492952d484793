//! The properties that must hold in every state that can be reached.

use stateright::Property;

use super::state::{Adopter, State};
use super::{Action, Bounds, Model};

/// The names of the properties.
pub const ONE_HOLDER: &str = "at most one client within its validity";
pub const LOCK_KEPT: &str = "no lock is lost whose broker works in time";
pub const LINGER_WHOLE: &str = "no linger is cut short";

pub const TOKENS_RISE: &str = "tokens rise";
pub const FREE_AGAIN: &str = "somebody can acquire again";

/// The names of what must never be broken. The other properties are states that must be reached: without them these would hold for
/// want of anything that happens.
pub const PROMISES: [&str; 5] = [ONE_HOLDER, LOCK_KEPT, LINGER_WHOLE, TOKENS_RISE, FREE_AGAIN];

/// More steps than any recovery takes.
const PATIENCE: usize = 200;

fn one_holder(state: &State) -> bool {
    state.valid[0] == 0 || state.valid[1] == 0
}

/// A broker that dies with a memory, or that comes too late after a loss, takes its lingers along.
fn linger_whole(bounds: &Bounds, state: &State) -> bool {
    let excused = state.left.losses < bounds.losses && (state.left.deaths < bounds.deaths || !bounds.prompt);
    excused || !state.linger_cut
}

/// Returns true if a client gets the lock when from now on nothing fails, and `adopt` is run again.
fn free_again(model: &Model, state: &State) -> bool {
    if !state.strays.is_empty() || state.valid != [0; 2] || is_violated(&model.bounds, state) {
        return true;
    }
    let mut state = state.clone();
    state.adopters[0] = Adopter::default();
    state.left.asks = [1; 2];
    let prompt = Model::new(Bounds { prompt: true, strays: 0, leaves: false, ..model.bounds }, model.rules);
    (state.left.losses, state.left.deaths, state.left.adopter_deaths) = (0, 0, 0);
    let mut actions = Vec::new();
    for step in 0..PATIENCE {
        // Losses on the way are not the question.
        (state.lock_lost, state.linger_cut) = (false, false);
        if state.valid != [0; 2] {
            return true;
        }
        actions.clear();
        prompt.possible(&state, &mut actions);
        // Those who undo each other's work would let no time pass.
        let next = if step % 16 == 15 { Action::Tick } else { actions.first().copied().unwrap_or(Action::Tick) };
        prompt.apply(&mut state, next);
        state = state.canonical();
    }
    false
}

/// Returns true if a promise is broken: what comes of it is not explored.
pub(crate) fn is_violated(bounds: &Bounds, state: &State) -> bool {
    let is_lost = bounds.prompt && state.lock_lost;
    !one_holder(state) || !linger_whole(bounds, state) || is_lost || state.token_fell
}

pub(crate) fn all(bounds: &Bounds) -> Vec<Property<Model>> {
    let mut all = vec![
        Property::always(ONE_HOLDER, |_, state: &State| one_holder(state)),
        Property::always(LINGER_WHOLE, |model: &Model, state: &State| linger_whole(&model.bounds, state)),
        Property::always(TOKENS_RISE, |_, state: &State| !state.token_fell),
        Property::sometimes("the next topology is in force", |_, state: &State| {
            state.brokers.iter().flatten().all(|broker| broker.moved)
        }),
        Property::sometimes("a client has the lock by the next topology", |_, state: &State| {
            let has_moved = |number: usize| state.brokers[number].as_ref().is_some_and(|broker| broker.moved);
            (0..2).any(|client| state.valid[client] > 0 && has_moved(state.at[client].into()))
        }),
    ];
    if bounds.recovers {
        all.push(Property::always(FREE_AGAIN, free_again));
    }
    if bounds.prompt {
        all.push(Property::always(LOCK_KEPT, |_, state: &State| !state.lock_lost));
    }
    all
}

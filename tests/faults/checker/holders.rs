//! Who had a lock, one after another or at the same time, and with which tokens.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::tell::{tell, weather};
use super::{AFTERMATH, Breach, Violation};
use crate::history::{Access, Belief, History, Hold, Kind};

/// Within this time after a cut its client has noticed. What it was told on the old connection and began to believe in
/// that time has ended with the connection.
const NOTICED: Duration = Duration::from_millis(100);

/// Adds what is wrong with the holders of each name.
pub(super) fn judge(history: &History, violations: &mut Vec<Violation>) {
    for (name, holds) in by_name(history) {
        let mut accuse = |what, at, story| violations.push(Violation { what, at, story });
        two_holders(history, name, &holds, &mut accuse);
        too_many(history, name, &holds, &mut accuse);
        falling_tokens(history, name, &holds, &mut accuse);
        opened_early(history, name, &holds, &mut accuse);
    }
}

/// Returns the holds of each name whose clients ever believed in them, without what a cut ended.
fn by_name(history: &History) -> HashMap<usize, Vec<Hold>> {
    let mut names: HashMap<usize, Vec<Hold>> = HashMap::new();
    for hold in &history.holds {
        let beliefs: Vec<_> = hold.beliefs.iter().filter_map(|belief| uncut(history, hold, *belief)).collect();
        if !beliefs.is_empty() {
            names.entry(hold.name).or_default().push(Hold { beliefs, ..hold.clone() });
        }
    }
    for holds in names.values_mut() {
        holds.sort_by_key(|hold| hold.beliefs[0].from);
    }
    names
}

/// Ends the belief at a cut of the client's connection, even if the client learns of it a moment later.
fn uncut(history: &History, hold: &Hold, belief: Belief) -> Option<Belief> {
    let Belief { from, mut until } = belief;
    for cut in history.cuts_of(hold.client).filter(|_| !hold.outlives_streams) {
        if from >= cut && until < cut + NOTICED {
            return None;
        }
        if from < cut && cut < until {
            until = cut;
        }
    }
    Some(Belief { from, until })
}

/// Calls `see` with each belief, and those that were there when it began, in the order of their beginnings.
fn one_after_another<'a>(holds: &'a [Hold], mut see: impl FnMut((&'a Belief, &'a Hold), &[(&'a Belief, &'a Hold)])) {
    let mut beliefs: Vec<_> = holds.iter().flat_map(|hold| hold.beliefs.iter().map(move |one| (one, hold))).collect();
    beliefs.sort_by_key(|(belief, _)| belief.from);
    let mut present: Vec<(&Belief, &Hold)> = Vec::new();
    for (belief, hold) in beliefs {
        present.retain(|(before, of)| belief.from < before.until && !std::ptr::eq(*of, hold));
        see((belief, hold), &present);
        present.push((belief, hold));
    }
}

/// Returns how a lock was had by one who believed in it.
fn access((belief, hold): &(&Belief, &Hold)) -> Access {
    hold.access_at(belief.from)
}

/// Accuses each belief that began while another did not let it.
fn two_holders(history: &History, name: usize, holds: &[Hold], accuse: &mut impl FnMut(Breach, Instant, String)) {
    one_after_another(holds, |(belief, hold), present| {
        for (before, other) in present.iter().filter(|present| access(&(belief, hold)).excludes(access(present))) {
            let overlap = before.until.min(belief.until) - belief.from;
            let (first, second) = (tell(history, other), tell(history, hold));
            let weather = weather(history, name, belief.from);
            let story = format!("name {name}, for {overlap:?}:\n  {first}\n  {second}\n  {weather}");
            accuse(Breach::TwoHolders, belief.from, story);
        }
    });
}

/// Accuses each belief in a permit above its limit, and each that was one too many. The numbers of the permits have no say in
/// the count.
fn too_many(history: &History, name: usize, holds: &[Hold], accuse: &mut impl FnMut(Breach, Instant, String)) {
    one_after_another(holds, |(belief, hold), present| {
        let Access::Shared { permit, limit: Some(limit) } = access(&(belief, hold)) else { return };
        let count = 1 + present.iter().filter(|present| access(present) != Access::Alone).count();
        if permit >= limit || count > limit as usize {
            let (holder, weather) = (tell(history, hold), weather(history, name, belief.from));
            accuse(
                Breach::AboveLimit,
                belief.from,
                format!("name {name}, {count} at a time:\n  {holder}\n  {weather}"),
            );
        }
    });
}

/// Accuses each grant whose token is not above those of all before it that exclude it. What counts is how it was granted: a lock that
/// becomes a shared one keeps its token, and whoever shares it then came later.
fn falling_tokens(history: &History, name: usize, holds: &[Hold], accuse: &mut impl FnMut(Breach, Instant, String)) {
    let mut before: Vec<&Hold> = Vec::new();
    for hold in holds {
        let highest = before.iter().filter(|before| hold.access.excludes(before.access)).max_by_key(|hold| hold.token);
        match highest.filter(|before| before.token >= hold.token) {
            Some(before) => {
                let (first, second) = (tell(history, before), tell(history, hold));
                accuse(Breach::FallingToken, hold.beliefs[0].from, format!("name {name}:\n  {first}\n  {second}"));
            }
            // Of each access the latest one says all.
            None => {
                before.retain(|before| before.access != hold.access);
                before.push(hold);
            }
        }
    }
}

/// Accuses each grant that came while an earlier one should have kept it out after its end. A loss of memory may open a
/// name early (docs/safety.md, section 9).
fn opened_early(history: &History, name: usize, holds: &[Hold], accuse: &mut impl FnMut(Breach, Instant, String)) {
    let is_loss = |kind| matches!(kind, Kind::StoreRestarted | Kind::StoreFlushed);
    for (place, hold) in holds.iter().enumerate() {
        let Some(closed_until) = hold.closed_until() else { continue };
        let from = hold.beliefs[0].from;
        let was_lost = history.faults.iter().any(|fault| {
            let is_near = fault.from < closed_until && from < fault.until + AFTERMATH;
            is_near && is_loss(fault.kind) && history.strikes(fault, name)
        });
        // A linger closes the permit alone.
        let next = holds[place + 1..].iter().find(|next| hold.last_access().excludes(next.access));
        if let Some(next) = next.filter(|next| !was_lost && next.beliefs[0].from < closed_until) {
            let early = closed_until - next.beliefs[0].from;
            let (first, second) = (tell(history, hold), tell(history, next));
            accuse(
                Breach::OpenedEarly,
                next.beliefs[0].from,
                format!("name {name}, by {early:?}:\n  {first}\n  {second}"),
            );
        }
    }
}

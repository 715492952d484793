//! Judges what observers were told (docs/safety.md, section 15).

use std::collections::HashMap;
use std::time::Instant;

use super::{AFTERMATH, Breach, Violation};
use crate::elections::{Sight, View, decode};
use crate::history::{History, Kind};

/// Adds what is wrong with what was told.
pub(super) fn judge(history: &History, violations: &mut Vec<Violation>) {
    // The tokens of grants that their clients never had, as they were seen first.
    let mut unknown = HashMap::new();
    for view in &history.views {
        let mut accuse = |what, sight: &Sight, story: String| {
            let at = sight.at.saturating_duration_since(history.start);
            let (broker, name) = (view.broker, view.name);
            let story = format!("name {name}, observed at broker {broker}, {at:.4?}: {story}");
            violations.push(Violation { what, at: sight.at, story });
        };
        for pair in view.seen.windows(2) {
            let [before, sight] = pair else { continue };
            if sight.token < before.token {
                accuse(Breach::SeenFallingToken, sight, format!("token {} after {}", sight.token, before.token));
            }
        }
        for sight in &view.seen {
            if let Err(why) = is_its_holders(history, view, sight, &mut unknown) {
                accuse(Breach::SeenForeignValue, sight, why);
            }
        }
        older(history, view, |before, sight| {
            let (text, first) = (written(sight), written(before));
            let since = sight.at - before.at;
            accuse(Breach::SeenOlderValue, sight, format!("token {}: {text}, {since:?} after {first}", sight.token));
        });
    }
}

fn written(sight: &Sight) -> String {
    sight.value.as_deref().map_or("no value".into(), |value| String::from_utf8_lossy(value).into_owned())
}

/// Checks that the one with that token had sent that value by then.
fn is_its_holders(
    history: &History,
    view: &View,
    sight: &Sight,
    unknown: &mut HashMap<usize, i64>,
) -> Result<(), String> {
    let Some(value) = &sight.value else { return Ok(()) };
    let text = written(sight);
    let Some((number, place)) = decode(value) else { return Err(format!("nobody sent {text}")) };
    let campaign = history.campaigns.get(number).ok_or_else(|| format!("nobody sent {text}"))?;
    if campaign.name != view.name {
        return Err(format!("{text} is a value of name {}", campaign.name));
    }
    let token = campaign.token.unwrap_or_else(|| *unknown.entry(number).or_insert(sight.token));
    if token != sight.token {
        return Err(format!("{text} with token {} is a value of token {token}", sight.token));
    }
    match campaign.sent.get(place) {
        Some(sent) if *sent <= sight.at => Ok(()),
        _ => Err(format!("{text} was not sent yet")),
    }
}

/// Accuses each value that was told after a newer one of the same grant. A memory that lost the newer one may bring an older one back: the broker
/// that keeps the lock writes what it knows.
fn older(history: &History, view: &View, mut accuse: impl FnMut(&Sight, &Sight)) {
    let is_loss = |kind| matches!(kind, Kind::StoreRestarted | Kind::StoreFlushed | Kind::StoreFilled);
    let was_lost = |from: Instant, until: Instant| {
        history.faults.iter().any(|fault| {
            is_loss(fault.kind)
                && history.strikes(fault, view.name)
                && fault.from <= until
                && from <= fault.until + AFTERMATH
        })
    };
    let mut newest: Option<((usize, usize), &Sight)> = None;
    for sight in &view.seen {
        let Some(here) = sight.value.as_deref().and_then(decode) else { continue };
        match newest {
            Some((before, seen)) if before.0 == here.0 && here.1 < before.1 => {
                if !was_lost(seen.at, sight.at) {
                    accuse(seen, sight);
                }
            }
            _ => newest = Some((here, sight)),
        }
    }
}

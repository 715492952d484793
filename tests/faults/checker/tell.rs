//! Accounts of what happened, for the person who has to find the cause.

use std::time::{Duration, Instant, SystemTime};

use crate::history::{Access, End, Fault, History, Hold, Target};

/// Describes a hold in words.
pub(super) fn tell(history: &History, hold: &Hold) -> String {
    let at = |instant: Instant| format!("{:.4}", (instant.saturating_duration_since(history.start)).as_secs_f64());
    let beliefs: Vec<_> =
        hold.beliefs.iter().map(|belief| format!("{} to {}", at(belief.from), at(belief.until))).collect();
    let first = hold.beliefs.first().map_or(hold.renewed, |belief| belief.from);
    let last = hold.beliefs.last().map_or(hold.renewed, |belief| belief.until);
    let end = match hold.end {
        End::LetGo => "let go".to_owned(),
        End::Lost { at: lost, told } => format!("lost at {}{}", at(lost), if told { "" } else { ", untold" }),
    };
    let describe = |access| match access {
        Access::Alone => String::new(),
        Access::Between => ", on the way to share it".to_owned(),
        Access::Shared { permit, limit: None } => format!(", permit {permit}"),
        Access::Shared { permit, limit: Some(limit) } => format!(", permit {permit} below {limit}"),
    };
    let changes = hold.changes.iter().map(|(since, access)| match describe(*access) {
        alone if alone.is_empty() => format!(", alone from {}", at(*since)),
        other => format!("{other} from {}", at(*since)),
    });
    let access: String = std::iter::once(describe(hold.access)).chain(changes).collect();
    let weight = hold.together - hold.others.len();
    let weight = if weight > 1 { format!(" of {weight}") } else { String::new() };
    let others = if hold.others.is_empty() { String::new() } else { format!(" together with {:?}", hold.others) };
    format!(
        "client {} at brokers {:?}, name {} ({:?}){access}{weight}{others}, token {}: believed {}; last renewed {}; {end}",
        hold.client,
        history.brokers_of(hold.client, first, last),
        hold.name,
        history.names[hold.name],
        hold.token,
        beliefs.join(", "),
        at(hold.renewed),
    )
}

/// Lists the faults around an instant that concern the memcached of a name, or any broker or client.
pub(super) fn weather(history: &History, name: usize, at: Instant) -> String {
    let concerns = |fault: &&Fault| {
        let elsewhere = |target: &Target| match *target {
            Target::Store(store) | Target::StoreLink { store, .. } => !history.stores_of[name].contains(&store),
            _ => false,
        };
        fault.from <= at && fault.until + Duration::from_secs(8) >= at && !fault.on.iter().all(elsewhere)
    };
    let seconds = |instant: Instant| instant.saturating_duration_since(history.start).as_secs_f64();
    let faults = history.faults.iter().filter(concerns);
    let faults: Vec<_> = faults
        .map(|fault| {
            format!("{:?} {:?} {:.3} to {:.3}", fault.kind, fault.on, seconds(fault.from), seconds(fault.until))
        })
        .collect();
    // By the clock of the brokers' logs too.
    let time = humantime::format_rfc3339_millis(SystemTime::now() - at.elapsed());
    format!("faults around {:.3}, {time}: {}", seconds(at), faults.join("; "))
}

//! Judges a history: what the clients believed against what a lock service promises.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use crate::clients::LISTEN_ON;
use crate::history::{Belief, End, Fault, History, Hold, Target};
use crate::world::BROKERS;

/// Within this time after a cut its client has noticed. What it was told on the old connection and began to believe in
/// that time has ended with the connection.
const NOTICED: Duration = Duration::from_millis(100);
/// The time for which a fault still has effects after its end: a broker waits for a memcached that does not answer for
/// a second, and pauses for up to a second between two tries.
const AFTERMATH: Duration = Duration::from_secs(2);

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) what: Breach,
    /// An account for the person who has to find the cause.
    pub(crate) story: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Breach {
    /// Two clients believed at one time.
    TwoHolders,
    /// A later grant's token is not above an earlier one's.
    FallingToken,
    /// After the run nobody could have the name.
    NeverFreed,
    /// Neither the broker nor a broken stream told, and nothing had touched either of them.
    LostWithoutNotice,
    /// The lock was lost although, since its last renewal, nothing had touched the client's connection, its broker,
    /// its memcached or what lies between.
    LostWithoutCause,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.what, self.story)
    }
}

/// Returns everything that is wrong with a history.
pub(crate) fn judge(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, holds) in by_name(history) {
        two_holders(history, name, &holds, &mut violations);
        falling_tokens(history, name, &holds, &mut violations);
    }
    for stuck in &history.stuck {
        let story = format!("name {}: {}", stuck.name, stuck.why);
        violations.push(Violation { what: Breach::NeverFreed, story });
    }
    for hold in &history.holds {
        lost_without(history, hold, &mut violations);
    }
    violations
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

fn two_holders(history: &History, name: usize, holds: &[Hold], violations: &mut Vec<Violation>) {
    let mut beliefs: Vec<_> =
        holds.iter().enumerate().flat_map(|(hold, of)| of.beliefs.iter().map(move |belief| (belief, hold))).collect();
    beliefs.sort_by_key(|(belief, _)| belief.from);
    // The belief that has reached furthest so far.
    let mut furthest: Option<(&Belief, usize)> = None;
    for (belief, hold) in beliefs {
        if let Some((before, other)) = furthest
            && other != hold
            && belief.from < before.until
        {
            let overlap = before.until.min(belief.until) - belief.from;
            let (first, second) = (tell(history, &holds[other]), tell(history, &holds[hold]));
            let story = format!(
                "name {name}, for {overlap:?}:\n  {first}\n  {second}\n  {}",
                weather(history, history.store_of[name], belief.from)
            );
            violations.push(Violation { what: Breach::TwoHolders, story });
        }
        if furthest.is_none_or(|(before, _)| before.until < belief.until) {
            furthest = Some((belief, hold));
        }
    }
}

fn falling_tokens(history: &History, name: usize, holds: &[Hold], violations: &mut Vec<Violation>) {
    let mut highest: Option<&Hold> = None;
    for hold in holds {
        if let Some(before) = highest.filter(|before| before.token >= hold.token) {
            let (first, second) = (tell(history, before), tell(history, hold));
            let story = format!("name {name}:\n  {first}\n  {second}");
            violations.push(Violation { what: Breach::FallingToken, story });
        } else {
            highest = Some(hold);
        }
    }
}

fn lost_without(history: &History, hold: &Hold, violations: &mut Vec<Violation>) {
    let End::Lost { at, told } = hold.end else { return };
    let touched = |store_matters: bool, until: Instant| {
        let brokers = match hold.outlives_streams {
            true => (0..BROKERS).collect(),
            false => history.brokers_of(hold.client, hold.renewed, at),
        };
        let store = history.store_of[hold.name];
        history.faults.iter().any(|fault| {
            fault.from <= until
                && fault.until + AFTERMATH >= hold.renewed
                && fault.on.iter().any(|target| match *target {
                    Target::Everything => true,
                    Target::Client(client) => client == hold.client,
                    Target::Name(name) => name == hold.name,
                    Target::Broker(broker) => brokers.contains(&broker),
                    Target::Store(other) => store_matters && other == store,
                    Target::StoreLink { broker, store: other } => {
                        store_matters && other == store && brokers.contains(&broker)
                    }
                })
        })
    };
    let mut accuse = |what| {
        let story = format!("{}\n  {}", tell(history, hold), weather(history, history.store_of[hold.name], at));
        violations.push(Violation { what, story });
    };
    if !touched(true, at) {
        accuse(Breach::LostWithoutCause);
    }
    // A memcached that is away is no excuse for a broker that can speak. A broker that is stopped in the last moment is.
    if !told && !touched(false, at + LISTEN_ON) {
        accuse(Breach::LostWithoutNotice);
    }
}

/// Describes a hold in words.
fn tell(history: &History, hold: &Hold) -> String {
    let at = |instant: Instant| format!("{:.4}", (instant.saturating_duration_since(history.start)).as_secs_f64());
    let beliefs: Vec<_> =
        hold.beliefs.iter().map(|belief| format!("{} to {}", at(belief.from), at(belief.until))).collect();
    let first = hold.beliefs.first().map_or(hold.renewed, |belief| belief.from);
    let last = hold.beliefs.last().map_or(hold.renewed, |belief| belief.until);
    let end = match hold.end {
        End::LetGo => "let go".to_owned(),
        End::Lost { at: lost, told } => format!("lost at {}{}", at(lost), if told { "" } else { ", untold" }),
    };
    format!(
        "client {} at brokers {:?}, name {} ({:?}), token {}: believed {}; last renewed {}; {end}",
        hold.client,
        history.brokers_of(hold.client, first, last),
        hold.name,
        history.names[hold.name],
        hold.token,
        beliefs.join(", "),
        at(hold.renewed),
    )
}

/// Lists the faults around an instant that concern a memcached, or any broker or client.
fn weather(history: &History, store: usize, at: Instant) -> String {
    let concerns = |fault: &&Fault| {
        let elsewhere = |target: &Target| match *target {
            Target::Store(other) | Target::StoreLink { store: other, .. } => other != store,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Kind, LEASE, Stuck};

    /// Makes a history of client 0 and name 0.
    fn history(holds: Vec<Hold>, faults: Vec<Fault>) -> History {
        let start = Instant::now();
        History {
            start,
            end: start + Duration::from_secs(60),
            holds,
            waits: Vec::new(),
            faults,
            stuck: Vec::new(),
            store_of: vec![0, 1],
            names: vec!["faults/0".into(), "faults/1".into()],
            connections: vec![vec![(start, 0)], vec![(start, 1)]],
        }
    }

    fn hold(origin: Instant, client: usize, token: i64, beliefs: &[(u64, u64)]) -> Hold {
        let at = |millis| origin + Duration::from_millis(millis);
        Hold {
            client,
            name: 0,
            token,
            beliefs: beliefs.iter().map(|&(from, until)| Belief { from: at(from), until: at(until) }).collect(),
            renewed: at(beliefs[0].0),
            end: End::LetGo,
            outlives_streams: false,
        }
    }

    fn fault(origin: Instant, kind: Kind, on: Target, from: u64, until: u64) -> Fault {
        let at = |millis| origin + Duration::from_millis(millis);
        Fault { kind, on: vec![on], from: at(from), until: at(until) }
    }

    fn breaches(history: &History) -> Vec<Breach> {
        judge(history).into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn one_after_another_is_fine() {
        let now = Instant::now();
        let holds = vec![hold(now, 0, 1, &[(0, 100)]), hold(now, 1, 2, &[(100, 200)])];
        assert_eq!(breaches(&history(holds, vec![])), []);
    }

    #[test]
    fn two_holders_are_found_behind_a_longer_and_an_interrupted_hold() {
        let now = Instant::now();
        let around = vec![hold(now, 0, 1, &[(0, 1_000)]), hold(now, 1, 2, &[(10, 20)]), hold(now, 1, 3, &[(30, 40)])];
        assert_eq!(breaches(&history(around, vec![])), [Breach::TwoHolders; 2]);
        // In the gap between two beliefs the lock is its client's all the same, but nobody believes.
        let gap = vec![hold(now, 0, 1, &[(0, 10), (30, 40)]), hold(now, 1, 2, &[(12, 28)])];
        assert_eq!(breaches(&history(gap, vec![])), []);
        let behind = vec![hold(now, 0, 1, &[(0, 10), (30, 40)]), hold(now, 1, 2, &[(12, 31)])];
        assert_eq!(breaches(&history(behind, vec![])), [Breach::TwoHolders]);
    }

    #[test]
    fn a_cut_ends_the_belief_of_its_client_alone() {
        let now = Instant::now();
        let holds = || vec![hold(now, 0, 1, &[(0, 100)]), hold(now, 1, 2, &[(60, 200)])];
        let cut = |client| fault(now, Kind::ClientCut, Target::Client(client), 50, 50);
        assert_eq!(breaches(&history(holds(), vec![cut(0)])), []);
        assert_eq!(breaches(&history(holds(), vec![cut(1)])), [Breach::TwoHolders]);
    }

    #[test]
    fn a_cut_does_not_end_what_outlives_its_stream() {
        let now = Instant::now();
        let lease = Hold { outlives_streams: true, ..hold(now, 0, 1, &[(0, 100)]) };
        let cut = fault(now, Kind::ClientCut, Target::Client(0), 50, 50);
        assert_eq!(breaches(&history(vec![lease, hold(now, 1, 2, &[(60, 200)])], vec![cut])), [Breach::TwoHolders]);
    }

    #[test]
    fn tokens_must_rise() {
        let now = Instant::now();
        let tokens = |first, second| vec![hold(now, 0, first, &[(0, 100)]), hold(now, 1, second, &[(100, 200)])];
        assert_eq!(breaches(&history(tokens(2, 1), vec![])), [Breach::FallingToken]);
        assert_eq!(breaches(&history(tokens(2, 2), vec![])), [Breach::FallingToken]);
    }

    #[test]
    fn a_name_that_nobody_can_have_is_found() {
        let mut history = history(vec![], vec![]);
        history.stuck.push(Stuck { name: 1, why: "held by nobody".into() });
        assert_eq!(breaches(&history), [Breach::NeverFreed]);
    }

    #[test]
    fn a_loss_needs_a_cause_that_touches_it_after_the_last_renewal() {
        let now = Instant::now();
        let lost = || {
            let mut hold = hold(now, 0, 1, &[(10_000, 13_000)]);
            hold.end = End::Lost { at: now + Duration::from_secs(10) + LEASE, told: true };
            vec![hold]
        };
        assert_eq!(breaches(&history(lost(), vec![])), [Breach::LostWithoutCause]);
        let store = |store, from, until| fault(now, Kind::StorePaused, Target::Store(store), from, until);
        assert_eq!(breaches(&history(lost(), vec![store(0, 11_000, 18_000)])), []);
        assert_eq!(breaches(&history(lost(), vec![store(1, 11_000, 18_000)])), [Breach::LostWithoutCause]);
        assert_eq!(breaches(&history(lost(), vec![store(0, 1_000, 7_000)])), [Breach::LostWithoutCause]);
        assert_eq!(breaches(&history(lost(), vec![store(0, 14_000, 18_000)])), [Breach::LostWithoutCause]);
        let broker = |broker| fault(now, Kind::BrokerPaused, Target::Broker(broker), 11_000, 18_000);
        assert_eq!(breaches(&history(lost(), vec![broker(0)])), []);
        assert_eq!(breaches(&history(lost(), vec![broker(1)])), [Breach::LostWithoutCause]);
        let link = |broker| Target::StoreLink { broker, store: 0 };
        let link = |broker| fault(now, Kind::StoreLinkHalfOpen, link(broker), 11_000, 18_000);
        assert_eq!(breaches(&history(lost(), vec![link(0)])), []);
        assert_eq!(breaches(&history(lost(), vec![link(1)])), [Breach::LostWithoutCause]);
    }

    #[test]
    fn a_loss_is_told_unless_the_way_of_the_telling_was_touched() {
        let now = Instant::now();
        let untold = || {
            let mut hold = hold(now, 0, 1, &[(10_000, 13_000)]);
            hold.end = End::Lost { at: now + Duration::from_secs(10) + LEASE, told: false };
            vec![hold]
        };
        let during = |kind, on| vec![fault(now, kind, on, 11_000, 18_000)];
        let store = during(Kind::StorePaused, Target::Store(0));
        assert_eq!(breaches(&history(untold(), store)), [Breach::LostWithoutNotice]);
        let client = during(Kind::ClientHalfOpen, Target::Client(0));
        assert_eq!(breaches(&history(untold(), client)), []);
        // A broker may be stopped between the end of the validity and its word, and not after it should have come.
        let with_a_broker_stopped = |from| {
            let store = fault(now, Kind::StorePaused, Target::Store(0), 11_000, 18_000);
            vec![store, fault(now, Kind::BrokerPaused, Target::Broker(0), from, 18_000)]
        };
        assert_eq!(breaches(&history(untold(), with_a_broker_stopped(13_500))), []);
        assert_eq!(breaches(&history(untold(), with_a_broker_stopped(16_000))), [Breach::LostWithoutNotice]);
    }
}

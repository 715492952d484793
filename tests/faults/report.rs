//! The result of a run, and whether it proves anything: a run with few grants or few faults does not.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use crate::census::Census;
use crate::checker::{Breach, Violation};
use crate::history::{End, Fault, History, Hold, Kind, Target, Wait};
use crate::nemesis::servers_change;

/// The length of a run for which the minima below hold; others in proportion.
const LONG_RUN: Duration = Duration::from_secs(300);
const GRANTS: usize = 2_500;
/// The least number of faults of each kind, while a lock was held that they concerned. A broker's death strikes fifteen times in
/// such a run, and hits in nine of them on the average: half of that is rarely missed by chance.
const FAULTS: usize = 5;
/// The same for all kinds together, for each of them.
const FAULTS_ON_AVERAGE: usize = 10;
/// The time at the beginning and the end of a run in which there are few faults, however long the run is. A busy
/// machine counts for more in a short one.
const CALM: Duration = Duration::from_secs(30);
/// The least share of the time in which a name could be acquired.
const ACQUIRABLE: f64 = 0.5;
/// What of all this is asked for where the servers change: their names grant nothing meanwhile.
const WHILE_SERVERS_CHANGE: f64 = 0.4;

#[derive(Debug)]
pub(crate) struct Report {
    length: Duration,
    grants: usize,
    lost: usize,
    reattached: usize,
    /// The number of faults of each kind, and how many of them hit a lock that was held.
    faults: BTreeMap<Kind, (usize, usize)>,
    acquirable: f64,
    census: Census,
    violations: Vec<Violation>,
}

impl Report {
    pub(crate) fn of(history: &History, violations: &[Violation]) -> Self {
        let mut faults = BTreeMap::new();
        for fault in &history.faults {
            let (count, hits) = faults.entry(fault.kind).or_insert((0, 0));
            *count += 1;
            *hits += usize::from(history.holds.iter().any(|hold| hits_hold(history, fault, hold)));
        }
        let lost = history.holds.iter().filter(|hold| matches!(hold.end, End::Lost { .. }));
        Self {
            length: history.end - history.start,
            grants: history.holds.len(),
            lost: lost.count(),
            reattached: history.holds.iter().filter(|hold| hold.beliefs.len() > 1).count(),
            faults,
            acquirable: acquirable(history),
            census: Census::of(history),
            violations: violations.to_vec(),
        }
    }

    /// Returns the reasons for which the run fails, if it does.
    pub(crate) fn shortcomings(&self) -> Vec<String> {
        let share = self.length.saturating_sub(CALM).as_secs_f64() / (LONG_RUN - CALM).as_secs_f64();
        let calm = if servers_change() { WHILE_SERVERS_CHANGE } else { 1.0 };
        let share = share * calm;
        let scaled = |least: usize| (least as f64 * share) as usize;
        let (grants, hits) = (scaled(GRANTS), scaled(FAULTS));
        let mut shortcomings: Vec<_> = self.violations.iter().map(ToString::to_string).collect();
        if self.grants < grants {
            shortcomings.push(format!("{} grants are too few, there should be {grants}", self.grants));
        }
        // In a minute a kind strikes two or three times, which may all miss. All kinds together do not.
        for kind in Kind::ALL {
            let (_, hit) = self.faults.get(&kind).copied().unwrap_or_default();
            if hit < hits {
                shortcomings.push(format!("{kind:?} has hit held locks {hit} times, which should be {hits}"));
            }
        }
        let (all, least) = (
            Kind::ALL.iter().filter_map(|kind| self.faults.get(kind)).map(|(_, hit)| hit).sum::<usize>(),
            scaled(FAULTS_ON_AVERAGE) * Kind::ALL.len(),
        );
        if all < least {
            shortcomings.push(format!("faults have hit held locks {all} times, which should be {least}"));
        }
        shortcomings.extend(self.census.shortcomings(share));
        if self.acquirable < ACQUIRABLE * calm {
            shortcomings.push(format!("names could be acquired {:.0} % of the time", 100.0 * self.acquirable));
        }
        shortcomings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} grants in {:.0?}; {} lost, {} reattached after a break; names acquirable {:.1} % of the time",
            self.grants,
            self.length,
            self.lost,
            self.reattached,
            100.0 * self.acquirable,
        )?;
        writeln!(f, "  of these {}", self.census)?;
        for (kind, (count, hits)) in &self.faults {
            writeln!(f, "  {:20} {count:4}, {hits:4} on held locks", format!("{kind:?}"))?;
        }
        let mut breaches: BTreeMap<Breach, usize> = BTreeMap::new();
        for violation in &self.violations {
            *breaches.entry(violation.what).or_default() += 1;
        }
        write!(f, "violations: {} {breaches:?}", self.violations.len())
    }
}

/// Returns true if the fault struck while the lock was held, and concerned its holder or the place where it was held.
fn hits_hold(history: &History, fault: &Fault, hold: &Hold) -> bool {
    let believed = hold.beliefs.iter().any(|belief| belief.from <= fault.from && fault.from <= belief.until);
    believed && {
        let brokers = history.brokers_of(hold.client, fault.from, fault.from);
        let stores = &history.stores_of[hold.name];
        fault.on.iter().any(|target| match *target {
            Target::Everything => true,
            Target::Client(client) => client == hold.client,
            Target::Name(name) => name == hold.name,
            Target::Broker(broker) => brokers.contains(&broker),
            Target::Store(other) => stores.contains(&other),
            Target::StoreLink { broker, store: other } => stores.contains(&other) && brokers.contains(&broker),
        })
    }
}

/// Returns the share of the time in which a name could be acquired: all of it, less the time in which somebody who was
/// able to ask waited for the name, nobody had it, and it was not to be closed.
fn acquirable(history: &History) -> f64 {
    let length = (history.end - history.start).as_secs_f64();
    let mut vain = Duration::ZERO;
    for name in 0..history.stores_of.len() {
        let waits = history.waits.iter().filter(|wait| wait.name == name && could_ask(history, wait));
        let waits = union(waits.map(|wait| (wait.from, wait.until)).collect());
        let holds = history.holds.iter().filter(|hold| hold.name == name);
        let had = |hold: &Hold| {
            let closed = hold.beliefs.last().map(|last| last.until).zip(hold.closed_until());
            let beliefs = hold.beliefs.iter().map(|belief| (belief.from, belief.until));
            beliefs.chain(closed.filter(|(from, until)| from < until)).collect::<Vec<_>>()
        };
        let beliefs = union(holds.flat_map(had).collect());
        vain += waits.iter().map(|&(from, until)| until - from).sum::<Duration>() - overlap(&waits, &beliefs);
    }
    1.0 - vain.as_secs_f64() / (length * history.stores_of.len() as f64)
}

/// Returns true if nothing kept the client from asking, or its broker from listening.
fn could_ask(history: &History, wait: &Wait) -> bool {
    let brokers = history.brokers_of(wait.client, wait.from, wait.until);
    history.faults.iter().filter(|fault| fault.from < wait.until && wait.from < fault.until).all(|fault| {
        !fault.on.iter().any(|target| match *target {
            Target::Client(client) => client == wait.client,
            Target::Broker(broker) => brokers.contains(&broker),
            Target::Everything => true,
            // A name that was revoked stays closed until its holder believes no more.
            Target::Name(name) => name == wait.name,
            Target::Store(_) | Target::StoreLink { .. } => false,
        })
    })
}

/// Stretches of time that do not touch, in order.
fn union(mut stretches: Vec<(Instant, Instant)>) -> Vec<(Instant, Instant)> {
    stretches.sort_unstable();
    let mut united: Vec<(Instant, Instant)> = Vec::new();
    for (from, until) in stretches {
        match united.last_mut().filter(|last| from <= last.1) {
            Some(last) => last.1 = last.1.max(until),
            None => united.push((from, until)),
        }
    }
    united
}

/// Returns how much time two unions have in common.
fn overlap(some: &[(Instant, Instant)], others: &[(Instant, Instant)]) -> Duration {
    let (mut a, mut b, mut common) = (0, 0, Duration::ZERO);
    while a < some.len() && b < others.len() {
        common += some[a].1.min(others[b].1).saturating_duration_since(some[a].0.max(others[b].0));
        if some[a].1 < others[b].1 { a += 1 } else { b += 1 }
    }
    common
}

//! Judges a history: what the clients believed against what a lock service promises.

mod holders;
mod observers;
mod tell;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, Instant};

use crate::clients::LISTEN_ON;
use crate::history::{Access, End, History, Hold, Kind, LEASE, Revocation, Target};
use crate::world::BROKERS;
use tell::{tell, weather};

/// The time for which a fault still has effects after its end: a broker waits for a memcached that does not answer for
/// a second, and pauses for up to a second between two tries.
pub(crate) const AFTERMATH: Duration = Duration::from_secs(2);

/// A broken promise.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) what: Breach,
    /// The moment at which it was broken.
    pub(crate) at: Instant,
    /// An account for the person who has to find the cause.
    pub(crate) story: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Breach {
    /// Two clients believed at one time, and did not share the lock, or had the same permit.
    TwoHolders,
    /// More had a lock at a time than its limit allows, or one had a permit above it.
    AboveLimit,
    /// A later grant's token is not above an earlier one's that excludes it.
    FallingToken,
    /// Somebody had a lock before its linger or its `min_hold` was over.
    OpenedEarly,
    /// One who observed a lock was told a lower token after a higher one.
    SeenFallingToken,
    /// One who observed a lock was told a value that the one with that token had not sent.
    SeenForeignValue,
    /// One who observed a lock was told an older value after a newer one of the same grant.
    SeenOlderValue,
    /// After the run nobody could have the name.
    NeverFreed,
    /// Neither the broker nor a broken stream told, and nothing had touched either of them.
    LostWithoutNotice,
    /// A client went on believing in a lock that was revoked when it had no validity any more.
    BelievedAfterRevocation,
    /// The lock was lost although, since its last renewal, nothing had touched the client's connection, its broker,
    /// its memcached or what lies between.
    LostWithoutCause,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.what, self.story)
    }
}

/// Returns everything that is wrong with a history, what was first first.
pub(crate) fn judge(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    holders::judge(history, &mut violations);
    observers::judge(history, &mut violations);
    believed_after_revocation(history, &mut violations);
    for stuck in &history.stuck {
        let story = format!("name {}: {}", stuck.name, stuck.why);
        violations.push(Violation { what: Breach::NeverFreed, at: history.end, story });
    }
    for hold in &history.holds {
        lost_without(history, hold, &mut violations);
    }
    violations.sort_by_key(|violation| violation.at);
    violations
}

/// Accuses each that believes in a lock for longer after a revocation than any renewal can be good that was asked for before. There is
/// no excuse: whoever is not told and is renewed all the same finds another beside itself. A loss of memory may undo a revocation.
fn believed_after_revocation(history: &History, violations: &mut Vec<Violation>) {
    for Revocation { name, permit, sent, answered } in history.revocations.iter().copied() {
        let until = answered + LEASE;
        let was_lost = history.faults.iter().any(|fault| {
            let is_near = fault.from <= until && sent <= fault.until + AFTERMATH;
            is_near && matches!(fault.kind, Kind::StoreRestarted | Kind::StoreFlushed) && history.strikes(fault, name)
        });
        let is_it = |hold: &&Hold| {
            let permit_then = match hold.access {
                Access::Alone if hold.changes.is_empty() => None,
                Access::Shared { permit, .. } => Some(permit),
                _ => return false,
            };
            hold.name == name
                && permit_then == permit
                && hold.beliefs.iter().any(|belief| belief.from <= sent && answered <= belief.until)
                && hold.beliefs.iter().any(|belief| until < belief.until)
        };
        for hold in history.holds.iter().filter(is_it).filter(|_| !was_lost) {
            let at = answered.saturating_duration_since(history.start);
            let story = format!("revoked at {at:.4?}: {}\n  {}", tell(history, hold), weather(history, name, until));
            violations.push(Violation { what: Breach::BelievedAfterRevocation, at: until, story });
        }
    }
}

fn lost_without(history: &History, hold: &Hold, violations: &mut Vec<Violation>) {
    let End::Lost { at, told } = hold.end else { return };
    let touched = |is_for_cause: bool, until: Instant| {
        let brokers = match hold.outlives_streams {
            true => (0..BROKERS).collect(),
            false => history.brokers_of(hold.client, hold.renewed, at),
        };
        let stores: Vec<_> = hold.names().flat_map(|name| history.stores_of[name].clone()).collect();
        history.faults.iter().any(|fault| {
            fault.from <= until
                && fault.until + AFTERMATH >= hold.renewed
                && fault.on.iter().any(|target| match *target {
                    Target::Everything => true,
                    Target::Client(client) => client == hold.client,
                    // A revocation explains a loss, but not that nobody told of it.
                    Target::Name(name) => is_for_cause && hold.names().any(|own| own == name),
                    Target::Broker(broker) => brokers.contains(&broker),
                    Target::Store(other) => is_for_cause && stores.contains(&other),
                    Target::StoreLink { broker, store: other } => {
                        is_for_cause && stores.contains(&other) && brokers.contains(&broker)
                    }
                })
        })
    };
    let mut accuse = |what| {
        let story = format!("{}\n  {}", tell(history, hold), weather(history, hold.name, at));
        violations.push(Violation { what, at, story });
    };
    if !touched(true, at) {
        accuse(Breach::LostWithoutCause);
    }
    // A memcached that is away is no excuse for a broker that can speak. A broker that is stopped in the last moment is.
    if !told && !touched(false, at + LISTEN_ON) {
        accuse(Breach::LostWithoutNotice);
    }
}

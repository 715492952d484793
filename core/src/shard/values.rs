//! The values that holders give their locks, as jobs: each stands under the id of its grant (R34), and is read together with the
//! lock's item.

use super::job::{Op, Outcome, Seen, unanswered};
use super::protocol::{self, CasOutcome};
use crate::command::{Command, Reply as Said};
use crate::lock::{FencingToken, GrantId, LockItem, LockValue};
use crate::store::{ItemState, LockStatus, Proclaimed, Reply, Sight, StoreError, Stored};

/// One thing to do about the value of a lock's holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Values {
    /// Read the lock's item, and the value of a grant.
    Observe {
        /// The grant that most likely holds the lock.
        known: Option<GrantId>,
        /// True if it is the second look: the first one has shown another grant.
        is_last: bool,
    },
    /// Let a value live on.
    Keep {
        /// The grant.
        id: GrantId,
        /// Its value where none stands.
        stored: Box<Stored>,
        /// The value's ttl in seconds.
        ttl: u32,
    },
    /// Read who holds the lock, and the version of the value.
    Proclaim {
        /// The grant.
        id: GrantId,
        /// Its fencing token and the version of its value, where that has gone and is to be created.
        creates: Option<(FencingToken, u64)>,
        /// The new value.
        value: LockValue,
        /// Its ttl in seconds.
        ttl: u32,
    },
    /// Write a value.
    Write {
        /// The grant.
        id: GrantId,
        /// The version in whose place it goes. None: there is no value.
        from: Option<u64>,
        /// The new one.
        stored: Box<Stored>,
        /// Its ttl in seconds.
        ttl: u32,
        /// True if it is an update, and false if it is what its grant has been asked for with.
        is_update: bool,
    },
}

impl Values {
    /// Sees to it that a grant has a value.
    pub(super) fn keep(id: GrantId, stored: Box<Stored>, ttl: u32, is_first: bool) -> Values {
        match is_first {
            true => Values::Write { id, from: None, stored, ttl, is_update: false },
            false => Values::Keep { id, stored, ttl },
        }
    }

    pub(super) fn writes(&self) -> bool {
        matches!(self, Values::Write { .. })
    }

    pub(super) fn only_reads(&self) -> bool {
        matches!(self, Values::Observe { .. })
    }

    pub(super) fn commands(&self, item: &LockItem, batch: &mut Vec<Command>) {
        match self {
            Values::Observe { known, .. } => {
                batch.extend([protocol::look(item), protocol::look_for_owner(item)]);
                batch.push(protocol::look_for_slots(&item.name));
                batch.extend(known.map(protocol::look_for_value));
            }
            Values::Keep { id, ttl, .. } => batch.push(protocol::keep_value(*id, *ttl)),
            Values::Proclaim { id, .. } => batch.extend([protocol::look(item), protocol::look_for_value(*id)]),
            Values::Write { id, from, stored, ttl, .. } => batch.push(protocol::write_value(*id, *from, stored, *ttl)),
        }
    }

    /// Reads what memcached has said to its commands. `op` is itself.
    pub(super) fn outcome(&self, op: &Op, item: &LockItem, said: &[Said], seen: &Seen<'_>) -> Outcome {
        let outcome = match self {
            Values::Observe { known, is_last } => observed(op, (*known, *is_last), said, seen),
            Values::Keep { id, stored, ttl } => Ok(kept(*id, stored, *ttl, said)),
            Values::Proclaim { id, creates, value, ttl } => {
                proclaimed(op, item, (*id, *creates), said, seen).map(|next| match next {
                    Ok((from, token, version)) => {
                        let stored = Box::new(Stored { token, version, value: value.clone() });
                        next_op(Values::Write { id: *id, from, stored, ttl: *ttl, is_update: true })
                    }
                    Err(proclaimed) => Outcome::reply(Reply::Proclaimed(Ok(proclaimed))),
                })
            }
            Values::Write { stored, is_update, .. } => written(op, stored, *is_update, said, seen),
        };
        outcome.unwrap_or_else(|error| Outcome::reply(self.failed(error)))
    }

    /// Returns the reply that tells of an error.
    pub(super) fn failed(&self, error: StoreError) -> Reply {
        match self {
            Values::Observe { .. } => Reply::Seen(Err(error)),
            Values::Keep { .. } | Values::Write { is_update: false, .. } => Reply::Kept(Err(error)),
            Values::Proclaim { .. } | Values::Write { is_update: true, .. } => Reply::Proclaimed(Err(error)),
        }
    }
}

fn next_op(next: Values) -> Outcome {
    Outcome { next: Some(Op::value(next)), ..Outcome::default() }
}

/// Reads what a look at a lock and at the value of its holder shows. In a closed shard nothing is certain: what stands there may be
/// about to be undone, and what does not may be about to be re-asserted.
fn observed(
    op: &Op,
    (known, is_last): (Option<GrantId>, bool),
    said: &[Said],
    seen: &Seen<'_>,
) -> Result<Outcome, StoreError> {
    seen.last_word.clone()?;
    let [item, label, slots, value @ ..] = said else { return Err(unanswered()) };
    let status = op.status(item, Some(label), seen)?;
    let is_shared = op.read(slots, protocol::read_slots, seen)? > 0;
    let holder = match status {
        LockStatus::Taken { state: ItemState::Held(id), .. } => Some(id),
        _ => None,
    };
    let is_its = holder == known || !seen.heeds.value;
    if holder.is_some() && !is_its && !is_last {
        return Ok(next_op(Values::Observe { known: holder, is_last: true }));
    }
    // Only that of the grant which the item shows in this very batch.
    let stored = if holder.is_some() && is_its { value.first().and_then(protocol::read_value) } else { None };
    Ok(Outcome::reply(Reply::Seen(Ok(Box::new(Sight { status, stored, is_shared })))))
}

fn kept(id: GrantId, stored: &Stored, ttl: u32, said: &[Said]) -> Outcome {
    match said.first() {
        Some(Said::Missing) => {
            next_op(Values::Write { id, from: None, stored: Box::new(stored.clone()), ttl, is_update: false })
        }
        said => {
            // Whatever it was refused for: it is tried again with the next renewal.
            let stands = said.and_then(protocol::read_value).unwrap_or_else(|| stored.clone());
            Outcome::reply(Reply::Kept(Ok(Box::new(stands))))
        }
    }
}

/// The version to replace, and the token and the version to write.
type Update = (Option<u64>, FencingToken, u64);

/// Reads if a grant holds the lock and has a value. Returns the update, or what has become of it.
fn proclaimed(
    op: &Op,
    item: &LockItem,
    (id, creates): (GrantId, Option<(FencingToken, u64)>),
    said: &[Said],
    seen: &Seen<'_>,
) -> Result<Result<Update, Proclaimed>, StoreError> {
    debug_assert!(item.permit.is_none(), "a permit has no value");
    let [lock, value] = said else { return Err(unanswered()) };
    match op.read(lock, protocol::read_look, seen)? {
        Some((ItemState::Held(held), _)) if held == id => {}
        // In a closed shard its holder may be about to re-assert it.
        None | Some((ItemState::Lingering(_), _)) => {
            return seen.last_word.clone().map(|()| Err(Proclaimed::NotHeld));
        }
        Some((ItemState::Held(_), _)) => return seen.last_word.clone().map(|()| Err(Proclaimed::HeldByAnother)),
    }
    Ok(match (protocol::read_value(value), creates) {
        (Some(Stored { token, version, .. }), _) => Ok((Some(version), token, version.saturating_add(1))),
        (None, Some((token, version))) => Ok((None, token, version.saturating_add(1))),
        (None, None) => Err(Proclaimed::NoValue),
    })
}

fn written(op: &Op, stored: &Stored, is_update: bool, said: &[Said], seen: &Seen<'_>) -> Result<Outcome, StoreError> {
    let written = op.read(said.first().ok_or_else(unanswered)?, protocol::read_written, seen)?;
    let reply = match written {
        _ if !is_update => Reply::Kept(Ok(Box::new(stored.clone()))),
        CasOutcome::Done => Reply::Proclaimed(Ok(Proclaimed::Done { version: stored.version })),
        // Nobody can tell which of the two was meant to be the last, but those who wanted them. So it is not tried again here: an
        // update whose caller has given up would come after a later one.
        CasOutcome::Exists | CasOutcome::Missing => Reply::Proclaimed(Err(StoreError::unavailable(
            "somebody else has updated the value at the same time",
            None,
        ))),
    };
    Ok(Outcome::reply(reply))
}

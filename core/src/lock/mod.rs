//! The domain's plain values: names, owner labels, ids, fencing tokens, wake-up hints, and limits and lengths of ttls
//! and lingers. They import nothing else of this crate.

mod id;
mod lease;
mod name;
mod permit;
mod value;
mod wake;

pub use id::{CallKey, Etag, FencingToken, GrantId, LeaseId, LingerId, LockId, MalformedEtag, MalformedLockId};
pub use lease::{LEASE_MARGIN, MAX_LINGER, MAX_MIN_HOLD, MAX_TTL, MIN_TTL, item_ttl, lease, min_hold_ttl, notice};
pub use name::{InvalidText, LockName, MAX_NAME_BYTES, MAX_OWNER_BYTES, Owner};
pub use permit::{LockItem, MAX_PERMITS, Permit};
pub use value::{LockValue, MAX_VALUE_BYTES, ValueTooLong};
pub use wake::WakeHint;

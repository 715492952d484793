//! The words of the domain: names, ids, fencing tokens and how long things last. Imports nothing else of
//! ours but the clock.

mod id;
mod lease;
mod name;
mod wake;

pub use id::{FencingToken, GrantId, LingerId, LockId, MalformedLockId};
pub use lease::{LEASE_MARGIN, MAX_LINGER, MAX_TTL, MIN_TTL, item_ttl, lease};
pub use name::{InvalidText, LockName, MAX_NAME_BYTES, MAX_OWNER_BYTES, Owner};
pub use wake::WakeHint;

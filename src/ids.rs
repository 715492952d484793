//! Fresh ids of grants and lingers, by the thread's cryptographic generator.

use rand::RngExt;

use crate::lock::{GrantId, LingerId};

/// Makes a fresh grant id.
pub fn grant_id() -> GrantId {
    GrantId::from_random(rand::rng().random())
}

/// Makes a fresh linger id.
pub fn linger_id() -> LingerId {
    LingerId::from_random(rand::rng().random())
}

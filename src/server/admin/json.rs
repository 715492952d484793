//! The page's data, as JSON. No row has a lock id: whoever reads this may end nobody's lock.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::super::watched::Lock;
use crate::broker::{Access, Overview, ShownState, Totals, Waiter};
use crate::lock::{FencingToken, Permit};
use crate::store::{ShardState, ShardView};

/// `GET /status.json`: a broker's own state.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    /// The machine that it runs on; in Kubernetes the pod.
    host: String,
    version: &'static str,
    #[serde(rename = "uptime_seconds", serialize_with = "seconds")]
    uptime: Duration,
    ready: bool,
    draining: bool,
    held: i64,
    waiting: i64,
    totals: Numbers,
    shards: Vec<Shard>,
}

#[derive(Debug, Serialize)]
struct Numbers {
    grants: u64,
    releases: u64,
    hand_overs: u64,
    losses: u64,
    refusals: u64,
}

#[derive(Debug, Serialize)]
struct Shard {
    address: String,
    state: &'static str,
    #[serde(rename = "opens_in_seconds", serialize_with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    opens_in: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Status {
    pub(super) fn new(overview: &Overview, uptime: Duration, ready: bool, draining: bool) -> Status {
        let Overview { held, waiting, ref shards, .. } = *overview;
        let Totals { grants, releases, hand_overs, losses, refusals } = overview.totals;
        Status {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            version: env!("CARGO_PKG_VERSION"),
            uptime,
            ready,
            draining,
            held,
            waiting,
            totals: Numbers { grants, releases, hand_overs, losses, refusals },
            shards: shards.iter().map(Shard::new).collect(),
        }
    }
}

impl Shard {
    fn new(view: &ShardView) -> Shard {
        Shard {
            address: view.address.to_string(),
            state: match view.state {
                ShardState::Connecting => "connecting",
                ShardState::Refused => "refused",
                ShardState::Closed => "closed",
                ShardState::Open => "open",
                ShardState::Moving => "moving",
                ShardState::Gone => "gone",
            },
            opens_in: view.opens_at.map(|moment| moment.remaining()),
            reason: view.why.as_ref().map(ToString::to_string),
        }
    }
}

/// `GET /locks.json`: locks of the whole store, by name.
#[derive(Debug, Serialize)]
pub(super) struct Locks<'a> {
    pub(super) locks: Vec<LockRow<'a>>,
    /// The number of all that there are, also beyond the limit.
    pub(super) total: usize,
    /// The time since the store was asked: the times of the rows are those of then.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub(super) age: Duration,
}

#[derive(Debug, Serialize)]
pub(super) struct LockRow<'a> {
    name: &'a str,
    /// The number of the permit, if several share the lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    permit: Option<u16>,
    state: &'static str,
    /// The holder's label, where it is known.
    #[serde(skip_serializing_if = "str::is_empty")]
    owner: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fencing_token: Option<u64>,
    #[serde(rename = "held_for_seconds", serialize_with = "maybe_seconds", skip_serializing_if = "Option::is_none")]
    held_for: Option<Duration>,
    #[serde(rename = "expires_in_seconds", serialize_with = "seconds")]
    expires_in: Duration,
}

impl<'a> From<&'a Lock> for LockRow<'a> {
    fn from(lock: &'a Lock) -> LockRow<'a> {
        LockRow {
            name: lock.name.as_str(),
            permit: lock.permit.map(Permit::get),
            state: match lock.state {
                ShownState::Held => "held",
                ShownState::Claimed => "claimed",
                ShownState::Lingering => "lingering",
                ShownState::Revoked => "revoked",
            },
            owner: lock.owner.as_str(),
            fencing_token: lock.token.map(FencingToken::get),
            held_for: lock.held_for,
            expires_in: lock.expires_in,
        }
    }
}

/// `GET /waiters.json`: those who wait at this broker, by the names of the locks and their places.
#[derive(Debug, Serialize)]
pub(super) struct Waiters<'a> {
    pub(super) waiters: Vec<WaiterRow<'a>>,
    /// The number of all that there are, also beyond the limit.
    pub(super) total: usize,
    /// The time since they were listed: the times of the rows are those of then.
    #[serde(rename = "age_seconds", serialize_with = "seconds")]
    pub(super) age: Duration,
}

#[derive(Debug, Serialize)]
pub(super) struct WaiterRow<'a> {
    name: &'a str,
    position: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    owner: &'a str,
    #[serde(rename = "waited_seconds", serialize_with = "seconds")]
    waited: Duration,
    mode: &'static str,
    /// The most that share the lock by its word, and the number of permits that it wants, if it wants any.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u8>,
    keeps_others_out: bool,
}

impl<'a> From<&'a Waiter> for WaiterRow<'a> {
    fn from(waiter: &'a Waiter) -> WaiterRow<'a> {
        let (mode, limit, weight) = match waiter.access {
            Access::Alone => ("exclusive", None, None),
            Access::Shared { limit, weight } => ("shared", Some(limit), Some(weight)),
        };
        WaiterRow {
            name: waiter.name.as_str(),
            position: waiter.position,
            owner: waiter.owner.as_str(),
            waited: waiter.waited,
            mode,
            limit,
            weight,
            keeps_others_out: waiter.keeps_others_out,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) error: String,
}

/// Writes a time in seconds, exact to a millisecond.
fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_millis() as f64 / 1000.0)
}

fn maybe_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    seconds(&time.unwrap_or_default(), serializer)
}

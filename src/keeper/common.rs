//! What all keepers of a broker share.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use super::metrics::LockMetrics;
use crate::clock::Moment;
use crate::lock::{GrantId, LockName, item_ttl};
use crate::metrics::Metrics;
use crate::quota::{Quota, Share};
use crate::rate_limited::RateLimited;
use crate::store::{Change, ItemState, LockStatus, LockStore, StoreError, Watch};
use crate::stream::Failure;
use crate::waiters::Waiters;
use lockbroker_core::failure::Cause;

/// The limits and defaults of a broker.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The ttl of those who name none.
    pub default_ttl: Duration,
    /// The longest ttl that any broker of the deployment grants.
    pub max_ttl: Duration,
    /// The time between two polls for those who name none; up to 1 s where another broker will wake them.
    pub poll_interval: Duration,
    /// The most locks here, each counted from its first attempt to the end of its linger. More are refused.
    pub max_locks: NonZeroUsize,
    /// How many may wait here; above that new ones are refused.
    pub max_waiters: NonZeroUsize,
}

/// What all keepers of a broker share.
#[derive(Debug)]
pub(crate) struct Common<S> {
    pub(crate) store: S,
    pub(crate) settings: Settings,
    pub(crate) waiters: Waiters,
    pub(crate) metrics: LockMetrics,
    /// Locks that are being acquired, held, released or cleaned up, or that linger.
    pub(crate) locks: Quota,
    /// Requests that wait for a lock.
    pub(crate) waits: Quota,
    /// What has to be finished before the broker may end: streams, and releases that are under way.
    pub(crate) unfinished: TaskTracker,
    /// Set when the broker is going away: for how long it goes on.
    pub(crate) draining: watch::Sender<Option<Duration>>,
    /// Set when the process is about to end with locks held: nothing is released any more.
    pub(crate) abandoned: AtomicBool,
}

impl<S: LockStore> Common<S> {
    pub(crate) fn new(store: S, settings: Settings, metrics: &Metrics) -> Common<S> {
        Common {
            store,
            settings,
            waiters: Waiters::new(settings.poll_interval),
            metrics: LockMetrics::new(metrics),
            locks: Quota::new(metrics, "max_locks", settings.max_locks),
            waits: Quota::new(metrics, "max_waiters", settings.max_waiters),
            unfinished: TaskTracker::new(),
            draining: watch::Sender::new(None),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Says that there is no room for another lock.
    pub(crate) fn full(&self) -> Failure {
        let why = format!(
            "this broker has {} locks (held, lingering, or being acquired or released), which is its limit: raise \
             --max-locks, or ask another broker",
            self.settings.max_locks
        );
        Failure::exhausted(Cause::MaxLocks, why)
    }

    /// Looks at a lock. The label of a holder that is kept here is known even before the store has noted it, and
    /// after it has forgotten it.
    pub(crate) async fn look(&self, name: &LockName) -> Result<LockStatus, StoreError> {
        let mut look = self.store.look(name).await?;
        if let LockStatus::Taken { state: ItemState::Held(id), owner, .. } = &mut look
            && let Some(kept) = self.waiters.owner(name, *id)
        {
            *owner = kept;
        }
        Ok(look)
    }

    /// When the keeper that holds this grant is to look at the store for the line behind it. Never where nobody waits,
    /// or only this broker has the store.
    pub(super) fn look_at(&self, name: &LockName, id: GrantId) -> Option<Moment> {
        self.store.is_shared().then(|| self.waiters.look_at(name, id)).flatten()
    }

    /// Asks, in the background, that other brokers wake the line of a lock that was not to be had, which otherwise
    /// tries again after `pause`.
    pub(crate) fn watch(self: &Arc<Self>, name: &LockName, pause: Duration) {
        if !self.store.can_be_woken() {
            return;
        }
        let (common, name) = (Arc::clone(self), name.clone());
        tokio::spawn(async move {
            // What lives for `ttl` seconds is certain for three seconds less.
            let ttl = u32::try_from(pause.as_secs()).unwrap_or(u32::MAX).saturating_add(5);
            let until = Moment::now() + Duration::from_secs((ttl - 3).into());
            let kept = common.waiters.listen(&name);
            let watch = common.store.watch(&name, kept, ttl).await;
            if !common.waiters.watched(&name, watch, until) && watch != Watch::No {
                // Everybody has left.
                common.store.unwatch(&name);
            }
            // It may have been let go before anybody could know of us.
            if watch == Watch::Begun && matches!(common.store.look(&name).await, Ok(LockStatus::Free)) {
                common.waiters.released_elsewhere(&name);
            }
        });
    }

    /// Takes back what `watch` asked for, where nobody has woken the line yet.
    pub(crate) fn stop_watching(&self, name: &LockName) {
        if self.waiters.stop_watching(name) {
            self.store.unwatch(name);
        }
    }

    /// Notes in the store that a line stands here behind a holder, so that it hears when another broker ends the
    /// grant. Again and again: a keeper calls it with every renewal.
    pub(crate) fn note_line(&self, name: &LockName) {
        let again = self.settings.max_ttl / 3;
        if self.store.can_be_woken() && self.waiters.line_to_note(name, again) {
            self.store.note_line(name, item_ttl(self.settings.max_ttl, Duration::ZERO));
        }
    }

    /// Deletes, in the background, a grant that nobody wants and whose command may still land: again and again for
    /// `life`, the life of its item, whatever a look would show. Once deleted it is gone, for every command is sent
    /// once. At twice `--max-locks` it is left out, and the item expires by itself.
    pub(crate) fn scrub(self: &Arc<Self>, name: &LockName, id: GrantId, life: u32) {
        static LEFT_OUT: RateLimited = RateLimited::new();
        let Some(room) = self.locks.take_reserved() else {
            if let Some(left_out) = LEFT_OUT.pass() {
                tracing::warn!(left_out, "twice --max-locks: a grant that nobody wants is left to expire");
            }
            return;
        };
        self.scrub_in(room, name, id, life);
    }

    /// Does the same in a room that has been found already.
    pub(crate) fn scrub_in(self: &Arc<Self>, room: Share, name: &LockName, id: GrantId, life: u32) {
        let (common, name) = (Arc::clone(self), name.clone());
        tokio::spawn(async move {
            let _room = room;
            let over = Moment::now() + Duration::from_secs(life.into());
            let mut delays = retry_delays();
            while !over.has_passed() {
                if let Ok(Change::Done) = common.store.remove(&name, ItemState::Held(id)).await {
                    common.waiters.released_elsewhere(&name);
                    return;
                }
                tokio::time::sleep(delays.next().unwrap_or(LONGEST_RETRY)).await;
            }
        });
    }
}

/// How long to leave a store alone that did not answer, at the most.
pub(crate) const LONGEST_RETRY: Duration = Duration::from_secs(1);

/// How long to leave a store alone that did not answer, time after time.
pub(crate) fn retry_delays() -> impl Iterator<Item = Duration> {
    use backon::BackoffBuilder;
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(LONGEST_RETRY)
        .without_max_times()
        .with_jitter()
        .build()
}

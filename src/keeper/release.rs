//! How a grant ends: handed over to the next in line, deleted, or made to linger.

use crate::ids::{self, grant_id};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::common::{Common, LONGEST_RETRY, retry_delays};
use super::{Grant, Keeper, counts};
use crate::bell::{Ended, Handed};
use crate::clock::{Moment, sleep_until};
use crate::lock::{GrantId, LingerId, LockId, LockName, item_ttl};
use crate::mutations;
use crate::quota::Share;
use crate::store::{Change, Granted, ItemState, LockStatus, LockStore};
use crate::stream::{Event, Failure, LostReason};

/// The longest that a Release call waits for the store.
pub(crate) const LONGEST_RELEASE: Duration = Duration::from_secs(3);

/// How long a lock is left to other brokers, in poll intervals: a poll comes after 1.2 of them at the most.
const FAIR_PAUSE: f64 = 1.3;

/// What a release came to.
#[derive(Debug)]
pub(super) enum Released {
    /// The grant was ended: another keeper here has the lock now, or nobody.
    Ended,
    /// The lock lingers under this id until then.
    Lingering(LingerId, Moment),
    /// There was nothing to release: the store had the lock under this id no more.
    NotOurs(LostReason),
}

/// A grant that ends, and how.
#[derive(Debug, Clone, Copy)]
struct Ending {
    id: GrantId,
    linger: Duration,
    /// The T of the item that lingers: no shorter than it was.
    life: u32,
    /// For how long it is tried.
    tries: Duration,
    /// Until when it is certain that nobody else has been granted the lock.
    alone_until: Option<Moment>,
}

/// Whoever called Release, to be answered once.
type Caller = Option<oneshot::Sender<Result<Ended, Failure>>>;

fn answer(caller: &mut Caller, result: Result<Ended, Failure>) {
    if let Some(caller) = caller.take() {
        // Whoever called may have left.
        let _ = caller.send(result);
    }
}

impl<S: LockStore> Keeper<S> {
    /// Ends the grant: by a hand-over if somebody waits here and nothing lingers. Tells the client when that is done,
    /// before the next one hears of it, unless it has been `told` the last event already. `delivered`: the client can
    /// have known of the grant, so that it lingers, and is lost where it is not ours any more.
    pub(super) async fn release(
        &self,
        mut grant: Grant,
        delivered: bool,
        mut told: bool,
        mut caller: Caller,
    ) -> Released {
        let common = &self.common;
        let linger = if delivered { self.linger } else { Duration::ZERO };
        let announced = grant;
        let mut tell = |lost: Option<LostReason>| match lost.filter(|_| delivered) {
            _ if std::mem::replace(&mut told, true) => {}
            Some(reason) => self.tell_lost(&announced, reason, true),
            None => self.seat.end(Event::Released),
        };
        let mut unsure = false;
        if linger.is_zero() {
            while let Some(next) = common.waiters.next(&self.name) {
                let (new, sent) = (grant_id(), Moment::now());
                let handing = common.store.hand_over(&self.name, grant.id, new, next.waiter.item_ttl).await;
                let sent = mutations::counted_from(sent);
                match handing {
                    Ok(Granted::Yes(token)) if counts(sent, next.waiter.ttl) => {
                        answer(&mut caller, Ok(Ended::Released));
                        tell(None);
                        common.metrics.hand_overs.inc();
                        common.waiters.pass(&self.name, new, &next.waiter);
                        match next.waiter.bell.hand(Handed { id: new, token, sent }) {
                            Ok(()) => return Released::Ended,
                            // It left meanwhile: the grant is ours, for the one behind it.
                            Err(handed) => grant = handed.into(),
                        }
                    }
                    // The grant is not ours any more: the release that follows finds out what became of it.
                    Ok(Granted::No) => {
                        common.waiters.put_back(&self.name, next);
                        break;
                    }
                    result => {
                        unsure = result.as_ref().err().is_none_or(|error| error.may_have_landed());
                        if unsure {
                            common.scrub(&self.name, new, next.waiter.item_ttl);
                        }
                        common.waiters.put_back(&self.name, next);
                        break;
                    }
                }
            }
        }
        // Until its item may have run out, and until a memory lost since the last renewal may have been opened again.
        let alone_until = (self.lease_end(&grant) + linger).min(grant.sent + common.settings.max_ttl);
        let tries = Duration::from_secs(item_ttl(common.settings.max_ttl, linger).into());
        let life = self.item_ttl(&grant);
        let ending = Ending { id: grant.id, linger, life, tries, alone_until: Some(alone_until) };
        let released = common.end_grant(&self.name, ending, caller, unsure).await;
        match released {
            Released::Ended => {
                tell(None);
                // Waiters of other brokers have waited for long if somebody is still in line here: longer than any of
                // them pauses between two polls.
                let fair = common.waiters.has_waiters(&self.name) && linger.is_zero();
                let pause = if fair { common.settings.poll_interval.mul_f64(FAIR_PAUSE) } else { Duration::ZERO };
                common.waiters.let_go(&self.name, grant.id, Moment::now() + pause);
            }
            Released::Lingering(..) => tell(None),
            Released::NotOurs(reason) => {
                tell(Some(reason));
                common.waiters.let_go(&self.name, grant.id, Moment::now());
            }
        }
        released
    }
}

impl<S: LockStore> Common<S> {
    /// Deletes the grant, or makes it linger, trying for as long as the ending says. The caller is answered
    /// once that is certain, or has taken too long. `unsure`: an earlier command may have ended it already.
    async fn end_grant(
        self: &Arc<Self>,
        name: &LockName,
        Ending { id, linger, life, tries, alone_until }: Ending,
        mut caller: Caller,
        mut unsure: bool,
    ) -> Released {
        let linger_id = (!linger.is_zero()).then(ids::linger_id);
        let began = Moment::now();
        let over = began + tries;
        let answer_by = began + LONGEST_RELEASE / 2;
        let mut delays = retry_delays();
        loop {
            let change = match linger_id {
                None => self.store.remove(name, ItemState::Held(id)).await,
                Some(linger_id) => {
                    let certain = alone_until.is_some_and(|until| !until.has_passed());
                    self.store.linger(name, id, linger_id, life, certain).await
                }
            };
            let error = match (change, linger_id) {
                (Ok(Change::Done), None) => {
                    answer(&mut caller, Ok(Ended::Released));
                    return Released::Ended;
                }
                (Ok(Change::Done), Some(id)) => {
                    answer(&mut caller, Ok(Ended::Released));
                    return Released::Lingering(id, Moment::now() + linger);
                }
                // An earlier try may be what ended it.
                (Ok(Change::TakenOver), Some(id)) if unsure && self.lingers_under(name, id).await => {
                    answer(&mut caller, Ok(Ended::Released));
                    return Released::Lingering(id, Moment::now() + linger);
                }
                (Ok(Change::Gone | Change::TakenOver), _) if unsure => {
                    answer(&mut caller, Ok(Ended::Released));
                    return Released::Ended;
                }
                (Ok(Change::Gone), _) => {
                    answer(&mut caller, Ok(Ended::NotHeld));
                    return Released::NotOurs(LostReason::Gone);
                }
                (Ok(Change::TakenOver), _) => {
                    if caller.is_some() {
                        answer(&mut caller, self.whose(name).await);
                    }
                    return Released::NotOurs(LostReason::TakenOver);
                }
                (Err(error), _) => error,
            };
            unsure |= error.may_have_landed();
            tracing::debug!(lock = %name, %error, "not released, and tried again");
            if answer_by.has_passed() {
                answer(&mut caller, Err(error.into()));
            }
            if over.has_passed() {
                return Released::Ended;
            }
            tokio::time::sleep(delays.next().unwrap_or(LONGEST_RETRY)).await;
        }
    }

    /// Makes a lock linger, in the background, that is held under either of two ids: a reattach was under way, and may
    /// still land. The old id comes first. `life` is the T of its item.
    pub(super) fn make_either_linger(
        self: &Arc<Self>,
        name: &LockName,
        ids: [GrantId; 2],
        linger: Duration,
        life: u32,
    ) {
        let (common, name, unfinished) = (Arc::clone(self), name.clone(), self.unfinished.token());
        // The keeper that asks for this ends now.
        let room = self.locks.take_always();
        tokio::spawn(async move {
            let _room = room;
            let linger_id = ids::linger_id();
            let lingers = common.either_lingers(&name, ids, linger_id, life).await;
            drop(unfinished);
            if lingers {
                common.outlast(&name, linger_id, Moment::now() + linger).await;
                common.waiters.released_elsewhere(&name);
            }
        });
    }

    /// Tries to turn either grant into the linger until its item would be gone by itself. Whether the lock lingers.
    async fn either_lingers(&self, name: &LockName, ids: [GrantId; 2], linger_id: LingerId, life: u32) -> bool {
        let over = Moment::now() + Duration::from_secs(life.into());
        let mut delays = retry_delays();
        while !over.has_passed() {
            let mut taken_over = true;
            for id in ids {
                match self.store.linger(name, id, linger_id, life, false).await {
                    Ok(Change::Done) => return true,
                    // An earlier try may have landed.
                    Ok(Change::TakenOver) if self.lingers_under(name, linger_id).await => return true,
                    Ok(Change::TakenOver) => {}
                    Ok(Change::Gone) => return false,
                    Err(_) => taken_over = false,
                }
            }
            if taken_over {
                // By others, for good: the old id never comes back, and without it no reattach lands.
                return false;
            }
            tokio::time::sleep(delays.next().unwrap_or(LONGEST_RETRY)).await;
        }
        false
    }

    async fn lingers_under(&self, name: &LockName, id: LingerId) -> bool {
        let look = self.store.look(name).await;
        matches!(look, Ok(LockStatus::Taken { state, .. }) if state == ItemState::Lingering(id))
    }

    /// Who has a lock that a grant no longer has.
    async fn whose(&self, name: &LockName) -> Result<Ended, Failure> {
        match self.store.look(name).await? {
            LockStatus::Taken { state: ItemState::Held(_), .. } => Ok(Ended::HeldByAnother),
            LockStatus::Taken { .. } | LockStatus::Free => Ok(Ended::NotHeld),
        }
    }

    /// Keeps the lock closed until its linger is over, and opens it then. A long linger is renewed now and then, so
    /// that it survives a memcached that loses its memory.
    pub(super) async fn outlast(self: &Arc<Self>, name: &LockName, id: LingerId, until: Moment) {
        let state = ItemState::Lingering(id);
        // No shorter than it was, as at its beginning.
        let life = item_ttl(self.settings.max_ttl, until.remaining());
        loop {
            let pause = until.remaining().min(self.settings.max_ttl / 3);
            sleep_until(Moment::now() + pause).await;
            if until.has_passed() {
                break;
            }
            let renewed = self.store.renew(name, state, &Default::default(), life).await;
            match renewed {
                Ok(Change::Done) => {}
                Ok(Change::Gone | Change::TakenOver) => return,
                Err(error) => tracing::debug!(lock = %name, %error, "the linger was not renewed"),
            }
        }
        let mut delays = retry_delays();
        let over = until + Duration::from_secs(2);
        while let Err(error) = self.store.remove(name, state).await {
            tracing::debug!(lock = %name, %error, "the linger is over, and its item still there");
            if over.has_passed() {
                return;
            }
            tokio::time::sleep(delays.next().unwrap_or(LONGEST_RETRY)).await;
        }
    }
}

/// Releases a grant of which this broker has no keeper. It is tried for `--max-ttl`, whatever linger the caller's id
/// names: whoever gets no answer calls again.
pub(crate) async fn release_by_id<S: LockStore>(
    common: Arc<Common<S>>,
    name: LockName,
    lock_id: LockId,
    caller: oneshot::Sender<Result<Ended, Failure>>,
    _room: Share,
) {
    let LockId { grant: id, linger, .. } = lock_id;
    // Whether the lock is still held under that id is for the store to say.
    let max_ttl = common.settings.max_ttl;
    let ending = Ending { id, linger, life: item_ttl(max_ttl, linger), tries: max_ttl, alone_until: None };
    let released = common.end_grant(&name, ending, Some(caller), false).await;
    if let Released::NotOurs(LostReason::TakenOver) = released {
        // Nothing has changed for anybody.
        return;
    }
    // Its keeper, if another broker has one, would find out by a look or a renewal.
    common.store.wake_line(&name);
    if let Released::Lingering(id, until) = released {
        common.outlast(&name, id, until).await;
    }
    common.waiters.released_elsewhere(&name);
}

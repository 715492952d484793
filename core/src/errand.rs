//! What is done for a lock besides holding it: deleting what may have landed and nobody wants, beginning the linger of a
//! lock that was in mid-reattach, asking other brokers for wake-ups, and looking for a caller.

use std::time::Duration;

use crate::Time;
use crate::broker::{Call, Cx};
use crate::env::{Env, Mark, Observed};
use crate::hold::{FreeCall, Hold, HoldKey, Lingering, RevokeCall, UpdateCall};
use crate::lock::{GrantId, LingerId, LockId, LockItem, LockName};
use crate::normal::{Form, Normal};
use crate::request::Look;
use crate::slab::Key;
use crate::store::{Change, ItemState, LockStatus, Note, Reply, Request, Watch};

/// Names an errand.
pub(crate) type ErrandKey = Key<Errand>;

/// A task for a lock besides holding it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Errand {
    pub(crate) item: LockItem,
    /// True while it counts among `--max-locks`.
    pub(crate) has_room: bool,
    pub(crate) request: u32,
    pub(crate) due: Option<Time>,
    pub(crate) task: Task,
}

/// The task of an errand.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Task {
    CleanUp(CleanUp),
    LingerEither(Box<LingerEither>),
    Watch(Watching),
    Look(Call, Option<LockId>),
    /// Looks who is to lose the lock.
    Revoke(RevokeCall),
    /// Deletes the linger that keeps a revoked lock closed.
    Free(FreeCall),
    /// Looks for those who observe.
    Observe(Call),
    /// Keeps the value of this grant in the store. `is_first`: writes it.
    KeepValue {
        id: GrantId,
        is_first: bool,
    },
    /// Gives a grant another value.
    Update(Box<UpdateCall>),
}

/// Deletes a grant that nobody wants and whose command may still land (R5): again and again for the life of its item,
/// whatever a look would show. Once deleted it is gone, for every command is sent once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CleanUp {
    id: GrantId,
    /// True if nobody waits for it to be gone: it never kept anybody out.
    quiet: bool,
    over: Time,
    failures: u8,
    /// When to try again, while the store is not asked.
    again: Option<Time>,
}

/// Makes a lock linger that is held under either of two ids: a reattach was under way, and may still land. The old id comes
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct LingerEither {
    ids: [GrantId; 2],
    linger_id: LingerId,
    linger: Duration,
    /// The T of its item.
    life: u32,
    over: Time,
    failures: u8,
    /// Which of the ids is tried.
    index: usize,
    /// True while every id of this round has been found replaced by others.
    taken_over: bool,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Asking,
    /// An earlier try may have landed.
    Looking,
    Pausing {
        until: Time,
    },
}

/// Asks that other brokers wake the queue of a lock that was not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Watching {
    until: Time,
}

impl<E: Env> Cx<'_, E> {
    /// Deletes, in the background, a grant that nobody wants. At twice `--max-locks` it is left out, and the item expires by
    /// itself.
    pub(crate) fn clean_up(&mut self, of: HoldKey, id: GrantId, life: u32) {
        self.clean_up_if_room(self.hold(of).item(), id, (life, false));
    }

    /// Deletes, in the background, the lock's own item, which kept others out while permits were taken. It lives for `life`.
    pub(crate) fn drop_gate(&mut self, name: LockName, (gate, life): (GrantId, u32)) {
        self.clean_up_if_room(name.into(), gate, (life, false));
    }

    /// Deletes a permit, in the same way, that was created and does not count. Nobody is told that it is free.
    pub(crate) fn give_back(&mut self, of: HoldKey, id: GrantId, life: u32) {
        self.clean_up_if_room(self.hold(of).item(), id, (life, true));
    }

    fn clean_up_if_room(&mut self, item: LockItem, id: GrantId, how: (u32, bool)) {
        if !self.count_reserved() {
            self.env.observe(Observed::CleanupLeftOut);
            self.env.mark(Mark::CleanupLeftOut);
            return;
        }
        self.begin_clean_up(item, id, how);
    }

    /// Deletes a grant that nobody wants, whatever the limit says.
    pub(crate) fn clean_up_always(&mut self, of: HoldKey, id: GrantId, life: u32) {
        self.core.counts.locks += 1;
        self.begin_clean_up(self.hold(of).item(), id, (life, false));
    }

    fn begin_clean_up(&mut self, item: LockItem, id: GrantId, (life, quiet): (u32, bool)) {
        let over = self.now + Duration::from_secs(life.into());
        let task = Task::CleanUp(CleanUp { id, quiet, over, failures: 0, again: None });
        let key = self.insert_errand(item, true, task);
        self.ask_on_errand(key, Request::Remove { state: ItemState::Held(id), quiet });
    }

    /// Makes a lock linger, in the background, that is held under either of two ids.
    pub(crate) fn linger_either(&mut self, of: HoldKey, ids: [GrantId; 2], linger: Duration, life: u32) {
        let linger_id = self.env.linger_id();
        self.env.mark(Mark::MovingLingers);
        let over = self.now + Duration::from_secs(life.into());
        let step = Step::Asking;
        let task = LingerEither { ids, linger_id, linger, life, over, failures: 0, index: 0, taken_over: true, step };
        // The hold that asks for this ends now.
        self.core.counts.locks += 1;
        self.core.unfinished += 1;
        let key = self.insert_errand(self.hold(of).item(), true, Task::LingerEither(Box::new(task)));
        self.ask_on_errand(key, Request::Linger { from: ids[0], to: linger_id, ttl: life, certain: false });
    }

    /// Asks, in the background, that other brokers wake the queue of a lock that was not to be had, which otherwise tries
    /// again after `pause`.
    pub(crate) fn watch(&mut self, name: &LockName, pause: Duration) {
        if !self.core.store.can_be_woken {
            return;
        }
        // What lives for `ttl` seconds is certain for three seconds less.
        let ttl = u32::try_from(pause.as_secs()).unwrap_or(u32::MAX).saturating_add(5);
        let until = self.now + Duration::from_secs((ttl - 3).into());
        let now = self.now;
        let kept = self.core.names.wakeups(name).is_some_and(|wakeups| wakeups.is_watched(now));
        let key = self.insert_errand(name.into(), false, Task::Watch(Watching { until }));
        self.ask_on_errand(key, Request::Watch { kept, ttl });
    }

    /// Looks at a lock for a caller.
    pub(crate) fn look_for(&mut self, call: Call, item: LockItem, lock_id: Option<LockId>) {
        let key = self.insert_errand(item, false, Task::Look(call, lock_id));
        self.ask_on_errand(key, Request::Look);
    }

    /// Takes a lock from its holder, wherever it is kept.
    pub(crate) fn revoke(&mut self, revoke: RevokeCall, item: LockItem) {
        let key = self.insert_errand(item, false, Task::Revoke(revoke));
        self.ask_on_errand(key, Request::Look);
    }

    /// Frees a lock that was revoked: deletes the linger that keeps it closed.
    pub(crate) fn free(&mut self, free: FreeCall, item: &LockItem) {
        let key = self.insert_errand(item.clone(), false, Task::Free(free));
        self.ask_on_errand(key, Request::Remove { state: ItemState::Lingering(free.id), quiet: false });
    }

    /// Looks at a lock for those who observe it.
    pub(crate) fn observe(&mut self, call: Call, name: &LockName, look: Look) {
        if let Some(ttl) = look.note_for.filter(|_| self.core.store.can_be_woken) {
            self.note_of(name, Note::ObservedHere { ttl });
        }
        let key = self.insert_errand(name.into(), false, Task::Observe(call));
        self.ask_on_errand(key, Request::Observe { known: look.known });
    }

    /// Lets an errand go on: the store has answered it, or, without an answer, it is time.
    pub(crate) fn step_errand(&mut self, key: ErrandKey, answer: Option<Reply>) {
        let Some(errand) = self.core.errands.get_mut(key) else { return };
        let (item, task) = (errand.item.clone(), errand.task.clone());
        let name = &item.name;
        let next = match task {
            Task::CleanUp(cleanup) => self.clean_up_on(key, name, cleanup, answer).map(Task::CleanUp),
            Task::LingerEither(linger) => self.linger_either_on(key, &item, linger, answer).map(Task::LingerEither),
            Task::Watch(watching) => self.watch_on(key, name, watching, answer).map(Task::Watch),
            Task::Look(call, lock_id) => match answer {
                Some(Reply::Status(status)) => {
                    self.answer_look(call, &item, lock_id, status);
                    None
                }
                _ => Some(Task::Look(call, lock_id)),
            },
            Task::Revoke(revoke) => match answer {
                Some(Reply::Status(status)) => {
                    self.revoke_seen(revoke, &item, status);
                    None
                }
                _ => Some(Task::Revoke(revoke)),
            },
            Task::Free(free) => match answer {
                Some(Reply::Changed(change)) => {
                    self.freed(free, &item, change);
                    None
                }
                _ => Some(Task::Free(free)),
            },
            task @ (Task::Observe(_) | Task::KeepValue { .. } | Task::Update(_)) => self.value_on(&item, task, answer),
        };
        match next {
            Some(next) => {
                if let Some(errand) = self.core.errands.get_mut(key) {
                    errand.task = next;
                }
            }
            None => self.remove_errand(key),
        }
    }

    /// Comes to what is asked about a value, once it is answered.
    fn value_on(&mut self, item: &LockItem, task: Task, answer: Option<Reply>) -> Option<Task> {
        match (task, answer) {
            (Task::Observe(call), Some(Reply::Seen(sight))) => {
                self.answer_observe(call, item, sight.map(|sight| *sight));
            }
            (Task::KeepValue { id, is_first }, Some(Reply::Kept(kept))) => {
                self.value_kept(item, (id, is_first), kept.map(|kept| *kept));
            }
            (Task::Update(update), Some(Reply::Proclaimed(proclaimed))) => self.updated(*update, item, proclaimed),
            (task, _) => return Some(task),
        }
        None
    }

    fn clean_up_on(
        &mut self,
        key: ErrandKey,
        name: &LockName,
        mut cleanup: CleanUp,
        answer: Option<Reply>,
    ) -> Option<CleanUp> {
        match answer {
            Some(Reply::Changed(Ok(Change::Done))) => {
                self.env.mark(Mark::CleanedUp);
                if !cleanup.quiet {
                    self.released_elsewhere(name);
                }
                return None;
            }
            Some(_) => {
                let again = self.now + self.retry_pause(&mut cleanup.failures);
                cleanup.again = Some(again);
                self.wake_errand_at(key, Some(again));
            }
            None if self.now >= cleanup.over => return None,
            None => {
                cleanup.again = None;
                self.ask_on_errand(key, Request::Remove { state: ItemState::Held(cleanup.id), quiet: cleanup.quiet });
            }
        }
        Some(cleanup)
    }

    fn linger_either_on(
        &mut self,
        key: ErrandKey,
        item: &LockItem,
        mut linger: Box<LingerEither>,
        answer: Option<Reply>,
    ) -> Option<Box<LingerEither>> {
        let lingers = match (linger.step, answer) {
            (Step::Asking, Some(Reply::Changed(change))) => match change {
                Ok(Change::Done) => true,
                Ok(Change::Gone) => return self.lingers_not(),
                Ok(Change::TakenOver | Change::Revoked) => {
                    linger.step = Step::Looking;
                    self.ask_on_errand(key, Request::Look);
                    return Some(linger);
                }
                Err(_) => {
                    linger.taken_over = false;
                    false
                }
            },
            (Step::Looking, Some(Reply::Status(status))) => {
                let expected = ItemState::Lingering(linger.linger_id);
                matches!(status, Ok(LockStatus::Taken { state, .. }) if state == expected)
            }
            (Step::Pausing { until }, None) if self.now >= until => {
                return self.linger_next(key, linger, 0);
            }
            _ => return Some(linger),
        };
        if lingers {
            self.lingers_now(item, &linger);
            return None;
        }
        if linger.index == 0 {
            return self.linger_next(key, linger, 1);
        }
        if linger.taken_over || self.now >= linger.over {
            // By others, for good: the old id never comes back, and without it no reattach lands.
            return self.lingers_not();
        }
        let until = self.now + self.retry_pause(&mut linger.failures);
        linger.taken_over = true;
        linger.step = Step::Pausing { until };
        self.wake_errand_at(key, Some(until));
        Some(linger)
    }

    /// Tries one of the two ids.
    fn linger_next(
        &mut self,
        key: ErrandKey,
        mut linger: Box<LingerEither>,
        index: usize,
    ) -> Option<Box<LingerEither>> {
        linger.index = index;
        linger.step = Step::Asking;
        let (from, to, ttl) = (linger.ids[index], linger.linger_id, linger.life);
        self.ask_on_errand(key, Request::Linger { from, to, ttl, certain: false });
        Some(linger)
    }

    fn lingers_not(&mut self) -> Option<Box<LingerEither>> {
        self.core.unfinished -= 1;
        None
    }

    /// Keeps the lock closed from now on.
    fn lingers_now(&mut self, item: &LockItem, linger: &LingerEither) {
        self.core.unfinished -= 1;
        self.core.counts.locks += 1;
        let hold = Hold::without_client(item.clone(), self.core.settings.max_ttl, linger.linger);
        let key = self.core.holds.insert(hold);
        let state = Lingering::begin(key, linger.linger_id, self.now + linger.linger, None, self);
        self.settle_in(key, state);
    }

    fn watch_on(
        &mut self,
        key: ErrandKey,
        name: &LockName,
        watching: Watching,
        answer: Option<Reply>,
    ) -> Option<Watching> {
        match answer {
            Some(Reply::Watching(watch)) => {
                let now = self.now;
                match self.core.names.wakeups(name) {
                    Some(wakeups) => wakeups.watched(watch, watching.until, now),
                    // Everybody has left.
                    None if watch != Watch::No => self.note_of(name, Note::Unwatch),
                    None => {}
                }
                // It may have been let go before anybody could know of us.
                (watch == Watch::Begun).then(|| {
                    self.ask_on_errand(key, Request::Look);
                    watching
                })
            }
            Some(Reply::Status(status)) => {
                if status == Ok(LockStatus::Free) {
                    self.env.mark(Mark::FreeWhenWatched);
                    self.released_elsewhere(name);
                }
                None
            }
            _ => Some(watching),
        }
    }
}

impl Errand {
    /// Returns the grant that it deletes, if it does.
    pub(crate) fn cleans_up(&self) -> Option<GrantId> {
        if let Task::CleanUp(cleanup) = &self.task { Some(cleanup.id) } else { None }
    }

    /// Brings it into its normal form.
    pub(crate) fn normalise(&mut self, form: &mut Form<'_, impl Normal>) {
        self.request = 0;
        form.pause(&mut self.due);
        match &mut self.task {
            Task::CleanUp(CleanUp { id, quiet: _, over, failures, again }) => {
                *failures = 0;
                form.grant(id);
                form.effort(over);
                form.pause(again);
            }
            Task::LingerEither(task) => {
                task.failures = 0;
                task.ids.iter_mut().for_each(|id| form.grant(id));
                form.linger(&mut task.linger_id);
                form.effort(&mut task.over);
                if let Step::Pausing { until } = &mut task.step {
                    form.pause([until]);
                }
            }
            Task::Watch(Watching { until }) => form.until(until),
            Task::Look(_, lock_id) => lock_id.iter_mut().for_each(|lock_id| form.grant(&mut lock_id.grant)),
            Task::Revoke(_) => {}
            Task::Free(free) => form.linger(&mut free.id),
            Task::Observe(_) => {}
            Task::KeepValue { id, .. } => form.grant(id),
            Task::Update(update) => update.normalise(form),
        }
    }
}

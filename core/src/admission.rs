//! Room for what clients ask: limits on how many locks and waiters a broker has.

use crate::broker::Cx;
use crate::env::{Env, Limit, Observed, Subject};
use crate::event::LockRef;
use crate::failure::{Cause, Failure};
use crate::hold::{Hold, HoldKey, Reattaching, Subscriber, Trying, Waiting, going_away};
use crate::request::{LockRequest, Mode};
use crate::session::{Kind, StreamKey};

/// Where a request has found room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Room {
    /// Among `--max-locks`.
    Lock,
    /// Among `--max-waiters`. It gets room among the locks with the grant.
    Queue,
}

impl<E: Env> Cx<'_, E> {
    /// Makes room for what is asked, or says why there is none.
    pub(crate) fn admit(&mut self, stream: StreamKey, request: &LockRequest) -> Result<Room, Failure> {
        self.room_and_charge(request).inspect_err(|failure| {
            let caller = self.core.streams.get(stream).and_then(|stream| stream.caller.as_deref());
            let subject = Subject { name: &request.name, owner: &request.owner, caller };
            self.env.observe(Observed::Failed { subject, failure });
        })
    }

    /// Makes room for what is asked, and counts it for its account until the hold is gone.
    fn room_and_charge(&mut self, request: &LockRequest) -> Result<Room, Failure> {
        let Some(account) = request.account else { return self.room_for(request) };
        self.env.charge(account, &request.mode)?;
        self.room_for(request).inspect_err(|_| {
            if matches!(request.mode, Mode::Wait { .. }) {
                self.env.wait_is_over(account);
            }
            self.env.lock_is_gone(account);
        })
    }

    /// A reattach finds room up to twice `--max-locks`, since its lock is held already: one of two brokers can take over all
    /// that the other had.
    fn room_for(&mut self, request: &LockRequest) -> Result<Room, Failure> {
        if self.core.draining.is_some() {
            return Err(going_away());
        }
        let limit = self.core.settings.max_locks.get();
        match request.mode {
            Mode::Once => self.count_lock(limit).then_some(Room::Lock).ok_or_else(|| self.full()),
            Mode::Reattach(_) => self.count_reserved().then_some(Room::Lock).ok_or_else(|| self.full()),
            // Refused at once if it is full now: it would be no better when the grant comes.
            Mode::Wait { .. } if self.core.counts.locks >= limit => {
                self.env.observe(Observed::Full(Limit::Locks));
                Err(self.full())
            }
            Mode::Wait { .. } if self.core.counts.waits >= self.core.settings.max_waiters.get() => {
                self.env.observe(Observed::Full(Limit::Waiters));
                let why = format!(
                    "{} wait at this broker, which is its limit: raise --max-waiters, or ask another broker",
                    self.core.settings.max_waiters
                );
                Err(Failure::exhausted(Cause::MaxWaiters, why))
            }
            Mode::Wait { .. } => {
                self.core.counts.waits += 1;
                Ok(Room::Queue)
            }
        }
    }

    /// Begins to get a lock.
    pub(crate) fn begin(&mut self, stream: StreamKey, lock_ref: LockRef, mut request: LockRequest, room: Room) {
        let (mode, value) = (request.mode, request.value.take());
        let mut hold = Hold::of_request(request, Subscriber { stream, lock_ref, covered: None, told: 0 });
        hold.room = Some(room);
        let kept = usize::from(hold.is_kept());
        let me = self.core.holds.insert(hold);
        self.give_value(me, value);
        self.core.unfinished += 1;
        if let Some(stream) = self.core.streams.get_mut(stream) {
            stream.subscribers += 1;
            stream.kept += kept;
            match &mut stream.kind {
                Kind::Session(session) => session.insert(lock_ref, me),
                kind @ (Kind::New | Kind::Alone(_)) => *kind = Kind::Alone(Some(me)),
            }
        }
        let state = match mode {
            Mode::Once | Mode::Wait { max_wait: Some(std::time::Duration::ZERO), .. } => Trying::begin(me, mode, self),
            Mode::Wait { max_wait, poll_interval } => Waiting::begin(me, (mode, max_wait, poll_interval), self),
            Mode::Reattach(lock_id) => Reattaching::begin(me, lock_id, self),
        };
        self.settle_in(me, state);
    }

    /// Counts one more lock, up to a limit. Returns false if there are as many already.
    fn count_lock(&mut self, limit: usize) -> bool {
        if self.core.counts.locks >= limit {
            self.env.observe(Observed::Full(Limit::Locks));
            return false;
        }
        self.core.counts.locks += 1;
        true
    }

    /// Returns true if there are as many locks as new ones may make.
    pub(crate) fn is_full(&self) -> bool {
        self.core.counts.locks > self.core.settings.max_locks.get()
    }

    /// Counts one more, up to twice the limit: for what ends something, or cannot be refused without a loss.
    pub(crate) fn count_reserved(&mut self) -> bool {
        self.count_lock(self.core.settings.max_locks.get().saturating_mul(2))
    }

    /// Takes room among the locks for one that has waited. Returns false if there is none.
    pub(crate) fn take_room(&mut self, me: HoldKey) -> bool {
        let has_room = self.count_lock(self.core.settings.max_locks.get());
        self.hold_mut(me).room = has_room.then_some(Room::Lock);
        has_room
    }

    /// Takes room whatever the limit: for a replacement of something that is about to end.
    pub(crate) fn take_room_always(&mut self, me: HoldKey) {
        self.core.counts.locks += 1;
        self.hold_mut(me).room = Some(Room::Lock);
    }

    /// Gives up the room of one that waits.
    pub(crate) fn give_up_wait(&mut self, me: HoldKey) {
        let hold = self.hold_mut(me);
        let account = hold.account;
        if hold.room.take_if(|room| *room == Room::Queue).is_some() {
            self.core.counts.waits -= 1;
            if let Some(account) = account {
                self.env.wait_is_over(account);
            }
        }
    }

    /// Says that there is no room for another lock.
    pub(crate) fn full(&self) -> Failure {
        let why = format!(
            "this broker has {} locks (held, lingering, or being acquired or released), which is its limit: raise \
             --max-locks, or ask another broker",
            self.core.settings.max_locks
        );
        Failure::exhausted(Cause::MaxLocks, why)
    }
}

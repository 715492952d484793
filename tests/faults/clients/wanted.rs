//! What a client asks for, what it got, and what it believes of that.

use std::time::{Duration, Instant};

use lockbroker::proto::lock_spec::Mode;
use lockbroker::proto::{Acquired, AlsoAcquired, LockSpec};

use super::Life;
use crate::history::{Access, Belief, End, Hold, LEASE};
use crate::world::Prey;

/// A lock that a client wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) name: usize,
    /// True if others may have it at the same time.
    pub(super) is_shared: bool,
    pub(super) linger: Duration,
    pub(super) min_hold: Duration,
}

impl Wanted {
    /// Returns the most that may share the lock, if there is a limit. All users of a name say the same.
    pub(super) fn limit(self) -> Option<u32> {
        [None, Some(2), Some(3)][self.name % 3]
    }

    pub(super) fn spec(self, life: &Life) -> LockSpec {
        let mut spec = LockSpec { name: life.world.names[self.name].clone(), ..LockSpec::default() };
        if self.is_shared {
            spec.set_mode(Mode::Shared);
            spec.limit = self.limit().map_or(0, |limit| limit as i32);
        }
        let time = |time: Duration| (!time.is_zero()).then(|| time.try_into().unwrap());
        (spec.linger, spec.min_hold) = (time(self.linger), time(self.min_hold));
        spec
    }

    /// Takes note of what was granted of it.
    pub(super) fn got(self, token: i64, permit: Option<u32>) -> Got {
        let access = match permit {
            None => Access::Alone,
            Some(permit) => Access::Shared { permit, limit: self.limit() },
        };
        assert_eq!(access != Access::Alone, self.is_shared, "what was granted is what was asked for");
        Got { wanted: self, token, access }
    }
}

/// A lock that a client got.
#[derive(Clone, Copy, Debug)]
pub(super) struct Got {
    wanted: Wanted,
    token: i64,
    access: Access,
}

/// Returns all that was granted, in the order in which it was asked for.
pub(super) fn got(wanted: &[Wanted], acquired: &Acquired) -> Vec<Got> {
    let number = |permit: Option<i32>| permit.map(|permit| permit.try_into().expect("not below 0"));
    let first = (acquired.fencing_token, number(acquired.permit));
    let also = |also: &AlsoAcquired| (also.fencing_token, number(also.permit));
    let granted: Vec<_> = std::iter::once(first).chain(acquired.also.iter().map(also)).collect();
    assert_eq!(granted.len(), wanted.len(), "all or none");
    wanted.iter().zip(granted).map(|(wanted, (token, permit))| wanted.got(token, permit)).collect()
}

/// What a client has and goes on to have: one lock, or several together. Validity is set by whoever knows the client's rules;
/// what is noted never reaches beyond it.
#[derive(Debug)]
pub(super) struct Holding {
    /// One for each lock. But for the locks they are all alike.
    pub(super) holds: Vec<Hold>,
    /// The moment since which the client has believed without a break; none while it does not.
    since: Option<Instant>,
    pub(super) valid_until: Instant,
}

impl Holding {
    /// Begins with what was just granted and is valid until then.
    pub(super) fn begin(life: &Life, got: &[Got], valid_until: Instant) -> Self {
        let (now, renewed) = (Instant::now(), valid_until - LEASE);
        let names = || got.iter().map(|got| got.wanted.name);
        let hold = |Got { wanted, token, access }: Got| Hold {
            client: life.client,
            name: wanted.name,
            access,
            others: names().filter(|name| *name != wanted.name).collect(),
            token,
            beliefs: Vec::new(),
            renewed,
            end: End::LetGo,
            outlives_streams: false,
            linger: wanted.linger,
            // The validity counts from before the grant.
            held_at_least: (!wanted.min_hold.is_zero()).then(|| renewed + wanted.min_hold),
            repeated: false,
        };
        let holds: Vec<Hold> = got.iter().copied().map(hold).collect();
        life.world.held.lock().unwrap().extend(holds.iter().map(Prey::of));
        Self { holds, since: Some(now), valid_until }
    }

    /// Notes that it does not end with its stream.
    pub(super) fn outlives_streams(&mut self) {
        self.holds.iter_mut().for_each(|hold| hold.outlives_streams = true);
    }

    pub(super) fn is_of(&self, name: usize) -> bool {
        self.holds.iter().any(|hold| hold.name == name)
    }

    /// Extends the validity to then, if it has not run out already: what has run out stays so.
    pub(super) fn valid_until(&mut self, until: Instant) {
        if Instant::now() < self.valid_until {
            self.valid_until = until;
            self.holds.iter_mut().for_each(|hold| hold.renewed = until - LEASE);
        }
    }

    /// Ends the belief now, or when the validity ended.
    pub(super) fn doubt(&mut self) {
        self.doubt_since(Instant::now());
    }

    /// Ends the belief at that moment, or when the validity ended.
    pub(super) fn doubt_since(&mut self, then: Instant) {
        let until = self.valid_until.min(then);
        if let Some(from) = self.since.take().filter(|&from| from < until) {
            self.holds.iter_mut().for_each(|hold| hold.beliefs.push(Belief { from, until }));
        }
    }

    /// Begins to believe again after a doubt: a reattach was answered in time.
    pub(super) fn resume(&mut self, valid_until: Instant) {
        self.valid_until(valid_until);
        self.since.get_or_insert_with(Instant::now);
    }

    /// Begins to believe again, also after the validity has run out: a call that names the grant was answered with it. So nobody
    /// else had it meanwhile.
    pub(super) fn revive(&mut self, valid_until: Instant) {
        if self.has_run_out() {
            self.doubt();
        }
        self.valid_until = valid_until;
        self.holds.iter_mut().for_each(|hold| hold.renewed = valid_until - LEASE);
        self.since.get_or_insert_with(Instant::now);
    }

    pub(super) fn has_run_out(&self) -> bool {
        Instant::now() >= self.valid_until
    }

    pub(super) fn let_go(mut self, life: &Life) {
        self.doubt();
        self.over(life);
    }

    /// Notes a loss, now or when the validity ran out.
    pub(super) fn lost(mut self, told: bool, life: &Life) {
        self.doubt();
        let at = self.valid_until.min(Instant::now());
        self.holds.iter_mut().for_each(|hold| hold.end = End::Lost { at, told });
        self.over(life);
    }

    fn over(self, life: &Life) {
        for hold in self.holds {
            let mut held = life.world.held.lock().unwrap();
            let here = held.iter().position(|held| *held == Prey::of(&hold));
            held.swap_remove(here.expect("noted when it began"));
            drop(held);
            life.world.notes.hold(hold);
        }
    }
}

//! What a client asks for, what it got, and what it believes of that.

use std::time::{Duration, Instant};

use lockbroker::proto::lock_spec::{Mode, OnDisconnect};
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
    /// The number of permits that it wants at once.
    pub(super) weight: u32,
    /// True if the lock is to be kept when its stream ends.
    pub(super) keeps: bool,
    /// The campaign whose values it has.
    pub(super) campaign: Option<usize>,
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
            spec.weight = if self.weight > 1 { self.weight as i32 } else { 0 };
        }
        if self.keeps {
            spec.set_on_disconnect(OnDisconnect::Keep);
        }
        spec.value = self.campaign.map(|campaign| life.world.notes.latest(campaign));
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
    let each = each(wanted);
    assert_eq!(granted.len(), each.len(), "all or none");
    each.iter().zip(granted).map(|(wanted, (token, permit))| wanted.got(token, permit)).collect()
}

/// Returns what is wanted, once for each permit.
pub(super) fn each(wanted: &[Wanted]) -> Vec<Wanted> {
    wanted.iter().flat_map(|wanted| std::iter::repeat_n(*wanted, wanted.weight as usize)).collect()
}

/// What a client has and goes on to have: one lock, or several together. Validity is set by whoever knows the client's rules;
/// what is noted never reaches beyond it.
#[derive(Debug)]
pub(super) struct Holding {
    /// One for each lock. But for the locks they are all alike.
    pub(super) holds: Vec<Hold>,
    /// What the nemesis may be after.
    prey: Vec<Prey>,
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
            changes: Vec::new(),
            together: got.len(),
            others: names().filter(|name| *name != wanted.name).collect(),
            token,
            beliefs: Vec::new(),
            renewed,
            end: End::LetGo,
            outlives_streams: wanted.keeps,
            linger: wanted.linger,
            // The validity counts from before the grant.
            held_at_least: (!wanted.min_hold.is_zero()).then(|| renewed + wanted.min_hold),
            repeated: false,
        };
        let holds: Vec<Hold> = got.iter().copied().map(hold).collect();
        let prey: Vec<Prey> = holds.iter().map(Prey::of).collect();
        life.world.held.lock().unwrap().extend(&prey);
        Self { holds, prey, since: Some(now), valid_until }
    }

    /// Notes that from now on it is had in another way.
    pub(super) fn becomes(&mut self, access: Access, life: &Life) {
        let now = Instant::now();
        let believed = self.since.is_some();
        self.doubt_since(now);
        self.since = believed.then_some(now);
        self.holds.iter_mut().for_each(|hold| hold.changes.push((now, access)));
        self.escape(life);
        self.prey = self.holds.iter().map(Prey::of).collect();
        life.world.held.lock().unwrap().extend(&self.prey);
    }

    fn escape(&mut self, life: &Life) {
        let mut held = life.world.held.lock().unwrap();
        for prey in self.prey.drain(..) {
            let here = held.iter().position(|held| *held == prey);
            held.swap_remove(here.expect("noted when it began"));
        }
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

    fn over(mut self, life: &Life) {
        self.escape(life);
        self.holds.into_iter().for_each(|hold| life.world.notes.hold(hold));
    }
}

//! Who waits is listed in parts, and nobody who waits all the time is missed.

use std::time::Duration;

use lockbroker_core::env::Env;
use lockbroker_core::event::LockRef;
use lockbroker_core::listing::{Cursor, SeenWaiter, Which};
use lockbroker_core::lock::{GrantId, LingerId, LockName, Owner};
use lockbroker_core::request::{Access, LockRequest, Mode, OnDisconnect, Settings, StoreTraits};
use lockbroker_core::{Broker, StreamKey, Time};

const TTL: Duration = Duration::from_secs(30);

/// A clock that the test sets, and ids that are all the same: nothing is granted.
struct Outside(Time);

impl Env for Outside {
    fn now(&self) -> Time {
        self.0
    }

    fn grant_id(&mut self) -> GrantId {
        GrantId::from_random(0)
    }

    fn linger_id(&mut self) -> LingerId {
        LingerId::from_random(0)
    }

    fn spread(&mut self, span: Duration, _: Duration) -> Duration {
        span
    }
}

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

/// A broker with one Session on which waits begin.
struct World {
    broker: Broker,
    outside: Outside,
    stream: StreamKey,
    last_ref: LockRef,
}

impl World {
    fn new() -> World {
        let settings = Settings {
            default_ttl: TTL,
            max_ttl: TTL,
            poll_interval: Duration::from_secs(1),
            max_locks: std::num::NonZeroUsize::MAX,
            max_waiters: std::num::NonZeroUsize::MAX,
        };
        let traits = StoreTraits { is_shared: true, can_be_woken: false };
        let (mut broker, mut outside) = (Broker::new(settings, traits, 1), Outside(at(1)));
        let stream = broker.stream(None);
        broker.open(stream, TTL, &mut outside).unwrap();
        World { broker, outside, stream, last_ref: 0 }
    }

    fn wait(&mut self, name: &LockName, owner: &str) -> LockRef {
        self.last_ref += 1;
        let mode = Mode::Wait { max_wait: None, poll_interval: None };
        let owner = Owner::new(owner).unwrap();
        let request = LockRequest {
            name: name.clone(),
            ttl: TTL,
            linger: Duration::ZERO,
            min_hold: Duration::ZERO,
            owner,
            value: None,
            access: Access::Alone,
            mode,
            account: None,
            on_disconnect: OnDisconnect::default(),
        };
        self.broker.take_ref(self.stream, self.last_ref, &mut self.outside).unwrap();
        self.broker.begin(self.stream, self.last_ref, request, &mut self.outside);
        self.last_ref
    }

    fn leave(&mut self, lock_ref: LockRef) {
        self.broker.end_lock(self.stream, lock_ref, &mut self.outside).unwrap();
    }

    /// Lists those of `which`, and does something between the parts.
    fn list(&mut self, which: &Which, mut between: impl FnMut(&mut World)) -> Vec<SeenWaiter> {
        let (mut found, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            let before = found.len();
            cursor = self.broker.waiters(which, from, &mut found);
            assert!(found.len() - before <= 1024, "a part is small");
            between(self);
        }
        found.sort_by(|a, b| (&a.name, a.ticket).cmp(&(&b.name, b.ticket)));
        found
    }
}

#[test]
fn whoever_waits_all_the_time_is_listed_once_and_in_order() {
    let mut world = World::new();
    let (a, b) = (name("a"), name("b"));
    let mut refs = Vec::new();
    for n in 0..5_000 {
        world.outside.0 = at(2 + n);
        refs.push(world.wait(if n % 2 == 0 { &a } else { &b }, &format!("{n}")));
    }
    // Every second one of the first thousand leaves, from both ends, and others come.
    let mut leaving: Vec<_> = refs[..1_000].iter().copied().step_by(4).collect();
    let found = world.list(&Which::Prefix("".into()), |world| {
        for lock_ref in leaving.drain(..leaving.len().min(100)) {
            world.leave(lock_ref);
            world.wait(&name("c"), "late");
        }
    });
    for (is_of, this) in [(0, &a), (1, &b)] {
        let owners: Vec<usize> =
            found.iter().filter(|one| one.name == *this).map(|one| one.owner.as_str().parse().unwrap()).collect();
        assert!(owners.is_sorted() && owners.iter().all(|owner| owner % 2 == is_of));
        let stays = |n: &usize| n % 2 == is_of && !(*n < 1_000 && n.is_multiple_of(4));
        let missed = (0..5_000).filter(stays).filter(|n| owners.binary_search(n).is_err()).count();
        assert_eq!((missed, owners.windows(2).filter(|pair| pair[0] == pair[1]).count()), (0, 0));
    }
    let first_of_b = found.iter().find(|one| one.name == b).unwrap();
    assert_eq!((first_of_b.owner.as_str(), first_of_b.since), ("1", at(3)));
}

#[test]
fn names_and_prefixes_choose() {
    let mut world = World::new();
    for text in ["a", "a/1", "a/2", "ab", "b"] {
        world.wait(&name(text), text);
    }
    let found = |world: &mut World, which: Which| -> Vec<String> {
        world.list(&which, |_| ()).iter().map(|one| one.name.as_str().to_owned()).collect()
    };
    assert_eq!(found(&mut world, Which::Name(name("a"))), ["a"]);
    assert_eq!(found(&mut world, Which::Prefix("a".into())), ["a", "a/1", "a/2", "ab"]);
    assert_eq!(found(&mut world, Which::Prefix("a/".into())), ["a/1", "a/2"]);
    assert_eq!(found(&mut world, Which::Prefix("".into())).len(), 5);
    assert!(found(&mut world, Which::Name(name("a/"))).is_empty());
}

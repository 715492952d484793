//! What many locks have to do at once delays nobody else.

mod support;

use std::time::Duration;

use lockbroker_core::lock::{FencingToken, LockName, Owner};
use lockbroker_core::request::{Access, LockRequest, Mode, OnDisconnect, Settings, StoreTraits, StreamEnd};
use lockbroker_core::store::{Granted, Order, Reply, Request};
use lockbroker_core::{Broker, Output, Read, RequestId, StreamKey};

use support::Outside;

const TTL: Duration = Duration::from_secs(30);
const OTHER: &str = "other";
const LOCKS: i64 = 100_000;
/// The most orders that one turn may leave behind, by the broker's own budget and what came in.
const AT_ONCE: usize = 1_100;

/// A broker, and a store that grants whatever is asked.
struct World {
    broker: Broker,
    outside: Outside,
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
        let outside = Outside::new();
        World { broker: Broker::new(settings, traits, 1), outside }
    }

    fn session(&mut self) -> StreamKey {
        let stream = self.broker.stream(None);
        self.broker.open(stream, TTL, &mut self.outside).unwrap();
        stream
    }

    /// Begins a lock on a Session, which is granted at once.
    fn hold(&mut self, stream: StreamKey, lock_ref: i64, name: &str) {
        let request = LockRequest {
            name: LockName::new(name).unwrap(),
            ttl: TTL,
            linger: Duration::ZERO,
            min_hold: Duration::ZERO,
            owner: Owner::default(),
            value: None,
            access: Access::Alone,
            mode: Mode::Once,
            account: None,
            on_disconnect: OnDisconnect::default(),
        };
        self.broker.take_ref(stream, lock_ref, &mut self.outside).unwrap();
        self.broker.begin(stream, lock_ref, request, &mut self.outside);
        for Asked { id, request, .. } in self.orders() {
            assert!(matches!(request, Request::Grant { .. }), "{request:?}");
            let token = FencingToken::new(self.outside.last_id).unwrap();
            self.broker.answered(id, Reply::Granted(Ok(Granted::Yes(token))), &mut self.outside);
        }
        assert!(self.orders().is_empty());
        while matches!(self.broker.read(stream, &mut self.outside), Read::Item(_)) {}
    }

    /// Returns what the store has been asked since.
    fn orders(&mut self) -> Vec<Asked> {
        let outputs = std::iter::from_fn(|| self.broker.output());
        let asked = outputs.filter_map(|output| match output {
            Output::Order(Order::Ask { id, item, request, .. }) => Some(Asked { id, name: item.name, request }),
            _ => None,
        });
        asked.collect()
    }

    fn passes(&mut self, time: Duration) {
        self.outside.now = self.outside.now + time;
    }

    /// Returns true if the broker has something to do now.
    fn is_busy(&self) -> bool {
        self.broker.due().is_some_and(|due| due <= self.outside.now + Duration::from_millis(1))
    }

    /// Lets the broker look by itself, a little later. Returns what it has asked.
    fn looks(&mut self) -> Vec<Asked> {
        self.passes(Duration::from_micros(100));
        self.broker.timeout(&mut self.outside);
        self.orders()
    }
}

/// What the store was asked.
struct Asked {
    id: RequestId,
    name: LockName,
    request: Request,
}

/// Returns how many renewals there are, and whether the other client's is among them.
fn renewals(orders: &[Asked]) -> (usize, bool) {
    let renewed = orders.iter().filter(|asked| matches!(asked.request, Request::Renew { .. }));
    (renewed.clone().count(), renewed.clone().any(|asked| asked.name.as_str() == OTHER))
}

/// A world in which one Session has 100,000 locks and another, opened later, has one.
fn crowded() -> (World, StreamKey, StreamKey) {
    let mut world = World::new();
    let (crowd, other) = (world.session(), world.session());
    (1..=LOCKS).for_each(|lock_ref| world.hold(crowd, lock_ref, &format!("crowd-{lock_ref}")));
    world.hold(other, 1, OTHER);
    world.passes(Duration::from_secs(5));
    (world, crowd, other)
}

#[test]
fn the_end_of_many_locks_holds_up_no_renewal() {
    let (mut world, crowd, other) = crowded();
    let mut removed = 0;
    let mut take = |orders: Vec<Asked>| {
        assert!(orders.len() <= AT_ONCE, "{} at once", orders.len());
        removed += orders.iter().filter(|asked| matches!(asked.request, Request::Remove { .. })).count();
        renewals(&orders).1
    };
    world.broker.end(crowd, StreamEnd::Closed, &mut world.outside);
    take(world.orders());
    take(world.looks());
    // In the middle of it the other client is heard.
    world.broker.heartbeat(other, 1, &mut world.outside).unwrap();
    let renewed = take(world.orders()) || take(world.looks());
    assert!(renewed, "the renewal has waited for more than the turn that was under way");
    while world.is_busy() {
        take(world.looks());
    }
    assert_eq!(removed, LOCKS as usize);
}

#[test]
fn the_heartbeat_of_many_locks_holds_up_no_other_and_reaches_the_last_of_them() {
    let (mut world, crowd, other) = crowded();
    world.broker.heartbeat(crowd, 1, &mut world.outside).unwrap();
    let mut renewed = renewals(&world.orders()).0;
    world.broker.heartbeat(other, 1, &mut world.outside).unwrap();
    let now = world.orders();
    let next = world.looks();
    assert!(renewals(&now).1 || renewals(&next).1, "the other's renewal has waited for more than one turn");
    renewed += renewals(&now).0 + renewals(&next).0;
    while world.is_busy() {
        let orders = world.looks();
        assert!(orders.len() <= AT_ONCE, "{} at once", orders.len());
        renewed += renewals(&orders).0;
    }
    assert_eq!(renewed, LOCKS as usize + 1);
}

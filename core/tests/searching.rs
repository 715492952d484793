//! One who waits looks through many permits. What is let go meanwhile, behind the place where it looks, it gets at once.

mod support;

use std::num::NonZeroUsize;
use std::time::Duration;

use lockbroker_core::lock::{FencingToken, LockName, Owner, Permit};
use lockbroker_core::request::{Access, LockRequest, Mode, OnDisconnect, Settings, StoreTraits};
use lockbroker_core::store::{Change, Order, Reply, Request, Shared, WINDOW};
use lockbroker_core::{Broker, Output, Read, RequestId, StreamKey};

use support::Outside;

const TTL: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_secs(1);
/// Two windows, of which a search looks at one after the other.
const LIMIT: u16 = WINDOW + 10;

type Asked = (RequestId, Option<Permit>, Request);

/// A broker with a Session, and a store that the test plays.
struct World {
    broker: Broker,
    outside: Outside,
    stream: StreamKey,
}

impl World {
    fn new() -> World {
        let settings = Settings {
            default_ttl: TTL,
            max_ttl: TTL,
            poll_interval: POLL,
            max_locks: NonZeroUsize::MAX,
            max_waiters: NonZeroUsize::MAX,
        };
        let mut broker = Broker::new(settings, StoreTraits { is_shared: true, can_be_woken: false }, 1);
        let mut outside = Outside::new();
        let stream = broker.stream(None);
        broker.open(stream, TTL, &mut outside).unwrap();
        World { broker, outside, stream }
    }

    fn begin(&mut self, lock_ref: i64, mode: Mode) {
        let request = LockRequest {
            name: LockName::new("pool").unwrap(),
            ttl: TTL,
            linger: Duration::ZERO,
            min_hold: Duration::ZERO,
            owner: Owner::default(),
            value: None,
            access: Access::Shared { limit: LIMIT, weight: 1 },
            mode,
            account: None,
            on_disconnect: OnDisconnect::default(),
        };
        self.broker.take_ref(self.stream, lock_ref, &mut self.outside).unwrap();
        self.broker.begin(self.stream, lock_ref, request, &mut self.outside);
    }

    /// Returns what the store has been asked since, a millisecond later.
    fn asked(&mut self) -> Vec<Asked> {
        while matches!(self.broker.read(self.stream, &mut self.outside), Read::Item(_)) {}
        let outputs = std::iter::from_fn(|| self.broker.output());
        let asked = outputs.filter_map(|output| match output {
            Output::Order(Order::Ask { id, item, request, .. }) => Some((id, item.permit, request)),
            _ => None,
        });
        let asked = asked.collect();
        self.outside.now = self.outside.now + Duration::from_millis(1);
        asked
    }

    fn answer(&mut self, id: RequestId, reply: Reply) -> Vec<Asked> {
        self.broker.answered(id, reply, &mut self.outside);
        self.asked()
    }
}

/// Returns the one thing that was asked.
fn only(mut asked: Vec<Asked>) -> Asked {
    assert_eq!(asked.len(), 1, "{asked:?}");
    asked.remove(0)
}

#[test]
fn a_permit_that_is_let_go_behind_a_search_is_taken_at_once() {
    let mut world = World::new();
    world.begin(1, Mode::Once);
    let (share, first, _) = only(world.asked());
    let token = FencingToken::new(1).unwrap();
    world.answer(share, Reply::Shared(Ok(Shared::Yes(token))));

    // Another one waits. Somebody elsewhere has all other permits, so it looks through the first window.
    world.begin(2, Mode::Wait { max_wait: None, poll_interval: None });
    let (share, _, _) = only(world.asked());
    let (find, _, request) = only(world.answer(share, Reply::Shared(Ok(Shared::Taken { slots: LIMIT }))));
    assert!(matches!(request, Request::Find { from: 0, .. }), "{request:?}");
    // The first permit is let go, after that look was carried out, and before it is answered.
    world.broker.end_lock(world.stream, 1, &mut world.outside).unwrap();
    let (remove, _, request) = only(world.asked());
    assert!(matches!(request, Request::Remove { .. }), "{request:?}");
    assert_eq!(world.answer(remove, Reply::Changed(Ok(Change::Done))), []);
    let (find, _, request) = only(world.answer(find, Reply::Found(Ok(None))));
    assert!(matches!(request, Request::Find { from: WINDOW, .. }), "{request:?}");

    // Nothing is free in the second one. It does not wait until the next poll.
    let (_, permit, request) = only(world.answer(find, Reply::Found(Ok(None))));
    assert!(matches!(request, Request::Share { .. }), "{request:?}");
    assert_eq!(permit, first);
}

/// Where nothing was let go, the store is left alone until the next poll.
#[test]
fn a_search_in_vain_is_not_begun_anew_at_once() {
    let mut world = World::new();
    world.begin(1, Mode::Wait { max_wait: None, poll_interval: None });
    let (share, _, _) = only(world.asked());
    let (find, _, _) = only(world.answer(share, Reply::Shared(Ok(Shared::Taken { slots: LIMIT }))));
    let (find, _, _) = only(world.answer(find, Reply::Found(Ok(None))));
    let asked = world.answer(find, Reply::Found(Ok(None)));
    assert!(
        !asked.iter().any(|(_, _, request)| matches!(request, Request::Share { .. } | Request::Find { .. })),
        "{asked:?}"
    );
    world.outside.now = world.outside.now + POLL;
    world.broker.timeout(&mut world.outside);
    let asked = world.asked();
    assert!(
        asked.iter().any(|(_, _, request)| matches!(request, Request::Share { .. } | Request::Find { .. })),
        "{asked:?}"
    );
}

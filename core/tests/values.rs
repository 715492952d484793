//! The values of locks: when a broker writes, keeps, updates and forgets them (R34).

mod support;

use std::time::Duration;

use lockbroker_core::lock::{FencingToken, GrantId, LockId, LockName, LockValue, Owner};
use lockbroker_core::request::{
    Access, LockRequest, Look, Mode, OnDisconnect, Purpose, Settings, StoreTraits, StreamEnd, Updated,
};
use lockbroker_core::store::{
    Change, Granted, ItemState, Label, LockStatus, Note, Order, Proclaimed, Reply, Request, Sight, Stored,
};
use lockbroker_core::{Broker, Output, RequestId, StreamKey};

use support::Outside;

const TTL: Duration = Duration::from_secs(15);
const TOKEN: FencingToken = FencingToken::FIRST;

/// A broker whose store is the test.
struct World {
    broker: Broker,
    outside: Outside,
}

impl World {
    fn new() -> World {
        World::of(StoreTraits { is_shared: true, can_be_woken: false })
    }

    fn of(traits: StoreTraits) -> World {
        let settings = Settings {
            default_ttl: TTL,
            max_ttl: TTL,
            poll_interval: Duration::from_secs(1),
            max_locks: std::num::NonZeroUsize::MAX,
            max_waiters: std::num::NonZeroUsize::MAX,
        };
        let outside = Outside::new();
        World { broker: Broker::new(settings, traits, 1), outside }
    }

    fn ask(&mut self, mode: Mode, value: Option<&str>) -> StreamKey {
        let request = LockRequest {
            name: name(),
            ttl: TTL,
            linger: Duration::ZERO,
            min_hold: Duration::ZERO,
            owner: Owner::default(),
            value: value.map(self::value),
            access: Access::Alone,
            mode,
            account: None,
            on_disconnect: OnDisconnect::default(),
        };
        let stream = self.broker.stream(None);
        self.broker.begin_alone(stream, request, Purpose::Stream, &mut self.outside).unwrap();
        stream
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.broker.output()).filter(|output| !matches!(output, Output::Readable(_))).collect()
    }

    /// Returns what was noted in the store since, and answers what it was asked.
    fn notes(&mut self, reply: Reply) -> Vec<Note> {
        let mut notes = Vec::new();
        for output in self.outputs() {
            match output {
                Output::Order(Order::Note(_, note)) => notes.push(note),
                Output::Order(Order::Ask { id, .. }) => self.answer(id, reply.clone()),
                _ => {}
            }
        }
        notes
    }

    /// Returns the only thing that the store was asked since.
    fn asked(&mut self) -> (RequestId, Request) {
        match &self.outputs()[..] {
            [Output::Order(Order::Ask { id, request, .. })] => (*id, request.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, id: RequestId, reply: Reply) {
        self.broker.answered(id, reply, &mut self.outside);
    }

    /// Holds the lock with a value, which is written. Returns the stream and the grant.
    fn leads(&mut self, value: &str) -> (StreamKey, GrantId) {
        let stream = self.ask(Mode::Once, Some(value));
        let (grant, Request::Grant { id, .. }) = self.asked() else { panic!("it asks for the lock") };
        self.answer(grant, Reply::Granted(Ok(Granted::Yes(TOKEN))));
        assert_eq!(self.outside.changes, 0, "those who observe look when the value is there too");
        let (writing, request) = self.asked();
        assert_eq!(first(&request), (id, stored(1, value)));
        self.answer(writing, Reply::Kept(Ok(Box::new(stored(1, value)))));
        assert_eq!(self.outside.changes, 1);
        (stream, id)
    }

    /// Lets the lock be renewed. Returns what is asked about its value.
    fn renews(&mut self) -> (RequestId, Request) {
        self.outside.now = self.outside.now + TTL / 3;
        self.broker.timeout(&mut self.outside);
        let (renewal, Request::Renew { .. }) = self.asked() else { panic!("it renews the lock") };
        self.answer(renewal, Reply::Changed(Ok(Change::Done)));
        self.asked()
    }
}

fn name() -> LockName {
    LockName::new("leader").unwrap()
}

fn value(text: &str) -> LockValue {
    LockValue::new(text.as_bytes()).unwrap()
}

fn stored(version: u64, text: &str) -> Stored {
    Stored { token: TOKEN, version, value: value(text) }
}

fn lock_id(grant: GrantId) -> LockId {
    LockId { grant, token: TOKEN, linger: Duration::ZERO, min_hold: Duration::ZERO, permit: None }
}

/// Returns the grant whose value is written for the first time, and the value.
fn first(request: &Request) -> (GrantId, Stored) {
    match request {
        Request::KeepValue { id, stored, is_first: true, .. } => (*id, (**stored).clone()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_value_is_kept_with_each_renewal_and_forgotten_with_its_hold() {
    let mut world = World::new();
    let (stream, id) = world.leads("one");
    let (keeping, request) = world.renews();
    let Request::KeepValue { id: of, is_first: false, .. } = request else { panic!("{request:?}") };
    assert_eq!(of, id);
    world.answer(keeping, Reply::Kept(Ok(Box::new(stored(1, "one")))));
    world.broker.end(stream, StreamEnd::Closed, &mut world.outside);
    let (removal, Request::Remove { .. }) = world.asked() else { panic!("it is released") };
    world.answer(removal, Reply::Changed(Ok(Change::Done)));
    let outputs = world.outputs();
    assert!(outputs.contains(&Output::Order(Order::Note(name().into(), Note::ForgetValue(id)))), "{outputs:?}");
    world.broker.stop_reading(stream, &mut world.outside);
    assert!(world.broker.is_empty());
}

#[test]
fn what_another_broker_has_written_is_kept_and_not_written_over() {
    let mut world = World::new();
    let (_, id) = world.leads("one");
    let (keeping, _) = world.renews();
    world.answer(keeping, Reply::Kept(Ok(Box::new(stored(5, "elsewhere")))));
    assert_eq!(world.outside.changes, 2);
    // The store has lost it since: what is written is the later one.
    let (_, request) = world.renews();
    let Request::KeepValue { stored: kept, .. } = request else { panic!("{request:?}") };
    assert_eq!(*kept, stored(5, "elsewhere"));
    // An older one that comes late changes nothing.
    world.broker.update(7, &name(), lock_id(id), value("here"), &mut world.outside);
    let (updating, request) = world.asked();
    assert!(matches!(request, Request::Proclaim { creates: Some((TOKEN, 5)), .. }), "{request:?}");
    world.answer(updating, Reply::Proclaimed(Ok(Proclaimed::Done { version: 6 })));
    assert_eq!(world.outputs(), [Output::Updated { call: 7, result: Ok(Updated::Done) }]);
    world.answer(keeping, Reply::Kept(Ok(Box::new(stored(5, "elsewhere")))));
    let (_, request) = world.renews();
    let Request::KeepValue { stored: kept, .. } = request else { panic!("{request:?}") };
    assert_eq!(*kept, stored(6, "here"));
}

#[test]
fn a_reattach_writes_the_value_before_its_id_can_be_seen() {
    let mut world = World::new();
    let old = GrantId::from_random(99);
    world.ask(Mode::Reattach(lock_id(old)), Some("moved"));
    let (writing, request) = world.asked();
    let (new, written) = first(&request);
    assert_eq!(written, stored(1, "moved"));
    // It is best effort: the lock moves, whatever became of it.
    let error = lockbroker_core::store::StoreError::uncertain("no answer");
    world.answer(writing, Reply::Kept(Err(error)));
    let (swap, request) = world.asked();
    let Request::Replace { from, to, .. } = request else { panic!("{request:?}") };
    assert_eq!((from, to), (old, new));
    world.answer(swap, Reply::Changed(Ok(Change::Done)));
    assert_eq!(world.outputs(), [], "it is not written twice");
    // The next renewal finds out that there is none, and the store writes it.
    let (_, request) = world.renews();
    assert!(matches!(request, Request::KeepValue { id, is_first: false, .. } if id == new), "{request:?}");
}

#[test]
fn who_observes_sees_the_value_of_the_very_grant() {
    let mut world = World::new();
    let (_, id) = world.leads("here");
    let look = |world: &mut World, held: GrantId, label: Option<FencingToken>, value: Option<Stored>| {
        world.broker.observe(3, &name(), Look::default(), &mut world.outside);
        let (looking, Request::Observe { .. }) = world.asked() else { panic!("it looks") };
        let label = Box::new(Label { token: label, ..Label::default() });
        let status = LockStatus::Taken { state: ItemState::Held(held), label, expires_in: TTL };
        world.answer(looking, Reply::Seen(Ok(Box::new(Sight { status, stored: value, is_shared: false }))));
        match &world.outputs()[..] {
            [Output::Observed { call: 3, result: Ok(seen) }] => seen.clone(),
            other => panic!("{other:?}"),
        }
    };
    let token = |status: &LockStatus| match status {
        LockStatus::Taken { label, .. } => label.token,
        LockStatus::Free => None,
    };
    // What is kept here is known even before the store has it.
    let seen = look(&mut world, id, None, None);
    assert_eq!((seen.value, token(&seen.status)), (Some(value("here")), Some(TOKEN)));
    let seen = look(&mut world, id, None, Some(stored(4, "there")));
    assert_eq!(seen.value, Some(value("there")), "the store has a later one");
    // Of another's grant nothing is known here, and its token comes with its value.
    let other = GrantId::from_random(99);
    let seen = look(&mut world, other, None, None);
    assert_eq!((seen.value, token(&seen.status)), (None, None));
    let theirs = Stored { token: FencingToken::new(9).unwrap(), ..stored(1, "theirs") };
    let seen = look(&mut world, other, None, Some(theirs.clone()));
    assert_eq!((seen.value, token(&seen.status)), (Some(value("theirs")), Some(theirs.token)));
    let seen = look(&mut world, other, Some(TOKEN), Some(theirs));
    assert_eq!((seen.value, token(&seen.status)), (None, Some(TOKEN)), "the two do not go together");
}

#[test]
fn a_lock_that_was_asked_for_without_a_value_gets_none() {
    let mut world = World::new();
    world.ask(Mode::Once, None);
    let (grant, Request::Grant { id, .. }) = world.asked() else { panic!("it asks for the lock") };
    world.answer(grant, Reply::Granted(Ok(Granted::Yes(TOKEN))));
    assert_eq!(world.outside.changes, 1);
    world.broker.update(1, &name(), lock_id(id), value("x"), &mut world.outside);
    assert_eq!(world.outputs(), [Output::Updated { call: 1, result: Ok(Updated::NoValue) }]);
    // Of one that is kept elsewhere the store knows.
    let there = GrantId::from_random(99);
    for (said, result) in [(Proclaimed::NotHeld, Updated::NotHeld), (Proclaimed::HeldByAnother, Updated::HeldByAnother)]
    {
        world.broker.update(2, &name(), lock_id(there), value("x"), &mut world.outside);
        let (updating, request) = world.asked();
        assert!(matches!(request, Request::Proclaim { creates: None, .. }), "{request:?}");
        world.answer(updating, Reply::Proclaimed(Ok(said)));
        assert_eq!(world.outputs(), [Output::Updated { call: 2, result: Ok(result) }]);
    }
}

/// Each of them costs the store as many looks as brokers may observe.
#[test]
fn observers_elsewhere_are_told_of_a_lock_with_a_value_and_of_no_other() {
    for value in [Some("one"), None] {
        let mut world = World::of(StoreTraits { is_shared: true, can_be_woken: true });
        let told = |notes: Vec<Note>| notes.iter().filter(|note| **note == Note::TellObservers).count();
        let each = usize::from(value.is_some());
        let stream = world.ask(Mode::Once, value);
        let (grant, Request::Grant { id, .. }) = world.asked() else { panic!("it asks for the lock") };
        world.answer(grant, Reply::Granted(Ok(Granted::Yes(TOKEN))));
        assert_eq!(told(world.notes(Reply::Kept(Ok(Box::new(stored(1, "one")))))), 0, "the value is not there yet");
        assert_eq!(told(world.notes(Reply::Changed(Ok(Change::Done)))), each, "{value:?}: granted");
        if value.is_some() {
            world.broker.update(1, &name(), lock_id(id), self::value("two"), &mut world.outside);
            assert_eq!(told(world.notes(Reply::Proclaimed(Ok(Proclaimed::Done { version: 2 })))), 0);
            assert_eq!(told(world.notes(Reply::Changed(Ok(Change::Done)))), 1, "updated");
        }
        world.broker.end(stream, StreamEnd::Closed, &mut world.outside);
        assert_eq!(told(world.notes(Reply::Changed(Ok(Change::Done)))), 0, "it is not released yet");
        assert_eq!(told(world.notes(Reply::Changed(Ok(Change::Done)))), each, "{value:?}: released");
    }
}

#[test]
fn who_observes_is_noted_where_brokers_wake_each_other() {
    for (can_be_woken, note_for, expected) in
        [(true, Some(9), vec![Note::ObservedHere { ttl: 9 }]), (true, None, vec![]), (false, Some(9), vec![])]
    {
        let mut world = World::of(StoreTraits { is_shared: true, can_be_woken });
        world.broker.observe(1, &name(), Look { known: None, note_for }, &mut world.outside);
        let notes =
            world.notes(Reply::Seen(Ok(Box::new(Sight { status: LockStatus::Free, stored: None, is_shared: false }))));
        assert_eq!(notes, expected);
    }
}

//! What every `LockStore` promises: one body of tests, run on the embedded store and on a real memcached.

use lockbroker::ids::{grant_id, linger_id};
use std::time::{Duration, Instant};

use lockbroker::lock::{FencingToken, GrantId, LockName, LockValue, Owner};
use lockbroker::metrics::Metrics;
use lockbroker::store::memcached::{self, MemcachedSettings, MemcachedStore, Opened};
use lockbroker::store::{Change, Granted, ItemState, LockStatus, LockStore, MemoryStore, Proclaimed, Store, Stored};
use tokio::time::timeout;

use crate::support::{Asked, Memcached, SOON, eventually};

/// Long enough for nothing to expire within a test.
const LONG: u32 = 60;

macro_rules! contract {
    ($($promise:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test]
            async fn $promise() {
                super::$promise(super::Asked::new(super::MemoryStore::new())).await;
            })*
        }
        mod on_memcached {
            $(#[tokio::test]
            async fn $promise() {
                let server = super::Memcached::start(&[]).await;
                super::$promise(super::open_store_on(&server).await).await;
            })*
        }
    };
}

contract![
    of_many_who_ask_at_once_one_is_granted,
    tokens_rise_with_every_grant_and_every_hand_over,
    only_the_mark_it_carries_renews_a_lock,
    a_hand_over_is_a_new_grant_and_needs_the_holders_id,
    a_replaced_mark_keeps_the_lock,
    only_the_mark_it_carries_removes_a_lock,
    a_lock_that_lingers_is_not_granted,
    what_comes_late_touches_nothing,
    a_lock_nobody_renews_expires_in_its_time,
    a_renewal_sets_the_ttl_whether_it_grows_or_shrinks,
    a_label_is_shown_with_its_own_grant_only,
    all_names_are_locks_of_their_own,
    a_value_is_that_of_the_grant_which_holds_the_lock,
    an_update_is_of_the_grant_that_holds_the_lock_and_counts_on,
    a_value_lives_as_long_as_it_is_kept,
];

async fn of_many_who_ask_at_once_one_is_granted(store: Asked) {
    let name = name("contended");
    let ids: Vec<_> = (0..50).map(|_| grant_id()).collect();
    let answers = futures_util::future::join_all(ids.iter().map(|&id| store.grant(&name, id, LONG))).await;
    let won: Vec<_> = answers.iter().zip(&ids).filter(|(answer, _)| matches!(answer, Ok(Granted::Yes(_)))).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(state(&store, &name).await, Some(ItemState::Held(*won[0].1)));
}

async fn tokens_rise_with_every_grant_and_every_hand_over(store: Asked) {
    let name = name("fenced");
    let mut last = None;
    for _ in 0..20 {
        let (first, second) = (grant_id(), grant_id());
        let granted = grant(&store, &name, first).await;
        let Ok(Granted::Yes(handed)) = store.hand_over(&name, first, second, LONG).await else {
            panic!("the holder hands over");
        };
        assert!(last < Some(granted) && granted < handed, "{last:?}, {granted:?}, {handed:?}");
        last = Some(handed);
        assert_eq!(store.remove(&name, ItemState::Held(second)).await, Ok(Change::Done));
    }
}

async fn only_the_mark_it_carries_renews_a_lock(store: Asked) {
    let (name, id, nobody) = (name("renewed"), grant_id(), Owner::default());
    assert_eq!(store.renew(&name, ItemState::Held(id), &nobody, LONG).await, Ok(Change::Gone), "there is none yet");
    assert_eq!(state(&store, &name).await, None, "a renewal creates nothing");
    grant(&store, &name, id).await;
    assert_eq!(store.renew(&name, ItemState::Held(id), &nobody, LONG).await, Ok(Change::Done));
    for other in [ItemState::Held(grant_id()), ItemState::Lingering(linger_id())] {
        assert_eq!(store.renew(&name, other, &nobody, LONG).await, Ok(Change::TakenOver));
    }
    assert_eq!(state(&store, &name).await, Some(ItemState::Held(id)));
}

async fn a_hand_over_is_a_new_grant_and_needs_the_holders_id(store: Asked) {
    let (name, first, second, third) = (name("handed"), grant_id(), grant_id(), grant_id());
    assert_eq!(store.hand_over(&name, first, second, LONG).await, Ok(Granted::No), "nobody has it");
    assert_eq!(state(&store, &name).await, None);
    grant(&store, &name, first).await;
    assert!(matches!(store.hand_over(&name, first, second, 2 * LONG).await, Ok(Granted::Yes(_))));
    let (held, left) = item(&store, &name).await;
    assert_eq!(held, ItemState::Held(second));
    assert!(left > seconds(LONG), "with the ttl of the one that has it now: {left:?}");
    assert_eq!(store.hand_over(&name, first, third, LONG).await, Ok(Granted::No));
    assert_eq!(state(&store, &name).await, Some(ItemState::Held(second)));
}

async fn a_replaced_mark_keeps_the_lock(store: Asked) {
    let (name, old, new) = (name("reattached"), grant_id(), grant_id());
    assert_eq!(store.replace(&name, old, new, LONG).await, Ok(Change::Gone));
    grant(&store, &name, old).await;
    assert_eq!(store.replace(&name, old, new, 2 * LONG).await, Ok(Change::Done));
    let (held, left) = item(&store, &name).await;
    assert_eq!(held, ItemState::Held(new));
    assert!(left > seconds(LONG), "{left:?}");
    assert_eq!(store.replace(&name, old, new, LONG).await, Ok(Change::TakenOver));
}

async fn only_the_mark_it_carries_removes_a_lock(store: Asked) {
    let (name, id) = (name("removed"), grant_id());
    assert_eq!(store.remove(&name, ItemState::Held(id)).await, Ok(Change::Gone));
    grant(&store, &name, id).await;
    for stale in [ItemState::Held(grant_id()), ItemState::Lingering(linger_id())] {
        assert_eq!(store.remove(&name, stale).await, Ok(Change::TakenOver));
    }
    assert_eq!(state(&store, &name).await, Some(ItemState::Held(id)));
    assert_eq!(store.remove(&name, ItemState::Held(id)).await, Ok(Change::Done));
    assert_eq!(store.look(&name).await, Ok(LockStatus::Free));
}

async fn a_lock_that_lingers_is_not_granted(store: Asked) {
    let (name, id, linger) = (name("lingering"), grant_id(), linger_id());
    let (held, lingering) = (ItemState::Held(id), ItemState::Lingering(linger));
    let before = grant(&store, &name, id).await;
    assert_eq!(store.linger(&name, id, linger, LONG, false).await, Ok(Change::Done));
    assert_eq!(state(&store, &name).await, Some(lingering));
    assert_eq!(store.grant(&name, grant_id(), LONG).await, Ok(Granted::No));
    assert_eq!(store.remove(&name, held).await, Ok(Change::TakenOver), "it is no longer held");
    assert_eq!(store.renew(&name, lingering, &Owner::default(), LONG).await, Ok(Change::Done));
    assert_eq!(store.remove(&name, lingering).await, Ok(Change::Done));
    assert!(grant(&store, &name, grant_id()).await > before);
}

async fn what_comes_late_touches_nothing(store: Asked) {
    let (name, late, now) = (name("late"), grant_id(), grant_id());
    grant(&store, &name, late).await;
    assert!(matches!(store.hand_over(&name, late, now, LONG).await, Ok(Granted::Yes(_))));
    let short = 1;
    assert_eq!(store.renew(&name, ItemState::Held(late), &Owner::default(), short).await, Ok(Change::TakenOver));
    assert_eq!(store.replace(&name, late, grant_id(), short).await, Ok(Change::TakenOver));
    assert_eq!(store.linger(&name, late, linger_id(), short, true).await, Ok(Change::TakenOver));
    assert_eq!(store.remove(&name, ItemState::Held(late)).await, Ok(Change::TakenOver));
    assert_eq!(store.grant(&name, grant_id(), short).await, Ok(Granted::No));
    let (held, left) = item(&store, &name).await;
    assert_eq!(held, ItemState::Held(now));
    assert!(left > seconds(LONG / 2), "its ttl is untouched as well: {left:?}");
}

async fn a_lock_nobody_renews_expires_in_its_time(store: Asked) {
    let store = &store;
    let watch = async |ttl: u32| {
        let name = name(&format!("expires after {ttl} s"));
        let before = Instant::now();
        grant_for(store, &name, grant_id(), ttl).await;
        let after = Instant::now();
        let mut last_seen = after;
        eventually(SOON, "the lock expires", async || {
            let asked = Instant::now();
            match store.look(&name).await.unwrap() {
                LockStatus::Free => return true,
                LockStatus::Taken { expires_in, .. } => {
                    assert!(expires_in <= seconds(ttl), "{expires_in:?} of {ttl} s");
                }
            }
            last_seen = asked;
            false
        })
        .await;
        let (shortest, longest) = (before.elapsed(), last_seen - after);
        assert!(shortest > seconds(ttl - 2), "ttl {ttl} s, gone after {shortest:?}");
        assert!(longest <= seconds(ttl), "ttl {ttl} s, there after {longest:?}");
        // What has expired is free for others, and no longer the holder's.
        let again = grant(store, &name, grant_id()).await;
        assert!(again.get() > 0);
    };
    tokio::join!(watch(2), watch(3), watch(4));
}

async fn a_renewal_sets_the_ttl_whether_it_grows_or_shrinks(store: Asked) {
    let (name, id) = (name("longer and shorter"), grant_id());
    grant_for(&store, &name, id, 2).await;
    assert_eq!(store.renew(&name, ItemState::Held(id), &Owner::default(), LONG).await, Ok(Change::Done));
    assert!(item(&store, &name).await.1 > seconds(LONG / 2));
    assert_eq!(store.renew(&name, ItemState::Held(id), &Owner::default(), 2).await, Ok(Change::Done));
    assert!(item(&store, &name).await.1 <= seconds(2));
    eventually(SOON, "the lock expires", async || store.look(&name).await == Ok(LockStatus::Free)).await;
    assert_eq!(store.renew(&name, ItemState::Held(id), &Owner::default(), LONG).await, Ok(Change::Gone));
}

async fn a_label_is_shown_with_its_own_grant_only(store: Asked) {
    let (name, first, second) = (name("labelled"), grant_id(), grant_id());
    let alice = Owner::new("alice on host 1: 🔧").unwrap();
    grant(&store, &name, first).await;
    assert_eq!(owner(&store, &name).await, Owner::default());
    store.describe(&name, first, &alice, LONG);
    eventually(SOON, "the label shows", async || owner(&store, &name).await == alice).await;
    assert_eq!(store.renew(&name, ItemState::Held(first), &alice, LONG).await, Ok(Change::Done));
    assert_eq!(owner(&store, &name).await, alice, "a renewal keeps it");

    assert!(matches!(store.hand_over(&name, first, second, LONG).await, Ok(Granted::Yes(_))));
    assert_eq!(owner(&store, &name).await, Owner::default(), "the next holder has not said who it is");
    // It was under way for long.
    store.describe(&name, first, &alice, LONG);
    // Once a later label shows, this one has been dealt with.
    let other = LockName::new("another").unwrap();
    let id = grant_id();
    grant(&store, &other, id).await;
    store.describe(&other, id, &alice, LONG);
    eventually(SOON, "the other label shows", async || owner(&store, &other).await == alice).await;
    assert_eq!(owner(&store, &name).await, Owner::default());
}

async fn all_names_are_locks_of_their_own(store: Asked) {
    let mut names: Vec<String> = [
        // Each near the next one for a key that was cut, trimmed, folded, encoded or decoded.
        "a",
        "A",
        "a ",
        " a",
        "a b",
        "a  b",
        "a\u{a0}b",
        "a+b",
        "a%20b",
        "a%b",
        "%",
        "%00",
        " ",
        "a:b",
        "a/b",
        "/",
        ":",
        "é",
        "e\u{301}",
        "🔒",
        "🔑",
        "\u{200b}",
        "\u{feff}",
        // The base64 of "a b", and of the key that memcached gets for it.
        "YSBi",
        "bG9ja2Jyb2tlcjpMOmEgYg==",
        // Keys of other kinds than locks, with and without what keys begin with.
        "S",
        "F:1234567890",
        "O:a",
        "L:a",
        "L:L:a",
        "lockbroker:S",
        "lockbroker:L:a",
        "lockbroker:O:a",
    ]
    .map(str::to_owned)
    .into();
    names.extend(["🔒".repeat(32), "🔒".repeat(31) + "🔑", " ".repeat(128), " ".repeat(127), "x".repeat(128)]);
    names.extend(["x".repeat(127), "x".repeat(127) + "y", "%".repeat(128)]);
    let names: Vec<(LockName, GrantId, Owner)> = names
        .iter()
        .enumerate()
        .map(|(index, text)| (name(text), grant_id(), Owner::new(&format!("owner {index}")).unwrap()))
        .collect();
    for (name, id, owner) in &names {
        grant(&store, name, *id).await;
        store.describe(name, *id, owner, LONG);
    }
    for (name, id, label) in &names {
        assert_eq!(state(&store, name).await, Some(ItemState::Held(*id)), "{name:?}");
        eventually(SOON, "its label shows", async || owner(&store, name).await == *label).await;
    }
    for (index, (name, id, _)) in names.iter().enumerate() {
        assert_eq!(store.remove(name, ItemState::Held(*id)).await, Ok(Change::Done), "{name:?}");
        for (other, id, _) in &names[index + 1..] {
            assert_eq!(state(&store, other).await, Some(ItemState::Held(*id)), "{other:?}, with {name:?} removed");
        }
    }
}

async fn a_value_is_that_of_the_grant_which_holds_the_lock(store: Asked) {
    let (name, first, second, third) = (name("observed"), grant_id(), grant_id(), grant_id());
    let seen = async |known| store.observe(&name, known).await.unwrap();
    assert_eq!((seen(None).await.status, seen(None).await.stored), (LockStatus::Free, None));
    let token = grant(&store, &name, first).await;
    assert_eq!(seen(None).await.stored, None, "it has none yet");
    let value = stored(token, 1, b"one\xff\0");
    assert_eq!(store.keep_value(&name, first, &value, LONG, true).await, Ok(value.clone()));
    for known in [None, Some(first), Some(second)] {
        assert_eq!(seen(known).await.stored, Some(value.clone()), "{known:?}");
    }
    // A reattach: the value stands under the new id before that can be seen.
    assert_eq!(store.keep_value(&name, second, &value, LONG, true).await, Ok(value.clone()));
    assert_eq!(store.replace(&name, first, second, LONG).await, Ok(Change::Done));
    assert_eq!(seen(Some(first)).await.stored, Some(value.clone()));
    let Ok(Granted::Yes(_)) = store.hand_over(&name, second, third, LONG).await else { panic!("it is held") };
    for known in [None, Some(second), Some(third)] {
        assert_eq!(seen(known).await.stored, None, "{known:?}: that of the next holder, who has none");
    }
    store.forget_value(&name, second);
    store.forget_value(&name, first);
    assert_eq!(store.linger(&name, third, linger_id(), LONG, false).await, Ok(Change::Done));
    let late = stored(token, 1, b"late");
    assert_eq!(store.keep_value(&name, third, &late, LONG, true).await, Ok(late));
    assert_eq!(seen(Some(third)).await.stored, None, "nobody holds it");
}

async fn an_update_is_of_the_grant_that_holds_the_lock_and_counts_on(store: Asked) {
    let (name, id, other) = (name("updated"), grant_id(), grant_id());
    let [one, two, three] = [b"one", b"two", b"3rd"].map(|bytes| LockValue::new(bytes).unwrap());
    let update = async |id, creates, value| store.proclaim(&name, id, creates, value, LONG).await;
    assert_eq!(update(id, None, &one).await, Ok(Proclaimed::NotHeld));
    let token = grant(&store, &name, id).await;
    assert_eq!(update(other, None, &one).await, Ok(Proclaimed::HeldByAnother));
    assert_eq!(update(id, None, &one).await, Ok(Proclaimed::NoValue));
    assert_eq!(update(id, Some((token, 4)), &one).await, Ok(Proclaimed::Done { version: 5 }));
    assert_eq!(update(id, None, &two).await, Ok(Proclaimed::Done { version: 6 }));
    assert_eq!(update(id, Some((token, 1)), &three).await, Ok(Proclaimed::Done { version: 7 }), "from what stands");
    let stands = Stored { token, version: 7, value: three.clone() };
    assert_eq!(store.observe(&name, Some(id)).await.unwrap().stored, Some(stands.clone()));
    // Whoever keeps the lock hears of what another has written, and does not write over it.
    let before = stored(token, 1, b"from before");
    assert_eq!(store.keep_value(&name, id, &before, LONG, false).await, Ok(stands.clone()));
    assert_eq!(store.observe(&name, Some(id)).await.unwrap().stored, Some(stands));
    assert_eq!(store.remove(&name, ItemState::Held(id)).await, Ok(Change::Done));
    assert_eq!(update(id, None, &one).await, Ok(Proclaimed::NotHeld), "its value still stands");
}

async fn a_value_lives_as_long_as_it_is_kept(store: Asked) {
    let (name, id) = (name("kept"), grant_id());
    let token = grant(&store, &name, id).await;
    let value = stored(token, 3, b"here");
    let seen = async || store.observe(&name, Some(id)).await.unwrap().stored;
    assert_eq!(store.keep_value(&name, id, &value, 2, true).await, Ok(value.clone()));
    assert_eq!(store.keep_value(&name, id, &value, LONG, false).await, Ok(value.clone()));
    tokio::time::sleep(Duration::from_millis(3_100)).await;
    assert_eq!(seen().await, Some(value.clone()), "it was kept for longer");
    assert_eq!(store.keep_value(&name, id, &value, 1, false).await, Ok(value.clone()));
    eventually(SOON, "it is over", async || seen().await.is_none()).await;
    assert_eq!(store.keep_value(&name, id, &value, LONG, false).await, Ok(value.clone()));
    assert_eq!(seen().await, Some(value), "it is written anew");
    store.forget_value(&name, id);
    eventually(SOON, "it is forgotten", async || seen().await.is_none()).await;
}

fn stored(token: FencingToken, version: u64, bytes: &[u8]) -> Stored {
    Stored { token, version, value: LockValue::new(bytes).unwrap() }
}

/// The store of one memcached, opened by hand.
async fn open_store_on(server: &Memcached) -> Asked {
    let Ok(Store::Memcached(shards)) = server.store().parse() else { panic!("{}", server.store()) };
    let settings = MemcachedSettings {
        note: None,
        shards,
        max_ttl: Duration::from_secs(60),
        key_prefix: "lockbroker:".to_owned(),
        allow_unsafe: false,
    };
    for (shard, opened) in memcached::open(&settings).await {
        assert_eq!(opened, Ok(Opened::Opened), "{shard}");
    }
    let store = MemcachedStore::new(&settings, None, &Metrics::default());
    let mut ready = store.ready();
    let store = Asked::new(store);
    timeout(SOON, ready.wait_for(|ready| *ready)).await.expect("the shard opens").unwrap();
    store
}

fn name(text: &str) -> LockName {
    LockName::new(text).unwrap()
}

fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(ttl.into())
}

/// Grants a lock that must be free.
async fn grant(store: &Asked, name: &LockName, id: GrantId) -> FencingToken {
    grant_for(store, name, id, LONG).await
}

async fn grant_for(store: &Asked, name: &LockName, id: GrantId, ttl: u32) -> FencingToken {
    match store.grant(name, id, ttl).await {
        Ok(Granted::Yes(token)) => token,
        other => panic!("{other:?} for {name:?}, which is free"),
    }
}

/// The state and the time left of a lock that must have an item.
async fn item(store: &Asked, name: &LockName) -> (ItemState, Duration) {
    match store.look(name).await {
        Ok(LockStatus::Taken { state, expires_in, .. }) => (state, expires_in),
        other => panic!("{other:?} for {name:?}, which is held"),
    }
}

async fn state(store: &Asked, name: &LockName) -> Option<ItemState> {
    match store.look(name).await.unwrap() {
        LockStatus::Taken { state, .. } => Some(state),
        LockStatus::Free => None,
    }
}

async fn owner(store: &Asked, name: &LockName) -> Owner {
    match store.look(name).await.unwrap() {
        LockStatus::Taken { label, .. } => label.owner,
        LockStatus::Free => Owner::default(),
    }
}

//! What is shown of one who waits for those who share a lock, and keeps new ones out: a claim, and no holder.

use super::*;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_spec::Mode;
use lockbroker::proto::{GetLockResponse, ListLocksRequest, ListWaitersRequest, LockInfo, WaiterInfo};
use serde_json::{Value, json};

/// The locks, the first so many of them.
async fn list(broker: &Broker, limit: i32) -> Vec<LockInfo> {
    let request = ListLocksRequest { prefix: String::new(), limit };
    let mut stream = admin(broker).await.list_locks(request).await.unwrap().into_inner();
    let mut locks = Vec::new();
    while let Some(chunk) = stream.message().await.unwrap() {
        locks.extend(chunk.locks);
    }
    locks
}

async fn states(broker: &Broker, limit: i32) -> Vec<(Option<i32>, State)> {
    list(broker, limit).await.iter().map(|lock| (lock.permit, lock.state())).collect()
}

async fn waiter(broker: &Broker, name: &str) -> WaiterInfo {
    let request = ListWaitersRequest { name: name.to_owned(), ..Default::default() };
    let mut stream = admin(broker).await.list_waiters(request).await.unwrap().into_inner();
    let mut waiters = stream.message().await.unwrap().unwrap().waiters;
    assert_eq!(waiters.len(), 1, "{waiters:?}");
    waiters.remove(0)
}

/// What the command line prints for `arguments`.
fn cli(broker: &Broker, arguments: &[&str]) -> String {
    let output = run(&[arguments, &["--server", &broker.url()]].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What the page is told at `path`: the rows of `what`.
async fn page(broker: &Broker, what: &str) -> Value {
    let answer = http(broker.admin().await, "GET", &format!("/{what}.json?limit=10")).await;
    assert_eq!(answer.status, 200);
    serde_json::from_str::<Value>(&answer.body).unwrap()[what].clone()
}

/// Two brokers that share a store and have the page, and one with a store of its own.
async fn pairs() -> (Option<Memcached>, [Broker; 2], Broker) {
    let arguments = [&Broker::WATCHED[..], POLLS_EVERY].concat();
    let (memcached, both) = two_brokers(&arguments).await;
    (Some(memcached), both, Broker::start(&[&["--store", "memory"], &arguments[..]].concat()).await)
}

/// The lock, `waiting` for at `its` broker, is shown as claimed at both, and as held by nobody but those who share it.
async fn is_claimed(name: &str, [its, other]: [&Broker; 2], shared_by: usize) {
    let permits =
        |of: &[(Option<i32>, State)]| of[1..].iter().all(|(permit, state)| permit.is_some() && *state == State::Held);
    for broker in [its, other] {
        eventually(SOON, "it is claimed", async || {
            let states = states(broker, 0).await;
            states.len() == shared_by + 1 && states[0] == (None, State::Claimed) && permits(&states)
        })
        .await;
        let all = list(broker, 0).await;
        assert_eq!((&*all[0].owner, all[0].fencing_token, &*all[0].etag), ("", 0, ""), "{all:?}");
        assert!(duration(all[0].free_within) > Duration::ZERO);
        // Its permits are beyond the limit, and it is no holder all the same.
        assert_eq!(states(broker, 1).await, [(None, State::Claimed)]);
        let seen = look(&mut broker.stub().await, name).await;
        let GetLockResponse { shared_count, claimed, ref owner, fencing_token, ref etag, .. } = seen;
        assert_eq!((seen.state(), usize::try_from(shared_count), claimed), (State::Held, Ok(shared_by), true));
        assert_eq!((&**owner, fencing_token, &**etag), ("", 0, ""));
        assert!(cli(broker, &["list"]).lines().nth(1).unwrap().contains("-       claimed  -"));
        assert!(cli(broker, &["get", name]).contains("claimed: somebody waits"));
        let rows = page(broker, "locks").await;
        assert_eq!((&rows[0]["state"], &rows[1]["state"]), (&json!("claimed"), &json!("held")), "{rows}");
    }
}

#[tokio::test]
async fn a_writer_that_waits_for_readers_is_no_holder() {
    let (_memcached, [here, there], memory) = pairs().await;
    for [its, other] in [[&here, &there], [&memory, &memory]] {
        let (_, reading) = take(other, "data", 0).await;
        let lock = LockSpec { owner: "writer".to_owned(), ..lock("data").unwrap() };
        let request = WaitAcquireRequest { lock: Some(lock), ..wait("data") };
        let (_, mut writer) = queue(&mut its.stub().await, request).await;
        is_claimed("data", [its, other], 1).await;
        let waits = waiter(its, "data").await;
        assert_eq!((waits.mode(), waits.limit, waits.weight), (Mode::Exclusive, 0, 0));
        assert!(waits.keeps_others_out && waits.owner == "writer");
        let rows = page(its, "waiters").await;
        assert_eq!((&rows[0]["mode"], &rows[0]["keeps_others_out"]), (&json!("exclusive"), &json!(true)));
        let table = cli(its, &["waiters", "data"]);
        assert!(table.contains("data  1      alone, keeps others out  writer"), "{table}");
        // Under the same id it is a holder, once the reader has gone.
        drop(reading);
        granted(&mut writer).await;
        for broker in [its, other] {
            assert_eq!(states(broker, 0).await, [(None, State::Held)]);
            assert!(!look(&mut broker.stub().await, "data").await.claimed);
        }
        drop(writer);
        freed(&mut its.stub().await, "data").await;
    }
}

#[tokio::test]
async fn nor_is_one_who_collects_permits() {
    let (_memcached, [here, there], memory) = pairs().await;
    for [its, other] in [[&here, &there], [&memory, &memory]] {
        let held = [take(other, "seats", 3).await, take(its, "seats", 3).await];
        let session = open(its).await;
        session.begin(BeginLock { wait: Some(Default::default()), ..several(1, "seats", 3, 2) });
        is_claimed("seats", [its, other], 2).await;
        let waits = waiter(its, "seats").await;
        assert_eq!((waits.mode(), waits.limit, waits.weight, waits.keeps_others_out), (Mode::Shared, 3, 2, true));
        let json: Value = serde_json::from_str(&cli(its, &["waiters", "seats", "--json"])).unwrap();
        let shown = json!([json["mode"], json["limit"], json["weight"], json["keeps_others_out"]]);
        assert_eq!(shown, json!(["shared", 3, 2, true]));
        assert!(cli(its, &["waiters", "seats"]).contains("shared, limit 3, 2 permits, keeps others out"));
        drop(held);
        eventually(SOON, "it has both", async || {
            states(other, 0).await.iter().filter(|(permit, _)| permit.is_some()).count() == 2
        })
        .await;
        session.end(1);
        freed(&mut its.stub().await, "seats").await;
    }
}

/// Where permits linger alone, nobody holds anything. And who waits for a permit keeps nobody out.
#[tokio::test]
async fn a_claim_beside_permits_that_linger_is_shown_as_lingering() {
    let (_memcached, [here, there], memory) = pairs().await;
    for [its, other] in [[&here, &there], [&memory, &memory]] {
        let lock = LockSpec { linger: span(Duration::from_secs(20)), ..shared("data", 1).unwrap() };
        let (first, stream) =
            acquire(&mut its.stub().await, AcquireRequest { lock: Some(lock), ..Default::default() }).await;
        assert_eq!(release(&mut its.stub().await, "data", &first.lock_id).await, Outcome::Released);
        drop(stream);
        let (_, reader) = queue(&mut its.stub().await, wait_to_share("data", 1)).await;
        let waits = waiter(its, "data").await;
        assert_eq!((waits.mode(), waits.limit, waits.weight, waits.keeps_others_out), (Mode::Shared, 1, 1, false));
        assert!(cli(its, &["waiters", "data"]).contains("  shared, limit 1  "));
        drop(reader);
        let (_, _writer) = queue(&mut its.stub().await, wait("data")).await;
        for broker in [its, other] {
            eventually(SOON, "it is claimed", async || {
                states(broker, 0).await == [(None, State::Claimed), (Some(0), State::Lingering)]
            })
            .await;
            let seen = look(&mut broker.stub().await, "data").await;
            assert_eq!((seen.state(), seen.shared_count, seen.claimed), (State::Lingering, 0, true));
        }
    }
}

#[tokio::test]
async fn who_does_not_get_a_lock_that_is_shared_hears_of_a_claim() {
    let (_memcached, [here, there], memory) = pairs().await;
    for [its, other] in [[&here, &there], [&memory, &memory]] {
        let refused = |more: &[&str]| {
            let output = run(&[&["run", "--server", &other.url()], more, &["data", "--", "true"]].concat());
            assert_eq!(output.status.code(), Some(75), "{output:?}");
            String::from_utf8(output.stderr).unwrap()
        };
        let _first = take(other, "data", 2).await;
        let _second = take(its, "data", 2).await;
        for how in [&[][..], &["--limit", "2"]] {
            assert_eq!(refused(how), "lockbroker: lock \"data\" is held; --wait waits for it\n");
        }
        let (_, _writer) = queue(&mut its.stub().await, wait("data")).await;
        eventually(SOON, "it is claimed", async || look(&mut other.stub().await, "data").await.claimed).await;
        for how in [&[][..], &["--shared"], &["--limit", "2"]] {
            let said = refused(how);
            let claim = "lock \"data\" is shared by 2, and claimed: somebody waits for those who share it";
            assert!(said.contains(claim) && said.contains("--wait"), "{said}");
        }
    }
}

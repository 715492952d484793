//! An operator takes a lock from its holder, at any broker, and nobody else has it before the holder believes no more.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_admin_client::LockAdminClient;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::revoke_lock_response::Outcome as Effect;
use lockbroker::proto::{AcquireRequest, GetLockResponse, RevokeLockRequest, RevokeLockResponse, lost};
use serde_json::Value;
use tonic::transport::Endpoint;
use tonic::{Code, Status};

/// The shortest ttl, as the longest one too: so a revoked lock is free again soon.
const SHORT: &[&str] = &["--max-ttl", "5s", "--default-ttl", "5s"];
/// The lease of that.
const LEASE: Duration = Duration::from_secs(3);

async fn revoked(broker: &Broker, request: RevokeLockRequest) -> Result<RevokeLockResponse, Status> {
    let endpoint = Endpoint::from_shared(broker.url()).unwrap();
    Ok(LockAdminClient::new(endpoint.connect().await.unwrap()).revoke_lock(request).await?.into_inner())
}

async fn revoke(broker: &Broker, name: &str) -> RevokeLockResponse {
    revoked(broker, the(name)).await.unwrap()
}

fn the(name: &str) -> RevokeLockRequest {
    RevokeLockRequest { name: name.to_owned(), ..RevokeLockRequest::default() }
}

/// A request of somebody with a label.
fn owned(name: &str) -> AcquireRequest {
    let mut request = once(name);
    request.lock.as_mut().expect("it is set").owner = "me".to_owned();
    request
}

/// Two brokers that wake each other, on one memcached.
async fn two_brokers(arguments: &[&str]) -> (Memcached, [Broker; 2]) {
    let memcached = Memcached::start(&[]).await;
    let arguments = [&["--advertise", "127.0.0.1:0"], SHORT, arguments].concat();
    let brokers = [
        Broker::on_store(&memcached.store(), &arguments).await,
        Broker::on_store(&memcached.store(), &arguments).await,
    ];
    (memcached, brokers)
}

/// What every broker says of a lock that was revoked.
async fn is_closed(broker: &Broker, name: &str) -> GetLockResponse {
    let seen = look(&mut broker.stub().await, name).await;
    assert_eq!(seen.state(), State::Revoked, "{seen:?}");
    seen
}

#[tokio::test]
async fn the_holder_is_told_at_once_and_the_next_one_waits_until_it_believes_no_more() {
    for (_memcached, broker) in brokers(SHORT).await {
        let mut stub = broker.stub().await;
        let asked = Instant::now();
        let (acquired, mut held) = acquire(&mut stub, owned("job")).await;
        let believes_until = asked + duration(acquired.expires_after_request);
        let (_, mut waiting) = queue(&mut stub, wait("job")).await;
        let effect = revoke(&broker, "job").await;
        assert_eq!((effect.outcome(), effect.owner.as_str()), (Effect::Revoked, "me"));
        assert!(duration(effect.free_within) <= LEASE, "{effect:?}");
        let Kind::Lost(lost) = after_renewals(&mut held).await else { panic!("not lost") };
        assert_eq!(lost.reason(), lost::Reason::Revoked);
        let end = end_of(&mut held).await;
        assert_eq!((end.code(), reason(&end).as_str()), (Code::Aborted, "LOST_REVOKED"));
        is_closed(&broker, "job").await;
        assert_eq!(revoke(&broker, "job").await.outcome(), Effect::NotHeld, "it was revoked before");
        let next = granted_whenever(&mut waiting).await;
        assert!(Instant::now() > believes_until, "{:?} early", believes_until - Instant::now());
        assert!(Instant::now() < believes_until + Duration::from_secs(1), "{:?}", believes_until.elapsed());
        assert!(next.fencing_token > acquired.fencing_token);
    }
}

#[tokio::test]
async fn a_lock_of_another_broker_is_revoked_and_its_holder_told_within_a_second() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let (acquired, mut held) = acquire(&mut here.stub().await, owned("job")).await;
    let mut session = RawSession::open(&mut here.stub().await, None).await;
    let mut request = begin(1, "other");
    request.lock.as_mut().unwrap().owner = "me".to_owned();
    session.begin(request);
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    labelled(&there, "job").await;
    labelled(&there, "other").await;
    let began = Instant::now();
    for name in ["job", "other"] {
        let effect = revoke(&there, name).await;
        assert_eq!((effect.outcome(), effect.owner.as_str()), (Effect::Revoked, "me"));
        let closed = duration(effect.free_within);
        assert!(closed >= Duration::from_secs(5) && closed <= Duration::from_secs(6), "{closed:?}: the ttl, or T");
    }
    let Kind::Lost(lost) = after_renewals(&mut held).await else { panic!("not lost") };
    assert_eq!(lost.reason(), lost::Reason::Revoked);
    let told = session.next_event().await;
    let is_revoked = |kind: &Kind| matches!(kind, Kind::Lost(lost) if lost.reason() == lost::Reason::Revoked);
    assert!(told.0 == 1 && is_revoked(&told.1), "{told:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    is_closed(&here, "job").await;
    assert!(matches!(refused(&here, "job").await, State::Revoked));
    // Whoever waits has it once the validity that any broker may have told is over, and not before.
    let (_, mut waiting) = queue(&mut here.stub().await, wait("job")).await;
    let next = granted_whenever(&mut waiting).await;
    assert!(began.elapsed() >= Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_millis(8_500), "{:?}", began.elapsed());
    assert!(next.fencing_token > acquired.fencing_token);
}

/// A memcached that does not lose it, a broker that has died: nobody renews, and the item would stand for its T.
#[tokio::test]
async fn a_lock_whose_broker_has_died_is_revoked() {
    let (_memcached, [mut here, there]) = two_brokers(&[]).await;
    let mut request = once("job");
    request.lock = lingering("job", Duration::from_secs(600));
    let (_, _held) = acquire(&mut here.stub().await, request).await;
    here.kill();
    let effect = revoke(&there, "job").await;
    assert_eq!(effect.outcome(), Effect::Revoked);
    assert!(duration(effect.free_within) > Duration::from_secs(600), "its linger is kept: {effect:?}");
    let effect = revoked(&there, RevokeLockRequest { immediate: true, ..the("job") }).await.unwrap();
    assert_eq!((effect.outcome(), effect.free_within), (Effect::Freed, span(Duration::ZERO)), "it is freed early");
    acquire(&mut there.stub().await, once("job")).await;
}

/// An operator who knows that the holder is dead need not wait. Whichever broker is asked deletes what keeps the lock closed,
/// by its id, and the broker that keeps it closed notices.
#[tokio::test]
async fn a_revoked_lock_is_freed_early_at_any_broker() {
    // So long that nothing else ends it.
    const LONG: &[&str] = &["--max-ttl", "60s", "--default-ttl", "5s"];
    let memcached = Memcached::start(&[]).await;
    let arguments = [&["--advertise", "127.0.0.1:0"], LONG].concat();
    let here = Broker::on_store(&memcached.store(), &arguments).await;
    let there = Broker::on_store(&memcached.store(), &arguments).await;
    for (name, by, freed_by) in [("a", &here, &here), ("b", &there, &there), ("c", &here, &there), ("d", &there, &here)]
    {
        let mut request = owned(name);
        request.lock.as_mut().unwrap().linger = span(Duration::from_secs(300));
        let (_, _held) = acquire(&mut here.stub().await, request).await;
        labelled(by, name).await;
        assert_eq!(revoke(by, name).await.outcome(), Effect::Revoked);
        let closed = is_closed(freed_by, name).await;
        // One that waits where the lock is kept closed, which has to hear of it.
        let (_, mut waiting) = queue(&mut by.stub().await, wait(name)).await;
        // Another etag names something else, and without `immediate` it stays closed.
        let by_etag = |etag: &str| RevokeLockRequest { etag: etag.to_owned(), immediate: true, ..the(name) };
        let effect = revoked(freed_by, by_etag("0123456789abcdef")).await.unwrap();
        assert_eq!(effect.outcome(), Effect::Changed);
        assert_eq!(revoke(freed_by, name).await.outcome(), Effect::NotHeld);
        is_closed(freed_by, name).await;
        let effect = revoked(freed_by, by_etag(&closed.etag)).await.unwrap();
        assert_eq!((effect.outcome(), effect.owner.as_str()), (Effect::Freed, ""), "{name}");
        let began = Instant::now();
        let next = granted_whenever(&mut waiting).await;
        assert!(began.elapsed() < SOON, "{name}: {:?}", began.elapsed());
        // The revocation is over, also where it was kept: it ends no later holder's lock.
        let effect = revoked(freed_by, by_etag(&closed.etag)).await.unwrap();
        assert_eq!(effect.outcome(), Effect::Changed);
        assert_eq!(look(&mut by.stub().await, name).await.fencing_token, next.fencing_token, "{name}");
    }
    // A linger after a release is ended too.
    let request = AcquireRequest { lock: lingering("e", Duration::from_secs(60)), ..AcquireRequest::default() };
    let (lingers, _stream) = acquire(&mut here.stub().await, request).await;
    release(&mut here.stub().await, "e", &lingers.lock_id).await;
    assert_eq!(revoke(&there, "e").await.outcome(), Effect::NotHeld);
    let effect = revoked(&there, RevokeLockRequest { immediate: true, ..the("e") }).await.unwrap();
    assert_eq!(effect.outcome(), Effect::Freed);
    acquire(&mut there.stub().await, once("e")).await;
}

/// The item of a revocation outlives it. The broker that keeps it knows when it ends.
#[tokio::test]
async fn a_revocation_of_another_brokers_lock_tells_its_own_end() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let (_, _held) = acquire(&mut here.stub().await, owned("job")).await;
    labelled(&there, "job").await;
    let effect = duration(revoke(&there, "job").await.free_within);
    let seen = duration(is_closed(&there, "job").await.free_within);
    assert!(seen <= effect, "get says {seen:?}, and the revocation {effect:?}");
    let listed = output(lockbroker(&["list", "--json", "--server", &there.url()]).arg("job"));
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let listed = listed["free_within_seconds"].as_f64().unwrap();
    assert!(listed <= effect.as_secs_f64(), "list says {listed} s, and the revocation {effect:?}");
}

#[tokio::test]
async fn immediate_frees_it_at_once_and_without_its_linger() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    for (name, by) in [("a", &here), ("b", &there)] {
        let mut request = owned(name);
        request.lock.as_mut().unwrap().linger = span(Duration::from_secs(600));
        let (_, mut held) = acquire(&mut here.stub().await, request).await;
        labelled(by, name).await;
        let effect = revoked(by, RevokeLockRequest { immediate: true, ..the(name) }).await.unwrap();
        assert_eq!((effect.outcome(), duration(effect.free_within)), (Effect::Revoked, Duration::ZERO));
        acquire(&mut there.stub().await, once(name)).await;
        let Kind::Lost(lost) = after_renewals(&mut held).await else { panic!("not lost") };
        assert_eq!(lost.reason(), lost::Reason::Revoked, "{name}");
    }
}

#[tokio::test]
async fn an_etag_names_one_grant_and_a_free_lock_is_not_held() {
    for (_memcached, broker) in brokers(SHORT).await {
        let mut stub = broker.stub().await;
        let (first, held) = acquire(&mut stub, owned("job")).await;
        let seen = labelled(&broker, "job").await;
        assert_eq!(seen.fencing_token, first.fencing_token);
        assert!(duration(seen.held_for) < SOON, "{seen:?}");
        drop(held);
        freed(&mut stub, "job").await;
        let free = look(&mut stub, "job").await;
        assert_eq!((free.etag.as_str(), free.fencing_token, free.held_for), ("", 0, None));
        assert_eq!(revoke(&broker, "job").await.outcome(), Effect::NotHeld);
        let (second, _held) = acquire(&mut stub, once("job")).await;
        let by = |etag: &str| RevokeLockRequest { etag: etag.to_owned(), ..the("job") };
        assert_eq!(revoked(&broker, by(&seen.etag)).await.unwrap().outcome(), Effect::Changed);
        for wrong in ["x", "0123456789ABCDEF", "0123456789abcdef0"] {
            let status = revoked(&broker, by(wrong)).await.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
            assert!(status.message().starts_with("etag: is not an etag"), "{status:?}");
        }
        assert_eq!(look(&mut stub, "job").await.fencing_token, second.fencing_token);
        let etag = look(&mut stub, "job").await.etag;
        assert!(!second.lock_id.contains(&etag), "it is no part of what releases the lock");
        assert_eq!(revoked(&broker, by(&etag)).await.unwrap().outcome(), Effect::Revoked);
        for wrong in ["", &"n".repeat(129)] {
            let status = revoked(&broker, the(wrong)).await.unwrap_err();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        }
    }
}

/// After a revocation its old id is worth nothing: not to reattach, not to release.
#[tokio::test]
async fn a_client_that_was_away_cannot_come_back_to_a_revoked_lock() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    for by in [&here, &there] {
        let name = by.url();
        let (acquired, _held) = acquire(&mut here.stub().await, owned(&name)).await;
        labelled(by, &name).await;
        assert_eq!(revoke(by, &name).await.outcome(), Effect::Revoked);
        let mut again = there.stub().await.acquire(reattach(&name, &acquired.lock_id)).await.unwrap().into_inner();
        assert!(matches!(next_event(&mut again).await, Kind::NotAcquired(_)));
        assert_eq!(release(&mut there.stub().await, &name, &acquired.lock_id).await, Outcome::NotHeld);
        is_closed(&there, &name).await;
    }
}

/// A loss of memory right after it does not give the lock back to whoever had it.
#[tokio::test]
async fn a_revocation_survives_a_memcached_that_restarts() {
    let (mut memcached, [here, there]) = two_brokers(&[]).await;
    let (_, mut held) = acquire(&mut here.stub().await, owned("job")).await;
    labelled(&there, "job").await;
    assert_eq!(revoke(&there, "job").await.outcome(), Effect::Revoked);
    assert!(matches!(after_renewals(&mut held).await, Kind::Lost(_)));
    memcached.restart().await;
    eventually(SOON, "the linger is there again", async || {
        memcached.command("mg lockbroker:L:job c").await.starts_with("HD")
    })
    .await;
}

#[tokio::test]
async fn the_command_line_shows_revokes_and_stops_the_command() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let mut run = lockbroker(&["run", "--server", &here.url(), "nightly", "--", "sleep", "600"]);
    let run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let shown = labelled(&there, "nightly").await;
    let cli = |command: &str, more: &[&str]| {
        let mut cli = lockbroker(&[command, "--server", &there.url(), "nightly"]);
        let done = output(cli.args(more));
        (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
    };
    let (_, text, _) = cli("get", &[]);
    assert!(
        text.contains(&format!("fencing token: {}\n", shown.fencing_token)) && text.contains("held for: "),
        "{text}"
    );
    let etag = |text: &str| serde_json::from_str::<Value>(text).unwrap()["etag"].as_str().unwrap().to_owned();
    let (_, listed, _) = cli("list", &["--json"]);
    let (_, got, _) = cli("get", &["--json"]);
    assert_eq!(etag(&listed), etag(&got));
    let (code, _, text) = cli("revoke", &["--etag", "0123456789abcdef"]);
    assert_eq!(
        (code, text.as_str()),
        (1, "lockbroker: lock \"nightly\" is not held under that etag any more; nothing was revoked\n")
    );
    let (code, text, _) = cli("revoke", &["--etag", &etag(&got)]);
    assert!(code == 0 && text.starts_with("revoked from ") && text.contains("it is free in "), "{text}");
    // `run` lives on until its command has ended.
    let began = Instant::now();
    let status = tokio::task::spawn_blocking(move || run.wait_with_output().unwrap()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let text = String::from_utf8(status.stderr).unwrap();
    assert!(text.contains("an operator revoked it"), "{text}");
    let (code, _, text) = cli("revoke", &[]);
    assert_eq!(
        (code, text.as_str()),
        (1, "lockbroker: lock \"nightly\" is not held by anybody; nothing was revoked\n")
    );
    let (code, text, _) = cli("revoke", &["--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&text).unwrap()["outcome"].as_str()), (1, Some("not_held")));
}

/// Waits until `broker` shows who has the lock.
async fn labelled(broker: &Broker, name: &str) -> GetLockResponse {
    let mut stub = broker.stub().await;
    eventually(SOON, "the label is noted", async || !look(&mut stub.clone(), name).await.owner.is_empty()).await;
    look(&mut stub, name).await
}

/// What is said to one that tries once, when it looks after that.
async fn refused(broker: &Broker, name: &str) -> State {
    let mut stub = broker.stub().await;
    let mut tried = stub.acquire(once(name)).await.unwrap().into_inner();
    assert!(matches!(next_event(&mut tried).await, Kind::NotAcquired(_)));
    look(&mut stub, name).await.state()
}

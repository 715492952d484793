//! What a policy's quotas let each caller have at a broker, and that all of it is given back.

use std::fs;
use std::time::Duration;

use super::policy::{Guarded, for_us};
use crate::support::*;
use lockbroker::client::{Client, Error};
use lockbroker::proto::acquire_lease_response::Result as Acquiring;
use lockbroker::proto::lock_admin_client::LockAdminClient;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::release_response::Outcome;
use lockbroker::proto::renew_lease_response::Result as Renewal;
use lockbroker::proto::{AcquireLeaseRequest, AcquireRequest, Failed, RenewLeaseRequest, RevokeLockRequest};
use rustix::process::geteuid;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const EVERYTHING: &str = r#"["acquire", "release", "look", "list", "revoke"]"#;

/// The name by which the policy knows whoever runs this test on a Unix socket.
pub(crate) fn us() -> String {
    format!("uid:{}", geteuid().as_raw())
}

/// A policy that lets us do everything, within these limits.
fn within(limits: &str) -> String {
    for_us(EVERYTHING, r#"[""]"#) + &format!("[[quota]]\nwho = [\"{}\"]\n{limits}\n", us())
}

pub(crate) async fn guarded(limits: &str, arguments: &[&str]) -> Guarded {
    Guarded::start(&within(limits), &[&Broker::WATCHED[..], arguments].concat()).await
}

/// How many locks and waits of ours the broker counts.
fn used(scrape: &Scrape) -> (f64, f64) {
    let of = |quota| scrape.sum("lockbroker_quota_used", &[("who", &us()), ("quota", quota)]);
    (of("locks"), of("waiters"))
}

pub(crate) fn refused(scrape: &Scrape, quota: &str) -> f64 {
    scrape.sum("lockbroker_quota_refused_total", &[("who", &us()), ("quota", quota)])
}

/// Checks that a request was refused for a quota, by a text that says whose.
#[track_caller]
pub(crate) fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>, why: &str, says: &str) -> Status {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, why), "{status:?}");
    assert!(status.message().contains(says), "{says}: {}", status.message());
    status
}

async fn lease(stub: &mut Stub, name: &str) -> Result<String, Status> {
    let request = AcquireLeaseRequest { lock: lock(name), ..AcquireLeaseRequest::default() };
    match stub.acquire_lease(request).await?.into_inner().result {
        Some(Acquiring::Acquired(acquired)) => Ok(acquired.lock_id),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn locks_and_waits_are_counted_and_what_one_has_is_kept() {
    let guarded = guarded("max_locks = 4\nmax_waiters = 1", &[]).await;
    let mut stub = guarded.stub().await;
    let (first, held) = acquire(&mut stub, once("a")).await;
    let leased = lease(&mut stub, "b").await.unwrap();
    let (_, mut waits) = queue(&mut stub, wait("a")).await;
    let why = format!("{} waits for 1 locks at this broker, and its max_waiters in the policy is 1", us());
    refusal(stub.wait_acquire(wait("b")).await, "QUOTA_WAITERS", &why);
    let (_, _another) = acquire(&mut stub, once("c")).await;
    let why = format!("{} has 4 locks at this broker", us());
    refusal(stub.acquire(once("d")).await, "QUOTA_LOCKS", &why);
    refusal(stub.wait_acquire(wait("d")).await, "QUOTA_LOCKS", "max_locks in the policy is 4");
    refusal(lease(&mut stub, "d").await, "QUOTA_LOCKS", "release some");
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin(1, "d"));
    let (_, event) = session.next_event().await;
    let Kind::Failed(Failed { code, retry_after, .. }) = event else { panic!("{event:?}") };
    assert_eq!((Code::from(code), retry_after), (Code::ResourceExhausted, None));
    let scrape = guarded.broker.scrape().await;
    assert_eq!((used(&scrape), refused(&scrape, "locks"), refused(&scrape, "waiters")), ((4.0, 1.0), 4.0, 1.0));
    assert_eq!(scrape.sum("lockbroker_quota_limit", &[("quota", "locks")]), 4.0);

    // What would lose a lock is never refused.
    let renew = RenewLeaseRequest { name: "b".into(), lock_id: leased.clone() };
    let renewed = stub.renew_lease(renew).await.unwrap().into_inner().result;
    assert!(matches!(renewed, Some(Renewal::Renewed(_))), "{renewed:?}");
    let (moved, _moved) = acquire(&mut stub, reattach("a", &first.lock_id)).await;
    drop(held);
    assert_eq!(release(&mut stub, "a", &moved.lock_id).await, Outcome::Released);
    granted(&mut waits).await;
    assert_eq!(release(&mut stub, "b", &leased).await, Outcome::Released);
    guarded.broker.scraped("two are left", |scrape| used(scrape) == (2.0, 0.0)).await;
    acquire(&mut stub, once("d")).await;
}

#[tokio::test]
async fn who_asks_too_often_hears_when_to_ask_again() {
    let guarded = guarded("max_rate = 2\nburst = 3", &[]).await;
    let mut stub = guarded.stub().await;
    let (first, _held) = acquire(&mut stub, once("a")).await;
    let leased = lease(&mut stub, "b").await.unwrap();
    let mut session = RawSession::open(&mut stub, None).await;
    session.begin(begin(1, "c"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    let status = refusal(stub.acquire(once("d")).await, "QUOTA_RATE", &format!("{} asks more than 2 times", us()));
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay).expect("when to ask again");
    assert!(retry <= Duration::from_millis(500), "{retry:?}");
    session.begin(begin_wait(2, "d"));
    let (_, event) = session.next_event().await;
    let Kind::Failed(Failed { code, retry_after, .. }) = event else { panic!("{event:?}") };
    assert!(Code::from(code) == Code::ResourceExhausted && duration(retry_after) <= Duration::from_millis(500));
    // These are not counted.
    for _ in 0..10 {
        let renew = RenewLeaseRequest { name: "b".into(), lock_id: leased.clone() };
        stub.renew_lease(renew).await.unwrap();
        look(&mut stub, "a").await;
    }
    let (_, _moved) = acquire(&mut stub, reattach("a", &first.lock_id)).await;
    sleep(retry).await;
    acquire(&mut stub, once("d")).await;
    assert_eq!(refused(&guarded.broker.scrape().await, "rate"), 2.0);
    assert_eq!(used(&guarded.broker.scrape().await).1, 0.0);
}

#[tokio::test]
async fn a_quota_that_is_read_again_counts_for_what_comes_next() {
    let guarded = guarded("max_locks = 1", &[]).await;
    let mut stub = guarded.stub().await;
    let (_, mut first) = acquire(&mut stub, once("a")).await;
    fs::write(&guarded.policy, within("max_locks = 2")).unwrap();
    guarded.broker.logged("policy: reloaded").await;
    let (_, _second) = acquire(&mut stub, once("b")).await;
    refusal(stub.acquire(once("c")).await, "QUOTA_LOCKS", "has 2 locks");
    fs::write(&guarded.policy, within("max_locks = 1\nmax_rate = 1000")).unwrap();
    eventually(SOON, "the lower limit is shown", async || {
        guarded.broker.scrape().await.sum("lockbroker_quota_limit", &[("quota", "locks")]) == 1.0
    })
    .await;
    refusal(stub.acquire(once("c")).await, "QUOTA_LOCKS", "max_locks in the policy is 1");
    // What is held stays.
    assert!(matches!(next_event(&mut first).await, Kind::Renewed(_)));
    fs::write(&guarded.policy, for_us(EVERYTHING, r#"[""]"#)).unwrap();
    eventually(SOON, "there is no limit", async || try_acquire(&mut stub, once("c")).await.is_ok()).await;
}

/// Cancels, disconnects, lingers, revocations and hand-overs, many at a time.
#[tokio::test]
async fn whatever_becomes_of_locks_and_waits_their_count_is_given_back() {
    let memcached = Memcached::start(&[]).await;
    let store = memcached.store();
    let short = ["--store", &store, "--default-ttl", "5s", "--max-ttl", "5s"];
    let guarded = guarded("max_locks = 100\nmax_waiters = 10", &short).await;
    guarded.broker.ready().await;
    let mut stub = guarded.stub().await;
    let (_, held) = acquire(&mut stub, once("held")).await;
    for _ in 0..5 {
        // Some leave before they are answered, and some after.
        let asking = (0..300).map(|number| {
            let mut stub = stub.clone();
            async move {
                let patience = Duration::from_millis(number % 20);
                let _ = timeout(patience, async {
                    match number % 3 {
                        0 => drop(queue(&mut stub, wait("held")).await),
                        1 => drop(try_acquire(&mut stub, once(&format!("free/{number}"))).await),
                        _ => drop(lease(&mut stub, &format!("leased/{number}")).await),
                    }
                })
                .await;
            }
        });
        let all: Vec<_> = asking.map(tokio::spawn).collect();
        for one in all {
            // A wait that was refused is no matter here.
            let _ = one.await;
        }
    }
    // A process that dies with locks and waits on a Session.
    let mut run = lockbroker(&["run", "--server", &guarded.socket, "dies", "--", "sleep", "60"]);
    let mut dies = Process::spawn("lockbroker run", &mut run);
    eventually(SOON, "it has its lock", async || {
        look(&mut stub, "dies").await.state() == lockbroker::proto::get_lock_response::State::Held
    })
    .await;
    dies.kill();
    // One that lingers, and one that is revoked.
    let lingers = AcquireRequest { lock: lingering("lingers", Duration::from_secs(2)), ..once("") };
    drop(acquire(&mut stub, lingers).await);
    let (_, mut revoked) = acquire(&mut stub, once("revoked")).await;
    let channel = Endpoint::from_shared(guarded.socket.clone()).unwrap().connect().await.unwrap();
    let revoke = RevokeLockRequest { name: "revoked".into(), ..RevokeLockRequest::default() };
    LockAdminClient::new(channel).revoke_lock(revoke).await.unwrap();
    assert!(matches!(after_renewals(&mut revoked).await, Kind::Lost(_)));
    // A line of which each has its turn.
    let mut line = Vec::new();
    for _ in 0..10 {
        line.push(queue(&mut stub, wait("held")).await.1);
    }
    drop(held);
    for mut next in line {
        granted(&mut next).await;
    }
    guarded.broker.scraped("everything is given back", |scrape| used(scrape) == (0.0, 0.0)).await;
    assert!(refused(&guarded.broker.scrape().await, "waiters") > 0.0);
}

/// Its item lives for the linger as well. Who renews it then, at whatever broker, has a lock there again.
#[tokio::test]
async fn a_lease_counts_wherever_it_is_renewed() {
    let guarded = guarded("max_locks = 1", &["--default-ttl", "5s"]).await;
    let mut stub = guarded.stub().await;
    let asked = AcquireLeaseRequest { lock: lingering("a", Duration::from_secs(6)), ..AcquireLeaseRequest::default() };
    let Some(Acquiring::Acquired(lease)) = stub.acquire_lease(asked).await.unwrap().into_inner().result else {
        panic!("not acquired")
    };
    guarded.broker.scraped("its record is over", |scrape| used(scrape) == (0.0, 0.0)).await;
    let renew = RenewLeaseRequest { name: "a".to_owned(), lock_id: lease.lock_id.clone() };
    let renewed = stub.renew_lease(renew).await.unwrap().into_inner().result;
    assert!(matches!(renewed, Some(Renewal::Renewed(_))), "{renewed:?}");
    refusal(stub.acquire(once("b")).await, "QUOTA_LOCKS", "has 1 locks");
    assert_eq!(release(&mut stub, "a", &lease.lock_id).await, Outcome::Released);
    guarded.broker.scraped("all is given back, after the linger", |scrape| used(scrape) == (0.0, 0.0)).await;
}

/// Runs the command line's `command` at a broker. Returns the process.
fn waits(server: &str, command: &[&str]) -> Process {
    let mut run = lockbroker(&[command[0], "--server", server]);
    run.args(&command[1..]);
    Process::spawn("run", &mut run)
}

#[tokio::test]
async fn a_command_that_waits_for_its_lock_waits_for_its_quota_too() {
    let guarded = guarded("max_locks = 1", &[]).await;
    let mut stub = guarded.stub().await;
    for command in [
        &["run", "--wait", "forever", "b", "--", "true"][..],
        &["run", "--wait", "1m", "b", "--", "true"],
        &["elect", "b", "--value", "x", "--", "true"],
    ] {
        let (_, held) = acquire(&mut stub, once("a")).await;
        let before = refused(&guarded.broker.scrape().await, "locks");
        let mut waits = waits(&guarded.socket, command);
        eventually(SOON, "it was refused twice", async || {
            refused(&guarded.broker.scrape().await, "locks") >= before + 2.0
        })
        .await;
        let said = waits.log();
        assert!(
            said.len() == 1 && said[0].contains(&us()) && said[0].ends_with("; asking again"),
            "once, and whose quota: {said:?}"
        );
        drop(held);
        assert!(waits.wait(SOON).await.success(), "{:?}", waits.log());
        freed(&mut stub, "b").await;
    }
}

#[tokio::test]
async fn a_command_waits_for_room_until_its_wait_is_over_and_at_the_next_broker() {
    let memcached = Memcached::start(&[]).await;
    let free = Broker::on_store(&memcached.store(), &[]).await;
    let full = Broker::on_store(&memcached.store(), &["--max-locks", "1"]).await;
    let (_, _held) = acquire(&mut full.stub().await, once("a")).await;

    let began = Instant::now();
    let ended = output(&mut lockbroker(&["run", "--server", &full.url(), "--wait", "1500ms", "b", "--", "true"]));
    let took = began.elapsed();
    let said = String::from_utf8(ended.stderr).unwrap();
    let why = r#"lockbroker: lock "b": no room: this broker has 1 locks"#;
    assert_eq!(ended.status.code(), Some(69), "{said}");
    assert!(took >= Duration::from_millis(1_500) && took < SOON, "{took:?}");
    assert!(said.lines().count() == 2 && said.lines().all(|line| line.starts_with(why)), "{said}");
    assert!(said.lines().next().unwrap().ends_with("; asking again"), "{said}");

    let began = Instant::now();
    let ended = output(&mut lockbroker(&["run", "--server", &full.url(), "b", "--", "true"]));
    assert_eq!(ended.status.code(), Some(69), "it asks once: {ended:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "without --wait nobody waits: {:?}", began.elapsed());

    let servers = format!("{},{}", full.url(), free.url());
    let ended = output(&mut lockbroker(&["run", "--server", &servers, "--wait", "1m", "b", "--", "true"]));
    assert_eq!(ended.status.code(), Some(0), "the next one has room: {ended:?}");
}

/// One team that asks for more than it may does not take anything from another.
#[tokio::test]
async fn each_certificate_that_is_named_has_counts_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let [authority, clients] = ["authority", "clients"].map(|name| Authority::new(folder.path(), name));
    let broker = authority.server("broker");
    let [shop, billing] = ["shop", "billing"].map(|team| format!("spiffe://example.org/{team}"));
    let rules = format!(
        "[[rule]]\nwho = [\"uri:{shop}\", \"uri:{billing}\", \"cn:free\"]\nmay = [\"acquire\"]\nprefixes = [\"\"]\n\
         [[quota]]\nwho = [\"uri:{shop}\", \"uri:{billing}\"]\nmax_locks = 2\n"
    );
    let tls = ["--tls-cert", &broker.cert, "--tls-key", &broker.key, "--tls-client-ca", &clients.file()];
    let guarded = Guarded::start(&rules, &tls).await;
    let connect = |certificate: &Certificate| {
        Client::builder(format!("https://{}", guarded.broker.address()))
            .tls_ca(authority.file())
            .tls_identity(&certificate.cert, &certificate.key)
            .connect()
            .unwrap()
    };
    // Two processes of one team share its count.
    let shops = ["shop-1", "shop-2"].map(|name| connect(&clients.client(name, &[&shop])));
    let _first = shops[0].acquire("shop/1").await.unwrap();
    let _second = shops[1].acquire("shop/2").await.unwrap();
    for client in &shops {
        let error = client.acquire("shop/3").await.unwrap_err();
        assert!(matches!(error, Error::Exhausted { .. }), "{error}");
        let says = format!("uri:{shop} has 2 locks");
        assert!(error.to_string().contains(&says) && error.reason().unwrap().as_str() == "QUOTA_LOCKS", "{error}");
    }
    let billing = connect(&clients.client("b", &[&billing]));
    let _others = [billing.acquire("b/1").await.unwrap(), billing.acquire("b/2").await.unwrap()];
    assert!(billing.acquire("b/3").await.is_err());
    let free = connect(&clients.client("free", &[]));
    for number in 0..5 {
        std::mem::forget(free.acquire(&format!("free/{number}")).await.unwrap());
    }
}

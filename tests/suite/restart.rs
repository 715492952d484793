//! A memcached that loses its memory loses no lock: what is held stays held, whoever waits gets it no sooner than
//! its holder lets go, and in the end everybody who waits gets it.

use std::ops::AsyncFnOnce;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::client::Client;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Channel;

use crate::support::{Broker, Memcached, SOON, acquire, eventually, granted, once, queue, try_acquire, wait};

const LOCKS: usize = 200;
/// How long after the end of what happened to memcached, and `--max-ttl`, the first new grant may come.
const OPENS_WITHIN: Duration = Duration::from_secs(4);
/// Longer than any waiter pauses between two tries, whatever it has been through.
const EVERYBODY_HAS_TRIED: Duration = Duration::from_millis(2_500);

/// With the default ttl. A lease has 8 s left at the least when memcached dies; it stays away for most of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memcached_that_dies_and_comes_back_loses_no_lock() {
    let mut memcached = Memcached::start(&[]).await;
    let holding = Broker::on(&memcached).await;
    let other = Broker::start(&["--store", &memcached.store()]).await;
    keeps_every_lock(&holding, &other, Duration::from_secs(15), async || {
        memcached.kill();
        sleep(Duration::from_secs(5)).await;
        memcached.start_again().await;
    })
    .await;
}

/// A lease has 3.3 s left at the least, of which memcached's first tick takes one: at a ttl of 5 s that is too close.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_in_the_blink_of_an_eye_loses_no_lock_of_a_short_ttl() {
    const SHORT: [&str; 4] = ["--default-ttl", "8s", "--max-ttl", "8s"];
    let mut memcached = Memcached::start(&[]).await;
    let holding = Broker::on_store(&memcached.store(), &SHORT).await;
    let other = Broker::start(&[&["--store", &memcached.store()], &SHORT[..]].concat()).await;
    keeps_every_lock(&holding, &other, Duration::from_secs(8), async || memcached.restart().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_loses_no_lock() {
    const UNSAFE: [&str; 5] = ["--default-ttl", "5s", "--max-ttl", "5s", "--allow-unsafe-store"];
    let memcached = Memcached::bare(&["-M"]).await;
    let holding = Broker::on_store(&memcached.store(), &UNSAFE).await;
    let other = Broker::start(&[&["--store", &memcached.store()], &UNSAFE[..]].concat()).await;
    keeps_every_lock(&holding, &other, Duration::from_secs(5), async || {
        // A flush spares what was written in its second, the shard's state for instance: that has to be older.
        eventually(SOON, "all is lost", async || {
            assert_eq!(memcached.command("flush_all").await, "OK\r\n");
            memcached.command("mg lockbroker:S").await == "EN\r\n" || lost_memory(&holding)
        })
        .await;
    })
    .await;
}

/// Has locks held at one broker, half of them on streams of their own and half in a Session, and a rival waiting
/// for each, at that broker or at another one, while something happens to memcached.
async fn keeps_every_lock(holding: &Broker, other: &Broker, max_ttl: Duration, calamity: impl AsyncFnOnce()) {
    let client = Client::connect(holding.url()).unwrap();
    let (mut stub, other_stub) = (holding.stub().await, other.stub().await);
    let mut holders = Vec::new();
    let mut rivals = Vec::new();
    for index in 0..LOCKS {
        let name = format!("lock {index}");
        holders.push(if index % 2 == 0 {
            Holder::on_a_stream(&mut stub, &name).await
        } else {
            Holder::in_a_session(&client, &name).await
        });
        let at = if index % 4 < 2 { &stub } else { &other_stub };
        let mut rival = queue(&mut at.clone(), wait(&name)).await.1;
        // If the test fails, they are not to fail one by one because of that.
        rivals.push(AbortOnDropHandle::new(tokio::spawn(async move {
            let token = granted(&mut rival).await.fencing_token;
            (Instant::now(), token)
        })));
    }

    let struck = Instant::now();
    calamity().await;
    let back = Instant::now();
    for broker in [holding, other] {
        let mut stub = broker.stub().await;
        eventually(max_ttl + OPENS_WITHIN, "the broker grants again", async || {
            all_is_well(&holders, &rivals, struck);
            lost_memory(broker) && matches!(try_acquire(&mut stub, once("a bystander's")).await, Ok(Some(_)))
        })
        .await;
    }
    assert!(struck.elapsed() > max_ttl, "there was no quarantine: {:?}", struck.elapsed());
    let open_after = back.elapsed();
    assert!(open_after < max_ttl + OPENS_WITHIN, "closed for {open_after:?}");
    sleep(EVERYBODY_HAS_TRIED).await;
    all_is_well(&holders, &rivals, struck);

    let releases = holders.into_iter().map(Holder::let_go);
    let released = timeout(SOON, join_all(releases)).await.expect("all locks are released");
    let grants = timeout(SOON, join_all(rivals)).await.expect("every rival is granted");
    for (index, ((let_go, token), rival)) in released.into_iter().zip(grants).enumerate() {
        let (granted_at, rivals_token) = rival.unwrap();
        assert!(granted_at > let_go, "lock {index}: granted before its holder let go");
        assert!(rivals_token > token, "lock {index}: token {rivals_token} after {token}");
    }
    println!("{LOCKS} of {LOCKS} locks held; memcached granted again {open_after:.1?} after it was back");
}

/// Nobody has lost a lock, and nobody has been granted one that is held.
fn all_is_well(holders: &[Holder], rivals: &[AbortOnDropHandle<(Instant, i64)>], struck: Instant) {
    let lost: Vec<_> = (0..LOCKS).filter(|&index| holders[index].task.is_finished()).collect();
    let stolen: Vec<_> = (0..LOCKS).filter(|&index| rivals[index].is_finished()).collect();
    assert!(lost.is_empty() && stolen.is_empty(), "{:?} on: lost {lost:?}, stolen {stolen:?}", struck.elapsed());
}

fn lost_memory(broker: &Broker) -> bool {
    broker.log().iter().any(|line| line.contains("has lost its memory, or is new"))
}

/// One who holds a lock until told to let go. Its task ends early if it is told anything but that it still has it.
struct Holder {
    token: i64,
    go: oneshot::Sender<()>,
    task: AbortOnDropHandle<Instant>,
}

impl Holder {
    async fn on_a_stream(stub: &mut LockServiceClient<Channel>, name: &str) -> Self {
        let (acquired, mut stream) = acquire(stub, once(name)).await;
        let (go, mut told) = oneshot::channel();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut told => return Instant::now(),
                    message = stream.message() => match message {
                        Ok(Some(message)) if matches!(message.event.as_ref().unwrap().kind, Some(Kind::Renewed(_))) => {}
                        other => panic!("{other:?} where only renewals were expected"),
                    },
                }
            }
        });
        Self { token: acquired.fencing_token, go, task: AbortOnDropHandle::new(task) }
    }

    async fn in_a_session(client: &Client, name: &str) -> Self {
        // It waits where a broker cannot tell for a moment, as `acquire` does.
        let guard = client.wait_acquire(name).await.unwrap().guard().expect("the lock is free");
        let token = guard.fencing_token();
        let (go, told) = oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = told => {}
                reason = guard.lost() => panic!("lost: {reason:?}"),
            }
            let let_go = Instant::now();
            guard.release().await.unwrap();
            let_go
        });
        Self { token, go, task: AbortOnDropHandle::new(task) }
    }

    /// Lets go, and says since when it no longer cares, and its token.
    async fn let_go(self) -> (Instant, i64) {
        self.go.send(()).unwrap();
        (self.task.await.unwrap(), self.token)
    }
}

//! The ways in which a lock is taken from a program that works. It stops before anybody else has the lock.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::judge::Rival;
use crate::support::*;
use crate::testee::{Case, Testee};

/// The default ttl less what memcached may be early: a program may act for so long after it sent what was answered last.
const LEASE: Duration = Duration::from_secs(13);
/// For how long each program waits in line. One that counts from its grant, and not from its request, is wrong by so much.
const QUEUED: Duration = Duration::from_secs(6);

/// A program that holds a lock after some time in line, with a rival in line for it.
struct Holder {
    case: Case,
    testee: Testee,
    token: i64,
    rival: Rival,
}

impl Holder {
    /// The program speaks to `server`, the rival to `broker`.
    async fn start(case: Case, server: String, broker: &Broker) -> Self {
        let mut stub = broker.stub().await;
        let (held, _stream) = acquire(&mut stub, once(&case.to_string())).await;
        let testee = Testee::start(case, &server, 60).await;
        testee.says("waiting: place 1").await;
        sleep(QUEUED).await;
        release(&mut stub, &case.to_string(), &held.lock_id).await;
        let token = testee.acts().await;
        Self { case, testee, token, rival: Rival::queue(broker, case).await }
    }

    /// Waits until the program has ended because its lock is over, and until the rival has it, and judges which came first.
    async fn finish(self) -> Testee {
        let Self { case, mut testee, token, rival } = self;
        let (grant, status) = tokio::join!(rival.granted(), testee.ends());
        assert_eq!(status.code(), Some(1), "{case}");
        testee.says("stopped: ").await;
        grant.judge(&testee, token);
        testee
    }
}

/// Holders of all cases at the first broker, with rivals at the second.
async fn holders(brokers: &Brokers) -> Vec<Holder> {
    join_all(Case::all().map(|case| Holder::start(case, case.server(brokers), &brokers.second))).await
}

async fn finish(holders: Vec<Holder>) -> Vec<Testee> {
    join_all(holders.into_iter().map(Holder::finish)).await
}

/// The programs heard of no renewal that was made after `silence`. The rivals' grants alone would not show that, since a
/// broker goes on renewing until it notices.
fn stopped_within_a_lease(silence: Instant, testees: &[Testee]) {
    for testee in testees {
        let acted = testee.acted_last().saturating_duration_since(silence);
        assert!(acted < LEASE, "{}: acted {acted:?} after the last renewal that it can know of", testee.case());
    }
}

#[tokio::test]
async fn stops_when_the_store_is_away_for_a_lease() {
    let mut brokers = Brokers::start().await;
    let mut holders = holders(&brokers).await;
    brokers.memcached.stop().await;
    let stopped = Instant::now();
    join_all(holders.iter_mut().map(|holder| holder.testee.ends())).await;
    brokers.memcached.cont();
    stopped_within_a_lease(stopped, &finish(holders).await);
}

/// A machine without power: whoever is connected to it hears nothing any more.
#[tokio::test]
async fn stops_when_its_broker_falls_silent() {
    let mut brokers = Brokers::start().await;
    let holders = holders(&brokers).await;
    brokers.first.stop().await;
    let silence = Instant::now();
    stopped_within_a_lease(silence, &finish(holders).await);
}

/// The broker and its other clients go on: it gives the lock to the rival when the program's validity is over.
#[tokio::test]
async fn stops_when_only_its_connection_falls_silent() {
    let brokers = Brokers::start().await;
    let proxy = Proxy::start(brokers.first.address()).await;
    let server = format!("http://{}", proxy.address());
    let holders = join_all(Case::tcp().map(|case| Holder::start(case, server.clone(), &brokers.first))).await;
    proxy.black_hole();
    let silence = Instant::now();
    stopped_within_a_lease(silence, &finish(holders).await);
}

/// A program that was itself stopped may have decided on one act before. It decides on no other.
#[tokio::test]
async fn does_not_go_on_after_a_long_pause() {
    let brokers = Brokers::start().await;
    let mut holders = holders(&brokers).await;
    for holder in &mut holders {
        holder.testee.stop().await;
    }
    join_all(holders.into_iter().map(|Holder { case, mut testee, rival, .. }| async move {
        let grant = rival.granted().await;
        let acts = testee.acts_arrived();
        testee.cont();
        assert_eq!(testee.ends().await.code(), Some(1), "{case}");
        let more = testee.acts_arrived() - acts;
        assert!(more <= 1, "{case}: acted {more} times after somebody else had the lock");
        grant.release().await;
    }))
    .await;
}

/// The broker waits for its holders to leave, which they do as soon as they have stopped their work.
#[tokio::test]
async fn stops_and_leaves_when_its_broker_drains() {
    let mut brokers = Brokers::start().await;
    let holders = holders(&brokers).await;
    let (status, _) = tokio::join!(brokers.first.terminate(SOON), finish(holders));
    assert!(status.success(), "{status}");
}

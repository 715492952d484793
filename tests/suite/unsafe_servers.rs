//! A memcached that cannot keep locks is not used, and whoever meets that is told what mends it.

use crate::support::{Broker, Memcached, SOON, eventually, once, try_acquire};
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

#[tokio::test]
async fn one_that_evicts_is_refused() {
    refused(&Memcached::bare(&["-F"]).await, &["evict", "start it with -M", "line: -M"]).await;
}

#[tokio::test]
async fn one_that_may_be_flushed_is_refused() {
    refused(&Memcached::bare(&["-M"]).await, &["flush_all", "start it with -F", "line: -F"]).await;
}

#[tokio::test]
async fn one_without_cas_is_refused_whatever_the_operator_says() {
    let memcached = Memcached::start(&["-C"]).await;
    let words = ["CAS is off", "start it without -C", "remove the line -C"];
    refused(&memcached, &words).await;
    refused_by(&["--allow-unsafe-store"], &memcached, &words).await;
}

#[tokio::test]
async fn one_that_is_too_old_is_refused_whatever_the_operator_says() {
    let memcached = Memcached::old(&["-M", "-F"]).await;
    let words = ["1.6.18", "1.6.27 or later", "upgrade"];
    refused(&memcached, &words).await;
    refused_by(&["--allow-unsafe-store"], &memcached, &words).await;
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    refused(&Memcached::bare(&[]).await, &["start it with -M", "start it with -F", "--allow-unsafe-store"]).await;
}

#[tokio::test]
async fn one_that_may_lose_locks_is_used_with_a_warning_if_the_operator_says_so() {
    let memcached = Memcached::bare(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &["--allow-unsafe-store"]).await;
    for flag in ["-M", "-F"] {
        let line = broker.logged(&format!("start it with {flag}")).await;
        assert!(line.contains("WARN") && line.contains("may lose locks"), "{line}");
    }
    assert!(try_acquire(&mut broker.stub().await, once("risky")).await.unwrap().is_some());
}

#[tokio::test]
async fn one_that_is_mended_is_used_without_a_restart_of_the_broker() {
    let mut memcached = Memcached::bare(&[]).await;
    let broker =
        Broker::start_unready(&["--store", &memcached.store(), "--default-ttl", "5s", "--max-ttl", "5s"]).await;
    broker.logged("cannot keep locks").await;
    memcached.kill();
    memcached.start_again_with(&["-M", "-F"]).await;
    eventually(2 * SOON, "the broker is ready", async || {
        broker.health("readiness").await == Some(ServingStatus::Serving)
    })
    .await;
    assert!(try_acquire(&mut broker.stub().await, once("mended")).await.unwrap().is_some());
}

async fn refused(memcached: &Memcached, words: &[&str]) {
    refused_by(&[], memcached, words).await;
}

/// A broker that is given this memcached stays up and unready, and both its log and its answers have all the
/// `words`.
async fn refused_by(arguments: &[&str], memcached: &Memcached, words: &[&str]) {
    let broker = Broker::start_unready(&[&["--store", &memcached.store()], arguments].concat()).await;
    let line = broker.logged("cannot keep locks").await;
    let status = try_acquire(&mut broker.stub().await, once("refused")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    for word in words {
        assert!(line.contains(word), "{word:?} in the log: {line}");
        assert!(status.message().contains(word), "{word:?} in the answer: {status:?}");
    }
    assert_eq!(broker.health("readiness").await, Some(ServingStatus::NotServing));
    assert_eq!(broker.health("liveness").await, Some(ServingStatus::Serving));
}

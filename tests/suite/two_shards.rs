//! A shard that stops or dies takes its own names with it and nothing else.

use std::time::{Duration, Instant};

use crate::support::{Broker, Event, Memcached, SOON, eventually, once, run, try_acquire};
use lockbroker::proto::AcquireResponse;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;

const NAMES: usize = 10;

#[tokio::test]
async fn a_shard_that_is_stopped_fails_its_own_names_only() {
    let mut scene = Scene::set(&[]).await;
    scene.doomed.stop().await;
    scene.only_the_doomed_names_fail().await;

    scene.doomed.cont();
    eventually(SOON, "its names are granted again", async || scene.grants(&scene.doomed_names[1..]).await).await;
    // It was away for less than their leases.
    scene.nothing_was_lost(&scene.healthy_locks);
    scene.nothing_was_lost(&scene.doomed_locks);
}

#[tokio::test]
async fn a_shard_that_dies_fails_its_own_names_only_and_only_it_is_in_quarantine() {
    let mut scene = Scene::set(&["--default-ttl", "5s", "--max-ttl", "5s"]).await;
    scene.doomed.kill();
    scene.only_the_doomed_names_fail().await;

    scene.doomed.start_again().await;
    let back = Instant::now();
    scene.broker.logged("has lost its memory, or is new").await;
    eventually(2 * SOON, "its names are granted again", async || {
        assert!(scene.grants(&scene.healthy_names[1..]).await, "the other shard has never closed");
        scene.grants(&scene.doomed_names[1..]).await
    })
    .await;
    assert!(back.elapsed() >= Duration::from_secs(5), "there was no quarantine: {:?}", back.elapsed());
    scene.nothing_was_lost(&scene.healthy_locks);
}

/// The list may have changed, and the one that is away may be the only one that knows (R23).
#[tokio::test]
async fn of_two_new_shards_one_waits_for_the_other_or_is_opened_by_hand() {
    let (healthy, mut away) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    away.kill();
    let store = format!("{},{}", healthy.store(), away.address());
    let flags = ["--store", &store, "--max-ttl", "5s"];
    let broker = Broker::start_unready(&[&flags[..], &["--default-ttl", "5s"]].concat()).await;
    broker.logged("grants nothing until another server of the list is reached").await;
    let opened = run(&[&["shard", "open"], &flags[..]].concat());
    assert_eq!(opened.status.code(), Some(1), "one is away: {opened:?}");
    broker.ready().await;
    let mut stub = broker.stub().await;
    let mut granted = 0;
    for index in 0..20 {
        match try_acquire(&mut stub, once(&format!("name {index}"))).await {
            Ok(Some(_)) => granted += 1,
            Ok(None) => panic!("nobody else holds a lock"),
            Err(status) => assert!(status.message().contains(&away.address().to_string()), "{status:?}"),
        }
    }
    assert!(granted > 0);
}

/// A broker on two shards, with names and a held lock on each.
struct Scene {
    broker: Broker,
    stub: LockServiceClient<Channel>,
    healthy: Memcached,
    doomed: Memcached,
    /// The first name of each shard is held, the others are free.
    healthy_names: Vec<String>,
    doomed_names: Vec<String>,
    healthy_locks: JoinHandle<()>,
    doomed_locks: JoinHandle<()>,
}

impl Scene {
    async fn set(arguments: &[&str]) -> Self {
        let (healthy, doomed) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
        let store = format!("{},{}", healthy.store(), doomed.address());
        let broker = Broker::on_store(&store, arguments).await;
        let mut stub = broker.stub().await;
        // It is ready with one shard; both have to be open here.
        let (mut healthy_names, mut doomed_names) = (Vec::new(), Vec::new());
        let mut locks = Vec::new();
        for index in 0..200 {
            let name = format!("name-{index}");
            let mut lock = None;
            eventually(SOON, "both shards grant", async || {
                lock = try_acquire(&mut stub, once(&name)).await.ok().flatten();
                lock.is_some()
            })
            .await;
            let there = doomed.command(&format!("mg lockbroker:L:{name}")).await == "HD\r\n";
            let names = if there { &mut doomed_names } else { &mut healthy_names };
            if names.is_empty() {
                locks.push((there, lock.unwrap()));
            }
            names.push(name);
            if healthy_names.len() >= NAMES && doomed_names.len() >= NAMES {
                break;
            }
        }
        assert!(healthy_names.len() >= NAMES && doomed_names.len() >= NAMES, "both shards get their share of names");
        let mut keep = |on_doomed| {
            let index = locks.iter().position(|(there, _)| *there == on_doomed).unwrap();
            tokio::spawn(only_renewals(locks.remove(index).1))
        };
        let (healthy_locks, doomed_locks) = (keep(false), keep(true));
        Self { broker, stub, healthy, doomed, healthy_names, doomed_names, healthy_locks, doomed_locks }
    }

    async fn only_the_doomed_names_fail(&self) {
        let address = self.doomed.address().to_string();
        let mut stub = self.stub.clone();
        // All at once: each waits for the shard at first, and none may keep the others waiting.
        let asking = self.doomed_names[1..].iter().map(|name| {
            let mut stub = stub.clone();
            async move { try_acquire(&mut stub, once(name)).await }
        });
        let (failures, slowest) = tokio::join!(futures_util::future::join_all(asking), async {
            let mut slowest = Duration::ZERO;
            for name in self.healthy_names[1..].iter().cycle().take(200) {
                let start = Instant::now();
                assert!(try_acquire(&mut stub, once(name)).await.unwrap().is_some(), "{name}");
                slowest = slowest.max(start.elapsed());
                eventually(SOON, "the cancel has released it", async || self.is_free(name).await).await;
            }
            slowest
        });
        for failure in failures {
            let status = failure.map(drop).unwrap_err();
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.message().contains(&address), "{status:?}");
        }
        // A shard is given a second to answer before it is given up: nobody else has felt that.
        assert!(slowest < Duration::from_millis(500), "{slowest:?} to acquire a lock of the other shard");
        assert_eq!(self.broker.health("readiness").await, Some(ServingStatus::Serving));
        self.nothing_was_lost(&self.healthy_locks);
    }

    async fn is_free(&self, name: &str) -> bool {
        self.healthy.command(&format!("mg lockbroker:L:{name}")).await == "EN\r\n"
    }

    /// Whether one of these names at least is granted, as all are when their shard is open and nobody has them.
    async fn grants(&self, names: &[String]) -> bool {
        let mut stub = self.stub.clone();
        for name in names {
            if matches!(timeout(SOON, try_acquire(&mut stub, once(name))).await.unwrap(), Ok(Some(_))) {
                return true;
            }
        }
        false
    }

    fn nothing_was_lost(&self, lock: &JoinHandle<()>) {
        assert!(!lock.is_finished(), "a held lock was lost");
    }
}

/// Reads a lock's stream until it says anything but that it is still held.
async fn only_renewals(mut stream: Streaming<AcquireResponse>) {
    while let Ok(Some(message)) = stream.message().await {
        if !matches!(message.event().unwrap().kind, Some(Kind::Renewed(_))) {
            return;
        }
    }
}

//! A shard of which nobody knows what it has forgotten grants nothing until nobody can believe in a lock that went
//! with its memory, or an operator says that there were none; and it serves one topology only.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::support::{
    Broker, Memcached, SOON, eventually, granted, lockbroker, once, output, queue, run, try_acquire, wait,
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_types::StatusExt;

const SHORT: [&str; 4] = ["--default-ttl", "5s", "--max-ttl", "5s"];
const QUARANTINE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_memcached_that_is_away_at_the_start_is_waited_for() {
    let mut memcached = Memcached::start(&[]).await;
    memcached.kill();
    let broker = Broker::start_unready(&[&["--store", &memcached.store()], &SHORT[..]].concat()).await;
    let line = broker.logged("memcached cannot be reached").await;
    assert!(line.contains(&memcached.address().to_string()), "{line}");
    assert_eq!(broker.health("readiness").await, Some(ServingStatus::NotServing));
    assert_eq!(broker.health("liveness").await, Some(ServingStatus::Serving));
    let status = try_acquire(&mut broker.stub().await, once("early")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("cannot be reached"), "{status:?}");
    // The log says it once, however often it is tried.
    assert_eq!(broker.log().iter().filter(|line| line.contains("cannot be reached")).count(), 1);

    memcached.start_again().await;
    broker.ready().await;
    assert!(try_acquire(&mut broker.stub().await, once("early")).await.unwrap().is_some());
}

#[tokio::test]
async fn the_log_says_once_where_locks_are_kept() {
    let (one, other) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let store = format!("{},{}=2", one.store(), other.address());
    for (store, word) in [(&*store, "keeps locks in memcached"), ("memory", "no other broker shares them")] {
        let broker = Broker::start_unready(&["--store", store]).await;
        let line = broker.logged("keeps locks").await;
        assert!(line.contains(&format!("\"store\":\"{store}\"")) && line.contains(word), "{line}");
        assert_eq!(broker.log().iter().filter(|line| line.contains("keeps locks")).count(), 1);
    }
}

#[tokio::test]
async fn a_new_memcached_grants_nothing_for_the_longest_ttl() {
    let memcached = Memcached::start(&[]).await;
    let start = Instant::now();
    let broker = Broker::start_unready(&[&["--store", &memcached.store()], &SHORT[..]].concat()).await;
    let mut stub = broker.stub().await;
    let line = broker.logged("has lost its memory, or is new").await;
    assert!(line.contains("grants nothing for 5 s") && line.contains("shard open"), "{line}");
    assert_eq!(broker.health("readiness").await, Some(ServingStatus::NotServing));

    let status = try_acquire(&mut stub, once("early")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let left = retry_delay(&status);
    // The shard is opened a tenth of a second after that at the latest.
    assert!(
        left <= QUARANTINE + Duration::from_millis(100) && left + start.elapsed() >= QUARANTINE,
        "{left:?} after {:?}",
        start.elapsed()
    );

    let mut waiter = queue(&mut stub, wait("patient")).await.1;
    timeout(2 * SOON, granted(&mut waiter)).await.expect("the shard opens");
    assert!(start.elapsed() >= QUARANTINE, "granted after {:?}", start.elapsed());
    // A waiter tries again every second or two.
    assert!(start.elapsed() < QUARANTINE + SOON / 2, "granted after {:?}", start.elapsed());
    assert_eq!(broker.health("readiness").await, Some(ServingStatus::Serving));
}

#[tokio::test]
async fn the_command_line_says_why_it_waits() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::start_unready(&[&["--store", &memcached.store()], &SHORT[..]].concat()).await;
    broker.logged("has lost its memory, or is new").await;
    let server = broker.url();

    let once = run(&["run", "--server", &server, "job", "--", "true"]);
    assert_eq!(once.status.code(), Some(69));
    let complaint = complaint(&once);
    assert!(complaint.contains("is new or has lost its memory, and grants nothing for 5 s"), "{complaint}");
    let in_seconds = ["; try again in 5s", "; try again in 4s"];
    assert!(in_seconds.iter().any(|text| complaint.trim_end().ends_with(text)), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");

    let mut patient = lockbroker(&["run", "--wait", "1m", "--server", &server, "job", "--", "true"]);
    let patient = tokio::task::spawn_blocking(move || output(&mut patient)).await.unwrap();
    assert_eq!(patient.status.code(), Some(0), "{patient:?}");
    let complaint = self::complaint(&patient);
    assert!(complaint.contains("grants nothing for") && complaint.trim_end().ends_with("; waiting"), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
}

#[tokio::test]
async fn a_shard_is_opened_by_hand_as_often_as_one_likes() {
    const LONG: [&str; 2] = ["--max-ttl", "1h"];
    let memcached = Memcached::start(&[]).await;
    let (store, address) = (memcached.store(), memcached.address());
    let broker = Broker::start_unready(&[&["--store", &store], &LONG[..]].concat()).await;
    broker.logged("has lost its memory, or is new").await;
    let mut stub = broker.stub().await;
    let mut waiter = queue(&mut stub, wait("patient")).await.1;
    assert!(try_acquire(&mut stub, once("early")).await.is_err());

    assert_eq!(said(&shard_open(&store, &LONG)), format!("{address}: open\n"));
    timeout(SOON, granted(&mut waiter)).await.expect("the waiter is granted");
    assert!(try_acquire(&mut stub, once("early")).await.unwrap().is_some());
    assert_eq!(said(&shard_open(&store, &LONG)), format!("{address}: was open already\n"));
    // Nobody lost anything by that.
    assert!(try_acquire(&mut stub, once("patient")).await.unwrap().is_none());
}

/// R20a. What is granted must have been asked for in a shard that was open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_asked_of_a_closed_shard() {
    let memcached = Memcached::start(&[]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let store = format!("memcached://{}", counting_grants(memcached.address(), Arc::clone(&asked)).await);
    let broker = Broker::start_unready(&["--store", &store, "--max-ttl", "1h"]).await;
    broker.logged("has lost its memory, or is new").await;
    let mut stub = broker.stub().await;
    let mut waiter = queue(&mut stub, wait("patient")).await.1;
    for number in 0..10 {
        assert!(try_acquire(&mut stub, once(&format!("early {number}"))).await.is_err());
        // Past the second for which the server's clock is watched.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert_eq!(asked.load(Relaxed), 0, "grants sent to a closed shard");
    assert!(shard_open(&store, &["--max-ttl", "1h"]).status.success());
    timeout(SOON, granted(&mut waiter)).await.expect("the waiter is granted");
    assert!(asked.load(Relaxed) > 0, "its grant was seen");
}

/// Listens where memcached seems to, and counts the commands that create a lock's item.
async fn counting_grants(memcached: SocketAddr, count: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the runtime.
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            let (asking, mut answering) = client.into_split();
            let (mut answers, mut asked) = TcpStream::connect(memcached).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut answering).await });
            tokio::spawn(async move {
                let mut lines = BufReader::new(asking).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    count.fetch_add(usize::from(line.starts_with("ma lockbroker:L:")), Relaxed);
                    asked.write_all(format!("{line}\r\n").as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}

#[tokio::test]
async fn a_shard_is_opened_by_hand_before_any_broker_has_seen_it() {
    let memcached = Memcached::start(&[]).await;
    assert!(shard_open(&memcached.store(), &["--max-ttl", "1h"]).status.success());
    let broker = Broker::start(&["--store", &memcached.store(), "--max-ttl", "1h"]).await;
    assert!(try_acquire(&mut broker.stub().await, once("at once")).await.unwrap().is_some());
}

#[tokio::test]
async fn the_shards_of_another_topology_are_not_opened() {
    let (ours, new) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let broker = Broker::start_unready(&["--store", &ours.store(), "--max-ttl", "1h"]).await;
    broker.logged("has lost its memory, or is new").await;
    let with_new = format!("{},{}", ours.store(), new.address());
    let heavier = format!("{}=2", ours.store());
    for (store, max_ttl) in [(&ours.store(), "59m"), (&with_new, "1h"), (&heavier, "1h")] {
        let output = shard_open(store, &["--max-ttl", max_ttl]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(said(&output).contains("another list of servers, other weights or another --max-ttl"), "{output:?}");
    }
    assert_eq!(new.command("mg lockbroker:S").await, "EN\r\n", "nor is a new one set up by that");
    assert!(try_acquire(&mut broker.stub().await, once("early")).await.is_err());
    assert!(shard_open(&ours.store(), &["--max-ttl", "1h"]).status.success());
    broker.ready().await;
}

#[tokio::test]
async fn a_shard_that_no_broker_would_use_is_not_opened() {
    let mut away = Memcached::start(&[]).await;
    away.kill();
    let (old, bare) = (Memcached::old(&["-M", "-F"]).await, Memcached::bare(&[]).await);
    for (store, whys) in [
        (away.store(), &["refused"][..]),
        (old.store(), &["1.6.27"]),
        (bare.store(), &["start it with -M", "start it with -F"]),
    ] {
        for command in [&["open"][..], &["adopt", "--stopped"]] {
            let output = run(&[&["shard"], command, &["--store", &store]].concat());
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(whys.iter().all(|why| said(&output).contains(why)), "{output:?}");
        }
    }
    assert_eq!(bare.command("mg lockbroker:S").await, "EN\r\n", "it has a state");
    // Brokers that use it all the same have it opened all the same.
    let output = shard_open(&bare.store(), &["--allow-unsafe-store"]);
    assert_eq!((output.status.code(), said(&output)), (Some(0), format!("{}: open\n", bare.address())));
}

#[tokio::test]
async fn a_broker_of_another_topology_refuses_the_shard_and_says_so() {
    let (ours, new) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let broker = Broker::on(&ours).await;
    let with_new = format!("{},{}", ours.store(), new.address());
    let heavier = format!("{}=2", ours.store());
    for (store, max_ttl) in [(&ours.store(), "20s"), (&with_new, "15s"), (&heavier, "15s")] {
        let stranger = Broker::start_unready(&["--store", store, "--max-ttl", max_ttl]).await;
        let line = stranger.logged("memcached is not used").await;
        assert!(line.contains("another list of servers, other weights or another --max-ttl"), "{line}");
        let status = refusal_at(&stranger, &ours).await;
        assert!(status.message().contains("another --max-ttl"), "{status:?}");
        assert_eq!(stranger.health("readiness").await, Some(ServingStatus::NotServing));
        assert_eq!(stranger.health("liveness").await, Some(ServingStatus::Serving));
    }
    assert_eq!(new.command("mg lockbroker:S").await, "EN\r\n", "nor has it set up a new one");
    assert!(try_acquire(&mut broker.stub().await, once("undisturbed")).await.unwrap().is_some());
}

/// What a broker answers to an Acquire of a name that lives on this shard.
async fn refusal_at(broker: &Broker, shard: &Memcached) -> Status {
    let mut stub = broker.stub().await;
    let mut refusal = None;
    let mut index = 0;
    eventually(SOON, "a name that lives on the shard", async || {
        index += 1;
        let status = try_acquire(&mut stub, once(&format!("name {index}"))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let there = status.message().contains(&shard.address().to_string());
        refusal = Some(status);
        there
    })
    .await;
    refusal.unwrap()
}

fn shard_open(store: &str, arguments: &[&str]) -> Output {
    run(&[&["shard", "open", "--store", store], arguments].concat())
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn retry_delay(status: &Status) -> Duration {
    let details = status.get_error_details();
    details.retry_info().and_then(|info| info.retry_delay).unwrap_or_else(|| panic!("no RetryInfo: {status:?}"))
}

//! A Release that a balancer sends to another broker does not stop the line behind the holder: how many grants a crowd
//! gets that releases so now and then, and what the looks cost that see to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::proto::lock_event::Kind;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

/// A debug build shows that the line goes on; a release build is held to what the design asks for.
const FOR: Duration = Duration::from_secs(if cfg!(debug_assertions) { 8 } else { 20 });
const CLIENTS: usize = 200;
/// One of so many Releases goes to the other broker: 3 %.
const ELSEWHERE: usize = 33;
/// For two cores. Without looks there are 12 a second.
const LEAST: u64 = if cfg!(debug_assertions) { 200 } else { 2_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_goes_on_whose_releases_go_to_another_broker_now_and_then() {
    let _quiet = crate::quiet().await;
    let memcached = Memcached::start(&[]).await;
    let brokers = [Broker::on(&memcached).await, Broker::on(&memcached).await];
    let grants = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + FOR;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let [mut here, mut there] = [brokers[client % 2].stub().await, brokers[1 - client % 2].stub().await];
        let grants = Arc::clone(&grants);
        clients.spawn(async move {
            for turn in client.. {
                let Ok(mut stream) = here.wait_acquire(wait("popular")).await.map(tonic::Response::into_inner) else {
                    panic!("not even queued")
                };
                let lock_id = loop {
                    match stream.message().await.unwrap().and_then(Event::event).and_then(|event| event.kind) {
                        Some(Kind::Queued(_)) => {}
                        Some(Kind::Acquired(acquired)) => break acquired.lock_id,
                        other => panic!("{other:?} where a grant was expected"),
                    }
                };
                grants.fetch_add(1, Ordering::Relaxed);
                let stub = if turn % ELSEWHERE == 0 { &mut there } else { &mut here };
                assert_eq!(release(stub, "popular", &lock_id).await, Outcome::Released);
                // The stream is left open until it says what became of the lock, as by a client that watches it.
                let told = after_renewals(&mut stream).await;
                assert!(matches!(told, Kind::Released(_) | Kind::Lost(_)), "{told:?}");
            }
        });
    }
    tokio::select! {
        () = sleep_until(end.into()) => {}
        failed = clients.join_next() => panic!("{failed:?}"),
    }
    let grants = grants.load(Ordering::Relaxed);
    println!("{grants} grants in {FOR:?} to {CLIENTS} clients at two brokers, 3 % of whose releases go to the other");
    assert!(grants >= LEAST, "{grants} grants");
}

/// What `docs/growth.md` says of it: two commands an interval, of which the witness may be shared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_behind_a_holder_costs_two_commands_an_interval() {
    const SECONDS: u64 = 4;
    let _quiet = crate::quiet().await;
    let memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let broker = Broker::on_store(&format!("memcached://{}", proxy.address()), &[]).await;
    let mut stub = broker.stub().await;
    let (_, _held) = acquire(&mut stub, once("job")).await;
    let commands = async || {
        let before = proxy.lines_up();
        sleep(Duration::from_secs(SECONDS)).await;
        proxy.lines_up() - before
    };
    let idle = commands().await;
    let mut line = Vec::new();
    for _ in 0..20 {
        line.push(queue(&mut stub, wait("job")).await);
    }
    let waited_for = commands().await;
    println!("commands in {SECONDS} s: {idle} without a line, {waited_for} with one of 20");
    // Three a second are the broker's own, and three renew the lock.
    assert!(idle <= 3 * (SECONDS + 1) + 3, "{idle} commands");
    let looks = (waited_for - idle) / 2;
    assert!((5 * SECONDS..=10 * SECONDS + 2).contains(&looks), "{looks} looks in {SECONDS} s");
}

//! Three brokers are restarted one after the other while clients hold locks and contend for others: no lock is lost,
//! no waiter fails, and at no moment does a lock have two holders.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Broker, History, Hold, Memcached, Proxy, SOON, eventually};
use lockbroker::client::Client;
use tokio::task::JoinHandle;

const BROKERS: usize = 3;
/// Half of them hold a lock each all the time, half contend for a few.
const CLIENTS: usize = 40;
const NAMES: usize = 4;
/// How long a lock that others wait for is held at the longest.
const HOLD: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_lock_and_fails_no_waiter() {
    let memcached = Memcached::start(&[]).await;
    let mut brokers = Vec::new();
    let mut proxies = Vec::new();
    for _ in 0..BROKERS {
        let broker = Broker::on(&memcached).await;
        proxies.push(Proxy::start(broker.address()).await);
        brokers.push(broker);
    }
    let history = Arc::new(History::default());
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<JoinHandle<usize>> = (0..CLIENTS)
        .map(|number| {
            let client = Client::connect(proxies[number % BROKERS].address().to_string()).unwrap();
            let over = Arc::clone(&over);
            match number % 2 {
                0 => tokio::spawn(hold_on(number, client, over)),
                _ => tokio::spawn(contend(number, client, Arc::clone(&history), over)),
            }
        })
        .collect();

    // As a Deployment does it: new connections lead elsewhere, the broker is told to go, and its successor comes.
    for number in 0..BROKERS {
        grants_go_on(&history).await;
        proxies[number].turn_to(brokers[(number + 1) % BROKERS].address());
        let told = Instant::now();
        let status = brokers[number].terminate(SOON).await;
        assert!(status.success(), "broker {number}: {status}");
        println!("broker {number} was drained in {:.0?}", told.elapsed());
        brokers[number].start_again().await;
        proxies[number].turn_to(brokers[number].address());
    }
    grants_go_on(&history).await;

    over.store(true, Ordering::Relaxed);
    let mut grants = 0;
    for client in clients {
        grants += client.await.expect("no client was failed");
    }
    println!("{} locks held throughout, {grants} grants of others", CLIENTS / 2);
    assert_eq!(history.breaches(), [""; 0]);
}

/// Waits until every contended name has been granted some more.
async fn grants_go_on(history: &History) {
    let grants = || (0..NAMES).map(|name| history.holds().iter().filter(|hold| hold.name == contended(name)).count());
    let before: Vec<_> = grants().collect();
    eventually(SOON, "every name is granted again and again", async || {
        grants().zip(&before).all(|(now, before)| now >= before + 20)
    })
    .await;
}

fn contended(name: usize) -> String {
    format!("rolling/{name}")
}

/// Holds a lock of its own from beginning to end.
async fn hold_on(number: usize, client: Client, over: Arc<AtomicBool>) -> usize {
    let lock = client.acquire(&format!("own/{number}")).await.unwrap().guard().expect("a lock that nobody has");
    while !over.load(Ordering::Relaxed) {
        // Between two brokers there is a moment of doubt, and no loss.
        assert!(!lock.expires_in().is_zero(), "client {number} has lost its lock");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    lock.release().await.unwrap();
    0
}

/// Takes and releases locks that others want too; how many it got.
async fn contend(number: usize, client: Client, history: Arc<History>, over: Arc<AtomicBool>) -> usize {
    for turn in 0.. {
        if over.load(Ordering::Relaxed) {
            return turn;
        }
        let name = contended((number + turn) % NAMES);
        let lock = client.wait_acquire(&name).await.unwrap().guard().expect("there is no end to the wait");
        let from = Instant::now();
        let hold = HOLD.mul_f64(rand::random());
        tokio::time::sleep(hold).await;
        // While it moves to another broker its holder must not act on it.
        let until = if lock.remaining().is_zero() { from } else { Instant::now() };
        if until > from {
            history.note(Hold { name, client: number, fencing_token: lock.fencing_token(), from, until });
        }
        lock.release().await.unwrap();
    }
    unreachable!("it ends when it is told to");
}

//! Brokers that know where a leader's followers are tell each other of its changes, and need no poll for it.

use super::*;
use lockbroker::lock::{LockName, WakeHint};
use tokio::net::UdpSocket;

/// Polling alone takes about a second for each change here.
const NO_POLL: Duration = Duration::from_millis(300);
const TRIES: usize = 10;
/// A machine may be busy.
const ENOUGH: usize = 8;

/// Two brokers that wake each other, on one memcached.
async fn brokers_that_wake() -> (Memcached, [Broker; 2]) {
    two_brokers(&["--advertise", "127.0.0.1:0"]).await
}

/// Returns the addresses of brokers at which a lock is observed, by their places.
async fn observed_at(memcached: &Memcached, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    for place in 0..32 {
        let answer = memcached.command(&format!("mg lockbroker:U:{place}:{name} v")).await;
        found.extend(answer.strip_prefix("VA").and_then(|rest| rest.lines().nth(1)).map(str::to_owned));
    }
    found
}

async fn noted(memcached: &Memcached, name: &str, count: usize) -> Vec<String> {
    eventually(SOON, "they are noted", async || observed_at(memcached, name).await.len() == count).await;
    observed_at(memcached, name).await
}

fn told_soon(took: &[Duration]) {
    let soon = took.iter().filter(|took| **took < NO_POLL).count();
    assert!(took.len() == TRIES && soon >= ENOUGH, "{soon} of {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_told_at_another_broker_without_a_poll() {
    let (memcached, [here, there]) = brokers_that_wake().await;
    let (leader, _stream) = acquire(&mut here.stub().await, campaign("leader", "first")).await;
    let mut far = Observer::at(&there, "leader").await;
    far.value(POLLED, "first").await;
    noted(&memcached, "leader", 1).await;
    let mut took = Vec::new();
    for number in 0..TRIES {
        let (value, began) = (number.to_string(), Instant::now());
        assert_eq!(update(&here, "leader", &leader.lock_id, &value).await.unwrap(), Updated::Updated);
        far.value(POLLED, &value).await;
        took.push(began.elapsed());
    }
    told_soon(&took);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_comes_and_one_that_goes_are_told_at_another_broker_without_a_poll() {
    let (memcached, [here, there]) = brokers_that_wake().await;
    let mut far = Observer::at(&there, "leader").await;
    far.state(SOON, State::Free).await;
    noted(&memcached, "leader", 1).await;
    let (mut comes, mut goes) = (Vec::new(), Vec::new());
    for number in 0..TRIES {
        let (value, began) = (number.to_string(), Instant::now());
        let (_, stream) = acquire(&mut here.stub().await, campaign("leader", &value)).await;
        far.value(POLLED, &value).await;
        comes.push(began.elapsed());
        let began = Instant::now();
        drop(stream);
        far.state(POLLED, State::Free).await;
        goes.push(began.elapsed());
    }
    told_soon(&comes);
    told_soon(&goes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_beginning_of_a_linger_is_told_too() {
    let (memcached, [here, there]) = brokers_that_wake().await;
    let mut took = Vec::new();
    for number in 0..TRIES {
        let name = format!("leader {number}");
        let mut far = Observer::at(&there, &name).await;
        let lock = LockSpec { linger: span(SOON), ..valued(&name, "value").unwrap() };
        let request = AcquireRequest { lock: Some(lock), ..AcquireRequest::default() };
        let (_, stream) = acquire(&mut here.stub().await, request).await;
        far.value(POLLED, "value").await;
        let began = Instant::now();
        drop(stream);
        far.state(POLLED, State::Lingering).await;
        took.push(began.elapsed());
    }
    told_soon(&took);
    drop(memcached);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_which_nobody_hears_is_told_by_the_next_poll() {
    let (memcached, [here, there]) = brokers_that_wake().await;
    let (leader, _stream) = acquire(&mut here.stub().await, campaign("leader", "first")).await;
    let mut far = Observer::at(&there, "leader").await;
    far.value(POLLED, "first").await;
    // Each place is another broker's, and that has gone: there is none left for this one.
    let take = async |memcached: &Memcached| {
        for place in 0..16 {
            memcached.command(&format!("ms lockbroker:U:{place}:leader 11 T60\r\n127.0.0.1:9")).await;
        }
    };
    take(&memcached).await;
    for value in ["second", "third"] {
        assert_eq!(update(&here, "leader", &leader.lock_id, value).await.unwrap(), Updated::Updated);
        far.value(POLLED, value).await;
    }
    // It takes none of theirs, and no seventeenth: not for as long as a note lives, in which it asks for a place three times.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(observed_at(&memcached, "leader").await, ["127.0.0.1:9"; 16]);
    assert_eq!(update(&here, "leader", &leader.lock_id, "fourth").await.unwrap(), Updated::Updated);
    far.value(POLLED, "fourth").await;
}

#[tokio::test]
async fn each_broker_is_noted_once_for_a_name_while_somebody_observes_it() {
    let (memcached, [here, there]) = brokers_that_wake().await;
    let observers = [
        Observer::at(&here, "leader").await,
        Observer::at(&there, "leader").await,
        Observer::at(&there, "leader").await,
    ];
    let both = noted(&memcached, "leader", 2).await;
    assert_ne!(both[0], both[1]);
    // For longer than a note lives.
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(observed_at(&memcached, "leader").await, both);
    }
    drop(observers);
    eventually(2 * SOON, "nobody is", async || observed_at(&memcached, "leader").await.is_empty()).await;
    // Without wake addresses there are none.
    let (memcached, [here, _there]) = two_brokers(&[]).await;
    let mut observer = Observer::at(&here, "leader").await;
    observer.state(SOON, State::Free).await;
    // A note goes behind all else, so another look has to be done before its absence says anything.
    let (_, _stream) = acquire(&mut here.stub().await, campaign("leader", "value")).await;
    observer.value(POLLED, "value").await;
    assert!(observed_at(&memcached, "leader").await.is_empty());
}

/// A datagram is a hint, and anybody may send it: what is told is what the store shows, and a look is all that it costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_datagrams_tell_nothing_and_cost_a_bounded_number_of_looks() {
    let memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let store = format!("memcached://{}", proxy.address());
    let broker = Broker::on_store(&store, &["--advertise", "127.0.0.1:0"]).await;
    let mut observer = Observer::at(&broker, "leader").await;
    observer.state(SOON, State::Free).await;
    let noted = noted(&memcached, "leader", 1).await;
    let forger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let hint = |name| [&WakeHint::of(&LockName::new(name).unwrap()).to_bytes()[..], b"\0"].concat();
    let (began, before) = (Instant::now(), proxy.lines_up());
    while began.elapsed() < Duration::from_secs(2) {
        for name in ["leader", "nobody's"] {
            forger.send_to(&hint(name), &noted[0]).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let lines = proxy.lines_up() - before;
    // A look every 20 ms, of three commands and one for the state of the shard; and some of the broker's own.
    assert!(lines < 100 * 5 + 100, "{lines} lines");
    assert!(lines > 20 * 4, "it heeds some: {lines} lines");
    assert!(!observer.was_told(State::Held) && !observer.was_told(State::Unknown), "{:?}", observer.told);
}

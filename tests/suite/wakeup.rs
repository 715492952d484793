//! Brokers on one memcached wake each other: a waiter gets the lock when another broker lets it go, not when it next
//! polls; and whatever becomes of a wake-up costs no more than a poll.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::lock::{LockName, WakeHint};
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, BeginLock, WaitAcquireRequest, WaitSpec, lost};
use tokio::net::UdpSocket;
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);
/// So rarely do waiters poll in most of these tests that a hand-over below it was none of polling's.
const POLLS_EVERY: &[&str] = &["--poll-interval", "5s"];
const BELOW_A_POLL: Duration = Duration::from_secs(3);
/// The least time between two wake-ups that a line heeds.
const WAKE_PAUSE: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_wakes_a_waiter_at_another_broker() {
    for ip in ["127.0.0.1:0", "[::1]:0"] {
        let memcached = Memcached::start(&[]).await;
        let brokers = two_brokers(&memcached.store(), ip, POLLS_EVERY).await;
        let mut sessions = [
            RawSession::open(&mut brokers[0].stub().await, None).await,
            RawSession::open(&mut brokers[1].stub().await, None).await,
        ];
        sessions[0].begin(begin_wait(1, "job"));
        expect(&mut sessions[0], 1, |kind| matches!(kind, Kind::Acquired(_))).await;
        let mut took = Vec::new();
        for round in 1..=150 {
            let [holder, waiter] = &mut sessions;
            waiter.begin(begin_wait(round + 1, "job"));
            expect(waiter, round + 1, |kind| matches!(kind, Kind::Queued(_))).await;
            // In every other round the release crosses with the note of who is to be woken.
            if round % 2 == 0 {
                noted(&memcached, "W:job").await;
            }
            let released = Instant::now();
            holder.end(round);
            expect(waiter, round + 1, |kind| matches!(kind, Kind::Acquired(_))).await;
            took.push(released.elapsed());
            expect(holder, round, |kind| matches!(kind, Kind::Released(_))).await;
            waiter.beat();
            holder.beat();
            sessions.swap(0, 1);
        }
        took.sort();
        let at = |share: usize| took[(took.len() - 1) * share / 100];
        println!("hand-over between brokers by {ip}: p50 {:?}, p99 {:?}, longest {:?}", at(50), at(99), at(100));
        // A note that crosses with one that is taken back costs a poll.
        assert!(at(99) < BELOW_A_POLL, "not by a wake-up: {:?}", at(99));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_repeated_datagrams_cost_a_bounded_number_of_polls() {
    let memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let [here, there] = two_brokers(&format!("memcached://{}", proxy.address()), "127.0.0.1:0", POLLS_EVERY).await;
    let (acquired, _held) = acquire(&mut there.stub().await, once("job")).await;
    let (_, mut waiting) = queue(&mut here.stub().await, wait("job")).await;
    noted(&memcached, "W:job").await;
    let (to, socket) = (woken_at(&here).await, UdpSocket::bind("127.0.0.1:0").await.unwrap());

    // What is no hint, and hints at locks that nobody waits for here.
    let before = (proxy.lines_up(), Instant::now());
    for length in (0..100).chain([1_000, 60_000]) {
        socket.send_to(&vec![0x5a; length], to).await.unwrap();
    }
    for number in 0..2_000_u64 {
        socket.send_to(&number.to_be_bytes(), to).await.unwrap();
    }
    sleep(100 * MS).await;
    let for_nothing = proxy.lines_up() - before.0;
    assert!(for_nothing <= background(before.1), "{for_nothing} commands for datagrams that say nothing");

    // The right one, over and over.
    let hint = WakeHint::of(&LockName::new("job").unwrap()).to_bytes();
    let (before, start, mut sent) = (proxy.lines_up(), Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(1) {
        socket.send_to(&hint, to).await.unwrap();
        sent += 1;
        if sent % 50 == 0 {
            sleep(MS).await;
        }
    }
    sleep(2 * WAKE_PAUSE).await;
    let (commands, most_polls) = (proxy.lines_up() - before, start.elapsed().div_duration_f64(WAKE_PAUSE) as u64 + 1);
    println!("{sent} forged datagrams in a second: {commands} commands, {most_polls} polls allowed");
    // A poll is four commands, and two lines note who waits.
    assert!((6..=most_polls * 6 + background(start)).contains(&commands), "{commands} commands");

    // Still nobody but the holder has the lock, and the next release is told.
    assert_eq!(release(&mut there.stub().await, "job", &acquired.lock_id).await, Outcome::Released);
    let released = Instant::now();
    granted(&mut waiting).await;
    assert!(released.elapsed() < BELOW_A_POLL);
}

#[tokio::test]
async fn a_dead_address_costs_no_more_than_the_poll() {
    let memcached = Memcached::start(&[]).await;
    let [here, there] = two_brokers(&memcached.store(), "127.0.0.1:0", &[]).await;
    for dead in ["127.0.0.1:9", "192.0.2.1:28553", "[2001:db8::1]:28553", "nonsense", ""] {
        let (acquired, _held) = acquire(&mut there.stub().await, once("job")).await;
        memcached.command(&format!("ms lockbroker:W:job {} T60\r\n{dead}", dead.len())).await;
        let (_, mut waiting) = queue(&mut here.stub().await, wait("job")).await;
        let released = Instant::now();
        assert_eq!(release(&mut there.stub().await, "job", &acquired.lock_id).await, Outcome::Released);
        granted(&mut waiting).await;
        assert!(released.elapsed() < Duration::from_secs(1), "{dead}: {:?}", released.elapsed());
        assert_eq!(memcached.command("mg lockbroker:W:job v").await, "EN\r\n", "{dead} is not woken again");
        drop(waiting);
        freed(&mut here.stub().await, "job").await;
    }
}

#[tokio::test]
async fn the_note_of_a_line_that_everybody_has_left_is_taken_back() {
    let memcached = Memcached::start(&[]).await;
    let [here, there] = two_brokers(&memcached.store(), "127.0.0.1:0", &[]).await;
    let (_, _held) = acquire(&mut there.stub().await, once("job")).await;
    // By it the note would stand for an hour.
    let rarely = WaitSpec { poll_interval: span(Duration::from_secs(3_600)), ..Default::default() };
    let request = WaitAcquireRequest { wait: Some(rarely), ..wait("job") };
    let (_, waiting) = queue(&mut here.stub().await, request).await;
    noted(&memcached, "W:job").await;
    drop(waiting);
    eventually(SOON, "the note is gone", async || memcached.command("mg lockbroker:W:job v").await == "EN\r\n").await;
}

#[tokio::test]
async fn a_release_elsewhere_whose_wake_up_is_lost_costs_no_more_than_the_longest_poll() {
    let memcached = Memcached::start(&[]).await;
    let [here, there] = two_brokers(&memcached.store(), "127.0.0.1:0", &[]).await;
    let (acquired, _held) = acquire(&mut here.stub().await, once("job")).await;
    let (_, mut waiting) = queue(&mut here.stub().await, wait("job")).await;
    noted(&memcached, "H:job").await;
    memcached.command("ms lockbroker:H:job 11 T60\r\n127.0.0.1:9").await;
    let released = Instant::now();
    assert_eq!(release(&mut there.stub().await, "job", &acquired.lock_id).await, Outcome::Released);
    granted(&mut waiting).await;
    // 1.2 times a second, where the next renewal would come after 5.
    assert!(released.elapsed() < Duration::from_secs(3), "{:?}", released.elapsed());
}

#[tokio::test]
async fn the_end_of_a_linger_wakes_too() {
    let memcached = Memcached::start(&[]).await;
    let [here, there] = two_brokers(&memcached.store(), "127.0.0.1:0", POLLS_EVERY).await;
    let linger = 300 * MS;
    let request = AcquireRequest { lock: lingering("job", linger), ..once("job") };
    let (acquired, _held) = acquire(&mut there.stub().await, request).await;
    let (_, mut waiting) = queue(&mut here.stub().await, wait("job")).await;
    noted(&memcached, "W:job").await;
    let released = Instant::now();
    assert_eq!(release(&mut there.stub().await, "job", &acquired.lock_id).await, Outcome::Released);
    granted(&mut waiting).await;
    assert!((linger..BELOW_A_POLL).contains(&released.elapsed()), "{:?}", released.elapsed());
}

#[tokio::test]
async fn a_release_through_another_broker_wakes_the_line_behind_the_holder() {
    let memcached = Memcached::start(&[]).await;
    let [here, there] = two_brokers(&memcached.store(), "127.0.0.1:0", POLLS_EVERY).await;
    let (acquired, mut held) = acquire(&mut here.stub().await, once("job")).await;
    let (_, mut waiting) = queue(&mut here.stub().await, wait("job")).await;
    noted(&memcached, "H:job").await;
    let released = Instant::now();
    assert_eq!(release(&mut there.stub().await, "job", &acquired.lock_id).await, Outcome::Released);
    granted(&mut waiting).await;
    // The holder's next renewal, at a third of 15 s, would have shown it too.
    assert!(released.elapsed() < BELOW_A_POLL, "{:?}", released.elapsed());
    assert!(matches!(after_renewals(&mut held).await, Kind::Lost(lost) if lost.reason() == lost::Reason::Gone));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_that_is_woken_polls_less_unless_it_was_told_how_often() {
    let unset = polls_in_four_seconds(&[], None).await;
    let woken = polls_in_four_seconds(&["--advertise", "127.0.0.1:0"], None).await;
    let told = polls_in_four_seconds(&["--advertise", "127.0.0.1:0"], Some(100 * MS)).await;
    println!("commands in 4 s of waiting: {unset} polling, {woken} with a wake-up, {told} told to poll every 100 ms");
    assert!(woken * 2 < unset, "{woken} with a wake-up, {unset} without");
    assert!(told >= unset / 2, "{told} told, {unset} without a wake-up");
}

async fn polls_in_four_seconds(arguments: &[&str], poll_interval: Option<Duration>) -> u64 {
    let memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let broker = Broker::on_store(&format!("memcached://{}", proxy.address()), arguments).await;
    // A lock that no broker keeps.
    memcached.command("ma lockbroker:L:job N60 J1 D0 E12345678901234567890").await;
    let mut session = RawSession::open(&mut broker.stub().await, None).await;
    let wait = Some(WaitSpec { poll_interval: poll_interval.and_then(span), ..Default::default() });
    session.begin(BeginLock { wait, ..begin(1, "job") });
    expect(&mut session, 1, |kind| matches!(kind, Kind::Queued(_))).await;
    let before = proxy.lines_up();
    sleep(Duration::from_secs(4)).await;
    proxy.lines_up() - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hand_over_between_brokers_costs_the_same_with_one_waiter_and_with_a_hundred() {
    let (one, hundred) = (commands_per_hand_over(1).await, commands_per_hand_over(100).await);
    println!("memcached commands per hand-over between brokers: {one} with 1 waiter, {hundred} with 100");
    // The deletion, who is to be woken, the grant, the look for permits, the token; and three looks at the shard's state around them.
    assert!(one <= 8, "{one} with one waiter");
    // These lines are new, and each is noted by one command of two lines, as it is every 5 s.
    assert!(hundred <= one + 2, "{one} with one waiter, {hundred} with a hundred");
}

/// Counts the lines of commands from a release to the grant at another broker: the median of 20, for both brokers look at the
/// shard six times a second meanwhile, and a hand-over takes longer on a busy machine.
async fn commands_per_hand_over(waiters: i64) -> u64 {
    const HAND_OVERS: i64 = 20;
    let memcached = Memcached::start(&[]).await;
    let proxy = Proxy::start(memcached.address()).await;
    let [here, there] = two_brokers(&format!("memcached://{}", proxy.address()), "127.0.0.1:0", POLLS_EVERY).await;
    let mut holder = RawSession::open(&mut there.stub().await, None).await;
    let mut commands = Vec::new();
    for round in 1..=HAND_OVERS {
        holder.begin(begin_wait(round, "popular"));
        expect(&mut holder, round, |kind| matches!(kind, Kind::Acquired(_))).await;
        let mut line = RawSession::open(&mut here.stub().await, None).await;
        for lock_ref in 1..=waiters {
            line.begin(begin_wait(lock_ref, "popular"));
            expect(&mut line, lock_ref, |kind| matches!(kind, Kind::Queued(_))).await;
        }
        noted(&memcached, "W:popular").await;
        // The look that follows the note.
        sleep(5 * MS).await;
        let before = proxy.lines_up();
        holder.end(round);
        expect(&mut line, 1, |kind| matches!(kind, Kind::Acquired(_))).await;
        commands.push(proxy.lines_up() - before);
        expect(&mut holder, round, |kind| matches!(kind, Kind::Released(_))).await;
        holder.beat();
        // From the last to the first, so that nobody is granted it in between.
        (1..=waiters).rev().for_each(|lock_ref| line.end(lock_ref));
        freed(&mut there.stub().await, "popular").await;
    }
    commands.sort_unstable();
    commands[commands.len() / 2]
}

/// The commands of two brokers that nobody asks for: some six a second, and a renewal.
fn background(since: Instant) -> u64 {
    20 + since.elapsed().as_secs() * 8
}

async fn two_brokers(store: &str, advertise: &str, arguments: &[&str]) -> [Broker; 2] {
    let arguments = [&["--advertise", advertise], arguments].concat();
    [Broker::on_store(store, &arguments).await, Broker::on_store(store, &arguments).await]
}

/// Waits until the note stands in memcached.
async fn noted(memcached: &Memcached, key: &str) {
    eventually(SOON, &format!("{key} is noted"), async || {
        memcached.command(&format!("mg lockbroker:{key} v")).await.starts_with("VA")
    })
    .await;
}

async fn woken_at(broker: &Broker) -> SocketAddr {
    let line = broker.logged("to be woken").await;
    line.split('"').find_map(|text| text.parse().ok()).unwrap()
}

async fn expect(session: &mut RawSession, lock_ref: i64, wanted: impl Fn(&Kind) -> bool) {
    let (about, kind) = session.next_event().await;
    assert!(about == lock_ref && wanted(&kind), "{kind:?} for {about}");
}

//! `lockbroker observe --once`: a script asks who leads.

use std::process::{Output, Stdio};

use super::*;

fn once(broker: &Broker, more: &[&str]) -> std::process::Command {
    let mut command = lockbroker(&["observe", "--once", "--server", &broker.url(), "leader"]);
    command.args(more);
    command
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn line(output: &Output) -> &str {
    str::from_utf8(&output.stdout).unwrap()
}

fn said(output: &Output) -> &str {
    str::from_utf8(&output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_says_if_there_is_a_leader_and_the_line_who() {
    for (_memcached, broker) in brokers(&[]).await {
        let nobody = output(&mut once(&broker, &[]));
        assert_eq!((code(&nobody), line(&nobody), said(&nobody)), (Some(1), "free\n", ""));
        let nobody = output(&mut once(&broker, &["--json"]));
        let json: serde_json::Value = serde_json::from_slice(&nobody.stdout).unwrap();
        assert_eq!((code(&nobody), &json["state"], &json["value"]), (Some(1), &"free".into(), &().into()));

        let lock = LockSpec { linger: span(3 * SOON), owner: "me".into(), ..valued("leader", "10.0.0.7:80").unwrap() };
        let request = AcquireRequest { lock: Some(lock), ..AcquireRequest::default() };
        let (leader, stream) = acquire(&mut broker.stub().await, request).await;
        Observer::at(&broker, "leader").await.value(SOON, "10.0.0.7:80").await;
        let held = output(&mut once(&broker, &[]));
        let expected = format!("held {} owner=\"me\" value=\"10.0.0.7:80\"\n", leader.fencing_token);
        assert_eq!((code(&held), line(&held), said(&held)), (Some(0), &*expected, ""));
        let held = output(&mut once(&broker, &["--json"]));
        let json: serde_json::Value = serde_json::from_slice(&held.stdout).unwrap();
        assert_eq!((code(&held), &json["state"], &json["value"]), (Some(0), &"held".into(), &"10.0.0.7:80".into()));

        // Nobody can lead while it lingers, and nobody does.
        drop(stream);
        Observer::at(&broker, "leader").await.state(SOON, State::Lingering).await;
        let over = output(&mut once(&broker, &[]));
        assert!(code(&over) == Some(1) && line(&over).starts_with("lingering"), "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_unknown_at_first_is_waited_for() {
    let mut memcached = Memcached::start(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &Broker::WATCHED).await;
    let (_, _stream) = acquire(&mut broker.stub().await, campaign("leader", "value")).await;
    let mut observer = Observer::at(&broker, "leader").await;
    observer.value(SOON, "value").await;
    memcached.stop().await;
    observer.state(SOON, State::Unknown).await;
    let asks = once(&broker, &[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let observers = async || broker.scrape().await.sum("lockbroker_limit_used", &[("limit", "max_observers")]);
    eventually(SOON, "it observes", async || observers().await == 2.0).await;
    memcached.cont();
    let told = asks.wait_with_output().unwrap();
    assert_eq!((code(&told), said(&told)), (Some(0), ""));
    assert!(line(&told).starts_with("held ") && line(&told).lines().count() == 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_tell_is_a_failure_of_its_own() {
    let mut memcached = Memcached::start(&[]).await;
    let mut broker = Broker::on_store(&memcached.store(), &[]).await;
    let (_, _stream) = acquire(&mut broker.stub().await, campaign("leader", "value")).await;
    memcached.stop().await;
    let began = Instant::now();
    let unknown = output(&mut once(&broker, &[]));
    assert_eq!((code(&unknown), line(&unknown)), (Some(69), "unknown\n"), "{unknown:?}");
    assert!(said(&unknown).contains("lock \"leader\": unavailable: memcached"), "it says why: {unknown:?}");
    assert!(began.elapsed() >= Duration::from_secs(5), "it waits: {:?}", began.elapsed());
    broker.kill();
    let unknown = output(&mut once(&broker, &["--json"]));
    let json: serde_json::Value = serde_json::from_slice(&unknown.stdout).unwrap();
    assert_eq!((code(&unknown), &json["state"]), (Some(69), &"unknown".into()));
    assert!(said(&unknown).contains("no connection to a broker"), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_observes_what_is_no_broker_is_told_so_and_not_kept_waiting() {
    let broker = Broker::memory().await;
    let wrong = broker.url().replace("http://", "https://");
    let ended = output(&mut lockbroker(&["observe", "--server", &wrong, "leader"]));
    assert_eq!(code(&ended), Some(76), "{ended:?}");
    assert!(said(&ended).contains("http://"), "it says what to write: {ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_observes_goes_on_to_the_next_broker_where_one_is_full() {
    let (full, free) = (Broker::start(&["--store", "memory", "--max-observers", "1"]).await, Broker::memory().await);
    let _in_its_place = Observer::at(&full, "other").await;
    let servers = format!("{},{}", full.url(), free.url());
    let mut asks = lockbroker(&["observe", "--server", &servers, "leader"]);
    let mut asks = asks.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 5];
    std::io::Read::read_exact(asks.stdout.as_mut().unwrap(), &mut first).unwrap();
    asks.kill().unwrap();
    let ended = asks.wait_with_output().unwrap();
    assert!(&first == b"free\n" && said(&ended).contains("asking again"), "{ended:?}");
}

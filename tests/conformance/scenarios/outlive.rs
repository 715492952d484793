//! What outlives a stream: leases, locks that are kept, and a `min_hold`.

use std::time::{Duration, Instant};

use lockbroker::proto::acquire_lease_response::Result as Acquiring;
use serde_json::json;
use tokio::time::sleep;
use tonic::Status;

use super::Scenario;
use super::moves::moved;
use crate::scripted::Scripted;
use crate::stage::{AT_ONCE, Client, FREE, Held, Rival, Stage, is_free, is_freed};
use crate::support::*;
use crate::testee::Answer;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new(
        "lease-hold",
        "A lease is held without a stream: others find it held, also when its client is closed.",
        |stage| Box::pin(hold(stage)),
    ),
    Scenario::new("lease-wait", "A lease can be waited for, until a limit.", |stage| Box::pin(waits(stage))),
    Scenario::new(
        "lease-renew",
        "A lease that is renewed, at another broker too, is held for longer than its ttl.",
        |stage| Box::pin(renew(stage)),
    ),
    Scenario::new(
        "lease-lost",
        "The renewal of a lease that somebody has ended says so. One that runs out is lost before others may act.",
        |stage| Box::pin(lost(stage)),
    ),
    Scenario::new("lease-adopt", "Another process goes on with a lease by its id.", |stage| Box::pin(adopt(stage))),
    Scenario::new(
        "lease-repeat",
        "A lease whose answer is lost on its way is asked for again, at the next broker, and is the same lease.",
        |stage| Box::pin(repeat(stage)),
    ),
    Scenario::new(
        "keep-cut",
        "Something between closes its connections: a lock that is to be kept moves, again and again.",
        |stage| Box::pin(keep(stage)),
    ),
    Scenario::new(
        "min-hold-closed",
        "A lock with a least time stays closed for that long after its grant, however soon it is released.",
        |stage| Box::pin(min_hold(stage)),
    ),
];

/// The shortest ttl.
const SHORT: Duration = Duration::from_secs(5);
/// Long enough to be renewed at leisure, and short enough to be outlived.
const MEDIUM: Duration = Duration::from_secs(7);
/// A broker counts so much less than the ttl.
const LESS: Duration = Duration::from_secs(2);

fn millis(span: Duration) -> u64 {
    span.as_millis() as u64
}

/// Takes a lease that must be free.
async fn leased(client: &Client, name: &str, ttl: Duration) -> Held {
    let (lease, call) = client.asking("lease", name, json!({"ttl_ms": millis(ttl)}));
    lease.granted(&call.answer().await)
}

/// Returns for how long a holder says that it may act, as `field` of an answer has it.
fn remaining(answer: &Answer, field: &str) -> Duration {
    let remaining = &answer.get(field)["remaining_ms"];
    Duration::from_millis(remaining.as_u64().unwrap_or_else(|| panic!("no remaining_ms in {answer:?}")))
}

/// Renews a lease, which must be good and must then be good for nearly all of its ttl.
async fn renewed(lease: &Held, ttl: Duration) {
    let left = remaining(&lease.ask("renew").await, "renewed");
    assert!(left <= ttl - LESS && left > (ttl - LESS) / 2, "it may act for {left:?}");
}

async fn hold(stage: Stage) {
    let (client, other, name) = (stage.client().await, stage.client().await, stage.name());
    let broker = &stage.brokers().await.second;
    let ttl = Duration::from_secs(15);
    let fields = json!({"ttl_ms": millis(ttl), "owner": "host 8", "linger_ms": 60_000});
    let (lease, call) = client.asking("lease", &name, fields);
    let lease = lease.granted(&call.answer().await);
    let left = remaining(&lease.ask("check").await, "held");
    assert!(left <= ttl - LESS && left > (ttl - LESS) / 2, "it may act for {left:?}");
    let answer = other.tries(&name).await;
    assert_eq!(answer.not_acquired(), "HELD");
    assert_eq!(answer.get("not_acquired")["owner"], "host 8");
    lease.release().await;
    assert_eq!(lease.ask("release").await.get("released"), false);
    assert_eq!(other.tries(&name).await.not_acquired(), "LINGERING");

    let name = format!("{name}/closed");
    let first = leased(&client, &name, ttl).await;
    first.release().await;
    assert!(is_free(broker, &name).await);
    let second = leased(&client, &name, ttl).await;
    assert!(first.token < second.token);
    client.close().await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(other.asking("lease", &name, json!({})).1.answer().await.not_acquired(), "HELD");
    assert_eq!(release(&mut broker.stub().await, &name, &second.lock_id).await, Outcome::Released);
}

async fn waits(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let held = client.takes(&name).await;
    let start = Instant::now();
    let (_, call) = client.asking("lease", &name, json!({"ttl_ms": millis(SHORT), "wait_ms": 1_500}));
    assert_eq!(call.answer().await.not_acquired(), "MAX_WAIT");
    assert!(start.elapsed() > Duration::from_millis(1_400), "{:?}", start.elapsed());
    let (lease, mut call) = client.asking("lease", &name, json!({"ttl_ms": millis(SHORT), "wait_ms": 30_000}));
    // Longer than an answer may take where nothing is waited for, and longer than the ttl.
    sleep(Duration::from_secs(7)).await;
    assert!(!call.is_answered());
    held.release().await;
    let lease = lease.granted(&call.answer_within(AT_ONCE).await);
    assert!(held.token < lease.token);
    let left = remaining(&lease.ask("check").await, "held");
    assert!(left <= SHORT - LESS, "it may act for {left:?}, though it is granted for {SHORT:?}");
    lease.release().await;
}

async fn renew(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let proxy = Proxy::start(brokers.first.address()).await;
    let client = stage.client_of(&[format!("http://{}", proxy.address()), brokers.second.url()]).await;
    let lease = leased(&client, &name, MEDIUM).await;
    let rival = Rival::queue(&brokers.second, &name).await;
    let beyond_ttl = async || {
        for _ in 0..5 {
            sleep(Duration::from_secs(2)).await;
            renewed(&lease, MEDIUM).await;
            assert!(lease.is_held().await && !rival.has_it());
        }
    };
    beyond_ttl().await;
    // Nobody listens there any more.
    drop(proxy);
    beyond_ttl().await;
    lease.release().await;
    rival.granted(AT_ONCE).await;
}

async fn lost(stage: Stage) {
    let (client, brokers, name) = (stage.client().await, stage.brokers().await, stage.name());
    let ended = leased(&client, &name, Duration::from_secs(15)).await;
    assert_eq!(release(&mut brokers.second.stub().await, &name, &ended.lock_id).await, Outcome::Released);
    let next = client.takes(&name).await;
    for verb in ["renew", "check", "renew"] {
        ended.ask(verb).await.get("lost");
    }
    let answer = ended.ask("release").await;
    assert!(answer.has("lost") || answer.get("released") == false, "{answer:?}");
    assert!(next.is_held().await && !is_free(&brokers.first, &name).await);
    next.release().await;

    // Its holder stops by its own clock, for nobody tells it.
    let lease = leased(&client, &name, SHORT).await;
    let rival = Rival::queue(&brokers.second, &name).await;
    eventually(FREE, "the lease is over", async || {
        let others_act = rival.has_it();
        let answer = lease.ask("check").await;
        assert!(!others_act || answer.has("lost"), "two holders: {answer:?}");
        answer.has("lost")
    })
    .await;
    assert_eq!(lease.ask("check").await.get("lost")["reason"], "EXPIRED");
    lease.ask("renew").await.get("lost");
    rival.granted(FREE).await;
    // Whatever it answers, it takes nothing from anybody.
    let answer = lease.ask("release").await;
    assert!(answer.has("lost") || answer.get("released") == false, "{answer:?}");
    assert!(!is_free(&brokers.first, &name).await);
}

async fn adopt(stage: Stage) {
    let (giver, brokers, name) = (stage.client().await, stage.brokers().await, stage.name());
    let given = leased(&giver, &name, MEDIUM).await;
    let rival = Rival::queue(&brokers.second, &name).await;
    sleep(Duration::from_secs(2)).await;
    let taker = Client::connect(stage.own_testee(&[]).await, &[brokers.second.url()]).await;
    let (adopted, call) = taker.asking("adopt_lease", &name, json!({"lock_id": given.lock_id}));
    let left = remaining(&call.answer().await, "renewed");
    assert!(left <= MEDIUM - LESS && left > (MEDIUM - LESS) / 2, "it may act for {left:?}");
    giver.close().await;
    for _ in 0..5 {
        sleep(Duration::from_secs(2)).await;
        renewed(&adopted, MEDIUM).await;
        assert!(adopted.is_held().await && !rival.has_it());
    }
    adopted.release().await;
    rival.granted(AT_ONCE).await;
    // One that is over, and what is none.
    let (_, call) = taker.asking("adopt_lease", &name, json!({"lock_id": given.lock_id}));
    call.answer().await.get("lost");
    let (_, call) = taker.asking("adopt_lease", &name, json!({"lock_id": "none"}));
    assert_eq!(call.answer().await.error(), "INVALID");
}

/// The ways in which an answer does not come.
#[derive(Clone, Copy, Debug)]
enum Missing {
    Closed,
    Reset,
    Silent,
    Unavailable,
}

/// A broker grants the lease, and the client is not told. The next broker knows of the call by its request id alone.
async fn repeat(stage: Stage) {
    for missing in [Missing::Closed, Missing::Reset, Missing::Silent, Missing::Unavailable] {
        let (brokers, name) = (stage.brokers().await, format!("{}/{missing:?}", stage.name()));
        let mut relay = Scripted::start().await;
        let proxy = Proxy::start(relay.address()).await;
        let client = stage.client_of(&[format!("http://{}", proxy.address()), brokers.second.url()]).await;
        let (lease, call) = client.asking("lease", &name, json!({"ttl_ms": 15_000}));
        let asked = relay.lease().await;
        let answer = brokers.first.stub().await.acquire_lease(asked.request.clone()).await.unwrap().into_inner();
        let Some(Acquiring::Acquired(acquired)) = answer.result else { panic!("{answer:?}") };
        let mut unanswered = None;
        match missing {
            Missing::Closed => proxy.cut(),
            Missing::Reset => proxy.reset(),
            Missing::Silent => unanswered = Some(asked),
            Missing::Unavailable => asked.fail(Status::unavailable("the answer is lost")),
        }
        let lease = lease.granted(&call.answer_within(SOON).await);
        drop(unanswered);
        let (token, lock_id) = (acquired.fencing_token, acquired.lock_id);
        assert_eq!((lease.token, &lease.lock_id), (token, &lock_id), "{missing:?}: it is another lease");
        assert!(lease.is_held().await);
        // There is no other one, which others would have to wait for.
        lease.release().await;
        is_freed(&brokers.first, &name, AT_ONCE).await;
    }
}

async fn keep(stage: Stage) {
    let (brokers, name) = (stage.brokers().await, stage.name());
    let (one, other) = (Proxy::start(brokers.first.address()).await, Proxy::start(brokers.second.address()).await);
    let client = stage.client_of(&[&one, &other].map(|proxy| format!("http://{}", proxy.address()))).await;
    let kept = client.takes_with(&name, json!({"keep": true})).await;
    let plain = client.takes(&format!("{name}/plain")).await;
    kept.work().await;
    let rival = Rival::queue(&brokers.second, &name).await;
    let plain_rival = Rival::queue(&brokers.second, &format!("{name}/plain")).await;
    // What is not kept is released, and granted to a rival, long before a reattach can come.
    [&one, &other].iter().for_each(|proxy| proxy.delay(Duration::from_millis(300)));
    one.cut();
    plain_rival.granted(AT_ONCE).await;
    plain.is_told_lost(AT_ONCE).await;
    eventually(AT_ONCE, "the lock is held again", async || kept.is_held().await).await;
    // Each reattach asks for it anew.
    other.cut();
    moved(&kept, &rival).await;
}

async fn min_hold(stage: Stage) {
    const MIN_HOLD: Duration = Duration::from_secs(12);
    let (client, broker) = (stage.client().await, &stage.brokers().await.first);
    let mut closed = Vec::new();
    for verb in ["try", "wait", "lease"] {
        let name = format!("{}/{verb}", stage.name());
        let asked = Instant::now();
        let (held, call) = client.asking(verb, &name, json!({"min_hold_ms": millis(MIN_HOLD)}));
        let held = held.granted(&call.answer().await);
        held.release().await;
        assert_eq!(client.tries(&name).await.not_acquired(), "LINGERING", "after {verb}");
        closed.push((asked, Rival::queue(broker, &name).await, verb));
    }
    for (asked, rival, verb) in closed {
        rival.granted(MIN_HOLD + FREE).await;
        let after = rival.granted_after(asked);
        assert!(after >= MIN_HOLD, "others got it {after:?} after {verb} had asked for it");
    }
}

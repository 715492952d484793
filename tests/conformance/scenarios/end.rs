//! The end of a lock, of a client and of a process.

use serde_json::json;

use super::Scenario;
use crate::stage::{AT_ONCE, Client, FREE, Rival, Stage, contended, is_free, is_freed, now};
use crate::support::*;

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("end-release", "A release lets the next in line have the lock at once.", |stage| {
        Box::pin(a_release(stage))
    })
    .teeth(&["release"]),
    Scenario::new("end-release-twice", "A second release does nothing, not even to the next holder.", |stage| {
        Box::pin(release_twice(stage))
    }),
    Scenario::new("end-stale", "A lock that was lost is not released: the next holder keeps its own.", |stage| {
        Box::pin(stale(stage))
    }),
    Scenario::new("end-scope", "The end of the language's scope releases.", |stage| Box::pin(scope(stage)))
        .teeth(&["release"]),
    Scenario::new("end-exception", "An exception releases on its way out of the scope, and goes on.", |stage| {
        Box::pin(exception(stage))
    })
    .teeth(&["release"]),
    Scenario::new(
        "end-forgotten",
        "A guard that nobody keeps is released when its client is closed, if not before.",
        |stage| Box::pin(forgotten(stage)),
    )
    .needs("collect"),
    Scenario::new("end-close", "A client that is closed releases all its locks at once.", |stage| {
        Box::pin(close(stage))
    }),
    Scenario::new(
        "end-exit",
        "A program that ends, and closes its clients then, releases its locks at once.",
        |stage| Box::pin(exit(stage)),
    ),
    Scenario::new("end-killed", "A program that is killed frees its locks: at once on a Unix socket.", |stage| {
        Box::pin(killed(stage))
    }),
];

async fn a_release(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let (lock, rival) = contended(&client, &name, &stage.brokers().await.first).await;
    let since = now();
    lock.release().await;
    rival.granted(AT_ONCE).await;
    rival.judge(&lock, since).await;
}

async fn release_twice(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let first = client.takes(&name).await;
    first.release().await;
    let second = client.takes(&name).await;
    assert_eq!(first.ask("release").await.get("released"), false);
    assert!(second.is_held().await);
    assert!(!is_free(&stage.brokers().await.second, &name).await);
    second.release().await;
}

async fn stale(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let brokers = stage.brokers().await;
    let lock = client.takes(&name).await;
    let rival = Rival::queue(&brokers.second, &name).await;
    let outcome = release(&mut brokers.first.stub().await, &name, &lock.lock_id).await;
    assert_eq!(outcome, Outcome::Released);
    rival.granted(AT_ONCE).await;
    lock.is_lost("RELEASED", AT_ONCE).await;
    // Whatever it answers, it takes nothing from anybody.
    let answer = lock.ask("release").await;
    assert!(answer.has("lost") || answer.get("released") == false, "{answer:?}");
    assert!(!is_free(&brokers.first, &name).await);
}

async fn scope(stage: Stage) {
    left(stage, false).await;
}

async fn exception(stage: Stage) {
    left(stage, true).await;
}

async fn left(stage: Stage, fail: bool) {
    let (client, name) = (stage.client().await, stage.name());
    let (lock, call) = client.asking("enter", &name, json!({}));
    let lock = lock.granted(&call.answer().await);
    let rival = Rival::queue(&stage.brokers().await.first, &name).await;
    let answer = client.testee.ask(json!({"do": "leave", "lock": lock.lock, "fail": fail})).await;
    assert_eq!(answer.get("left"), true);
    rival.granted(AT_ONCE).await;
}

async fn forgotten(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    client.takes(&name).await.ask("forget").await.get("ok");
    client.close().await;
    is_freed(&stage.brokers().await.first, &name, AT_ONCE).await;
}

async fn close(stage: Stage) {
    let (client, name) = (stage.client().await, stage.name());
    let locks = [client.takes(&name).await, client.takes(&format!("{name}/other")).await];
    client.close().await;
    let broker = &stage.brokers().await.first;
    is_freed(broker, &name, AT_ONCE).await;
    is_freed(broker, &format!("{name}/other"), AT_ONCE).await;
    for lock in locks {
        assert!(!lock.is_held().await);
    }
    let refused = client.tries(&name).await;
    assert_eq!(refused.error(), "CLOSED");
}

async fn exit(stage: Stage) {
    let (testee, name) = (stage.own_testee(&[]).await, stage.name());
    let brokers = stage.brokers().await;
    let client = Client::connect(testee, &[brokers.first.url()]).await;
    client.takes(&name).await;
    let rival = Rival::queue(&brokers.first, &name).await;
    let status = client.testee.end().await;
    assert!(status.success(), "{status}");
    rival.granted(AT_ONCE).await;
}

async fn killed(stage: Stage) {
    let (testee, name) = (stage.own_testee(&[]).await, stage.name());
    let brokers = stage.brokers().await;
    let over_socket = Client::connect(testee.clone(), &[brokers.socket()]).await;
    let over_tcp = Client::connect(testee, &[brokers.first.url()]).await;
    let locks = [over_socket.takes(&name).await, over_tcp.takes(&format!("{name}/tcp")).await];
    for lock in &locks {
        lock.work().await;
    }
    let socket_rival = Rival::queue(&brokers.second, &name).await;
    let tcp_rival = Rival::queue(&brokers.second, &format!("{name}/tcp")).await;
    let since = now();
    over_tcp.testee.kill();
    socket_rival.granted(AT_ONCE).await;
    // Killed with bytes unread, its kernel resets a TCP connection, which is no word of its own: then by its validity.
    tcp_rival.granted(FREE).await;
    socket_rival.judge(&locks[0], since).await;
    tcp_rival.judge(&locks[1], since).await;
}

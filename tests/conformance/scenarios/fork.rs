//! Processes that fork.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Scenario;
use crate::stage::{AT_ONCE, Client, FREE, Held, Rival, Stage, now};

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("fork-idle", "A child that does nothing costs its parent no lock.", |stage| Box::pin(idle(stage)))
        .needs("fork"),
    Scenario::new("fork-uses", "A child's copies of guards do nothing, and say so.", |stage| Box::pin(uses(stage)))
        .needs("fork"),
    Scenario::new("fork-outlives", "A child that outlives its killed parent does not keep the lock.", |stage| {
        Box::pin(outlives(stage))
    })
    .needs("fork"),
];

/// A process that ends with the scenario, if it has not ended by itself.
struct Child(Option<Pid>);

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended since.
        let _ = self.0.map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// A holder with a child that does so, and a rival.
async fn parent(stage: &Stage, child: &str) -> (Client, Held, Rival, Child, Vec<Value>) {
    let (testee, brokers, name) = (stage.own_testee(&[]).await, stage.brokers().await, stage.name());
    let client = Client::connect(testee, &[brokers.first.url()]).await;
    let lock = client.takes(&name).await;
    let rival = Rival::queue(&brokers.second, &name).await;
    let answer = client.testee.ask(json!({"do": "fork", "lock": lock.lock, "child": child})).await;
    let pid = i32::try_from(answer.get("child").as_i64().unwrap()).ok().and_then(Pid::from_raw);
    assert!(pid.is_some(), "{answer:?}");
    // Its parent has waited for one that uses its guards: its number may be another's by now.
    let child = Child(pid.filter(|_| child != "uses"));
    let said = answer.has("said").then(|| answer.get("said").as_array().unwrap().clone());
    (client, lock, rival, child, said.unwrap_or_default())
}

async fn idle(stage: Stage) {
    let (client, lock, rival, _child, _) = parent(&stage, "idle").await;
    sleep(FREE).await;
    assert!(lock.is_held().await && !rival.has_it());
    let other = format!("{}/other", stage.name());
    client.takes(&other).await.release().await;
    lock.release().await;
    rival.granted(AT_ONCE).await;
}

async fn uses(stage: Stage) {
    let (_client, lock, rival, _child, said) = parent(&stage, "uses").await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|answer| answer["held"].is_null() && answer["released"] != true), "{said:?}");
    sleep(Duration::from_secs(2)).await;
    assert!(lock.is_held().await && !rival.has_it());
    lock.release().await;
    rival.granted(AT_ONCE).await;
}

/// The child has the parent's socket, so that the broker learns of the parent's end by its silence alone.
async fn outlives(stage: Stage) {
    let (client, lock, rival, _child, _) = parent(&stage, "outlives").await;
    lock.work().await;
    let since = now();
    client.testee.kill();
    rival.granted(FREE).await;
    rival.judge(&lock, since).await;
}

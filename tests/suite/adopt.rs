//! A planned change of the servers: `lockbroker shard adopt`, and what brokers of the old topology do.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::{Broker, Memcached, SOON, acquire, eventually, once, run, try_acquire};

/// Between two runs of a command for whose answer a test waits.
const PAUSE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn shards_move_to_another_topology_and_tokens_go_on_rising() {
    let (first, mut second) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let before = Broker::on(&first).await;
    let (held, _stream) = acquire(&mut before.stub().await, once("job")).await;

    let store = format!("{},{}=2", first.store(), second.address());
    let state = first.state().await;
    eventually(SOON, "the broker is seen", async || {
        let refused = run(&["shard", "adopt", "--stopped", "--store", &store]);
        // Until it has noted itself it would be adopted.
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        refused.status.code() == Some(1) && said.contains(&before.address().to_string()) && said.contains("--force")
    })
    .await;
    assert_eq!(first.state().await, state, "it was touched all the same");
    let adopted = run(&["shard", "adopt", "--stopped", "--force", "--store", &store]);
    assert!(adopted.status.success(), "{adopted:?}");
    // The next generation, on the shard that had one and on the one that had none.
    for memcached in [&first, &second] {
        let (cas, value) = memcached.state().await;
        assert_eq!((cas % 100_000, &value[..8]), (2, "10300002"), "{cas} {value}");
    }

    let after = Broker::start(&["--store", &store]).await;
    // Wherever the name lives now, and whatever it was granted as before.
    let mut stub = after.stub().await;
    for name in (0..20).map(|number| format!("name {number}")) {
        let (granted, _) = acquire(&mut stub, once(&name)).await;
        assert!(granted.fencing_token > held.fencing_token, "{name}: {granted:?}");
    }

    // It is told whose the shard is, with the flags that it would take.
    before.logged(&format!("Theirs is `--store {store} --max-ttl 15s`")).await;
    eventually(SOON, "the old broker refuses", async || {
        let refused = try_acquire(&mut before.stub().await, once("other")).await;
        refused.is_err_and(|status| status.message().contains("lockbroker shard adopt"))
    })
    .await;

    // A memory that is lost is set up in the generation of the others.
    second.restart().await;
    eventually(SOON, "the shard has a state", async || second.command("mg lockbroker:S").await != "EN\r\n").await;
    assert_eq!(second.state().await.0 % 100_000, 2);
}

#[tokio::test]
async fn a_broker_is_seen_on_each_shard_for_as_long_as_it_runs() {
    let (first, second) = (Memcached::start(&["-X", "-o", "no_lru_crawler"]).await, Memcached::start(&[]).await);
    let store = format!("{},{}", first.store(), second.address());
    let mut broker = Broker::on_store(&store, &[]).await;
    let place = broker.address().to_string();
    let adopt = |store: &str| run(&["shard", "adopt", "--stopped", "--store", store, "--max-ttl", "1h"]);
    // By either shard alone, memcached listing its keys or not, whatever the brokers' topology.
    for memcached in [&first, &second] {
        let refused = adopt(&memcached.store());
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stdout).into_owned();
        assert!(said.contains("brokers were seen here") && said.contains(&place) && said.contains(" s ago"), "{said}");
    }
    // A note is renewed every 5 s: without that it would be older by now.
    sleep(Duration::from_secs(7)).await;
    eventually(2 * SOON, "it is renewed", async || {
        sleep(PAUSE).await;
        let said = String::from_utf8_lossy(&adopt(&second.store()).stdout).into_owned();
        [", 0 s ago", ", 1 s ago"].iter().any(|age| said.contains(age))
    })
    .await;
    broker.kill();
    eventually(2 * SOON, "its notes have run out", async || {
        sleep(PAUSE).await;
        adopt(&store).status.success()
    })
    .await;
}

#[tokio::test]
async fn nothing_is_adopted_unless_every_shard_is_there() {
    let (first, mut second) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let broker = Broker::on(&first).await;
    second.kill();
    let store = format!("{},{}", first.store(), second.address());
    let adopted = run(&["shard", "adopt", "--stopped", "--store", &store]);
    assert_eq!(adopted.status.code(), Some(1), "{adopted:?}");
    assert!(String::from_utf8_lossy(&adopted.stdout).contains("not touched"), "{adopted:?}");
    acquire(&mut broker.stub().await, once("job")).await;
}

#[tokio::test]
async fn a_server_that_is_dropped_from_the_list_grants_nothing_to_brokers_that_still_have_it() {
    let (stays, mut goes) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let before = format!("{},{}", stays.store(), goes.address());
    let mut broker = Broker::on_store(&before, &[]).await;
    // Granted at both: so both are open, and have the list in words.
    let names: Vec<_> = (0..20).map(|number| format!("name {number}")).collect();
    let stub = broker.stub().await;
    for name in &names {
        let ask = async || try_acquire(&mut stub.clone(), once(name)).await.is_ok();
        eventually(SOON, "both servers grant", ask).await;
    }
    for server in [&stays, &goes] {
        let fingerprint: u64 = server.state().await.1[8..17].parse().unwrap();
        let look = format!("mg lockbroker:T:{fingerprint}");
        eventually(SOON, "the list is there", async || server.command(&look).await != "EN\r\n").await;
    }
    broker.kill();

    let adopt = |flags: &[&str]| run(&[&["shard", "adopt", "--stopped", "--store", &stays.store()], flags].concat());
    goes.stop().await;
    let refused = adopt(&[]);
    let said = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(said.contains("it is in the list before alone, and cannot be closed"), "{said}");
    assert_eq!(refused.status.code(), Some(1), "{said}");
    goes.cont();
    let adopted = adopt(&["--force"]);
    let said = String::from_utf8_lossy(&adopted.stdout).into_owned();
    assert!(said.contains(&format!("{}: closed for good", goes.address())), "{said}");
    assert!(adopted.status.success(), "{said}");

    let late = Broker::start_unready(&["--store", &before]).await;
    late.logged(&format!("Theirs is `--store {} --max-ttl 15s`", stays.store())).await;
    for name in &names {
        let refused = try_acquire(&mut late.stub().await, once(name)).await;
        assert!(refused.is_err(), "{name} was granted by the list before");
    }
    let after = Broker::on(&stays).await;
    for name in &names {
        acquire(&mut after.stub().await, once(name)).await;
    }
}

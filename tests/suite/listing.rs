//! Operators see what is held and who waits: all of it, or an error that says why not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crate::support::*;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_admin_client::LockAdminClient;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{
    AcquireRequest, BeginLock, ListLocksRequest, ListLocksResponse, ListWaitersRequest, LockInfo, LockSpec,
    WaitAcquireRequest, WaiterInfo,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

/// More than fit into a few chunks.
const MANY: usize = 3_500;

async fn admin(broker: &Broker) -> LockAdminClient<Channel> {
    // Little is on the way to those who do not read.
    let endpoint = Endpoint::from_shared(broker.url()).unwrap().initial_stream_window_size(65_535);
    LockAdminClient::new(endpoint.connect().await.unwrap())
}

fn beginning(prefix: &str) -> ListLocksRequest {
    ListLocksRequest { prefix: prefix.to_owned(), limit: 0 }
}

async fn open_list(broker: &Broker, request: ListLocksRequest) -> Result<Streaming<ListLocksResponse>, Status> {
    Ok(admin(broker).await.list_locks(request).await?.into_inner())
}

/// A whole list: the locks, how many came in each chunk, and how many there are.
async fn list(broker: &Broker, request: ListLocksRequest) -> Result<(Vec<LockInfo>, Vec<usize>, usize), Status> {
    let mut stream = open_list(broker, request).await?;
    let (mut locks, mut chunks, mut total) = (Vec::new(), Vec::new(), 0);
    while let Some(chunk) = stream.message().await? {
        assert_eq!(total, 0, "the last chunk alone says how many there are");
        chunks.push(chunk.locks.len());
        locks.extend(chunk.locks);
        total = usize::try_from(chunk.total).unwrap();
    }
    assert!(locks.is_sorted_by_key(|lock: &LockInfo| lock.name.clone()));
    Ok((locks, chunks, total))
}

/// The locks whose names begin so, by name. No name comes twice.
async fn locks(broker: &Broker, prefix: &str) -> BTreeMap<String, LockInfo> {
    let (listed, _, total) = list(broker, beginning(prefix)).await.unwrap();
    let count = listed.len();
    let locks: BTreeMap<_, _> = listed.into_iter().map(|lock| (lock.name.clone(), lock)).collect();
    assert_eq!((locks.len(), total), (count, count));
    locks
}

fn names(locks: &BTreeMap<String, LockInfo>) -> Vec<&str> {
    locks.keys().map(String::as_str).collect()
}

async fn waiters(broker: &Broker, name: &str, prefix: &str) -> Vec<WaiterInfo> {
    let request = ListWaitersRequest { name: name.to_owned(), prefix: prefix.to_owned(), limit: 0 };
    let mut stream = admin(broker).await.list_waiters(request).await.unwrap().into_inner();
    let (mut waiters, mut total) = (Vec::new(), 0);
    while let Some(chunk) = stream.message().await.unwrap() {
        waiters.extend(chunk.waiters);
        total = chunk.total;
    }
    assert_eq!(total, waiters.len() as i32);
    waiters
}

fn owned(name: &str, owner: &str) -> AcquireRequest {
    let lock = LockSpec { name: name.to_owned(), owner: owner.to_owned(), ..LockSpec::default() };
    AcquireRequest { lock: Some(lock), ..AcquireRequest::default() }
}

/// Acquires locks on a Session, which is returned with them.
async fn hold(broker: &Broker, names: impl Iterator<Item = String>) -> RawSession {
    let mut session = RawSession::open(&mut broker.stub().await, Some(Duration::from_secs(15))).await;
    let mut asked: BTreeMap<i64, String> = (1..).zip(names).collect();
    asked.iter().for_each(|(lock_ref, name)| session.begin(begin(*lock_ref, name)));
    let mut last = asked.keys().last().copied().unwrap_or_default();
    while !asked.is_empty() {
        let (lock_ref, event) = session.next_event().await;
        let name = asked.remove(&lock_ref).unwrap();
        match event {
            Kind::Acquired(_) => {}
            // One shard is ready before the other.
            Kind::Failed(failed) if failed.reason == "STORE_UNAVAILABLE" => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                last += 1;
                session.begin(begin(last, &name));
                asked.insert(last, name);
            }
            other => panic!("{other:?} where {name:?} was to be acquired"),
        }
    }
    session
}

#[tokio::test]
async fn the_locks_of_all_brokers_are_listed_also_of_one_that_has_died() {
    let Brokers { memcached, first, second, .. } = &Brokers::start().await;
    let mut dead = Broker::on(memcached).await;
    let (acquired, held) = acquire(&mut first.stub().await, owned("a/1", "worker 1")).await;
    let (_, _second) = acquire(&mut second.stub().await, owned("a/2", "worker 2")).await;
    let (_, _lost) = acquire(&mut dead.stub().await, owned("b/1", "worker 3")).await;
    let linger = AcquireRequest { lock: lingering("a/l", Duration::from_secs(60)), ..AcquireRequest::default() };
    let (lingers, _lingers) = acquire(&mut second.stub().await, linger).await;
    release(&mut first.stub().await, "a/l", &lingers.lock_id).await;
    dead.kill();

    // A label is written a moment after the grant.
    eventually(SOON, "all have their labels", async || {
        locks(first, "").await.values().filter(|lock| !lock.owner.is_empty()).count() == 3
    })
    .await;
    for broker in [first, second] {
        let all = locks(broker, "").await;
        assert_eq!(names(&all), ["a/1", "a/2", "a/l", "b/1"]);
        assert_eq!(names(&locks(broker, "a/").await), ["a/1", "a/2", "a/l"]);
        assert_eq!(names(&locks(broker, "b/1").await), ["b/1"]);
        assert!(locks(broker, "b/1/").await.is_empty());
        let owners: Vec<&str> = all.values().map(|lock| lock.owner.as_str()).collect();
        assert_eq!(owners, ["worker 1", "worker 2", "", "worker 3"]);
        for lock in all.values() {
            let lingers = lock.name == "a/l";
            assert_eq!(lock.state(), if lingers { State::Lingering } else { State::Held });
            let (within, most) = (duration(lock.free_within), Duration::from_secs(if lingers { 76 } else { 16 }));
            assert!(within > Duration::ZERO && within <= most, "{lock:?}");
            assert!(lock.etag.len() == 16 && !acquired.lock_id.contains(&lock.etag), "{lock:?}");
            let seen = look(&mut broker.stub().await, &lock.name).await;
            assert!(duration(seen.free_within).abs_diff(within) <= Duration::from_secs(2), "{lock:?}: {seen:?}");
        }
        let etags: BTreeSet<&str> = all.values().map(|lock| lock.etag.as_str()).collect();
        assert_eq!(etags.len(), 4);
    }
    let before = locks(first, "a/1").await["a/1"].etag.clone();
    assert_eq!(before, locks(second, "a/1").await["a/1"].etag);
    drop(held);
    freed(&mut first.stub().await, "a/1").await;
    assert_eq!(names(&locks(first, "").await), ["a/2", "a/l", "b/1"]);
    let (_, _again) = acquire(&mut first.stub().await, once("a/1")).await;
    assert_ne!(before, locks(first, "a/1").await["a/1"].etag, "another grant has another name");
}

#[tokio::test]
async fn thousands_of_locks_come_in_chunks_each_once() {
    for (_memcached, broker) in brokers(&Broker::WATCHED).await {
        let wanted: BTreeSet<String> = (0..MANY).map(|n| format!("many/{n}")).collect();
        let _held = hold(&broker, wanted.iter().cloned()).await;
        let (_, _other) = acquire(&mut broker.stub().await, once("other")).await;

        let (found, chunks, total) = list(&broker, beginning("many/")).await.unwrap();
        assert!(chunks.len() > 3 && chunks.iter().all(|count| (1..=1_000).contains(count)), "{chunks:?}");
        assert_eq!(total, MANY);
        assert_eq!(found.into_iter().map(|lock| lock.name).collect::<BTreeSet<_>>(), wanted);
        for (limit, expected) in [(1, 1), (1_000, 1_000), (1_001, 1_001), (MANY, MANY), (MANY + 1, MANY)] {
            let request = ListLocksRequest { limit: limit.try_into().unwrap(), ..beginning("many/") };
            let (found, chunks, total) = list(&broker, request).await.unwrap();
            let found: Vec<_> = found.into_iter().map(|lock| lock.name).collect();
            assert!(found.iter().eq(wanted.iter().take(expected)), "the first {limit}: {found:?}");
            assert!(chunks.iter().all(|&count| count <= 1_000), "{chunks:?}");
            assert_eq!(total, MANY, "limit {limit}");
        }

        // Those who do not read their lists keep no more than so many.
        let used = |scrape: &Scrape| scrape.sum("lockbroker_limit_used", &[("limit", "max_lists")]);
        let mut unread = Vec::new();
        for _ in 0..9 {
            unread.push(open_list(&broker, beginning("many/")).await.unwrap());
        }
        let status = open_list(&broker, beginning("many/")).await.unwrap_err();
        assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "MAX_CONCURRENT_RPCS"));
        drop(unread);
        broker.scraped("all room is given back", |scrape| used(scrape) == 0.0).await;
        assert_eq!(list(&broker, beginning("many/")).await.unwrap().0.len(), MANY);
    }
}

#[tokio::test]
async fn any_name_is_listed_as_it_is() {
    let odd = [
        "a b",
        " ",
        "a%20b",
        "%",
        "100%",
        "ä",
        "🔒",
        "a:b",
        "a=b",
        "key=x exp=1",
        "~_-.",
        "\"quoted\"",
        "a\\b",
        "a/é/ü",
        "+",
        &"x".repeat(128),
        &"ö".repeat(64),
        &" ".repeat(128),
        &"%".repeat(128),
        "\u{202e}txt",
    ];
    for (_memcached, broker) in brokers(&[]).await {
        let _held = hold(&broker, odd.iter().map(|&name| name.to_owned())).await;
        let all = locks(&broker, "").await;
        assert_eq!(names(&all).into_iter().collect::<BTreeSet<_>>(), odd.iter().copied().collect());
        for name in odd {
            for prefix in name.char_indices().map(|(at, c)| &name[..at + c.len_utf8()]) {
                let found = locks(&broker, prefix).await;
                let expected: BTreeSet<&str> = odd.iter().copied().filter(|name| name.starts_with(prefix)).collect();
                assert_eq!(names(&found).into_iter().collect::<BTreeSet<_>>(), expected, "{prefix:?}");
                if prefix.len() > 8 {
                    break;
                }
            }
        }
        // No other key of the store's is taken for a lock.
        assert!(all.values().all(|lock| lock.state() == State::Held));
    }
}

#[tokio::test]
async fn other_deployments_and_others_keys_on_the_same_memcached_are_not_listed() {
    let memcached = Memcached::start(&[]).await;
    let ours = Broker::on(&memcached).await;
    let theirs = Broker::on_store(&memcached.store(), &["--key-prefix", "their%20"]).await;
    let (_, _ours) = acquire(&mut ours.stub().await, once("ours")).await;
    let (_, _theirs) = acquire(&mut theirs.stub().await, once("theirs")).await;
    let other = memcached.command("ms lockbroker:L:other 2\r\nhi").await;
    assert!(other.starts_with("HD"), "{other}");
    assert_eq!(names(&locks(&ours, "").await), ["ours"]);
    assert_eq!(names(&locks(&theirs, "").await), ["theirs"]);
}

#[tokio::test]
async fn a_memcached_that_does_not_show_its_keys_is_named_with_the_flag() {
    for (flags, flag) in [(&["-X"][..], "-X"), (&["-o", "no_lru_crawler"], "-o no_lru_crawler")] {
        let memcached = Memcached::start(flags).await;
        let broker = Broker::on(&memcached).await;
        let status = list(&broker, beginning("")).await.unwrap_err();
        assert_eq!((status.code(), &*reason(&status)), (Code::Unimplemented, "LIST_REFUSED"));
        let text = status.message();
        assert!(text.contains(flag) && text.contains(&memcached.address().to_string()), "{text}");
        let output = run(&["list", "--server", &broker.url()]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(69) && stderr.contains(flag), "{stderr}");
        // All else works.
        let (_, _held) = acquire(&mut broker.stub().await, once("a")).await;
        assert!(waiters(&broker, "a", "").await.is_empty());
    }
}

/// memcached's thread that is asked for keys waits until another has got all of them, and so do all whom it serves.
#[tokio::test]
async fn a_memcached_that_shows_its_keys_to_somebody_who_does_not_read_is_not_asked() {
    let memcached = Memcached::start(&[]).await;
    let broker = Broker::on(&memcached).await;
    let mut stub = broker.stub().await;
    let (_, _held) = acquire(&mut stub, once("a")).await;
    for part in 0..20 {
        let items: Vec<_> = (0..1_000).map(|n| format!("ms other-{part}-{n} 0 q\r\n")).collect();
        memcached.command(&items.join("\r\n")).await;
    }
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut idle = socket.connect(memcached.address()).await.unwrap();
    idle.write_all(b"lru_crawler metadump hash\r\n").await.unwrap();
    eventually(SOON, "it is busy", async || memcached.stat("lru_crawler_running").await == 1).await;

    let (status, looks) = tokio::join!(list(&broker, beginning("")), async {
        for _ in 0..100 {
            let asked = Instant::now();
            look(&mut stub, "a").await;
            assert!(asked.elapsed() < Duration::from_millis(900), "a look took {:?}", asked.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let ((), status) = (looks, status.unwrap_err());
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_UNAVAILABLE"));
    assert!(status.message().contains("somebody else"), "{status:?}");
    // One that is busy for a moment is asked again.
    let (list, ()) = tokio::join!(list(&broker, beginning("")), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(idle);
    });
    assert_eq!(list.unwrap().0.len(), 1);
}

#[tokio::test]
async fn a_list_that_would_not_be_whole_is_an_error() {
    let (mut kept, mut killed) = (Memcached::start(&[]).await, Memcached::start(&[]).await);
    let store = format!("memcached://{},{}", kept.address(), killed.address());
    let broker = Broker::on_store(&store, &["--max-ttl", "15s"]).await;
    let held = hold(&broker, (0..20).map(|n| n.to_string())).await;
    assert_eq!(locks(&broker, "").await.len(), 20);
    killed.kill();
    let status = list(&broker, beginning("")).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_UNAVAILABLE"));
    assert!(status.message().contains(&killed.address().to_string()), "{status:?}");
    // One that has lost its memory does not know of all that is held.
    drop(held);
    kept.kill();
    for memcached in [&mut kept, &mut killed] {
        memcached.start_again().await;
    }
    for memcached in [&kept, &killed] {
        eventually(SOON, "an epoch begins", async || memcached.command("mg lockbroker:S c").await.starts_with("HD"))
            .await;
    }
    let status = list(&broker, beginning("")).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_QUARANTINED"));
    let other = Broker::start_unready(&["--store", &store, "--max-ttl", "20s"]).await;
    let status = list(&other, beginning("")).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_REFUSED"));
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_by_its_field() {
    let broker = Broker::memory().await;
    let mut admin = admin(&broker).await;
    let of = |name: &str, prefix: &str, limit| (name.to_owned(), prefix.to_owned(), limit);
    let long = "x".repeat(129);
    for ((name, prefix, limit), field, says) in [
        (of("", "", -1), "limit", "1 to 1000000"),
        (of("", "", 1_000_001), "limit", "1 to 1000000"),
        (of("", &long, 0), "prefix", "128"),
        (of("", "a\nb", 0), "prefix", "U+000A"),
        (of(&long, "", 0), "name", "128"),
        (of("a", "b", 0), "prefix", "name"),
    ] {
        let mut refused = Vec::new();
        if name.is_empty() {
            let request = ListLocksRequest { prefix: prefix.clone(), limit };
            refused.push(admin.list_locks(request).await.map(drop).unwrap_err());
        }
        let request = ListWaitersRequest { name, prefix, limit };
        refused.push(admin.list_waiters(request).await.map(drop).unwrap_err());
        for status in refused {
            assert_eq!((status.code(), &*reason(&status)), (Code::InvalidArgument, "INVALID_FIELD"));
            let text = status.message();
            assert!(text.starts_with(&format!("{field}: ")) && text.contains(says), "{text}");
        }
    }
    // The greatest that may be.
    assert!(list(&broker, ListLocksRequest { prefix: "x".repeat(128), limit: 1_000_000 }).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn those_who_wait_are_listed_in_their_order_at_their_own_broker() {
    let brokers = Brokers::start().await;
    let memory = Broker::memory().await;
    for broker in [&brokers.first, &memory] {
        let mut stub = broker.stub().await;
        let (acquired, _held) = acquire(&mut stub, once("a/1")).await;
        let (_, _other) = acquire(&mut stub, once("a/2")).await;
        let mut streams = Vec::new();
        for (n, name) in ["a/1", "a/2", "a/1", "a/1"].into_iter().enumerate() {
            let request = WaitAcquireRequest { lock: owned(name, &format!("worker {n}")).lock, ..wait(name) };
            streams.push(queue(&mut stub, request).await.1);
        }
        let shown = |waiters: &[WaiterInfo]| -> Vec<(String, i32, String)> {
            waiters.iter().map(|one| (one.name.clone(), one.position, one.owner.clone())).collect()
        };
        let at = |name: &str, position, owner: &str| (name.to_owned(), position, owner.to_owned());
        let of_first = [at("a/1", 1, "worker 0"), at("a/1", 2, "worker 2"), at("a/1", 3, "worker 3")];
        let found = waiters(broker, "a/1", "").await;
        assert_eq!(shown(&found), of_first);
        let waited: Vec<_> = found.iter().map(|one| duration(one.waited_for)).collect();
        assert!(waited.is_sorted_by(|a, b| a > b) && waited[0] < SOON, "{waited:?}");
        for prefix in ["", "a", "a/"] {
            let found = waiters(broker, "", prefix).await;
            assert_eq!(shown(&found), [&of_first[..], &[at("a/2", 1, "worker 1")]].concat(), "{prefix:?}");
        }
        assert!(waiters(broker, "", "b").await.is_empty() && waiters(broker, "a", "").await.is_empty());
        assert!(waiters(&brokers.second, "", "").await.is_empty(), "others have waiters of their own");

        assert_eq!(release(&mut stub, "a/1", &acquired.lock_id).await, Outcome::Released);
        granted(&mut streams[0]).await;
        drop(streams.remove(2));
        eventually(SOON, "one waits on", async || {
            shown(&waiters(broker, "a/1", "").await) == [at("a/1", 1, "worker 3")]
        })
        .await;
        let request = ListWaitersRequest { limit: 1, ..ListWaitersRequest::default() };
        let mut stream = admin(broker).await.list_waiters(request).await.unwrap().into_inner();
        let chunk = next_message(&mut stream).await;
        assert_eq!((chunk.waiters.len(), chunk.total), (1, 2));
    }
}

#[tokio::test]
async fn thousands_of_waiters_come_in_chunks() {
    let broker = Broker::memory().await;
    let (_, _held) = acquire(&mut broker.stub().await, once("a")).await;
    let session = RawSession::open(&mut broker.stub().await, None).await;
    for lock_ref in 1..=2_500 {
        let lock = owned("a", &lock_ref.to_string()).lock;
        session.begin(BeginLock { lock, ..begin_wait(lock_ref, "a") });
    }
    eventually(SOON, "all wait", async || waiters(&broker, "a", "").await.len() == 2_500).await;
    for (one, place) in waiters(&broker, "", "").await.iter().zip(1..) {
        assert_eq!((one.position, &*one.owner), (place, &*place.to_string()));
    }
}

#[tokio::test]
async fn the_command_line_shows_both() {
    let brokers = Brokers::start().await;
    let (first, second) = (&brokers.first, &brokers.second);
    let (_, _held) = acquire(&mut first.stub().await, owned("b \u{1f512}", "worker 1")).await;
    let linger = AcquireRequest { lock: lingering("a", Duration::from_secs(60)), ..AcquireRequest::default() };
    let (lingers, _lingers) = acquire(&mut second.stub().await, linger).await;
    release(&mut second.stub().await, "a", &lingers.lock_id).await;
    eventually(SOON, "the label is there", async || !locks(first, "b").await["b \u{1f512}"].owner.is_empty()).await;
    let done = |arguments: &[&str]| -> String {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let words = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    // A broker that is not there costs nothing: the next one has the same store.
    let url = format!("http://127.0.0.1:{},{}", free_port(), second.url());
    let table = words(&done(&["list", "--server", &url]));
    assert_eq!(table[0].join(" "), "NAME PERMIT STATE OWNER HELD FOR EXPIRES TOKEN");
    assert_eq!(table[1][..5].join(" "), "a - lingering - -");
    assert_eq!(table[2][..6].join(" "), "b \u{1f512} - held worker 1");
    assert_eq!(table.len(), 3);
    assert_eq!(words(&done(&["list", "--server", &url, "b"])).len(), 2);
    let json: Vec<Value> =
        done(&["list", "--json", "--server", &url]).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&json[1]["name"], &json[1]["owner"]), (&"b \u{1f512}".into(), &"worker 1".into()));
    assert_eq!((&json[0]["state"], &json[0]["fencing_token"]), (&"lingering".into(), &Value::Null));
    assert!(json[1]["free_within_seconds"].as_f64().is_some_and(|within| within > 0.0 && within < 17.0), "{json:?}");
    let few = run(&["list", "--limit", "1", "--server", &url]);
    assert!(few.status.success() && String::from_utf8(few.stderr).unwrap().contains("these are 1 of 2; --limit"));

    let (_, _first) = queue(&mut first.stub().await, wait("b \u{1f512}")).await;
    let (_, _second) = queue(&mut second.stub().await, wait("b \u{1f512}")).await;
    let both = brokers.both().join(",");
    let table = done(&["waiters", "--server", &both, "b \u{1f512}"]);
    assert_eq!(
        table.lines().next().unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
        "NAME PLACE WANTS OWNER WAITED BROKER"
    );
    assert!(brokers.both().iter().all(|url| table.contains(url)) && table.lines().count() == 3, "{table}");
    let json = done(&["waiters", "--json", "--prefix", "", "--server", &second.url()]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["position"], &json["broker"]), (&1.into(), &second.url().into()));
    // What is missing is told, and the rest shown.
    let away = format!("http://127.0.0.1:{}", free_port());
    let output = run(&["waiters", "--prefix", "", "--server", &format!("{away},{both}")]);
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), stdout.lines().count()), (Some(69), 3), "{stdout}{stderr}");
    assert!(stderr.contains(&away), "{stderr}");
    for (wrong, code) in [(&["list", "--limit", "0"][..], 2), (&["waiters"], 2), (&["list", "--server", &away], 69)] {
        assert_eq!(run(wrong).status.code(), Some(code), "{wrong:?}");
    }
}

#[tokio::test]
async fn a_watched_list_tells_what_comes_and_goes() {
    let broker = Broker::memory().await;
    let mut list = lockbroker(&["list", "--watch", "--server", &broker.url()]);
    let (mut watch, stdout) = Process::spawn_piped("lockbroker list --watch", &mut list);
    let (to, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| to.send(line)));
    let (_, held) = acquire(&mut broker.stub().await, owned("a", "me")).await;
    let came = timeout(SOON, lines.recv()).await.expect("it comes").unwrap();
    assert!(came.starts_with("+ a  -  held  me  "), "{came}");
    drop(held);
    let went = timeout(SOON, lines.recv()).await.expect("it goes").unwrap();
    assert!(went.starts_with("- a  -  held  me  "), "{went}");
    watch.kill();
    assert_eq!(lines.recv().await, None);
}

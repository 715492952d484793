//! What answers like a memcached and is none that can be used costs neither the machine nor the log anything.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::support::{Broker, Memcached, Proxy, SOON, eventually, once, open, try_acquire};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_is_somebody_elses_is_said_once_and_left_alone() {
    let memcached = Memcached::start(&[]).await;
    assert_eq!(memcached.command("set lockbroker:S 0 0 5\r\nhello").await, "STORED\r\n");
    let proxy = Proxy::start(memcached.address()).await;
    let store = format!("memcached://{}", proxy.address());
    let broker = Broker::start_unready(&["--store", &store]).await;
    broker.logged("the shard's state cannot be read").await;
    let status = try_acquire(&mut broker.stub().await, once("no")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("somebody else uses the keys"), "{status:?}");

    let (asked, said) = (proxy.lines_up(), broker.log().len());
    eventually(SOON, "it has asked ten times more", async || proxy.lines_up() >= asked + 20).await;
    assert_eq!(broker.log().len(), said, "{:?}", broker.log());
    assert_eq!(memcached.command("get lockbroker:S").await, "VALUE lockbroker:S 0 5\r\nhello\r\nEND\r\n");

    assert_eq!(memcached.command("delete lockbroker:S").await, "DELETED\r\n");
    broker.logged("has lost its memory, or is new").await;
    open(&store, &[]);
    broker.ready().await;
}

#[tokio::test]
async fn a_server_that_hangs_up_is_redialled_after_a_pause_and_without_a_word() {
    let server = HangingUp::start().await;
    let broker = Broker::start_unready(&["--store", &format!("memcached://{}", server.address)]).await;
    broker.logged("the connection to memcached broke").await;
    let said = broker.log().len();
    let start = Instant::now();
    let before = server.dialled.load(Relaxed);
    eventually(SOON, "it is dialled ten times", async || server.dialled.load(Relaxed) >= before + 10).await;
    // 20 ms, 40, 80, 160 and then 250, each at the least.
    assert!(start.elapsed() >= Duration::from_millis(1_000), "ten times within {:?}", start.elapsed());
    // At most that it broke in another way.
    assert!(broker.log().len() < said + 5, "{:?}", broker.log());
    let status = try_acquire(&mut broker.stub().await, once("no")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_clock_stands_still_grants_nothing() {
    let memcached = Memcached::start(&[]).await;
    let stands_still = Arc::new(AtomicBool::new(true));
    let proxy = with_a_clock_that_may_stand_still(memcached.address(), Arc::clone(&stands_still)).await;
    let store = format!("memcached://{proxy}");
    open(&store, &[]);
    let broker = Broker::start_unready(&["--store", &store]).await;
    let mut stub = broker.stub().await;
    eventually(SOON, "its clock alone is in doubt", async || {
        let refused = try_acquire(&mut stub, once("no")).await;
        refused.is_err_and(|status| status.message().contains("its clock may stand still"))
    })
    .await;
    // Until then the clock would have been believed five times over.
    let watched = Instant::now() + Duration::from_secs(3);
    while Instant::now() < watched {
        let status = try_acquire(&mut broker.stub().await, once("no")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("its clock may stand still"), "{status:?}");
    }
    assert_eq!(memcached.command("mg lockbroker:L:no t").await, "EN\r\n");
    let said = broker.log();
    assert!(!said.iter().any(|line| line.contains("grants locks")), "the log is ahead of the shard: {said:?}");
    stands_still.store(false, Relaxed);
    broker.ready().await;
    broker.logged("memcached grants locks").await;
    assert!(try_acquire(&mut broker.stub().await, once("yes")).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_that_has_too_many_connections_says_which_flag_mends_it() {
    let memcached = Memcached::bare(&["-M", "-F", "-c", "60"]).await;
    let mut others = Vec::new();
    for _ in 0..60 {
        let mut other = BufReader::new(TcpStream::connect(memcached.address()).await.unwrap());
        // Answered or refused: memcached has counted it. A refusal may come before the question, as a reset.
        let _ = other.write_all(b"version\r\n").await;
        let _ = other.read_line(&mut String::new()).await;
        others.push(other);
    }
    let broker = Broker::start_unready(&["--store", &memcached.store()]).await;
    broker.logged("start it with a higher -c").await;
    drop(others);
    broker.logged("connected to memcached").await;
}

/// Listens where memcached seems to, and can say of everything that it has still as long to live as it had at first.
async fn with_a_clock_that_may_stand_still(memcached: SocketAddr, stands_still: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let at_first = Arc::new(OnceLock::new());
    // Ends with the runtime.
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (stands_still, at_first) = (Arc::clone(&stands_still), Arc::clone(&at_first));
            let (mut asking, mut answering) = client.into_split();
            let (answers, mut asked) = TcpStream::connect(memcached).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut asking, &mut asked).await });
            tokio::spawn(async move {
                let mut lines = BufReader::new(answers).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let frozen = line.starts_with("HD t") && stands_still.load(Relaxed);
                    let line = if frozen { at_first.get_or_init(|| line) } else { &line };
                    answering.write_all(format!("{line}\r\n").as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    address
}

/// Says that it is a good memcached, and hangs up when it is asked for anything.
struct HangingUp {
    address: SocketAddr,
    dialled: Arc<AtomicUsize>,
}

impl HangingUp {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let dialled = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&dialled);
        // Ends with the runtime.
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Relaxed);
                tokio::spawn(answer(stream));
            }
        });
        Self { address, dialled }
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let (reading, mut writing) = stream.split();
    let mut lines = BufReader::new(reading).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match line.as_str() {
            "version" => "VERSION 1.6.38\r\n",
            "stats" => "STAT pid 1\r\nSTAT uptime 10\r\nSTAT time 1800000010\r\nEND\r\n",
            "stats settings" => {
                "STAT evictions off\r\nSTAT cas_enabled yes\r\nSTAT flush_enabled no\r\nSTAT memory_file (null)\r\nEND\r\n"
            }
            _ => break,
        };
        writing.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

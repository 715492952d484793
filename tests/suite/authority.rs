//! What clients send for an `:authority` over a Unix socket, and what becomes of those who send headers that nobody
//! understands there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::server::raw::{CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, HEADERS, frame};
use crate::support::*;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{AcquireRequest, GetLockRequest};
use prost::Message;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

const TTL: Duration = Duration::from_secs(5);
const ACQUIRE: &str = "/lockbroker.v1.LockService/Acquire";
const LOOK: &str = "/lockbroker.v1.LockService/GetLock";

/// A broker that listens on a socket in a folder of its own, and on a port beside it.
async fn broker() -> (TempDir, PathBuf, Broker) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lb.sock");
    // No ping ends a connection while a test waits for something else to end it.
    let listen = format!("unix:{}", path.display());
    let broker = Broker::start(&["--listen", &listen, "--keepalive-interval", "60s"]).await;
    (folder, path, broker)
}

/// A header block, spelled out: `POST http`, and the rest as gRPC's C core sends it, for the table to keep.
fn block(authority: Option<&[u8]>, path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    let mut add = |name: &[u8], value: &[u8]| {
        for (first, string) in [(&[0x40][..], name), (&[], value)] {
            block.extend([first, &[string.len() as u8], string].concat());
        }
    };
    if let Some(authority) = authority {
        add(b":authority", authority);
    }
    add(b":path", path.as_bytes());
    add(b"te", b"trailers");
    add(b"content-type", b"application/grpc");
    block
}

/// The message of a call, and its end.
fn message(stream: u32, message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let data = [&[0], &(message.len() as u32).to_be_bytes()[..], &message].concat();
    frame(DATA, END_STREAM, stream, &data)
}

/// Reads until an answer begins on a stream: the kind of the next frame on it.
async fn answer(client: &mut (impl AsyncRead + Unpin), stream: u32) -> Option<u8> {
    loop {
        let mut head = [0; 9];
        client.read_exact(&mut head).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        client.read_exact(&mut payload).await.ok()?;
        if head[5..] == stream.to_be_bytes() {
            return Some(head[3]);
        }
    }
}

#[tokio::test]
async fn every_authority_is_answered_over_a_socket() {
    let (_folder, path, _broker) = broker().await;
    let long = "x".repeat(120);
    let authorities = [
        None,
        Some(&b""[..]),
        Some(b"localhost"),
        Some(b"%2Frun%2Flockbroker%2Flb.sock"),
        Some(b"/run/lockbroker/lb.sock"),
        Some(b"lb.sock"),
        Some(b"10.0.0.1:1,10.0.0.2:1"),
        Some(b"a b"),
        Some(b"\xff\x00"),
        Some(long.as_bytes()),
    ];
    let look = GetLockRequest { name: "job".into(), ..Default::default() };
    // Each on a connection of its own, and all on one: entries of the table come and go.
    let mut one = Client::connect_unix(&path).await;
    for (authority, stream) in authorities.into_iter().cycle().take(200).zip((1..).step_by(2)) {
        let block = block(authority, LOOK);
        let call = [frame(HEADERS, END_HEADERS, stream, &block), message(stream, &look)].concat();
        one.send(&call).await;
        assert_eq!(timeout(SOON, answer(&mut one.0, stream)).await, Ok(Some(HEADERS)), "{authority:?}");
        if stream < 20 {
            let mut other = Client::connect_unix(&path).await;
            other.send(&call).await;
            assert_eq!(timeout(SOON, answer(&mut other.0, stream)).await, Ok(Some(HEADERS)), "{authority:?}");
        }
    }
}

/// The same bytes over a socket as over TCP, where h2 reads them itself: too long a list of headers is refused alone.
#[tokio::test]
async fn a_call_with_too_many_headers_fails_alone() {
    let (_folder, path, _broker) = broker().await;
    let mut client = Client::connect_unix(&path).await;
    let look = GetLockRequest { name: "job".into(), ..Default::default() };
    // `x` with 4,000 bytes, which the table keeps: 5 times that is above 16 KiB, and below 64.
    let many = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'x'; 4_000], &[0xbe; 4]].concat();
    let too_many = [block(Some(b"/"), LOOK), many].concat();
    client.send(&frame(HEADERS, END_HEADERS, 1, &too_many)).await;
    client.send(&[frame(HEADERS, END_HEADERS, 3, &block(None, LOOK)), message(3, &look)].concat()).await;
    assert_eq!(timeout(SOON, answer(&mut client.0, 3)).await, Ok(Some(HEADERS)));
}

#[tokio::test]
async fn a_client_that_sends_rubbish_is_silent_and_so_keeps_its_lock_until_its_validity_is_over() {
    let (_folder, path, broker) = broker().await;
    let rubbish = [
        // HPACK: a table size that never ends, an unknown entry, half a field.
        frame(HEADERS, END_HEADERS, 3, &[0x3f]),
        frame(HEADERS, END_HEADERS, 3, &[0xfe]),
        frame(HEADERS, END_HEADERS, 3, &[0x40, 9]),
        // Another frame between those of one header block, and a block without a beginning.
        [frame(HEADERS, 0, 3, &[0x83]), frame(DATA, 0, 1, &[])].concat(),
        frame(CONTINUATION, END_HEADERS, 3, &[0x83]),
        // Without an end.
        [frame(HEADERS, 0, 3, &[]), frame(CONTINUATION, 0, 3, &[]).repeat(10_000)].concat(),
    ];
    let holders = rubbish.iter().enumerate().map(|(number, rubbish)| {
        holds_on(&broker, &path, format!("job {number}"), async |client| {
            // The broker may have ended the connection before all of it was sent.
            let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, rubbish).await;
            let ended = async { while client.next_frame().await.is_some() {} };
            timeout(SOON, ended).await.expect("the connection is ended");
        })
    });
    for kept in futures_util::future::join_all(holders).await {
        assert!(kept >= TTL - Duration::from_secs(2), "the next one had the lock after {kept:?}");
    }
}

/// The same client, had it spoken.
#[tokio::test]
async fn a_client_that_closes_its_socket_gives_its_lock_back_at_once() {
    let (_folder, path, broker) = broker().await;
    let kept = holds_on(&broker, &path, "job".into(), async |client| {
        tokio::io::AsyncWriteExt::shutdown(&mut client.0).await.unwrap();
    })
    .await;
    assert!(kept < Duration::from_secs(1), "the next one had the lock after {kept:?}");
}

/// Has a raw client acquire a lock and `end` its connection. Returns how long after that request the next one had it.
async fn holds_on(
    broker: &Broker,
    path: &Path,
    name: String,
    end: impl AsyncFnOnce(&mut Client<tokio::net::UnixStream>),
) -> Duration {
    let mut client = Client::connect_unix(path).await;
    let request = AcquireRequest { ttl: span(TTL), ..once(&name) };
    let sent = Instant::now();
    client.send(&[frame(HEADERS, END_HEADERS, 1, &block(None, ACQUIRE)), message(1, &request)].concat()).await;
    // The headers come before the grant.
    for kind in [HEADERS, DATA] {
        assert_eq!(timeout(SOON, answer(&mut client.0, 1)).await, Ok(Some(kind)));
    }
    let mut stub = broker.stub().await;
    let (_, mut next) = queue(&mut stub, wait(&name)).await;
    end(&mut client).await;
    assert!(matches!(after_queued(&mut next).await, Kind::Acquired(_)));
    sent.elapsed()
}

/// The next event but for repeated signs of life.
async fn after_queued(stream: &mut tonic::Streaming<lockbroker::proto::WaitAcquireResponse>) -> Kind {
    loop {
        match next_event(stream).await {
            Kind::Queued(_) => {}
            kind => return kind,
        }
    }
}

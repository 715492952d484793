//! What a proxy limits beside time.

use futures_util::future::join_all;
use lockbroker::proto::AcquireResponse;
use lockbroker::proto::lock_event::Kind;
use tokio::time::timeout;
use tonic::Streaming;

use super::proxy::{Program, Proxied, Settings};
use crate::support::{Broker, RawSession, SOON, Stub, begin, once, stub};

/// Holds locks, each on a stream of its own, on one connection.
async fn hold(stub: Stub, count: usize, of: String) -> Vec<Streaming<AcquireResponse>> {
    join_all((0..count).map(|number| {
        let (mut stub, request) = (stub.clone(), once(&format!("{of} {number}")));
        async move {
            let mut stream = stub.acquire(request).await.unwrap().into_inner();
            let message = stream.message().await.unwrap().expect("an answer");
            assert!(matches!(message.event.unwrap().kind, Some(Kind::Acquired(_))));
            stream
        }
    }))
    .await
}

#[tokio::test]
async fn a_connection_has_so_many_streams_as_its_proxy_says() {
    let broker = Broker::memory().await;
    // None: more than this test tries.
    let limits = [(Program::Nginx, Some(128)), (Program::Haproxy, Some(100)), (Program::Envoy, None)];
    join_all(limits.map(async |(program, limit)| {
        let documented = Proxied::start(program, Settings::Documented, broker.address()).await;
        let many = hold(stub(documented.address()).await, 300, documented.to_string());
        timeout(SOON * 3, many).await.expect("as many streams as are asked for");

        let Some(limit) = limit else { return };
        let plain = Proxied::start(program, Settings::Plain, broker.address()).await;
        let connection = stub(plain.address()).await;
        let mut held = hold(connection.clone(), limit, plain.to_string()).await;
        let one_more = tokio::spawn(hold(connection, 1, format!("{plain}, one more")));
        // What comes later on another connection is answered, and it is not.
        hold(stub(plain.address()).await, 1, format!("{plain}, another connection")).await;
        assert!(!one_more.is_finished(), "{plain}: {} streams", limit + 1);
        held.pop();
        timeout(SOON, one_more).await.unwrap().unwrap();
    }))
    .await;
}

/// Sends so many bytes on one Session, and no more if it ends. Returns how many it sent.
async fn sent_on_a_session(proxied: &Proxied, bytes: usize) -> usize {
    /// At least so many of each message.
    const EACH: usize = 256;
    const BATCH: i64 = 50;
    let mut session = RawSession::open(&mut stub(proxied.address()).await, None).await;
    let mut sent = 0;
    let mut lock_ref = 0;
    while sent < bytes {
        for _ in 0..BATCH {
            lock_ref += 1;
            let mut request = begin(lock_ref, &format!("{lock_ref:0128}"));
            request.lock.as_mut().unwrap().owner = "o".repeat(128);
            session.begin(request);
            session.end(lock_ref);
            sent += EACH;
        }
        let mut released = 0;
        while released < BATCH {
            let message = timeout(SOON, session.responses.message()).await.expect("an answer or an end");
            let Ok(Some(message)) = message else { return sent };
            released += i64::from(format!("{message:?}").contains("Released"));
        }
    }
    sent
}

#[tokio::test]
async fn a_session_ends_in_nginx_after_a_mebibyte_by_default() {
    const MIB: usize = 1 << 20;
    let broker = Broker::memory().await;
    let sent = async |settings| {
        let proxied = Proxied::start(Program::Nginx, settings, broker.address()).await;
        sent_on_a_session(&proxied, MIB + MIB / 4).await
    };
    let (plain, documented) = (sent(Settings::Plain).await, sent(Settings::Documented).await);
    assert!(plain <= MIB, "{plain} bytes");
    assert!(documented > MIB, "{documented} bytes");
}

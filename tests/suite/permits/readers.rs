//! Readers and writers: those who share a lock, and one who wants it alone.

use std::time::Instant;

use super::*;
use lockbroker::proto::get_lock_response::State;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{WaitAcquireResponse, not_acquired};
use tokio::time::timeout;

/// Readers that have the lock at these brokers, and a writer that waits at `its` broker and keeps new ones out.
async fn readers_and_a_writer(
    readers_at: [&Broker; 2],
    its: &Broker,
) -> ([(Acquired, Streaming<AcquireResponse>); 2], Streaming<WaitAcquireResponse>) {
    let [here, there] = readers_at;
    let [first, second] = [take(here, "data", 0).await, take(there, "data", 0).await];
    assert_ne!(permit(&first.0), permit(&second.0));
    assert!(is_refused(here, once("data")).await && is_refused(there, once("data")).await, "a writer beside readers");
    let (_, writer) = queue(&mut its.stub().await, wait("data")).await;
    // Once the writer's item stands, it keeps new ones out.
    eventually(SOON, "new readers are kept out", async || {
        is_refused(here, share("data", 0)).await && is_refused(there, share("data", 0)).await
    })
    .await;
    let seen = look(&mut here.stub().await, "data").await;
    assert_eq!((seen.state(), seen.shared_count), (State::Held, 2));
    ([first, second], writer)
}

/// The readers go, and then the writer has the lock, alone and within this time.
async fn writes_within(
    limit: Duration,
    readers: [(Acquired, Streaming<AcquireResponse>); 2],
    writer: &mut Streaming<WaitAcquireResponse>,
) -> Acquired {
    let [(first, first_stream), (second, second_stream)] = readers;
    drop(first_stream);
    let early = timeout(Duration::from_millis(300), granted_whenever(writer)).await;
    assert!(early.is_err(), "the writer has it beside a reader");
    let left = Instant::now();
    drop(second_stream);
    let written = granted(writer).await;
    assert!(left.elapsed() < limit, "the writer has waited for too long: {:?}", left.elapsed());
    assert_eq!(written.permit, None);
    assert!(written.fencing_token > first.fencing_token.max(second.fencing_token));
    written
}

/// The writer goes, and then the reader that waits has the lock, within this time.
async fn reads_within(
    limit: Duration,
    (written, writer): (Acquired, Streaming<WaitAcquireResponse>),
    reader: &mut Streaming<WaitAcquireResponse>,
) {
    let left = Instant::now();
    drop(writer);
    let read = granted(reader).await;
    assert!(left.elapsed() < limit, "the reader has waited for too long: {:?}", left.elapsed());
    assert!(read.fencing_token > written.fencing_token);
}

#[tokio::test]
async fn a_writer_waits_for_readers_and_keeps_new_ones_out() {
    for (_memcached, broker) in brokers(POLLS_EVERY).await {
        let (readers, mut writer) = readers_and_a_writer([&broker, &broker], &broker).await;
        let (place, mut reader) = queue(&mut broker.stub().await, wait_to_share("data", 0)).await;
        assert_eq!(place, 2);
        let written = writes_within(BELOW_A_POLL, readers, &mut writer).await;
        assert!(is_refused(&broker, share("data", 0)).await, "a reader beside the writer");
        reads_within(BELOW_A_POLL, (written, writer), &mut reader).await;
    }
}

#[tokio::test]
async fn so_it_is_between_brokers_which_wake_each_other() {
    let (memcached, [here, there]) = two_brokers(POLLS_EVERY).await;
    for readers_at in [[&here, &there], [&here, &here]] {
        let (readers, mut writer) = readers_and_a_writer(readers_at, &there).await;
        let written = writes_within(BELOW_A_POLL, readers, &mut writer).await;
        assert!(is_refused(&here, share("data", 0)).await, "a reader beside the writer");
        let (_, mut reader) = queue(&mut here.stub().await, wait_to_share("data", 0)).await;
        eventually(SOON, "its broker is to be woken", async || {
            memcached.command("mg lockbroker:W:data v").await.starts_with("VA")
        })
        .await;
        reads_within(BELOW_A_POLL, (written, writer), &mut reader).await;
        drop(reader);
        freed(&mut here.stub().await, "data").await;
    }
}

/// Where some wait at each broker, one broker alone is woken, and the others poll.
#[tokio::test]
async fn those_who_wait_at_both_brokers_have_it_within_a_poll() {
    let within_a_poll = Duration::from_millis(2_500);
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let (readers, mut writer) = readers_and_a_writer([&here, &there], &there).await;
    let (_, mut reader) = queue(&mut here.stub().await, wait_to_share("data", 0)).await;
    let written = writes_within(within_a_poll, readers, &mut writer).await;
    reads_within(within_a_poll, (written, writer), &mut reader).await;
}

#[tokio::test]
async fn a_writer_that_gives_up_lets_readers_in_again() {
    let (_memcached, [here, there]) = two_brokers(&[]).await;
    let (_, _reading) = take(&here, "data", 0).await;
    let (_, writer) = queue(&mut there.stub().await, wait("data")).await;
    eventually(SOON, "new readers are kept out", async || is_refused(&here, share("data", 0)).await).await;
    let mut reader = here.stub().await.wait_acquire(wait_to_share("data", 0)).await.unwrap().into_inner();
    let left = Instant::now();
    drop(writer);
    granted(&mut reader).await;
    assert!(left.elapsed() < BELOW_A_POLL, "{:?}", left.elapsed());
}

/// A wait that is over says so, and who tries once is told that somebody holds the lock.
#[tokio::test]
async fn whoever_is_kept_out_is_told_why() {
    for (_memcached, broker) in brokers(&[]).await {
        let mut stub = broker.stub().await;
        let (_, _reading) = take(&broker, "data", 1).await;
        for request in [once("data"), share("data", 1)] {
            let mut refused = stub.acquire(request).await.unwrap().into_inner();
            match next_event(&mut refused).await {
                Kind::NotAcquired(why) => {
                    assert_eq!(why.reason(), not_acquired::Reason::Held);
                }
                other => panic!("{other:?}"),
            }
        }
        let short = WaitAcquireRequest { lock: shared("data", 1), ..wait_up_to(Duration::from_millis(200), "data") };
        let (_, mut over) = queue(&mut stub, short).await;
        match next_event(&mut over).await {
            Kind::NotAcquired(why) => {
                assert_eq!(why.reason(), not_acquired::Reason::MaxWait);
            }
            other => panic!("{other:?}"),
        }
    }
}

//! Values, and those who observe them, against brokers that follow a script.

use std::future::IntoFuture;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tonic::Status;

use super::peer::{Peer, Stream, client, client_of_two, soon};
use crate::clock::Moment;
use crate::proto::observe_response::State;
use crate::proto::update_lock_response::Outcome;
use crate::proto::{ObserveResponse, UpdateLockRequest, UpdateLockResponse};
use crate::{Client, Error, Guard, Observe, ObservedState};

fn held_by(owner: &str, token: i64) -> Result<ObserveResponse, Status> {
    let (state, owner) = (State::Held.into(), owner.to_owned());
    Ok(ObserveResponse { state, owner, fencing_token: token, ..ObserveResponse::default() })
}

/// Returns the state that is told next, and of whom.
async fn told(observe: &mut Observe) -> (ObservedState, String) {
    let seen = soon(observe.next()).await.unwrap();
    (seen.state, seen.owner)
}

fn held(owner: &str) -> (ObservedState, String) {
    (ObservedState::Held, owner.to_owned())
}

const UNKNOWN: (ObservedState, String) = (ObservedState::Unknown, String::new());

#[tokio::test(start_paused = true)]
async fn an_earlier_holder_is_unknown_and_the_same_is_told_once() {
    let (client, mut peer) = client();
    let mut observe = client.observe("a");
    let (tell, first) = tokio::join!(peer.observed(), async {
        let told = timeout(Duration::from_secs(1), told(&mut observe)).await;
        assert!(told.is_err(), "nothing is known yet");
    });
    let () = first;
    for (owner, token) in [("one", 7), ("one", 7), ("two", 9), ("one", 7), ("one", 7), ("two", 9)] {
        tell.send(held_by(owner, token)).unwrap();
    }
    // A state that a later version has.
    tell.send(Ok(ObserveResponse { state: 99, ..ObserveResponse::default() })).unwrap();
    for wanted in [held("one"), held("two"), UNKNOWN, held("two"), UNKNOWN] {
        assert_eq!(told(&mut observe).await, wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_silent_or_ends_is_left_for_the_next() {
    let (client, [mut one, mut other]) = client_of_two();
    let mut observe = client.observe("a");
    let follow =
        tokio::spawn(async move { [told(&mut observe).await, told(&mut observe).await, told(&mut observe).await] });
    let began = Moment::now();
    let silent = one.observed().await;
    silent.send(held_by("one", 7)).unwrap();
    let ends = other.observed().await;
    assert!((14..17).contains(&began.elapsed().as_secs()), "after {:?}", began.elapsed());
    ends.send(held_by("two", 8)).unwrap();
    sleep(Duration::from_secs(2)).await;
    drop(ends);
    one.observed().await.send(held_by("three", 9)).unwrap();
    assert_eq!(soon(follow).await.unwrap(), [held("one"), held("two"), held("three")]);
}

#[tokio::test(start_paused = true)]
async fn who_ends_it_again_and_again_is_asked_once_a_second_and_nobody_knows() {
    let (client, mut peer) = client();
    let mut observe = client.observe("a");
    let follow = tokio::spawn(async move { [told(&mut observe).await, told(&mut observe).await] });
    let began = Moment::now();
    for _ in 0..20 {
        drop(peer.observed().await);
    }
    assert!(began.elapsed() > Duration::from_secs(8), "after {:?}", began.elapsed());
    peer.observed().await.send(held_by("one", 7)).unwrap();
    assert_eq!(soon(follow).await.unwrap(), [UNKNOWN, held("one")]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_it_and_where_no_room_is_the_next_broker_is_asked() {
    let (client, [mut one, mut other]) = client_of_two();
    let mut observe = Box::pin(client.observe("a").into_stream());
    let (full, ()) = tokio::join!(observe.next(), async { one.asked().await.fail(Status::resource_exhausted("full")) });
    assert!(matches!(full, Some(Err(Error::Exhausted { .. }))), "{full:?}");
    let (denied, ()) =
        tokio::join!(observe.next(), async { other.asked().await.fail(Status::permission_denied("denied")) });
    assert!(matches!(denied, Some(Err(Error::Denied { .. }))), "{denied:?}");
    assert!(soon(observe.next()).await.is_none());
}

/// Asks for a lock with a value, and grants it.
async fn leader(client: &Client, peer: &mut Peer) -> (Guard, Stream) {
    let asking = tokio::spawn(client.acquire("a").value("one").into_future());
    let mut stream = peer.open().await;
    let begin = stream.begin().await;
    assert_eq!(begin.lock.unwrap().value, Some(b"one".to_vec()));
    stream.grant(begin.lock_ref, "id-1");
    (soon(asking).await.unwrap().unwrap().guard().expect("acquired"), stream)
}

async fn updating(peer: &mut Peer, outcome: Outcome) -> UpdateLockRequest {
    let call = soon(peer.updates.recv()).await.expect("a call");
    let request = call.request.clone();
    call.answer(UpdateLockResponse { outcome: outcome.into() });
    request
}

#[tokio::test(start_paused = true)]
async fn an_update_follows_its_lock_to_its_new_id() {
    let (client, mut peer) = client();
    let (guard, stream) = leader(&client, &mut peer).await;
    let update = async { guard.update("two").await };
    let follow = async {
        let call = soon(peer.updates.recv()).await.expect("a call");
        assert_eq!((&*call.request.lock_id, &*call.request.value), ("id-1", &b"two"[..]));
        // While nobody answers, the lock moves. Its reattach brings the latest.
        stream.break_off();
        let mut stream = peer.open().await;
        let begin = stream.begin().await;
        assert_eq!(begin.lock.unwrap().value, Some(b"two".to_vec()));
        call.answer(UpdateLockResponse { outcome: Outcome::HeldByAnother.into() });
        stream.grant(begin.lock_ref, "id-2");
        let request = updating(&mut peer, Outcome::Updated).await;
        assert_eq!((&*request.lock_id, &*request.value), ("id-2", &b"two"[..]));
        // The move itself brings it, too.
        assert_eq!(updating(&mut peer, Outcome::Updated).await.lock_id, "id-2");
        stream
    };
    let (updated, _stream) = tokio::join!(update, follow);
    updated.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_update_is_tried_for_the_answer_timeout_and_what_is_refused_is_not_sent() {
    let (client, mut peer) = client();
    let (guard, _stream) = leader(&client, &mut peer).await;
    let began = Moment::now();
    let (updated, tries) = tokio::join!(guard.update("two"), async {
        let mut tries = 0;
        while began.elapsed() < Duration::from_secs(5) {
            updating(&mut peer, Outcome::NotHeld).await;
            tries += 1;
        }
        tries
    });
    assert!(matches!(updated, Err(Error::Unavailable { .. })), "{updated:?}");
    assert!((90..=101).contains(&tries), "{tries} tries");
    let refused = guard.update(vec![0; 1_025]).await;
    assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
    assert!(peer.updates.is_empty());
}

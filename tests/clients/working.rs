//! The ways in which a program's work ends as it wants.

use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lockbroker::proto::get_lock_response::State;
use rustix::process::Signal;

use crate::judge::Rival;
use crate::support::*;
use crate::testee::{Case, Language, Testee};

/// Far less than what is left of a validity when a lock is freed by it.
const AT_ONCE: Duration = Duration::from_secs(3);

/// Seconds of work beyond the validity that comes with a grant: nobody gets them who takes in no renewals.
const LONG: f64 = 16.0;

#[test]
fn says_how_it_is_used() {
    let server = "http://127.0.0.1:9";
    for language in Language::ALL {
        for arguments in [&[][..], &[server], &[server, "a", "soon"], &[server, "a", "0", "1", "2"]] {
            let output = output(Command::new(language.program()).args(arguments));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{language:?} {arguments:?}: {output:?}");
            let usage = said.starts_with("usage: ") && said.contains(" SERVER NAME [WAIT_SECONDS");
            assert!(usage && said.lines().count() == 1, "{language:?} {arguments:?}: {said}");
        }
    }
}

#[tokio::test]
async fn takes_a_lock_keeps_it_and_releases_it() {
    let brokers = &Brokers::start().await;
    join_all(Case::all().map(|case| async move {
        let mut testee = Testee::working(case, &case.server(brokers), 0, LONG).await;
        let token = testee.acts().await;
        let seen = look(&mut brokers.second.stub().await, &case.to_string()).await;
        assert_eq!(seen.state(), State::Held, "{case}");
        let grant = Rival::queue(&brokers.second, case).await.granted().await;
        assert_eq!(testee.ends().await.code(), Some(0), "{case}");
        testee.says("done").await;
        grant.judge(&testee, token);
        grant.release().await;
    }))
    .await;
}

#[tokio::test]
async fn waits_behind_a_holder() {
    let brokers = &Brokers::start().await;
    join_all(Case::all().map(|case| async move {
        let (server, name) = (case.server(brokers), case.to_string());
        let mut stub = brokers.second.stub().await;
        let (held, _stream) = acquire(&mut stub, once(&name)).await;
        let mut waiting = Testee::start(case, &server, 60).await;
        waiting.says("waiting: place 1").await;

        // Those who do not wait, or not for that long.
        let mut refused = Testee::start(case, &server, 0).await;
        assert_eq!(refused.ends().await.code(), Some(75), "{case}");
        let started = Instant::now();
        let mut refused = Testee::start(case, &server, 1).await;
        assert_eq!(refused.ends().await.code(), Some(75), "{case}");
        assert!(started.elapsed() >= Duration::from_secs(1), "{case}");

        assert!(!waiting.has_acted(), "{case}");
        assert_eq!(release(&mut stub, &name, &held.lock_id).await, Outcome::Released, "{case}");
        let token = waiting.acts().await;
        assert!(held.fencing_token < token, "{case}");
        waiting.kill();
    }))
    .await;
}

#[tokio::test]
async fn ends_and_releases_at_sigterm() {
    let brokers = &Brokers::start().await;
    join_all(Case::all().map(|case| async move {
        let server = case.server(brokers);
        let mut testee = Testee::start(case, &server, 0).await;
        let token = testee.acts().await;
        let mut waiting = Testee::start(case, &server, 60).await;
        waiting.says("waiting: place 1").await;
        let rival = Rival::queue(&brokers.first, case).await;

        // One that waits gives up its place.
        waiting.signal(Signal::TERM);
        assert_ne!(waiting.ends().await.code(), Some(0), "{case}");
        testee.signal(Signal::TERM);
        let told = Instant::now();
        let grant = rival.granted().await;
        assert!(grant.at < told + AT_ONCE, "{case}: granted after {:?}", grant.at - told);
        assert_ne!(testee.ends().await.code(), Some(0), "{case}");
        assert!(!waiting.has_acted(), "{case}");
        grant.judge(&testee, token);
        grant.release().await;
    }))
    .await;
}

#[tokio::test]
async fn a_killed_program_leaves_its_lock_at_once() {
    let brokers = &Brokers::start().await;
    join_all(Case::all().map(|case| async move {
        let mut testee = Testee::start(case, &case.server(brokers), 0).await;
        let token = testee.acts().await;
        let rival = Rival::queue(&brokers.second, case).await;
        // Its gRPC answers the first bytes with a ping. Killed with the answer unread, it would reset its connection.
        eventually(SOON, &format!("{case} works"), async || testee.acts_arrived() >= 25).await;
        testee.kill();
        let killed = Instant::now();
        let grant = rival.granted().await;
        assert!(grant.at < killed + AT_ONCE, "{case}: granted after {:?}", grant.at - killed);
        testee.ends().await;
        grant.judge(&testee, token);
    }))
    .await;
}

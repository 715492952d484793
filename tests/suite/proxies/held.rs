//! Locks that are held through a proxy for longer than its timeouts, while it is reloaded, and when it is killed.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use lockbroker::client::{Client, Guard};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::proxy::{Program, Proxied, Settings};
use crate::support::{Broker, SOON, acquire, granted_whenever, once, queue, stub, wait};

/// Longer than nginx' 60 s, HAProxy's 50 s and Envoy's 15 s.
const HOLD: Duration = Duration::from_secs(62);
/// A third of the default ttl: a holder hears from its broker as often.
const BEAT: Duration = Duration::from_secs(5);
/// For the default ttl, from when a heartbeat is sent to when its client takes its locks for lost if no other is
/// acknowledged: the ttl less 2 s and less the notice.
const VALIDITY: Duration = Duration::from_millis(12_500);
/// The old process of a proxy with plain settings ends so long after a reload.
const SHUTDOWN: Duration = Duration::from_secs(3);
/// For how long the old holder may believe beside the new one where something answers at its broker's address.
const OVERLAP: Duration = Duration::from_secs(5);

/// How a lock is held.
enum Holder {
    /// By the Rust client, on its Session.
    Session(Arc<Guard>),
    /// By a bare stub on a stream of its own, which was last heard at that moment.
    Stream(Arc<Mutex<Instant>>),
}

/// A lock that somebody holds through a proxy, and for which somebody else waits at the broker itself.
struct Held {
    what: String,
    fencing_token: i64,
    holder: Holder,
    /// Ends when the holder is told that it holds the lock no longer: when, and how.
    told: JoinHandle<(Instant, String)>,
    /// Ends when the next holder is told that it has the lock: when, and its token.
    granted: JoinHandle<(Instant, i64)>,
}

/// The end of a lock.
struct End {
    what: String,
    granted: Instant,
    told: Instant,
    how: String,
}

impl Held {
    async fn on_session(broker: &Broker, proxied: &Proxied, occasion: &str) -> Self {
        let what = format!("{proxied}: {occasion}, session");
        let client = Client::connect(proxied.url()).unwrap();
        let guard = client.acquire(&what).await.unwrap().guard().unwrap();
        Self::by(guard, broker, what).await
    }

    /// On a Session too, and to be kept when that ends.
    async fn kept(broker: &Broker, proxied: &Proxied, occasion: &str) -> Self {
        let what = format!("{proxied}: {occasion}, kept");
        let client = Client::connect(proxied.url()).unwrap();
        let guard = client.acquire(&what).keep_on_disconnect().await.unwrap().guard().unwrap();
        Self::by(guard, broker, what).await
    }

    async fn by(guard: Guard, broker: &Broker, what: String) -> Self {
        let guard = Arc::new(guard);
        let told = tokio::spawn({
            let guard = Arc::clone(&guard);
            async move {
                let reason = guard.lost().await;
                (Instant::now(), format!("{reason:?}"))
            }
        });
        let (fencing_token, granted) = (guard.fencing_token(), rival(broker, &what).await);
        Self { what, fencing_token, holder: Holder::Session(guard), told, granted }
    }

    async fn on_stream(broker: &Broker, proxied: &Proxied, occasion: &str) -> Self {
        let what = format!("{proxied}: {occasion}, stream");
        let (acquired, mut stream) = acquire(&mut stub(proxied.address()).await, once(&what)).await;
        let heard = Arc::new(Mutex::new(Instant::now()));
        let told = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                let status = loop {
                    match stream.message().await {
                        Ok(Some(_)) => *heard.lock().unwrap() = Instant::now(),
                        Ok(None) => break "OK".to_owned(),
                        Err(status) => break format!("{:?}", status.code()),
                    }
                };
                (Instant::now(), status)
            }
        });
        let granted = rival(broker, &what).await;
        Self { what, fencing_token: acquired.fencing_token, holder: Holder::Stream(heard), told, granted }
    }

    async fn both(broker: &Broker, proxied: &Proxied, occasion: &str) -> [Self; 2] {
        [Self::on_session(broker, proxied, occasion).await, Self::on_stream(broker, proxied, occasion).await]
    }

    /// Whether its holder was told nothing, and nobody else was granted it.
    fn stands(&self) -> bool {
        !self.told.is_finished() && !self.granted.is_finished()
    }

    /// Panics unless it stands and its holder and its broker hear each other, as they do once in a `BEAT`.
    fn assert_lives(&self) {
        assert!(self.stands(), "{}: ended", self.what);
        match &self.holder {
            Holder::Session(guard) => {
                let remaining = guard.remaining();
                assert!(remaining > VALIDITY - BEAT * 2, "{}: {remaining:?} remain", self.what);
            }
            Holder::Stream(heard) => {
                let silence = heard.lock().unwrap().elapsed();
                assert!(silence < BEAT * 2, "{}: silent for {silence:?}", self.what);
            }
        }
    }

    /// Waits for the end that the end of its proxy brings. None if its holder took the lock along: a socket that is
    /// closed with bytes unread is reset, and to the broker that is silence (R7a).
    async fn end_with_proxy(self, within: Duration, since: Instant) -> Option<End> {
        let start = Instant::now();
        while !self.told.is_finished() && start.elapsed() < within {
            sleep(Duration::from_millis(10)).await;
        }
        if !self.told.is_finished() {
            self.assert_lives();
            println!("{:55} reattached", self.what);
            return None;
        }
        let how: &[&str] = if matches!(self.holder, Holder::Session(_)) { &["Gone"] } else { &CUT };
        let end = self.end(VALIDITY + SOON, since).await;
        end.assert_told(how, OVERLAP);
        Some(end)
    }

    /// Panics unless its holder has it still, and hears from its broker, for a validity after its stream has ended at `ended`.
    async fn is_taken_along(&self, ended: Instant) {
        sleep((ended + VALIDITY + BEAT).saturating_duration_since(Instant::now())).await;
        self.assert_lives();
    }

    /// Waits until its holder was told and the next one has it, with a higher token.
    async fn end(self, within: Duration, since: Instant) -> End {
        let (told, granted) = timeout(within, join(self.told, self.granted))
            .await
            .unwrap_or_else(|_| panic!("{}: old and new holder have not both been told in {within:?}", self.what));
        let ((told, how), (granted, token)) = (told.unwrap(), granted.unwrap());
        assert!(token > self.fencing_token, "{}: token {token} after {}", self.what, self.fencing_token);
        let ms = |at: Instant| at.saturating_duration_since(since).as_millis();
        println!("{:55} next holder {:>5} ms, old holder told {:>5} ms: {how}", self.what, ms(granted), ms(told));
        End { what: self.what, granted, told, how }
    }
}

impl End {
    /// Panics unless the old holder was told as it should be, at most so long after the new one.
    fn assert_told(&self, how: &[&str], overlap: Duration) {
        assert!(how.contains(&&*self.how), "{}: {}", self.what, self.how);
        let measured = self.told.saturating_duration_since(self.granted);
        assert!(measured < overlap, "{}: told {measured:?} after the next holder", self.what);
    }
}

/// Waits at the broker itself, without a proxy, for what is held.
async fn rival(broker: &Broker, name: &str) -> JoinHandle<(Instant, i64)> {
    let (_, mut stream) = queue(&mut broker.stub().await, wait(name)).await;
    tokio::spawn(async move {
        let acquired = granted_whenever(&mut stream).await;
        (Instant::now(), acquired.fencing_token)
    })
}

/// How a bare stub sees the end of what carried its stream.
const CUT: [&str; 4] = ["Unknown", "Unavailable", "Internal", "Cancelled"];

async fn with_documented_settings(broker: &Broker, program: Program) {
    let mut proxied = Proxied::start(program, Settings::Documented, broker.address()).await;
    let held = Held::both(broker, &proxied, "held").await;
    sleep(HOLD).await;
    held.iter().for_each(Held::assert_lives);

    // New streams are the new process' at once; the old one keeps what it has.
    proxied.reload().await;
    let new = Held::both(broker, &proxied, "after a reload").await;
    sleep(BEAT * 2).await;
    held.iter().chain(&new).for_each(Held::assert_lives);

    // The kernel closes its connections, and to the broker that is the clients' word. It is back at once.
    let kept = Held::kept(broker, &proxied, "killed").await;
    let killed = Instant::now();
    proxied.kill();
    proxied.start_again().await;
    kept.is_taken_along(killed).await;
    join_all(held.into_iter().chain(new).map(|held| held.end_with_proxy(SOON, killed))).await;
    Held::both(broker, &proxied, "after a restart").await.iter().for_each(Held::assert_lives);
}

async fn with_plain_settings(broker: &Broker, program: Program) {
    let mut proxied = Proxied::start(program, Settings::Plain, broker.address()).await;
    let start = Instant::now();
    let [session, stream] = Held::both(broker, &proxied, "held").await;
    sleep(HOLD).await;
    session.assert_lives();
    let mut held = vec![session];
    if program == Program::Envoy {
        let end = stream.end(SOON, start).await;
        end.assert_told(&CUT, OVERLAP);
        let cut = end.granted - start;
        assert!((14..20).contains(&cut.as_secs()), "{program:?} ended a stream after {cut:?}");
    } else {
        stream.assert_lives();
        held.push(stream);
    }

    let kept = Held::kept(broker, &proxied, "held").await;
    let reloaded = Instant::now();
    proxied.reload().await;
    kept.is_taken_along(reloaded + SHUTDOWN).await;
    for held in held {
        if let Some(end) = held.end_with_proxy(SHUTDOWN + SOON, reloaded).await {
            let freed = end.granted - reloaded;
            assert!(freed > SHUTDOWN - Duration::from_secs(1), "{}: freed after {freed:?}", end.what);
        }
    }

    // Nobody answers at its address any more: the Rust client counts down what it was told.
    let [session, stream] = Held::both(broker, &proxied, "after a reload").await;
    let killed = Instant::now();
    proxied.kill();
    session.end(VALIDITY + SOON, killed).await.assert_told(&["Expired"], VALIDITY + Duration::from_secs(1));
    stream.end(SOON, killed).await.assert_told(&CUT, OVERLAP);
}

#[tokio::test]
async fn locks_are_held_for_longer_than_timeouts_and_while_proxies_are_reloaded() {
    let broker = Broker::memory().await;
    join(
        join_all(Program::ALL.map(|program| with_documented_settings(&broker, program))),
        join_all(Program::ALL.map(|program| with_plain_settings(&broker, program))),
    )
    .await;
}

//! A connection that holds locks, and moves them to another broker when its own goes away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tonic::Streaming;
use tonic::transport::Channel;

use super::connect::{connect_elsewhere, open};
use super::hold::{HoldArgs, Via};
use super::lane::{Held, Lane, acquire, end, next};
use super::measure::{Tally, Window};
use super::session::{Notice, Session, tell};
use super::{Error, GRACE};
use crate::proto::lock_event::Kind;
use crate::proto::lock_service_client::LockServiceClient;
use crate::proto::{AcquireResponse, ReleaseRequest};

/// The pause before the next try to connect to another broker.
const PAUSE: Duration = Duration::from_millis(100);

/// The observed of events that brokers report while the locks are held.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) acknowledged: AtomicU64,
    pub(super) not_renewed: AtomicU64,
    pub(super) renewed: AtomicU64,
    pub(super) moved: AtomicU64,
    tally: Arc<Tally>,
}

/// A connection and its locks.
#[derive(Debug)]
pub(super) struct Holder {
    args: HoldArgs,
    observed: Arc<Observed>,
    /// The broker that it is connected to now.
    at: tokio::sync::Mutex<At>,
    locks: Mutex<HashMap<String, LockIds>>,
}

#[derive(Debug, Clone)]
struct At {
    server: String,
    lane: Arc<Lane>,
}

/// The ids of a lock.
#[derive(Debug, Clone)]
struct LockIds {
    /// The lock_ref on a Session.
    lock_ref: i64,
    lock_id: String,
}

impl Default for Observed {
    fn default() -> Observed {
        let count = AtomicU64::default;
        let tally = Arc::new(Tally::new(Window::open()));
        Observed { acknowledged: count(), not_renewed: count(), renewed: count(), moved: count(), tally }
    }
}

impl Observed {
    /// Returns the tally of losses, and of how long things took.
    pub(super) fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }
}

impl Holder {
    /// Takes a connection. From now on it moves when it has to.
    pub(super) async fn open(
        args: HoldArgs,
        observed: Arc<Observed>,
        server: String,
        channel: Channel,
    ) -> Result<Arc<Holder>, Error> {
        let (lane, notices) = lane(&args, &server, channel).await?;
        let at = tokio::sync::Mutex::new(At { server, lane: Arc::clone(&lane) });
        let holder = Arc::new(Holder { args, observed, at, locks: Mutex::default() });
        holder.listen_to(lane, notices);
        Ok(holder)
    }

    /// Returns the names of all locks that are held.
    pub(super) fn names(&self) -> Vec<String> {
        self.locks().keys().cloned().collect()
    }

    /// Acquires a lock that nobody has.
    pub(super) async fn acquire(self: &Arc<Self>, name: &str) -> Result<(), String> {
        let lane = Arc::clone(&self.at.lock().await.lane);
        match &*lane {
            Lane::Session(session) => {
                let begun = session.begin(name, None);
                let lock_ref = begun.lock_ref;
                self.note(name, LockIds { lock_ref, lock_id: begun.lock_id().await? });
            }
            Lane::Stream(..) => match lane.acquire(name).await? {
                Held::Stream { stream, release } => self.hold(name, *stream, release, Arc::clone(&lane)),
                Held::Session(_) => return Err("a lock on another lane".into()),
            },
        }
        Ok(())
    }

    /// Releases a lock and waits until that is confirmed.
    pub(super) async fn release(&self, name: &str) -> Result<(), String> {
        let lane = Arc::clone(&self.at.lock().await.lane);
        let Some(LockIds { lock_ref, lock_id }) = self.locks().remove(name) else { return Err("not held".into()) };
        match &*lane {
            Lane::Session(session) => session.end(lock_ref).released().await,
            Lane::Stream(stub, _) => end(stub, ReleaseRequest { name: name.to_owned(), lock_id }).await,
        }
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<String, LockIds>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: &str, ids: LockIds) {
        self.locks().insert(name.to_owned(), ids);
    }

    fn over(&self, why: String) {
        self.observed.tally.fail(why);
    }

    fn moved(&self, since: Instant) {
        self.observed.moved.fetch_add(1, Ordering::Relaxed);
        self.observed.tally.note(since, &[("draining to the reattached lock", since.elapsed())]);
    }

    /// Connects to another broker, unless that has been done since `from` was left.
    async fn elsewhere(self: &Arc<Self>, from: &Arc<Lane>) -> Result<Arc<Lane>, Error> {
        let mut at = self.at.lock().await;
        let give_up = Instant::now() + GRACE;
        while Arc::ptr_eq(&at.lane, from) {
            let made = match connect_elsewhere(&self.args.common, &at.server).await {
                Ok((server, channel)) => lane(&self.args, &server, channel).await.map(|made| (server, made)),
                Err(error) => Err(error),
            };
            match made {
                Ok((server, (lane, notices))) => {
                    *at = At { server, lane: Arc::clone(&lane) };
                    self.listen_to(lane, notices);
                }
                Err(error) if Instant::now() > give_up => return Err(error),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        Ok(Arc::clone(&at.lane))
    }

    fn listen_to(self: &Arc<Self>, lane: Arc<Lane>, notices: Option<UnboundedReceiver<Notice>>) {
        if let Some(notices) = notices {
            tokio::spawn(listen(Arc::clone(self), lane, notices));
        }
    }

    /// Moves all locks from the Session that `from` is.
    async fn move_all(self: &Arc<Self>, from: &Arc<Lane>) {
        let began = Instant::now();
        let lane = match self.elsewhere(from).await {
            Ok(lane) => lane,
            Err(error) => return self.over(error.to_string()),
        };
        let Lane::Session(session) = &*lane else { return };
        let all = self.locks().clone();
        let begun = all.into_iter().map(|(name, ids)| {
            let begun = session.reattach(&name, ids.lock_id);
            (name, begun)
        });
        for (name, begun) in begun.collect::<Vec<_>>() {
            let lock_ref = begun.lock_ref;
            match begun.lock_id().await {
                Ok(lock_id) => {
                    self.note(&name, LockIds { lock_ref, lock_id });
                    self.moved(began);
                }
                Err(why) => {
                    self.locks().remove(&name);
                    self.over(why);
                }
            }
        }
    }

    /// Reads a lock's stream from now on.
    fn hold(
        self: &Arc<Self>,
        name: &str,
        stream: Streaming<AcquireResponse>,
        release: ReleaseRequest,
        lane: Arc<Lane>,
    ) {
        self.note(name, LockIds { lock_ref: 0, lock_id: release.lock_id });
        tokio::spawn(read(Arc::clone(self), name.to_owned(), stream, lane));
    }

    async fn move_one(self: &Arc<Self>, name: &str, from: &Arc<Lane>) -> Result<Streaming<AcquireResponse>, String> {
        let began = Instant::now();
        let lane = self.elsewhere(from).await.map_err(|error| error.to_string())?;
        let lock_id = self.locks().get(name).map(|ids| ids.lock_id.clone()).ok_or("not held")?;
        let Lane::Stream(stub, ttl) = &*lane else { return Err("a lock on another lane".into()) };
        match acquire(stub, name, *ttl, lock_id).await? {
            Held::Stream { stream, release } => {
                self.note(name, LockIds { lock_ref: 0, lock_id: release.lock_id });
                self.moved(began);
                Ok(*stream)
            }
            Held::Session(_) => Err("a lock on another lane".into()),
        }
    }
}

type Made = (Arc<Lane>, Option<UnboundedReceiver<Notice>>);

async fn lane(args: &HoldArgs, server: &str, channel: Channel) -> Result<Made, Error> {
    Ok(match args.via {
        Via::Session => {
            let (session, notices): (Session, _) = open(server, channel, args.ttl).await?;
            (Arc::new(Lane::Session(session)), Some(notices))
        }
        Via::Stream => (Arc::new(Lane::Stream(LockServiceClient::new(channel), args.ttl)), None),
    })
}

/// Notes what a Session says unasked, until it has ended or been left.
async fn listen(holder: Arc<Holder>, lane: Arc<Lane>, mut notices: UnboundedReceiver<Notice>) {
    let observed = Arc::clone(&holder.observed);
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Acknowledged { after, not_renewed } => {
                observed.acknowledged.fetch_add(1, Ordering::Relaxed);
                observed.not_renewed.fetch_add(not_renewed as u64, Ordering::Relaxed);
                observed.tally.note(Instant::now(), &[("heartbeat to its ack", after)]);
            }
            Notice::Over(kind) => holder.over(tell(&kind)),
            // What it says of its locks from now on does not count: others answer for them.
            Notice::Draining => return holder.move_all(&lane).await,
        }
    }
}

/// Notes what is said on a lock's stream, and moves it when its broker goes away.
async fn read(holder: Arc<Holder>, name: String, mut stream: Streaming<AcquireResponse>, mut lane: Arc<Lane>) {
    loop {
        match next(&mut stream).await {
            Ok(Some(Kind::Renewed(_))) => {
                holder.observed.renewed.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Some(Kind::Draining(_))) => match holder.move_one(&name, &lane).await {
                Ok(moved) => {
                    stream = moved;
                    lane = Arc::clone(&holder.at.lock().await.lane);
                }
                Err(why) => return holder.over(why),
            },
            Ok(Some(Kind::Released(_)) | None) => return,
            // What is told after the release has been asked for.
            Ok(Some(_)) | Err(_) if !holder.locks().contains_key(&name) => return,
            Ok(Some(other)) => return holder.over(tell(&other)),
            Err(why) => return holder.over(why),
        }
    }
}

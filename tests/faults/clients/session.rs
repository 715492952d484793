//! A client with nothing but the stub and a Session with several locks on it. It sends its heartbeats, keeps an
//! instant for the session and one for each lock that an ack leaves out, and lets everything be when the stream ends:
//! it reattaches nothing.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::{
    AlsoLock, BeginLock, EndLock, Heartbeat, HeartbeatAck, OpenSession, SessionRequest, SessionResponse,
    session_request, session_response,
};
use rand::RngExt;
use tokio::sync::mpsc;
use tokio::time::{sleep, sleep_until, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;

use super::{Holding, LISTEN_ON, Life, PATIENCE, PAUSE, Wanted, duration, got, wait_spec};
use crate::history::TTL;

/// The number of locks, or of several together, that a client holds or wants at a time.
const LOCKS: usize = 3;

pub(super) async fn run(mut life: Life) {
    while life.goes_on() {
        match Session::open(&life).await {
            Some(session) => session.live(&mut life).await,
            None => sleep(PAUSE).await,
        }
    }
}

struct Session {
    requests: mpsc::UnboundedSender<SessionRequest>,
    responses: Streaming<SessionResponse>,
    /// Covers every lock that is not in `behind`.
    covered_until: Instant,
    behind: HashMap<i64, Instant>,
    /// Heartbeats and when they were sent; the first is the latest that was acknowledged.
    beats: VecDeque<(i64, Instant)>,
    beat_every: std::time::Duration,
    next_beat: Instant,
    last_seq: i64,
    last_ref: i64,
    heard: Instant,
    locks: HashMap<i64, Lock>,
}

enum Lock {
    Asked {
        wanted: Vec<Wanted>,
        asked: Instant,
    },
    Held {
        holding: Holding,
        go_at: Instant,
    },
    /// The validity is over, and the broker has not said so yet.
    RunOut(Holding),
}

impl Session {
    async fn open(life: &Life) -> Option<Self> {
        let mut stub = life.dial().await?;
        let (requests, receiver) = mpsc::unbounded_channel();
        let sent = Instant::now();
        let open = session_request::Kind::Open(OpenSession { ttl: None });
        requests.send(SessionRequest { kind: Some(open) }).unwrap();
        let opening = async {
            let mut responses = stub.session(UnboundedReceiverStream::new(receiver)).await.ok()?.into_inner();
            let first = responses.message().await.ok()??;
            Some((responses, first))
        };
        let (responses, first) = timeout(PATIENCE, opening).await.ok()??;
        let Some(session_response::Kind::Opened(opened)) = first.kind else { panic!("{first:?} is no `opened`") };
        let beat_every = duration(opened.heartbeat_interval);
        Some(Self {
            requests,
            responses,
            covered_until: sent + duration(opened.expires_after_open),
            behind: HashMap::new(),
            beats: VecDeque::new(),
            beat_every,
            next_beat: sent + beat_every,
            last_seq: 0,
            last_ref: 0,
            heard: Instant::now(),
            locks: HashMap::new(),
        })
    }

    /// Runs until the stream ends, is silent for too long, or the client's time is over.
    async fn live(mut self, life: &mut Life) {
        while life.goes_on() {
            self.want(life);
            let wake = self.next_thing_to_do(life).into();
            tokio::select! {
                message = self.responses.message() => match message {
                    Ok(Some(SessionResponse { kind: Some(kind) })) => self.handle(kind, life),
                    _ => return self.close(true, life),
                },
                () = sleep_until(wake) => {}
            }
            if self.heard.elapsed() > TTL + LISTEN_ON {
                return self.close(false, life);
            }
            self.beat();
            self.keep_time(life);
        }
        for (_, lock) in self.locks.drain() {
            match lock {
                Lock::Held { holding, .. } if !holding.has_run_out() => holding.let_go(life),
                // It may be that it would have been told.
                Lock::Held { holding, .. } | Lock::RunOut(holding) => holding.lost(true, life),
                Lock::Asked { .. } => {}
            }
        }
    }

    /// Begins a lock if there are few.
    fn want(&mut self, life: &mut Life) {
        let wanted = life.choose_together();
        let is_here = |lock: &Lock| match lock {
            Lock::Asked { wanted: here, .. } => {
                wanted.iter().any(|one| here.iter().any(|other| other.name == one.name))
            }
            Lock::Held { holding, .. } | Lock::RunOut(holding) => wanted.iter().any(|one| holding.is_of(one.name)),
        };
        if self.locks.len() >= LOCKS || self.locks.values().any(is_here) {
            return;
        }
        self.last_ref += 1;
        let wait = life.rng.random_bool(0.9).then(|| wait_spec(life.max_wait())).flatten();
        let mut locks = wanted.iter().map(|wanted| Some(wanted.spec(life)));
        let lock = locks.next().flatten();
        let also = locks.map(|lock| AlsoLock { lock, ..Default::default() }).collect();
        let begin = BeginLock { lock_ref: self.last_ref, lock, wait, also, ..Default::default() };
        self.send(session_request::Kind::Begin(begin));
        self.locks.insert(self.last_ref, Lock::Asked { wanted, asked: Instant::now() });
    }

    fn send(&self, kind: session_request::Kind) {
        // Fails when the stream has ended, which its other half will tell.
        let _ = self.requests.send(SessionRequest { kind: Some(kind) });
    }

    fn next_thing_to_do(&self, life: &Life) -> Instant {
        // While nothing is let go, there is nothing to do at `go_at`.
        let earliest = if life.is_to_hold_on() { Instant::now() + PAUSE } else { Instant::now() };
        let of_locks = self.locks.values().map(|lock| match lock {
            Lock::Asked { .. } => life.end,
            Lock::Held { holding, go_at } => holding.valid_until.min((*go_at).max(earliest)),
            Lock::RunOut(holding) => holding.valid_until + LISTEN_ON,
        });
        let silence = self.heard + TTL + LISTEN_ON;
        of_locks.chain([self.next_beat, silence, life.end]).min().unwrap_or(life.end)
    }

    fn beat(&mut self) {
        let now = Instant::now();
        if now >= self.next_beat {
            self.last_seq += 1;
            self.beats.push_back((self.last_seq, now));
            self.send(session_request::Kind::Heartbeat(Heartbeat { seq: self.last_seq }));
            self.next_beat = now + self.beat_every;
        }
    }

    fn handle(&mut self, kind: session_response::Kind, life: &mut Life) {
        self.heard = Instant::now();
        match kind {
            session_response::Kind::Opened(_) => panic!("opened twice"),
            session_response::Kind::HeartbeatAck(ack) => self.acknowledged(&ack, life),
            session_response::Kind::Event(event) => {
                if let Some(kind) = event.event.and_then(|event| event.kind) {
                    self.told(event.lock_ref, kind, life);
                }
            }
        }
    }

    fn acknowledged(&mut self, ack: &HeartbeatAck, life: &Life) {
        let Some(&(_, sent)) = self.beats.iter().find(|&&(seq, _)| seq == ack.seq) else { return };
        self.beats.retain(|&(seq, _)| seq >= ack.seq);
        let kept = |&lock: &i64| (lock, self.behind.get(&lock).copied().unwrap_or(self.covered_until));
        self.behind = ack.not_renewed.iter().map(kept).collect();
        self.covered_until = sent + duration(ack.expires_after_heartbeat);
        let covered = self.locks.keys().filter(|&lock_ref| !self.behind.contains_key(lock_ref));
        for lock_ref in covered.copied().collect::<Vec<_>>() {
            match self.locks.remove(&lock_ref) {
                // Renewed, and too late for the client: it gives it back.
                Some(Lock::RunOut(holding)) => {
                    holding.lost(true, life);
                    self.send(session_request::Kind::End(EndLock { lock_ref }));
                }
                Some(mut lock) => {
                    if let Lock::Held { holding, .. } = &mut lock {
                        holding.valid_until(self.covered_until);
                    }
                    self.locks.insert(lock_ref, lock);
                }
                None => {}
            }
        }
    }

    fn told(&mut self, lock_ref: i64, kind: Kind, life: &mut Life) {
        match (self.locks.remove(&lock_ref), kind) {
            (Some(lock), Kind::Queued(_) | Kind::Draining(_) | Kind::Renewed(_)) => {
                self.locks.insert(lock_ref, lock);
            }
            (Some(Lock::Asked { wanted, asked }), kind) => {
                life.note_wait(&wanted, asked);
                if let Kind::Acquired(acquired) = kind {
                    let valid_until = self.behind.get(&lock_ref).copied().unwrap_or(self.covered_until);
                    if valid_until <= Instant::now() {
                        return self.send(session_request::Kind::End(EndLock { lock_ref }));
                    }
                    let holding = Holding::begin(life, &got(&wanted, &acquired), valid_until);
                    let go_at = Instant::now() + life.hold_for(wanted.len());
                    self.locks.insert(lock_ref, Lock::Held { holding, go_at });
                }
            }
            (Some(Lock::Held { holding, .. } | Lock::RunOut(holding)), _) => {
                let is_one = holding.holds.len() == 1;
                holding.lost(true, life);
                // Of several the others are freed by that, or when they can be believed in no more.
                if !is_one && life.rng.random() {
                    self.send(session_request::Kind::End(EndLock { lock_ref }));
                }
            }
            // The answer to an end.
            (None, _) => {}
        }
    }

    /// Lets go what was held for long enough, and takes note of what has run out.
    fn keep_time(&mut self, life: &Life) {
        let now = Instant::now();
        let refs: Vec<i64> = self.locks.keys().copied().collect();
        for lock_ref in refs {
            match self.locks.remove(&lock_ref) {
                Some(Lock::Held { mut holding, .. }) if holding.has_run_out() => {
                    holding.doubt();
                    self.locks.insert(lock_ref, Lock::RunOut(holding));
                }
                Some(Lock::Held { holding, go_at }) if now >= go_at && !life.is_to_hold_on() => {
                    holding.let_go(life);
                    self.send(session_request::Kind::End(EndLock { lock_ref }));
                }
                Some(Lock::RunOut(holding)) if now >= holding.valid_until + LISTEN_ON => {
                    holding.lost(false, life);
                    self.send(session_request::Kind::End(EndLock { lock_ref }));
                }
                Some(lock) => {
                    self.locks.insert(lock_ref, lock);
                }
                None => {}
            }
        }
    }

    /// Notes that the stream has ended (`told`) or is given up.
    fn close(mut self, told: bool, life: &Life) {
        for (_, lock) in self.locks.drain() {
            match lock {
                Lock::Held { holding, .. } | Lock::RunOut(holding) => holding.lost(told, life),
                Lock::Asked { wanted, asked } => life.note_wait(&wanted, asked),
            }
        }
    }
}

//! Handles on clients' streams: what is read from them, and what their clients ask on them.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use lockbroker_core::{Broker as Core, Item, Read, StreamKey};
use tokio::sync::Notify;

use super::engine::{Engine, Outside};
use super::{Failure, LockRef, LockRequest, ProtocolError, StreamEnd};
use crate::lock::CallKey;

/// The part of a stream that the engine and its handles share. Each lock on a stream of its own has one, so it is small.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Woken when there is something to read.
    reader: AtomicWaker,
    /// Told that the Session's client is not heard any more.
    silent: Notify,
}

impl Shared {
    pub(super) fn wake(&self) {
        self.reader.wake();
    }

    /// Lets the Session hear of it, even if it listens only later.
    pub(super) fn fall_silent(&self) {
        self.silent.notify_one();
    }
}

/// The stream of a client, to be read. Dropping it says that nobody reads any more, which ends no lock.
#[derive(Debug)]
pub struct ClientStream {
    engine: Arc<Engine>,
    key: StreamKey,
    shared: Arc<Shared>,
}

/// Ends a stream, when it is known how that ended.
#[derive(Debug, Clone)]
pub struct StreamEnder {
    engine: Arc<Engine>,
    key: StreamKey,
}

impl ClientStream {
    pub(super) fn new(engine: &Arc<Engine>, caller: Option<Arc<str>>) -> ClientStream {
        let (key, shared) = engine.new_stream(caller);
        ClientStream { engine: Arc::clone(engine), key, shared }
    }

    /// Returns the name of the stream, to open a Session on it.
    pub fn key(&self) -> StreamKey {
        self.key
    }

    /// Returns the next item; `None` at the end.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.shared.reader.register(cx.waker());
        match self.engine.read(self.key) {
            Read::Item(item) => Poll::Ready(Some(item)),
            Read::Nothing => Poll::Pending,
            Read::End => Poll::Ready(None),
        }
    }

    /// Makes the lock that was announced on this stream, which has no other, a lease. The stream is over. Returns false if the
    /// lock is not held any more: what became of it is told here.
    pub fn make_lease(&self, call: Option<CallKey>) -> bool {
        self.engine.turn(|core, outside| core.make_lease(self.key, call, outside))
    }

    /// Ends the stream. One whose client was unresponsive may still be closed by it.
    pub fn end(&self, by: StreamEnd) {
        self.ender().end(by);
    }

    /// Returns what ends the stream later, when the reader may have gone.
    pub fn ender(&self) -> StreamEnder {
        StreamEnder { engine: Arc::clone(&self.engine), key: self.key }
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        self.engine.stop_reading(self.key);
    }
}

impl StreamEnder {
    /// Ends the stream, as [`ClientStream::end`].
    pub fn end(&self, by: StreamEnd) {
        self.engine.turn(|core, outside| core.end(self.key, by, outside));
    }
}

/// The client's side of a Session. Dropping it ends the Session as if the client were unresponsive.
#[derive(Debug)]
pub struct Session {
    engine: Arc<Engine>,
    key: StreamKey,
    ttl: Duration,
    shared: Arc<Shared>,
    is_silent: bool,
    closed: bool,
}

impl Session {
    pub(super) fn open(engine: &Arc<Engine>, key: StreamKey, ttl: Duration) -> Result<Session, Failure> {
        engine.turn(|core, outside| core.open(key, ttl, outside))?;
        let shared = engine.shared(key);
        Ok(Session { engine: Arc::clone(engine), key, ttl, shared, is_silent: false, closed: false })
    }

    /// Returns the ttl of all its locks.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Handles messages of the client. All that have come together are handled in one turn, at one time.
    pub fn turn<T>(&self, handle: impl FnOnce(&mut SessionTurn<'_>) -> T) -> T {
        self.engine.turn(|core, outside| handle(&mut SessionTurn { core, outside, key: self.key }))
    }

    /// Resolves when the client's heartbeats have been missing for so long that it no longer believes in its locks. They
    /// are being released then, and [`Session::close`] follows.
    ///
    /// # Cancel safety
    /// Nothing is lost; call it again.
    pub async fn silent(&mut self) {
        if !self.is_silent {
            self.shared.silent.notified().await;
            self.is_silent = true;
        }
    }

    /// Ends the Session. If its client closed it, the stream ends when everything on it has been released, or that takes
    /// too long.
    pub fn close(mut self, by: StreamEnd) {
        self.closed = true;
        self.engine.turn(|core, outside| core.end(self.key, by, outside));
    }
}

/// Whoever gets dropped without a word was cut off, for instance because its task was: that proves nothing about the
/// client.
impl Drop for Session {
    fn drop(&mut self) {
        if !self.closed {
            self.engine.turn(|core, outside| core.end(self.key, StreamEnd::Unresponsive, outside));
        }
    }
}

/// What a client can ask on a Session, in one turn.
#[derive(Debug)]
pub struct SessionTurn<'a> {
    core: &'a mut Core,
    outside: &'a mut Outside,
    key: StreamKey,
}

impl SessionTurn<'_> {
    /// Takes note of a heartbeat: all locks are renewed, and then it is acknowledged.
    ///
    /// # Errors
    /// Its number does not rise.
    pub fn heartbeat(&mut self, seq: i64) -> Result<(), ProtocolError> {
        self.core.heartbeat(self.key, seq, self.outside)
    }

    /// Takes note of a new lock's handle; [`SessionTurn::begin`] or [`SessionTurn::turn_back`] follows.
    ///
    /// # Errors
    /// It does not rise.
    pub fn take_ref(&mut self, lock_ref: LockRef) -> Result<(), ProtocolError> {
        self.core.take_ref(self.key, lock_ref, self.outside)
    }

    /// Begins to get a lock. What comes of it is told on the stream.
    pub fn begin(&mut self, lock_ref: LockRef, request: LockRequest) {
        self.core.begin(self.key, lock_ref, request, self.outside);
    }

    /// Begins to get several locks together, or several permits. What comes of it is told on the stream.
    pub fn begin_together(&mut self, lock_ref: LockRef, requests: Vec<LockRequest>) {
        self.core.begin_together(self.key, lock_ref, requests, self.outside);
    }

    /// Turns back a lock whose request does not do.
    pub fn turn_back(&mut self, lock_ref: LockRef, failure: Failure) {
        self.core.turn_back(self.key, lock_ref, failure, self.outside);
    }

    /// Gives up a lock, or the wait for it. Ending what has already ended does nothing.
    ///
    /// # Errors
    /// There never was such a lock.
    pub fn end(&mut self, lock_ref: LockRef) -> Result<(), ProtocolError> {
        self.core.end_lock(self.key, lock_ref, self.outside)
    }
}

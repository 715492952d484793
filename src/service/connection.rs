//! What became of a client's connection: did the client speak, or did it fall silent?
//!
//! tonic tells a handler only that its stream was dropped. A client that cancelled, a client that was
//! killed, a client that no longer answers pings and a client that sent rubbish all look the same from
//! there. [`TrackedIo`] sits between the socket and HTTP/2, where they differ, and shares what it sees
//! with every handler as an `Arc<Connection>` among the request's extensions.
//!
//! # Why asking the connection is exact
//!
//! On a frame that breaks the protocol, and when it gives up on an unanswered ping, h2 first fails every
//! stream and only then writes its GOAWAY and shuts the socket down; the streams' tasks may run on other
//! threads before it does. But from the moment at which it decides to end the connection it never reads
//! from it again. A connection on which the peer merely reset one stream does. So [`Connection::settle`]
//! wakes the connection's task and waits to see which comes next: a read, or the end.
//!
//! A reset can come right behind the client's word, and both show in one turn. The word counts: [`TrackedIo`] keeps
//! the reset back for one turn, in which the streams that the client ended ask what became of them. A write that fails
//! does so by way of the next read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

pub(crate) use super::connection_end::ConnectionMetrics;
pub use super::connection_end::{ConnectionEnd, Transport};
use super::goodbye::Goodbye;
use super::patience::{OpenCalls, Patience};
use crate::clock::Moment;
use crate::mutations::{self, Rule};
use crate::policy::{Caller, Identity};
use crate::quota::Share;

/// For how long [`Connection::settle`] waits for the connection's task. It runs within microseconds unless it waits for
/// room to write, which a client that reads makes, or for its turn behind thousands of calls that came at once.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// After so many bytes a connection's task lets others have their turn. h2 reads for as long as there is something to
/// read, up to tokio's 128 operations a turn, before it hands a single new stream to its handler. A client that makes
/// 100,000 calls at once would thus put them all in the queue in front of everybody else's renewals, which came too
/// late then; and their unread DATA frames would run h2 over its budget, which ends the connection.
const BYTES_A_TURN: usize = 8 * 1024;

/// Where more tasks than this wait for their turn in the runtime's common queue, a connection that has had its own
/// waits with them. (To yield is enough on one thread, which has one queue. Each of several serves its own short queue
/// first, where the connection is back at once, and moves what does not fit there to the common one.)
const LONG_QUEUE: usize = 64;
/// How often it looks whether the queue has become shorter…
const PAUSE: Duration = Duration::from_millis(1);
/// …and how many times: where everybody is busy all the time the queue stays long, and even then nobody is shut out.
const MOST_PAUSES: u32 = 100;

/// How a stream ended, by what its connection tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The client has spoken: it ended the stream or closed the connection, or its kernel did because
    /// the process is gone. It no longer believes that it holds anything.
    Word,
    /// The client was not heard: it did not answer pings, or broke the protocol, or the network failed or
    /// reset the connection, or we ended it. The client may still believe.
    Silence,
}

impl From<ConnectionEnd> for StreamEnd {
    fn from(end: ConnectionEnd) -> StreamEnd {
        match end {
            ConnectionEnd::Closed => StreamEnd::Word,
            ConnectionEnd::Reset if mutations::breaks(Rule::ResetIsSilence) => StreamEnd::Word,
            ConnectionEnd::Reset | ConnectionEnd::Failed | ConnectionEnd::ByBroker => StreamEnd::Silence,
        }
    }
}

/// What is known of one accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// How it ended, once it has: whatever comes first.
    end: OnceLock<ConnectionEnd>,
    transport: Transport,
    /// From when on `last_byte` counts.
    accepted: Moment,
    /// When a byte last came, in milliseconds.
    last_byte: AtomicU64,
    /// No byte for this long is silence.
    keepalive_interval: Duration,
    caller: Caller,
    /// Counts the reads that HTTP/2 has begun.
    reads: AtomicU64,
    /// Wakes the task that reads.
    reader: AtomicWaker,
    /// How many wait in `settle`, so that reads cost nothing extra while nobody does.
    settling: AtomicUsize,
    /// Tells them that a read began or that the connection ended.
    progress: Notify,
    calls: OpenCalls,
}

impl Connection {
    fn new(transport: Transport, keepalive_interval: Duration, caller: Caller) -> Connection {
        Connection {
            end: OnceLock::new(),
            transport,
            accepted: Moment::now(),
            last_byte: AtomicU64::new(0),
            keepalive_interval,
            caller,
            reads: AtomicU64::new(0),
            reader: AtomicWaker::new(),
            settling: AtomicUsize::new(0),
            progress: Notify::new(),
            calls: OpenCalls::default(),
        }
    }

    /// Takes note of a call on this connection, until what this returns is dropped.
    pub(crate) fn begin_call(self: &Arc<Self>) -> OpenCall {
        self.calls.begin();
        OpenCall(Arc::clone(self))
    }

    /// By what its client is known.
    pub fn caller(&self) -> &[Identity] {
        &self.caller
    }

    /// Tells how a stream of this connection ended. To be called as soon as the stream has ended, by the client or with
    /// the connection and not by the broker.
    ///
    /// Immediate where the connection has ended; otherwise it takes one turn of the
    /// connection's task, and five seconds at most. What is still in doubt then is [`StreamEnd::Silence`].
    ///
    /// A stream that breaks HTTP/2's rules for itself alone (bytes after its own end, say) is reset by
    /// us while the connection lives on. That counts as the client's word: it is told at once.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn settle(self: &Arc<Self>) -> impl Future<Output = StreamEnd> + Send + use<> {
        let waiting = Waiting::new(Arc::clone(self));
        // At the call and not at the first poll: by then HTTP/2 may have read on already.
        let before = self.reads.load(Ordering::SeqCst);
        async move {
            let settled = waiting.0.settled(before);
            tokio::time::timeout(SETTLE_LIMIT, settled).await.unwrap_or(StreamEnd::Silence)
        }
    }

    async fn settled(&self, before: u64) -> StreamEnd {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            // HTTP/2 reads on where the stream alone has ended, whatever that read then shows.
            if self.reads.load(Ordering::SeqCst) != before {
                return StreamEnd::Word;
            }
            if let Some(end) = self.verdict() {
                return end;
            }
            self.reader.wake();
            progress.await;
        }
    }

    /// What is certain without asking the connection's task.
    fn verdict(&self) -> Option<StreamEnd> {
        match self.end.get() {
            Some(&end) => Some(end.into()),
            None => self.is_quiet().then_some(StreamEnd::Silence),
        }
    }

    /// Whether no byte has come for so long that this is silence.
    fn is_quiet(&self) -> bool {
        let last_byte = Duration::from_millis(self.last_byte.load(Ordering::Relaxed));
        self.accepted.elapsed().saturating_sub(last_byte) >= self.keepalive_interval
    }

    fn heard(&self) {
        // 0 stands for never.
        self.last_byte.store(self.accepted.elapsed().as_millis().max(1) as u64, Ordering::Relaxed);
    }

    /// Takes note of the connection's end; what came first stands.
    fn ended(&self, end: ConnectionEnd) {
        if self.end.set(end).is_ok() {
            self.progress.notify_waiters();
        }
    }

    fn watch<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            self.ended(ConnectionEnd::of(error, self.transport));
        }
        result
    }
}

/// A call that has not ended.
#[derive(Debug)]
pub(crate) struct OpenCall(Arc<Connection>);

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.calls.end(self.0.accepted);
    }
}

/// Counts one caller of `settle` for as long as it waits.
struct Waiting(Arc<Connection>);

impl Waiting {
    fn new(connection: Arc<Connection>) -> Waiting {
        connection.settling.fetch_add(1, Ordering::SeqCst);
        Waiting(connection)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.settling.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A socket that remembers how its peer behaved.
///
/// One task must drive both directions, as HTTP/2 does: it is the one that [`Connection::settle`] wakes.
#[derive(Debug)]
pub struct TrackedIo<T> {
    io: T,
    connection: Arc<Connection>,
    goodbye: Goodbye,
    /// The latest read found nothing more: HTTP/2 has heeded every frame, and none of them was amiss.
    caught_up: bool,
    turn: Turn,
    /// A failure that the next read tells. Nothing else touches the socket before: it would show another one.
    kept_back: Option<io::Error>,
    counted_by: Option<Arc<ConnectionMetrics>>,
    /// Its place among those that may be open.
    room: Option<Share>,
    patience: Option<Patience>,
}

/// Whose turn it is.
#[derive(Debug)]
enum Turn {
    /// This connection's, which has read so much in it.
    Ours(usize),
    /// Ours was over so many pauses ago.
    Over(u32),
    /// The others', for one more pause.
    Theirs(u32, Pin<Box<Sleep>>),
}

impl<T> TrackedIo<T> {
    /// Tracks `io`, on which a peer that sends nothing for `keepalive_interval` counts as silent, and whose peer is
    /// `caller`. Under TLS, `io` is what is decrypted.
    pub fn new(io: T, transport: Transport, keepalive_interval: Duration, caller: Caller) -> TrackedIo<T> {
        let connection = Arc::new(Connection::new(transport, keepalive_interval, caller));
        TrackedIo {
            io,
            connection,
            goodbye: Goodbye::new(),
            caught_up: false,
            turn: Turn::Ours(0),
            kept_back: None,
            counted_by: None,
            room: None,
            patience: None,
        }
    }

    /// Gives up its place among the connections that may be open when it is dropped.
    pub(crate) fn with_room(mut self, room: Share) -> TrackedIo<T> {
        self.room = Some(room);
        self
    }

    /// Ends it when `patience` does.
    pub(crate) fn with_patience(mut self, patience: Patience) -> TrackedIo<T> {
        self.patience = Some(patience);
        self
    }

    /// Counts it among the open ones until it is dropped, and then by how it ended.
    pub(crate) fn counted_by(mut self, metrics: &Arc<ConnectionMetrics>) -> TrackedIo<T> {
        metrics.open.begin();
        self.counted_by = Some(Arc::clone(metrics));
        self
    }

    /// Tells how it ends where the broker ends it now.
    fn end(&self) -> ConnectionEnd {
        let transport = self.connection.transport;
        self.kept_back.as_ref().map_or(ConnectionEnd::ByBroker, |failure| ConnectionEnd::of(failure, transport))
    }
}

impl<T: Unpin> TrackedIo<T> {
    /// Keeps a failure back until the next read, which comes when others have had their turn.
    fn keep_back(&mut self, failure: io::Error, cx: &Context<'_>) {
        (self.kept_back, self.turn) = (Some(failure), Turn::Over(0));
        cx.waker().wake_by_ref();
    }

    /// Writes, and returns `done` where that is in vain.
    fn write<R>(
        &mut self,
        cx: &mut Context<'_>,
        done: R,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if self.kept_back.is_none() {
            let result = write(Pin::new(&mut self.io), cx);
            match self.stuck(cx, result) {
                Poll::Ready(Err(failure)) => self.keep_back(failure, cx),
                result => return result,
            }
        }
        Poll::Ready(Ok(done))
    }
}

impl<T> TrackedIo<T> {
    /// Ends a connection on which nothing can be written for too long.
    fn stuck<U>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<U>>) -> Poll<io::Result<U>> {
        if self.patience.as_mut().is_some_and(|patience| patience.is_stuck(cx, result.is_pending())) {
            self.connection.ended(ConnectionEnd::ByBroker);
            let why = "the client has not read for too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        result
    }
}

impl<T> Drop for TrackedIo<T> {
    fn drop(&mut self) {
        self.connection.ended(self.end());
        if let Some(metrics) = &self.counted_by {
            metrics.open.end();
            self.connection.end.get().into_iter().for_each(|&end| metrics.ended.inc(end));
        }
    }
}

impl<T> Connected for TrackedIo<T> {
    type ConnectInfo = Arc<Connection>;

    fn connect_info(&self) -> Arc<Connection> {
        self.connection.clone()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for TrackedIo<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let connection = &this.connection;
        // In this order: whoever finds the count unchanged finds the waker registered.
        connection.reader.register(cx.waker());
        connection.reads.fetch_add(1, Ordering::SeqCst);
        if connection.settling.load(Ordering::SeqCst) > 0 {
            connection.progress.notify_waiters();
        }

        let taken = loop {
            match &mut this.turn {
                Turn::Ours(taken) if *taken < BYTES_A_TURN => break *taken,
                Turn::Ours(_) => {
                    this.caught_up = false;
                    this.turn = Turn::Over(0);
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                &mut Turn::Over(pauses) => {
                    let waiting = Handle::current().metrics().global_queue_depth();
                    this.turn = if waiting > LONG_QUEUE && pauses < MOST_PAUSES {
                        Turn::Theirs(pauses + 1, Box::pin(sleep(PAUSE)))
                    } else {
                        Turn::Ours(0)
                    };
                }
                Turn::Theirs(pauses, pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.turn = Turn::Over(*pauses);
                }
            }
        };

        if let Some(error) = this.kept_back.take() {
            return connection.watch(Poll::Ready(Err(error)));
        }
        let before = buf.filled().len();
        let has_room = buf.remaining() > 0;
        let mut io = (&mut this.io).take((BYTES_A_TURN - taken) as u64);
        let result = Pin::new(&mut io).poll_read(cx, buf);
        if taken > 0
            && let Poll::Ready(Err(error)) = result
        {
            this.caught_up = true;
            this.keep_back(error, cx);
            return Poll::Pending;
        }
        let result = connection.watch(result);
        this.caught_up = result.is_pending();
        this.turn = Turn::Ours(if this.caught_up { 0 } else { taken + buf.filled().len() - before });
        if result.is_pending()
            && let Some(patience) = &mut this.patience
        {
            let last_byte = Duration::from_millis(connection.last_byte.load(Ordering::Relaxed));
            ready!(patience.poll_idle(cx, &connection.calls, connection.accepted.elapsed(), last_byte));
            connection.ended(ConnectionEnd::ByBroker);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was asked for too long")));
        }
        if let Poll::Ready(Ok(())) = result {
            if buf.filled().len() > before {
                connection.heard();
                this.goodbye.look(&buf.filled()[before..]);
            } else if has_room {
                connection.ended(ConnectionEnd::Closed);
            }
        }
        result
    }
}

/// No write fails: what cannot leave is lost, and the next read says why.
impl<T: AsyncWrite + Unpin> AsyncWrite for TrackedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, buf.len(), |io, cx| io.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        self.write(cx, all, |io, cx| io.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, (), |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Once its client has said goodbye h2 closes a connection as soon as no stream is left on it, without waiting
        // for the client to close it: every stream had ended by itself, and it is the client that ended the
        // connection. (Unless that had said goodbye, left streams open all the same and then not answered a ping; who
        // says goodbye is as good as gone.)
        let said_goodbye = self.goodbye.is_said() && self.caught_up && !self.connection.is_quiet();
        self.connection.ended(if said_goodbye { ConnectionEnd::Closed } else { self.end() });
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.stuck(cx, result)
    }
}

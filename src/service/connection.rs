//! Watches a client's connection, and tells how a stream on it ended: closed by the client, or because the client was
//! not heard any more (R7).
//!
//! tonic tells a handler only that its stream was dropped. Clients that cancelled, were killed, no longer answer pings
//! or sent rubbish all look the same from there. [`TrackedIo`] sits between the socket and HTTP/2, where they differ.
//! It shares what it sees with every handler, as an `Arc<Connection>` among the request's extensions.
//!
//! # Why asking the connection is exact
//!
//! On a frame that breaks the protocol, h2 first fails every stream. Only then does it write its GOAWAY and shut the
//! socket down, and the streams' tasks may run on other threads before that. But once it has decided to end the
//! connection, it never reads from it again. If the peer merely reset one stream, it reads on. So
//! [`Connection::settle`] wakes the connection's task and waits to see which comes next: a read, or the end.
//!
//! A reset of the connection can come right after the client ended its streams, and both show in one turn. Then the
//! end of the streams counts: [`TrackedIo`] holds the reset back for one turn, in which those streams call `settle`. A
//! failed write is reported by the next read.

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
use tokio::time::{Instant, Sleep, sleep};
use tonic::transport::server::Connected;

pub(crate) use super::connection_end::ConnectionMetrics;
pub use super::connection_end::{ConnectionEnd, Transport};
use super::frames::{Frame, Frames};
use super::pings::Pings;
use super::timeouts::{OpenCalls, Timeouts};
use crate::clock::Moment;
use crate::mutations::{self, Rule};
use crate::policy::{Caller, Identity};
use crate::quota::Share;

/// The longest time that [`Connection::settle`] waits for the connection's task. The task runs within microseconds,
/// unless it waits for room to write, which a client that reads makes, or for its turn behind thousands of calls that
/// came at once.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// The bytes that a connection's task reads before others have their turn. h2 reads as long as there is something to
/// read, up to tokio's 128 operations a turn, before it hands a single new stream to its handler. So a client that
/// makes 100,000 calls at once would put them all in front of everybody else's renewals, which would come too late.
/// And their unread DATA frames would exceed h2's budget, which ends the connection.
const BYTES_A_TURN: usize = 8 * 1024;

/// The number of tasks in the runtime's common queue above which a connection that has had its turn waits with them.
/// (On one thread, which has one queue, yielding is enough. Each of several threads serves a short queue of its own
/// first, where the connection would be back at once, and moves what does not fit there to the common one.)
const LONG_QUEUE: usize = 64;
/// The interval at which it checks if the queue has become shorter…
const PAUSE: Duration = Duration::from_millis(1);
/// …and the longest wait. A busy broker's queue stays long, and even then no connection may be shut out. (Counting the
/// checks would not do: on a busy machine each takes many times as long.)
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The way in which a stream ended, by what its connection shows. *Closed*: the client ended the stream or closed the
/// connection, or its kernel did because the process is gone; it no longer believes that it holds anything, and the docs
/// call this the client's word. *Unresponsive*: the client did not answer pings, or broke the protocol, or the network
/// failed or reset the connection, or the broker ended it; it may still believe, and the docs call this silence.
pub use crate::broker::StreamEnd;

impl From<ConnectionEnd> for StreamEnd {
    fn from(end: ConnectionEnd) -> StreamEnd {
        match end {
            ConnectionEnd::Closed => StreamEnd::Closed,
            ConnectionEnd::Reset if mutations::breaks(Rule::ResetIsSilence) => StreamEnd::Closed,
            ConnectionEnd::Reset | ConnectionEnd::Failed | ConnectionEnd::ByBroker => StreamEnd::Unresponsive,
        }
    }
}

/// The facts about one accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// Its end, once it has ended. The first one counts.
    end: OnceLock<ConnectionEnd>,
    transport: Transport,
    /// The moment from which `last_byte` counts.
    accepted: Moment,
    /// The time of the last byte, in milliseconds.
    last_byte: AtomicU64,
    /// The time without a byte after which the client counts as unresponsive.
    keepalive_interval: Duration,
    caller: Caller,
    /// Counts the reads that HTTP/2 has begun.
    reads: AtomicU64,
    /// Wakes the task that reads.
    reader: AtomicWaker,
    /// The number of callers in `settle`, so that reads cost nothing extra while there are none.
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

    /// Counts a call on this connection until the result is dropped.
    pub(crate) fn begin_call(self: &Arc<Self>) -> OpenCall {
        self.calls.begin();
        OpenCall(Arc::clone(self))
    }

    /// Returns the identities of the client.
    pub fn caller(&self) -> &[Identity] {
        &self.caller
    }

    /// Tells how a stream of this connection ended. Call it as soon as the stream has ended, unless the broker ended
    /// it.
    ///
    /// It is immediate where the connection has ended. Otherwise it takes one turn of the connection's task, and five
    /// seconds at most. What is still in doubt then is [`StreamEnd::Unresponsive`].
    ///
    /// If a stream breaks HTTP/2's rules for itself alone (bytes after its own end, say), h2 resets it while the
    /// connection lives on. That is [`StreamEnd::Closed`], and is returned at once.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub fn settle(self: &Arc<Self>) -> impl Future<Output = StreamEnd> + Send + use<> {
        let waiting = Waiting::new(Arc::clone(self));
        // Read at the call and not at the first poll: by then HTTP/2 may have read on already.
        let before = self.reads.load(Ordering::SeqCst);
        async move {
            let settled = waiting.0.settled(before);
            tokio::time::timeout(SETTLE_LIMIT, settled).await.unwrap_or(StreamEnd::Unresponsive)
        }
    }

    async fn settled(&self, before: u64) -> StreamEnd {
        loop {
            let progress = self.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            // If only the stream has ended, HTTP/2 reads on. It does not matter what that read shows.
            if self.reads.load(Ordering::SeqCst) != before {
                return StreamEnd::Closed;
            }
            if let Some(end) = self.verdict() {
                return end;
            }
            self.reader.wake();
            progress.await;
        }
    }

    /// Returns what is certain without asking the connection's task.
    fn verdict(&self) -> Option<StreamEnd> {
        match self.end.get() {
            Some(&end) => Some(end.into()),
            None => self.is_quiet().then_some(StreamEnd::Unresponsive),
        }
    }

    /// Returns true if no byte has come for so long that the client counts as unresponsive.
    fn is_quiet(&self) -> bool {
        self.accepted.elapsed().saturating_sub(self.last_byte()) >= self.keepalive_interval
    }

    /// Returns the time from accepting to the last byte; 0 if none has come.
    fn last_byte(&self) -> Duration {
        Duration::from_millis(self.last_byte.load(Ordering::Relaxed))
    }

    fn heard(&self) {
        // 0 stands for never.
        self.last_byte.store(self.accepted.elapsed().as_millis().max(1) as u64, Ordering::Relaxed);
    }

    /// Notes the connection's end. The first one counts.
    fn ended(&self, end: ConnectionEnd) {
        if self.end.set(end).is_ok() {
            self.progress.notify_waiters();
        }
    }

    /// Ends the connection, because its client did not do something in time.
    fn gives_up<T>(&self, why: &str) -> Poll<io::Result<T>> {
        self.ended(ConnectionEnd::ByBroker);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)))
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
    /// The frames from the client.
    received: Frames,
    /// The frames to it.
    sent: Frames,
    /// The client has announced its end.
    goaway: bool,
    /// The latest read found nothing more: HTTP/2 has handled every frame, and none was wrong.
    caught_up: bool,
    turn: Turn,
    /// A failure that the next read reports. Until then nothing else touches the socket: it would show another
    /// failure.
    kept_back: Option<io::Error>,
    counted_by: Option<Arc<ConnectionMetrics>>,
    /// Its share of the connections that may be open.
    room: Option<Share>,
    timeouts: Option<Timeouts>,
    pings: Option<Pings>,
}

/// The turns of this connection and of others.
#[derive(Debug)]
enum Turn {
    /// It is this connection's turn, in which it has read so many bytes.
    Ours(usize),
    /// This connection's turn was over at that moment.
    Over(Instant),
    /// It was, and it is the others' turn for one more pause.
    Theirs(Instant, Pin<Box<Sleep>>),
}

impl<T> TrackedIo<T> {
    /// Tracks `io`, whose peer is `caller`. A peer that sends nothing for `keepalive_interval` counts as unresponsive.
    /// Under TLS, `io` carries the decrypted bytes.
    pub fn new(io: T, transport: Transport, keepalive_interval: Duration, caller: Caller) -> TrackedIo<T> {
        let connection = Arc::new(Connection::new(transport, keepalive_interval, caller));
        TrackedIo {
            io,
            connection,
            received: Frames::of_client(),
            sent: Frames::of_server(),
            goaway: false,
            caught_up: false,
            turn: Turn::Ours(0),
            kept_back: None,
            counted_by: None,
            room: None,
            timeouts: None,
            pings: None,
        }
    }

    /// Gives back its share of the open connections when it is dropped.
    pub(crate) fn with_room(mut self, room: Share) -> TrackedIo<T> {
        self.room = Some(room);
        self
    }

    /// Ends the connection at its timeouts.
    pub(crate) fn with_timeouts(mut self, timeouts: Timeouts) -> TrackedIo<T> {
        self.timeouts = Some(timeouts);
        self
    }

    /// Gives up a client that is silent for so long after a ping. Without this, HTTP/2 has to do it.
    pub fn with_silence(mut self, silence: Duration) -> TrackedIo<T> {
        self.pings = Some(Pings::new(silence));
        self
    }

    /// Counts it among the open ones until it is dropped, and then by how it ended.
    pub(crate) fn counted_by(mut self, metrics: &Arc<ConnectionMetrics>) -> TrackedIo<T> {
        metrics.open.begin();
        self.counted_by = Some(Arc::clone(metrics));
        self
    }

    /// Returns how the connection ends if the broker ends it now.
    fn end(&self) -> ConnectionEnd {
        let transport = self.connection.transport;
        self.kept_back.as_ref().map_or(ConnectionEnd::ByBroker, |failure| ConnectionEnd::of(failure, transport))
    }
}

impl<T: Unpin> TrackedIo<T> {
    /// Holds a failure back until the next read, which comes when others have had their turn.
    fn keep_back(&mut self, failure: io::Error, cx: &Context<'_>) {
        (self.kept_back, self.turn) = (Some(failure), Turn::Over(Instant::now()));
        cx.waker().wake_by_ref();
    }

    /// Writes. Returns `done` if the connection has failed.
    fn write<R>(
        &mut self,
        cx: &mut Context<'_>,
        done: R,
        write: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        if self.kept_back.is_none() {
            let result = write(Pin::new(&mut self.io), cx);
            match self.stuck(cx, result) {
                // While an answer of HTTP/1.1 is under way and more has come than its request, nothing is read.
                Poll::Ready(Err(failure)) if self.received.is_other() => {
                    return self.connection.watch(Poll::Ready(Err(failure)));
                }
                Poll::Ready(Err(failure)) => self.keep_back(failure, cx),
                result => return result,
            }
        }
        Poll::Ready(Ok(done))
    }
}

impl<T> TrackedIo<T> {
    /// Looks for pings in what was written.
    fn written<'a>(
        &mut self,
        cx: &mut Context<'_>,
        length: &Poll<io::Result<usize>>,
        bufs: impl IntoIterator<Item = &'a [u8]>,
    ) {
        let (&Poll::Ready(Ok(mut length)), Some(pings)) = (length, &mut self.pings) else { return };
        if self.received.is_other() {
            return;
        }
        for buf in bufs {
            let written = &buf[..length.min(buf.len())];
            length -= written.len();
            self.sent.read(written, |frame| {
                if frame == Frame::Ping {
                    pings.asked(cx);
                }
            });
        }
    }

    /// Ends a connection on which nothing can be written for too long.
    fn stuck<U>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<U>>) -> Poll<io::Result<U>> {
        if self.timeouts.as_mut().is_some_and(|timeouts| timeouts.is_stuck(cx, result.is_pending())) {
            return self.connection.gives_up("the client has not read for too long");
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
        // The waker first: a caller of `settle` that finds the count unchanged must find the waker registered.
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
                    this.turn = Turn::Over(Instant::now());
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                &mut Turn::Over(since) => {
                    let waiting = Handle::current().metrics().global_queue_depth();
                    this.turn = if waiting > LONG_QUEUE && since.elapsed() < LONGEST_PAUSE {
                        Turn::Theirs(since, Box::pin(sleep(PAUSE)))
                    } else {
                        Turn::Ours(0)
                    };
                }
                Turn::Theirs(since, pause) => {
                    ready!(pause.as_mut().poll(cx));
                    this.turn = Turn::Over(*since);
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
            && let Some(pings) = &mut this.pings
            && pings.poll_silent(cx).is_ready()
        {
            return connection.gives_up("the client has not answered a ping");
        }
        if result.is_pending()
            && let Some(timeouts) = &mut this.timeouts
        {
            let (age, last_byte) = (connection.accepted.elapsed(), connection.last_byte());
            ready!(timeouts.poll_idle(cx, &connection.calls, age, last_byte));
            return connection.gives_up("nothing was asked for too long");
        }
        if let Poll::Ready(Ok(())) = result {
            if buf.filled().len() > before {
                connection.heard();
                let (goaway, pings) = (&mut this.goaway, &mut this.pings);
                pings.iter_mut().for_each(Pings::heard);
                this.received.read(&buf.filled()[before..], |frame| match frame {
                    Frame::GoAway => *goaway = true,
                    Frame::Pong => pings.iter_mut().for_each(Pings::answered),
                    Frame::Ping => {}
                });
            } else if has_room {
                connection.ended(ConnectionEnd::Closed);
            }
        }
        result
    }
}

/// No write fails but for HTTP/1.1. What cannot be sent is lost, and the next read reports why.
impl<T: AsyncWrite + Unpin> AsyncWrite for TrackedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.write(cx, buf.len(), |io, cx| io.poll_write(cx, buf));
        self.written(cx, &result, [buf]);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        let result = self.write(cx, all, |io, cx| io.poll_write_vectored(cx, bufs));
        self.written(cx, &result, bufs.iter().map(|buf| &**buf));
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(cx, (), |io, cx| io.poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // After its client's GOAWAY, h2 closes a connection as soon as no stream is left on it, without waiting for
        // the client to close it. Every stream had ended by itself, and it is the client that ended the connection. (A
        // client may also send GOAWAY, leave streams open and then not answer a ping. It counts as closed, too: it was
        // about to leave.)
        let sent_goaway = self.goaway && self.caught_up && !self.connection.is_quiet();
        self.connection.ended(if sent_goaway { ConnectionEnd::Closed } else { self.end() });
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.stuck(cx, result)
    }
}

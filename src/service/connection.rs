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

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use super::goodbye::Goodbye;
use super::patience::{OpenCalls, Patience};
use crate::clock::Moment;
use crate::metrics::Gauge;
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
    /// The client has spoken: it reset the stream or closed the connection, or its kernel did because
    /// the process is gone. It no longer believes that it holds anything.
    Word,
    /// The client was not heard: it did not answer pings, or broke the protocol, or the network failed,
    /// or we ended the connection. It may still believe.
    Silence,
}

/// Where a connection stands. It leaves `OPEN` once, for whichever comes first.
const OPEN: u8 = 0;
const CLOSED_BY_PEER: u8 = 1;
const ENDED_BY_US: u8 = 2;

/// What is known of one accepted connection.
#[derive(Debug)]
pub struct Connection {
    state: AtomicU8,
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
    fn new(keepalive_interval: Duration, caller: Caller) -> Connection {
        Connection {
            state: AtomicU8::new(OPEN),
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

    /// How a stream of this connection ended that has ended just now and that the broker did not end
    /// itself.
    ///
    /// Immediate where the peer has closed the connection; otherwise it takes one turn of the
    /// connection's task, and five seconds at most. What is still in doubt then is [`StreamEnd::Silence`].
    ///
    /// A stream that breaks HTTP/2's rules for itself alone (bytes after its own end, say) is reset by
    /// us while the connection lives on. That counts as the client's word: it is told at once.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn settle(&self) -> StreamEnd {
        let _waiting = Waiting::new(self);
        let before = self.reads.load(Ordering::SeqCst);
        let settled = async {
            loop {
                let progress = self.progress.notified();
                tokio::pin!(progress);
                progress.as_mut().enable();
                if let Some(end) = self.verdict() {
                    return end;
                }
                if self.reads.load(Ordering::SeqCst) != before {
                    return StreamEnd::Word;
                }
                self.reader.wake();
                progress.await;
            }
        };
        tokio::time::timeout(SETTLE_LIMIT, settled).await.unwrap_or(StreamEnd::Silence)
    }

    /// What is certain without asking the connection's task.
    fn verdict(&self) -> Option<StreamEnd> {
        match self.state.load(Ordering::SeqCst) {
            CLOSED_BY_PEER => Some(StreamEnd::Word),
            ENDED_BY_US => Some(StreamEnd::Silence),
            _ if self.is_quiet() => Some(StreamEnd::Silence),
            _ => None,
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

    fn leave_open(&self, state: u8) {
        if self.state.compare_exchange(OPEN, state, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.progress.notify_waiters();
        }
    }

    /// Takes note of an error on the socket. One that the peer's machine sent is its word; a network
    /// that failed (`ETIMEDOUT`, `EHOSTUNREACH`) is not. `UnexpectedEof` is TLS's name for a connection that the peer
    /// closed without taking leave, as a killed process's is; a record that does not decrypt is another error, and so
    /// silence.
    fn failed(&self, error: &io::Error) {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        if matches!(error.kind(), ConnectionReset | BrokenPipe | UnexpectedEof) {
            self.leave_open(CLOSED_BY_PEER);
        }
    }

    fn watch<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result {
            self.failed(error);
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
struct Waiting<'a>(&'a Connection);

impl<'a> Waiting<'a> {
    fn new(connection: &'a Connection) -> Waiting<'a> {
        connection.settling.fetch_add(1, Ordering::SeqCst);
        Waiting(connection)
    }
}

impl Drop for Waiting<'_> {
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
    /// Counts it for as long as it is open.
    counted_by: Option<Gauge>,
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
    pub fn new(io: T, keepalive_interval: Duration, caller: Caller) -> TrackedIo<T> {
        let connection = Arc::new(Connection::new(keepalive_interval, caller));
        TrackedIo {
            io,
            connection,
            goodbye: Goodbye::new(),
            caught_up: false,
            turn: Turn::Ours(0),
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

    /// Counts it in `open` until it is dropped.
    pub(crate) fn counted_by(mut self, open: &Gauge) -> TrackedIo<T> {
        open.begin();
        self.counted_by = Some(open.clone());
        self
    }
}

impl<T> TrackedIo<T> {
    /// Takes note of what came of writing.
    fn written<U>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<U>>) -> Poll<io::Result<U>> {
        let result = self.connection.watch(result);
        self.stuck(cx, result)
    }

    /// Ends a connection on which nothing can be written for too long.
    fn stuck<U>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<U>>) -> Poll<io::Result<U>> {
        if self.patience.as_mut().is_some_and(|patience| patience.is_stuck(cx, result.is_pending())) {
            let why = "the client has not read for too long";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        result
    }
}

impl<T> Drop for TrackedIo<T> {
    fn drop(&mut self) {
        self.connection.leave_open(ENDED_BY_US);
        if let Some(open) = &self.counted_by {
            open.end();
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
        let connection = &*this.connection;
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

        let before = buf.filled().len();
        let has_room = buf.remaining() > 0;
        let mut io = (&mut this.io).take((BYTES_A_TURN - taken) as u64);
        let result = connection.watch(Pin::new(&mut io).poll_read(cx, buf));
        this.caught_up = result.is_pending();
        this.turn = Turn::Ours(if this.caught_up { 0 } else { taken + buf.filled().len() - before });
        if result.is_pending()
            && let Some(patience) = &mut this.patience
        {
            let last_byte = Duration::from_millis(connection.last_byte.load(Ordering::Relaxed));
            ready!(patience.poll_idle(cx, &connection.calls, connection.accepted.elapsed(), last_byte));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was asked for too long")));
        }
        if let Poll::Ready(Ok(())) = result {
            if buf.filled().len() > before {
                connection.heard();
                this.goodbye.look(&buf.filled()[before..]);
            } else if has_room {
                connection.leave_open(CLOSED_BY_PEER);
            }
        }
        result
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for TrackedIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.written(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.written(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.written(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Once its client has said goodbye h2 closes a connection as soon as no stream is left on it, without waiting
        // for the client to close it: every stream had ended by itself, and it is the client that ended the
        // connection. (Unless that had said goodbye, left streams open all the same and then not answered a ping; who
        // says goodbye is as good as gone.)
        let said_goodbye = self.goodbye.is_said() && self.caught_up && !self.connection.is_quiet();
        self.connection.leave_open(if said_goodbye { CLOSED_BY_PEER } else { ENDED_BY_US });
        let result = Pin::new(&mut self.io).poll_shutdown(cx);
        self.stuck(cx, result)
    }
}

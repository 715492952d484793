//! Connections between clients and brokers. Each direction keeps its order, whatever the delays.

use std::collections::VecDeque;

use lockbroker_core::StreamKey;
use lockbroker_core::event::LockRef;
use lockbroker_core::lock::LockId;
use lockbroker_core::request::LockRequest;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// Opens a Session.
    Open { ttl: u64 },
    /// Asks for a lock on a stream of its own.
    Alone(LockRequest),
    /// Asks for a lease.
    Lease(LockRequest),
    /// The client lives.
    Heartbeat(i64),
    /// Asks for a lock on a Session.
    Begin(LockRef, LockRequest),
    /// Asks for several locks together.
    Together(LockRef, Vec<LockRequest>),
    /// Gives up a lock of a Session.
    End(LockRef),
    /// The client closes a Session and reads on.
    HalfClose,
    /// The client, or its kernel, ends the stream by its word.
    Close,
    /// The broker's half is reset, or ends in another way that proves nothing.
    Reset,
}

/// What a broker sends. Spans are in nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// A Session is open.
    Opened { ttl: u64, expires: u64 },
    /// A heartbeat is acknowledged.
    Ack { seq: i64, expires: u64, not_renewed: Vec<LockRef> },
    /// Something happened to a lock.
    Lock(LockRef, News),
    /// The broker goes away.
    Draining,
    /// The stream ends, after everything else on it.
    End,
    /// The stream breaks off.
    Broken,
}

/// What happened to a lock. `expires` counts from the request, on a stream of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    Acquired {
        lock_id: LockId,
        expires: u64,
    },
    /// Several locks are held together.
    AllAcquired(Vec<LockId>),
    NotAcquired,
    Queued,
    Renewed {
        expires: u64,
    },
    Lost,
    Released,
    Failed,
}

/// One direction.
#[derive(Debug, Clone)]
pub struct Pipe<T> {
    queue: VecDeque<(u64, T)>,
    last: u64,
    /// True while nothing gets through.
    pub blocked: bool,
}

impl<T> Pipe<T> {
    fn new() -> Pipe<T> {
        Pipe { queue: VecDeque::new(), last: 0, blocked: false }
    }

    /// Takes a message that is under way for `delay`. Returns when it arrives.
    pub fn push(&mut self, message: T, now: u64, delay: u64) -> u64 {
        self.last = self.last.max(now + delay);
        self.queue.push_back((self.last, message));
        self.last
    }

    /// Returns what has arrived.
    pub fn pop(&mut self, now: u64) -> Option<T> {
        if self.blocked || self.queue.front()?.0 > now {
            return None;
        }
        self.queue.pop_front().map(|(_, message)| message)
    }

    /// Forgets what is under way.
    pub fn clear(&mut self) {
        self.queue.clear();
    }
}

/// A connection that carries one stream.
#[derive(Debug, Clone)]
pub struct Conn {
    pub client: usize,
    pub broker: usize,
    /// Which life of the broker it leads to.
    pub life: u32,
    /// The broker's stream, once the client has begun it.
    pub stream: Option<StreamKey>,
    pub is_session: bool,
    /// True if a lease is asked for on it.
    pub is_lease: bool,
    pub up: Pipe<Up>,
    pub down: Pipe<Down>,
    /// True until the broker takes the stream as ended.
    pub broker_open: bool,
    /// True until the client takes the stream as ended.
    pub client_open: bool,
    /// True while the broker is about to write.
    pub reading: bool,
    /// True once the client has closed a Session, and the broker has heard of it.
    pub closing: bool,
    /// When the request arrived from which a lock's validity counts, by the broker's clock.
    pub received: u64,
    /// When it last was in trouble.
    pub trouble: u64,
    /// True if its request was under way for so long that the client's count ends well before the broker's.
    pub late: bool,
}

impl Conn {
    /// Makes one.
    pub fn new(client: usize, broker: usize, life: u32) -> Conn {
        Conn {
            client,
            broker,
            life,
            stream: None,
            is_session: false,
            is_lease: false,
            up: Pipe::new(),
            down: Pipe::new(),
            broker_open: true,
            client_open: true,
            reading: false,
            closing: false,
            received: 0,
            trouble: 0,
            late: false,
        }
    }
}

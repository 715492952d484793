//! What can happen, and in which order it does.

use std::cmp::Ordering;

use lockbroker_client::clock::Moment;
use lockbroker_core::StreamKey;
use lockbroker_core::request::StreamEnd;

/// Something that happens at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A broker's core is to be called, if `due` is still when.
    Timer { broker: usize, life: u32, due: u64 },
    /// A broker that stood still goes on.
    Resume { broker: usize, pause: u32 },
    /// A broker starts.
    Start { broker: usize },
    /// A broker that drains ends.
    Stop { broker: usize, life: u32 },
    /// A broker's task takes its orders to its shards.
    Task { broker: usize, life: u32 },
    /// Something is due at a broker's shards, if `due` is still when.
    TaskDue { broker: usize, life: u32, due: u64 },
    /// A broker has connected to a server, or has not.
    Dialled { broker: usize, life: u32, shard: usize, until: u64 },
    /// A broker has compared what another connection shows.
    Compared { broker: usize, life: u32, shard: usize },
    /// Commands are carried out.
    Carry { exchange: u64 },
    /// Their answers arrive at the broker.
    Said { broker: usize, exchange: u64 },
    /// Their connection breaks.
    Broke { broker: usize, exchange: u64 },
    /// The broker waits for their answers no longer.
    GivenUp { broker: usize, exchange: u64 },
    /// Items that have expired are looked for.
    Sweep,
    /// A wake-up hint arrives.
    Hint { broker: usize, name: usize },
    /// The word of another broker arrives that it has revoked a lock.
    Told { broker: usize, name: usize },
    /// An operator revokes a lock.
    Revoke,
    /// Something arrives at the broker's end of a connection.
    Up { conn: usize },
    /// Something arrives at the client's end of a connection.
    Down { conn: usize },
    /// A broker writes what waits in an outbox.
    Read { conn: usize },
    /// A broker finds a ping unanswered.
    Unanswered { conn: usize },
    /// A broker has found out how a stream ended.
    Settled { broker: usize, life: u32, stream: StreamKey, by: StreamEnd },
    /// A broker notices that nobody reads a stream any more.
    Unread { broker: usize, life: u32, stream: StreamKey },
    /// A call arrives.
    Call { call: u64 },
    /// A call's answer arrives.
    Called { call: u64, done: bool },
    /// A client acts.
    Act { client: usize },
    /// A shipped client's core is to be called, if `due` is still when.
    ClientDue { client: usize, due: Moment },
    /// A shipped client has connected to a broker, or has not.
    ClientDialled { client: usize, conn: usize },
    /// A client that stood still goes on.
    ClientResume { client: usize, pause: u32 },
    /// The operator goes on, if this is still the run.
    Operate { run: u32 },
    /// A fault is due.
    Fault,
    /// A fault of a broker's link to a shard, of a shard, or of a connection ends.
    Mend { mend: Mend },
    /// All faults end, and all clients leave.
    Heal,
    /// Every name has to have been had by now.
    Judge,
    /// Every table has to be empty by now.
    End,
}

/// What gets well again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    /// A broker reaches a shard again.
    Cut { broker: usize, shard: usize },
    /// A shard does not lose answers any more.
    Uncertain { shard: usize },
    /// A shard is as fast as before.
    Slow { shard: usize },
    /// A shard has memory.
    Full { shard: usize },
    /// A server's process goes on.
    Stop { shard: usize },
    /// A server's process is started.
    Down { shard: usize },
    /// A connection carries again what it is given.
    BlackHole { conn: usize },
}

impl Event {
    /// Returns the broker that has to run for this.
    pub fn broker(&self) -> Option<usize> {
        match self {
            Event::Timer { broker, .. }
            | Event::Stop { broker, .. }
            | Event::Task { broker, .. }
            | Event::TaskDue { broker, .. }
            | Event::Dialled { broker, .. }
            | Event::Compared { broker, .. }
            | Event::Said { broker, .. }
            | Event::Broke { broker, .. }
            | Event::GivenUp { broker, .. }
            | Event::Hint { broker, .. }
            | Event::Told { broker, .. }
            | Event::Settled { broker, .. }
            | Event::Unread { broker, .. } => Some(*broker),
            _ => None,
        }
    }
}

/// An event and its moment. The first comes first, and of two at one moment the one that was planned first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub at: u64,
    pub seq: u64,
    pub event: Event,
}

impl Ord for Planned {
    fn cmp(&self, other: &Planned) -> Ordering {
        (other.at, other.seq).cmp(&(self.at, self.seq))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Planned) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

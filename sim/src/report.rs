//! What runs have been through, in numbers.

use std::fmt;

use lockbroker_core::env::Observed;

use crate::options::Fault;
use crate::time::SEC;

/// What runs have been through.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub seeds: u64,
    /// The simulated time.
    pub nanos: u64,
    pub events: u64,
    pub asks: u64,
    pub grants: u64,
    /// The grants of shipped clients.
    pub shipped: u64,
    pub moves: u64,
    pub handed_over: u64,
    pub lost: u64,
    pub ran_out: u64,
    /// Locks that an operator revoked.
    pub revoked: u64,
    pub quarantined: u64,
    /// Changes of the servers that went through, runs of the operator's command that had something to resume, and items copied.
    pub changes: u64,
    pub resumed: u64,
    pub copied: u64,
    /// What brokers and locks went through in them.
    pub changing: Changing,
    pub faults: [u64; Fault::ALL.len()],
    /// Those of them that hit a held lock.
    pub hits: [u64; Fault::ALL.len()],
}

/// What brokers and locks have gone through while servers changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changing {
    /// Brokers that have heard of the next list.
    pub announced: u64,
    /// Servers that were flipped.
    pub begun: u64,
    /// Brokers that have moved on to the next list.
    pub moved_on: u64,
    /// Held locks that were created anew at another server.
    pub reasserted: u64,
    /// Lingers that were copied.
    pub lingers: u64,
}

impl Changing {
    fn counts(&mut self) -> [&mut u64; 5] {
        let Changing { announced, begun, moved_on, reasserted, lingers } = self;
        [announced, begun, moved_on, reasserted, lingers]
    }

    fn add(&mut self, mut other: Changing) {
        for (count, more) in self.counts().into_iter().zip(other.counts()) {
            *count += *more;
        }
    }
}

impl Report {
    /// Counts what a broker observes.
    pub fn observe(&mut self, observed: &Observed<'_>) {
        if let Observed::HandedOver = observed {
            self.handed_over += 1;
        }
    }

    /// Adds another's numbers.
    pub fn add(&mut self, other: &Report) {
        self.seeds += 1;
        self.nanos += other.nanos;
        self.events += other.events;
        self.asks += other.asks;
        self.grants += other.grants;
        self.moves += other.moves;
        self.handed_over += other.handed_over;
        self.shipped += other.shipped;
        self.lost += other.lost;
        self.ran_out += other.ran_out;
        self.revoked += other.revoked;
        self.quarantined += other.quarantined;
        self.changes += other.changes;
        self.resumed += other.resumed;
        self.copied += other.copied;
        self.changing.add(other.changing);
        for fault in 0..Fault::ALL.len() {
            self.faults[fault] += other.faults[fault];
            self.hits[fault] += other.hits[fault];
        }
    }

    /// Returns the simulated hours.
    pub fn hours(&self) -> f64 {
        self.nanos as f64 / (3_600 * SEC) as f64
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} seeds, {:.2} simulated hours, {} events", self.seeds, self.hours(), self.events)?;
        writeln!(f, "{} requests to shards, {} of them refused in quarantine", self.asks, self.quarantined)?;
        writeln!(f, "{} grants, {} of them to shipped clients, {} reattached", self.grants, self.shipped, self.moves)?;
        writeln!(f, "{} handed over", self.handed_over)?;
        writeln!(f, "{} told lost, {} ran out, {} revoked", self.lost, self.ran_out, self.revoked)?;
        if self.changes + self.resumed > 0 {
            let (changes, resumed, copied) = (self.changes, self.resumed, self.copied);
            let Changing { announced, begun, moved_on, reasserted, lingers } = self.changing;
            writeln!(f, "{changes} changes of the servers, resumed {resumed} times; {begun} servers flipped")?;
            writeln!(f, "brokers heard of one {announced} times, and moved on {moved_on} times")?;
            writeln!(
                f,
                "{copied} items copied, {lingers} of them lingers; {reasserted} held locks re-asserted elsewhere"
            )?;
        }
        for (number, fault) in Fault::ALL.iter().enumerate() {
            let (all, hits) = (self.faults[number], self.hits[number]);
            writeln!(f, "{all:>8} {fault:?}, {hits} of them on a held lock")?;
        }
        Ok(())
    }
}

//! The lists of the servers, one after the other, and where each name is kept.

use std::collections::BTreeSet;
use std::time::Duration;

use lockbroker_core::lock::LockName;
use lockbroker_core::shard::state_item::Generation;
use lockbroker_core::shard::{Member, Placement, Topology};

/// The lists that were in force, the one that is, and the next one if there is one.
#[derive(Debug)]
pub struct Lists {
    names: Vec<LockName>,
    all: Vec<List>,
    present: usize,
    /// The servers in force that were flipped.
    flipped: BTreeSet<usize>,
}

/// A list.
#[derive(Debug)]
struct List {
    topology: Topology,
    fingerprint: u64,
    servers: Vec<usize>,
    /// The server of each name.
    homes: Vec<usize>,
}

/// Returns the address of a server.
fn address(server: usize) -> String {
    format!("s{server}:11211")
}

/// Returns the server at an address.
pub(crate) fn server_at(address: &str) -> usize {
    let number = address.strip_prefix('s').and_then(|address| address.strip_suffix(":11211"));
    number.and_then(|number| number.parse().ok()).expect("nobody has another address")
}

impl List {
    fn new(weights: &[(usize, u32)], max_ttl: Duration, names: &[LockName]) -> List {
        let member = |&(server, weight): &(usize, u32)| Member { address: address(server).into(), weight };
        let topology = Topology { members: weights.iter().map(member).collect(), max_ttl };
        let placement = Placement::new(&topology.members);
        let servers: Vec<usize> = weights.iter().map(|(server, _)| *server).collect();
        let homes = names.iter().map(|name| servers[placement.shard_of(name)]).collect();
        List { fingerprint: topology.fingerprint(), topology, servers, homes }
    }
}

impl Lists {
    /// Begins with these servers and their weights.
    pub fn new(first: &[(usize, u32)], max_ttl: Duration, names: &[LockName]) -> Lists {
        let first = List::new(first, max_ttl, names);
        Lists { names: names.to_vec(), all: vec![first], present: 0, flipped: BTreeSet::new() }
    }

    /// Returns the number of the one in force.
    pub fn present(&self) -> usize {
        self.present
    }

    /// Returns the number of the next one.
    pub fn next(&self) -> Option<usize> {
        Some(self.present + 1).filter(|next| *next < self.all.len())
    }

    /// Returns the number of the latest one to which a server was flipped.
    pub fn latest_begun(&self) -> usize {
        if self.flipped.is_empty() { self.present } else { self.present + 1 }
    }

    /// Returns the number of the latest one with this fingerprint.
    pub fn of(&self, fingerprint: u64) -> usize {
        self.all.iter().rposition(|list| list.fingerprint == fingerprint).expect("nobody has another list")
    }

    /// Returns the list with this number as brokers have it.
    pub fn topology(&self, list: usize) -> &Topology {
        &self.all[list].topology
    }

    /// Returns its fingerprint.
    pub fn fingerprint(&self, list: usize) -> u64 {
        self.all[list].fingerprint
    }

    /// Returns its servers.
    pub fn servers(&self, list: usize) -> &[usize] {
        &self.all[list].servers
    }

    /// Returns its servers with their weights.
    pub fn weights(&self, list: usize) -> Vec<(usize, u32)> {
        let List { topology, servers, .. } = &self.all[list];
        servers.iter().copied().zip(topology.members.iter().map(|member| member.weight)).collect()
    }

    /// Returns its generation.
    pub fn generation(&self, list: usize) -> Generation {
        (0..list).fold(Generation::FIRST, |generation, _| generation.next().expect("there are few"))
    }

    /// Returns the server of a name by a list.
    pub fn home_by(&self, list: usize, name: usize) -> usize {
        self.all[list].homes[name]
    }

    /// Returns the server that keeps a name: that of the next list from when the one before was flipped.
    pub fn home(&self, name: usize) -> usize {
        let before = self.home_by(self.present, name);
        match self.is_flipped(before) {
            true => self.home_by(self.present + 1, name),
            false => before,
        }
    }

    /// Returns true if a server in force was flipped.
    pub fn is_flipped(&self, server: usize) -> bool {
        self.flipped.contains(&server)
    }

    /// Returns the longest ttl of all lists: it is never lowered.
    pub fn max_ttl(&self) -> Duration {
        self.all.last().map_or(Duration::ZERO, |list| list.topology.max_ttl)
    }

    /// Takes another list for the next one. Returns false if it is the one in force.
    pub fn add(&mut self, weights: &[(usize, u32)], max_ttl: Duration) -> bool {
        let list = List::new(weights, max_ttl, &self.names);
        let is_other = list.fingerprint != self.all[self.present].fingerprint;
        if is_other {
            self.all.push(list);
        }
        is_other
    }

    /// Drops the next one, of which nobody has heard.
    pub fn withdraw(&mut self) {
        debug_assert!(self.flipped.is_empty(), "it has begun");
        self.all.truncate(self.present + 1);
    }

    /// Takes note that a server shows the next list. Returns true if that is new.
    pub fn flip(&mut self, server: usize) -> bool {
        self.flipped.insert(server)
    }

    /// Takes the next one for the one in force.
    pub fn advance(&mut self) {
        self.present += 1;
        self.flipped.clear();
    }

    /// Takes the one in force for the next one again, to which the one before was flipped.
    pub fn take_back(&mut self) {
        debug_assert!(self.next().is_none(), "another one would be forgotten");
        self.present -= 1;
        self.flipped = self.all[self.present].servers.iter().copied().collect();
    }
}

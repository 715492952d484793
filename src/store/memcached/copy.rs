//! Copies locks that nobody keeps alive to the servers that keep them after a change: lingers, and what brokers that died have left.

use std::collections::BTreeMap;

use lockbroker_core::command::{Command, Reply};
use lockbroker_core::shard::{Placement, Topology, protocol};
use lockbroker_core::store::{ItemState, Slots};

use super::connection::Connection;
use super::dump::{Found, Pattern};
use super::listing::dump_locks;
use super::survey::{Reached, exchange};
use super::wire::Wire;
use super::{ShardAddress, server};
use crate::clock::Moment;
use crate::lock::{LockName, Permit};

/// The number of items that travel together.
const AT_ONCE: usize = 200;
/// The times that the number of a lock's permits is raised: each time somebody else may have raised it first.
const TRIES: usize = 8;

/// The number of items that were copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) all: u64,
    pub(super) lingering: u64,
    /// Those in whose way something else stands, of which nobody may believe in: a grant that came late when the name was kept there
    /// before. It runs out, so copying is tried again until the servers open.
    pub(super) blocked: u64,
}

/// Where copies go.
pub(super) struct Copies<'a> {
    /// The topology before.
    pub(super) homes: Homes<'a>,
    pub(super) to: &'a Topology,
    /// For each server of that topology, its place among all servers.
    pub(super) targets: Vec<usize>,
    /// For each server, whether its locks move.
    pub(super) sources: Vec<bool>,
}

/// Copies each item of a flipped server that belongs on another one, under its id and with the rest of its time. What is there stays (R25).
///
/// # Errors
/// Says which server has not shown its keys, or has not taken an item.
pub(super) async fn copy(copies: &Copies<'_>, servers: &[Reached], wire: &Wire) -> Result<Copied, String> {
    let placement = Placement::new(&copies.to.members);
    let mut copied = Copied::default();
    for (source, server) in servers.iter().enumerate().filter(|(source, _)| copies.sources[*source]) {
        let (found, ahead) = dump(server, wire).await?;
        let mut moved: BTreeMap<usize, Vec<Found>> = BTreeMap::new();
        for item in found {
            let target = copies.targets[placement.shard_of(&item.item.name)];
            // What an earlier change has left here is not kept here.
            let is_kept = copies.homes.home(&item.item.name) == server.shard.to_string();
            if target != source && is_kept {
                moved.entry(target).or_default().push(item);
            }
        }
        for (target, items) in moved {
            let lingering =
                |found: &&Found| matches!(ItemState::of_number(found.number), Some(ItemState::Lingering(_)));
            copied.all += items.len() as u64;
            copied.lingering += items.iter().filter(lingering).count() as u64;
            let mut from = dial(&server.shard).await?;
            copied.blocked += write(&mut from, &servers[target], &items, ahead, wire).await?;
        }
    }
    Ok(copied)
}

/// A topology, as it places names.
pub(super) struct Homes<'a> {
    placement: Placement,
    topology: &'a Topology,
}

impl Homes<'_> {
    pub(super) fn of(topology: &Topology) -> Homes<'_> {
        Homes { placement: Placement::new(&topology.members), topology }
    }

    /// Returns the address of the server that keeps a name.
    pub(super) fn home(&self, name: &LockName) -> &str {
        &self.topology.members[self.placement.shard_of(name)].address
    }
}

/// Sees to it that a server shows its keys.
///
/// # Errors
/// Says why it does not.
pub(super) async fn check(server: &Reached, wire: &Wire) -> Result<(), String> {
    // No name is as long.
    let pattern = Pattern::new(&wire.locks(), &wire.permits(), &"-".repeat(1_000));
    let shown = dump_locks(server.address, &pattern, |_| ()).await;
    shown.map(drop).map_err(|error| format!("memcached {}: {error}", server.shard))
}

/// Returns true if locks stand on a server.
///
/// # Errors
/// Says why it does not show its keys.
pub(super) async fn has_locks(server: &Reached, wire: &Wire) -> Result<bool, String> {
    Ok(!dump(server, wire).await?.0.is_empty())
}

/// Reads all items of a server, and by how many seconds its wall clock is ahead of ours.
async fn dump(server: &Reached, wire: &Wire) -> Result<(Vec<Found>, i64), String> {
    let pattern = Pattern::new(&wire.locks(), &wire.permits(), "");
    let found = std::sync::Mutex::new(Vec::new());
    let take = |item| found.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(item);
    let time = dump_locks(server.address, &pattern, take).await;
    let time = time.map_err(|error| format!("memcached {}: {error}", server.address))?;
    let ahead = time.seconds as i64 - wall_seconds(time.read);
    Ok((found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner), ahead))
}

/// Returns our wall clock at a moment that is just over, in seconds.
fn wall_seconds(moment: Moment) -> i64 {
    let ago = Moment::now().since(moment);
    super::outside::wall_micros().map_or(0, |micros| (micros / 1_000_000) as i64 - ago.as_secs() as i64)
}

async fn dial(shard: &ShardAddress) -> Result<Connection, String> {
    let dialled = server::dial(shard, None).await;
    dialled.map(|(connection, ..)| connection).map_err(|unreached| format!("{shard}: {}", unreached.why))
}

/// Writes items of one server to another one, and returns in whose way something else stands. The wall clock of the first is so many
/// seconds `ahead` of ours.
async fn write(
    from: &mut Connection,
    target: &Reached,
    items: &[Found],
    ahead: i64,
    wire: &Wire,
) -> Result<u64, String> {
    let mut connection = dial(&target.shard).await?;
    note_permits(&mut connection, items, wire).await?;
    let mut blocked = 0;
    for items in items.chunks(AT_ONCE) {
        // By the date at which it is over there, so that a late copy lengthens nothing; a second later, since it is a whole one.
        let until = |found: &Found| (found.expires as i64 - ahead + target.ahead + 1).try_into().unwrap_or(u32::MAX);
        let create = |found: &Found| -> Option<Command> {
            Some(protocol::copy(&found.item, ItemState::of_number(found.number)?, until(found)))
        };
        exchange(&mut connection, wire, items.iter().filter_map(create).collect()).await?;
        let looks = items.iter().map(|found| protocol::look(&found.item)).collect();
        let there = exchange(&mut connection, wire, looks).await?;
        let is_blocked = |(found, there): &(&Found, &Reply)| {
            let state = protocol::read_look(there).ok().flatten().map(|(state, _)| state.number());
            state.is_some_and(|number| number != found.number)
        };
        blocked += items.iter().zip(&there).filter(is_blocked).count() as u64;
        // For people, and so that a call that is made again finds its outcome. Without a label a lock is as good.
        let looks = items.iter().map(|found| protocol::look_for_owner(&found.item)).collect();
        let labels = exchange(from, wire, looks).await?;
        let left =
            |found: &Found| u32::try_from(found.expires as i64 - ahead - wall_seconds(Moment::now())).unwrap_or(1);
        let label = |(found, label): (&Found, &Reply)| protocol::copy_label(&found.item, label, left(found));
        exchange(&mut connection, wire, items.iter().zip(&labels).filter_map(label).collect()).await?;
    }
    Ok(blocked)
}

/// Notes which permits exist, first on the server and then of each lock: whoever sees no note sees none of what follows.
async fn note_permits(connection: &mut Connection, items: &[Found], wire: &Wire) -> Result<(), String> {
    let mut permits: BTreeMap<&LockName, Permit> = BTreeMap::new();
    for found in items {
        if let Some(permit) = found.item.permit {
            let highest = permits.entry(&found.item.name).or_insert(permit);
            *highest = permit.max(*highest);
        }
    }
    if !permits.is_empty() {
        exchange(connection, wire, protocol::note_permits().into()).await?;
    }
    for (name, permit) in permits {
        let mut slots = Slots::Ensure;
        for _ in 0..TRIES {
            let said = exchange(connection, wire, protocol::note_slots(name, slots, permit).into()).await?;
            match said.last().map(protocol::read_slots) {
                Some(Ok(noted)) if noted > permit.get() => break,
                Some(Ok(0)) | None => slots = Slots::Ensure,
                Some(Ok(noted)) => slots = Slots::Raise(noted),
                Some(Err(error)) => return Err(error.to_string()),
            }
        }
    }
    Ok(())
}

//! Looks at shards for operators' commands: what each is, and who has noted itself there. Changes nothing.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use futures_util::future::join_all;
use lockbroker_core::command::{Command, Reply};
use lockbroker_core::shard::state_item::{Epoch, Stamp, StateItem, Unusable};
use lockbroker_core::shard::{PLACES, Process, Topology, protocol};

use super::connection::Connection;
use super::presence::{self, SeenBroker};
use super::server::dial;
use super::wire::Wire;
use super::{MemcachedSettings, ShardAddress};
use crate::lock::FencingToken;

/// The number of places for brokers' notes that one exchange looks at.
const LOOKED_AT_ONCE: usize = 512;

/// A shard that has been reached, may keep locks, and has shown its state.
pub(super) struct Reached {
    pub(super) shard: ShardAddress,
    pub(super) connection: Connection,
    /// The address to which its name leads.
    pub(super) address: SocketAddr,
    /// The reasons for which it may lose locks, where that is allowed.
    pub(super) dangers: Vec<&'static str>,
    pub(super) state: StateItem,
    /// The process that answers there, if it says which it is.
    pub(super) process: Option<Process>,
    /// The seconds by which its wall clock is ahead of ours.
    pub(super) ahead: i64,
}

/// The reason for which a shard's state has not been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// It cannot be reached.
    Unreached(String),
    /// It cannot keep locks.
    Refused(String),
    /// It answers what no memcached answers.
    Odd(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Unreached(why) | Unread::Odd(why) => f.write_str(why),
            Unread::Refused(why) => write!(f, "cannot keep locks: {why}"),
        }
    }
}

impl From<protocol::Unexpected> for Unread {
    fn from(error: protocol::Unexpected) -> Unread {
        Unread::Odd(error.to_string())
    }
}

/// A shard's state, and all that adopting depends on.
pub(super) struct Survey {
    pub(super) reached: Reached,
    /// The highest token of its epoch. None if it is closed, has no state, or one that this version cannot read.
    pub(super) token: Option<FencingToken>,
    /// The brokers that have noted themselves there within the last 15 s.
    pub(super) brokers: Vec<SeenBroker>,
    /// The topology to which it belongs, if its brokers have left it there in words.
    pub(super) topology: Option<Topology>,
}

/// A server that adopting concerns.
pub(super) struct Surveyed {
    pub(super) shard: ShardAddress,
    /// True if the list before had it, and the new one has not.
    pub(super) is_dropped: bool,
    pub(super) survey: Result<Survey, Unread>,
}

impl Survey {
    /// Returns why the shard cannot be adopted; none if it can.
    pub(super) fn unusable(&self) -> Option<Unusable> {
        match self.reached.state {
            StateItem::Missing
            | StateItem::Shows { .. }
            | StateItem::Flipped { .. }
            | StateItem::Unusable { why: Unusable::Older { .. } | Unusable::Moved { .. }, .. } => None,
            StateItem::Unusable { why, .. } => Some(why),
        }
    }
}

/// Connects to every shard and reads its state. In the order of the settings.
pub(super) async fn reach(settings: &MemcachedSettings, wire: &Wire) -> Vec<Result<Reached, Unread>> {
    join_all(settings.shards.iter().map(|shard| reach_one(shard, settings.allow_unsafe, wire))).await
}

pub(super) async fn reach_one(shard: &ShardAddress, allow_unsafe: bool, wire: &Wire) -> Result<Reached, Unread> {
    let dialled = dial(shard, None).await;
    let (mut connection, address, facts) = dialled.map_err(|unreached| Unread::Unreached(unreached.why.to_string()))?;
    if let Some(why) = facts.refusal(allow_unsafe) {
        return Err(Unread::Refused(why));
    }
    let state = read_state(&mut connection, wire).await?;
    let (shard, process, ahead) = (shard.clone(), facts.process(), facts.ahead().unwrap_or(0));
    Ok(Reached { shard, connection, address, dangers: facts.dangers(), state, process, ahead })
}

/// Reads the state of a shard, and, if it was flipped, to which topology.
pub(super) async fn read_state(connection: &mut Connection, wire: &Wire) -> Result<StateItem, Unread> {
    let said = ask(connection, wire, vec![protocol::probe()]).await?;
    let state = protocol::read_state(&said[0])?;
    let StateItem::Flipped { stamp, .. } = state else { return Ok(state) };
    let said = ask(connection, wire, vec![protocol::look_for_change(stamp.generation)]).await?;
    Ok(state.with_notice(protocol::read_change_note(&said[0])?))
}

/// Connects to every shard, and reads its state, its highest token, and the brokers' notes. In their order.
pub(super) async fn survey(
    shards: &[ShardAddress],
    settings: &MemcachedSettings,
    wire: &Wire,
) -> Vec<Result<Survey, Unread>> {
    let survey = async |shard| survey_one(reach_one(shard, settings.allow_unsafe, wire).await?, wire).await;
    join_all(shards.iter().map(survey)).await
}

/// Surveys the shards of the settings, and behind them the servers that are in the list before alone, as far as its brokers
/// have left it there in words.
pub(super) async fn survey_all(settings: &MemcachedSettings, wire: &Wire) -> Vec<Surveyed> {
    let surveys = survey(&settings.shards, settings, wire).await;
    let ours: BTreeSet<String> = settings.shards.iter().map(ToString::to_string).collect();
    let before = surveys.iter().flatten().filter_map(|survey| survey.topology.as_ref());
    let dropped: BTreeSet<&str> = before.flat_map(|before| &before.members).map(|member| &*member.address).collect();
    let dropped = dropped.into_iter().filter(|address| !ours.contains(*address));
    let dropped: Vec<ShardAddress> = dropped.filter_map(|address| address.parse().ok()).collect();
    let theirs = survey(&dropped, settings, wire).await;
    let with = |is_dropped| move |(shard, survey)| Surveyed { shard, is_dropped, survey };
    let present = settings.shards.iter().cloned().zip(surveys).map(with(false));
    present.chain(dropped.into_iter().zip(theirs).map(with(true))).collect()
}

async fn survey_one(mut reached: Reached, wire: &Wire) -> Result<Survey, Unread> {
    let connection = &mut reached.connection;
    let token = match reached.state {
        StateItem::Shows { stamp: Stamp { epoch, .. }, .. }
        | StateItem::Flipped { stamp: Stamp { epoch, .. }, .. }
        | StateItem::Unusable { why: Unusable::Older { epoch, .. }, .. } => {
            highest_token(connection, wire, epoch).await?
        }
        StateItem::Missing | StateItem::Unusable { .. } => None,
    };
    let topology = match reached.state {
        StateItem::Shows { fingerprint, .. } => {
            let said = ask(connection, wire, vec![protocol::look_for_topology(fingerprint)]).await?;
            said.first().and_then(|reply| protocol::read_topology(reply, fingerprint))
        }
        StateItem::Missing | StateItem::Flipped { .. } | StateItem::Unusable { .. } => None,
    };
    let mut brokers = Vec::new();
    let places: Vec<u16> = (0..PLACES).collect();
    for places in places.chunks(LOOKED_AT_ONCE) {
        let looks = places.iter().map(|place| protocol::look_for_broker(*place)).collect();
        brokers.extend(ask(connection, wire, looks).await?.iter().filter_map(presence::read));
    }
    Ok(Survey { reached, token, brokers: presence::latest(brokers.into_iter()), topology })
}

/// Returns the highest token of an epoch; none if it is closed.
async fn highest_token(connection: &mut Connection, wire: &Wire, epoch: Epoch) -> Result<Option<FencingToken>, Unread> {
    let said = ask(connection, wire, vec![protocol::highest_token(epoch)]).await?;
    Ok(protocol::read_fence(&said[0])?)
}

async fn ask(connection: &mut Connection, wire: &Wire, looks: Vec<Command>) -> Result<Vec<Reply>, Unread> {
    exchange(connection, wire, looks).await.map_err(Unread::Unreached)
}

/// Exchanges commands for answers, where one refusal spoils all.
pub(super) async fn exchange(
    connection: &mut Connection,
    wire: &Wire,
    batch: Vec<Command>,
) -> Result<Vec<Reply>, String> {
    let said = connection.exchange(wire, &batch).await.map_err(|error| error.to_string())?;
    match said.iter().find(|said| matches!(said, Reply::Refused(_))) {
        Some(_) => Err("it refused: it may have no memory left".to_owned()),
        None => Ok(said),
    }
}

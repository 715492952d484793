//! Looks at shards for operators' commands: what each is, and who has noted itself there. Changes nothing.

use std::fmt;
use std::net::SocketAddr;

use futures_util::future::join_all;
use lockbroker_core::command::{Command, Reply};
use lockbroker_core::shard::state_item::{Epoch, Stamp, StateItem, Unusable};
use lockbroker_core::shard::{PLACES, protocol};

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
    pub(super) connection: Connection,
    /// The address to which its name leads.
    pub(super) address: SocketAddr,
    /// The reasons for which it may lose locks, where that is allowed.
    pub(super) dangers: Vec<&'static str>,
    pub(super) state: StateItem,
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

/// A shard, and all that adopting depends on.
pub(super) struct Survey {
    pub(super) reached: Reached,
    /// The highest token of its epoch. None if it is closed, has no state, or one that this version cannot read.
    pub(super) token: Option<FencingToken>,
    /// The brokers that have noted themselves there within the last 15 s.
    pub(super) brokers: Vec<SeenBroker>,
}

impl Survey {
    /// Returns why the shard cannot be adopted; none if it can.
    pub(super) fn unusable(&self) -> Option<Unusable> {
        match self.reached.state {
            StateItem::Missing | StateItem::Shows { .. } | StateItem::Unusable { why: Unusable::Older { .. }, .. } => {
                None
            }
            StateItem::Unusable { why, .. } => Some(why),
        }
    }
}

/// Connects to every shard and reads its state. In the order of the settings.
pub(super) async fn reach(settings: &MemcachedSettings, wire: &Wire) -> Vec<Result<Reached, Unread>> {
    join_all(settings.shards.iter().map(|shard| reach_one(shard, settings.allow_unsafe, wire))).await
}

async fn reach_one(shard: &ShardAddress, allow_unsafe: bool, wire: &Wire) -> Result<Reached, Unread> {
    let dialled = dial(shard, None).await;
    let (mut connection, address, facts) = dialled.map_err(|unreached| Unread::Unreached(unreached.why.to_string()))?;
    if let Some(why) = facts.refusal(allow_unsafe) {
        return Err(Unread::Refused(why));
    }
    let said = ask(&mut connection, wire, vec![protocol::probe()]).await?;
    let state = protocol::read_state(&said[0])?;
    Ok(Reached { connection, address, dangers: facts.dangers(), state })
}

/// Connects to every shard, and reads its state, its highest token, and the brokers' notes. In the order of the settings.
pub(super) async fn survey(settings: &MemcachedSettings, wire: &Wire) -> Vec<Result<Survey, Unread>> {
    let survey = async |shard| survey_one(reach_one(shard, settings.allow_unsafe, wire).await?, wire).await;
    join_all(settings.shards.iter().map(survey)).await
}

async fn survey_one(mut reached: Reached, wire: &Wire) -> Result<Survey, Unread> {
    let connection = &mut reached.connection;
    let token = match reached.state {
        StateItem::Shows { stamp: Stamp { epoch, .. }, .. }
        | StateItem::Unusable { why: Unusable::Older { epoch, .. }, .. } => {
            highest_token(connection, wire, epoch).await?
        }
        StateItem::Missing | StateItem::Unusable { .. } => None,
    };
    let mut brokers = Vec::new();
    let places: Vec<u16> = (0..PLACES).collect();
    for places in places.chunks(LOOKED_AT_ONCE) {
        let looks = places.iter().map(|place| protocol::look_for_broker(*place)).collect();
        brokers.extend(ask(connection, wire, looks).await?.iter().filter_map(presence::read));
    }
    Ok(Survey { reached, token, brokers })
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

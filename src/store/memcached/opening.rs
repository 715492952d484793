//! Opens and adopts shards by hand, for `lockbroker shard`.

use std::collections::BTreeMap;

use lockbroker_core::command::{Command, Reply};
use lockbroker_core::shard::state_item::{Epoch, Generation, Stamp, StateItem, Unusable, Witness};
use lockbroker_core::shard::{LIVES, PLACES, Topology, fingerprint, first_token, protocol};
use rand::RngExt;

use super::connection::Connection;
use super::outside::wall_micros;
use super::server::dial;
use super::wire::Wire;
use super::{MemcachedSettings, ShardAddress, presence};
use crate::lock::FencingToken;

/// The number of places for brokers' notes that one exchange looks at.
const LOOKED_AT_ONCE: usize = 512;
/// The number of brokers that a message names.
const MAX_SHOWN: usize = 10;

const LAST_GENERATION: &str = "not touched: generations have come to their end; with all brokers stopped, restart every \
                               memcached";
const WRONG_CLOCK: &str = "this machine's clock is outside the years 2024 to 2037; set it";

/// The effect of `shard open` on one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The shard was in quarantine, and grants locks now.
    Opened,
    /// The shard granted locks already.
    WasOpen,
}

/// Opens every shard by hand, whatever its quarantine, creating its state where that is missing. Only for an
/// operator who knows that nobody believes in a lock that the shard has forgotten.
///
/// # Errors
/// Returns a line for each shard. A shard that cannot be reached, that cannot keep locks, or that belongs to another
/// topology, is left alone. No shard gets a new state if another one that is reached contradicts the topology.
///
/// # Cancel safety
/// Shards that have been opened stay open.
pub async fn open(settings: &MemcachedSettings) -> Vec<(ShardAddress, Result<Opened, String>)> {
    let wire = &Wire::new(&settings.key_prefix);
    let ours = fingerprint(&settings.members(), settings.max_ttl);
    let reached = reach(settings, wire).await;
    let contradicts = |found: &Result<(Connection, StateItem), String>| match found {
        Ok((_, StateItem::Shows { fingerprint, .. })) => *fingerprint != ours,
        Ok((_, StateItem::Unusable { .. })) => true,
        _ => false,
    };
    let contradicted = reached.iter().any(contradicts);
    let states = reached.iter().filter_map(|found| found.as_ref().ok()).map(|(_, state)| *state);
    let generation = highest_generation(states).unwrap_or(Generation::FIRST);
    let mut results = Vec::new();
    for (shard, found) in settings.shards.iter().zip(reached) {
        let result = match found {
            Err(why) => Err(why),
            Ok((_, StateItem::Unusable { why, .. })) => Err(format!("not touched: {why}")),
            Ok(_) if contradicted => {
                Err("not touched: a shard belongs to brokers with another list of servers, other weights or another \
                     --max-ttl, or to another version (use the brokers' own, or `lockbroker shard adopt`)"
                    .to_owned())
            }
            Ok((connection, state)) => open_one(connection, wire, fresh(generation), ours, state).await,
        };
        results.push((shard.clone(), result));
    }
    results
}

/// Returns the highest generation of the shards that have one.
fn highest_generation(states: impl Iterator<Item = StateItem>) -> Option<Generation> {
    let generation = |state| match state {
        StateItem::Shows { stamp, .. } => Some(stamp.generation),
        StateItem::Missing | StateItem::Unusable { .. } => None,
    };
    states.filter_map(generation).max()
}

/// Makes every shard belong to this topology, whatever it belonged to. Starts an epoch on each, open at once, with
/// tokens above the highest that any of them has given, and of the generation after the highest that any of them has. For
/// a planned change of the servers, their weights or `--max-ttl`, and for shards of format 1: after all brokers have been
/// stopped, and every ttl and linger has been waited out.
///
/// # Errors
/// If a shard cannot be reached, cannot keep locks, or has a state of a later version, its line says why and no shard is
/// touched. Nor is any if a broker has noted itself within the last 15 s, unless `force` says that it is of no
/// consequence.
///
/// # Cancel safety
/// Shards already adopted stay so; call it again.
pub async fn adopt(settings: &MemcachedSettings, force: bool) -> Vec<(ShardAddress, Result<(), String>)> {
    let wire = &Wire::new(&settings.key_prefix);
    let ours = &Topology { members: settings.members(), max_ttl: settings.max_ttl };
    let mut surveys = Vec::new();
    for found in reach(settings, wire).await {
        surveys.push(match found {
            Ok((connection, state)) => survey(connection, wire, state).await,
            Err(why) => Err(why),
        });
    }
    let surveyed = || surveys.iter().filter_map(|survey| survey.as_ref().ok());
    let highest = surveyed().map(|survey| survey.token).max().unwrap_or(0);
    let brokers: BTreeMap<_, _> =
        surveyed().flat_map(|survey| &survey.brokers).map(|broker| (broker.id, broker.clone())).collect();
    let running = (!force && !brokers.is_empty()).then(|| still_running(brokers.into_values().collect()));
    let all_reached = surveys.iter().all(Result::is_ok);
    let last = highest_generation(surveyed().map(|survey| survey.state));
    let generation = last.map_or(Some(Generation::FIRST), Generation::next);
    let mut results = Vec::new();
    for (shard, survey) in settings.shards.iter().zip(surveys) {
        let result = match (survey, first_token(wall_micros(), highest), generation) {
            (Err(why), ..) => Err(why),
            (Ok(_), ..) if !all_reached => Err("not touched: another shard was not to be had".to_owned()),
            (Ok(_), ..) if let Some(running) = &running => Err(running.clone()),
            (Ok(_), None, _) => Err(WRONG_CLOCK.to_owned()),
            (Ok(_), _, None) => Err(LAST_GENERATION.to_owned()),
            (Ok(survey), Some(start), Some(generation)) => {
                adopt_one(survey, wire, fresh(generation), ours, start).await
            }
        };
        results.push((shard.clone(), result));
    }
    results
}

/// A shard before it is adopted.
struct Survey {
    connection: Connection,
    state: StateItem,
    /// The highest token that it has given.
    token: u64,
    brokers: Vec<presence::Seen>,
}

/// Returns the highest token of an epoch; 0 if it has none.
async fn highest_token(connection: &mut Connection, wire: &Wire, epoch: Epoch) -> Result<u64, String> {
    let responses = exchange(connection, wire, vec![protocol::highest_token(epoch)]).await?;
    let token = protocol::read_fence(&responses[0]).map_err(|error| error.to_string())?;
    Ok(token.map_or(0, FencingToken::get))
}

/// Reads a shard's highest token, and the brokers that have noted themselves there: adopting depends on both.
async fn survey(mut connection: Connection, wire: &Wire, state: StateItem) -> Result<Survey, String> {
    let token = match state {
        StateItem::Missing => 0,
        StateItem::Shows { stamp: Stamp { epoch, .. }, .. }
        | StateItem::Unusable { why: Unusable::Older { epoch, .. }, .. } => {
            highest_token(&mut connection, wire, epoch).await?
        }
        StateItem::Unusable { why, .. } => return Err(format!("not touched: {why}")),
    };
    let mut brokers = Vec::new();
    let places: Vec<u16> = (0..PLACES).collect();
    for places in places.chunks(LOOKED_AT_ONCE) {
        let looks = places.iter().map(|place| protocol::look_for_broker(*place)).collect();
        brokers.extend(exchange(&mut connection, wire, looks).await?.iter().filter_map(presence::read));
    }
    Ok(Survey { connection, state, token, brokers })
}

/// Lists the brokers that are in the way of adopting shards.
fn still_running(brokers: Vec<presence::Seen>) -> String {
    let lives = LIVES;
    let shown: Vec<_> = brokers.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
    let more = if brokers.len() > MAX_SHOWN { "; and others" } else { "" };
    format!(
        "not touched: brokers were seen here within the last {lives} s: {}{more}. Stop all brokers, wait for {lives} s and \
         for the longest ttl and linger, and try again; or use --force if they have all gone",
        shown.join("; ")
    )
}

async fn adopt_one(survey: Survey, wire: &Wire, stamp: Stamp, ours: &Topology, start: u64) -> Result<(), String> {
    let Survey { mut connection, state, .. } = survey;
    // Before S, for brokers of the old topology, which read whose the shard is. Without memory for the words it is adopted too.
    connection.exchange(wire, &[protocol::note_topology(ours)]).await.map_err(|error| error.to_string())?;
    // The tokens first: once its state shows, the shard is open.
    let mut batch = vec![protocol::open(stamp.epoch, start)];
    // By compare: should the deletion land late, it meets another S, and does nothing.
    match state {
        StateItem::Missing => {}
        StateItem::Shows { stamp, .. } => batch.push(protocol::delete_s(stamp.cas())),
        StateItem::Unusable { cas, .. } => batch.push(protocol::delete_s(cas)),
    }
    batch.extend([protocol::begin(stamp, ours.fingerprint()), protocol::witness()]);
    let responses = exchange(&mut connection, wire, batch).await?;
    match responses.last().map(protocol::read_witness) {
        Some(Ok(Witness::Shows(shown))) if shown == stamp => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        _ => Err("a broker set it up meanwhile: stop all brokers first".to_owned()),
    }
}

/// Connects to every shard and reads its state.
async fn reach(settings: &MemcachedSettings, wire: &Wire) -> Vec<Result<(Connection, StateItem), String>> {
    let mut reached = Vec::new();
    for shard in &settings.shards {
        reached.push(match dial(shard, None).await {
            Ok((connection, _, facts)) => match facts.refusal(settings.allow_unsafe) {
                None => look(connection, wire).await,
                Some(why) => Err(format!("cannot keep locks: {why}")),
            },
            Err(unreached) => Err(unreached.why.to_string()),
        });
    }
    reached
}

async fn look(mut connection: Connection, wire: &Wire) -> Result<(Connection, StateItem), String> {
    let responses = exchange(&mut connection, wire, vec![protocol::probe()]).await?;
    let state = protocol::read_state(&responses[0]).map_err(|error| error.to_string())?;
    Ok((connection, state))
}

async fn open_one(
    mut connection: Connection,
    wire: &Wire,
    fresh: Stamp,
    ours: u64,
    state: StateItem,
) -> Result<Opened, String> {
    let epoch = match state {
        StateItem::Shows { stamp, .. } => stamp.epoch,
        StateItem::Unusable { why, .. } => return Err(why.to_string()),
        StateItem::Missing => {
            let responses =
                exchange(&mut connection, wire, vec![protocol::begin(fresh, ours), protocol::probe()]).await?;
            match protocol::read_state(&responses[1]).map_err(|error| error.to_string())? {
                StateItem::Shows { stamp, fingerprint } if fingerprint == ours => stamp.epoch,
                _ => return Err("somebody else set the shard up meanwhile".to_owned()),
            }
        }
    };
    let start = first_token(wall_micros(), 0).ok_or(WRONG_CLOCK)?;
    let responses =
        exchange(&mut connection, wire, vec![protocol::highest_token(epoch), protocol::open(epoch, start)]).await?;
    match protocol::read_fence(&responses[0]).map_err(|error| error.to_string())? {
        Some(_) => Ok(Opened::WasOpen),
        None => Ok(Opened::Opened),
    }
}

/// Returns a stamp that nobody has used before.
fn fresh(generation: Generation) -> Stamp {
    Stamp { epoch: Epoch::from_random(rand::rng().random()), generation }
}

/// Exchanges commands for answers, where one refusal spoils all.
async fn exchange(connection: &mut Connection, wire: &Wire, batch: Vec<Command>) -> Result<Vec<Reply>, String> {
    let said = connection.exchange(wire, &batch).await.map_err(|error| error.to_string())?;
    match said.iter().find(|said| matches!(said, Reply::Refused(_))) {
        Some(_) => Err("it refused: it may have no memory left".to_owned()),
        None => Ok(said),
    }
}

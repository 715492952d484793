//! Opens shards: chooses the first fencing token of a new epoch, and does what operators ask for by hand.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use memcache::exp::{MetaCommand, MetaResponse};
use tokio::time::timeout;

use super::commands::{self, Keys};
use super::connection::Connection;
use super::placement::fingerprint;
use super::server::{BOUND, dial};
use super::state_item::{Epoch, Generation, Stamp, StateItem, Unusable, Witness};
use super::{MemcachedSettings, ShardAddress, presence};
use crate::lock::FencingToken;

/// The beginning of 2024 and of 2038, in seconds since 1970. A clock outside is not set, and memcached's absolute
/// times end in January 2038.
const SANE_CLOCK: std::ops::Range<u64> = 1_704_067_200..2_145_916_800;
/// The least distance from the highest token that this broker has seen to the first of a new epoch (R17).
const TOKEN_GAP: u64 = 1_000_000;

/// Returns the number after which the fencing tokens of a new epoch begin: the wall clock in microseconds, or a number
/// above `highest_seen` if that clock was set back. Returns none if the wall clock cannot be right.
pub(super) fn start(highest_seen: u64) -> Option<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let micros = u64::try_from(now.as_micros()).ok()?;
    let start = micros.max(highest_seen + TOKEN_GAP);
    (SANE_CLOCK.contains(&now.as_secs()) && start < FencingToken::LIMIT).then_some(start)
}

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
    let keys = Keys::new(&settings.key_prefix);
    let ours = fingerprint(&settings.shards, settings.max_ttl);
    let reached = reach(settings, &keys).await;
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
            Ok((connection, state)) => open_one(connection, &keys, Stamp::fresh(generation), ours, state).await,
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
    let keys = Keys::new(&settings.key_prefix);
    let ours = fingerprint(&settings.shards, settings.max_ttl);
    let mut surveys = Vec::new();
    for found in reach(settings, &keys).await {
        surveys.push(match found {
            Ok((connection, state)) => survey(connection, &keys, state).await,
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
        let result = match (survey, start(highest), generation) {
            (Err(why), ..) => Err(why),
            (Ok(_), ..) if !all_reached => Err("not touched: another shard was not to be had".to_owned()),
            (Ok(_), ..) if let Some(running) = &running => Err(running.clone()),
            (Ok(_), None, _) => Err(WRONG_CLOCK.to_owned()),
            (Ok(_), _, None) => Err(LAST_GENERATION.to_owned()),
            (Ok(survey), Some(start), Some(generation)) => {
                adopt_one(survey, &keys, Stamp::fresh(generation), ours, start).await
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
async fn highest_token(connection: &mut Connection, keys: &Keys, epoch: Epoch) -> Result<u64, String> {
    let responses = exchange(connection, vec![keys.highest_token(epoch)]).await?;
    let token = commands::read_fence(&responses[0]).map_err(|error| error.to_string())?;
    Ok(token.map_or(0, FencingToken::get))
}

/// Reads a shard's highest token, and the brokers that have noted themselves there: adopting depends on both.
async fn survey(mut connection: Connection, keys: &Keys, state: StateItem) -> Result<Survey, String> {
    let token = match state {
        StateItem::Missing => 0,
        StateItem::Shows { stamp: Stamp { epoch, .. }, .. }
        | StateItem::Unusable { why: Unusable::Older { epoch }, .. } => {
            highest_token(&mut connection, keys, epoch).await?
        }
        StateItem::Unusable { why, .. } => return Err(format!("not touched: {why}")),
    };
    let mut brokers = Vec::new();
    let places: Vec<u16> = (0..presence::PLACES).collect();
    for places in places.chunks(LOOKED_AT_ONCE) {
        let looks = places.iter().map(|place| keys.look_for_broker(*place)).collect();
        brokers.extend(exchange(&mut connection, looks).await?.iter().filter_map(presence::read));
    }
    Ok(Survey { connection, state, token, brokers })
}

/// Lists the brokers that are in the way of adopting shards.
fn still_running(brokers: Vec<presence::Seen>) -> String {
    let lives = presence::LIVES;
    let shown: Vec<_> = brokers.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
    let more = if brokers.len() > MAX_SHOWN { "; and others" } else { "" };
    format!(
        "not touched: brokers were seen here within the last {lives} s: {}{more}. Stop all brokers, wait for {lives} s and \
         for the longest ttl and linger, and try again; or use --force if they have all gone",
        shown.join("; ")
    )
}

async fn adopt_one(survey: Survey, keys: &Keys, stamp: Stamp, ours: u64, start: u64) -> Result<(), String> {
    let Survey { mut connection, state, .. } = survey;
    // The tokens first: once its state shows, the shard is open.
    let mut batch = vec![keys.open(stamp.epoch, start)];
    // By compare: should the deletion land late, it meets another S, and does nothing.
    match state {
        StateItem::Missing => {}
        StateItem::Shows { stamp, .. } => batch.push(keys.forget_state(stamp.cas())),
        StateItem::Unusable { cas, .. } => batch.push(keys.forget_state(cas)),
    }
    batch.extend([keys.begin(stamp, ours), keys.witness()]);
    let responses = exchange(&mut connection, batch).await?;
    match responses.last().map(commands::read_witness) {
        Some(Ok(Witness::Shows(shown))) if shown == stamp => Ok(()),
        Some(Err(error)) => Err(error.to_string()),
        _ => Err("a broker set it up meanwhile: stop all brokers first".to_owned()),
    }
}

/// Connects to every shard and reads its state.
async fn reach(settings: &MemcachedSettings, keys: &Keys) -> Vec<Result<(Connection, StateItem), String>> {
    let mut reached = Vec::new();
    for shard in &settings.shards {
        reached.push(match dial(shard, None).await {
            Ok(dialled) => match dialled.facts.refusal(settings.allow_unsafe) {
                None => look(dialled.connection, keys).await,
                Some(why) => Err(format!("cannot keep locks: {why}")),
            },
            Err(unreached) => Err(unreached.why),
        });
    }
    reached
}

async fn look(mut connection: Connection, keys: &Keys) -> Result<(Connection, StateItem), String> {
    let responses = exchange(&mut connection, vec![keys.read_state()]).await?;
    let state = commands::read_state(&responses[0]).map_err(|error| error.to_string())?;
    Ok((connection, state))
}

async fn open_one(
    mut connection: Connection,
    keys: &Keys,
    fresh: Stamp,
    ours: u64,
    state: StateItem,
) -> Result<Opened, String> {
    let epoch = match state {
        StateItem::Shows { stamp, .. } => stamp.epoch,
        StateItem::Unusable { why, .. } => return Err(why.to_string()),
        StateItem::Missing => {
            let responses = exchange(&mut connection, vec![keys.begin(fresh, ours), keys.read_state()]).await?;
            match commands::read_state(&responses[1]).map_err(|error| error.to_string())? {
                StateItem::Shows { stamp, fingerprint } if fingerprint == ours => stamp.epoch,
                _ => return Err("somebody else set the shard up meanwhile".to_owned()),
            }
        }
    };
    let start = start(0).ok_or(WRONG_CLOCK)?;
    let responses = exchange(&mut connection, vec![keys.highest_token(epoch), keys.open(epoch, start)]).await?;
    match commands::read_fence(&responses[0]).map_err(|error| error.to_string())? {
        Some(_) => Ok(Opened::WasOpen),
        None => Ok(Opened::Opened),
    }
}

async fn exchange(connection: &mut Connection, batch: Vec<MetaCommand>) -> Result<Vec<MetaResponse>, String> {
    match timeout(BOUND, connection.all(&batch)).await {
        Ok(Ok(responses)) => Ok(responses),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {:?}", Duration::from_secs(BOUND.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_a_new_epoch_come_after_all_that_was_seen() {
        let now = start(0).expect("this machine's clock is right");
        assert!(now > 1_704_067_200_000_000);
        assert_eq!(start(now * 2), Some(now * 2 + TOKEN_GAP));
        assert_eq!(start(FencingToken::LIMIT), None);
    }
}

//! Opens shards: chooses the first fencing token of a new epoch, and does what operators ask for by hand.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use memcache::exp::{MetaCommand, MetaResponse};
use tokio::time::timeout;

use super::commands::{self, Epoch, Keys, Witness};
use super::connection::Connection;
use super::placement::fingerprint;
use super::server::{BOUND, dial};
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
    let contradicts = |found: &Result<(Connection, Witness), String>| match found {
        Ok((_, Witness::Shows { fingerprint, .. })) => *fingerprint != ours,
        _ => false,
    };
    let contradicted = reached.iter().any(contradicts);
    let mut results = Vec::new();
    for (shard, found) in settings.shards.iter().zip(reached) {
        let result = match found {
            Err(why) => Err(why),
            Ok(_) if contradicted => {
                Err("not touched: a shard belongs to brokers with another list of servers, other weights or another \
                     --max-ttl (use the brokers' own, or `lockbroker shard adopt`)"
                    .to_owned())
            }
            Ok((connection, witness)) => open_one(connection, &keys, ours, witness).await,
        };
        results.push((shard.clone(), result));
    }
    results
}

/// Makes every shard belong to this topology, whatever it belonged to. Starts an epoch on each, open at once, with
/// tokens above the highest that any of them has given. For a planned change of the servers, their weights or
/// `--max-ttl`: after all brokers have been stopped, and every ttl and linger has been waited out.
///
/// # Errors
/// If a shard cannot be reached or cannot keep locks, its line says why and no shard is touched. Nor is any if a broker
/// has noted itself within the last 15 s, unless `force` says that it is of no consequence.
///
/// # Cancel safety
/// Shards already adopted stay so; call it again.
pub async fn adopt(settings: &MemcachedSettings, force: bool) -> Vec<(ShardAddress, Result<(), String>)> {
    let keys = Keys::new(&settings.key_prefix);
    let ours = fingerprint(&settings.shards, settings.max_ttl);
    let mut connections = Vec::new();
    let mut highest = 0;
    let mut brokers = BTreeMap::new();
    for found in reach(settings, &keys).await {
        connections.push(match found {
            Ok((mut connection, witness)) => match survey(&mut connection, &keys, witness).await {
                Ok((token, seen)) => {
                    highest = highest.max(token);
                    brokers.extend(seen.into_iter().map(|broker| (broker.id, broker)));
                    Ok(connection)
                }
                Err(why) => Err(why),
            },
            Err(why) => Err(why),
        });
    }
    let running = (!force && !brokers.is_empty()).then(|| still_running(brokers.into_values().collect()));
    let all_reached = connections.iter().all(Result::is_ok);
    let mut results = Vec::new();
    for (shard, connection) in settings.shards.iter().zip(connections) {
        let result = match (connection, start(highest)) {
            (Err(why), _) => Err(why),
            (Ok(_), _) if !all_reached => Err("not touched: another shard was not to be had".to_owned()),
            (Ok(_), _) if let Some(running) = &running => Err(running.clone()),
            (Ok(_), None) => Err(WRONG_CLOCK.to_owned()),
            (Ok(connection), Some(start)) => adopt_one(connection, &keys, ours, start).await,
        };
        results.push((shard.clone(), result));
    }
    results
}

/// Returns the highest token of the epoch that a shard shows; 0 if it has none.
async fn highest_token(connection: &mut Connection, keys: &Keys, witness: Witness) -> Result<u64, String> {
    let Witness::Shows { epoch, .. } = witness else { return Ok(0) };
    let responses = exchange(connection, vec![keys.highest_token(epoch)]).await?;
    let token = commands::read_fence(&responses[0]).map_err(|error| error.to_string())?;
    Ok(token.map_or(0, FencingToken::get))
}

/// Reads a shard's highest token, and the brokers that have noted themselves there: adopting depends on both.
async fn survey(
    connection: &mut Connection,
    keys: &Keys,
    witness: Witness,
) -> Result<(u64, Vec<presence::Seen>), String> {
    let token = highest_token(connection, keys, witness).await?;
    let mut seen = Vec::new();
    let places: Vec<u16> = (0..presence::PLACES).collect();
    for places in places.chunks(LOOKED_AT_ONCE) {
        let looks = places.iter().map(|place| keys.look_for_broker(*place)).collect();
        seen.extend(exchange(connection, looks).await?.iter().filter_map(presence::read));
    }
    Ok((token, seen))
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

async fn adopt_one(mut connection: Connection, keys: &Keys, ours: u64, start: u64) -> Result<(), String> {
    let epoch = Epoch::random();
    // The tokens first: once its state shows, the shard is open.
    let batch = vec![keys.open(epoch, start), keys.forget_epoch(), keys.begin_epoch(epoch, ours), keys.witness()];
    let responses = exchange(&mut connection, batch).await?;
    match commands::read_witness(&responses[3]).map_err(|error| error.to_string())? {
        Witness::Shows { epoch: shown, .. } if shown == epoch => Ok(()),
        _ => Err("a broker set it up meanwhile: stop all brokers first".to_owned()),
    }
}

/// Connects to every shard and reads its state.
async fn reach(settings: &MemcachedSettings, keys: &Keys) -> Vec<Result<(Connection, Witness), String>> {
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

async fn look(mut connection: Connection, keys: &Keys) -> Result<(Connection, Witness), String> {
    let responses = exchange(&mut connection, vec![keys.witness()]).await?;
    let witness = commands::read_witness(&responses[0]).map_err(|error| error.to_string())?;
    Ok((connection, witness))
}

async fn open_one(mut connection: Connection, keys: &Keys, ours: u64, witness: Witness) -> Result<Opened, String> {
    let epoch = match witness {
        Witness::Shows { epoch, .. } => epoch,
        Witness::Missing => {
            let begin = vec![keys.begin_epoch(Epoch::random(), ours), keys.witness()];
            let responses = exchange(&mut connection, begin).await?;
            match commands::read_witness(&responses[1]).map_err(|error| error.to_string())? {
                Witness::Shows { epoch, fingerprint } if fingerprint == ours => epoch,
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

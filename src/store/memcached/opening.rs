//! Opens and adopts shards by hand, for `lockbroker shard`.

use std::collections::BTreeMap;

use lockbroker_core::shard::state_item::{Epoch, Generation, Made, Stamp, StateItem, Unusable, Witness};
use lockbroker_core::shard::{LIVES, Topology, first_token, protocol};
use rand::RngExt;

use super::connection::Connection;
use super::outside::wall_micros;
use super::presence::SeenBroker;
use super::survey::{Reached, Surveyed, exchange, reach, survey_all};
use super::wire::Wire;
use super::{MemcachedSettings, ShardAddress};
use crate::lock::FencingToken;

/// The number of brokers that a message names.
const MAX_SHOWN: usize = 10;

pub(super) const LAST_GENERATION: &str = "not touched: generations have come to their end; with all brokers stopped, restart every \
                               memcached";
const CHANGES: &str = "not touched: the servers change, and this one must not be open before that is through: complete the change by \
                       `lockbroker shard adopt`; or, with all brokers stopped, use `lockbroker shard adopt --stopped`";
pub(super) const WRONG_CLOCK: &str = "this machine's clock is outside the years 2024 to 2037; set it";

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
    let ours = settings.topology().fingerprint();
    let reached = reach(settings, wire).await;
    let states = || reached.iter().filter_map(|found| found.as_ref().ok()).map(|reached| reached.state);
    let contradicted = states().any(|state| match state {
        StateItem::Shows { fingerprint, .. } => fingerprint != ours,
        StateItem::Flipped { .. } | StateItem::Unusable { .. } => true,
        StateItem::Missing => false,
    });
    let generation = highest_generation(states()).unwrap_or(Generation::FIRST);
    let mut results = Vec::new();
    for (shard, found) in settings.shards.iter().zip(reached) {
        let result = match found {
            Err(unread) => Err(unread.to_string()),
            Ok(Reached { state: StateItem::Unusable { why, .. }, .. }) => Err(format!("not touched: {why}")),
            Ok(_) if contradicted => {
                Err("not touched: a shard belongs to brokers with another list of servers, other weights or another \
                     --max-ttl, or to another version (use the brokers' own, or `lockbroker shard adopt`)"
                    .to_owned())
            }
            Ok(Reached { connection, state, .. }) => open_one(connection, wire, fresh(generation), ours, state).await,
        };
        results.push((shard.clone(), result));
    }
    results
}

/// Returns the highest generation of the shards that have one.
fn highest_generation(states: impl Iterator<Item = StateItem>) -> Option<Generation> {
    let generation = |state| match state {
        StateItem::Shows { stamp, .. } | StateItem::Flipped { stamp, .. } => Some(stamp.generation),
        StateItem::Unusable { why: Unusable::Moved { generation }, .. } => Some(generation),
        StateItem::Missing | StateItem::Unusable { .. } => None,
    };
    states.filter_map(generation).max()
}

/// Makes every shard belong to this topology, whatever it belonged to. Starts an epoch on each, open at once, with
/// tokens above the highest that any of them has given, and of the generation after the highest that any of them has. For
/// a planned change of the servers, their weights or `--max-ttl`, and for shards of an older format: after all brokers have been
/// stopped, and every ttl and linger has been waited out.
///
/// Servers that are in the list before alone are closed: they belong to this topology from then on, which does not use them. So a broker
/// that is started with that list grants none of their locks. They are known by the words that brokers have left.
///
/// # Errors
/// If a shard cannot be reached, cannot keep locks, or has a state of a later version, its line says why and no shard is
/// touched. Nor is any if a broker has noted itself within the last 15 s, or a server of the list before cannot be closed, unless
/// `force` says that it is of no consequence.
///
/// # Cancel safety
/// Shards already adopted stay so; call it again.
pub async fn adopt(settings: &MemcachedSettings, force: bool) -> Vec<(ShardAddress, Result<Adopted, String>)> {
    let wire = &Wire::new(&settings.key_prefix);
    let ours = &settings.topology();
    let surveyed = survey_all(settings, wire).await;
    let plans = plan(&surveyed, force);
    let mut results = Vec::new();
    // Those that are dropped come last, and are closed first.
    for (Surveyed { shard, survey, .. }, next) in surveyed.into_iter().zip(plans).rev() {
        let result = match (survey, next) {
            (_, Err(why)) => Err(why),
            (Err(unread), Ok(_)) => Ok(Adopted::LeftAlone(unread.to_string())),
            (Ok(survey), Ok(next)) => adopt_one(survey.reached, wire, fresh(next.generation), ours, next.start).await,
        };
        results.push((shard, result));
    }
    results.reverse();
    results
}

/// The effect of adopting on one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adopted {
    /// It grants locks by this topology.
    Opened,
    /// It is in the list before alone, and grants nothing more.
    Closed,
    /// It is in the list before alone, and has not been closed, for this reason.
    LeftAlone(String),
}

/// The beginning of a shard that is adopted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    pub(super) generation: Generation,
    /// Its tokens come after this one. None if it is to grant nothing.
    pub(super) start: Option<u64>,
}

/// Says for each shard what adopting makes of it, or why it is not touched.
pub(super) fn plan(servers: &[Surveyed], force: bool) -> Vec<Result<Next, String>> {
    let adoptable = |server: &Surveyed| match &server.survey {
        Err(_) if server.is_dropped && force => Ok(()),
        Err(unread) if server.is_dropped => Err(format!(
            "it is in the list before alone, and cannot be closed: {unread}. Start it; or keep it down for good, or until it \
             is empty, and use --force. A broker that is started with that list would grant its locks a second time"
        )),
        Err(unread) => Err(unread.to_string()),
        Ok(survey) => survey.unusable().map_or(Ok(()), |why| Err(format!("not touched: {why}"))),
    };
    let adoptable: Vec<_> = servers.iter().map(adoptable).collect();
    let surveyed = || servers.iter().zip(&adoptable).filter(|(_, adoptable)| adoptable.is_ok());
    let surveyed = || surveyed().filter_map(|(server, _)| server.survey.as_ref().ok());
    let highest = surveyed().filter_map(|survey| survey.token).map(FencingToken::get).max().unwrap_or(0);
    // Each is named once: it has a note of its own on each shard.
    let mut brokers: BTreeMap<&str, &SeenBroker> = BTreeMap::new();
    for broker in surveyed().flat_map(|survey| &survey.brokers) {
        let seen = brokers.entry(broker.note()).or_insert(broker);
        if broker.seconds_ago < seen.seconds_ago {
            *seen = broker;
        }
    }
    let running = (!force && !brokers.is_empty()).then(|| still_running(brokers.into_values().collect()));
    let all_reached = adoptable.iter().all(Result::is_ok);
    let last = highest_generation(surveyed().map(|survey| survey.reached.state));
    let generation = last.map_or(Some(Generation::FIRST), Generation::next);
    let start = first_token(wall_micros(), highest);
    let next = |(server, adoptable): (&Surveyed, &Result<(), String>)| match (adoptable, start, generation) {
        (Err(why), ..) => Err(why.clone()),
        (Ok(()), ..) if !all_reached => Err("not touched: another shard was not to be had".to_owned()),
        (Ok(()), ..) if let Some(running) = &running => Err(running.clone()),
        (Ok(()), None, _) => Err(WRONG_CLOCK.to_owned()),
        (Ok(()), _, None) => Err(LAST_GENERATION.to_owned()),
        (Ok(()), Some(start), Some(generation)) => {
            Ok(Next { generation, start: (!server.is_dropped).then_some(start) })
        }
    };
    servers.iter().zip(&adoptable).map(next).collect()
}

/// Lists the brokers that are in the way of adopting shards.
fn still_running(brokers: Vec<&SeenBroker>) -> String {
    let lives = LIVES;
    let shown: Vec<_> = brokers.iter().take(MAX_SHOWN).map(ToString::to_string).collect();
    let more = if brokers.len() > MAX_SHOWN { "; and others" } else { "" };
    format!(
        "not touched: brokers were seen here within the last {lives} s: {}{more}. Stop all brokers, wait for {lives} s and \
         for the longest ttl and linger, and try again; or use --force if they have all gone",
        shown.join("; ")
    )
}

async fn adopt_one(
    reached: Reached,
    wire: &Wire,
    stamp: Stamp,
    ours: &Topology,
    start: Option<u64>,
) -> Result<Adopted, String> {
    let Reached { mut connection, state, .. } = reached;
    // Before S, for brokers of the old topology, which read whose the shard is. Without memory for the words it is adopted too.
    connection.exchange(wire, &[protocol::note_topology(ours)]).await.map_err(|error| error.to_string())?;
    // The tokens first: once its state shows, the shard is open.
    let mut batch: Vec<_> = start.map(|start| protocol::open(stamp.epoch, start)).into_iter().collect();
    // By compare: should the deletion land late, it meets another S, and does nothing.
    match state {
        StateItem::Missing => {}
        StateItem::Shows { stamp, .. } | StateItem::Flipped { stamp, .. } => {
            batch.push(protocol::delete_s(stamp.cas()));
        }
        StateItem::Unusable { cas, .. } => batch.push(protocol::delete_s(cas)),
    }
    batch.extend([protocol::begin(stamp, ours.fingerprint(), Made::InForce), protocol::witness()]);
    let responses = exchange(&mut connection, wire, batch).await?;
    match responses.last().map(protocol::read_witness) {
        Some(Ok(Witness::Shows(shown))) if shown == stamp && start.is_none() => Ok(Adopted::Closed),
        Some(Ok(Witness::Shows(shown))) if shown == stamp => Ok(Adopted::Opened),
        Some(Err(error)) => Err(error.to_string()),
        _ => Err("a broker, or another adopt, set it up meanwhile: stop all brokers first, and try again".to_owned()),
    }
}

async fn open_one(
    mut connection: Connection,
    wire: &Wire,
    fresh: Stamp,
    ours: u64,
    state: StateItem,
) -> Result<Opened, String> {
    let epoch = match state {
        StateItem::Shows { made: Made::ByChange, stamp, .. } => {
            let fence = exchange(&mut connection, wire, vec![protocol::highest_token(stamp.epoch)]).await?;
            return match protocol::read_fence(&fence[0]).map_err(|error| error.to_string())? {
                Some(_) => Ok(Opened::WasOpen),
                None => Err(CHANGES.to_owned()),
            };
        }
        StateItem::Shows { stamp, .. } | StateItem::Flipped { stamp, .. } => stamp.epoch,
        StateItem::Unusable { why, .. } => return Err(why.to_string()),
        StateItem::Missing => {
            let responses =
                exchange(&mut connection, wire, vec![protocol::begin(fresh, ours, Made::InForce), protocol::probe()])
                    .await?;
            match protocol::read_state(&responses[1]).map_err(|error| error.to_string())? {
                StateItem::Shows { stamp, fingerprint, .. } if fingerprint == ours => stamp.epoch,
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

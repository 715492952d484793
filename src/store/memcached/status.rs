//! Reports what shards are, and what adopting would make of them, for `lockbroker shard status` and `adopt --dry-run`.
//! Changes nothing there.

use std::cell::Cell;

use futures_util::future::join_all;
use lockbroker_core::shard::state_item::{Generation, Made, Stamp, StateItem, Unusable, Witness};
use lockbroker_core::shard::{Placement, protocol};
use lockbroker_core::store::ItemState;
use tokio::time::timeout;

use super::dump::{DumpError, Found, Pattern};
use super::listing::{LONGEST, dump_locks};
use super::opening::{Next, plan};
use super::presence::SeenBroker;
use super::survey::{Reached, Survey, Surveyed, Unread, survey, survey_all};
use super::wire::Wire;
use super::{MemcachedSettings, ShardAddress, words};

/// The state of a shard, as it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportedState {
    /// It cannot be reached.
    Unreachable,
    /// It cannot keep locks.
    Refused,
    /// Its state cannot be read.
    Unreadable,
    /// Another version of lockbroker has set it up, and this one cannot use it.
    OtherVersion,
    /// It belongs to another topology.
    Foreign,
    /// It has no state: it is new, or has lost its memory, and no broker has met it since.
    New,
    /// It waits in quarantine, and nobody grants locks there.
    Closed,
    /// The servers change, and nobody grants locks there until that is through.
    Moving,
    /// It grants locks.
    Open,
}

/// The number of items of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that somebody holds, or keeps for a lock that is claimed.
    pub held: u64,
    /// Those that linger after a release or a revocation.
    pub lingering: u64,
}

impl Count {
    /// Returns the number of all.
    pub fn all(self) -> u64 {
        self.held + self.lingering
    }

    fn add(&mut self, state: ItemState) {
        match state {
            ItemState::Held(_) => self.held += 1,
            ItemState::Lingering(_) => self.lingering += 1,
        }
    }
}

/// The locks that stand on a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// The locks themselves.
    pub locks: Count,
    /// The permits of locks that several share.
    pub permits: Count,
    /// The number of locks and permits among them whose names this topology puts on another shard.
    pub elsewhere: u64,
}

/// The reason for which nobody knows how many locks stand on a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncounted {
    /// It is not asked, because of its state.
    NotAsked,
    /// It has a flag that forbids lists.
    Forbidden {
        /// The flag.
        flag: &'static str,
        /// Says what mends it.
        why: String,
    },
    /// It has not shown all of its keys, for this reason.
    Failed(String),
}

/// A shard, as it is found.
#[derive(Debug, Clone)]
pub struct ShardReport {
    /// Its address and weight.
    pub shard: ShardAddress,
    /// Its state.
    pub state: ReportedState,
    /// The reasons for its state, and the dangers of its settings. Empty where there is nothing to say.
    pub why: Vec<String>,
    /// Its generation. None if it has none, or one that this version cannot read.
    pub generation: Option<Generation>,
    /// The locks that its memory has.
    pub standing: Result<Standing, Uncounted>,
    /// The brokers that have noted themselves there within the last 15 s. None if that has not been read.
    pub brokers: Option<Vec<SeenBroker>>,
}

/// Reports on every shard, in the order of the settings. Changes nothing: it reads items, and does not even count as their use.
///
/// Each report is of its own moment, and takes up to some 20 s where a server is busy showing its keys.
///
/// # Cancel safety
/// Nothing is left behind.
pub async fn status(settings: &MemcachedSettings) -> Vec<ShardReport> {
    let wire = &Wire::new(&settings.key_prefix);
    let surveys = survey(&settings.shards, settings, wire).await;
    Reporter::new(settings, wire).report(settings.shards.iter().cloned().zip(surveys).collect()).await
}

/// Reports on every shard as [`status`] does, with the generation that [`adopt`](super::adopt) would begin there, or why it
/// would not touch the shard. Changes nothing.
///
/// # Cancel safety
/// Nothing is left behind.
pub async fn rehearse(settings: &MemcachedSettings, force: bool) -> Vec<(ShardReport, Result<Becomes, String>)> {
    let wire = &Wire::new(&settings.key_prefix);
    let surveyed = survey_all(settings, wire).await;
    let plans = plan(&surveyed, force);
    let next = |plan: Result<Next, String>| {
        plan.map(|Next { generation, start }| match start {
            Some(_) => Becomes::Open(generation),
            None => Becomes::Closed,
        })
    };
    let surveys = surveyed.into_iter().map(|Surveyed { shard, survey, .. }| (shard, survey)).collect();
    let reports = Reporter::new(settings, wire).report(surveys).await;
    reports.into_iter().zip(plans.into_iter().map(next)).collect()
}

/// What adopting would make of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// It would grant locks, in this generation.
    Open(Generation),
    /// It is in the list before alone, and would grant nothing more.
    Closed,
}

/// Makes reports of one topology's shards.
struct Reporter<'a> {
    wire: &'a Wire,
    /// The topology.
    ours: u64,
    placement: Placement,
}

impl<'a> Reporter<'a> {
    fn new(settings: &'a MemcachedSettings, wire: &'a Wire) -> Reporter<'a> {
        let topology = settings.topology();
        Reporter { wire, ours: topology.fingerprint(), placement: Placement::new(&topology.members) }
    }

    async fn report(&self, surveys: Vec<(ShardAddress, Result<Survey, Unread>)>) -> Vec<ShardReport> {
        let shards = surveys.into_iter().enumerate();
        join_all(shards.map(|(index, (shard, survey))| self.report_one(index, shard, survey))).await
    }

    /// Reports on one server. `index` is beyond those of the shards if it is none of them.
    async fn report_one(&self, index: usize, shard: ShardAddress, survey: Result<Survey, Unread>) -> ShardReport {
        let survey = match survey {
            Ok(survey) => survey,
            Err(unread) => {
                let (state, why) = match unread {
                    Unread::Unreached(why) => (ReportedState::Unreachable, why),
                    Unread::Refused(why) => (ReportedState::Refused, format!("cannot keep locks: {why}")),
                    Unread::Odd(why) => (ReportedState::Unreadable, why),
                };
                let standing = Err(Uncounted::NotAsked);
                return ShardReport { shard, state, why: vec![why], generation: None, standing, brokers: None };
            }
        };
        let (state, mut why) = self.state(&survey);
        if state == ReportedState::Foreign {
            why = Some(words::foreign(survey.topology.as_ref()));
        }
        let Survey { mut reached, brokers, .. } = survey;
        let dangers = (!reached.dangers.is_empty()).then(|| format!("may lose locks: {}", reached.dangers.join("; ")));
        let why = why.into_iter().chain(dangers).collect();
        let generation = match reached.state {
            StateItem::Shows { stamp: Stamp { generation, .. }, .. }
            | StateItem::Flipped { stamp: Stamp { generation, .. }, .. }
            | StateItem::Unusable { why: Unusable::Moved { generation }, .. } => Some(generation),
            StateItem::Missing | StateItem::Unusable { .. } => None,
        };
        let standing = self.count(index, &mut reached).await;
        ShardReport { shard, state, why, generation, standing, brokers: Some(brokers) }
    }

    /// Returns a shard's state, and what there is to say of it.
    fn state(&self, survey: &Survey) -> (ReportedState, Option<String>) {
        match survey.reached.state {
            StateItem::Missing => {
                let why = "it has no state: it is new, or has lost its memory, and no broker has met it since";
                (ReportedState::New, Some(why.to_owned()))
            }
            StateItem::Unusable { why: Unusable::Strange, .. } => {
                (ReportedState::Unreadable, Some(Unusable::Strange.to_string()))
            }
            StateItem::Unusable { why, .. } => (ReportedState::OtherVersion, Some(why.to_string())),
            StateItem::Shows { fingerprint, .. } if fingerprint != self.ours => (ReportedState::Foreign, None),
            StateItem::Flipped { .. } => (ReportedState::Foreign, None),
            StateItem::Shows { made: Made::ByChange, .. } if survey.token.is_none() => {
                let why = "the servers change, and it grants nothing until that is through: `lockbroker shard adopt` completes it";
                (ReportedState::Moving, Some(why.to_owned()))
            }
            StateItem::Shows { .. } if survey.token.is_none() => {
                let why =
                    "it is in quarantine, and nobody grants locks there: locks may stand that it does not know of";
                (ReportedState::Closed, Some(why.to_owned()))
            }
            StateItem::Shows { .. } => (ReportedState::Open, None),
        }
    }

    /// Counts the locks that a shard's memory has. `index` is the shard's.
    async fn count(&self, index: usize, reached: &mut Reached) -> Result<Standing, Uncounted> {
        let pattern = Pattern::new(&self.wire.locks(), &self.wire.permits(), "");
        let standing = Cell::new(Standing::default());
        let take = |Found { item, number, .. }: Found| {
            let Some(state) = ItemState::of_number(number) else { return };
            let mut counted = standing.get();
            let of_its_kind = if item.permit.is_some() { &mut counted.permits } else { &mut counted.locks };
            of_its_kind.add(state);
            counted.elsewhere += u64::from(self.placement.shard_of(&item.name) != index);
            standing.set(counted);
        };
        match timeout(LONGEST, dump_locks(reached.address, &pattern, take)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error @ DumpError::Forbidden { flag, .. })) => {
                return Err(Uncounted::Forbidden { flag, why: error.to_string() });
            }
            Ok(Err(error)) => return Err(Uncounted::Failed(error.to_string())),
            Err(_) => return Err(Uncounted::Failed(format!("it has not shown its keys within {LONGEST:?}"))),
        }
        match self.is_the_same(reached).await {
            Ok(true) => Ok(standing.get()),
            Ok(false) => Err(Uncounted::Failed("it has lost its memory while it was asked".to_owned())),
            Err(why) => Err(Uncounted::Failed(why)),
        }
    }

    /// Returns true if a shard still has the memory that it had at first, or had none that could be told from another.
    async fn is_the_same(&self, reached: &mut Reached) -> Result<bool, String> {
        let StateItem::Shows { stamp, .. } = reached.state else { return Ok(true) };
        let said = reached.connection.exchange(self.wire, &[protocol::witness()]).await;
        let said = said.map_err(|error| error.to_string())?;
        Ok(matches!(said.first().map(protocol::read_witness), Some(Ok(Witness::Shows(after))) if after == stamp))
    }
}

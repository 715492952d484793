//! The batches in which jobs travel: the clock first where a job grants or renews, then the jobs, then
//! the fences where a job may grant, and the witness last. A batch is not a transaction: others' commands
//! come between. So what it came to counts only if the witness at its end shows the epoch that was
//! known before (R13). A restart of memcached breaks the connection, and then nothing of the batch counts; the witness is for
//! a memory that is lost behind a living connection. A batch of notes has no witness: it claims nothing.

use std::time::Duration;

use super::job::{self, Job, Kind, Op, Outcome, Permits, Seen};
use super::protocol::{self, Unexpected, Watcher};
use super::state_item::{Epoch, Witness};
use crate::command::{Command, Refusal, Reply as Said};
use crate::lock::FencingToken;
use crate::store::StoreError;

/// Jobs of one kind on their way to the server together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Each with the number of its commands.
    jobs: Vec<(Job, usize)>,
    kind: Kind,
    timed: bool,
    grants: u64,
    /// True if it notes that there are permits.
    notes_permits: bool,
    /// True if it looks if there are.
    looks_for_permits: bool,
}

/// The evidence that a batch gives of the shard itself.
#[derive(Debug)]
pub struct Evidence {
    /// The time that S had left, if the batch asked.
    pub clock: Option<Option<Duration>>,
    /// The highest token of the batch, if it may have granted; none if the epoch is closed. That it was refused spoils the
    /// batch's grants alone.
    pub fence: Option<Result<Option<FencingToken>, StoreError>>,
    /// The number of tokens that the batch drew.
    pub grants: u64,
    /// The epoch and the generation that S shows.
    pub witness: Witness,
    /// Its word on permits.
    pub permits: Permits,
}

impl Batch {
    /// Makes one.
    pub fn new(jobs: Vec<Job>, kind: Kind) -> Batch {
        let grants = jobs.iter().filter(|job| job.op.grants()).count() as u64;
        let timed = jobs.iter().any(|job| job.op.extends());
        let notes_permits = jobs.iter().any(|job| job.op.extends() && job.is_of_permit());
        let looks_for_permits = jobs.iter().any(|job| matches!(job.op, Op::Grant { .. }));
        let jobs = jobs.into_iter().map(|job| (job, 0)).collect();
        Batch { jobs, kind, timed, grants, notes_permits, looks_for_permits }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    #[cfg(test)]
    pub(crate) fn grants(&self) -> u64 {
        self.grants
    }

    /// Returns the commands, for a shard whose epoch is `epoch`. `me` is this broker, as others are to wake it. `compares`: they
    /// name the ids that they act for.
    pub fn commands(&mut self, epoch: Option<Epoch>, me: Option<&Watcher>, compares: bool) -> Vec<Command> {
        let mut commands = Vec::with_capacity(self.jobs.len() + 6);
        if self.timed {
            commands.push(protocol::clock());
        }
        if self.notes_permits {
            // Before the permits: whoever sees none of them here sees none of what follows.
            commands.extend(protocol::note_permits());
        }
        for (Job { item, op, .. }, count) in &mut self.jobs {
            *count = op.commands(item, me, compares, &mut commands);
        }
        if self.looks_for_permits {
            // After the locks: whoever gets a permit later sees them.
            commands.push(protocol::look_for_permits());
        }
        if let Some(epoch) = epoch.filter(|_| self.grants > 0) {
            // Raised after the locks are held and before anybody hears of it.
            commands.push(protocol::raise_fence(epoch, self.grants));
        }
        if self.kind == Kind::Item {
            commands.push(protocol::witness());
        }
        commands
    }

    /// Reads what the batch says of the shard.
    ///
    /// # Errors
    /// It is not the answer to such a batch, or its witness was refused.
    pub fn evidence(&self, said: &[Said], shard: &str) -> Result<Evidence, StoreError> {
        let from_the_end = |index: usize| said.iter().rev().nth(index).ok_or_else(|| answers_missing(shard));
        let clock = self.timed.then(|| said.first().and_then(protocol::read_clock));
        let fence = match self.grants {
            0 => None,
            _ => match from_the_end(1)? {
                Said::Refused(refusal) => Some(Err(job::refused(shard, *refusal))),
                said => Some(Ok(protocol::read_fence(said)?)),
            },
        };
        let noted = || said.get(usize::from(self.timed) + 1).is_some_and(|said| matches!(said, Said::Done(_)));
        let look = if self.looks_for_permits { Some(from_the_end(2)?) } else { None };
        let permits = Permits {
            noted: self.notes_permits && noted(),
            no_memory: self.notes_permits && said.get(usize::from(self.timed)).is_some_and(job::is_out_of_memory),
            exist: look.is_some_and(protocol::read_permits),
        };
        let grants = self.grants;
        Ok(Evidence { clock, fence, grants, witness: read(from_the_end(0)?, protocol::read_witness, shard)?, permits })
    }

    /// Returns what each job of a batch that counts came to. What the shard has refused to do for one of them is no concern
    /// of the others.
    pub fn settle(
        self,
        said: &[Said],
        fence: Option<Result<Option<FencingToken>, StoreError>>,
        seen: &Seen<'_>,
    ) -> Vec<(Job, Outcome)> {
        let before = usize::from(self.timed) + 2 * usize::from(self.notes_permits);
        let mut rest = said.get(before..).unwrap_or_default();
        let mut token = Tokens { fence, grants: self.grants, drawn: 0 };
        let mut settled = Vec::with_capacity(self.jobs.len());
        for (job, count) in self.jobs {
            let (own, others) = rest.split_at(count.min(rest.len()));
            rest = others;
            let drawn = job.op.grants().then(|| token.next());
            let outcome = job.op.outcome(&job.item, own, drawn, seen);
            settled.push((job, outcome));
        }
        settled
    }

    /// Returns what each job of a batch of notes came to.
    pub(crate) fn noted(self, said: &[Said]) -> Vec<(Job, Outcome)> {
        debug_assert!(self.jobs.iter().all(|(_, count)| *count == 1), "a note is one command");
        let mut said = said.iter();
        let missing = Said::Refused(Refusal::Other);
        let settle = |(job, _): (Job, usize)| {
            let outcome = job.op.noted(said.next().unwrap_or(&missing));
            (job, outcome)
        };
        self.jobs.into_iter().map(settle).collect()
    }

    /// Returns its jobs, of which nobody knows what they came to.
    pub(crate) fn into_jobs(self) -> impl Iterator<Item = Job> {
        self.jobs.into_iter().map(|(job, _)| job)
    }
}

/// The fencing tokens of a batch. The fences were raised by the number of grants asked for, so each has one of its own.
struct Tokens {
    fence: Option<Result<Option<FencingToken>, StoreError>>,
    grants: u64,
    drawn: u64,
}

impl Tokens {
    fn next(&mut self) -> Result<FencingToken, StoreError> {
        self.drawn += 1;
        let top = match &self.fence {
            Some(Ok(Some(top))) => top.get(),
            Some(Err(error)) => return Err(error.clone()),
            Some(Ok(None)) | None => return Err(lost_tokens()),
        };
        let below = top.checked_sub(self.grants);
        below.and_then(|below| FencingToken::new(below + self.drawn)).ok_or_else(lost_tokens)
    }
}

pub(crate) fn lost_tokens() -> StoreError {
    StoreError::uncertain("the shard lost its fencing tokens while it granted the lock")
}

pub(crate) fn answers_missing(shard: &str) -> StoreError {
    StoreError::uncertain(format!("memcached {shard} did not answer all it was asked"))
}

fn read<T>(said: &Said, read: impl FnOnce(&Said) -> Result<T, Unexpected>, shard: &str) -> Result<T, StoreError> {
    match said {
        Said::Refused(refusal) => Err(job::refused(shard, *refusal)),
        said => Ok(read(said)?),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::command::{Cas, Left, Shown, Value};
    use crate::lock::{GrantId, LockItem, LockName, Permit};
    use crate::store::{Granted, ItemState, Reply, Shared, Slots};

    const SHARD: &str = "memcached.test:11211";

    fn any_answer() -> impl Strategy<Value = Said> {
        let cas = prop_oneof![Just(GrantId::from_random(0).get()), Just(GrantId::from_random(1).get()), any::<u64>()];
        let value = prop_oneof![any::<u64>().prop_map(Value::Number), Just(Value::Text("odd".into()))];
        let shown = (prop::option::of(cas), prop::option::of(any::<u32>()), prop::option::of(value)).prop_map(
            |(cas, left, value)| Shown { cas: cas.map(Cas), left: left.map(Left::Seconds), value, ..Shown::default() },
        );
        prop_oneof![
            shown.prop_map(Said::Done),
            Just(Said::Exists),
            Just(Said::Missing),
            Just(Said::NotStored),
            prop_oneof![Just(Refusal::NoMemory), Just(Refusal::Other)].prop_map(Said::Refused),
        ]
    }

    fn ops() -> Vec<Op> {
        let [old, new] = [0, 1].map(GrantId::from_random);
        let held = ItemState::Held(old);
        vec![
            Op::Replace { from: held, to: held, ttl: 15, touches_owner: true, reasserts: true },
            Op::HandOver { from: old, to: new, ttl: 15 },
            Op::Grant { id: new, ttl: 15 },
            Op::Remove { state: held, wakes: true },
            Op::Look,
            Op::Stands(old),
            Op::Reassert { state: held, ttl: 15 },
        ]
    }

    /// Where the note that a permit exists finds no memory, another try would find none either. It was taken for others who were first.
    #[test]
    fn a_permit_that_cannot_be_noted_for_want_of_memory_is_refused_for_that() {
        let id = GrantId::from_random(0);
        let item = LockItem { permit: Some(Permit::FIRST), ..LockName::new("seats").unwrap().into() };
        let share = Op::Share { id, ttl: 15, slots: Slots::Ensure, under: None };
        let created = Said::Done(Shown { cas: Some(Cas(ItemState::Held(id).number())), ..Shown::default() });
        let outcome = |noted, permits| {
            let seen = Seen { shard: SHARD, last_word: &Ok(()), permits, heeds: job::Heeds::ALL };
            let said = [noted, Said::Missing, created.clone(), Said::Missing];
            share.outcome(&item, &said, Some(Ok(FencingToken::new(1).unwrap())), &seen).reply
        };
        let all = Permits { noted: true, ..Permits::default() };
        let none = Permits { no_memory: true, ..Permits::default() };
        for full in [outcome(Said::Refused(Refusal::NoMemory), all), outcome(Said::Exists, none)] {
            assert!(matches!(full, Some(Reply::Shared(Err(StoreError::Full { .. })))), "{full:?}");
        }
        let gone = outcome(Said::Exists, all);
        assert!(matches!(gone, Some(Reply::Shared(Ok(Shared::Uncovered { created: true, .. })))), "{gone:?}");
    }

    proptest! {
        /// Whatever a memcached answers, every job has one outcome, and none is granted without an answer that says so.
        #[test]
        fn nothing_is_granted_without_an_answer_that_says_so(
            said in prop::collection::vec(any_answer(), 0..14),
            open: bool,
        ) {
            let name = LockName::new("job").unwrap();
            let jobs = ops().into_iter().map(|op| Job { item: name.clone().into(), asker: None, op }).collect();
            let mut batch = Batch::new(jobs, Kind::Item);
            let commands = batch.commands(Some(Epoch::from_random(0)), None, true);
            prop_assert!(said.len() <= commands.len());
            let Ok(evidence) = batch.evidence(&said, SHARD) else { return Ok(()) };
            let last_word = if open { Ok(()) } else { Err(StoreError::unavailable("closed", None)) };
            let settled = batch.settle(&said, evidence.fence, &Seen { shard: SHARD, last_word: &last_word, permits: evidence.permits, heeds: job::Heeds::ALL });
            prop_assert_eq!(settled.len(), ops().len());
            for (job, outcome) in settled {
                prop_assert!(outcome.reply.is_some() != outcome.next.is_some(), "{job:?}: {outcome:?}");
                if let Some(Reply::Granted(Ok(Granted::Yes(token)))) = outcome.reply {
                    prop_assert!(said.iter().any(|said| matches!(said, Said::Done(_))));
                    prop_assert!(token.get() > 0);
                }
            }
        }
    }
}

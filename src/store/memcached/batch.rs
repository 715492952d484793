//! Jobs, and the batches in which they travel: the clock first where a job grants or renews, then the jobs, then
//! the fences where a job may grant, and the witness last. A batch is not a transaction: others' commands
//! come between, which is why what it came to counts only if the witness at its end shows the epoch that was
//! known before (R13).

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use memcache::exp::{MetaCommand, MetaResponse};
use tokio::sync::oneshot;

use super::commands::{self, CasOutcome, Keys, Unexpected};
use super::connection::Said;
use super::state_item::{Epoch, Witness};
use crate::lock::{FencingToken, LockName, Owner};
use crate::store::{ItemState, StoreError};

/// One thing to do to one lock.
#[derive(Debug)]
pub(super) enum Op {
    /// Create the item as a new grant, or again after a loss.
    Create { state: ItemState, ttl: u32, grant: bool },
    /// Change the item that carries `from`; as a new grant if it is a hand-over.
    Replace { from: ItemState, to: ItemState, ttl: u32, grant: bool, touch_owner: bool },
    /// Delete the item that carries this state, and take the note of who is to be woken then.
    Remove { state: ItemState, wakes: bool },
    /// Read the item, and the owner's label if that is wanted.
    Look { label: bool },
    /// Do this beside the locks: what it writes claims nothing, and may be refused.
    Note(MetaCommand),
}

/// In which kind of batch a job travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Needs memory, and may be refused for want of it.
    Create,
    /// Needs none: renewals share a batch with nothing whose want of memory could spoil what the batch says of the shard.
    Change,
    /// Claims nothing and may be refused: a batch of its own without a witness.
    Note,
}

impl Op {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Op::Create { .. } => Kind::Create,
            Op::Replace { .. } | Op::Remove { .. } | Op::Look { .. } => Kind::Change,
            Op::Note(_) => Kind::Note,
        }
    }

    /// Whether it may make a new grant, and so needs an open shard and a fencing token.
    pub(super) fn grants(&self) -> bool {
        matches!(self, Op::Create { grant: true, .. } | Op::Replace { grant: true, .. })
    }

    /// Whether it renews a lease.
    pub(super) fn renews(&self) -> bool {
        matches!(self, Op::Replace { from, to, .. } if from == to)
    }

    /// Whether it serves a lock that somebody holds: renews, re-asserts, moves or releases it.
    pub(super) fn serves_a_holder(&self) -> bool {
        self.kind() != Kind::Note && !self.grants() && !matches!(self, Op::Look { .. })
    }

    /// What it means that `shard` cannot do it. Only what needs memory is refused for want of it.
    fn refused(&self, shard: &dyn Display, why: &str) -> StoreError {
        match self.kind() {
            Kind::Create | Kind::Note => {
                StoreError::Full { why: format!("memcached {shard} has no memory left for locks: {why}").into() }
            }
            Kind::Change => StoreError::uncertain(format!("memcached {shard} could not do it: {why}")),
        }
    }

    /// Whether it makes an item live on, so that the server's clock matters.
    pub(super) fn extends(&self) -> bool {
        matches!(self, Op::Create { .. } | Op::Replace { .. })
    }
}

/// What a job came to, in a batch that counts.
#[derive(Debug)]
pub(super) enum Answer {
    CasOutcome {
        verdict: CasOutcome,
        /// The token, if the job made a grant.
        token: Option<FencingToken>,
        /// Whether `Exists` and `Missing` are the last word; in a closed shard they are not.
        last_word: LastWord,
        /// Who is to be woken: its note has been taken.
        watcher: Option<SocketAddr>,
    },
    Found {
        found: Option<(ItemState, Owner, Duration)>,
        /// Whether to find nothing means something.
        last_word: LastWord,
    },
    /// What memcached said to a note.
    Noted(MetaResponse),
}

/// Whether what a shard shows is final, or else why not, and until when.
pub(super) type LastWord = Result<(), StoreError>;

/// An [`Op`] under way, and who waits for what it comes to.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: LockName,
    pub(super) op: Op,
    pub(super) reply: Option<oneshot::Sender<Result<Answer, StoreError>>>,
}

impl Job {
    /// Answers whoever waits; that nobody does any more is no concern of the store's.
    pub(super) fn answer(self, answer: Result<Answer, StoreError>) {
        if let Some(reply) = self.reply {
            let _ = reply.send(answer);
        }
    }
}

/// Jobs of one kind on their way to the server together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) jobs: Vec<Job>,
    kind: Kind,
    timed: bool,
    grants: usize,
}

/// What a batch says of the shard itself.
#[derive(Debug)]
pub(super) struct Evidence {
    /// How long S had left, if the batch asked.
    pub(super) clock: Option<Option<Duration>>,
    /// The highest token of the batch, if it may have granted; none if the epoch is closed.
    pub(super) fence: Option<Option<FencingToken>>,
    pub(super) witness: Witness,
}

impl Batch {
    pub(super) fn new(jobs: Vec<Job>, kind: Kind) -> Batch {
        let grants = jobs.iter().filter(|job| job.op.grants()).count();
        let timed = jobs.iter().any(|job| job.op.extends());
        Batch { jobs, kind, timed, grants }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns how many tokens it draws.
    pub(super) fn grants(&self) -> u64 {
        self.grants as u64
    }

    /// The commands, for a shard whose epoch is `epoch`.
    pub(super) fn commands(&self, keys: &Keys, epoch: Epoch) -> Vec<MetaCommand> {
        let mut commands = Vec::with_capacity(self.jobs.len() + 3);
        if self.timed {
            commands.push(keys.clock());
        }
        for Job { name, op, .. } in &self.jobs {
            match op {
                Op::Create { state, ttl, .. } => commands.push(keys.create(name, *state, *ttl)),
                Op::Replace { from, to, ttl, touch_owner, .. } => {
                    commands.push(keys.replace(name, *from, *to, *ttl));
                    commands.extend(touch_owner.then(|| keys.touch_owner(name, *ttl)));
                }
                Op::Remove { state, wakes } => {
                    commands.push(keys.remove(name, *state));
                    // After the deletion: whoever has noted itself before sees that the lock is free, or is seen here.
                    commands.extend(wakes.then(|| keys.take_watcher(name)));
                }
                Op::Look { label } => {
                    commands.push(keys.look(name));
                    commands.extend(label.then(|| keys.look_for_owner(name)));
                }
                Op::Note(command) => commands.push(command.clone()),
            }
        }
        if self.grants > 0 {
            // Raised after the locks are held and before anybody hears of it.
            commands.push(keys.fence(epoch, self.grants));
        }
        if self.kind != Kind::Note {
            commands.push(keys.witness());
        }
        commands
    }

    /// Reads what the batch says of the shard.
    pub(super) fn evidence(&self, said: &[Said]) -> Result<Evidence, Unexpected> {
        let answer = |index: usize| said[index].as_ref().map_err(|why| Unexpected::refusal(why));
        let from_the_end = |index: usize| answer(said.len() - 1 - index);
        Ok(Evidence {
            clock: self.timed.then(|| answer(0).map(commands::read_clock)).transpose()?,
            fence: (self.grants > 0).then(|| from_the_end(1).and_then(commands::read_fence)).transpose()?,
            witness: from_the_end(0).and_then(commands::read_witness)?,
        })
    }

    /// Answers every job of a batch that counts. What `shard` has refused to do for one of them is no concern of the
    /// others.
    pub(super) fn settle(self, said: &[Said], fence: Option<FencingToken>, last_word: &LastWord, shard: &dyn Display) {
        let mut said = said.iter().skip(usize::from(self.timed));
        let mut granted = 0;
        for job in self.jobs {
            let op = &job.op;
            let mut next = || {
                let said = said.next().expect("one answer for each command").as_ref();
                said.map_err(|why| op.refused(shard, why))
            };
            let (verdict, watcher) = match op {
                Op::Create { state, .. } => {
                    (next().and_then(|created| Ok(commands::read_create(created, *state)?)), None)
                }
                Op::Replace { touch_owner, .. } => {
                    let changed = next();
                    if *touch_owner {
                        // Best effort.
                        let _ = next();
                    }
                    (changed.and_then(|changed| Ok(commands::read_change(changed)?)), None)
                }
                Op::Remove { wakes, .. } => {
                    let removed = next();
                    let watcher = if *wakes { next().ok().and_then(commands::read_address) } else { None };
                    (removed.and_then(|removed| Ok(commands::read_change(removed)?)), watcher)
                }
                Op::Look { label } => {
                    let item = next();
                    // Best effort.
                    let label = if *label { next().ok() } else { None };
                    let answer = item.and_then(|item| Ok(read_found(item, label, last_word.clone())?));
                    job.answer(answer);
                    continue;
                }
                Op::Note(_) => continue,
            };
            let answer = verdict.and_then(|verdict| {
                let token = op.grants().then(|| {
                    granted += 1;
                    // The fences were raised by the number of grants asked for: each has one of its own.
                    let below = fence.and_then(|top| top.get().checked_sub(self.grants as u64));
                    below.and_then(|below| FencingToken::new(below + granted))
                });
                match token {
                    Some(None) if verdict == CasOutcome::Done => {
                        Err(StoreError::uncertain("the shard lost its fencing tokens while it granted the lock"))
                    }
                    token => Ok(Answer::CasOutcome {
                        verdict,
                        token: token.flatten(),
                        last_word: last_word.clone(),
                        watcher,
                    }),
                }
            });
            job.answer(answer);
        }
    }

    /// Answers the job of a batch that is a note.
    pub(super) fn noted(self, said: Vec<Said>, shard: &dyn Display) {
        for (job, said) in self.jobs.into_iter().zip(said) {
            let answer = said.map(Answer::Noted).map_err(|why| job.op.refused(shard, &why));
            job.answer(answer);
        }
    }

    /// Answers every job with the same error.
    pub(super) fn fail(self, error: &StoreError) {
        self.jobs.into_iter().for_each(|job| job.answer(Err(error.clone())));
    }
}

fn read_found(item: &MetaResponse, label: Option<&MetaResponse>, last_word: LastWord) -> Result<Answer, Unexpected> {
    let owner = |state| label.map(|label| commands::read_owner(label, state)).unwrap_or_default();
    let found = commands::read_look(item)?.map(|(state, left)| (state, owner(state), left));
    Ok(Answer::Found { found, last_word })
}

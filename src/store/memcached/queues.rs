//! The jobs of a shard that wait: for a batch to travel in, or for the shard to come back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;

use super::batch::{Batch, Job, Kind, Op};
use crate::clock::Moment;
use crate::store::StoreError;

/// How many jobs travel together at the most: what a memcached answers in well under a millisecond.
const MAX_BATCH: usize = 256;
/// How many notes wait at the most; the oldest is let go for a new one.
const MAX_NOTES: usize = 1024;
/// How many changes and looks may wait before more looks are refused: those of all locks are bounded by their number, looks
/// come from whoever asks.
const MANY_CHANGES: usize = 16 * 1024;
/// How long a job waits for a shard to come back. What it serves has some seconds left, and its hold asks again.
const PARKED: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Queues {
    creates: VecDeque<Job>,
    /// Go first among the changes: a renewal that comes late costs a lock, all else only time.
    renewals: VecDeque<Job>,
    changes: VecDeque<Job>,
    notes: VecDeque<Job>,
    creates_are_next: bool,
    /// With the end of its patience, the soonest first.
    parked: VecDeque<(Moment, Job)>,
}

impl Queues {
    /// How many wait for a batch.
    pub(super) fn waiting(&self) -> usize {
        self.creates.len() + self.renewals.len() + self.changes.len() + self.notes.len()
    }

    /// Returns whether so much waits that nobody may look besides.
    pub(super) fn has_many_changes(&self) -> bool {
        self.changes.len() >= MANY_CHANGES
    }

    /// Puts a job in line for a batch.
    pub(super) fn push(&mut self, job: Job) {
        match job.op.kind() {
            Kind::Create => self.creates.push_back(job),
            Kind::Change if job.op.renews() => self.renewals.push_back(job),
            Kind::Change => self.changes.push_back(job),
            Kind::Note => {
                if self.notes.len() >= MAX_NOTES
                    && let Some(oldest) = self.notes.pop_front()
                {
                    oldest.answer(Err(StoreError::unavailable("a note was let go: too many wait to be sent", None)));
                }
                self.notes.push_back(job);
            }
        }
    }

    /// Grants and changes take turns, and notes go when there is nothing else.
    pub(super) fn next_batch(&mut self) -> Batch {
        self.creates_are_next = !self.creates_are_next;
        let no_changes = self.renewals.is_empty() && self.changes.is_empty();
        let kind = match (self.creates.is_empty(), no_changes) {
            (true, true) => Kind::Note,
            (false, true) => Kind::Create,
            (true, false) => Kind::Change,
            (false, false) if self.creates_are_next => Kind::Create,
            (false, false) => Kind::Change,
        };
        let mut jobs = Vec::new();
        match kind {
            Kind::Note => jobs.extend(self.notes.pop_front()),
            Kind::Create => fill(&mut jobs, &mut self.creates),
            Kind::Change => {
                fill(&mut jobs, &mut self.renewals);
                fill(&mut jobs, &mut self.changes);
            }
        }
        Batch::new(jobs, kind)
    }

    /// Takes out all that waits for a batch.
    pub(super) fn take_waiting(&mut self) -> Vec<Job> {
        let queues = [&mut self.creates, &mut self.renewals, &mut self.changes, &mut self.notes];
        queues.into_iter().flat_map(std::mem::take).collect()
    }

    /// Lets a job wait for the shard to come back.
    pub(super) fn park(&mut self, job: Job) {
        self.parked.push_back((Moment::now() + PARKED, job));
    }

    /// Takes out all that waits for the shard to come back.
    pub(super) fn take_parked(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.parked).into_iter().map(|(_, job)| job).collect()
    }

    /// Takes out one that has waited long enough for the shard to come back.
    pub(super) fn next_impatient(&mut self) -> Option<Job> {
        self.parked.pop_front_if(|(until, _)| until.has_passed()).map(|(_, job)| job)
    }

    /// When the next one has waited long enough.
    pub(super) fn impatient_at(&self) -> Option<Moment> {
        self.parked.front().map(|(until, _)| *until)
    }
}

/// Moves jobs from the head of a queue into a batch for as long as it has room.
fn fill(batch: &mut Vec<Job>, queue: &mut VecDeque<Job>) {
    while batch.len() < MAX_BATCH
        && let Some(job) = queue.pop_front()
    {
        // Nobody waits any more for what a look would show.
        if !(matches!(job.op, Op::Look { .. }) && job.reply.as_ref().is_some_and(oneshot::Sender::is_closed)) {
            batch.push(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;
    use crate::ids::grant_id;
    use crate::lock::LockName;
    use crate::store::ItemState;
    use crate::store::memcached::commands::Keys;

    fn job(op: Op) -> Job {
        Job { name: LockName::new("job").unwrap(), op, reply: None }
    }

    fn renewal() -> Job {
        let state = ItemState::Held(grant_id());
        job(Op::Replace { from: state, to: state, ttl: 5, grant: false, touch_owner: false })
    }

    #[test]
    fn renewals_overtake_all_other_changes() {
        let mut queues = Queues::default();
        (0..10 * MAX_BATCH).for_each(|_| queues.push(job(Op::Look { label: false })));
        queues.push(renewal());
        let batch = queues.next_batch();
        assert_eq!(batch.jobs.len(), MAX_BATCH);
        assert!(batch.jobs[0].op.renews());
    }

    #[test]
    fn a_note_that_is_let_go_for_a_newer_one_says_so() {
        let mut queues = Queues::default();
        let mut note = || {
            let (reply, answer) = oneshot::channel();
            let op = Op::Note(Keys::new("").look_for_line(&LockName::new("job").unwrap()));
            queues.push(Job { reply: Some(reply), ..job(op) });
            answer
        };
        let mut oldest = note();
        let mut second = note();
        (2..=MAX_NOTES).for_each(|_| drop(note()));
        let answer = oldest.try_recv().expect("an answer");
        assert!(matches!(&answer, Err(StoreError::Unavailable { why, .. }) if why.contains("too many")), "{answer:?}");
        assert_eq!(second.try_recv().map(|_| ()), Err(TryRecvError::Empty));
        assert_eq!(queues.waiting(), MAX_NOTES);
    }

    #[test]
    fn looks_that_nobody_waits_for_are_left_out_and_too_many_are_refused() {
        let mut queues = Queues::default();
        for _ in 0..10 * MAX_BATCH {
            let (reply, answer) = oneshot::channel();
            queues.push(Job { reply: Some(reply), ..job(Op::Look { label: false }) });
            drop(answer);
        }
        queues.push(job(Op::Look { label: false }));
        assert_eq!(queues.next_batch().jobs.len(), 1);
        assert_eq!(queues.waiting(), 0);
        (0..MANY_CHANGES - 1).for_each(|_| queues.push(job(Op::Look { label: false })));
        assert!(!queues.has_many_changes());
        queues.push(job(Op::Look { label: false }));
        assert!(queues.has_many_changes());
    }

    #[test]
    fn grants_and_changes_take_turns() {
        let mut queues = Queues::default();
        for _ in 0..2 * MAX_BATCH {
            queues.push(renewal());
            queues.push(job(Op::Create { state: ItemState::Held(grant_id()), ttl: 5, grant: true }));
        }
        let kinds: Vec<Kind> = (0..4).map(|_| queues.next_batch().kind()).collect();
        assert!(kinds.windows(2).all(|pair| pair[0] != pair[1]), "{kinds:?}");
        assert_eq!(queues.waiting(), 0);
    }
}

//! The jobs of a shard that wait: for a batch to travel in, or for the shard to come back.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::Batch;
use super::job::{Job, Kind};
use crate::Time;

/// The most jobs that travel together: what a memcached answers in well under a millisecond.
pub(crate) const MAX_BATCH: usize = 256;
/// The most of them that are renewals, where others wait.
const MAX_RENEWALS: usize = 192;
/// The most notes that wait; the oldest is let go for a new one.
const MAX_NOTES: usize = 1024;
/// The number of changes and looks that may wait before more looks are refused: the changes are bounded by the number of
/// locks, looks are not.
const MANY_CHANGES: usize = 16 * 1024;
/// The time for which a job waits for a shard to come back. What it serves has some seconds left, and its hold asks again.
const PARKED: Duration = Duration::from_secs(1);

/// The jobs that wait.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Queues {
    creates: VecDeque<Job>,
    /// Jobs that keep a lock. They go first: one that comes late costs the lock, all else only time.
    renewals: VecDeque<Job>,
    changes: VecDeque<Job>,
    notes: VecDeque<Job>,
    creates_are_first: bool,
    /// With the end of its patience, the soonest first.
    parked: VecDeque<(Time, Job)>,
}

impl Queues {
    /// Returns how many wait for a batch.
    pub(crate) fn waiting(&self) -> usize {
        self.creates.len() + self.renewals.len() + self.changes.len() + self.notes.len()
    }

    /// Returns true if so much waits that nobody may look besides.
    pub(crate) fn has_many_changes(&self) -> bool {
        self.changes.len() >= MANY_CHANGES
    }

    /// Returns true if so many notes wait that those which are not needed are left out.
    pub(crate) fn has_many_notes(&self) -> bool {
        self.notes.len() >= MAX_NOTES / 2
    }

    /// Puts a job in line for a batch. Returns a note that has to make room.
    pub(crate) fn push(&mut self, job: Job) -> Option<Job> {
        match job.op.kind() {
            Kind::Item if job.op.keeps_a_lock() => self.renewals.push_back(job),
            Kind::Item if job.op.creates() => self.creates.push_back(job),
            Kind::Item => self.changes.push_back(job),
            Kind::Note => {
                self.notes.push_back(job);
                if self.notes.len() > MAX_NOTES {
                    return self.notes.pop_front();
                }
            }
        }
        None
    }

    /// Makes a batch of what waits. Puts what is not `wanted` any more into `given_up`. Renewals go first, then grants and
    /// other changes take turns at being first. Notes go when there is nothing else.
    pub(crate) fn next_batch(&mut self, wanted: impl Fn(&Job) -> bool, given_up: &mut Vec<Job>) -> Batch {
        let mut jobs = Vec::new();
        let mut fill = |jobs: &mut Vec<Job>, queue: &mut VecDeque<Job>, room: usize| {
            while jobs.len() < room
                && let Some(job) = queue.pop_front()
            {
                if wanted(&job) { jobs.push(job) } else { given_up.push(job) }
            }
        };
        let others_wait = self.creates.len() + self.changes.len() > 0;
        fill(&mut jobs, &mut self.renewals, if others_wait { MAX_RENEWALS } else { MAX_BATCH });
        self.creates_are_first = !self.creates_are_first;
        let (first, second) = match self.creates_are_first {
            true => (&mut self.creates, &mut self.changes),
            false => (&mut self.changes, &mut self.creates),
        };
        fill(&mut jobs, first, MAX_BATCH);
        fill(&mut jobs, second, MAX_BATCH);
        if !jobs.is_empty() {
            return Batch::new(jobs, Kind::Item);
        }
        fill(&mut jobs, &mut self.notes, MAX_BATCH);
        Batch::new(jobs, Kind::Note)
    }

    /// Takes out all that waits for a batch.
    pub(crate) fn take_waiting(&mut self) -> Vec<Job> {
        let queues = [&mut self.creates, &mut self.renewals, &mut self.changes, &mut self.notes];
        queues.into_iter().flat_map(std::mem::take).collect()
    }

    /// Lets a job wait for the shard to come back.
    pub(crate) fn park(&mut self, job: Job, now: Time) {
        self.parked.push_back((now + PARKED, job));
    }

    /// Takes out all that waits for the shard to come back.
    pub(crate) fn take_parked(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.parked).into_iter().map(|(_, job)| job).collect()
    }

    /// Takes out one that has waited long enough for the shard to come back.
    pub(crate) fn next_impatient(&mut self, now: Time) -> Option<Job> {
        self.parked.pop_front_if(|(until, _)| *until <= now).map(|(_, job)| job)
    }

    /// Returns when the next one has waited long enough.
    pub(crate) fn impatient_at(&self) -> Option<Time> {
        self.parked.front().map(|(until, _)| *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::{GrantId, LockName};
    use crate::shard::job::Op;
    use crate::store::ItemState;

    fn job(op: Op) -> Job {
        Job { item: LockName::new("job").unwrap().into(), asker: None, op }
    }

    fn renewal() -> Job {
        let state = ItemState::Held(GrantId::from_random(1));
        job(Op::Replace { from: state, to: state, ttl: 5, touches_owner: false, reasserts: true })
    }

    fn grant() -> Job {
        job(Op::Grant { id: GrantId::from_random(2), ttl: 5 })
    }

    fn ops(batch: Batch) -> Vec<Op> {
        batch.into_jobs().map(|job| job.op).collect()
    }

    #[test]
    fn renewals_overtake_all_others() {
        let mut queues = Queues::default();
        (0..10 * MAX_BATCH).for_each(|_| drop(queues.push(job(Op::Look))));
        (0..10 * MAX_BATCH).for_each(|_| drop(queues.push(grant())));
        queues.push(renewal());
        let batch = ops(queues.next_batch(|_| true, &mut Vec::new()));
        assert_eq!(batch.len(), MAX_BATCH);
        assert!(batch[0].keeps_a_lock());
    }

    #[test]
    fn grants_have_room_beside_all_renewals() {
        let mut queues = Queues::default();
        (0..10 * MAX_BATCH).for_each(|_| drop(queues.push(renewal())));
        assert_eq!(ops(queues.next_batch(|_| true, &mut Vec::new())).len(), MAX_BATCH);
        queues.push(grant());
        assert_eq!(queues.next_batch(|_| true, &mut Vec::new()).grants(), 1);
    }

    #[test]
    fn a_reassertion_goes_with_the_renewals_if_it_is_still_wanted() {
        let mut queues = Queues::default();
        let state = ItemState::Held(GrantId::from_random(1));
        let reassertion = job(Op::Reassert { state, ttl: 5 });
        (0..10 * MAX_BATCH).for_each(|_| drop(queues.push(job(Op::Look))));
        queues.push(reassertion.clone());
        assert_eq!(ops(queues.next_batch(|_| true, &mut Vec::new()))[0], reassertion.op);
        queues.push(reassertion.clone());
        let mut given_up = Vec::new();
        queues.next_batch(|_| false, &mut given_up);
        assert_eq!(given_up[0], reassertion);
    }

    #[test]
    fn a_note_is_let_go_for_a_newer_one() {
        let mut queues = Queues::default();
        let note = |ttl| job(Op::Watch { kept: false, ttl });
        for ttl in 0..MAX_NOTES {
            assert_eq!(queues.push(note(ttl as u32)), None);
        }
        assert_eq!(queues.push(note(0)), Some(note(0)), "the oldest");
        assert_eq!(queues.waiting(), MAX_NOTES);
        assert_eq!(queues.next_batch(|_| true, &mut Vec::new()).kind(), Kind::Note);
    }

    #[test]
    fn what_nobody_waits_for_is_left_out_and_too_many_looks_are_refused() {
        let mut queues = Queues::default();
        (0..10 * MAX_BATCH).for_each(|_| drop(queues.push(job(Op::Look))));
        queues.push(renewal());
        let mut given_up = Vec::new();
        assert_eq!(ops(queues.next_batch(|job| !job.op.looks(), &mut given_up)).len(), 1);
        assert_eq!(given_up.len(), 10 * MAX_BATCH);
        assert_eq!(queues.waiting(), 0);
        (0..MANY_CHANGES - 1).for_each(|_| drop(queues.push(job(Op::Look))));
        assert!(!queues.has_many_changes());
        queues.push(job(Op::Look));
        assert!(queues.has_many_changes());
    }

    #[test]
    fn grants_and_changes_share_batches_and_take_turns_at_being_first() {
        let mut queues = Queues::default();
        queues.push(job(Op::Look));
        queues.push(grant());
        assert_eq!(queues.next_batch(|_| true, &mut Vec::new()).grants(), 1);
        assert_eq!(queues.waiting(), 0);
        for _ in 0..2 * MAX_BATCH {
            queues.push(job(Op::Look));
            queues.push(grant());
        }
        let grants: Vec<u64> = (0..4).map(|_| queues.next_batch(|_| true, &mut Vec::new()).grants()).collect();
        assert_eq!(grants.iter().sum::<u64>(), 2 * MAX_BATCH as u64);
        assert!(grants.windows(2).all(|pair| pair[0] != pair[1]), "{grants:?}");
        assert_eq!(queues.waiting(), 0);
    }
}

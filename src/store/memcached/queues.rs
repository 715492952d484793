//! The jobs of a shard that wait: for a batch to travel in, or for the shard to come back.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::{Batch, Job, Kind};
use crate::clock::Moment;

/// How many jobs travel together at the most: what a memcached answers in well under a millisecond.
const MAX_BATCH: usize = 256;
/// How many owners' labels wait to be noted at the most; the oldest is let go for a new one.
const MAX_NOTES: usize = 1024;
/// How long a job waits for a shard to come back. What it serves has some seconds left, and its keeper asks again.
const PARKED: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Queues {
    creates: VecDeque<Job>,
    changes: VecDeque<Job>,
    notes: VecDeque<Job>,
    creates_are_next: bool,
    /// With the end of its patience, the soonest first.
    parked: VecDeque<(Moment, Job)>,
}

impl Queues {
    /// How many wait for a batch.
    pub(super) fn waiting(&self) -> usize {
        self.creates.len() + self.changes.len() + self.notes.len()
    }

    /// Puts a job in line for a batch.
    pub(super) fn push(&mut self, job: Job) {
        match job.op.kind() {
            Kind::Create => self.creates.push_back(job),
            Kind::Change => self.changes.push_back(job),
            Kind::Note => {
                if self.notes.len() >= MAX_NOTES {
                    self.notes.pop_front();
                }
                self.notes.push_back(job);
            }
        }
    }

    /// Grants and changes take turns, and notes go when there is nothing else.
    pub(super) fn next_batch(&mut self) -> Batch {
        self.creates_are_next = !self.creates_are_next;
        let (queue, kind) = match (self.creates.is_empty(), self.changes.is_empty()) {
            (true, true) => (&mut self.notes, Kind::Note),
            (false, true) => (&mut self.creates, Kind::Create),
            (true, false) => (&mut self.changes, Kind::Change),
            (false, false) if self.creates_are_next => (&mut self.creates, Kind::Create),
            (false, false) => (&mut self.changes, Kind::Change),
        };
        let limit = if kind == Kind::Note { 1 } else { MAX_BATCH };
        let count = queue.len().min(limit);
        Batch::new(queue.drain(..count).collect(), kind)
    }

    /// Takes out all that waits for a batch.
    pub(super) fn take_waiting(&mut self) -> Vec<Job> {
        [&mut self.creates, &mut self.changes, &mut self.notes].into_iter().flat_map(std::mem::take).collect()
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

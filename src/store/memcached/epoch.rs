//! What a broker knows of a shard's epoch: whether its memory was lost, and whether enough time has passed since
//! for nobody to believe in a lock that went with it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::commands::{Epoch, Witness};
use crate::clock::Moment;

/// The most past epochs that are remembered. Each loss of memory adds one.
const REMEMBERED: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// S has not been read yet.
    Unread,
    /// S is missing: restarted, flushed or evicted.
    Lost,
    /// S was read; whether its epoch is open is yet to be seen.
    Found { epoch: Epoch },
    /// In quarantine, since the arrival of the answer that first showed this epoch without its fences.
    Closed { epoch: Epoch, since: Moment },
    /// Grants locks.
    Open { epoch: Epoch },
    /// Belongs to brokers with another server list, other weights or another `--max-ttl`.
    Foreign { fingerprint: u64 },
    /// Has shown a memory that is not the one that was known before, and serves nobody until S shows an epoch that
    /// nobody has seen yet.
    Distrusted { why: Distrust },
}

/// Why a memory is not the one that was known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distrust {
    /// It shows an epoch that was over.
    EpochCameBack,
    /// It gave a fencing token that had been given in the same epoch.
    TokensFell,
    /// Two connections showed different memories at one time.
    SeveralServers,
}

impl fmt::Display for Distrust {
    /// What happened, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Distrust::EpochCameBack => {
                "it shows a memory that was over before, in which locks stand that others have had since: restart it with \
                 an empty memory (no -e FILE, no snapshot of its machine), and let one memcached alone answer at its \
                 address"
            }
            Distrust::TokensFell => {
                "it gave a fencing token twice, so its memory is an old one, in which locks stand that others have had \
                 since: restart it with an empty memory (no -e FILE, no snapshot of its machine)"
            }
            Distrust::SeveralServers => {
                "several memcached answer at its address, each with locks of its own: give each an address of its own in \
                 --store, with no balancer before it, and restart them"
            }
        })
    }
}

#[derive(Debug)]
pub(super) struct EpochState {
    ours: u64,
    phase: Phase,
    generation: u64,
    /// The epochs that are over, the latest last.
    over: VecDeque<Epoch>,
    /// The highest token seen in the present epoch.
    highest_token: u64,
}

impl EpochState {
    /// Knows nothing yet; `ours` is the fingerprint of this broker's topology.
    pub(super) fn new(ours: u64) -> EpochState {
        EpochState { ours, phase: Phase::Unread, generation: 0, over: VecDeque::new(), highest_token: 0 }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Counts the changes of epoch: what was sent in an earlier generation does not count.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn epoch(&self) -> Option<Epoch> {
        match self.phase {
            Phase::Found { epoch } | Phase::Closed { epoch, .. } | Phase::Open { epoch } => Some(epoch),
            Phase::Unread | Phase::Lost | Phase::Foreign { .. } | Phase::Distrusted { .. } => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Takes note of what S showed. Returns whether it is the epoch that was known before.
    pub(super) fn witnessed(&mut self, witness: Witness) -> bool {
        let next = match witness {
            Witness::Missing => Phase::Lost,
            Witness::Shows { fingerprint, .. } if fingerprint != self.ours => Phase::Foreign { fingerprint },
            Witness::Shows { epoch, .. } if self.epoch() == Some(epoch) => return true,
            Witness::Shows { epoch, .. } if self.over.contains(&epoch) => match self.phase {
                distrusted @ Phase::Distrusted { .. } => distrusted,
                _ => Phase::Distrusted { why: Distrust::EpochCameBack },
            },
            Witness::Shows { epoch, .. } => Phase::Found { epoch },
        };
        self.change_to(next);
        false
    }

    /// Takes note of a proof that the memory is not the one that was known before; `also` is the epoch of another one.
    pub(super) fn distrust(&mut self, why: Distrust, also: Option<Epoch>) {
        self.over.extend(also);
        self.change_to(Phase::Distrusted { why });
    }

    fn change_to(&mut self, next: Phase) {
        if next == self.phase {
            return;
        }
        self.over.extend(self.epoch());
        let forgotten = self.over.len().saturating_sub(REMEMBERED);
        self.over.drain(..forgotten);
        self.phase = next;
        self.generation += 1;
        self.highest_token = 0;
    }

    /// The highest token seen in the present epoch; 0 if none was.
    pub(super) fn highest_token(&self) -> u64 {
        self.highest_token
    }

    /// Takes note of a token of the present epoch.
    pub(super) fn token_seen(&mut self, token: u64) {
        self.highest_token = self.highest_token.max(token);
    }

    /// Takes note of whether the fences of `epoch` were there, in a batch whose witness showed `epoch`.
    pub(super) fn fences_seen(&mut self, epoch: Epoch, there: bool, arrived: Moment) {
        if self.epoch() != Some(epoch) {
            return;
        }
        self.phase = match self.phase {
            _ if there => Phase::Open { epoch },
            closed @ Phase::Closed { .. } => closed,
            _ => Phase::Closed { epoch, since: arrived },
        };
    }

    /// What is left of the quarantine, if the shard is closed.
    pub(super) fn quarantine_left(&self, max_ttl: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Closed { since, .. } => Some((since + max_ttl).remaining()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: u64 = 7;

    fn shows(epoch: Epoch) -> Witness {
        Witness::Shows { epoch, fingerprint: OURS }
    }

    fn open(epoch: Epoch) -> EpochState {
        let mut state = EpochState::new(OURS);
        assert!(!state.witnessed(shows(epoch)), "an epoch first seen was not known before");
        state.fences_seen(epoch, true, Moment::now());
        assert!(state.is_open());
        state
    }

    #[tokio::test(start_paused = true)]
    async fn quarantine_counts_from_the_first_answer_without_fences() {
        crate::clock::follow_tokio();
        let epoch = Epoch::random();
        let mut state = EpochState::new(OURS);
        state.witnessed(shows(epoch));
        let first = Moment::now();
        state.fences_seen(epoch, false, first);
        tokio::time::advance(Duration::from_secs(4)).await;
        state.fences_seen(epoch, false, Moment::now());
        assert_eq!(state.phase(), Phase::Closed { epoch, since: first });
        assert_eq!(state.quarantine_left(Duration::from_secs(5)), Some(Duration::from_secs(1)));
    }

    #[tokio::test]
    async fn another_epoch_or_none_makes_what_was_sent_worthless() {
        let first = Epoch::random();
        let mut state = open(first);
        let before = state.generation();
        assert!(state.witnessed(shows(first)));
        assert_eq!(state.generation(), before);
        assert!(!state.witnessed(Witness::Missing));
        assert!(!state.witnessed(shows(Epoch::random())));
        assert_eq!(state.generation(), before + 2);
        assert!(!state.is_open());
    }

    #[tokio::test]
    async fn fences_that_are_gone_close_the_shard() {
        let epoch = Epoch::random();
        let mut state = open(epoch);
        let now = Moment::now();
        state.fences_seen(epoch, false, now);
        assert_eq!(state.phase(), Phase::Closed { epoch, since: now });
    }

    #[tokio::test]
    async fn an_epoch_that_is_over_is_never_used_again() {
        let (first, second) = (Epoch::random(), Epoch::random());
        let mut state = open(first);
        state.witnessed(Witness::Missing);
        state.witnessed(shows(second));
        state.witnessed(shows(first));
        let came_back = Phase::Distrusted { why: Distrust::EpochCameBack };
        assert_eq!((state.phase(), state.epoch()), (came_back, None));
        state.witnessed(shows(second));
        assert_eq!(state.phase(), came_back, "nor is the one that took its place");
        let third = Epoch::random();
        state.witnessed(Witness::Missing);
        state.witnessed(shows(third));
        assert_eq!(state.phase(), Phase::Found { epoch: third }, "but a new one is");
    }

    #[tokio::test]
    async fn of_two_memories_at_one_address_neither_is_used() {
        let (here, there) = (Epoch::random(), Epoch::random());
        let mut state = open(here);
        state.distrust(Distrust::SeveralServers, Some(there));
        for epoch in [here, there] {
            state.witnessed(shows(epoch));
            assert_eq!(state.phase(), Phase::Distrusted { why: Distrust::SeveralServers });
        }
    }

    #[tokio::test]
    async fn tokens_are_compared_within_their_epoch() {
        let mut state = open(Epoch::random());
        state.token_seen(9);
        state.token_seen(7);
        assert_eq!(state.highest_token(), 9);
        state.witnessed(shows(Epoch::random()));
        assert_eq!(state.highest_token(), 0);
    }

    #[tokio::test]
    async fn somebody_elses_shard_is_never_used() {
        let mut state = EpochState::new(OURS);
        assert!(!state.witnessed(Witness::Shows { epoch: Epoch::random(), fingerprint: 8 }));
        assert_eq!(state.phase(), Phase::Foreign { fingerprint: 8 });
        assert_eq!(state.epoch(), None);
    }
}

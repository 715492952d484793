//! A shard's epoch, as a broker knows it: if its memory was lost, and if enough time has passed since
//! for nobody to believe in a lock that went with it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::state_item::{Epoch, Generation, Made, Stamp, StateItem, Unusable, Witness};
use crate::Time;
use crate::lock::FencingToken;

/// The most past epochs that are remembered. Each loss of memory adds one.
const REMEMBERED: usize = 64;

/// The knowledge of a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// S has not been read yet, or shows a stamp that has not.
    Unread,
    /// S is missing: restarted, flushed or evicted.
    Lost,
    /// S was read; whether its epoch is open is yet to be seen.
    Found {
        /// The stamp of S.
        stamp: Stamp,
    },
    /// In quarantine.
    Closed {
        /// The stamp of S.
        stamp: Stamp,
        /// The arrival of the answer that first showed this epoch without its fences.
        since: Time,
    },
    /// Grants locks.
    Open {
        /// The stamp of S.
        stamp: Stamp,
    },
    /// Belongs to brokers with another server list, other weights or another `--max-ttl`.
    Foreign {
        /// Their topology.
        fingerprint: u64,
    },
    /// Has an S that this version cannot use.
    Unusable {
        /// The reason.
        why: Unusable,
    },
    /// Has shown a memory that is not the one that was known before, and serves nobody until S shows an epoch that
    /// nobody has seen yet.
    Distrusted {
        /// The reason.
        why: Distrust,
    },
}

/// The reason for which a memory is not the one that was known before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Distrust {
    /// It shows an epoch that was over.
    EpochCameBack,
    /// It gave a fencing token that had been given in the same epoch.
    TokensFell,
    /// Two connections showed different memories at one time.
    SeveralServers,
}

impl fmt::Display for Distrust {
    /// Tells what happened, and what to do.
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

/// The knowledge of the memory behind a shard. The module `proof` has what answers prove of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EpochState {
    ours: u64,
    /// The topology to which S may be flipped, once that is known.
    next: Option<Announced>,
    phase: Phase,
    /// How the S that was read last was made.
    made: Made,
    /// True if S has shown our topology.
    was_ours: bool,
    /// The generation of an S that was flipped, as it was read last. Under that N says to which topology.
    flipped_to: Option<Generation>,
    /// The latest change of the servers of which this one has told.
    announced: Option<Announced>,
    /// The stamp of the S that was read behind the N of a change, and that change.
    noted: Option<(Stamp, Announced)>,
    /// When the last look was sent that showed our topology, and no change of it. None if the last look showed something else.
    pub(super) clean_at: Option<Time>,
    changes: u64,
    /// The epochs that are over, the latest last.
    over: VecDeque<Epoch>,
    /// The highest token seen in the present epoch.
    highest_token: u64,
    /// The highest token seen in any epoch.
    highest_ever: u64,
    pub(super) doubt: Option<Doubt>,
}

/// A change of the servers, as one of them tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Announced {
    /// The generation to come, or the one that has come.
    pub generation: Generation,
    /// The topology of that.
    pub fingerprint: u64,
}

/// The note N of one generation, as a look has found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The generation.
    pub generation: Generation,
    /// Its topology. None if none is noted.
    pub fingerprint: Option<u64>,
}

/// A new connection has shown another S than the old ones had. That is two servers if an old one, asked again after
/// `since`, still shows what it did: no epoch comes back on one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Doubt {
    pub(super) since: Time,
    pub(super) changes: u64,
    /// The epoch that the new connection showed.
    pub(super) epoch: Option<Epoch>,
}

impl EpochState {
    /// Knows nothing yet; `ours` is the fingerprint of this broker's topology.
    pub fn new(ours: u64) -> EpochState {
        EpochState {
            ours,
            next: None,
            phase: Phase::Unread,
            made: Made::InForce,
            was_ours: false,
            flipped_to: None,
            announced: None,
            noted: None,
            clean_at: None,
            changes: 0,
            over: VecDeque::new(),
            highest_token: 0,
            highest_ever: 0,
            doubt: None,
        }
    }

    /// Returns what is known of it.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Counts the changes of what S shows: what was sent before the latest one does not count.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Returns the stamp of S, if S was read and is ours.
    pub(crate) fn stamp(&self) -> Option<Stamp> {
        match self.phase {
            Phase::Found { stamp } | Phase::Closed { stamp, .. } | Phase::Open { stamp } => Some(stamp),
            Phase::Unread | Phase::Lost | Phase::Foreign { .. } | Phase::Unusable { .. } | Phase::Distrusted { .. } => {
                None
            }
        }
    }

    /// Returns the epoch, if S was read and is ours.
    pub fn epoch(&self) -> Option<Epoch> {
        self.stamp().map(|stamp| stamp.epoch)
    }

    /// Returns true if it grants locks.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Takes note of the witness of a batch. Returns true if S is the one that was read before. A stamp that nobody here
    /// has read tells nothing but that: whose it is stands in the value, for a probe to read.
    pub(crate) fn witnessed(&mut self, witness: Witness) -> bool {
        let next = match witness {
            Witness::Missing => Phase::Lost,
            Witness::Shows(stamp) if self.stamp() == Some(stamp) => return true,
            Witness::Shows(stamp) if self.over.contains(&stamp.epoch) => self.came_back(),
            Witness::Shows(_) | Witness::Odd => Phase::Unread,
        };
        self.change_to(next);
        false
    }

    /// Takes note of the whole of S, and of the N that was read before it. Returns true if S is the one that was read before.
    pub(crate) fn read(&mut self, state: StateItem, notice: Option<Notice>) -> bool {
        let stands = self.stamp();
        let known = match state {
            StateItem::Shows { stamp, .. } | StateItem::Flipped { stamp, .. } => stands == Some(stamp),
            StateItem::Missing | StateItem::Unusable { .. } => false,
        };
        if known {
            let told = notice.and_then(announced);
            self.announced = self.announced.max(told);
            self.noted = stands.zip(told);
            return true;
        }
        self.flipped_to = None;
        let state = match (state, notice) {
            (StateItem::Flipped { stamp, made_for }, Some(notice)) if notice.generation == stamp.generation => {
                self.flipped_to = Some(stamp.generation);
                // Only who had the topology before follows: any other has been started with a wrong one.
                if self.was_ours || made_for == self.ours {
                    self.announced = self.announced.max(announced(notice));
                }
                state.with_notice(notice.fingerprint)
            }
            (StateItem::Flipped { stamp, .. }, _) => {
                self.flipped_to = Some(stamp.generation);
                self.change_to(Phase::Unread);
                return false;
            }
            (state, _) => state,
        };
        let next = match state {
            StateItem::Missing => Phase::Lost,
            StateItem::Flipped { .. } => Phase::Unread,
            StateItem::Unusable { why, .. } => Phase::Unusable { why },
            StateItem::Shows { stamp, fingerprint, .. } if !self.takes(stamp, fingerprint) => {
                Phase::Foreign { fingerprint }
            }
            StateItem::Shows { stamp, .. } if self.over.contains(&stamp.epoch) => self.came_back(),
            StateItem::Shows { stamp, made, .. } => {
                (self.made, self.was_ours) = (made, true);
                Phase::Found { stamp }
            }
        };
        self.change_to(next);
        false
    }

    /// Returns true if this is our topology. The next one is ours from when S shows it: there is no way back (R23).
    /// One of an earlier generation is none that the change has made, whatever its list: a broker was started with that too early.
    fn takes(&mut self, stamp: Stamp, fingerprint: u64) -> bool {
        if let Some(next) = self.next.filter(|next| next.fingerprint == fingerprint) {
            if stamp.generation < next.generation {
                return false;
            }
            (self.ours, self.next) = (fingerprint, None);
        }
        self.ours == fingerprint
    }

    /// Returns the topology that S is to show.
    pub(crate) fn ours(&self) -> u64 {
        self.ours
    }

    /// Takes note of the topology to which S may be flipped, or has been.
    pub(crate) fn expect(&mut self, next: Announced) {
        if self.ours != next.fingerprint {
            self.next = Some(next);
        }
        if self.phase == (Phase::Foreign { fingerprint: next.fingerprint }) {
            self.change_to(Phase::Unread);
        }
    }

    /// Takes this topology for ours: it is in force. A closed epoch of it counts its quarantine from `now` on.
    pub(crate) fn belongs_to(&mut self, ours: u64, now: Time) {
        self.next = None;
        if let Phase::Closed { since, .. } = &mut self.phase {
            *since = now;
        }
        if self.ours != ours {
            self.ours = ours;
            self.change_to(Phase::Unread);
        }
    }

    /// Returns the latest change of which the server has told.
    pub(crate) fn announced(&self) -> Option<Announced> {
        self.announced
    }

    /// Returns the change of which N tells that was read last, under the stamp of S.
    pub(crate) fn noted(&self) -> Option<(Stamp, Announced)> {
        self.noted.filter(|(stamp, _)| self.stamp() == Some(*stamp))
    }

    /// Returns true if S was made or flipped by a change of the servers.
    pub(crate) fn is_by_change(&self) -> bool {
        self.made == Made::ByChange
    }

    /// Returns the generation of the change that has made or flipped S. None if no change has.
    pub(crate) fn change(&self) -> Option<Generation> {
        self.stamp().filter(|_| self.is_by_change()).map(|stamp| stamp.generation)
    }

    /// Returns the generation whose N the next look is to read.
    pub(crate) fn asks_for(&self) -> Option<Generation> {
        let expected = || self.flipped_to.or(self.next.map(|next| next.generation));
        self.stamp().map_or_else(expected, |stamp| stamp.generation.next())
    }

    /// Returns the phase after an epoch that was over has shown again.
    fn came_back(&self) -> Phase {
        match self.phase {
            distrusted @ Phase::Distrusted { .. } => distrusted,
            _ => Phase::Distrusted { why: Distrust::EpochCameBack },
        }
    }

    /// Takes note of a proof that the memory is not the one that was known before (R15a); `also` is the epoch of another one.
    pub(crate) fn distrust(&mut self, why: Distrust, also: Option<Epoch>) {
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
        self.clean_at = None;
        self.changes += 1;
        self.highest_token = 0;
    }

    /// Returns true if S is known to be what brokers make, of whatever version and topology.
    pub(crate) fn is_of_brokers(&self) -> bool {
        !matches!(self.phase, Phase::Unread | Phase::Unusable { why: Unusable::Strange })
    }

    /// Returns the highest token seen in the present epoch; 0 if none was.
    pub(crate) fn highest_token(&self) -> u64 {
        self.highest_token
    }

    /// Returns the highest token seen in any epoch; 0 if none was.
    pub fn highest_ever(&self) -> u64 {
        self.highest_ever
    }

    /// Takes note of the highest token of a batch, or of a probe.
    pub(crate) fn token_seen(&mut self, token: Option<FencingToken>) {
        let token = token.map_or(0, FencingToken::get);
        self.highest_token = self.highest_token.max(token);
        self.highest_ever = self.highest_ever.max(token);
    }

    /// Takes note of whether the fences of `epoch` were there, in a batch whose witness showed `epoch`.
    pub(crate) fn fences_seen(&mut self, epoch: Epoch, there: bool, arrived: Time) {
        let Some(stamp) = self.stamp().filter(|stamp| stamp.epoch == epoch) else { return };
        self.phase = match self.phase {
            _ if there => Phase::Open { stamp },
            closed @ Phase::Closed { .. } => closed,
            _ => Phase::Closed { stamp, since: arrived },
        };
    }

    /// Returns what is left of the quarantine, if the shard is closed.
    pub(crate) fn quarantine_left(&self, max_ttl: Duration, now: Time) -> Option<Duration> {
        match self.phase {
            Phase::Closed { since, .. } => Some((since + max_ttl).since(now)),
            _ => None,
        }
    }
}

/// Changes the moments, epochs and tokens in what is known of a memory, so that what makes no difference is the same.
pub trait NormalMemory {
    /// Changes a moment at which something began. It makes no difference any more when that is `span` ago.
    fn since(&mut self, time: &mut Time, span: Duration);
    /// Changes an epoch.
    fn epoch(&mut self, epoch: &mut Epoch);
    /// Returns true if a memory may show this epoch, now or later.
    fn may_show(&self, epoch: Epoch) -> bool;
    /// Changes the highest token that was seen.
    fn token(&mut self, token: &mut u64);
}

/// Returns the change that a note tells of.
fn announced(notice: Notice) -> Option<Announced> {
    notice.fingerprint.map(|fingerprint| Announced { generation: notice.generation, fingerprint })
}

impl EpochState {
    /// Brings it into its normal form, in a deployment with this `max_ttl`. The caller sees to it that what was sent before
    /// counts only if it [is current](EpochState::is_current) now, and compares no connections.
    ///
    /// # Panics
    /// A connection has cast a doubt, which has no normal form.
    pub fn normalise(&mut self, outside: &mut impl NormalMemory, max_ttl: Duration) {
        assert!(self.doubt.is_none(), "nothing was compared");
        self.changes = 0;
        // Of use to other shards alone.
        (self.clean_at, self.noted) = (None, None);
        if let Phase::Found { stamp } | Phase::Closed { stamp, .. } | Phase::Open { stamp } = &mut self.phase {
            outside.epoch(&mut stamp.epoch);
        }
        if let Phase::Closed { since, .. } = &mut self.phase {
            outside.since(since, max_ttl);
        }
        self.over.retain(|epoch| outside.may_show(*epoch));
        self.over.iter_mut().for_each(|epoch| outside.epoch(epoch));
        self.over.make_contiguous().sort_unstable_by_key(|epoch| epoch.get());
        outside.token(&mut self.highest_token);
        outside.token(&mut self.highest_ever);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const OURS: u64 = 7;

    fn at(millis: u64) -> Time {
        Time::from_nanos((1 << 40) + millis * 1_000_000)
    }

    fn fresh() -> Stamp {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let epoch = Epoch::from_random(DRAWN.fetch_add(1, Ordering::Relaxed));
        Stamp { epoch, generation: Generation::FIRST }
    }

    fn shows(stamp: Stamp) -> StateItem {
        StateItem::Shows { stamp, fingerprint: OURS, made: Made::InForce }
    }

    fn open(stamp: Stamp) -> EpochState {
        let mut state = EpochState::new(OURS);
        assert!(!state.read(shows(stamp), None), "an epoch first seen was not known before");
        state.fences_seen(stamp.epoch, true, at(0));
        assert!(state.is_open());
        state
    }

    #[test]
    fn quarantine_counts_from_the_first_answer_without_fences() {
        let stamp = fresh();
        let mut state = EpochState::new(OURS);
        state.read(shows(stamp), None);
        let first = at(0);
        state.fences_seen(stamp.epoch, false, first);
        state.fences_seen(stamp.epoch, false, at(4_000));
        assert_eq!(state.phase(), Phase::Closed { stamp, since: first });
        assert_eq!(state.quarantine_left(Duration::from_secs(5), at(4_000)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn another_stamp_or_none_makes_what_was_sent_worthless() {
        let first = fresh();
        let mut state = open(first);
        let before = state.changes();
        assert!(state.witnessed(Witness::Shows(first)));
        assert_eq!(state.changes(), before);
        assert!(!state.witnessed(Witness::Missing));
        assert!(!state.read(shows(fresh()), None));
        assert_eq!(state.changes(), before + 2);
        assert!(!state.is_open());
    }

    /// The epoch alone does not say to whom the shard belongs, nor a stamp that was not read.
    #[test]
    fn a_stamp_counts_only_with_the_value_that_was_read_under_it() {
        let first = fresh();
        let next = Stamp { generation: Generation::FIRST.next().unwrap(), ..first };
        for witness in [Witness::Shows(next), Witness::Shows(fresh()), Witness::Odd] {
            let mut state = open(first);
            assert!(!state.witnessed(witness), "{witness:?}");
            assert_eq!(state.phase(), Phase::Unread, "{witness:?}");
            assert_eq!(state.epoch(), None);
        }
        let mut state = open(first);
        let second = fresh();
        state.witnessed(Witness::Shows(second));
        assert!(!state.witnessed(Witness::Shows(second)), "it has not been read");
        state.read(StateItem::Shows { stamp: second, fingerprint: 8, made: Made::InForce }, None);
        assert_eq!(state.phase(), Phase::Foreign { fingerprint: 8 });
    }

    #[test]
    fn fences_that_are_gone_close_the_shard() {
        let stamp = fresh();
        let mut state = open(stamp);
        let now = at(0);
        state.fences_seen(stamp.epoch, false, now);
        assert_eq!(state.phase(), Phase::Closed { stamp, since: now });
    }

    #[test]
    fn an_epoch_that_is_over_is_never_used_again() {
        let (first, second) = (fresh(), fresh());
        let mut state = open(first);
        state.witnessed(Witness::Missing);
        state.read(shows(second), None);
        state.read(shows(first), None);
        let came_back = Phase::Distrusted { why: Distrust::EpochCameBack };
        assert_eq!((state.phase(), state.epoch()), (came_back, None));
        state.read(shows(second), None);
        assert_eq!(state.phase(), came_back, "nor is the one that took its place");
        let third = fresh();
        state.witnessed(Witness::Missing);
        state.read(shows(third), None);
        assert_eq!(state.phase(), Phase::Found { stamp: third }, "but a new one is");
        state.witnessed(Witness::Shows(first));
        assert_eq!(state.phase(), came_back, "a witness shows it as well");
    }

    #[test]
    fn of_two_memories_at_one_address_neither_is_used() {
        let (here, there) = (fresh(), fresh());
        let mut state = open(here);
        state.distrust(Distrust::SeveralServers, Some(there.epoch));
        for stamp in [here, there] {
            state.read(shows(stamp), None);
            assert_eq!(state.phase(), Phase::Distrusted { why: Distrust::SeveralServers });
        }
    }

    #[test]
    fn tokens_are_compared_within_their_epoch() {
        let mut state = open(fresh());
        state.token_seen(FencingToken::new(9));
        state.token_seen(FencingToken::new(7));
        assert_eq!(state.highest_token(), 9);
        state.read(shows(fresh()), None);
        assert_eq!((state.highest_token(), state.highest_ever()), (0, 9));
    }

    fn next(stamp: Stamp) -> Stamp {
        Stamp { generation: stamp.generation.next().unwrap(), ..fresh() }
    }

    fn notice(stamp: Stamp, fingerprint: u64) -> Option<Notice> {
        Some(Notice { generation: stamp.generation, fingerprint: Some(fingerprint) })
    }

    /// Whose a flipped server is stands in N: it is asked for, and until then the server is of no use.
    #[test]
    fn a_flipped_server_is_ours_once_n_shows_the_topology_that_is_expected() {
        let (before, after) = (fresh(), next(fresh()));
        let mut state = open(before);
        assert_eq!(state.asks_for(), Some(after.generation), "so a change is heard of");
        state.expect(Announced { generation: after.generation, fingerprint: 8 });
        let flipped = StateItem::Flipped { stamp: after, made_for: OURS };
        assert!(!state.read(flipped, None));
        assert_eq!((state.phase(), state.asks_for()), (Phase::Unread, Some(after.generation)));
        let early = StateItem::Shows { stamp: before, fingerprint: 8, made: Made::InForce };
        assert!(!state.clone().takes(before, 8) && !state.clone().read(early, None), "it is of an earlier generation");
        assert!(!state.read(flipped, notice(after, 8)));
        assert_eq!((state.phase(), state.ours()), (Phase::Found { stamp: after }, 8));
        assert_eq!(state.change(), Some(after.generation), "a change has made it");
        assert!(state.read(flipped, None), "it is known now");
        assert!(!state.read(shows(fresh()), None), "there is no way back");
        assert_eq!(state.phase(), Phase::Foreign { fingerprint: OURS });
    }

    #[test]
    fn only_who_had_the_topology_before_follows_to_the_next_one() {
        let after = next(fresh());
        for (made_for, follows) in [(OURS, true), (9, false)] {
            let mut state = EpochState::new(OURS);
            state.read(StateItem::Flipped { stamp: after, made_for }, None);
            state.read(StateItem::Flipped { stamp: after, made_for }, notice(after, 8));
            assert_eq!(state.phase(), Phase::Foreign { fingerprint: 8 });
            assert_eq!(state.announced().is_some(), follows, "made for {made_for}");
        }
        let mut state = open(fresh());
        let to = Announced { generation: after.generation, fingerprint: 8 };
        let stamp = state.stamp().unwrap();
        assert!(state.read(shows(stamp), notice(after, 8)), "the server is as it was");
        assert_eq!(state.announced(), Some(to));
    }

    #[test]
    fn a_flipped_server_without_its_note_is_of_no_use_to_anybody() {
        let after = next(fresh());
        let mut state = open(fresh());
        let nothing = Some(Notice { generation: after.generation, fingerprint: None });
        for _ in 0..2 {
            state.read(StateItem::Flipped { stamp: after, made_for: OURS }, nothing);
            let why = Unusable::Moved { generation: after.generation };
            assert_eq!((state.phase(), state.asks_for()), (Phase::Unusable { why }, Some(after.generation)));
        }
    }

    #[test]
    fn somebody_elses_shard_is_never_used() {
        let mut state = EpochState::new(OURS);
        assert!(!state.read(StateItem::Shows { stamp: fresh(), fingerprint: 8, made: Made::InForce }, None));
        assert_eq!(state.phase(), Phase::Foreign { fingerprint: 8 });
        assert_eq!(state.epoch(), None);
        let why = Unusable::Newer { format: 4 };
        assert!(!state.read(StateItem::Unusable { cas: 5, why }, None));
        assert_eq!((state.phase(), state.epoch()), (Phase::Unusable { why }, None));
    }
}

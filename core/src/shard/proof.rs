//! Judges the memory behind a shard by its answers, and says what it is asked next: the machine of one shard, without its
//! connections, its queues and its clock.

use std::sync::Arc;
use std::time::Duration;

use super::Topology;
use super::batch::Evidence;
use super::epoch::{Announced, Distrust, Doubt, EpochState, Notice, Phase};
use super::job::{self, Op};
use super::protocol::{self, Unexpected};
use super::state_item::{Epoch, Generation, Made, Stamp, StateItem, Unusable, Witness};
use crate::Time;
use crate::command::{Command, Reply as Said};
use crate::lock::FencingToken;
use crate::store::StoreError;

/// A question about the memory, or a step to its next phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Probe {
    /// The clock, the fences if the epoch is known, the N that is asked for, and S.
    Look,
    /// The topology that is announced, in words, and which servers are dead.
    Words(Announced),
    /// Begin an epoch on a shard that has none.
    Begin(Beginning),
    /// Flip S to the next topology.
    Flip {
        /// The stamp that S shows.
        from: Stamp,
        /// The one that it is to show.
        to: Stamp,
        /// The highest token that is known here.
        token: u64,
    },
    /// Open the present epoch: its tokens come after this number.
    Open(u64),
}

/// The S with which an epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Beginning {
    /// Its CAS.
    pub stamp: Stamp,
    /// Its topology.
    pub fingerprint: u64,
    /// Who makes it.
    pub made: Made,
}

/// A topology that is to come, as a server has it in words.
#[derive(Debug, Clone)]
pub struct Words {
    /// The topology.
    pub topology: Topology,
    /// The addresses of the servers before it that are dead (R27). None if nothing is noted of that.
    pub dead: Option<Vec<Arc<str>>>,
}

/// The evidence that a probe gives of the shard.
#[derive(Debug)]
pub struct Found {
    /// The time that S had left, where the probe asked.
    pub clock: Option<Option<Duration>>,
    /// The highest token of the epoch, where the probe asked; none if the epoch is closed.
    pub fence: Option<Result<Option<FencingToken>, Unexpected>>,
    /// The N that was asked for.
    pub notice: Option<Notice>,
    /// The topology that was asked for, if somebody has left it there in words.
    pub words: Option<Words>,
    /// The whole of S.
    pub state: StateItem,
}

impl Probe {
    /// Returns the commands, for a shard whose epoch is `epoch`. A look reads N of the generation `asks_for`, before S.
    pub fn commands(self, epoch: Option<Epoch>, asks_for: Option<Generation>) -> Vec<Command> {
        let mut commands = match (self, epoch) {
            (Probe::Begin(Beginning { stamp, fingerprint, made }), _) => {
                vec![protocol::begin(stamp, fingerprint, made)]
            }
            (Probe::Flip { from, to, token }, _) => {
                vec![protocol::note_highest(to.generation, token), protocol::flip(from, to)]
            }
            (Probe::Open(start), Some(epoch)) => vec![protocol::open(epoch, start)],
            (Probe::Words(Announced { generation, fingerprint }), _) => {
                vec![protocol::look_for_topology(fingerprint), protocol::look_for_dead(generation)]
            }
            (_, Some(epoch)) => vec![protocol::clock(), protocol::highest_token(epoch)],
            (_, None) => vec![protocol::clock()],
        };
        if let (Probe::Look, Some(generation)) = (self, asks_for) {
            commands.push(protocol::look_for_change(generation));
        }
        commands.push(protocol::probe());
        commands
    }

    /// Reads what it has found. `sent` is what was known when it was sent.
    ///
    /// # Errors
    /// The server has refused a command, or answered what none answers.
    pub fn evidence(self, sent: &Sent, said: &[Said], shard: &str) -> Result<Found, StoreError> {
        let refusal = said.iter().find_map(|said| match said {
            Said::Refused(refusal) => Some(*refusal),
            _ => None,
        });
        if let Some(refusal) = refusal {
            return Err(job::refused(shard, refusal));
        }
        let state = said.last().ok_or_else(|| super::batch::answers_missing(shard))?;
        let looks = self == Probe::Look;
        let words = match self {
            Probe::Words(Announced { fingerprint, .. }) => {
                let dead = said.get(1).and_then(protocol::read_dead);
                said.first()
                    .and_then(|said| Some(Words { topology: protocol::read_topology(said, fingerprint)?, dead }))
            }
            _ => None,
        };
        let notice = match sent.asks_for.filter(|_| looks) {
            None => None,
            Some(generation) => {
                let note = said.iter().rev().nth(1).ok_or_else(|| super::batch::answers_missing(shard))?;
                Some(Notice { generation, fingerprint: protocol::read_change_note(note)? })
            }
        };
        Ok(Found {
            clock: looks.then(|| said.first().and_then(protocol::read_clock)),
            fence: said.get(1).filter(|_| looks && sent.epoch.is_some()).map(protocol::read_fence),
            notice,
            words,
            state: protocol::read_state(state)?,
        })
    }
}

/// The knowledge with which something was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Time,
    /// The epoch.
    pub epoch: Option<Epoch>,
    /// The number of changes of what S shows.
    pub changes: u64,
    /// True if the shard was open.
    pub open: bool,
    /// The highest token seen in the epoch.
    pub token: u64,
    /// The generation whose N a look reads.
    pub asks_for: Option<Generation>,
}

/// The reason for which a batch does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// Its witness shows another S, or none.
    #[error("the shard lost its memory while the command was under way")]
    MemoryLost,
    /// It gave a fencing token that had been given before.
    #[error("the shard gave a fencing token twice: its memory is an old one")]
    TokensFell,
    /// The server's clock lags.
    #[error("memcached was stopped for a while, and its clock lags")]
    ClockLags,
}

/// The worth of "another id" and "no item" in the answers of a batch that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// They are the shard's last word.
    Final,
    /// They are not, since the shard is closed (R16).
    Closed,
    /// They are not, since it was closed when it was asked.
    WasClosed,
}

/// The reason for which a memory does not serve an op now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unserved {
    /// It is being asked if it is whole.
    Asked,
    /// It is closed, and a new grant was asked for.
    Closed,
    /// It belongs to brokers with another topology.
    Foreign,
    /// This version cannot use it.
    Unusable(Unusable),
    /// It is not the one that was known before.
    Distrusted(Distrust),
}

impl EpochState {
    /// Says if the memory serves an op now. `grants_closed`: a closed one grants too.
    ///
    /// # Errors
    /// It does not, for this reason.
    pub fn serves(&self, op: &Op, grants_closed: bool) -> Result<(), Unserved> {
        match self.phase() {
            Phase::Open { .. } => Ok(()),
            Phase::Closed { .. } if op.grants() && !grants_closed => Err(Unserved::Closed),
            Phase::Closed { .. } => Ok(()),
            Phase::Unread | Phase::Lost | Phase::Found { .. } => Err(Unserved::Asked),
            Phase::Foreign { .. } => Err(Unserved::Foreign),
            Phase::Unusable { why } => Err(Unserved::Unusable(why)),
            Phase::Distrusted { why } => Err(Unserved::Distrusted(why)),
        }
    }

    /// Returns what to ask the memory next, or how to move it on. A closed one stays so for `quarantine` (R15), and is opened
    /// with tokens that come after `start`, if that is known and it may be. `begin` is the S of a new epoch, if one may begin.
    pub fn next_probe(
        &self,
        now: Time,
        quarantine: Duration,
        start: Option<u64>,
        begin: impl FnOnce() -> Option<Beginning>,
    ) -> Probe {
        match (self.phase(), start) {
            (Phase::Lost, _) => begin().map_or(Probe::Look, Probe::Begin),
            (Phase::Closed { since, .. }, Some(start)) if now >= since + quarantine => Probe::Open(start),
            _ => Probe::Look,
        }
    }

    /// Returns the knowledge with which something is sent now.
    pub fn sent(&self, at: Time) -> Sent {
        let (epoch, changes, open, token) = (self.epoch(), self.changes(), self.is_open(), self.highest_token());
        Sent { at, epoch, changes, open, token, asks_for: self.asks_for() }
    }

    /// Returns true if S has shown nothing else since this was sent.
    pub fn is_current(&self, sent: &Sent) -> bool {
        sent.changes == self.changes()
    }

    /// Takes note of what a batch says of the memory. `in_time`: the server's clock does not lag. `blind`: the witness does not
    /// count. Returns what the answers are worth.
    ///
    /// # Errors
    /// Nothing that the batch says counts.
    pub fn judge(
        &mut self,
        evidence: &Evidence,
        sent: &Sent,
        now: Time,
        in_time: bool,
        blind: bool,
    ) -> Result<Finality, Void> {
        let changes = self.changes();
        let known = self.witnessed(evidence.witness);
        if !self.is_trusted(changes, known, sent) && !blind {
            return Err(Void::MemoryLost);
        }
        if let Some(Ok(Some(top))) = &evidence.fence
            && top.get() < sent.token + evidence.grants
        {
            self.distrust(Distrust::TokensFell, None);
            return Err(Void::TokensFell);
        }
        if !in_time {
            return Err(Void::ClockLags);
        }
        if let (Some(Ok(top)), Some(epoch)) = (&evidence.fence, sent.epoch) {
            self.fences_seen(epoch, top.is_some(), now);
            self.token_seen(*top);
        }
        // A command that was sent into a closed shard may have been carried out before it opened.
        Ok(match (sent.open, self.is_open()) {
            (true, true) => Finality::Final,
            (_, false) => Finality::Closed,
            (false, true) => Finality::WasClosed,
        })
    }

    /// Takes note of what a probe has found. Returns true if it is the memory that was known before, and nothing speaks against
    /// it.
    pub fn probed(&mut self, probe: Probe, found: &Found, sent: &Sent, now: Time) -> bool {
        let changes = self.changes();
        let known = self.read(found.state, found.notice);
        if !self.is_trusted(changes, known, sent) {
            return false;
        }
        match (probe, &found.fence, sent.epoch) {
            (_, Some(Ok(Some(token))), _) if token.get() < sent.token => {
                self.distrust(Distrust::TokensFell, None);
                return false;
            }
            (_, Some(Ok(token)), Some(epoch)) => {
                self.fences_seen(epoch, token.is_some(), now);
                self.token_seen(*token);
            }
            // Opened by this command, or by another broker's before it.
            (Probe::Open(_), _, Some(epoch)) => self.fences_seen(epoch, true, now),
            _ => {}
        }
        if let Some(notice) = found.notice {
            // What a change has made and nobody has opened speaks of that change.
            let is_clean = notice.fingerprint.is_none() && (self.is_open() || !self.is_by_change());
            self.clean_at = is_clean.then_some(sent.at);
        }
        true
    }

    /// Takes note of the witness that a new connection has shown, before so many `changes`. Returns true if that casts a doubt.
    pub(crate) fn compared(&mut self, witness: Witness, changes: u64, now: Time) -> bool {
        let epoch = match witness {
            Witness::Shows(stamp) => Some(stamp.epoch),
            Witness::Missing | Witness::Odd => None,
        };
        let doubtful = changes == self.changes() && epoch != self.epoch();
        if doubtful {
            self.doubt = Some(Doubt { since: now, changes, epoch });
        }
        doubtful
    }

    /// Returns true if what S has shown, after so many `changes`, was `known`, and no other connection contradicts it.
    fn is_trusted(&mut self, changes: u64, known: bool, sent: &Sent) -> bool {
        if let Some(doubt) = self.doubt.take_if(|doubt| sent.at > doubt.since || doubt.changes != changes)
            && known
            && doubt.changes == changes
        {
            self.distrust(Distrust::SeveralServers, doubt.epoch);
            return false;
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::GrantId;
    use crate::shard::job::Permits;

    const OURS: u64 = 7;
    const QUARANTINE: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Time {
        Time::from_nanos((1 << 40) + seconds * 1_000_000_000)
    }

    fn grant() -> Op {
        Op::Grant { id: GrantId::from_random(1), ttl: 10 }
    }

    fn stamp(epoch: u64) -> Stamp {
        Stamp { epoch: Epoch::from_random(epoch), generation: Generation::FIRST }
    }

    fn beginning(epoch: u64) -> Beginning {
        Beginning { stamp: stamp(epoch), fingerprint: OURS, made: Made::InForce }
    }

    fn token(token: u64) -> FencingToken {
        FencingToken::new(token).unwrap()
    }

    /// Returns what a look finds in this epoch, whose highest token this is; none if it is closed.
    fn found(epoch: u64, highest: Option<u64>) -> Found {
        let state = StateItem::Shows { stamp: stamp(epoch), fingerprint: OURS, made: Made::InForce };
        Found { clock: None, fence: Some(Ok(highest.map(token))), notice: None, words: None, state }
    }

    fn look(memory: &mut EpochState, found: &Found, now: Time) -> bool {
        let sent = memory.sent(now);
        memory.probed(Probe::Look, found, &sent, now)
    }

    /// Returns the knowledge of a memory with epoch 1, which is open if it has a highest token.
    fn known(highest: Option<u64>) -> EpochState {
        let mut memory = EpochState::new(OURS);
        assert!(!look(&mut memory, &found(1, highest), at(0)), "an epoch that was not known before");
        assert!(look(&mut memory, &found(1, highest), at(0)));
        memory
    }

    /// Returns what a batch says that draws a token in epoch 1.
    fn granted(highest: Option<u64>) -> Evidence {
        let permits = Permits::default();
        Evidence {
            clock: None,
            fence: Some(Ok(highest.map(token))),
            grants: 1,
            witness: Witness::Shows(stamp(1)),
            permits,
        }
    }

    /// Judges a batch that is sent now.
    fn judge(memory: &mut EpochState, evidence: &Evidence, in_time: bool) -> Result<Finality, Void> {
        let sent = memory.sent(at(1));
        memory.judge(evidence, &sent, at(1), in_time, false)
    }

    #[test]
    fn a_witness_of_another_epoch_makes_a_batch_void() {
        for witness in [Witness::Shows(stamp(2)), Witness::Missing, Witness::Odd] {
            let evidence = Evidence { witness, ..granted(Some(6)) };
            let mut memory = known(Some(5));
            assert_eq!(judge(&mut memory, &evidence, true), Err(Void::MemoryLost), "{witness:?}");
            assert_eq!((memory.is_open(), memory.highest_ever()), (false, 5), "{witness:?}");
        }
        let blind = Evidence { witness: Witness::Shows(stamp(2)), ..granted(Some(6)) };
        let mut memory = known(Some(5));
        let sent = memory.sent(at(1));
        assert!(memory.is_current(&sent));
        assert!(memory.judge(&blind, &sent, at(1), true, true).is_ok(), "a test has left the rule out");
        assert!(!memory.is_current(&sent), "what else was sent then does not count");
    }

    #[test]
    fn a_token_that_fell_makes_a_memory_an_old_one() {
        let fell = Phase::Distrusted { why: Distrust::TokensFell };
        let mut memory = known(Some(5));
        assert_eq!(judge(&mut memory, &granted(Some(6)), true), Ok(Finality::Final));
        assert_eq!(judge(&mut memory, &granted(Some(6)), true), Err(Void::TokensFell), "it was given before");
        assert_eq!(memory.phase(), fell);
        let two = Evidence { grants: 2, ..granted(Some(6)) };
        assert_eq!(judge(&mut known(Some(5)), &two, true), Err(Void::TokensFell), "of two tokens one was");
        let mut memory = known(Some(5));
        assert!(look(&mut memory, &found(1, Some(5)), at(1)), "a look draws none");
        assert!(!look(&mut memory, &found(1, Some(4)), at(1)));
        assert_eq!(memory.phase(), fell, "a look sees it as well");
    }

    #[test]
    fn nothing_counts_of_a_batch_whose_clock_lags() {
        let mut memory = known(None);
        assert_eq!(judge(&mut memory, &granted(Some(6)), false), Err(Void::ClockLags));
        assert_eq!((memory.is_open(), memory.highest_token()), (false, 0));
    }

    #[test]
    fn a_last_word_needs_a_shard_that_is_open_and_was() {
        let mut memory = known(None);
        let early = memory.sent(at(1));
        assert_eq!(judge(&mut memory, &granted(None), true), Ok(Finality::Closed));
        assert_eq!(memory.judge(&granted(Some(6)), &early, at(2), true, false), Ok(Finality::WasClosed));
        assert_eq!(judge(&mut memory, &granted(Some(7)), true), Ok(Finality::Final));
        assert_eq!(memory.highest_token(), 7);
        assert_eq!(judge(&mut memory, &granted(None), true), Ok(Finality::Closed), "its fences are gone");
    }

    /// Returns a memory of which a new connection has shown epoch 2 after one second.
    fn doubted() -> EpochState {
        let mut memory = known(Some(5));
        let changes = memory.changes();
        assert!(memory.compared(Witness::Shows(stamp(2)), changes, at(1)));
        memory
    }

    #[test]
    fn a_doubt_arises_where_two_connections_differ_at_one_time() {
        let mut memory = known(Some(5));
        let changes = memory.changes();
        assert!(!memory.compared(Witness::Shows(stamp(1)), changes, at(1)), "they agree");
        assert!(!memory.compared(Witness::Shows(stamp(2)), changes - 1, at(1)), "S has changed meanwhile");
        assert!(memory.compared(Witness::Missing, changes, at(1)));
    }

    #[test]
    fn a_doubt_ends_in_several_servers_if_an_old_connection_still_shows_what_it_did() {
        let several = Phase::Distrusted { why: Distrust::SeveralServers };
        let mut memory = doubted();
        assert!(look(&mut memory, &found(1, Some(5)), at(1)), "what was sent no later tells nothing of it");
        assert!(!look(&mut memory, &found(1, Some(5)), at(2)));
        assert_eq!(memory.phase(), several);
        assert!(!look(&mut memory, &found(2, Some(5)), at(3)));
        assert_eq!(memory.phase(), several, "the other memory is not used either");
        let mut memory = doubted();
        let sent = memory.sent(at(2));
        assert_eq!(memory.judge(&granted(Some(6)), &sent, at(2), true, false), Err(Void::MemoryLost));
        assert_eq!(memory.phase(), several, "a batch shows it as well");
    }

    #[test]
    fn a_doubt_goes_away_with_the_memory_that_it_was_about() {
        let mut memory = doubted();
        assert!(!look(&mut memory, &found(2, Some(5)), at(2)), "the memory was lost");
        assert!(look(&mut memory, &found(2, Some(5)), at(3)));
        assert!(memory.is_open());
        // One that nobody has asked about yet.
        let mut memory = doubted();
        let early = memory.sent(at(1));
        memory.probed(Probe::Look, &found(2, Some(5)), &early, at(2));
        assert!(look(&mut memory, &found(2, Some(5)), at(3)), "it was about another memory");
        assert!(memory.is_open());
    }

    #[test]
    fn only_an_open_memory_serves_every_op() {
        let stands = Op::Stands(GrantId::from_random(1));
        let mut memory = EpochState::new(OURS);
        assert_eq!(memory.serves(&stands, false), Err(Unserved::Asked), "not read");
        assert_eq!(known(Some(5)).serves(&grant(), false), Ok(()));
        assert_eq!(known(None).serves(&grant(), false), Err(Unserved::Closed));
        assert_eq!((known(None).serves(&stands, false), known(None).serves(&grant(), true)), (Ok(()), Ok(())));
        memory.read(StateItem::Shows { stamp: stamp(1), fingerprint: 8, made: Made::InForce }, None);
        assert_eq!(memory.serves(&stands, true), Err(Unserved::Foreign));
        let why = Unusable::Newer { format: 4 };
        memory.read(StateItem::Unusable { cas: 5, why }, None);
        assert_eq!(memory.serves(&stands, true), Err(Unserved::Unusable(why)));
        memory.distrust(Distrust::TokensFell, None);
        assert_eq!(memory.serves(&stands, true), Err(Unserved::Distrusted(Distrust::TokensFell)));
        memory.read(StateItem::Missing, None);
        assert_eq!(memory.serves(&stands, true), Err(Unserved::Asked));
        memory.read(found(2, None).state, None);
        assert_eq!(memory.serves(&stands, true), Err(Unserved::Asked), "its fences were not read");
    }

    #[test]
    fn a_lost_epoch_is_followed_by_another_one_if_one_may_begin() {
        let mut memory = known(Some(5));
        memory.read(StateItem::Missing, None);
        let next = |begin: Option<Beginning>| memory.next_probe(at(1), QUARANTINE, Some(5), || begin);
        assert_eq!((next(Some(beginning(2))), next(None)), (Probe::Begin(beginning(2)), Probe::Look));
    }

    #[test]
    fn an_epoch_is_opened_when_it_was_closed_for_long_enough() {
        let memory = known(None);
        let next = |now, start| memory.next_probe(now, QUARANTINE, start, || Some(beginning(2)));
        assert_eq!(next(at(0) + QUARANTINE - Duration::from_nanos(1), Some(5)), Probe::Look);
        assert_eq!(next(at(0) + QUARANTINE, Some(5)), Probe::Open(5));
        assert_eq!(next(at(0) + QUARANTINE, None), Probe::Look, "nobody knows its first token");
        assert_eq!(known(Some(5)).next_probe(at(99), QUARANTINE, Some(5), || None), Probe::Look, "it is open");
    }

    #[test]
    fn an_epoch_is_open_after_the_answer_to_that() {
        let opened = |epoch| Found { fence: None, ..found(epoch, None) };
        let mut memory = known(None);
        let sent = memory.sent(at(1));
        assert!(memory.probed(Probe::Open(5), &opened(1), &sent, at(1)));
        assert!(memory.is_open());
        let mut memory = known(None);
        assert!(!memory.probed(Probe::Open(5), &opened(2), &sent, at(1)));
        assert_eq!(memory.phase(), Phase::Found { stamp: stamp(2) }, "it was another one");
    }
}

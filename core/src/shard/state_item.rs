//! The item S, by which all brokers know one memory of one memcached.
//!
//! Both its numbers are decimal, so that people can read them:
//!
//! ```text
//! CAS    EEEEEEEEEEEEEE GGGGG              epoch, generation
//! value  1 FF GGGGG fffffffff VVV          format, first generation, fingerprint, how it was made
//! ```
//!
//! `ma` creates S with a fresh epoch, and nothing writes its value again. A change of the servers flips it: it sets another CAS, with a
//! fresh epoch and a higher generation, by comparing. Whose the server is then stands in N, under that generation. A later format keeps the
//! length of the value and the place of `FF`, so that every version can tell that another one is needed.

use std::fmt;
use std::sync::Arc;

use crate::command::Value;

/// The format of what brokers keep in memcached. In format 2 there were no permits, so a broker of that version would grant a lock
/// beside them. Format 1 had no number: its epoch was in the value of S.
pub const FORMAT: u64 = 3;
/// The format before, whose S is written in the same way.
const BEFORE: u64 = 2;

/// The digits of a value of S, in every format that has a number.
const VALUE_DIGITS: usize = 20;
/// The digits of a value of S in format 1: an epoch of ten, and a fingerprint of nine.
const OLDER_DIGITS: usize = 19;
const OLDER_EPOCH_DIGITS: usize = 10;
/// The factors by which the fields of a value are moved.
const LEADING_ONE: u64 = 10_000_000_000_000_000_000;
const FORMAT_AT: u64 = 100_000_000_000_000_000;
const GENERATION_AT: u64 = 1_000_000_000_000;
const FINGERPRINT_AT: u64 = 1_000;
const FORMATS: u64 = 100;
const GENERATIONS: u64 = 100_000;
/// Fingerprints have nine decimal digits.
pub const FINGERPRINTS: u64 = 1_000_000_000;

/// A random number that tells one life of a shard's memory from the next: fourteen digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(u64);

impl Epoch {
    /// The lowest number.
    pub const FIRST: u64 = 10_000_000_000_000;
    /// The highest number.
    pub const LAST: u64 = 99_999_999_999_999;

    /// Makes an epoch of a random number, afresh for each command that creates S (R14).
    pub fn from_random(number: u64) -> Epoch {
        Epoch(Epoch::FIRST + number % (Epoch::LAST - Epoch::FIRST + 1))
    }

    /// Returns the number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a topology: each change of the servers, their weights or `--max-ttl` takes the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(u32);

impl Generation {
    /// The first one.
    pub const FIRST: Generation = Generation(1);

    fn new(number: u64) -> Option<Generation> {
        (1..GENERATIONS).contains(&number).then_some(Generation(number as u32))
    }

    /// Returns the number: 1 to 99,999.
    pub fn get(self) -> u32 {
        self.0
    }

    /// Returns the next one. Returns none after 99,999.
    pub fn next(self) -> Option<Generation> {
        Generation::new(u64::from(self.0) + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The meaning of the CAS of S. No two values of S ever have the same one (docs/safety.md, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The epoch.
    pub epoch: Epoch,
    /// The generation.
    pub generation: Generation,
}

impl Stamp {
    /// Returns it as a CAS: neither 0 nor the greatest one, which stand for "none" in commands.
    pub fn cas(self) -> u64 {
        self.epoch.0 * GENERATIONS + u64::from(self.generation.0)
    }

    /// Reads a CAS. Returns none for one that memcached has counted itself, as under an S of format 1.
    pub fn of_cas(cas: u64) -> Option<Stamp> {
        let epoch = cas / GENERATIONS;
        let generation = Generation::new(cas % GENERATIONS)?;
        (Epoch::FIRST..=Epoch::LAST).contains(&epoch).then_some(Stamp { epoch: Epoch(epoch), generation })
    }

    /// Returns the value with which S is created under this stamp.
    pub fn value(self, fingerprint: u64, made: Made) -> u64 {
        debug_assert!(fingerprint < FINGERPRINTS, "{fingerprint} has more than nine digits");
        let generation = u64::from(self.generation.0);
        LEADING_ONE + FORMAT * FORMAT_AT + generation * GENERATION_AT + fingerprint * FINGERPRINT_AT + made.digits()
    }
}

/// How an S came to show its topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Made {
    /// A broker has begun it, by the topology in force.
    InForce,
    /// A change of the servers has made or flipped it. Only brokers that know its topology to be in force open it (R25).
    ByChange,
}

impl Made {
    fn digits(self) -> u64 {
        match self {
            Made::InForce => 0,
            Made::ByChange => 1,
        }
    }
}

/// The answer of the witness, which reads the CAS of S alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Witness {
    /// There is no S: the memory was lost.
    Missing,
    /// The stamp of S.
    Shows(Stamp),
    /// There is an S, with a CAS that this version does not know.
    Odd,
}

/// The whole of S, as a probe reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateItem {
    /// There is none: the memory was lost.
    Missing,
    /// The shard belongs to brokers with this topology.
    Shows {
        /// Its CAS.
        stamp: Stamp,
        /// Its topology.
        fingerprint: u64,
        /// How it came to that.
        made: Made,
    },
    /// A change of the servers has flipped it. N says to which topology, under the stamp's generation.
    Flipped {
        /// Its CAS.
        stamp: Stamp,
        /// The topology for which it was made.
        made_for: u64,
    },
    /// This version cannot use the shard.
    Unusable {
        /// Its CAS.
        cas: u64,
        /// The reason.
        why: Unusable,
    },
}

/// The reason for which this version cannot use an S.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unusable {
    /// It has an older format. Its fencing tokens are those of this epoch.
    Older {
        /// The format.
        format: u64,
        /// The epoch.
        epoch: Epoch,
    },
    /// It has a later format.
    Newer {
        /// The format.
        format: u64,
    },
    /// Its servers have changed, it belongs to this generation, and nobody can tell any more which topology that is.
    Moved {
        /// The generation.
        generation: Generation,
    },
    /// It was made in a way that this version does not know.
    Voted,
    /// It is no S.
    Strange,
}

impl fmt::Display for Unusable {
    /// Says what is wrong, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Older { format, .. } => write!(
                f,
                "an older version of lockbroker has set it up, in format {format}, and this version keeps locks in format \
                 {FORMAT}: stop all brokers, wait for the longest ttl and linger, use `lockbroker shard adopt --stopped` of this \
                 version, and start brokers of this version only"
            ),
            Unusable::Newer { format } => write!(
                f,
                "a newer version of lockbroker has set it up, in format {format}, and this version knows format {FORMAT} \
                 only: use the newer version. To go back, stop all brokers, wait for the longest ttl and linger, and \
                 restart every memcached"
            ),
            Unusable::Moved { generation } => write!(
                f,
                "its servers have changed (it is at generation {generation} now), and it has lost the note to which: stop \
                 all brokers, wait for the longest ttl and linger, and use `lockbroker shard adopt --stopped` with the list that was to \
                 be used"
            ),
            Unusable::Voted => f.write_str(
                "a newer version of lockbroker has set it up in a way that this version does not know: use the newer version",
            ),
            Unusable::Strange => f.write_str(
                "the shard's state cannot be read: somebody else uses the keys in which its state belongs; give each \
                 deployment a --key-prefix of its own",
            ),
        }
    }
}

impl StateItem {
    /// Returns its stamp, if it has one that this version can read.
    pub fn stamp(self) -> Option<Stamp> {
        match self {
            StateItem::Shows { stamp, .. } | StateItem::Flipped { stamp, .. } => Some(stamp),
            StateItem::Missing | StateItem::Unusable { .. } => None,
        }
    }

    /// Says what it means, if it was flipped and N shows this topology under its generation.
    pub fn with_notice(self, notice: Option<u64>) -> StateItem {
        match (self, notice) {
            (StateItem::Flipped { stamp, .. }, Some(fingerprint)) => {
                StateItem::Shows { stamp, fingerprint, made: Made::ByChange }
            }
            (StateItem::Flipped { stamp, .. }, None) => {
                let why = Unusable::Moved { generation: stamp.generation };
                StateItem::Unusable { cas: stamp.cas(), why }
            }
            (other, _) => other,
        }
    }

    /// Makes sense of the CAS and the value of an S that is there.
    pub fn of(cas: u64, value: &Value) -> StateItem {
        let text = match value {
            Value::Number(number) => number.to_string().into(),
            Value::Text(text) => Arc::clone(text),
        };
        match Some(&*text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())) {
            Some(digits) if digits.len() == VALUE_DIGITS => StateItem::numbered(cas, digits),
            Some(digits) if digits.len() == OLDER_DIGITS && Stamp::of_cas(cas).is_none() => {
                match digits[..OLDER_EPOCH_DIGITS].parse() {
                    Ok(epoch) => StateItem::Unusable { cas, why: Unusable::Older { format: 1, epoch: Epoch(epoch) } },
                    Err(_) => StateItem::Unusable { cas, why: Unusable::Strange },
                }
            }
            _ => StateItem::Unusable { cas, why: Unusable::Strange },
        }
    }

    fn numbered(cas: u64, digits: &str) -> StateItem {
        let unusable = |why| StateItem::Unusable { cas, why };
        let Some(fields) = digits.parse::<u64>().ok().and_then(|value| value.checked_sub(LEADING_ONE)) else {
            return unusable(Unusable::Strange);
        };
        let format = fields / FORMAT_AT % FORMATS;
        let first = Generation::new(fields / GENERATION_AT % GENERATIONS);
        let fingerprint = fields / FINGERPRINT_AT % FINGERPRINTS;
        let made = match fields % FINGERPRINT_AT {
            0 => Some(Made::InForce),
            1 => Some(Made::ByChange),
            _ => None,
        };
        match (format, Stamp::of_cas(cas), first) {
            (FORMAT, Some(stamp), Some(first)) => match made {
                None => unusable(Unusable::Voted),
                Some(made) if stamp.generation == first => StateItem::Shows { stamp, fingerprint, made },
                Some(_) => StateItem::Flipped { stamp, made_for: fingerprint },
            },
            (BEFORE, Some(stamp), Some(_)) => unusable(Unusable::Older { format: BEFORE, epoch: stamp.epoch }),
            (format, ..) if format > FORMAT => unusable(Unusable::Newer { format }),
            _ => unusable(Unusable::Strange),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(cas: u64, value: &str) -> StateItem {
        StateItem::of(cas, &Value::Text(value.into()))
    }

    fn why(cas: u64, value: &str) -> Option<Unusable> {
        match read(cas, value) {
            StateItem::Unusable { why, .. } => Some(why),
            _ => None,
        }
    }

    #[test]
    fn s_is_written_digit_for_digit_as_the_protocol_says() {
        let stamp = Stamp { epoch: Epoch(12_345_678_901_234), generation: Generation(7) };
        assert_eq!(stamp.cas(), 1_234_567_890_123_400_007);
        for (made, value) in [(Made::InForce, "10300007987654321000"), (Made::ByChange, "10300007987654321001")] {
            assert_eq!(stamp.value(987_654_321, made).to_string(), value);
            let shows = StateItem::Shows { stamp, fingerprint: 987_654_321, made };
            assert_eq!(read(1_234_567_890_123_400_007, value), shows);
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            epoch in Epoch::FIRST..=Epoch::LAST,
            generation in 1u64..GENERATIONS,
            fingerprint in 0..FINGERPRINTS,
        ) {
            let stamp = Stamp { epoch: Epoch(epoch), generation: Generation::new(generation).unwrap() };
            prop_assert!((1..u64::MAX).contains(&stamp.cas()));
            prop_assert_eq!(Stamp::of_cas(stamp.cas()), Some(stamp));
            let value = stamp.value(fingerprint, Made::InForce).to_string();
            // An older version takes nineteen digits for an S of its own.
            prop_assert_eq!(value.len(), 20);
            prop_assert_eq!(read(stamp.cas(), &value), StateItem::Shows { stamp, fingerprint, made: Made::InForce });
        }

        /// A memcached that creates S for an older version counts its CAS from 1 on.
        #[test]
        fn format_1_is_known_by_its_cas_and_its_length(
            cas in 1u64..1_000_000_000_000_000_000,
            epoch in 1_000_000_000u64..=9_999_999_999,
            fingerprint in 0..FINGERPRINTS,
        ) {
            prop_assert_eq!(Stamp::of_cas(cas), None);
            let older = Unusable::Older { format: 1, epoch: Epoch(epoch) };
            prop_assert_eq!(why(cas, &format!("{epoch}{fingerprint:09}")), Some(older));
        }

        #[test]
        fn nothing_is_too_odd_to_be_read(cas: u64, value in "[0-9]{18,21}|1[0-9]{19}|[ -~]{0,24}") {
            if let StateItem::Shows { stamp, .. } = read(cas, &value) {
                prop_assert!(value.starts_with("103") && stamp.cas() == cas);
            }
        }
    }

    #[test]
    fn another_format_is_told_from_what_is_no_s() {
        let cas = 1_234_567_890_123_400_007;
        // Later formats may count as they like.
        for cas in [5, cas, u64::MAX] {
            assert_eq!(why(cas, "10400007987654321000"), Some(Unusable::Newer { format: 4 }));
        }
        assert_eq!(why(cas, "18300000000000000000"), Some(Unusable::Newer { format: 83 }));
        let older = Unusable::Older { format: 2, epoch: Epoch(12_345_678_901_234) };
        assert_eq!(why(cas, "10200007987654321000"), Some(older));
        assert_eq!(why(cas, "10300007987654321002"), Some(Unusable::Voted));
        let odd = [
            // A CAS that memcached has counted, or no generation.
            (5, "10300007987654321000"),
            (cas - 7, "10300000987654321000"),
            (cas, "10100007987654321000"),
            (cas, "00200007987654321000"),
            (cas, "99999999999999999999"),
            // The value of format 1 under a CAS that it never had.
            (cas, "1234567890987654321"),
            (5, "hello"),
            (5, ""),
        ];
        for (cas, value) in odd {
            assert_eq!(why(cas, value), Some(Unusable::Strange), "{cas} {value}");
        }
        let number = Value::Number(10_300_007_987_654_321_000);
        assert!(matches!(StateItem::of(cas, &number), StateItem::Shows { .. }));
    }

    #[test]
    fn whose_a_flipped_one_is_stands_in_n() {
        let flipped = read(1_234_567_890_123_400_008, "10300007987654321000");
        let stamp = Stamp { epoch: Epoch(12_345_678_901_234), generation: Generation(8) };
        assert_eq!(flipped, StateItem::Flipped { stamp, made_for: 987_654_321 });
        let shows = StateItem::Shows { stamp, fingerprint: 5, made: Made::ByChange };
        assert_eq!(flipped.with_notice(Some(5)), shows);
        let why = Unusable::Moved { generation: Generation(8) };
        assert_eq!(flipped.with_notice(None), StateItem::Unusable { cas: stamp.cas(), why });
    }

    #[test]
    fn generations_end() {
        assert_eq!(Generation::FIRST.next(), Some(Generation(2)));
        assert_eq!(Generation(99_999).next(), None);
    }
}

//! A topology in words, as brokers leave it on their shards: who comes with another one can be told what it should have been.
//!
//! The words are best effort. What brokers go by is the fingerprint in S (R20).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::Member;
use super::placement::fingerprint;

/// The first word, which another form of the text would change.
const FORM: &str = "1";
/// The longest text that is read, in bytes: some hundreds of servers. That of somebody else may be of any length.
const LONGEST: usize = 32 * 1024;

/// The servers with their weights, and the longest ttl: what all brokers of a deployment have to agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The servers.
    pub members: Vec<Member>,
    /// The longest ttl that any broker grants.
    pub max_ttl: Duration,
}

impl Topology {
    /// Returns nine decimal digits that stand for it in S.
    pub fn fingerprint(&self) -> u64 {
        fingerprint(&self.members, self.max_ttl)
    }

    /// Returns the text that is left on a shard: `1 15000 a:11211=1,b:11211=3`, with the ttl in milliseconds. Nobody reads one of more
    /// than 32 KiB.
    pub fn text(&self) -> String {
        let members: Vec<_> =
            self.members.iter().map(|member| format!("{}={}", member.address, member.weight)).collect();
        format!("{FORM} {} {}", self.max_ttl.as_millis(), members.join(","))
    }

    /// Reads such a text. Returns none if it is not that of the topology with this fingerprint.
    pub fn read(text: &str, fingerprint: u64) -> Option<Topology> {
        let mut words = text.split(' ');
        let (FORM, Some(millis), Some(list), None) = (words.next()?, words.next(), words.next(), words.next()) else {
            return None;
        };
        if text.len() > LONGEST {
            return None;
        }
        // It is shown to people, on terminals too.
        let is_plain = |address: &str| address.bytes().all(|byte| byte.is_ascii_graphic());
        let member = |word: &str| {
            let (address, weight) = word.rsplit_once('=').filter(|(address, _)| is_plain(address))?;
            Some(Member { address: Arc::from(address), weight: weight.parse().ok()? })
        };
        let members = list.split(',').map(member).collect::<Option<_>>()?;
        let topology = Topology { members, max_ttl: Duration::from_millis(millis.parse().ok()?) };
        (topology.fingerprint() == fingerprint).then_some(topology)
    }
}

impl fmt::Display for Topology {
    /// Writes the flags with which a broker has this topology.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("--store memcached://")?;
        for (number, Member { address, weight }) in self.members.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{address}")?;
            if *weight != 1 {
                write!(f, "={weight}")?;
            }
        }
        match self.max_ttl.as_millis() {
            millis if millis % 1_000 == 0 => write!(f, " --max-ttl {}s", millis / 1_000),
            millis => write!(f, " --max-ttl {millis}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn topology(list: &[(&str, u32)], millis: u64) -> Topology {
        let members = list.iter().map(|(address, weight)| Member { address: Arc::from(*address), weight: *weight });
        Topology { members: members.collect(), max_ttl: Duration::from_millis(millis) }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            list in prop::collection::vec(("[a-z.-]{1,20}:[1-9][0-9]{0,4}|\\[::1\\]:11211", 1u32..=1_000), 1..6),
            millis in 1_000u64..3_600_000,
        ) {
            let list: Vec<_> = list.iter().map(|(address, weight)| (address.as_str(), *weight)).collect();
            let topology = topology(&list, millis);
            prop_assert_eq!(Topology::read(&topology.text(), topology.fingerprint()), Some(topology.clone()));
            prop_assert_eq!(Topology::read(&topology.text(), topology.fingerprint() + 1), None, "it is another one's");
        }

        #[test]
        fn nothing_is_too_odd_to_be_read(text in "\\PC{0,60}|1 [0-9]{0,20} \\PC{0,40}", fingerprint in 0u64..10) {
            let _ = Topology::read(&text, fingerprint);
        }
    }

    #[test]
    fn nothing_is_read_that_does_not_belong_on_a_terminal() {
        for address in ["a\u{1b}[2J:1", "a\n:1", "a\u{202e}:1", &"a".repeat(LONGEST)] {
            let odd = topology(&[(address, 1)], 15_000);
            assert_eq!(Topology::read(&odd.text(), odd.fingerprint()), None, "{address:?}");
        }
    }

    #[test]
    fn people_read_the_flags_of_a_broker() {
        let two = topology(&[("a:11211", 1), ("b:11211", 3)], 15_000);
        assert_eq!(two.to_string(), "--store memcached://a:11211,b:11211=3 --max-ttl 15s");
        assert_eq!(topology(&[("a:1", 1)], 1_500).to_string(), "--store memcached://a:1 --max-ttl 1500ms");
        assert_eq!(two.text(), "1 15000 a:11211=1,b:11211=3");
    }
}

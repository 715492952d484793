//! The hint with which one broker tells another that a lock may be free, so that it need not poll.

use xxhash_rust::xxh3::xxh3_64;

use super::LockName;

/// The hash of a lock's name: the lock may be free. It is only a hint, since anybody may have sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WakeHint(u64);

impl WakeHint {
    /// The length of a hint on the wire, in bytes.
    pub const BYTES: usize = 8;

    /// Returns the hint for this lock: XXH3 of its name, the same in every broker.
    pub fn of(name: &LockName) -> WakeHint {
        WakeHint(xxh3_64(name.as_str().as_bytes()))
    }

    /// Writes the hint for the wire, in big endian.
    pub fn to_bytes(self) -> [u8; WakeHint::BYTES] {
        self.0.to_be_bytes()
    }

    /// Reads a hint from the wire. Returns none if the length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<WakeHint> {
        bytes.try_into().ok().map(u64::from_be_bytes).map(WakeHint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_of_all_versions_agree_on_the_hint() {
        let hint = WakeHint::of(&LockName::new("job").unwrap());
        assert_eq!(hint, WakeHint(0xa8cb_4167_536a_cdd9));
        assert_eq!(WakeHint::from_bytes(&hint.to_bytes()), Some(hint));
        assert_eq!(WakeHint::from_bytes(&[0; 7]), None);
        assert_eq!(WakeHint::from_bytes(&[0; 9]), None);
    }
}

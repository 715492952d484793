//! What one broker says to another so that it need not poll.

use xxhash_rust::xxh3::xxh3_64;

use super::LockName;

/// That a lock may be free: the hash of its name. A hint and no more: anybody may have made it up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WakeHint(u64);

impl WakeHint {
    /// How long it is on the wire.
    pub const BYTES: usize = 8;

    /// The hint at this lock: XXH3 of its name, the same in every broker.
    pub fn of(name: &LockName) -> WakeHint {
        WakeHint(xxh3_64(name.as_str().as_bytes()))
    }

    /// As it travels: big endian.
    pub fn to_bytes(self) -> [u8; WakeHint::BYTES] {
        self.0.to_be_bytes()
    }

    /// As it came, if it has the right length.
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

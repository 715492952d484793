//! Permits: the numbered places of a lock that several share.

use std::fmt;
use std::num::NonZeroU16;

use super::LockName;

/// The most permits of one lock.
pub const MAX_PERMITS: u16 = 4096;

/// The number of a permit of a lock that several share: 0 up to [`MAX_PERMITS`], without that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permit(NonZeroU16);

impl Permit {
    /// The first one.
    pub const FIRST: Permit = Permit(NonZeroU16::MIN);

    /// Returns the permit with this number, or none if it is out of range.
    pub fn new(number: u16) -> Option<Permit> {
        NonZeroU16::new(number.wrapping_add(1)).filter(|_| number < MAX_PERMITS).map(Permit)
    }

    /// Returns the number.
    pub fn get(self) -> u16 {
        self.0.get() - 1
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({})", self.get())
    }
}

/// Names an item in the store: that of a lock, or that of one of its permits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockItem {
    /// The lock.
    pub name: LockName,
    /// The permit. None: the lock itself.
    pub permit: Option<Permit>,
}

impl From<LockName> for LockItem {
    fn from(name: LockName) -> LockItem {
        LockItem { name, permit: None }
    }
}

impl From<&LockName> for LockItem {
    fn from(name: &LockName) -> LockItem {
        name.clone().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permits_have_numbers_below_their_limit() {
        for number in [0, 1, MAX_PERMITS - 1] {
            assert_eq!(Permit::new(number).map(Permit::get), Some(number));
        }
        assert_eq!(Permit::new(MAX_PERMITS), None);
        assert_eq!(Permit::new(u16::MAX), None);
        assert_eq!(size_of::<Option<Permit>>(), 2);
    }
}

//! What a holder says of itself to those who observe its lock.

use std::fmt;
use std::sync::Arc;

/// The longest value, in bytes.
pub const MAX_VALUE_BYTES: usize = 1024;

/// A value that a holder gives its lock, for those who observe it: where a leader can be reached, say. Any bytes, up to
/// [`MAX_VALUE_BYTES`]; also none. Clones share them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LockValue(Arc<[u8]>);

/// A value that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("has {0} bytes, the limit is {MAX_VALUE_BYTES}")]
pub struct ValueTooLong(pub usize);

impl LockValue {
    /// Checks the length of `bytes`.
    ///
    /// # Errors
    /// They are more than [`MAX_VALUE_BYTES`].
    pub fn new(bytes: &[u8]) -> Result<LockValue, ValueTooLong> {
        if bytes.len() > MAX_VALUE_BYTES {
            return Err(ValueTooLong(bytes.len()));
        }
        Ok(LockValue(bytes.into()))
    }

    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns it as a store's text: each byte is the character with its number. So what is ASCII stays readable, and takes no more
    /// room; each other byte takes two.
    pub(crate) fn to_text(&self) -> String {
        self.0.iter().map(|byte| char::from(*byte)).collect()
    }

    /// Reads what [`LockValue::to_text`] has written. None if nothing of that kind is.
    pub(crate) fn of_text(text: &str) -> Option<LockValue> {
        let bytes: Option<Vec<u8>> = text.chars().map(|character| u8::try_from(character).ok()).collect();
        LockValue::new(&bytes?).ok()
    }
}

impl fmt::Debug for LockValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockValue({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_back_as_they_were(bytes in prop::collection::vec(any::<u8>(), 0..=MAX_VALUE_BYTES)) {
            let value = LockValue::new(&bytes).unwrap();
            let text = value.to_text();
            prop_assert!(text.len() <= 2 * bytes.len());
            prop_assert_eq!(LockValue::of_text(&text), Some(value));
        }

        #[test]
        fn no_text_is_too_odd_to_be_read(text: String) {
            let value = LockValue::of_text(&text);
            prop_assert!(value.is_none_or(|value| value.to_text() == text));
        }
    }

    #[test]
    fn a_value_has_a_limit() {
        assert!(LockValue::new(&[0; MAX_VALUE_BYTES]).is_ok());
        assert_eq!(LockValue::new(&[0; MAX_VALUE_BYTES + 1]), Err(ValueTooLong(MAX_VALUE_BYTES + 1)));
        assert_eq!(LockValue::of_text(&"x".repeat(MAX_VALUE_BYTES + 1)), None);
    }
}

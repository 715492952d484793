//! Lock names and owner labels.

use std::fmt;

use arcstr::ArcStr;

/// The longest name, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 128;
/// The longest owner label, in bytes of UTF-8.
pub const MAX_OWNER_BYTES: usize = 128;

/// A text that does not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than the limit.
    #[error("has {bytes} bytes, the limit is {limit}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The longest that does.
        limit: usize,
    },
    /// A control character (Unicode category Cc).
    #[error("has the control character U+{0:04X}")]
    Control(u32),
}

fn check(text: &str, limit: usize) -> Result<(), InvalidText> {
    if text.len() > limit {
        return Err(InvalidText::TooLong { bytes: text.len(), limit });
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(InvalidText::Control(c.into())),
        None => Ok(()),
    }
}

/// The name of a lock: 1 to [`MAX_NAME_BYTES`] bytes of UTF-8 without control characters. Two names mean the same lock
/// if all their bytes are the same. Clones share the text, and each takes eight bytes: a lock has several.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LockName(ArcStr);

impl LockName {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<LockName, InvalidText> {
        if text.is_empty() {
            return Err(InvalidText::Empty);
        }
        check(text, MAX_NAME_BYTES)?;
        Ok(LockName(text.into()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

/// The holder's label: up to [`MAX_OWNER_BYTES`] bytes without control characters; may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Owner(Option<ArcStr>);

impl Owner {
    /// Checks `text`.
    pub fn new(text: &str) -> Result<Owner, InvalidText> {
        check(text, MAX_OWNER_BYTES)?;
        Ok(Owner((!text.is_empty()).then(|| text.into())))
    }

    /// Returns the text, empty if there is none.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns true if there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_taken_as_it_is_or_refused(text in prop_oneof![any::<String>(), "\\PC{0,140}", "[ -~\t\u{80}]{0,140}"]) {
            let fits = text.len() <= MAX_NAME_BYTES && !text.chars().any(char::is_control);
            match LockName::new(&text) {
                Ok(name) => prop_assert_eq!(name.as_str(), &text),
                Err(_) => prop_assert!(!fits || text.is_empty()),
            }
            match Owner::new(&text) {
                Ok(owner) => prop_assert_eq!(owner.as_str(), &text),
                Err(_) => prop_assert!(!fits),
            }
        }
    }

    #[test]
    fn names_are_taken_as_they_are_or_refused() {
        for good in ["a", "a b", "a:b/c%d", "🔒", &"ä".repeat(64)] {
            assert_eq!(LockName::new(good).unwrap().as_str(), good);
        }
        assert_eq!(LockName::new(""), Err(InvalidText::Empty));
        assert_eq!(LockName::new(&"x".repeat(129)), Err(InvalidText::TooLong { bytes: 129, limit: 128 }));
        for control in ["a\nb", "\0", "\u{7f}", "\u{85}"] {
            assert!(matches!(LockName::new(control), Err(InvalidText::Control(_))), "{control:?}");
        }
    }

    #[test]
    fn an_owner_may_be_empty_but_not_long() {
        assert!(Owner::new("").unwrap().is_empty());
        assert!(Owner::new(&"x".repeat(129)).is_err());
    }
}

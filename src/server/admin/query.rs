//! The part of a list that a request asks for: `?prefix=&limit=`.

use super::cached::MOST_ROWS;

/// The rows of a list without `limit`.
const ROWS: usize = 500;

/// The longest prefix: a lock's name is no longer.
const MAX_PREFIX_BYTES: usize = 128;

/// The rows that are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The beginning of their names.
    pub(super) prefix: String,
    /// The most of them.
    pub(super) limit: usize,
}

impl Wanted {
    /// Reads the query of a request.
    ///
    /// # Errors
    /// Says which parameter is wrong, and what it may be.
    pub(super) fn read(query: Option<&str>) -> Result<Wanted, String> {
        let mut wanted = Wanted { prefix: String::new(), limit: ROWS };
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "prefix" if value.len() > MAX_PREFIX_BYTES || value.chars().any(char::is_control) => {
                    return Err(format!("prefix: at most {MAX_PREFIX_BYTES} bytes without control characters"));
                }
                "prefix" => wanted.prefix = value.into_owned(),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MOST_ROWS).contains(limit));
                    wanted.limit = limit.ok_or_else(|| format!("limit: 1 to {MOST_ROWS}"))?;
                }
                _ => return Err("there are the parameters prefix and limit".to_owned()),
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_a_prefix_and_a_limit() {
        let wanted = |prefix: &str, limit| Ok(Wanted { prefix: prefix.into(), limit });
        assert_eq!(Wanted::read(None), wanted("", 500));
        assert_eq!(Wanted::read(Some("prefix=a%20%26+b%25&limit=10000")), wanted("a & b%", 10_000));
        assert_eq!(Wanted::read(Some(&format!("prefix={}", "x".repeat(128)))), wanted(&"x".repeat(128), 500));
        for wrong in ["limit=0", "limit=10001", "limit=-1", "limit=", "prefix=%0a", "offset=1", &"x".repeat(200)] {
            assert!(Wanted::read(Some(wrong)).is_err(), "{wrong}");
        }
        assert!(Wanted::read(Some(&format!("prefix={}", "x".repeat(129)))).is_err());
    }
}

//! How much each caller may have at one broker: the quotas of a policy.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;

use serde::Deserialize;
use toml::Spanned;

use super::Identity;

/// The limits of each identity that has a quota, and its place in the file.
pub(super) type Limits = HashMap<Identity, (usize, CallerLimits)>;

/// The most identities that may have a quota: each has counts and metrics.
const MAX_QUOTAS: usize = 10_000;

/// Limits what each identity in `who` may have at one broker. Each has counts of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaTable {
    who: Vec<Identity>,
    max_locks: Option<NonZeroUsize>,
    max_waiters: Option<usize>,
    max_observers: Option<usize>,
    max_rate: Option<f64>,
    burst: Option<NonZeroU32>,
}

/// The limits of one identity at one broker. What is not set is not limited.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallerLimits {
    /// The most locks, with those that are waited for.
    pub max_locks: Option<NonZeroUsize>,
    /// The most of them that are waited for.
    pub max_waiters: Option<usize>,
    /// The most streams on which it observes locks.
    pub max_observers: Option<usize>,
    /// The rate at which it may ask for a lock, for another value of one, or to observe one.
    pub max_rate: Option<Rate>,
}

/// A number of requests a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How many a second, for ever.
    pub per_second: f64,
    /// How many at once, after a pause.
    pub burst: NonZeroU32,
}

/// The slowest and the fastest rate, in requests a second. A faster one is none: no broker serves that many.
const RATES: RangeInclusive<f64> = 0.001..=1_000_000.0;

impl QuotaTable {
    /// Says what is wrong with it by itself.
    fn check(&self) -> Result<(), String> {
        if self.who.is_empty() {
            return Err("a quota in which `who` is empty is nobody's".into());
        }
        let counts = [self.max_locks.map(NonZeroUsize::get), self.max_waiters, self.max_observers];
        if counts.iter().all(Option::is_none) && self.max_rate.is_none() {
            return Err("a quota needs `max_locks`, `max_waiters`, `max_observers` or `max_rate`".into());
        }
        if self.max_rate.is_some_and(|rate| !RATES.contains(&rate)) {
            let (slowest, fastest) = (RATES.start(), RATES.end());
            return Err(format!("`max_rate` is in requests a second, from {slowest} to {fastest}"));
        }
        if self.burst.is_some() && self.max_rate.is_none() {
            return Err("`burst` belongs to `max_rate`, which is missing".into());
        }
        Ok(())
    }

    fn limits(&self) -> CallerLimits {
        // A second's worth, and one at least.
        let burst = |rate: f64| self.burst.or_else(|| NonZeroU32::new(rate.ceil() as u32)).unwrap_or(NonZeroU32::MIN);
        let max_rate = self.max_rate.map(|per_second| Rate { per_second, burst: burst(per_second) });
        let QuotaTable { max_locks, max_waiters, max_observers, .. } = *self;
        CallerLimits { max_locks, max_waiters, max_observers, max_rate }
    }
}

/// Checks the quotas, and returns the limits of each identity that has one, with its place in the file.
///
/// # Errors
/// As `wrong_at` makes it of the place in the file, and why.
pub(super) fn of_all<E>(quotas: &[Spanned<QuotaTable>], wrong_at: impl Fn(usize, &str) -> E) -> Result<Limits, E> {
    let mut limits = HashMap::new();
    for quota in quotas {
        let wrong = |why: String| wrong_at(quota.span().start, &why);
        let quota = quota.get_ref();
        quota.check().map_err(wrong)?;
        for identity in &quota.who {
            let place = limits.len();
            if limits.insert(identity.clone(), (place, quota.limits())).is_some() {
                return Err(wrong(format!("{identity} has a quota already: each name may stand in one")));
            }
        }
        if limits.len() > MAX_QUOTAS {
            return Err(wrong(format!("more than {MAX_QUOTAS} names have quotas")));
        }
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, PolicyFile};
    use crate::reloaded::Files;

    fn policy(text: &str) -> Result<Policy, String> {
        PolicyFile("p.toml".into()).make(&text.as_bytes().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_quota_that_names_a_caller_is_its_own() {
        let policy = policy(
            r#"
            [[quota]]
            who = ["uid:1000", "dns:A.example.org"]
            max_locks = 2
            max_rate = 2.5

            [[quota]]
            who = ["gid:7"]
            max_waiters = 0
            max_observers = 5
            max_rate = 3
            burst = 9
            "#,
        )
        .unwrap();
        let rate = |per_second, burst| Some(Rate { per_second, burst: NonZeroU32::new(burst).unwrap() });
        let of = |caller: &[Identity]| policy.quota(caller).map(|(identity, limits)| (identity.to_string(), limits));
        let none = CallerLimits { max_locks: None, max_waiters: None, max_observers: None, max_rate: None };
        let first = CallerLimits { max_locks: NonZeroUsize::new(2), max_rate: rate(2.5, 3), ..none };
        let second = CallerLimits { max_waiters: Some(0), max_observers: Some(5), max_rate: rate(3.0, 9), ..none };
        assert_eq!(of(&[Identity::Gid(7), Identity::Uid(1000)]), Some(("uid:1000".into(), first)));
        assert_eq!(of(&[Identity::Gid(7), Identity::Uid(1)]), Some(("gid:7".into(), second)));
        assert_eq!(of(&[Identity::Dns("a.example.org".into())]), Some(("dns:a.example.org".into(), first)));
        assert_eq!(of(&[Identity::Uid(7)]), None);
        assert_eq!(policy.quotas().count(), 3);
    }

    #[test]
    fn what_is_wrong_with_a_quota_is_told_with_its_line() {
        let quota = |rest: &str| format!("# first\n[[quota]]\nwho = [\"uid:0\"]\n{rest}\n");
        assert!(policy(&quota("max_locks = 1")).is_ok());
        for (text, line, says) in [
            (quota("max_locks = 0"), 4, "nonzero"),
            (quota("max_locks = -1"), 4, "nonzero"),
            (quota("max_locks = \"1\""), 4, "nonzero"),
            (quota("max_waiters = 1.5"), 4, "usize"),
            (quota("max_observers = -1"), 4, "usize"),
            (quota("max_locks = 1\nburst = 0"), 5, "nonzero"),
            (quota("max_rate = 0"), 2, "requests a second"),
            (quota("max_rate = nan"), 2, "requests a second"),
            (quota("max_rate = inf"), 2, "requests a second"),
            (quota("max_locks = 1\nburst = 3"), 2, "max_rate"),
            (quota("rate = 1"), 4, "rate"),
            (quota(""), 2, "needs"),
            (quota("max_locks = 1") + &quota("max_locks = 2"), 6, "uid:0"),
            ("[[quota]]\nmax_locks = 1\n".into(), 1, "who"),
            ("[[quota]]\nwho = []\nmax_locks = 1\n".into(), 1, "nobody"),
            ("[[quota]]\nwho = [\"root\"]\nmax_locks = 1\n".into(), 2, "uid:"),
        ] {
            let error = policy(&text).expect_err(&text);
            assert!(error.starts_with(&format!("p.toml:{line}: ")), "{error} for\n{text}");
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }
}

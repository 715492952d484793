//! Leaves out one rule of the protocol on purpose, so that the fault suite can show that it would notice.
//!
//! Compiled in only with `RUSTFLAGS='--cfg lockbroker_mutations'`. In all other builds [`breaks`] is the constant
//! `false`. No dependent can turn the cfg on, as it could a cargo feature, and a build without debug assertions, such
//! as a release, refuses it. The environment variable `LOCKBROKER_MUTATION` names the rule.

#[cfg(all(lockbroker_mutations, not(debug_assertions)))]
compile_error!("lockbroker_mutations builds a broker that breaks its promises: for tests, never for a release");

/// A rule that a broker can be made to leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(lockbroker_mutations, derive(clap::ValueEnum))]
pub(crate) enum Rule {
    /// Renewals and releases name the id that they act for (R1).
    IdsCompared,
    /// A reattach gives the grant a new id (R10).
    NewIdOnReattach,
    /// A shard that has lost its memory grants nothing for `--max-ttl` (R15).
    Quarantine,
    /// A lease counts from before the command was sent, and what is answered late counts for nothing (R3). That the
    /// server's clock seems to lag gives a late answer away too, and is left out with it.
    AnswerInTime,
    /// After silence nothing is released before the validity that the client was told is over (R7).
    Silence,
    /// A reset of a TCP connection is not the client's word (R7a).
    ResetIsSilence,
    /// Answers that a memcached gives by a clock that lags do not count (R18).
    ClockLag,
}

/// Returns true if this process leaves the rule out.
#[cfg(not(lockbroker_mutations))]
pub(crate) const fn breaks(_rule: Rule) -> bool {
    false
}

/// Returns true if this process leaves the rule out.
#[cfg(lockbroker_mutations)]
pub(crate) fn breaks(rule: Rule) -> bool {
    use std::sync::LazyLock;
    static BROKEN: LazyLock<Option<Rule>> = LazyLock::new(|| {
        let name = std::env::var("LOCKBROKER_MUTATION").ok()?;
        let rule = clap::ValueEnum::from_str(&name, false).unwrap_or_else(|_| panic!("no such rule: {name}"));
        tracing::error!(?rule, "this broker breaks a rule on purpose");
        Some(rule)
    });
    *BROKEN == Some(rule)
}

/// Returns the moment from which a lease counts, for a command sent at `sent` and answered now.
pub(crate) fn counted_from(sent: crate::clock::Moment) -> crate::clock::Moment {
    if breaks(Rule::AnswerInTime) { crate::clock::Moment::now() } else { sent }
}

#[cfg(test)]
mod tests {
    /// A cargo feature is on for all as soon as one dependent asks for it.
    #[test]
    fn no_feature_leaves_a_rule_out() {
        let manifest = include_str!("../Cargo.toml");
        let features: toml::Table = manifest.parse().unwrap();
        let features = format!("{:?}", features["features"]);
        assert!(!features.contains("mutation") && !features.contains("sabotage"), "{features}");
        assert!(!include_str!("mutations.rs").contains(concat!("cfg(", "feature")));
    }
}

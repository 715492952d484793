//! Leaves out one rule of the protocol on purpose, so that the fault suite can show that it would notice.
//!
//! Compiled in only with `RUSTFLAGS='--cfg lockbroker_mutations'`. In all other builds [`breaks`] is the constant
//! `false`. No dependent can turn the cfg on, as it could a cargo feature, and a build without debug assertions, such
//! as a release, refuses it. The environment variable `LOCKBROKER_MUTATION` names the rule.

#[cfg(all(lockbroker_mutations, not(debug_assertions)))]
compile_error!("lockbroker_mutations builds a broker that breaks its promises: for tests, never for a release");

pub(crate) use lockbroker_core::rules::Rule;

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
        let rule = Rule::named(&name).unwrap_or_else(|| panic!("no such rule: {name}"));
        tracing::error!(?rule, "this broker breaks a rule on purpose");
        Some(rule)
    });
    *BROKEN == Some(rule)
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

//! Breaks one rule of the protocol on purpose, so that the fault suite can show that it would notice.
//!
//! Only with the cargo feature `sabotage`, which nothing but that test turns on; without it every question here is
//! answered "no" at compile time. The rule is named by the environment variable `LOCKBROKER_SABOTAGE`.

/// What a broker can be made to leave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "sabotage", derive(clap::ValueEnum))]
pub(crate) enum Rule {
    /// Renewals and releases name the id that they act for.
    IdsCompared,
    /// A reattach gives the grant a new id.
    NewIdOnReattach,
    /// A shard that has lost its memory grants nothing for `--max-ttl`.
    Quarantine,
    /// A lease counts from before the command was sent, and what is answered late counts for nothing. That the server's
    /// clock seems to lag gives a late answer away too, and is left out with it.
    AnswerInTime,
    /// After silence nothing is released before the validity that the client was told is over.
    Silence,
    /// What a memcached answers by a clock that lags counts for nothing.
    ClockLag,
}

/// Whether this process leaves the rule out.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn breaks(_rule: Rule) -> bool {
    false
}

/// Whether this process leaves the rule out.
#[cfg(feature = "sabotage")]
pub(crate) fn breaks(rule: Rule) -> bool {
    use std::sync::LazyLock;
    static BROKEN: LazyLock<Option<Rule>> = LazyLock::new(|| {
        let name = std::env::var("LOCKBROKER_SABOTAGE").ok()?;
        let rule = clap::ValueEnum::from_str(&name, false).unwrap_or_else(|_| panic!("no such rule: {name}"));
        tracing::error!(?rule, "this broker breaks a rule on purpose");
        Some(rule)
    });
    *BROKEN == Some(rule)
}

/// From when a lease counts whose command was sent then and has been answered now.
pub(crate) fn counted_from(sent: crate::clock::Moment) -> crate::clock::Moment {
    if breaks(Rule::AnswerInTime) { crate::clock::Moment::now() } else { sent }
}

//! The rules of the protocol that a test can leave out, to see that something notices.

/// A rule that a test can make a broker leave out (docs/safety.md). What ships leaves out none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
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
    /// A grant is sent only to a shard that is known to be open (R20a).
    GrantOnlyIfOpen,
}

impl Rule {
    /// Returns the rule that a test names so.
    pub fn named(name: &str) -> Option<Rule> {
        Some(match name {
            "ids-compared" => Rule::IdsCompared,
            "new-id-on-reattach" => Rule::NewIdOnReattach,
            "quarantine" => Rule::Quarantine,
            "answer-in-time" => Rule::AnswerInTime,
            "silence" => Rule::Silence,
            "reset-is-silence" => Rule::ResetIsSilence,
            "clock-lag" => Rule::ClockLag,
            "grant-only-if-open" => Rule::GrantOnlyIfOpen,
            _ => return None,
        })
    }
}

//! The rules of the protocol that a test can leave out, to see that something notices.

/// A rule that a test can make a broker leave out (docs/safety.md). What ships leaves out none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Every change of a lock's item names the id that it acts for (R1).
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
    /// A batch counts only if its witness shows the stamp that was known before (R13).
    Witness,
    /// A grant is sent only to a shard that is known to be open (R20a).
    GrantOnlyIfOpen,
    /// A grant that was sent before the latest heartbeat came is renewed before it is announced (R19).
    AnnouncedAfterHeartbeat,
    /// An ack that takes the place of an unread one goes to the end of the outbox (R19).
    AckAtEnd,
    /// A loss is told a notice before the validity is over (R6a).
    LostInTime,
    /// A lock whose renewals cover no heartbeat is lost with its client's validity (R19).
    CoverCounts,
    /// What may have been granted is deleted if nobody believes in it (R5).
    CleanUp,
    /// A hand-over that may have landed is deleted under its new id too (R5).
    HandOverCleanedUp,
    /// A grant that its client has not read is released at once, and without a linger (R8).
    UnreadGoesAtOnce,
    /// A reattached lock is protected for `--max-ttl` (R12).
    Protected,
    /// The new id of a reattach that was given up is never deleted (R12).
    NewIdStays,
    /// A release that begins a linger leaves the item its T.
    LingerKeepsLife,
    /// A lock that is closed in mid-reattach lingers, under whichever id.
    MovingReleaseLingers,
    /// A Session that was found silent takes no more requests.
    SilentTakesNothing,
    /// A renewal that is answered after its lock is lost does not bring it back (R6a).
    LostIsFinal,
    /// The item of a lock that lingers outlives the linger, so that it lingers too if its broker dies.
    ItemOutlivesLinger,
    /// A lock that was told lost is released when its validity is over, and not before (R6a).
    LostWaits,
    /// Each command that creates S has an epoch of its own, so that none comes late and brings one back (R14).
    FreshEpoch,
    /// Nothing counts of a server whose clock was not seen to tick (R18a).
    FirstTick,
    /// A revoked lock stays closed until its holder can no longer believe in it (R28).
    RevokedWaits,
    /// The item of a revoked lock outlives the validity of its holder, renewals since the look included (R28).
    RevokedLives,
    /// A renewal of a lease creates nothing at a broker where the lease is not known to be good (R29).
    LeaseNotRecreated,
    /// To a lock that is to be kept, the end of its stream is silence, however the stream ended (R30).
    KeptOnClose,
    /// A lock that is let go before the end of its `min_hold` stays closed until then (R31).
    MinHoldKept,
    /// The item of a lock outlives its `min_hold`, so that it is kept if everybody dies (R31).
    MinHoldInItem,
    /// What is left of a `min_hold` for its item counts from the last command that counted, so that no clock that lags cuts
    /// anything off (R31).
    MinHoldNeverCut,
    /// The item of a lock that becomes a shared one keeps others out until its permit stands (R35).
    LockOutlivesDowngrade,
    /// A permit that is taken under the lock's own item counts only if that is ours (R35).
    GateCompared,
    /// The item of a permit stands before the lock's is looked at (R32). A server that carries the commands out in another order leaves
    /// it out.
    PermitBeforeLook,
    /// The item of the lock stands before permits are looked for (R32). Left out as the one before.
    LockBeforeLook,
    /// A permit counts only while it is looked for (R33).
    PermitCovered,
    /// A permit that finds the lock taken does not count (R32).
    PermitHeedsLock,
    /// The item of a lock is no grant yet where there may be permits (R32).
    LockHeedsPermits,
    /// A request with a limit gets a permit below that.
    PermitBelowLimit,
    /// A value is shown only with the grant that the item shows in the same batch (R34).
    ValueOfItsGrant,
    /// Where one of several locks is lost, the others stay until their client can believe in them no more.
    LostTogetherWaits,
}

impl Rule {
    /// All of them, by the names that tests use.
    pub const ALL: &[(&str, Rule)] = &[
        ("ids-compared", Rule::IdsCompared),
        ("new-id-on-reattach", Rule::NewIdOnReattach),
        ("quarantine", Rule::Quarantine),
        ("answer-in-time", Rule::AnswerInTime),
        ("silence", Rule::Silence),
        ("reset-is-silence", Rule::ResetIsSilence),
        ("clock-lag", Rule::ClockLag),
        ("witness", Rule::Witness),
        ("grant-only-if-open", Rule::GrantOnlyIfOpen),
        ("announced-after-heartbeat", Rule::AnnouncedAfterHeartbeat),
        ("ack-at-end", Rule::AckAtEnd),
        ("lost-in-time", Rule::LostInTime),
        ("cover-counts", Rule::CoverCounts),
        ("clean-up", Rule::CleanUp),
        ("hand-over-cleaned-up", Rule::HandOverCleanedUp),
        ("unread-goes-at-once", Rule::UnreadGoesAtOnce),
        ("protected", Rule::Protected),
        ("new-id-stays", Rule::NewIdStays),
        ("linger-keeps-life", Rule::LingerKeepsLife),
        ("moving-release-lingers", Rule::MovingReleaseLingers),
        ("silent-takes-nothing", Rule::SilentTakesNothing),
        ("lost-is-final", Rule::LostIsFinal),
        ("item-outlives-linger", Rule::ItemOutlivesLinger),
        ("lost-waits", Rule::LostWaits),
        ("fresh-epoch", Rule::FreshEpoch),
        ("first-tick", Rule::FirstTick),
        ("revoked-waits", Rule::RevokedWaits),
        ("revoked-lives", Rule::RevokedLives),
        ("lease-not-recreated", Rule::LeaseNotRecreated),
        ("kept-on-close", Rule::KeptOnClose),
        ("min-hold-kept", Rule::MinHoldKept),
        ("min-hold-in-item", Rule::MinHoldInItem),
        ("min-hold-never-cut", Rule::MinHoldNeverCut),
        ("lock-outlives-downgrade", Rule::LockOutlivesDowngrade),
        ("gate-compared", Rule::GateCompared),
        ("permit-before-look", Rule::PermitBeforeLook),
        ("lock-before-look", Rule::LockBeforeLook),
        ("permit-covered", Rule::PermitCovered),
        ("permit-heeds-lock", Rule::PermitHeedsLock),
        ("lock-heeds-permits", Rule::LockHeedsPermits),
        ("permit-below-limit", Rule::PermitBelowLimit),
        ("value-of-its-grant", Rule::ValueOfItsGrant),
        ("lost-together-waits", Rule::LostTogetherWaits),
    ];

    /// Returns the rule that a test names so.
    pub fn named(name: &str) -> Option<Rule> {
        Rule::ALL.iter().find(|(named, _)| *named == name).map(|(_, rule)| *rule)
    }
}

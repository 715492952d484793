//! What a run is rich in. Half of all runs are a mixture of everything; the others lean to one side, so that what takes a
//! coincidence comes about. The search for a rule that is left out leans to the side on which that rule rests.

use std::time::Duration;

use lockbroker_core::rules::Rule;

use crate::choices::Choices;
use crate::options::{Fault, Options};
use crate::time::{MS, SEC};

/// So many answers has the draw. It stays the same where a theme is added, so that most seeds stay the same runs.
const DRAWS: u64 = 28;

/// What a run is rich in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    /// Nothing in particular.
    Mixed,
    /// Many wait for few names, which are let go soon.
    Hot,
    /// Many wait for few names; servers answer late, and refuse some for want of memory.
    Refusals,
    /// Many wait for few names, and answers of the servers are lost.
    LostAnswers,
    /// Locks are held for long on Sessions, and the servers are slow, or do not answer.
    Renewals,
    /// Servers stand still together with a broker.
    Standstill,
    /// Servers are flushed while locks are held and asked for.
    Flushes,
    /// Locks are moved, in vain too.
    Moves,
    /// Some of a Session's many locks are lost, and its client reads late.
    SlowReaders,
    /// Locks that are held for long are revoked, and wanted.
    Revocations,
    /// Leases are renewed at any broker, some of them too late, and servers lose their memory.
    Leases,
    /// Many try for locks that are soon free again, and answers of the servers are lost.
    LostGrants,
    /// Servers stand still together with a broker to which little is under way: its connections survive that.
    QuietStandstill,
    /// Locks linger.
    Lingers,
    /// Proxies close the streams of locks that are to be kept, and others want them.
    Proxies,
    /// Locks stay closed for a time after their grant.
    MinHolds,
    /// The same, and locks are let go while a server's clock stands still. They are wanted when it has caught up.
    LateMinHolds,
    /// Servers stand still, and brokers that have just begun meet them.
    Meetings,
    /// Connections are reset on one side, and others want the locks.
    Resets,
    /// Permits are asked for, and the same locks by one alone.
    Permits,
    /// The same, and servers lose their memory.
    LostPermits,
    /// Several locks are asked for together.
    Several,
    /// Several permits are asked for at once, and brokers stand still.
    Collectors,
    /// Those who hold a lock lead with a value, and others look at it.
    Elections,
    /// An operator changes the list of the servers. It is not drawn, but named.
    Changes = DRAWS as isize,
}

impl Theme {
    /// All that are drawn.
    pub const ALL: [Theme; 24] = [
        Theme::Mixed,
        Theme::Hot,
        Theme::Refusals,
        Theme::LostAnswers,
        Theme::Renewals,
        Theme::Standstill,
        Theme::Flushes,
        Theme::Moves,
        Theme::SlowReaders,
        Theme::Revocations,
        Theme::Leases,
        Theme::LostGrants,
        Theme::QuietStandstill,
        Theme::Lingers,
        Theme::Proxies,
        Theme::MinHolds,
        Theme::LateMinHolds,
        Theme::Meetings,
        Theme::Resets,
        Theme::Permits,
        Theme::LostPermits,
        Theme::Several,
        Theme::Collectors,
        Theme::Elections,
    ];
    /// Draws one: mixed as often as not.
    pub fn draw(choices: &mut Choices) -> Theme {
        let drawn = choices.spread_unless_told(DRAWS, DRAWS + 1);
        match drawn {
            DRAWS => Theme::Changes,
            _ => Theme::ALL.get(drawn as usize).copied().unwrap_or(Theme::Mixed),
        }
    }

    /// Returns the theme in which it is soonest noticed that a rule is left out.
    pub fn of(rule: Rule) -> Theme {
        match rule {
            Rule::CoverCounts | Rule::LostInTime => Theme::Renewals,
            Rule::ClockLag => Theme::QuietStandstill,
            Rule::AnswerInTime | Rule::SilentTakesNothing => Theme::Standstill,
            Rule::FirstTick => Theme::Meetings,
            Rule::ResetIsSilence => Theme::Resets,
            Rule::Witness | Rule::FreshEpoch => Theme::Flushes,
            Rule::HandOverCleanedUp => Theme::LostAnswers,
            Rule::CleanUp => Theme::LostGrants,
            Rule::NewIdStays => Theme::Moves,
            Rule::AckAtEnd => Theme::SlowReaders,
            Rule::RevokedWaits | Rule::RevokedLives => Theme::Revocations,
            Rule::LingerKeepsLife => Theme::Lingers,
            Rule::LeaseNotRecreated => Theme::Leases,
            Rule::KeptOnClose => Theme::Proxies,
            Rule::MinHoldKept | Rule::MinHoldInItem => Theme::MinHolds,
            Rule::MinHoldNeverCut => Theme::LateMinHolds,
            Rule::LockOutlivesDowngrade | Rule::PermitBeforeLook | Rule::LockBeforeLook => Theme::Permits,
            Rule::GateCompared => Theme::Collectors,
            Rule::PermitCovered => Theme::LostPermits,
            Rule::PermitHeedsLock | Rule::LockHeedsPermits | Rule::PermitBelowLimit => Theme::Permits,
            Rule::ValueOfItsGrant => Theme::Elections,
            Rule::LostTogetherWaits => Theme::Several,
            _ => Theme::Mixed,
        }
    }

    /// Gives a run what this theme has more of.
    pub fn shape(self, options: &mut Options, choices: &mut Choices) {
        let keep = |options: &mut Options, faults: &[Fault]| options.faults = faults.to_vec();
        match self {
            Theme::Mixed => {}
            Theme::Hot => heat(options, choices),
            Theme::Refusals => {
                heat(options, choices);
                keep(options, &[]);
                choices.pick_odd(150);
                (options.scarce, options.dawdle, options.stall) = (true, 30_000, 0);
                (options.names, options.clients, options.brokers) = (1, 8, 2);
                (options.waits, options.hold, options.alone) = (5, 50 * MS, 0);
                options.lingers = vec![Duration::ZERO];
            }
            Theme::LostAnswers => {
                heat(options, choices);
                keep(options, &[Fault::Uncertain, Fault::Broken]);
                (options.dawdle, options.stall, options.fault_every) = (0, 0, 5 * SEC);
                options.tick = 100 * MS;
            }
            Theme::Renewals => {
                keep(options, &[Fault::Uncertain, Fault::Slow, Fault::Full, Fault::Stop, Fault::Cut]);
                (options.dawdle, options.stall, options.alone) = (0, 0, 0);
                (options.tick, options.hold, options.fault_every) = (200 * MS, 40 * SEC, 4 * SEC);
            }
            Theme::Standstill => stand_still(options),
            Theme::QuietStandstill => {
                stand_still(options);
                (options.tick, options.shards) = (300 * MS, 1);
                (options.stall, options.dawdle, options.revokes_every) = (0, 0, None);
            }
            Theme::LostGrants => {
                keep(options, &[Fault::Uncertain, Fault::Broken]);
                (options.dawdle, options.stall, options.fault_every) = (0, 0, 6 * SEC);
                // Then all is well for longer than an item lives, so that one which is left to expire is noticed.
                options.spans = vec![SEC];
                (options.shards, options.names, options.clients, options.waits) = (1, 4, 6, 0);
                (options.tick, options.hold) = (50 * MS, 300 * MS);
            }
            Theme::Flushes => {
                heat(options, choices);
                keep(options, &[Fault::Loss]);
                (options.losses, options.names, options.hold) = (8, 3, 5 * SEC);
                options.settings.max_ttl = Duration::from_secs(6);
                options.fault_every = 5 * SEC;
            }
            Theme::Moves => {
                keep(options, &[Fault::Cut]);
                // A reattach is given up after 10 s, within the validity that the lock had before.
                options.settings.max_ttl = Duration::from_secs(15);
                options.ttls = vec![Duration::from_secs(15)];
                options.lingers = vec![Duration::from_secs(12)];
                (options.moves, options.rude, options.brokers) = (true, false, 2);
                (options.stall, options.dawdle) = ([0, 200][choices.spread(2) as usize], 0);
                (options.clients, options.names) = (8, 5);
                (options.leases, options.revokes_every) = (0, None);
                (options.tick, options.hold) = (300 * MS, 40 * SEC);
                (options.waits, options.spans, options.fault_every) = (0, vec![13 * SEC], 3 * SEC);
            }
            Theme::SlowReaders => {
                // A broker that does not reach one shard loses the locks of that one, while its other renewals go on.
                keep(options, &[Fault::Cut]);
                options.settings.max_ttl = Duration::from_secs(6);
                options.ttls = vec![Duration::from_secs(5)];
                (options.stall, options.dawdle, options.alone) = (0, 400_000, 0);
                (options.clients, options.names, options.brokers, options.shards) = (6, 12, 1, 2);
                (options.tick, options.hold, options.fault_every) = (300 * MS, 40 * SEC, 4 * SEC);
                options.spans = vec![4 * SEC];
            }
            Theme::Leases => {
                keep(options, &[Fault::Loss, Fault::ClientPause]);
                (options.leases, options.alone, options.losses) = (8, 8, 8);
                (options.stall, options.names, options.clients, options.brokers) = (0, 1, 4, 3);
                (options.rude, options.revokes_every) = (false, None);
                options.settings.max_ttl = Duration::from_secs(6);
                // Often too late for a lease of 3 s.
                (options.tick, options.hold, options.fault_every) = (2_500 * MS, 40 * SEC, 4 * SEC);
            }
            Theme::Lingers => {
                options.lingers = vec![Duration::from_secs(4)];
                (options.leases, options.revokes_every) = (0, None);
                options.tick = 200 * MS;
            }
            Theme::Proxies => {
                lose_connections(options);
                options.kept = 10;
            }
            Theme::Resets => {
                lose_connections(options);
                options.kept = 0;
            }
            Theme::Permits => {
                options.shares = 6;
                options.names = 1 + choices.spread(2) as usize;
                (options.clients, options.shipped) = (8, 0);
            }
            Theme::Collectors => {
                (options.shares, options.collects, options.names, options.shipped) = (5, 10, 1, 0);
                (options.clients, options.brokers, options.waits, options.hold) = (8, 2, 9, 2 * SEC);
                // A pause outlives the item that keeps others out.
                options.faults = vec![Fault::Pause];
                (options.spans, options.fault_every, options.stall) = (vec![9 * SEC], 4 * SEC, 2_000);
                (options.revokes_every, options.dawdle) = (None, 0);
                options.settings.max_ttl = Duration::from_secs(6);
            }
            Theme::Elections => {
                (options.leads, options.shipped, options.leases) = (9, 0, 1);
                options.names = 1 + choices.spread(2) as usize;
                options.faults.extend([Fault::Loss, Fault::Kill]);
                (options.losses, options.hold) = (4, [2 * SEC, 15 * SEC][choices.spread(2) as usize]);
            }
            Theme::LostPermits => {
                options.faults.push(Fault::Loss);
                (options.shares, options.names, options.clients) = (6, 1, 8);
                (options.losses, options.fault_every, options.hold) = (4, 5 * SEC, 15 * SEC);
                options.settings.max_ttl = Duration::from_secs(6);
            }
            Theme::Several => {
                (options.several, options.shipped, options.names, options.clients) = (7, 10, 4, 8);
                (options.waits, options.hold) = (7, [SEC, 8 * SEC][choices.spread(2) as usize]);
            }
            Theme::Meetings => {
                stand_still(options);
                options.faults.push(Fault::Kill);
                (options.fault_every, options.tick) = (3 * SEC, 300 * MS);
                (options.shards, options.stall, options.dawdle, options.revokes_every) = (1, 0, 0, None);
            }
            Theme::Changes => {
                options.spares = 2;
                options.shares = [0, 6][choices.spread(2) as usize];
                options.operator_dies = [0, 2_000, 20_000][choices.spread(3) as usize];
                options.length += 100 * SEC;
                options.fault_every *= 2;
            }
            Theme::MinHolds => {
                options.min_holds = [0, 4, 12, 25].map(Duration::from_secs).to_vec();
                options.faults.extend([Fault::Kill, Fault::ClientDeath]);
                (options.leases, options.alone) = (3, 5);
                options.tick = 200 * MS;
            }
            Theme::LateMinHolds => {
                options.min_holds = vec![Duration::from_secs(25)];
                keep(options, &[Fault::Stop]);
                (options.spans, options.fault_every) = (vec![4 * SEC, 15 * SEC], 8 * SEC);
                (options.leases, options.revokes_every, options.stall, options.dawdle) = (0, None, 0, 0);
                (options.shards, options.names, options.clients) = (1, 6, 6);
                (options.alone, options.tick, options.hold) = (5, 200 * MS, 8 * SEC);
            }
            Theme::Revocations => {
                keep(options, &[Fault::Slow, Fault::Kill]);
                options.revokes_every = Some(SEC / 2);
                options.leases = 3;
                options.lingers = vec![Duration::ZERO];
                (options.stall, options.names, options.clients, options.brokers) = (0, 3, 6, 3);
                (options.tick, options.hold, options.fault_every) = (100 * MS, 40 * SEC, 4 * SEC);
            }
        }
        // The shipped client waits for a moment before it asks again, and takes a notice off what it believes: elsewhere it is
        // too careful.
        if !matches!(self, Theme::Mixed | Theme::Hot | Theme::Refusals | Theme::Several | Theme::Changes) {
            options.shipped = 0;
        }
        options.ttls.retain(|ttl| *ttl <= options.settings.max_ttl);
    }
}

/// Lets servers stand still together with a broker.
fn stand_still(options: &mut Options) {
    // What clients have sent meanwhile comes first when the broker goes on, and it asks the server at once.
    options.faults = vec![Fault::Stop];
    (options.together, options.spans, options.fault_every) = (3, vec![15 * SEC], 6 * SEC);
    (options.clients, options.brokers, options.tick) = (8, 1, 30 * MS);
    options.hold = 5 * SEC;
}

/// Lets connections be reset on one side, while others want the locks.
fn lose_connections(options: &mut Options) {
    options.faults = vec![Fault::Reset, Fault::Pause];
    (options.leases, options.revokes_every) = (0, None);
    (options.names, options.clients, options.fault_every) = (3, 8, SEC);
    (options.tick, options.hold) = (100 * MS, 15 * SEC);
}

/// Lets many wait for few names, which are let go soon.
fn heat(options: &mut Options, choices: &mut Choices) {
    options.names = 1 + choices.spread(2) as usize;
    options.clients = 5 + choices.spread(4) as usize;
    options.hold = [50, 300, 1_000][choices.spread(3) as usize] * MS;
    options.tick = 30 * MS;
    options.waits = 6 + choices.spread(4);
    options.shards = 1;
}

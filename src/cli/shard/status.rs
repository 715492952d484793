//! `lockbroker shard status`: shows servers, what stands on them, and the brokers that use them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{reasons, with_parts};
use crate::cli::lists::{Row, plain, table};
use crate::output;
use crate::store::memcached::{
    self, Count, MemcachedSettings, ReportedState, SeenBroker, ShardReport, Standing, Uncounted,
};

/// Shows what the servers are.
pub(super) async fn run(settings: &MemcachedSettings, json: bool) -> anyhow::Result<ExitCode> {
    let reports = memcached::status(settings).await;
    let summary = Summary::of(&reports);
    let printed = output::print(&if json {
        let servers = reports.iter().map(as_json).chain([json!({ "summary": summary.as_json() })]);
        servers.map(|line| format!("{line}\n")).collect()
    } else {
        as_text(&reports, &summary)
    });
    let (failed, all) = (summary.servers - summary.open, summary.servers);
    anyhow::ensure!(failed == 0, "{failed} of {all} shards are not open");
    Ok(printed)
}

fn as_text(reports: &[ShardReport], summary: &Summary) -> String {
    let whys = reports.iter().flat_map(|report| report.why.iter().map(|why| (&report.shard, &**why)));
    let uncounted = reports.iter().filter_map(|report| Some((&report.shard, why_uncounted(report)?)));
    let parts = [reasons(whys.chain(uncounted)), table_of_brokers(reports), summary.as_text()];
    with_parts(table(reports, None), parts)
}

/// Returns the word for a state, in tables and in JSON.
pub(super) fn word(state: ReportedState) -> &'static str {
    match state {
        ReportedState::Unreachable => "unreachable",
        ReportedState::Refused => "refused",
        ReportedState::Unreadable => "unreadable",
        ReportedState::OtherVersion => "other-version",
        ReportedState::Foreign => "other-topology",
        ReportedState::New => "no-state",
        ReportedState::Closed => "closed",
        ReportedState::Moving => "moving",
        ReportedState::Open => "open",
    }
}

/// Returns why locks are not counted, if there is more to say than the state does.
pub(super) fn why_uncounted(report: &ShardReport) -> Option<&str> {
    match &report.standing {
        Err(Uncounted::Forbidden { why, .. } | Uncounted::Failed(why)) => Some(why),
        Ok(_) | Err(Uncounted::NotAsked) => None,
    }
}

/// Returns a cell for what is counted of a shard.
pub(super) fn counted(report: &ShardReport, count: impl Fn(&Standing) -> u64) -> String {
    match &report.standing {
        Ok(standing) => count(standing).to_string(),
        Err(Uncounted::NotAsked) => "-".to_owned(),
        Err(Uncounted::Forbidden { flag, .. }) => format!("unknown: {flag}"),
        Err(Uncounted::Failed(_)) => "unknown".to_owned(),
    }
}

/// Returns a cell for the brokers that have noted themselves on a shard.
pub(super) fn brokers_seen(report: &ShardReport) -> String {
    report.brokers.as_ref().map_or_else(|| "-".to_owned(), |brokers| brokers.len().to_string())
}

/// Returns a cell for a shard's generation.
pub(super) fn generation(report: &ShardReport) -> String {
    report.generation.map_or_else(|| "-".to_owned(), |generation| generation.to_string())
}

/// Says how many servers a sum leaves out.
pub(super) fn but_for(uncounted: usize, servers: usize) -> String {
    match uncounted {
        0 => String::new(),
        uncounted => format!(", without those of {uncounted} of {servers} servers"),
    }
}

impl Row for ShardReport {
    const COLUMNS: &'static [&'static str] =
        &["SERVER", "WEIGHT", "STATE", "GENERATION", "LOCKS HELD", "LINGERING", "PERMITS HELD", "LINGERING", "BROKERS"];

    fn cells(&self) -> Vec<String> {
        let counts: [fn(&Standing) -> u64; 4] = [
            |standing| standing.locks.held,
            |standing| standing.locks.lingering,
            |standing| standing.permits.held,
            |standing| standing.permits.lingering,
        ];
        let mut cells =
            vec![self.shard.to_string(), self.shard.weight.to_string(), word(self.state).to_owned(), generation(self)];
        cells.extend(counts.map(|count| counted(self, count)));
        cells.push(brokers_seen(self));
        cells
    }
}

fn as_json(report: &ShardReport) -> Value {
    let count = |of: fn(&Standing) -> Count| {
        report.standing.as_ref().ok().map(|standing| {
            let Count { held, lingering } = of(standing);
            json!({ "held": held, "lingering": lingering })
        })
    };
    let broker = |broker: &SeenBroker| {
        let (version, place) = broker.version_and_place().unzip();
        json!({
            "address": place.unwrap_or_else(|| broker.note()),
            "version": version,
            "seen_seconds_ago": broker.seconds_ago,
        })
    };
    json!({
        "server": report.shard.to_string(),
        "weight": report.shard.weight,
        "reachable": report.state != ReportedState::Unreachable,
        "state": word(report.state),
        "why": report.why,
        "generation": report.generation.map(|generation| generation.get()),
        "locks": count(|standing| standing.locks),
        "permits": count(|standing| standing.permits),
        "locks_unknown": why_uncounted(report),
        "brokers": report.brokers.as_ref().map(|brokers| brokers.iter().map(broker).collect::<Vec<_>>()),
    })
}

/// A broker, on all servers together.
struct BrokerRow<'a> {
    note: &'a SeenBroker,
    seconds_ago: u32,
    /// The number of servers on which it has noted itself, of so many that were asked.
    servers: (usize, usize),
}

impl Row for BrokerRow<'_> {
    const COLUMNS: &'static [&'static str] = &["BROKER", "VERSION", "SEEN", "ON SERVERS"];

    fn cells(&self) -> Vec<String> {
        let (version, place) = self.note.version_and_place().unzip();
        vec![
            plain(place.unwrap_or_else(|| self.note.note())),
            plain(version.unwrap_or_default()),
            format!("{} s ago", self.seconds_ago),
            format!("{} of {}", self.servers.0, self.servers.1),
        ]
    }
}

/// Returns the brokers that have noted themselves, each once: on each server it has a note of its own.
fn brokers<'a>(reports: impl Iterator<Item = &'a ShardReport>) -> Vec<BrokerRow<'a>> {
    let mut found: BTreeMap<&str, (usize, BrokerRow<'_>)> = BTreeMap::new();
    let mut asked = 0;
    for noted in reports.filter_map(|report| report.brokers.as_ref()) {
        asked += 1;
        for note in noted {
            let first = || (0, BrokerRow { note, seconds_ago: note.seconds_ago, servers: (0, 0) });
            let (last, row) = found.entry(note.note()).or_insert_with(first);
            row.seconds_ago = row.seconds_ago.min(note.seconds_ago);
            // One that has been restarted may have two notes on a server.
            row.servers.0 += usize::from(*last != asked);
            *last = asked;
        }
    }
    found.into_values().map(|(_, row)| BrokerRow { servers: (row.servers.0, asked), ..row }).collect()
}

/// Returns a table of the brokers that have noted themselves; nothing if there are none.
pub(super) fn table_of_brokers(reports: &[ShardReport]) -> String {
    match brokers(reports.iter()) {
        brokers if brokers.is_empty() => String::new(),
        brokers => table(&brokers, None),
    }
}

/// All servers together.
struct Summary {
    servers: usize,
    open: usize,
    locks: Count,
    permits: Count,
    /// The number of servers whose locks are not counted.
    uncounted: usize,
    brokers: usize,
}

impl Summary {
    fn of(reports: &[ShardReport]) -> Summary {
        let counted = || reports.iter().filter_map(|report| report.standing.as_ref().ok());
        let sum = |of: fn(&Standing) -> Count| Count {
            held: counted().map(|standing| of(standing).held).sum(),
            lingering: counted().map(|standing| of(standing).lingering).sum(),
        };
        Summary {
            servers: reports.len(),
            open: reports.iter().filter(|report| report.state == ReportedState::Open).count(),
            locks: sum(|standing| standing.locks),
            permits: sum(|standing| standing.permits),
            uncounted: reports.iter().filter(|report| report.standing.is_err()).count(),
            brokers: brokers(reports.iter()).len(),
        }
    }

    fn as_text(&self) -> String {
        let Summary { servers, open, locks, permits, uncounted, brokers } = self;
        let but = but_for(*uncounted, *servers);
        format!(
            "{open} of {servers} servers open; locks: {} held, {} lingering; permits: {} held, {} lingering{but}; brokers \
             seen: {brokers}\n",
            locks.held, locks.lingering, permits.held, permits.lingering,
        )
    }

    fn as_json(&self) -> Value {
        let count = |count: Count| json!({ "held": count.held, "lingering": count.lingering });
        json!({
            "servers": self.servers,
            "open": self.open,
            "locks": count(self.locks),
            "permits": count(self.permits),
            "servers_not_counted": self.uncounted,
            "brokers": self.brokers,
        })
    }
}

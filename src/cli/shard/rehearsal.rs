//! `lockbroker shard adopt --dry-run`: shows what adopting would do, and does none of it.

use std::process::ExitCode;

use super::status::{brokers_seen, but_for, counted, generation, table_of_brokers, why_uncounted, word};
use super::{reasons, with_parts};
use crate::cli::lists::{Row, table};
use crate::output;
use crate::store::memcached::{self, Becomes, MemcachedSettings, ShardReport, Standing};

/// A server, and what it would become.
struct Rehearsed<'a> {
    report: &'a ShardReport,
    becomes: String,
}

/// Shows what each server is and would become.
pub(super) async fn run(settings: &MemcachedSettings, force: bool) -> anyhow::Result<ExitCode> {
    let (reports, nexts): (Vec<_>, Vec<_>) = memcached::rehearse(settings, force).await.into_iter().unzip();
    let (mut rows, mut refusals) = (Vec::new(), Vec::new());
    for (report, next) in reports.iter().zip(nexts) {
        let becomes = match next {
            Ok(Becomes::Open(generation)) => format!("open, generation {generation}"),
            Ok(Becomes::Closed) => "closed for good".to_owned(),
            Err(why) => {
                refusals.push((&report.shard, why));
                "not touched".to_owned()
            }
        };
        rows.push(Rehearsed { report, becomes });
    }
    let refused = refusals.iter().map(|(shard, why)| (*shard, &**why));
    let uncounted = reports.iter().filter_map(|report| Some((&report.shard, why_uncounted(report)?)));
    let parts = [reasons(refused.chain(uncounted)), table_of_brokers(&reports), summary(&reports)];
    let printed = output::print(&with_parts(table(&rows, None), parts));
    anyhow::ensure!(refusals.is_empty(), "{} of {} shards would not be adopted", refusals.len(), reports.len());
    Ok(printed)
}

impl Row for Rehearsed<'_> {
    const COLUMNS: &'static [&'static str] =
        &["SERVER", "WEIGHT", "NOW", "GENERATION", "BECOMES", "LOCKS", "BELONG ELSEWHERE", "BROKERS"];

    fn cells(&self) -> Vec<String> {
        let Rehearsed { report, becomes } = self;
        vec![
            report.shard.to_string(),
            report.shard.weight.to_string(),
            word(report.state).to_owned(),
            generation(report),
            becomes.clone(),
            counted(report, all),
            counted(report, |standing| standing.elsewhere),
            brokers_seen(report),
        ]
    }
}

/// Returns the number of all locks and permits.
fn all(standing: &Standing) -> u64 {
    standing.locks.all() + standing.permits.all()
}

/// Says how many locks stand, and how many of them on another server than the one that would guard them.
fn summary(reports: &[ShardReport]) -> String {
    let counted = || reports.iter().filter_map(|report| report.standing.as_ref().ok());
    let (stand, elsewhere) =
        (counted().map(all).sum::<u64>(), counted().map(|standing| standing.elsewhere).sum::<u64>());
    let but = but_for(reports.len() - counted().count(), reports.len());
    format!(
        "nothing was changed; locks and permits that stand: {stand}, of which {elsewhere} would belong on another server{but}\n"
    )
}

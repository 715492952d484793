//! `lockbroker shard adopt`: changes the servers while brokers run, and shows each step.

use std::process::ExitCode;

use crate::cli::lists::plain;
use crate::output;
use crate::store::ShardAddress;
use crate::store::memcached::{self, MemcachedSettings, Progress};

/// Changes the servers to those of the settings.
pub(super) async fn run(
    settings: &MemcachedSettings,
    from: Option<&ShardAddress>,
    dead: &[ShardAddress],
) -> anyhow::Result<ExitCode> {
    let changed = memcached::change(settings, from, dead, |progress| {
        // Who watches may have gone; the change goes on.
        output::print(&format!("{}\n", plain(&line(&progress))));
    });
    Ok(output::print(&match changed.await.map_err(|why| anyhow::anyhow!(plain(&why)))? {
        Some(generation) => {
            format!("done: generation {generation} is in force; start brokers with this list from now on\n")
        }
        None => "these servers, weights and --max-ttl are in force already\n".to_owned(),
    }))
}

/// Says how far the change has come.
fn line(progress: &Progress) -> String {
    match progress {
        Progress::Prepared(done, all) => format!("prepared {done} of {all} servers"),
        Progress::Ready(done, all) => format!("{done} of {all} brokers can follow"),
        Progress::Flipped(..) => "the servers change now".to_owned(),
        Progress::Copied(all, lingering) => format!("copied {all} locks ({lingering} lingering)"),
        Progress::Opens(left) => format!("locks are granted again in {} s", left.as_secs()),
    }
}

//! Lines of the log about shards.

use lockbroker_core::shard::{ChangeNews, FOREIGN, News, Topology};

use super::server::ServerFacts;
use super::words;
use crate::store::ShardAddress;

/// The difference between memcached's wall clock and ours, in seconds, from which on operators should know of it.
const CLOCKS_APART: u64 = 30;

/// Logs what has happened to a shard.
pub(super) fn log(shard: &ShardAddress, news: &News) {
    match news {
        // The facts of a server that is met are logged by themselves.
        News::Met(_) => {}
        News::Connected(address) => tracing::info!(%shard, %address, "connected to memcached"),
        News::Trouble(trouble) => tracing::warn!(%shard, "{trouble}"),
        News::CannotKeepLocks(why) => tracing::error!(%shard, "memcached cannot keep locks, and is not used: {why}"),
        News::Lost => tracing::warn!(%shard, "memcached has no lock state: it is new, restarted or flushed"),
        News::Foreign { .. } => tracing::error!(%shard, "memcached is not used: {FOREIGN}"),
        News::NotUsed(why) => tracing::error!(%shard, "memcached is not used: {why}"),
        News::StateRefused(why) => tracing::error!(%shard, "memcached does not take the shard's state: {why}"),
        News::Closed(left) => tracing::warn!(
            %shard,
            "memcached has lost its memory, or is new; it grants nothing for {:.0} s, until every lock that went \
             with it has run out (`lockbroker shard open` opens it at once, where you know that there were none)",
            left.as_secs_f64().ceil()
        ),
        News::Moving => {
            tracing::warn!(%shard, "memcached grants nothing until the change of the servers is through: `lockbroker shard adopt` \
                                    completes it");
        }
        News::Alone => tracing::warn!(
            %shard,
            "memcached has lost its memory, or is new; it grants nothing until another server of the list is reached, since the list may \
             have changed meanwhile (`lockbroker shard open` opens it, where you know that it has not)"
        ),
        News::WrongDate => tracing::error!(
            %shard,
            "memcached stays closed: this machine's clock is outside the years 2024 to 2037; set it"
        ),
        News::GrantsLocks => tracing::info!(%shard, "memcached grants locks"),
    }
}

/// Logs a step of a change of the servers.
pub(super) fn log_change(news: &ChangeNews) {
    match news {
        ChangeNews::Announced { generation, topology } => {
            tracing::info!(%generation, "the servers are to change to `{topology}`");
        }
        ChangeNews::InForce { generation, topology } => tracing::warn!(
            %generation,
            "the servers have changed; start brokers with `{topology}` from now on: these flags are the old ones"
        ),
    }
}

/// Logs with which flags others have a shard that belongs to them.
pub(super) fn log_foreign(shard: &ShardAddress, theirs: &Topology) {
    tracing::error!(%shard, "memcached is not used: {}", words::foreign(Some(theirs)));
}

/// Logs what is worth knowing of a server that is met for the first time.
pub(super) fn log_facts(shard: &ShardAddress, facts: &ServerFacts) {
    for danger in facts.dangers() {
        tracing::warn!(%shard, "memcached may lose locks: {danger}");
    }
    if let Some(nuisance) = facts.nuisances() {
        tracing::warn!(%shard, "memcached is used, but {nuisance}");
    }
    if let Some(seconds) = facts.clock_difference().filter(|seconds| *seconds >= CLOCKS_APART) {
        tracing::warn!(
            %shard,
            "memcached's wall clock and ours are {seconds} s apart: set them right, since fencing tokens rise \
             over a loss of memory only while brokers' clocks differ by less than --max-ttl"
        );
    }
}

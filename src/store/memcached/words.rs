//! The topology in words, which brokers leave on their shards: who comes with another one is told what it should have been. For
//! people: nothing depends on it, and each use has a connection of its own.

use lockbroker_core::command::{Command, Reply};
use lockbroker_core::shard::{FOREIGN, Topology, protocol};

use super::ShardAddress;
use super::server::dial;
use super::wire::Wire;

/// Says that a shard belongs to others, and with which flags they have it, if that is known.
pub(super) fn foreign(theirs: Option<&Topology>) -> String {
    let theirs = theirs.map_or(String::new(), |theirs| format!(". Theirs is `{theirs}`"));
    format!("{FOREIGN}{theirs}")
}

/// Leaves a topology on a server, unless it is there. A failure costs no more than the words.
pub(super) async fn leave(server: &ShardAddress, wire: &Wire, topology: &Topology) {
    if let Err(why) = ask(server, wire, protocol::note_topology(topology)).await {
        tracing::debug!(shard = %server, "the topology was not left in words: {why}");
    }
}

/// Reads the topology with this fingerprint. Returns none if nobody has left it there in words, or the server cannot be reached.
pub(super) async fn of_owner(server: &ShardAddress, wire: &Wire, fingerprint: u64) -> Option<Topology> {
    let said = ask(server, wire, protocol::look_for_topology(fingerprint)).await.ok()?;
    protocol::read_topology(&said, fingerprint)
}

async fn ask(server: &ShardAddress, wire: &Wire, command: Command) -> Result<Reply, String> {
    let (mut connection, ..) = dial(server, None).await.map_err(|unreached| unreached.why.to_string())?;
    let said = connection.exchange(wire, &[command]).await.map_err(|error| error.to_string())?;
    said.into_iter().next().ok_or_else(|| "no answer".to_owned())
}

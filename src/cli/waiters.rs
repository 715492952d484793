//! `lockbroker waiters`: shows who waits for a lock.

use std::process::ExitCode;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::common::ServerArgs;
use super::lists::{Entry, Failed, Key, List, Row, ShowArgs, as_seconds, ask, plain, seconds};
use crate::client::Connector;
use crate::lock::MAX_PERMITS;
use crate::proto::lock_spec::Mode;
use crate::proto::{ListWaitersRequest, ListWaitersResponse, WaiterInfo};

/// Show who waits for a lock, at each broker
///
/// Every broker has waiters of its own. So all brokers that --server names are asked, and where it names a host with several
/// addresses, such as a headless Service of Kubernetes, those at all of them.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all have answered, whatever the answer; 69 a broker is missing, or cannot do it: the \
    others' waiters are shown; 77 refused, by the policy or for a certificate; 74 the answer cannot be written; 76 what \
    answers is no broker, or no TLS where https:// is said, or the other way round; 2 wrong usage."
)]
pub struct WaitersArgs {
    /// The lock's name
    #[arg(required_unless_present = "prefix")]
    name: Option<String>,
    /// List those who wait for all locks whose names begin so; the empty prefix stands for all locks
    #[arg(long, value_name = "PREFIX", conflicts_with = "name")]
    prefix: Option<String>,
    #[command(flatten)]
    show: ShowArgs,
    #[command(flatten)]
    server: ServerArgs,
}

/// One that waits, and the broker at which it does.
struct Waiting {
    broker: String,
    waiter: WaiterInfo,
}

/// Runs the command.
pub async fn run(args: WaitersArgs) -> ExitCode {
    args.show.show(async || waiters(&args).await).await
}

/// Asks all brokers.
async fn waiters(args: &WaitersArgs) -> Result<List<Waiting>, Failed> {
    let mut connectors = Vec::new();
    let mut list = List::new();
    for connector in args.server.client().connectors().map_err(Failed::Client)? {
        match connector.each().await {
            Ok(each) => connectors.extend(each),
            Err(error) => list.failed.push(Failed::Unresolved(connector.name().to_owned(), error)),
        }
    }
    let mut has_answer = false;
    for answer in join_all(connectors.iter().map(|connector| waiters_at(args, connector))).await {
        match answer {
            Ok((waiters, total)) => {
                has_answer = true;
                list.entries.extend(waiters);
                list.total += total;
            }
            Err(failed) => list.failed.push(failed),
        }
    }
    let place = |one: &Waiting| (one.waiter.name.clone(), one.broker.clone(), one.waiter.position);
    list.entries.sort_by_cached_key(place);
    if has_answer { Ok(list) } else { Err(list.failed.swap_remove(0)) }
}

async fn waiters_at(args: &WaitersArgs, connector: &Connector) -> Result<(Vec<Waiting>, usize), Failed> {
    let (mut waiters, mut total) = (Vec::new(), 0);
    let request = ListWaitersRequest {
        name: args.name.clone().unwrap_or_default(),
        prefix: args.prefix.clone().unwrap_or_default(),
        limit: args.show.limit(),
    };
    let take = |part: ListWaitersResponse| {
        let at = |waiter| Waiting { broker: connector.name().to_owned(), waiter };
        waiters.extend(part.waiters.into_iter().map(at));
        total += usize::try_from(part.total).unwrap_or_default();
    };
    ask(connector, async |mut stub| stub.list_waiters(request).await, take).await?;
    Ok((waiters, total))
}

fn mode(waiter: &WaiterInfo) -> Option<&'static str> {
    match waiter.mode() {
        Mode::Exclusive => Some("exclusive"),
        Mode::Shared => Some("shared"),
        // A broker of an earlier version does not say.
        Mode::Unspecified => None,
    }
}

/// Says how somebody wants the lock, and if it lets others in before.
fn wants(waiter: &WaiterInfo) -> String {
    let &WaiterInfo { limit, weight, keeps_others_out, .. } = waiter;
    let mut wants = match waiter.mode() {
        Mode::Exclusive => "alone".to_owned(),
        Mode::Shared => "shared".to_owned(),
        Mode::Unspecified => "-".to_owned(),
    };
    if (1..MAX_PERMITS.into()).contains(&limit) {
        wants += &format!(", limit {limit}");
    }
    if weight > 1 {
        wants += &format!(", {weight} permits");
    }
    if keeps_others_out {
        wants += ", keeps others out";
    }
    wants
}

impl Row for Waiting {
    const COLUMNS: &'static [&'static str] = &["NAME", "PLACE", "WANTS", "OWNER", "WAITED", "BROKER"];

    fn cells(&self) -> Vec<String> {
        let WaiterInfo { name, position, owner, waited_for, .. } = &self.waiter;
        let (place, wants) = (position.to_string(), wants(&self.waiter));
        vec![plain(name), place, wants, plain(owner), seconds(*waited_for), plain(&self.broker)]
    }
}

impl Entry for Waiting {
    fn key(&self) -> Key {
        [self.waiter.name.clone(), self.broker.clone(), self.waiter.owner.clone()]
    }

    fn json(&self) -> Value {
        json!({
            "name": self.waiter.name,
            "position": self.waiter.position,
            "mode": mode(&self.waiter),
            "limit": (self.waiter.limit > 0).then_some(self.waiter.limit),
            "weight": (self.waiter.weight > 0).then_some(self.waiter.weight),
            "keeps_others_out": self.waiter.keeps_others_out,
            "owner": self.waiter.owner,
            "waited_for_seconds": as_seconds(self.waiter.waited_for),
            "broker": self.broker,
        })
    }
}

//! How the shards are, for people who look at the broker.

use std::sync::Arc;

use lockbroker_core::shard::{FOREIGN, News, ShardState, ShardStatus};
use tokio::sync::watch;

use crate::clock::Moment;
use crate::store::{ShardAddress, ShardView};

const WRONG_DATE: &str = "this machine's clock is outside the years 2024 to 2037; set it";
const ALONE: &str = "it has lost its memory, or is new, and waits for another server of the list to be reached";
const MOVING: &str = "the servers change; `lockbroker shard adopt` completes it";

/// Returns a shard of which nothing is known yet.
fn view(shard: &ShardAddress) -> ShardView {
    ShardView { address: shard.to_string().into(), state: ShardState::Connecting, opens_at: None, why: None }
}

/// The shards' states and what is known of the reasons, in the order of `--store`.
#[derive(Debug)]
pub(super) struct Board(watch::Sender<Vec<ShardView>>);

impl Board {
    /// Makes the board of shards of which nothing is known yet.
    pub(super) fn new(shards: &[ShardAddress]) -> Board {
        Board(watch::Sender::new(shards.iter().map(view).collect()))
    }

    /// Takes up a server that has come, with this index.
    pub(super) fn meet(&self, shard: usize, address: &ShardAddress) {
        self.0.send_modify(|views| match views.get_mut(shard) {
            Some(before) => *before = view(address),
            None => views.push(view(address)),
        });
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Vec<ShardView>> {
        self.0.subscribe()
    }

    /// Takes note of what has happened to a shard.
    pub(super) fn hear(&self, shard: usize, news: &News) {
        let why: Option<Arc<str>> = match news {
            News::Foreign { .. } => Some(FOREIGN.into()),
            News::Met(_) | News::Lost => return,
            News::Trouble(why) | News::CannotKeepLocks(why) | News::NotUsed(why) | News::StateRefused(why) => {
                Some(Arc::clone(why))
            }
            News::WrongDate => Some(WRONG_DATE.into()),
            News::Moving => Some(MOVING.into()),
            News::Alone => Some(ALONE.into()),
            News::Connected(_) | News::Closed(_) | News::GrantsLocks => None,
        };
        self.0.send_if_modified(|views| {
            let changed = views[shard].why != why;
            views[shard].why = why;
            changed
        });
    }

    /// Shows how a shard is at the time `now`. Writes only what has changed.
    pub(super) fn show(&self, shard: usize, status: &ShardStatus, now: Moment) {
        // The same from one look to the next, while it comes nearer.
        let opens_at = (status.state == ShardState::Closed).then(|| now + status.quarantine);
        let has_changed = |view: &ShardView| (view.state, view.opens_at) != (status.state, opens_at);
        if has_changed(&self.0.borrow()[shard]) {
            self.0.send_modify(|views| {
                views[shard].state = status.state;
                views[shard].opens_at = opens_at;
            });
        }
    }
}

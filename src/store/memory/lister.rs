//! Lists the locks of an embedded store, part by part: the task that drives the store answers, and does other things in
//! between.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::PARTS;
use crate::lock::LockItem;
use crate::store::StoreError;
use crate::store::first::{First, Named};
use crate::store::listing::{CHUNK, Chunk, ChunkSender, ListError, Listed, Lister, Listing};

/// The most questions that wait for the store. Whoever asks more waits.
const WAITING: usize = 8;

/// Asks for the locks of a part.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) part: usize,
    pub(super) prefix: Arc<str>,
    /// Where the answer goes. Whoever asked may have left.
    pub(super) answer: oneshot::Sender<Vec<Listed>>,
}

impl Named for Listed {
    fn item(&self) -> &LockItem {
        &self.item
    }

    fn stands_beside_permits(&mut self) {
        self.beside_permits = true;
    }
}

/// Lists the locks of an embedded store.
#[derive(Debug, Clone)]
pub(super) struct MemoryLister(mpsc::Sender<Question>);

impl MemoryLister {
    /// Makes one, and the end at which its questions come.
    pub(super) fn new() -> (MemoryLister, mpsc::Receiver<Question>) {
        let (ask, questions) = mpsc::channel(WAITING);
        (MemoryLister(ask), questions)
    }

    async fn list_to(self, Listing { prefix, limit }: Listing, to: &ChunkSender) -> Result<(), ListError> {
        let ended = || StoreError::unavailable("the broker is ending", None);
        let mut first = First::new(limit);
        for part in 0..PARTS {
            let (answer, answered) = oneshot::channel();
            let question = Question { part, prefix: Arc::clone(&prefix), answer };
            self.0.send(question).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?.into_iter().for_each(|found| first.add(found));
            // Whoever asked has gone.
            if to.is_closed() {
                return Ok(());
            }
        }
        let (found, total) = first.into_sorted();
        let mut rest = found.into_iter();
        loop {
            let locks: Vec<_> = rest.by_ref().take(CHUNK).collect();
            let is_last = rest.len() == 0;
            let chunk = Chunk { locks, total: if is_last { total } else { 0 } };
            if to.send(Ok(chunk)).await.is_err() || is_last {
                return Ok(());
            }
        }
    }
}

impl Lister for MemoryLister {
    fn list(&self, listing: Listing, to: ChunkSender) -> BoxFuture<'static, ()> {
        let lister = self.clone();
        async move {
            if let Err(error) = lister.list_to(listing, &to).await {
                drop(to.send(Err(error)).await);
            }
        }
        .boxed()
    }
}

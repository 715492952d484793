//! Lists the locks of an embedded store, part by part: the task that drives the store answers, and does other things in
//! between.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::PARTS;
use crate::store::StoreError;
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
        let (mut locks, mut left, mut more) = (Vec::new(), limit, false);
        for part in 0..PARTS {
            let (answer, answered) = oneshot::channel();
            let question = Question { part, prefix: Arc::clone(&prefix), answer };
            self.0.send(question).await.map_err(|_| ended())?;
            let mut found = answered.await.map_err(|_| ended())?;
            more |= found.len() > left;
            found.truncate(left);
            left -= found.len();
            locks.append(&mut found);
            while locks.len() > CHUNK {
                let rest = locks.split_off(CHUNK);
                let chunk = Chunk { locks: std::mem::replace(&mut locks, rest), more: false };
                if to.send(Ok(chunk)).await.is_err() {
                    return Ok(());
                }
            }
            if more {
                break;
            }
        }
        // Whoever asked may have gone.
        let _ = to.send(Ok(Chunk { locks, more })).await;
        Ok(())
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

//! Answers that come in parts, as fast as their client takes them. One that takes none for too long ends with an error, never
//! as if it were whole.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::join;
use tokio::sync::mpsc;
use tonic::Status;

use super::reply;
use crate::aside::aside;
use crate::client::ErrorReason;
use crate::quota::Share;

/// The longest that a client may take none of what there is.
const UNREAD: Duration = Duration::from_secs(30);

/// The parts of an answer. Dropping it ends what makes them.
#[derive(Debug)]
pub struct Chunks<R> {
    first: Option<R>,
    rest: mpsc::Receiver<Result<R, Status>>,
    end: End,
}

/// The end of an answer. Not set, its maker has gone without a word.
type End = Arc<OnceLock<Result<(), Status>>>;

impl<R: Send + 'static> Chunks<R> {
    /// Lets `make` make chunks, each of which `read` turns into a part of the answer. Both run [`aside`]: a long answer is work for
    /// a second, for which nobody else is to wait. Returns when the first part is there.
    ///
    /// # Errors
    /// That of the first chunk.
    ///
    /// # Cancel safety
    /// `make` ends.
    pub(super) async fn start<C: Send + 'static, M: Future<Output = ()>>(
        room: Share,
        make: impl FnOnce(mpsc::Sender<C>) -> M + Send + 'static,
        read: impl Fn(C) -> Result<R, Status> + Send + 'static,
    ) -> Result<Chunks<R>, Status> {
        Chunks::start_unread(UNREAD, room, make, read).await
    }

    async fn start_unread<C: Send + 'static, M: Future<Output = ()>>(
        unread: Duration,
        room: Share,
        make: impl FnOnce(mpsc::Sender<C>) -> M + Send + 'static,
        read: impl Fn(C) -> Result<R, Status> + Send + 'static,
    ) -> Result<Chunks<R>, Status> {
        let (parts, mut rest) = mpsc::channel(1);
        let end = End::default();
        let ended = Arc::clone(&end);
        // Where it is dropped, the answer ends as its maker does without a word.
        aside(move || async move {
            // Given back when the maker ends, whether or not its client reads on.
            let _room = room;
            let (to, chunks) = mpsc::channel(1);
            tokio::select! {
                // Its client has gone.
                () = parts.closed() => {}
                ((), how) = join(make(to), forward(chunks, &parts, unread, read)) => {
                    let _ = ended.set(how);
                }
            }
        });
        let first = rest.recv().await.transpose()?;
        Ok(Chunks { first, rest, end })
    }
}

/// Takes chunks to a client until the last, or one that is an error.
async fn forward<C, R>(
    mut chunks: mpsc::Receiver<C>,
    parts: &mpsc::Sender<Result<R, Status>>,
    unread: Duration,
    read: impl Fn(C) -> Result<R, Status>,
) -> Result<(), Status> {
    while let Some(chunk) = chunks.recv().await {
        if parts.send_timeout(read(chunk), unread).await.is_err() {
            let why = format!("nothing of the answer was read for {unread:?}");
            return Err(reply::error(ErrorReason::DeadlineOver, why));
        }
    }
    Ok(())
}

impl<R: Unpin> Stream for Chunks<R> {
    type Item = Result<R, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        match self.rest.poll_recv(cx) {
            Poll::Ready(None) => Poll::Ready(match self.end.get() {
                Some(Ok(())) => None,
                Some(Err(status)) => Some(Err(status.clone())),
                None => Some(Err(reply::error(ErrorReason::BrokerFault, "the answer ended before it was whole"))),
            }),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use futures_util::StreamExt;
    use tokio::time::timeout;

    use super::*;
    use crate::metrics::Metrics;
    use crate::quota::Quota;

    /// The longest that a client may take nothing. The threads have clocks of their own, so it passes.
    const SHORT: Duration = Duration::from_secs(1);

    fn quota() -> Quota {
        Quota::new(&Metrics::default(), "test", NonZeroUsize::MIN)
    }

    async fn numbers(quota: &Quota, count: u32) -> Chunks<u32> {
        let make = move |to: mpsc::Sender<u32>| async move {
            for number in 0..count {
                if to.send(number).await.is_err() {
                    return;
                }
            }
        };
        Chunks::start_unread(SHORT, quota.take().unwrap(), make, Ok).await.unwrap()
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_ends_with_an_error() {
        let quota = quota();
        let whole: Vec<_> = numbers(&quota, 5).await.map(Result::unwrap).collect().await;
        assert_eq!(whole, [0, 1, 2, 3, 4]);
        let mut slow = numbers(&quota, 5).await;
        tokio::time::sleep(SHORT * 3 / 2).await;
        let mut read = Vec::new();
        let status = loop {
            match slow.next().await.unwrap() {
                Ok(number) => read.push(number),
                Err(status) => break status,
            }
        };
        assert_eq!((read, status.code()), (vec![0, 1], tonic::Code::DeadlineExceeded));
        drop(slow);
        // It may take longer in all.
        let mut steady = numbers(&quota, 5).await;
        for number in 0..5 {
            // The first two are there already.
            tokio::time::sleep(SHORT / 4).await;
            assert_eq!(steady.next().await.unwrap().unwrap(), number);
        }
        assert!(steady.next().await.is_none());
    }

    #[tokio::test]
    async fn what_makes_it_ends_with_it() {
        let quota = quota();
        let (alive, gone) = tokio::sync::oneshot::channel::<()>();
        let make = |to: mpsc::Sender<u32>| async move {
            let _alive = alive;
            let _ = to.send(1).await;
            std::future::pending::<()>().await;
        };
        let chunks = Chunks::start(quota.take().unwrap(), make, Ok).await.unwrap();
        assert!(quota.take().is_none());
        drop(chunks);
        assert!(gone.await.is_err(), "it was dropped");
        // Its thread gives that back after it, and gets less of the processors than this one.
        let given_back = async {
            while quota.take().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(UNREAD, given_back).await.expect("its room is given back");
    }
}

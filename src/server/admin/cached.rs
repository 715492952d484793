//! Lists that all who look at the page share: one is made at a time, and counts for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::watched::Part;
use crate::clock::Moment;

/// The most rows of a list.
pub(super) const MOST_ROWS: usize = 10_000;

/// The time for which a list counts, at least.
const FRESH: Duration = Duration::from_secs(2);

/// The time for which a list counts, as a multiple of what it took. So memcached spends a tenth of its time on lists at the
/// most, however many locks there are and people who look.
const FRESH_FOR_ITS_COST: u32 = 9;

/// The longest time that a list may take.
const LONGEST: Duration = Duration::from_secs(10);

/// The most lists that are kept at a time.
const MOST_LISTS: usize = 4;

/// Lists of one kind, by the prefix of their names.
#[derive(Debug)]
pub(super) struct Cached<T>(Mutex<Vec<Arc<Kept<T>>>>);

/// A list, and when it was made.
#[derive(Debug)]
pub(super) struct Kept<T> {
    prefix: Box<str>,
    /// The list, in its order; or why there is none.
    part: Result<Part<T>, String>,
    /// The moment at which it was asked for.
    asked: Moment,
    fresh_until: Moment,
}

impl<T> Cached<T> {
    pub(super) fn new() -> Cached<T> {
        Cached(Mutex::new(Vec::new()))
    }

    /// Returns a list that has the first rows with this prefix, and maybe others: one that counts still, or a new one, as `list`
    /// makes it. A failure counts as a list does.
    ///
    /// # Cancel safety
    /// A list that is being made is given up.
    pub(super) async fn get<F>(&self, prefix: &str, list: impl FnOnce() -> F) -> Arc<Kept<T>>
    where
        F: Future<Output = Result<Part<T>, String>>,
    {
        // Kept while a list is made: so there is one at a time.
        let mut kept = self.0.lock().await;
        kept.retain(|list| !list.fresh_until.has_passed());
        if let Some(list) = kept.iter().find(|list| list.serves(prefix)) {
            return Arc::clone(list);
        }
        let asked = Moment::now();
        let late = || Err(format!("listing took longer than {} s", LONGEST.as_secs()));
        let part = timeout(LONGEST, list()).await.unwrap_or_else(|_| late());
        let fresh_until = Moment::now() + FRESH.max(asked.elapsed() * FRESH_FOR_ITS_COST);
        let list = Arc::new(Kept { prefix: prefix.into(), part, asked, fresh_until });
        if kept.len() == MOST_LISTS {
            kept.remove(0);
        }
        kept.push(Arc::clone(&list));
        list
    }
}

impl<T> Kept<T> {
    /// Returns the first `limit` rows that are `wanted`, and the number of all of them.
    ///
    /// # Errors
    /// Says why there is no list.
    pub(super) fn find<'a, R: From<&'a T>>(
        &'a self,
        limit: usize,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<(Vec<R>, usize), String> {
        let part = self.part.as_ref().map_err(String::clone)?;
        let mut found = part.rows.iter().filter(|row| wanted(row));
        let rows: Vec<R> = found.by_ref().take(limit).map(R::from).collect();
        // One that is not whole serves no other prefix, so all that it counts are wanted.
        let total = if part.is_whole() { rows.len() + found.count() } else { part.total };
        Ok((rows, total))
    }

    /// Returns the time since it was asked for.
    pub(super) fn age(&self) -> Duration {
        self.asked.elapsed()
    }

    /// Returns true if it has all names with this prefix.
    fn serves(&self, prefix: &str) -> bool {
        let is_whole = self.part.as_ref().is_ok_and(Part::is_whole);
        *self.prefix == *prefix || (is_whole && prefix.starts_with(&*self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Asks for a list, and returns whether it was made anew.
    async fn is_new(cached: &Cached<u32>, prefix: &str, is_cut: bool) -> bool {
        let part = Part { rows: vec![1, 2], total: if is_cut { 3 } else { 2 } };
        let made = Cell::new(false);
        let list = || {
            made.set(true);
            std::future::ready(Ok(part.clone()))
        };
        let kept = cached.get(prefix, list).await;
        assert_eq!(kept.part.as_ref(), Ok(&part));
        made.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_counts_for_a_while_and_for_every_prefix_that_it_covers() {
        crate::clock::follow_tokio();
        let cached = Cached::new();
        assert!(is_new(&cached, "a", false).await);
        assert!(!is_new(&cached, "a", false).await && !is_new(&cached, "ab", false).await);
        assert!(is_new(&cached, "", true).await);
        // It has not all of them.
        assert!(!is_new(&cached, "", true).await && is_new(&cached, "b", true).await);
        tokio::time::advance(FRESH - Duration::from_millis(1)).await;
        assert!(!is_new(&cached, "a", false).await);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(is_new(&cached, "a", false).await);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_dear_or_fails_is_not_asked_for_again_at_once() {
        crate::clock::follow_tokio();
        let cached = Cached::<u32>::new();
        let slow = || async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            Err("away".to_owned())
        };
        let first = cached.get("", slow).await;
        assert_eq!(first.part, Err("away".to_owned()));
        tokio::time::advance(Duration::from_secs(35)).await;
        assert!(Arc::ptr_eq(&first, &cached.get("", slow).await));
        let endless = cached.get("b", std::future::pending).await;
        assert!(endless.part.as_ref().is_err_and(|why| why.contains("10 s")), "{endless:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn few_lists_are_kept() {
        crate::clock::follow_tokio();
        let cached = Cached::new();
        for prefix in ["a", "b", "c", "d", "e"] {
            assert!(is_new(&cached, prefix, true).await);
        }
        assert!(!is_new(&cached, "e", true).await && is_new(&cached, "a", true).await);
        assert_eq!(cached.0.lock().await.len(), MOST_LISTS);
    }
}

//! One that observes a lock in a testee, and what it was told.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::support::eventually;
use crate::testee::Testee;

/// One that observes a lock in a testee.
#[derive(Debug)]
pub(crate) struct Follower {
    testee: Arc<Testee>,
    name: String,
    /// The number of its notices that have been waited for.
    read: Cell<usize>,
}

/// A state of a lock that it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The proto's name, without its prefix.
    pub(crate) state: String,
    /// Empty for none.
    pub(crate) owner: String,
    pub(crate) value: Option<String>,
    pub(crate) token: Option<i64>,
}

impl Seen {
    fn of(notice: &Value) -> Self {
        let text = |field: &str| notice[field].as_str().map(str::to_owned);
        Self {
            state: text("state").unwrap_or_else(|| panic!("no state in {notice}")),
            owner: text("owner").unwrap_or_default(),
            value: text("value"),
            token: notice["token"].as_i64(),
        }
    }
}

impl Follower {
    /// Makes that with this name in the testee, which has been told to observe.
    pub(crate) fn new(testee: Arc<Testee>, name: String) -> Self {
        Self { testee, name, read: Cell::new(0) }
    }

    /// Returns all states that it was told.
    pub(crate) fn told(&self) -> Vec<Seen> {
        let notices = self.testee.notices("seen", &self.name);
        notices.iter().filter(|notice| !notice["error"].is_object()).map(Seen::of).collect()
    }

    /// Waits until it is told what is wanted, after what was waited for before, and returns that.
    pub(crate) async fn sees(&self, within: Duration, what: &str, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let told = timeout(within, async {
            loop {
                let told = self.told();
                if let Some(at) = (self.read.get()..told.len()).find(|&at| wanted(&told[at])) {
                    self.read.set(at + 1);
                    return told[at].clone();
                }
                sleep(Duration::from_millis(10)).await;
            }
        });
        told.await.unwrap_or_else(|_| panic!("{what}: not seen within {within:?}: {:?}", self.told()))
    }

    /// Waits until it has failed, and returns the kind of the error.
    pub(crate) async fn fails(&self, within: Duration) -> String {
        let failed =
            async || self.testee.notices("seen", &self.name).last().is_some_and(|last| last["error"].is_object());
        eventually(within, "the observer fails", failed).await;
        let told = self.testee.notices("seen", &self.name);
        told.last().and_then(|last| last["error"]["kind"].as_str()).expect("a kind").to_owned()
    }

    /// Ends it.
    pub(crate) async fn ends(&self) {
        self.testee.ask(json!({"do": "unobserve", "as": self.name})).await.get("ok");
    }
}

//! A history of who had which lock and when. Clients write it, and it is judged afterwards without a broker's word.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Instant;

/// A lock as one client had it: from when it heard of the grant until it sent the release, or until its validity
/// was over if that came first. All instants come from one clock, that of the test's own process.
#[derive(Clone, Debug)]
pub struct Hold {
    pub name: String,
    /// The client that held it, for the report.
    pub client: usize,
    pub fencing_token: i64,
    pub from: Instant,
    pub until: Instant,
}

/// The holds of all clients.
#[derive(Debug, Default)]
pub struct History {
    holds: Mutex<Vec<Hold>>,
}

impl History {
    pub fn note(&self, hold: Hold) {
        self.holds.lock().unwrap().push(hold);
    }

    /// Returns every hold, in the order in which they began.
    pub fn holds(&self) -> Vec<Hold> {
        let mut holds = self.holds.lock().unwrap().clone();
        holds.sort_by_key(|hold| hold.from);
        holds
    }

    /// Returns every breach of a lock service's promises: two holders of a name at one time, or a fencing token that
    /// does not rise.
    pub fn breaches(&self) -> Vec<String> {
        let mut breaches = Vec::new();
        // Of each name, the hold that has reached furthest and the highest token.
        let mut before: HashMap<String, (Hold, i64)> = HashMap::new();
        for hold in self.holds() {
            let Some((last, highest)) = before.get_mut(&hold.name) else {
                before.insert(hold.name.clone(), (hold.clone(), hold.fencing_token));
                continue;
            };
            if hold.from < last.until {
                breaches.push(format!("two holders for {:?}: {last:?} and {hold:?}", last.until - hold.from));
            }
            if hold.fencing_token <= *highest {
                breaches.push(format!("the token does not rise above {highest}: {hold:?}"));
            }
            *highest = hold.fencing_token.max(*highest);
            if hold.until > last.until {
                *last = hold;
            }
        }
        breaches
    }
}

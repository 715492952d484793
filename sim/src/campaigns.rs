//! Values with which clients lead, and those that others see.

use std::collections::BTreeMap;

use lockbroker_core::lock::GrantId;
use lockbroker_core::request::Observation;
use lockbroker_core::store::{ItemState, LockStatus};

use crate::check::Checker;
use crate::client::Value;

/// The values of all locks. Each term has a number of its own, which its values tell.
#[derive(Debug, Default)]
pub struct Campaigns {
    /// The number of each term's last value, by the term's own.
    values: Vec<u64>,
    /// The term that was seen under an id.
    by_id: BTreeMap<u64, u64>,
    /// The term that was seen with a name's token.
    by_token: BTreeMap<(usize, u64), u64>,
    /// The grant that a client saw last, by the name.
    seen: BTreeMap<(usize, usize), GrantId>,
}

impl Campaigns {
    /// Begins a term, and returns its first value.
    pub fn begin(&mut self) -> Value {
        self.values.push(0);
        Value { term: self.values.len() as u64 - 1, number: 0 }
    }

    /// Returns the next value of a term.
    pub fn update(&mut self, value: Value) -> Value {
        let last = &mut self.values[value.term as usize];
        *last += 1;
        Value { number: *last, ..value }
    }

    /// Returns the grant that a client saw last.
    pub fn last_seen(&self, client: usize, name: usize) -> Option<GrantId> {
        self.seen.get(&(client, name)).copied()
    }

    /// Takes note that a value was seen under an id and with a token. Returns what is wrong with that.
    fn see(&mut self, name: usize, (id, token): (GrantId, Option<u64>), value: Value) -> Option<String> {
        let Value { term, number } = value;
        if self.values.get(term as usize).is_none_or(|last| number > *last) {
            return Some(format!("nobody has led n{name} with the value {term}.{number}"));
        }
        let under = *self.by_id.entry(id.get()).or_insert(term);
        let with = token.map_or(term, |token| *self.by_token.entry((name, token)).or_insert(term));
        let other = [under, with].into_iter().find(|other| *other != term)?;
        Some(format!("the value {term}.{number} of n{name} is shown as that of a grant with the values of {other}"))
    }
}

impl Checker {
    /// Checks what a look of those who observe has shown: a value is always one of the very grant that it is shown with.
    pub fn observed(&mut self, client: usize, name: usize, observation: &Observation) {
        let LockStatus::Taken { state: ItemState::Held(id), label, .. } = &observation.status else { return };
        self.campaigns.seen.insert((client, name), *id);
        let Some(shown) = &observation.value else { return };
        let wrong = match Value::read(shown) {
            Some(value) => self.campaigns.see(name, (*id, label.token.map(|token| token.get())), value),
            None => Some(format!("nobody has led n{name} with the value {:?}", shown.as_bytes())),
        };
        if let Some(wrong) = wrong {
            self.fail(wrong);
        }
    }
}

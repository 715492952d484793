//! Lists what every client must do. docs/conformance.md prints the sentence of each scenario.

mod ask;
mod connect;
mod downgrade;
mod elect;
mod end;
mod fork;
mod lose;
mod moves;
mod odd;
mod outlive;
mod permits;
mod several;
mod together;

use std::fmt;
use std::pin::Pin;

use crate::stage::Stage;

type Play = fn(Stage) -> Pin<Box<dyn Future<Output = ()>>>;

/// One scenario.
pub(crate) struct Scenario {
    pub(crate) id: &'static str,
    /// What the client does, as a sentence.
    pub(crate) says: &'static str,
    /// What the language must have for it.
    pub(crate) needs: Option<&'static str>,
    /// The rules without which a client must fail it.
    pub(crate) teeth: &'static [&'static str],
    pub(crate) play: Play,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

impl Scenario {
    const fn new(id: &'static str, says: &'static str, play: Play) -> Self {
        Self { id, says, needs: None, teeth: &[], play }
    }

    const fn needs(mut self, feature: &'static str) -> Self {
        self.needs = Some(feature);
        self
    }

    const fn teeth(mut self, rules: &'static [&'static str]) -> Self {
        self.teeth = rules;
        self
    }
}

/// All of them, in the order of the matrix.
pub(crate) fn all() -> impl Iterator<Item = &'static Scenario> {
    let locks = [ask::ALL, end::ALL, lose::ALL, moves::ALL, outlive::ALL];
    let permits = [permits::ALL, several::ALL, downgrade::ALL, together::ALL];
    let others = [elect::ALL, connect::ALL, fork::ALL, odd::ALL];
    locks.into_iter().chain(permits).chain(others).flatten()
}

//! Notes what has been reached: every kind of step, and every kind of step after every kind of fault.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memcached::Loss;
use crate::model::Action;
use crate::rules::Bounds;
use crate::state::{Op, Stage, State, Verdict};

/// A fault, as a bit.
pub const FAULTS: [&str; 8] =
    ["none", "memory lost", "stream broken", "broker dead", "memcached stopped", "moved", "released elsewhere", "late"];

/// The kinds of steps.
pub const STEPS: [&str; 48] = [
    "tick",
    "item dies early",
    "ask",
    "leave",
    "reattach",
    "release elsewhere",
    "stream breaks",
    "stream silent",
    "send grant",
    "send renewal",
    "send hand-over",
    "send release",
    "send reattach",
    "reattach given up",
    "end linger",
    "renew linger",
    "scrub",
    "probe look",
    "probe begin",
    "probe open",
    "answer lost or late",
    "command lost",
    "late command",
    "loss: whole",
    "loss: S",
    "loss: F",
    "loss: flush",
    "broker dies",
    "broker starts",
    "memcached stops",
    "memcached goes on",
    "memcached catches up",
    "grant: done",
    "grant: refused",
    "renewal: done",
    "renewal: refused",
    "re-assertion: done",
    "re-assertion: refused",
    "hand-over: done",
    "hand-over: refused",
    "reattach: done",
    "reattach: refused",
    "linger: done",
    "linger: refused",
    "release: done",
    "release: refused",
    "command",
    "batch cut by a loss",
];

/// A set of steps for each fault, shared by the threads of a checker.
#[derive(Debug, Default)]
pub struct Coverage([AtomicU64; 8]);

fn step(before: &State, action: Action) -> &'static str {
    let of_probe = |op| match op {
        Op::Begin(_) => "probe begin",
        Op::Open(..) => "probe open",
        _ => "probe look",
    };
    match action {
        Action::Tick => "tick",
        Action::ItemDies | Action::PermitDies => "item dies early",
        Action::Ask { .. } => "ask",
        Action::Leave { .. } => "leave",
        Action::Reattach { .. } => "reattach",
        Action::ReleaseElsewhere { .. } => "release elsewhere",
        Action::StreamBreaks { .. } => "stream breaks",
        Action::StreamSilent { .. } => "stream silent",
        Action::Attempt { .. } => "send grant",
        Action::Renew { .. } => "send renewal",
        Action::HandOver { .. } => "send hand-over",
        Action::Release { .. } => "send release",
        Action::Swap { .. } => "send reattach",
        Action::SwapGivenUp { .. } => "reattach given up",
        Action::EndLinger { .. } => "end linger",
        Action::RenewLinger { .. } => "renew linger",
        Action::Scrub { .. } => "scrub",
        Action::Probe { op, .. } | Action::ProbeGivenUp { op, .. } => of_probe(op),
        Action::GiveUp { .. } => "answer lost or late",
        Action::NoCommand { .. } => "command lost",
        Action::LateCommand { .. } => "late command",
        Action::Command { .. } => "command",
        Action::Cut { .. } => "batch cut by a loss",
        Action::Answer { flight, op } => {
            let flight = &before.flights[flight as usize];
            let done = flight.verdict == Verdict::Done && flight.stage == Stage::Arrival;
            match (op, done) {
                (Op::Grant { .. }, true) => "grant: done",
                (Op::Grant { .. }, false) => "grant: refused",
                (Op::Renew { .. }, true) => "renewal: done",
                (Op::Renew { .. }, false) => "renewal: refused",
                (Op::Reassert { .. }, true) => "re-assertion: done",
                (Op::Reassert { .. }, false) => "re-assertion: refused",
                (Op::HandOver { .. }, true) => "hand-over: done",
                (Op::HandOver { .. }, false) => "hand-over: refused",
                (Op::Reattach { .. }, true) => "reattach: done",
                (Op::Reattach { .. }, false) => "reattach: refused",
                (Op::Linger { .. }, true) => "linger: done",
                (Op::Linger { .. }, false) => "linger: refused",
                (Op::Remove { .. }, true) => "release: done",
                (Op::Remove { .. }, false) => "release: refused",
                (Op::Look | Op::Begin(_) | Op::Open(..), _) => "command",
            }
        }
        Action::Lose(Loss::Whole) => "loss: whole",
        Action::Lose(Loss::StateAlone) => "loss: S",
        Action::Lose(Loss::FencesAlone) => "loss: F",
        Action::Lose(Loss::Flush { .. }) => "loss: flush",
        Action::BrokerDies { .. } => "broker dies",
        Action::BrokerStarts { .. } => "broker starts",
        Action::MemcachedStops => "memcached stops",
        Action::MemcachedGoesOn => "memcached goes on",
        Action::MemcachedCatchesUp => "memcached catches up",
    }
}

impl Coverage {
    pub(crate) fn note(&self, bounds: &Bounds, before: &State, after: &State, action: Action) {
        if after == before {
            return;
        }
        let name = step(before, action);
        let index = STEPS.iter().position(|other| *other == name).expect("a step of the list");
        let left = &before.left;
        let had = [
            true,
            left.losses < bounds.loss_count,
            left.breaks < bounds.breaks,
            left.deaths < bounds.deaths,
            left.stops < bounds.stops,
            left.reattaches < bounds.reattaches,
            left.releases < bounds.releases_elsewhere,
            before.strays() > 0,
        ];
        for (steps, _) in self.0.iter().zip(had).filter(|(_, had)| *had) {
            if steps.load(Ordering::Relaxed) & 1 << index == 0 {
                steps.fetch_or(1 << index, Ordering::Relaxed);
            }
        }
    }

    /// Returns every step that was reached after every fault.
    pub fn reached(&self) -> BTreeSet<(&'static str, &'static str)> {
        let of_fault = |(fault, steps): (&&'static str, &AtomicU64)| {
            let (fault, steps) = (*fault, steps.load(Ordering::Relaxed));
            (0..STEPS.len()).filter(move |index| steps & 1 << index != 0).map(move |index| (fault, STEPS[index]))
        };
        FAULTS.iter().zip(&self.0).flat_map(of_fault).collect()
    }
}

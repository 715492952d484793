//! Notes what has been reached: every kind of step, and every kind of step after every kind of fault.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::memcached::Loss;
use crate::model::Action;
use crate::rules::Bounds;
use crate::state::{LINGER, Op, Reached, State};

/// A fault, as a bit.
pub const FAULTS: [&str; 8] =
    ["none", "memory lost", "stream broken", "broker dead", "memcached stopped", "moved", "released elsewhere", "late"];

/// The kinds of steps.
pub const STEPS: [&str; 60] = [
    "tick",
    "item dies early",
    "ask",
    "leave",
    "reattach",
    "release elsewhere",
    "revoke",
    "renew lease",
    "stream breaks",
    "stream silent",
    "looks by itself",
    "send grant",
    "send renewal",
    "send re-assertion",
    "send hand-over",
    "send reattach",
    "send linger",
    "send release",
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
    "send intent",
    "send permit",
    "send cover",
    "intent: done",
    "intent: refused",
    "permit: done",
    "permit: refused",
    "cover",
];

/// A set of steps for each fault, and the branches of the core, shared by the threads of a checker.
#[derive(Debug, Default)]
pub struct Coverage {
    steps: [AtomicU64; 8],
    marks: AtomicU64,
}

fn bit(name: &str) -> u64 {
    1 << STEPS.iter().position(|other| *other == name).expect("a step of the list")
}

/// Returns the step that is the sending of a batch.
pub(crate) fn send(op: Op) -> u64 {
    match op {
        Op::Grant { .. } => bit("send grant"),
        Op::Replace { from, .. } if from & LINGER > 0 => bit("renew linger"),
        Op::Replace { from, to, .. } if from == to => bit("send renewal"),
        Op::Replace { to, .. } if to & LINGER > 0 => bit("send linger"),
        Op::Replace { .. } => bit("send reattach"),
        Op::Reassert { .. } => bit("send re-assertion"),
        Op::HandOver { .. } => bit("send hand-over"),
        Op::Occupy { .. } => bit("send intent"),
        Op::Share { .. } => bit("send permit"),
        Op::Cover { .. } => bit("send cover"),
        Op::Remove { id } if id & LINGER > 0 => bit("end linger"),
        Op::Remove { .. } => bit("send release"),
        Op::Find { .. } | Op::Look | Op::Stands { .. } | Op::LookIfRevoked => 0,
        Op::Probe | Op::Begin(_) | Op::Open(..) => 0,
    }
}

fn step(before: &State, action: Action) -> &'static str {
    let of_probe = |op| match op {
        Op::Begin(_) => "probe begin",
        Op::Open(..) => "probe open",
        _ => "probe look",
    };
    match action {
        Action::Tick => "tick",
        Action::ItemDies | Action::PermitDies(_) => "item dies early",
        Action::Ask { .. } => "ask",
        Action::Leave { .. } => "leave",
        Action::Reattach { .. } => "reattach",
        Action::ReleaseElsewhere { .. } => "release elsewhere",
        Action::Revoke { .. } => "revoke",
        Action::RenewLease { .. } => "renew lease",
        Action::StreamBreaks { .. } => "stream breaks",
        Action::StreamSilent { .. } => "stream silent",
        Action::TimeOut { .. } => "looks by itself",
        Action::CleanUp { .. } => "scrub",
        Action::Probe { op, .. } | Action::ProbeGivenUp { op, .. } => of_probe(op),
        Action::GiveUp { .. } => "answer lost or late",
        Action::NoCommand { .. } => "command lost",
        Action::LateCommand { .. } => "late command",
        Action::Command { .. } => "command",
        Action::Cut { .. } => "batch cut by a loss",
        Action::Answer { flight, op } => {
            let done = before.flights[flight as usize].is_done();
            match (op, done) {
                (Op::Grant { .. }, true) => "grant: done",
                (Op::Grant { .. }, false) => "grant: refused",
                (Op::Replace { from, to, .. }, true) if from == to => "renewal: done",
                (Op::Replace { from, to, .. }, false) if from == to => "renewal: refused",
                (Op::Replace { to, .. }, true) if to & LINGER > 0 => "linger: done",
                (Op::Replace { to, .. }, false) if to & LINGER > 0 => "linger: refused",
                (Op::Replace { .. }, true) => "reattach: done",
                (Op::Replace { .. }, false) => "reattach: refused",
                (Op::Reassert { .. }, true) => "re-assertion: done",
                (Op::Reassert { .. }, false) => "re-assertion: refused",
                (Op::Occupy { .. }, true) => "intent: done",
                (Op::Occupy { .. }, false) => "intent: refused",
                (Op::Share { .. }, true) => "permit: done",
                (Op::Share { .. }, false) => "permit: refused",
                (Op::Cover { .. }, _) => "cover",
                (Op::HandOver { .. }, true) => "hand-over: done",
                (Op::HandOver { .. }, false) => "hand-over: refused",
                (Op::Remove { .. }, true) => "release: done",
                (Op::Remove { .. }, false) => "release: refused",
                (Op::Find { .. } | Op::Look | Op::Stands { .. } | Op::LookIfRevoked, _) => "command",
                (Op::Probe | Op::Begin(_) | Op::Open(..), _) => "command",
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
    pub(crate) fn note(&self, bounds: &Bounds, before: &State, after: &State, (action, reached): (Action, Reached)) {
        let add = |set: &AtomicU64, bits: u64| {
            if set.load(Ordering::Relaxed) & bits != bits {
                set.fetch_or(bits, Ordering::Relaxed);
            }
        };
        add(&self.marks, reached.marks);
        if after == before {
            return;
        }
        let steps_now = bit(step(before, action)) | reached.sends;
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
        self.steps.iter().zip(had).filter(|(_, had)| *had).for_each(|(steps, _)| add(steps, steps_now));
    }

    /// Returns the branches of the core that were taken, as bits.
    pub fn marks(&self) -> u64 {
        self.marks.load(Ordering::Relaxed)
    }

    /// Returns every step that was reached after every fault.
    pub fn reached(&self) -> BTreeSet<(&'static str, &'static str)> {
        let of_fault = |(fault, steps): (&&'static str, &AtomicU64)| {
            let (fault, steps) = (*fault, steps.load(Ordering::Relaxed));
            (0..STEPS.len()).filter(move |index| steps & 1 << index != 0).map(move |index| (fault, STEPS[index]))
        };
        FAULTS.iter().zip(&self.steps).flat_map(of_fault).collect()
    }
}

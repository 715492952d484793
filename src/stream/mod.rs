//! What a client's stream is told of its locks, and in which order. Knows neither the store nor the wire.

mod event;
mod ledger;
mod outbox;
mod seat;

pub use event::{Event, Failure, LostReason, Reason};
pub use ledger::{Ack, Beat, Ledger};
pub use outbox::{Item, LockRef, Outbox, SESSION};
pub use seat::Seat;

//! What a client's stream is told of its locks, and in which order. Knows neither the store nor the wire.

mod event;
mod ledger;
mod outbox;
mod seat;

pub use event::{Ack, Event, Failure, LockRef, LostReason, Reason, SESSION};
pub use ledger::{Beat, Ledger};
pub use outbox::{Item, Outbox};
pub use seat::Seat;

//! Events and acks for a client's stream: what waits for the client, in which order, and what an ack may cover. Takes
//! errors from the store, and knows nothing of the wire.

mod event;
mod ledger;
mod outbox;
mod seat;

pub use event::{Ack, Event, LockRef, LostReason, Reason, SESSION};
pub use ledger::{Beat, Ledger};
pub use lockbroker_core::failure::{Cause, Failure};
pub use outbox::{Item, Outbox};
pub use seat::Seat;

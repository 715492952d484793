//! A deployment in one thread, out of one seed: so far the memcached that it runs on.

mod choices;
pub mod memcached;

pub use choices::{Asked, Choices};

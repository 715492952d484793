//! Which branches of the core's subtle rules a run has taken.

/// How often each branch was taken.
#[derive(Debug, Clone, Default)]
pub struct Marks;

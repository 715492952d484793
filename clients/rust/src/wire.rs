//! Converts durations from and to the wire.

use std::time::Duration;

/// A span longer than anybody needs, and short enough to be added to any moment.
pub(super) const FAR: Duration = Duration::from_secs(u32::MAX as u64);

/// Rounds up to whole milliseconds, as everywhere on the wire. A span that does not fit becomes the longest that does.
pub(super) fn to_wire(span: Duration) -> prost_types::Duration {
    let millis = span.as_nanos().div_ceil(1_000_000).min(i64::MAX as u128) as u64;
    prost_types::Duration { seconds: (millis / 1_000) as i64, nanos: (millis % 1_000) as i32 * 1_000_000 }
}

/// Reads a duration. Returns none if it is negative, and at most [`FAR`].
pub(super) fn from_wire(span: &prost_types::Duration) -> Option<Duration> {
    Duration::try_from(*span).ok().map(|span| span.min(FAR))
}

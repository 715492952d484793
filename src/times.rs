//! Times as the core counts them, which are moments of the lease clock.

use std::time::{Duration, SystemTime};

use lockbroker_core::Time;

use crate::clock::Moment;

/// Returns what time it is.
pub(crate) fn now() -> Time {
    time(Moment::now())
}

/// Returns the core's time of a moment.
pub(crate) fn time(moment: Moment) -> Time {
    Time::from_nanos(moment.nanos())
}

/// Returns the moment that the core means.
pub fn moment(time: Time) -> Moment {
    Moment::from_nanos(time.nanos())
}

/// Returns the time since a date, in microseconds since 1970, by this machine's wall clock; zero if that is behind.
pub(crate) fn since_date(micros: u64) -> Duration {
    let date = SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros));
    date.and_then(|date| SystemTime::now().duration_since(date).ok()).unwrap_or_default()
}

//! Times as the core counts them, which are moments of the lease clock.

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

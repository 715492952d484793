// Package clock reads the clock of leases. It runs on while the machine is suspended (docs/safety.md, A2), as the clock of
// [time.Now] does not.
package clock

import (
	"math"
	"time"
)

// A Moment is a point on the lease clock, in nanoseconds since the process began to read it. Only differences within one
// process mean anything.
type Moment int64

// Never is later than every moment that is read.
const Never Moment = math.MaxInt64

// Add returns the moment that is later by d. It stops at the end of what the clock can show.
func (m Moment) Add(d time.Duration) Moment {
	if d > 0 && m > Never-Moment(d) {
		return Never
	}
	return m + Moment(d)
}

// Since returns the time from earlier to m; zero if earlier is the later one.
func (m Moment) Since(earlier Moment) time.Duration {
	return max(0, time.Duration(m-earlier))
}

// Remaining returns the time from now to m; zero if m has passed.
func (m Moment) Remaining() time.Duration { return m.Since(Now()) }

// HasPassed reports whether m has come.
func (m Moment) HasPassed() bool { return Now() >= m }

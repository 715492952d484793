package clock

import "time"

var began = read()

// Now reads the clock. It never goes back.
func Now() Moment { return Moment(read().since(began)) }

// readings are those of the system's clocks, each from a beginning of its own. None of them ever goes back, so the
// greatest of the times that have passed on them does not either.
type readings [2]time.Duration

// since returns the time since then, by the clock that has run further.
func (r readings) since(then readings) time.Duration {
	return max(r[0]-then[0], r[1]-then[1], 0)
}

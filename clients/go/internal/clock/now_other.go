//go:build !linux && !darwin && !windows

package clock

import (
	"sync/atomic"
	"time"
)

var (
	start   = time.Now()
	highest atomic.Int64
)

// read reads a clock that may stand still during a suspend, and the time of day, which does not. When the time of day is
// set forward, locks are lost early, and that is safe. It is kept from going back.
func read() readings {
	wall := time.Now().Round(0).Sub(start.Round(0))
	for {
		seen := highest.Load()
		if int64(wall) <= seen || highest.CompareAndSwap(seen, int64(wall)) {
			return readings{time.Since(start), max(wall, time.Duration(seen))}
		}
	}
}

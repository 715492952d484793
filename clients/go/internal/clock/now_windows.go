package clock

import (
	"time"

	"golang.org/x/sys/windows"
)

var start = time.Now()

// read reads the time since Windows has started, which runs on during sleep and moves in steps of some 16 ms, and the
// finer clock of time.Since.
func read() readings {
	return readings{windows.DurationSinceBoot(), time.Since(start)}
}

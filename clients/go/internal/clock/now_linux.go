package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// read reads CLOCK_BOOTTIME, which runs on during a suspend and is slewed, and CLOCK_MONOTONIC_RAW, which is not slewed
// and stands still during a suspend.
func read() readings {
	return readings{get(unix.CLOCK_BOOTTIME), get(unix.CLOCK_MONOTONIC_RAW)}
}

func get(id int32) time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(id, &now); err != nil {
		panic("lockbroker: the system has no clock that runs on in suspend: " + err.Error())
	}
	return time.Duration(now.Nano())
}

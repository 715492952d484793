package core

import (
	"math"
	"time"
)

// leastPause is the shortest pause before another try.
const leastPause = 50 * time.Millisecond

// Pause returns the pause after that many tries: twice as long each time, up to most. A random half of it is spared, so
// that clients do not try in step; chance is that randomness, from 0 up to 1.
func Pause(tries int, most time.Duration, chance float64) time.Duration {
	whole := min(leastPause<<min(tries, 16), most)
	spread := math.Round(float64(whole/2) * min(max(chance, 0), 1))
	return whole/2 + time.Duration(spread)
}

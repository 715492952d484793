package core

import (
	"maps"
	"slices"
	"time"
)

// mostBetweenReleases is the longest pause between two calls.
const mostBetweenReleases = time.Second

// release is a lock that is being released by calls.
type release struct {
	// calls are those that are still to be made, one after another.
	calls []ReleaseElsewhere
	// until is the end of its validity.
	until Moment
	// next is the moment of the next call; Never while one is under way.
	next  Moment
	tries int
}

// elsewhere has the releases that no stream can confirm. Any broker is asked, again and again, until the lock has run out
// by itself.
type elsewhere map[Key]*release

// begin begins to release a lock, and those that are held together with it.
func (e elsewhere) begin(lock *lock, until Moment, out *[]Output) {
	calls := []ReleaseElsewhere{{lock.key, lock.spec.Name, lock.lockID}}
	others := lock.spec.Others()
	for at, id := range lock.also {
		calls = append(calls, ReleaseElsewhere{lock.key, others[at], id})
	}
	*out = append(*out, calls[0])
	e[lock.key] = &release{calls: calls, until: until, next: never}
}

// ended takes the end of a call.
func (e elsewhere) ended(key Key, failure *Failure, now Moment, chance func() float64, out *[]Output) {
	release := e[key]
	switch {
	case release == nil:
		return
	case failure == nil && len(release.calls) > 1:
		release.calls = release.calls[1:]
		*out = append(*out, release.calls[0])
		return
	case failure == nil:
		*out = append(*out, Released{key})
	case !failure.Code.IsFinal():
		release.next = now.Add(Pause(release.tries, mostBetweenReleases, chance()))
		release.tries++
		return
	default:
		*out = append(*out, Failed{key, *failure})
	}
	delete(e, key)
}

// keepTime calls again where it is time, and ends what has run out.
func (e elsewhere) keepTime(now Moment, out *[]Output) {
	if len(e) == 0 {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(e)) {
		release := e[key]
		switch {
		case release.until <= now:
			why := "no broker confirmed the release before the lock ran out by itself"
			*out = append(*out, Failed{key, Unavailable(why)})
			delete(e, key)
		case release.next <= now:
			release.next = never
			*out = append(*out, release.calls[0])
		}
	}
}

// due returns the moment at which to keep time.
func (e elsewhere) due() Moment {
	due := never
	for _, release := range e {
		due = min(due, release.next, release.until)
	}
	return due
}

package core

import (
	"slices"
	"time"
)

// validity counts until when the locks of one stream may be believed in.
//
// There is one moment for the whole stream, which every acknowledged heartbeat moves on, and one for each lock that the
// latest acknowledgement left out. Moments count from when the client sent what is acknowledged, so the clocks of client
// and broker are never compared. It knows nothing of streams, goroutines or guards.
type validity struct {
	// coveredUntil is the end of the validity of every lock that is not in behind, later ones included.
	coveredUntil Moment
	// behind has the locks that the latest acknowledgement did not renew, with the validity that an earlier one gave them.
	behind map[LockRef]Moment
	// settled has the locks in behind that acknowledgements no longer mention.
	settled map[LockRef]struct{}
	// beats are the heartbeats that may still be acknowledged, oldest first. The first may have been acknowledged already,
	// since the broker repeats itself when it has renewed more.
	beats []beat
	// next is the moment at which something here runs out next; nil once everything has.
	next *Moment
}

// beat is a heartbeat and when it was sent.
type beat struct {
	seq  int64
	sent Moment
}

// runOut says which locks have run out.
type runOut struct {
	// all: the stream's own moment has come, and with it every lock on it.
	all bool
	// some are the locks that have run out, if not all have.
	some []LockRef
}

// newValidity begins with a stream whose Open was sent at sent and answered with expiresAfter.
func newValidity(sent Moment, expiresAfter time.Duration) validity {
	until := sent.Add(expiresAfter)
	return validity{coveredUntil: until, next: &until, settled: map[LockRef]struct{}{}, behind: map[LockRef]Moment{}}
}

// beat notes that the heartbeat seq is being sent.
func (v *validity) beat(seq int64, now Moment) {
	v.beats = append(v.beats, beat{seq, now})
}

// acknowledged takes an acknowledgement. It ignores one that was never asked for, or is older than another that has come.
func (v *validity) acknowledged(seq int64, expiresAfter time.Duration, notRenewed []LockRef) {
	at := slices.IndexFunc(v.beats, func(b beat) bool { return b.seq == seq })
	if at < 0 {
		return
	}
	v.beats = slices.Delete(v.beats, 0, at)
	behind := make(map[LockRef]Moment, len(notRenewed)+len(v.settled))
	for _, lock := range notRenewed {
		behind[lock] = v.until(lock)
	}
	for lock := range v.settled {
		behind[lock] = v.until(lock)
	}
	v.behind = behind
	v.coveredUntil = v.beats[0].sent.Add(expiresAfter)
	v.lookAhead()
}

// settle notes that no more events come for this lock. It keeps its validity, and nothing is added to it. Acknowledgements
// leave it out from now on, though not in NotRenewed.
func (v *validity) settle(lock LockRef) {
	v.behind[lock] = v.until(lock)
	v.settled[lock] = struct{}{}
	v.lookAhead()
}

// until returns the end of the lock's validity.
func (v *validity) until(lock LockRef) Moment {
	if until, found := v.behind[lock]; found {
		return until
	}
	return v.coveredUntil
}

// runOut returns what has run out by now and was not reported before; nil if nothing has.
func (v *validity) runOut(now Moment) *runOut {
	if v.next == nil || *v.next > now {
		return nil
	}
	if v.coveredUntil <= now {
		v.next = nil
		return &runOut{all: true}
	}
	// Those reported stay in behind: a lock that has run out once must not become valid again.
	var over []LockRef
	next := v.coveredUntil
	for lock, until := range v.behind {
		if until <= now {
			over = append(over, lock)
		} else {
			next = min(next, until)
		}
	}
	slices.Sort(over)
	v.next = &next
	return &runOut{some: over}
}

func (v *validity) lookAhead() {
	next := v.coveredUntil
	for _, until := range v.behind {
		next = min(next, until)
	}
	v.next = &next
}

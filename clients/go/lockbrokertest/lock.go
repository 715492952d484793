package lockbrokertest

import (
	"slices"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

const (
	// alone stands for a permit where a lock is not shared.
	alone int32 = -1
	// maxPermits is the limit of who asks for none.
	maxPermits = 4096
)

// limitOf is the limit of a request; 0 for who wants the lock alone.
func limitOf(spec *pb.LockSpec) int32 {
	switch {
	case spec.GetMode() != pb.LockSpec_MODE_SHARED:
		return 0
	case spec.GetLimit() == 0:
		return maxPermits
	}
	return spec.GetLimit()
}

// lock is a lock of the broker's. The broker's mutex protects it, and all that it refers to.
type lock struct {
	name string
	// holders are those who have it: one alone, or each with a permit.
	holders []*grant
	waiters []*request
	// closed is until when nobody can have a permit; the lock itself is there as alone.
	closed map[int32]time.Time
	// failures are what the next requests fail with.
	failures []lockbroker.ErrorReason
	// lost has the reasons for which leases were lost, by their ids.
	lost map[string]pb.Lost_Reason
}

// find returns a holder; nil if there is none like that.
func (l *lock) find(is func(*grant) bool) *grant {
	if index := slices.IndexFunc(l.holders, is); index >= 0 {
		return l.holders[index]
	}
	return nil
}

// with returns who has this permit.
func (l *lock) with(permit int32) *grant {
	return l.find(func(grant *grant) bool { return grant.permit == permit })
}

// named returns who has the grant with this lock id.
func (l *lock) named(id string) *grant {
	return l.find(func(grant *grant) bool { return grant.id == id })
}

// at returns who has the lock at this place of a session.
func (l *lock) at(s *session, ref int64) *grant {
	return l.find(func(grant *grant) bool { return grant.session == s && grant.ref == ref })
}

// owner is the label of who has the lock alone.
func (l *lock) owner() string {
	if holder := l.with(alone); holder != nil {
		return holder.owner
	}
	return ""
}

// free returns what can be granted now: the lock alone, for a limit of 0, or the lowest permit that is free.
func (l *lock) free(limit int32) (permit int32, isFree bool) {
	isClosed := func(permit int32) bool { return time.Now().Before(l.closed[permit]) }
	switch {
	case limit == 0:
		return alone, len(l.holders) == 0 && l.opens().IsZero()
	case l.with(alone) != nil || isClosed(alone):
		return 0, false
	}
	for permit := range limit {
		if l.with(permit) == nil && !isClosed(permit) {
			return permit, true
		}
	}
	return 0, false
}

// opens returns when the first of what is closed is so no longer; zero if nothing is.
func (l *lock) opens() (first time.Time) {
	for _, closed := range l.closed {
		if time.Now().Before(closed) && (first.IsZero() || closed.Before(first)) {
			first = closed
		}
	}
	return first
}

// shut returns until when a permit is closed, or, for nil, any of the lock.
func (l *lock) shut(permit *int32) (last time.Time) {
	for of, closed := range l.closed {
		if (permit == nil || of == alone || of == *permit) && closed.After(last) {
			last = closed
		}
	}
	return last
}

// isWantedAlone reports whether somebody waits who wants the lock alone, and so lets in no others.
func (l *lock) isWantedAlone() bool {
	return slices.ContainsFunc(l.waiters, func(waiter *request) bool { return waiter.limit == 0 })
}

// remove takes away a grant.
func (l *lock) remove(over *grant) {
	over.drop()
	l.holders = slices.DeleteFunc(l.holders, func(each *grant) bool { return each == over })
}

// lose makes a holder lose the lock.
func (l *lock) lose(grant *grant, reason pb.Lost_Reason) {
	if reason == pb.Lost_REASON_UNSPECIFIED {
		reason = pb.Lost_REASON_EXPIRED
	}
	if grant.session != nil {
		grant.session.say(grant.ref, &pb.LockEvent{Kind: &pb.LockEvent_Lost{Lost: &pb.Lost{Reason: reason}}})
	} else {
		l.lost[grant.id] = reason
	}
	l.remove(grant)
}

// loseAll makes all holders lose the lock.
func (l *lock) loseAll(reason pb.Lost_Reason) {
	for _, grant := range slices.Clone(l.holders) {
		l.lose(grant, reason)
	}
}

func (l *lock) removeWaiter(waiter *request) {
	if waiter.timer != nil {
		waiter.timer.Stop()
	}
	l.waiters = slices.DeleteFunc(l.waiters, func(each *request) bool { return each == waiter })
}

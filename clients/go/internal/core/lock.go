package core

import (
	"time"
)

// state is the state of a lock. A lock that has been given up, refused or lost is gone. One whose release its stream
// cannot confirm goes to elsewhere.
//
//	          place           acquired          place              acquired
//	wanted ──────────▶ asked ──────────▶ held ──────────▶ moving ──────────▶ held
//	  ▲                 │                  │  ◀──────────    │
//	  └─────────────────┘                  │ end   failed    │ end
//	    leave, try later                   ▼                 ▼      acquired, failed
//	                                   releasing ◀──────── givenUp
type state int

const (
	// wanted: to be asked for as soon as there is a link.
	wanted state = iota
	// asked: asked for, at home.
	asked
	// held: held at home. That link is the one that counts.
	held
	// moving: held at home, and its reattach asked for at to. There is one at a time: a second would not know the lock id
	// that the first one's answer brings.
	moving
	// givenUp: given up while it was moving. It is to be released by the lock id that the answer brings.
	givenUp
	// releasing: given up; its end has been sent and not been answered.
	releasing
)

func (s state) String() string {
	return [...]string{"wanted", "asked", "held", "moving", "given_up", "releasing"}[s]
}

// lock is a lock as the client has it, from the call that wants it to its end. Every transition is here.
type lock struct {
	key  Key
	spec LockSpec
	wait *Wait
	// lockID is the id of the grant; before it is granted that of the grant to take over. Empty: a new one is wanted.
	lockID string
	// also are the ids of the locks that go with it, in the order of LockSpec.Others.
	also []string
	// permit is nil until the lock is held, and if it is not shared.
	permit *int
	// wantsPermit: it is held alone and to be shared. A reattach does that, also on the link where it is.
	wantsPermit bool
	// mayBeShared: a reattach that was to share it has not been answered.
	mayBeShared bool
	state       state
	// home is the place of the lock; none while it is wanted.
	home place
	// to is where its reattach was asked for, in moving and givenUp.
	to place
}

// next says what a transition leaves to be done beyond the lock.
type next interface{ isNext() }

type (
	// stay: nothing.
	stay struct{}
	// gone: forget the lock.
	gone struct{}
	// ask: ask the current link for it.
	ask struct{}
	// askLater: ask again after a pause; nil: of the usual length.
	askLater struct{ after *time.Duration }
	// retire: take the link out of use, for it does not keep its word.
	retire struct{ link LinkID }
	// releaseElsewhere: release it at any broker, within its validity.
	releaseElsewhere struct{ until Moment }
)

func (stay) isNext()             {}
func (gone) isNext()             {}
func (ask) isNext()              {}
func (askLater) isNext()         {}
func (retire) isNext()           {}
func (releaseElsewhere) isNext() {}

// isPending reports whether a call waits for the answer. If none does, home counts for the lock's validity.
func (l *lock) isPending() bool { return l.state == wanted || l.state == asked }

// isMoving reports whether a reattach is under way.
func (l *lock) isMoving() bool { return l.state == moving || l.state == givenUp }

// place asks a link for the lock if nobody has been asked, or for its reattach if it is held elsewhere.
func (l *lock) place(link *link, now Moment, out *[]Output) {
	switch {
	case l.state == wanted:
		l.home = link.begin(l, left(l.wait, now), out)
		l.state = asked
	case l.state == held && (l.home.link != link.id || l.wantsPermit):
		l.to = link.begin(l, nil, out)
		l.state = moving
	}
}

// share shares the lock from now on. Nothing may be written under it any more.
func (l *lock) share(limit *int) next {
	if l.permit != nil {
		return stay{}
	}
	l.spec.IsShared, l.wantsPermit = true, true
	if limit != nil {
		l.spec.Limit = limit
	}
	return ask{}
}

// take takes the lock ids and the permit that a grant or a reattach has brought.
func (l *lock) take(acquired WasAcquired) {
	l.lockID, l.also, l.permit = acquired.LockID, nil, acquired.Permit
	for _, also := range acquired.Also {
		l.also = append(l.also, also.LockID)
	}
}

// end gives the lock up, or the wait for it.
func (l *lock) end(links *links, now Moment, out *[]Output) next {
	switch l.state {
	case wanted:
		return gone{}
	case asked:
		links.forget(l.home, out)
		return gone{}
	case held:
		return l.release(links, now, out)
	case moving:
		l.state = givenUp
	}
	return stay{}
}

func (l *lock) release(links *links, now Moment, out *[]Output) next {
	link := links.get(l.home.link)
	if link == nil {
		return gone{}
	}
	if link.isOpen() && !link.isSilent(now) {
		link.end(l.home.lockRef, out)
		l.state = releasing
		return stay{}
	}
	until := link.until(l.home.lockRef)
	links.forget(l.home, out)
	return releaseElsewhere{until}
}

// resume goes on after a reattach that was not granted. It returns after for one that is still held.
func (l *lock) resume(after next, links *links, now Moment, out *[]Output) next {
	givenUp := l.state == givenUp
	l.state = held
	if givenUp {
		return l.release(links, now, out)
	}
	return after
}

// leave leaves a link that has been taken out of use, as far as it can be left: what is held there stays until it is
// reattached. answers says whether a release is still answered there.
func (l *lock) leave(id LinkID, answers bool, links *links, now Moment, out *[]Output) next {
	link := links.get(id)
	switch {
	case l.state == asked && l.home.link == id:
		links.forget(l.home, out)
		l.state = wanted
	// Unanswered, and nobody will ever know: the old lock id is all there is to try with.
	case l.isMoving() && l.to.link == id && (link == nil || !link.isOpen()):
		links.remove(l.to)
		l.mayBeShared = l.mayBeShared || l.wantsPermit
		return l.resume(stay{}, links, now, out)
	case l.state == releasing && l.home.link == id && !answers:
		until := now
		if link != nil {
			until = link.until(l.home.lockRef)
		}
		links.forget(l.home, out)
		return releaseElsewhere{until}
	}
	return stay{}
}

// event takes an event of this lock from its place.
func (l *lock) event(at place, event Event, links *links, now Moment, out *[]Output) next {
	switch l.state {
	case asked:
		return l.askedEvent(at, event, links, now, out)
	case moving, givenUp:
		if l.to == at {
			return l.movingEvent(event, links, now, out)
		}
		switch event.(type) {
		case WasLost, WasReleased:
			// The reattach makes the old broker lose the lock: the answer to it decides. It must come within what the old
			// broker has told so far, for that one knows of the lock no more.
			if link := links.get(at.link); link != nil {
				link.validity.settle(at.lockRef)
			}
		}
	case held:
		switch event := event.(type) {
		case WasLost:
			if len(l.also) > 0 {
				// Of several, the broker keeps the others from everybody for as long as they were valid.
				links.remove(l.home)
				*out = append(*out, Lost{l.key, event.Reason})
				return gone{}
			}
			return l.lose(event.Reason, links, out)
		case WasReleased:
			return l.lose(LostReleased, links, out)
		}
	case releasing:
		return l.releasingEvent(event, links, out)
	}
	return stay{}
}

func (l *lock) askedEvent(at place, event Event, links *links, now Moment, out *[]Output) next {
	link := links.get(at.link)
	if link == nil {
		return stay{}
	}
	switch event := event.(type) {
	case WasAcquired:
		// Nothing covers it: the broker has acknowledged no heartbeat for too long. It goes back, and a stream that works
		// is asked.
		if link.until(at.lockRef) <= now {
			return retire{at.link}
		}
		// A broker that does not know of several locks, or permits, takes the first alone.
		if len(event.Also) != len(l.spec.Others()) {
			links.forget(at, out)
			why := "the broker does not know how to acquire several locks or permits together"
			*out = append(*out, Failed{l.key, Failure{Code: CodeUnimplemented, Message: why}})
			return gone{}
		}
		l.state, l.home = held, at
		l.take(event)
		*out = append(*out, Granted{l.key, event.Grant, event.Also})
		return ask{}
	case HasFailed:
		// A broker that goes away tells its waiters so, perhaps before it tells that it does.
		if l.wait != nil && event.Failure.Code == CodeUnavailable {
			links.remove(at)
			l.state = wanted
			return askLater{event.Failure.RetryAfter}
		}
		*out = append(*out, Failed{l.key, event.Failure})
	case WasRefused:
		*out = append(*out, Refused{l.key, event.Refusal})
	case WasLost:
		*out = append(*out, Lost{l.key, event.Reason})
	default:
		return stay{}
	}
	links.remove(at)
	return gone{}
}

func (l *lock) movingEvent(event Event, links *links, now Moment, out *[]Output) next {
	switch event := event.(type) {
	case WasAcquired:
		// An answer counts only if what it brings is still good. (That the old validity has not run out is seen before
		// any input.)
		isWhole := len(event.Also) == len(l.also)
		if link := links.get(l.to.link); !isWhole || link == nil || link.until(l.to.lockRef) <= now {
			return l.lose(LostExpired, links, out)
		}
		links.remove(l.home)
		givenUp := l.state == givenUp
		l.state, l.home = held, l.to
		l.take(event)
		l.wantsPermit = l.wantsPermit && l.permit == nil
		l.mayBeShared = false
		if givenUp {
			return l.release(links, now, out)
		}
		*out = append(*out, Moved{l.key, l.lockID, l.also, l.permit})
		if l.wantsPermit {
			// Whatever keeps the broker from a permit may pass.
			return askLater{}
		}
		// The link may have been retired while it answered.
		return ask{}
	case HasFailed:
		links.remove(l.to)
		after := l.resume(askLater{event.Failure.RetryAfter}, links, now, out)
		if l.wantsPermit && !l.mayBeShared && event.Failure.Code.IsFinal() {
			l.spec.IsShared, l.spec.Limit, l.wantsPermit = false, nil, false
			*out = append(*out, NotShared{l.key, event.Failure})
		}
		return after
	default:
		return l.lose(LostGone, links, out)
	}
}

func (l *lock) releasingEvent(event Event, links *links, out *[]Output) next {
	switch event := event.(type) {
	case WasReleased, WasRefused:
		*out = append(*out, Released{l.key})
	case WasLost:
		*out = append(*out, Lost{l.key, event.Reason})
	case HasFailed:
		*out = append(*out, Failed{l.key, event.Failure})
	default:
		return stay{}
	}
	links.remove(l.home)
	return gone{}
}

// lose ends the lock as lost, wherever it is.
func (l *lock) lose(reason LostReason, links *links, out *[]Output) next {
	if l.isPending() {
		return stay{}
	}
	links.forget(l.home, out)
	if l.isMoving() {
		links.forget(l.to, out)
	}
	*out = append(*out, Lost{l.key, reason})
	return gone{}
}

// left returns the wait, less the time that has passed; nil to try once.
func left(wait *Wait, now Moment) *WaitLeft {
	if wait == nil {
		return nil
	}
	left := &WaitLeft{PollInterval: wait.PollInterval}
	if wait.Until != nil {
		span := wait.Until.Since(now)
		left.MaxWait = &span
	}
	return left
}

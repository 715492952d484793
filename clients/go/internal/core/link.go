package core

import (
	"slices"
	"time"
)

// place is a lock on a link.
type place struct {
	link    LinkID
	lockRef LockRef
}

// phase is the state of a link. It only goes on.
type phase int

const (
	// current: the link takes new locks. There is one such link at most.
	current phase = iota
	// retired: it takes no new locks, and stays open until those that it has are elsewhere. Closing it would release them.
	retired
	// ended: the other side has ended it. What it covered is still what bounds a reattach.
	ended
)

// link is one Session stream: what was sent on it, what it covers, and when it has to be heard again.
type link struct {
	id LinkID
	// endpoint is the number of the endpoint.
	endpoint int
	// ttl is that of its locks, as granted.
	ttl   time.Duration
	phase phase
	// locks are those that were begun here and have not ended.
	locks             map[LockRef]Key
	validity          validity
	lastRef           LockRef
	lastSeq           int64
	heartbeatInterval time.Duration
	nextBeat          Moment
	// heardAt is the moment of the broker's last message.
	heardAt Moment
}

// Notice returns how long before the end of its validity a lock of this ttl counts as lost (docs/safety.md, R6a).
func Notice(ttl time.Duration) time.Duration { return ttl / 30 }

// newLink makes the link of a Session whose Open was sent at sent and has been answered now.
func newLink(id LinkID, endpoint int, sent, now Moment, terms Opened) *link {
	return &link{
		id:                id,
		endpoint:          endpoint,
		ttl:               terms.TTL,
		locks:             map[LockRef]Key{},
		validity:          newValidity(sent, max(0, terms.ExpiresAfter-Notice(terms.TTL))),
		heartbeatInterval: terms.HeartbeatInterval,
		// The validity counts from Open, and so do the heartbeats that carry it on. After an answer that took long, the
		// first would come too late.
		nextBeat: sent.Add(terms.HeartbeatInterval),
		heardAt:  now,
	}
}

// begin asks for a lock and returns its place here.
func (l *link) begin(lock *lock, wait *WaitLeft, out *[]Output) place {
	l.lastRef++
	l.locks[l.lastRef] = lock.key
	spec := lock.spec
	if lock.lockID != "" {
		// A reattach names each permit.
		spec.Weight = nil
	}
	l.send(Begin{LockRef: l.lastRef, Spec: spec, Wait: wait, Reattach: lock.lockID, ReattachAlso: lock.also}, out)
	return place{l.id, l.lastRef}
}

// end releases a lock or gives up the wait for it. The stream keeps order, so a grant that crosses this is released by it.
func (l *link) end(lock LockRef, out *[]Output) { l.send(EndLock{lock}, out) }

func (l *link) send(request Request, out *[]Output) {
	if l.isOpen() {
		*out = append(*out, Send{l.id, request})
	}
}

// acknowledged takes an acknowledgement.
func (l *link) acknowledged(ack HeartbeatAck) {
	l.validity.acknowledged(ack.Seq, max(0, ack.ExpiresAfter-Notice(l.ttl)), ack.NotRenewed)
}

// until returns the end of a lock's validity.
func (l *link) until(lock LockRef) Moment { return l.validity.until(lock) }

func (l *link) isOpen() bool { return l.phase != ended }

// beat sends a heartbeat if one is due.
func (l *link) beat(now Moment, out *[]Output) {
	if !l.isOpen() || now < l.nextBeat {
		return
	}
	l.lastSeq++
	l.validity.beat(l.lastSeq, now)
	l.send(Heartbeat{l.lastSeq}, out)
	l.nextBeat = now.Add(l.heartbeatInterval)
}

// silentAt returns the moment from which the silence means that something is wrong: half a ttl after the last message. An
// acknowledgement may take a sixth of the ttl. The rest is for its way.
func (l *link) silentAt() Moment { return l.heardAt.Add(l.ttl/2 + l.ttl/30) }

// isSilent reports whether the silence has lasted too long.
func (l *link) isSilent(now Moment) bool { return now >= l.silentAt() }

// due returns the moment at which this link has something to do next; Never: not before a message comes.
func (l *link) due() Moment {
	due := never
	if l.validity.next != nil && len(l.locks) > 0 {
		due = *l.validity.next
	}
	if l.isOpen() {
		due = min(due, l.nextBeat)
	}
	if l.phase == current {
		due = min(due, l.silentAt())
	}
	return due
}

// keys returns the keys of the link's locks, in the order in which they were begun.
func (l *link) keys() []Key {
	refs := make([]LockRef, 0, len(l.locks))
	for ref := range l.locks {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	keys := make([]Key, len(refs))
	for at, ref := range refs {
		keys[at] = l.locks[ref]
	}
	return keys
}

// links are all streams of a client.
type links struct{ all []*link }

// get returns a link; nil if there is none with this id.
func (l *links) get(id LinkID) *link {
	for _, each := range l.all {
		if each.id == id {
			return each
		}
	}
	return nil
}

// current returns the one that takes new locks; nil if there is none.
func (l *links) current() *link {
	for _, each := range l.all {
		if each.phase == current {
			return each
		}
	}
	return nil
}

// remove takes a lock off its link without a word.
func (l *links) remove(at place) {
	if link := l.get(at.link); link != nil {
		delete(link.locks, at.lockRef)
	}
}

// forget ends a lock, and ignores whatever the broker says of it from now on.
func (l *links) forget(at place, out *[]Output) {
	if link := l.get(at.link); link != nil {
		delete(link.locks, at.lockRef)
		link.end(at.lockRef, out)
	}
}

package lockbroker

import (
	"sync"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
)

// hold is the state that a guard shares with the session.
type hold struct {
	name string

	mu   sync.Mutex
	held core.HeldLock
	// err is why the holder may not act any more; nil while it may.
	err error
	// lostErr is how the lock was lost; nil if it was not.
	lostErr *LostError
	// result is the outcome of the release; set before done is closed.
	result error
	// onEnd is called once, when err is set.
	onEnd func(error)
	// notShared is why the lock is held alone, though it was to be shared; nil if nobody has said so.
	notShared error
	// changed is closed, and made anew, when the lock has a permit, when notShared is set, and when err is.
	changed chan struct{}
	// value is the one that the lock was given last; nil if it has that with which it was asked for.
	value []byte
	// updating has room for one: for who brings brokers the value.
	updating chan struct{}

	// lost is closed when the lock is lost.
	lost chan struct{}
	// done is closed when the session is done with the lock.
	done chan struct{}
}

func newHold(name string, held core.HeldLock) *hold {
	return &hold{
		name: name, held: held, updating: make(chan struct{}, 1), lost: make(chan struct{}), done: make(chan struct{}),
		changed: make(chan struct{}),
	}
}

// look returns the lock's state. First it marks a lock that has run out as lost, so that nothing later can revive it.
func (h *hold) look() (core.HeldLock, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runOut()
	return h.held, h.err
}

func (h *hold) runOut() {
	if h.err == nil && h.held.Until.HasPassed() {
		h.loseLocked(&LostError{Lock: h.name, Reason: LostExpired})
	}
}

// publish takes what the core knows of the lock by now. It is false if that comes too late: the holder has been told that
// the lock is lost.
func (h *hold) publish(held core.HeldLock) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runOut()
	if h.err != nil {
		return h.lostErr == nil
	}
	isShared := h.held.Permit == nil && held.Permit != nil
	h.held = held
	if isShared {
		h.tellChanged()
	}
	return true
}

// lose ends the hold, unless it has ended.
func (h *hold) lose(lost *LostError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loseLocked(lost)
}

func (h *hold) loseLocked(lost *LostError) {
	if h.lostErr == nil {
		h.lostErr = lost
		close(h.lost)
	}
	h.endLocked(lost)
}

// finish ends the hold by the holder's own will.
func (h *hold) finish(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runOut()
	h.endLocked(err)
}

func (h *hold) endLocked(err error) {
	if h.err != nil {
		return
	}
	h.err = err
	h.tellChanged()
	if h.onEnd != nil {
		h.onEnd(err)
	}
}

// over says that the session is done with the lock: it has been released, if err is nil.
func (h *hold) over(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.endLocked(err)
	} else {
		h.endLocked(ErrReleased)
	}
	h.result = err
	if err == nil && h.lostErr != nil {
		h.result = h.lostErr
	}
	close(h.done)
}

// watch calls onEnd when the holder may not act any more; at once if so it is.
func (h *hold) watch(onEnd func(error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runOut()
	h.onEnd = onEnd
	if h.err != nil {
		onEnd(h.err)
	}
}

// remaining is the time for which the holder may act.
func (h *hold) remaining() time.Duration {
	held, err := h.look()
	if err != nil || held.IsBroken {
		return 0
	}
	return held.Until.Remaining()
}

package lockbroker

import (
	"context"
	"fmt"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
)

// Downgrade shares the lock from now on, and waits until it has a permit, which [Lock.Permit] tells: others may share it too, up to the
// [Limit] at a time, and nobody has it alone in between. The fencing token stays. It does nothing if the lock is shared already.
//
// Stop writing before you call it: others may share the lock before it returns, and also if it returns an error.
//
// It returns a [*LostError] if the lock is lost, the error of ctx if that has ended, and otherwise an [*Error]: ErrInvalid if the limit is
// not 1 to 4,096, and if the lock has a [MinHold], a [Value] or others beside it, by [Also]: then it is held alone, as before. ErrUnavailable
// if no broker could do it within the [AnswerTimeout]; ErrReleased or ErrClosed after Release or Close. When ctx ends, and after
// ErrUnavailable, the lock may still become a shared one.
func (l *Lock) Downgrade(ctx context.Context, options ...DowngradeOption) error {
	share := core.Share{Key: l.key}
	for _, option := range options {
		option.setDowngrade(&share)
	}
	if err := checkLimit(l.Name(), share.Limit); err != nil {
		return err
	}
	if len(l.names) > 1 {
		text := "several locks are held together, and only one alone can be shared from now on"
		return &Error{Kind: ErrInvalid, Lock: l.Name(), Message: text}
	}
	l.hold.wantToShare()
	// If the session has ended, so has the lock.
	l.session.do(func() { l.session.step(share) })
	timeout := time.NewTimer(l.session.answerTimeout)
	defer timeout.Stop()
	for {
		isOver, changed, err := l.hold.shared()
		if isOver {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return givenUp(ctx, l.Name())
		case <-timeout.C:
			return unavailable(l.Name(), "no broker has shared the lock in time; it may still become a shared one")
		}
	}
}

// checkLimit returns an error for a limit that cannot be. One of 0 would be sent as none.
func checkLimit(lock string, limit *int) error {
	if limit != nil && (*limit < 1 || *limit > maxPermits) {
		return &Error{Kind: ErrInvalid, Lock: lock, Message: fmt.Sprintf("a limit of %d: take 1 to %d", *limit, maxPermits)}
	}
	return nil
}

// wantToShare forgets why the lock could not be shared before.
func (h *hold) wantToShare() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notShared = nil
}

// refuseToShare says why the lock is held alone, as before.
func (h *hold) refuseToShare(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.notShared = err
	h.tellChanged()
}

// shared returns what came of sharing the lock. If that is not over, changed is closed when it may be.
func (h *hold) shared() (isOver bool, changed <-chan struct{}, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runOut()
	switch {
	case h.err != nil:
		return true, nil, h.err
	case h.notShared != nil:
		return true, nil, h.notShared
	}
	return h.held.Permit != nil, h.changed, nil
}

// tellChanged wakes who waits for a change.
func (h *hold) tellChanged() {
	close(h.changed)
	h.changed = make(chan struct{})
}

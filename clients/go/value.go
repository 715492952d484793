package lockbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// maxValueBytes is the longest value, as brokers have it.
const maxValueBytes = 1024

// updateAgain is the pause before an update is tried again that somebody else's was in the way of, or a reattach.
const updateAgain = 50 * time.Millisecond

// checkValue returns an error for a value that no broker takes.
func checkValue(lock string, value []byte) error {
	if len(value) > maxValueBytes {
		text := fmt.Sprintf("the value has %d bytes, and brokers take at most %d", len(value), maxValueBytes)
		return &Error{Kind: ErrInvalid, Lock: lock, Message: text}
	}
	return nil
}

func withoutValue(lock string) error {
	return &Error{Kind: ErrInvalid, Lock: lock, Message: "it was asked for without a value, so it can be given none: use Value"}
}

// Update gives the lock another value, for those who observe it, by [Client.Observe], and waits until a broker has taken it. The lock
// has to have been asked for with a [Value]. Of several updates at a time the last one counts. When ctx ends, the update may happen
// all the same.
//
// It returns a [*LostError] if the lock is lost, the error of ctx if that has ended, and otherwise an [*Error]: ErrInvalid if value has
// more than 1,024 bytes, or the lock was asked for without one; ErrUnavailable if no broker could do it within the [AnswerTimeout], and
// then those who observe may see either value until the next update; ErrReleased or ErrClosed after Release or Close.
func (l *Lock) Update(ctx context.Context, value []byte) error {
	if err := checkValue(l.Name(), value); err != nil {
		return err
	}
	// Only the broker that keeps the lock could say so.
	if !l.hasValue {
		return withoutValue(l.Name())
	}
	value = slices.Concat([]byte{}, value)
	l.hold.give(value)
	// First of all, so that a reattach brings it. If the session has ended, so has the lock.
	l.session.do(func() { l.session.step(core.NewValue{Key: l.key, Value: value}) })
	return l.session.bringValue(ctx, l.hold)
}

// give notes the value that the lock is to have.
func (h *hold) give(value []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.value = value
}

// toUpdate returns the lock id, and the value that the lock was given last; nil if it was given none.
func (h *hold) toUpdate() (lockID string, value []byte, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runOut()
	return h.held.LockID, h.value, h.err
}

// bringAlong brings the value that a lock was given last to where it has moved: its reattach may have been under way with an earlier
// one.
func (s *session) bringAlong(key core.Key) {
	caller := s.callers[key]
	if caller == nil || caller.hold == nil {
		return
	}
	if _, value, err := caller.hold.toUpdate(); value == nil || err != nil {
		return
	}
	go func() {
		if err := s.bringValue(context.Background(), caller.hold); err != nil {
			s.logger.Debug("the value has not moved along", "lock", caller.name, "error", err)
		}
	}()
}

// bringValue brings brokers the value that the holder of a lock has given it last. One at a time does so, and each brings the latest:
// so an older one never comes after it.
func (s *session) bringValue(ctx context.Context, hold *hold) error {
	called, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.brokers.ending, cancel)()
	ended := func() error {
		if _, _, err := hold.toUpdate(); err != nil {
			return err
		}
		if s.brokers.ending.Err() != nil {
			return closedError(hold.name)
		}
		return givenUp(ctx, hold.name)
	}
	select {
	case hold.updating <- struct{}{}:
		defer func() { <-hold.updating }()
	case <-called.Done():
		return ended()
	}
	for until := now().Add(s.answerTimeout); ; {
		isDone, err := s.bringOnce(called, hold)
		switch {
		case called.Err() != nil && err != nil:
			return ended()
		case isDone, err != nil && (!errors.Is(err, ErrUnavailable) || until.HasPassed()):
			return err
		case err != nil:
			select {
			case <-time.After(updateAgain):
			case <-called.Done():
				return ended()
			}
		}
	}
}

// bringOnce calls UpdateLock. It is neither done nor an error if the lock has moved meanwhile, perhaps with the value from before.
func (s *session) bringOnce(ctx context.Context, hold *hold) (isDone bool, err error) {
	lockID, value, err := hold.toUpdate()
	if err != nil {
		return false, err
	}
	request := &pb.UpdateLockRequest{Name: hold.name, LockId: lockID, Value: value}
	var answer *pb.UpdateLockResponse
	err = s.brokers.call(ctx, hold.name, func(ctx context.Context, stub pb.LockServiceClient) (err error) {
		answer, err = stub.UpdateLock(ctx, request)
		return err
	})
	if err != nil {
		return false, err
	}
	switch answer.GetOutcome() {
	case pb.UpdateLockResponse_OUTCOME_UPDATED:
		now, _, _ := hold.toUpdate()
		return now == lockID, nil
	case pb.UpdateLockResponse_OUTCOME_NOT_HELD, pb.UpdateLockResponse_OUTCOME_HELD_BY_ANOTHER:
		// It is about to move: its new id is on the way.
		return false, unavailable(hold.name, "the brokers know this lock by another id, or no more")
	case pb.UpdateLockResponse_OUTCOME_NO_VALUE:
		return false, withoutValue(hold.name)
	}
	return false, unexpected(hold.name, "an update without an outcome")
}

package main

import (
	"context"
	"errors"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
)

var refusals = map[lockbroker.NotAcquiredReason]string{
	lockbroker.Held:            "HELD",
	lockbroker.Lingering:       "LINGERING",
	lockbroker.WaitOver:        "MAX_WAIT",
	lockbroker.NotReattachable: "NOT_REATTACHABLE",
}

var losses = map[lockbroker.LostReason]string{
	lockbroker.LostExpired:   "EXPIRED",
	lockbroker.LostGone:      "GONE",
	lockbroker.LostTakenOver: "TAKEN_OVER",
	lockbroker.LostRevoked:   "REVOKED",
	lockbroker.LostReleased:  "RELEASED",
}

var kinds = map[error]string{
	lockbroker.ErrInvalid:     "INVALID",
	lockbroker.ErrDenied:      "DENIED",
	lockbroker.ErrUnavailable: "UNAVAILABLE",
	lockbroker.ErrExhausted:   "EXHAUSTED",
	lockbroker.ErrHandshake:   "HANDSHAKE",
	lockbroker.ErrProtocol:    "PROTOCOL",
	lockbroker.ErrClosed:      "CLOSED",
	lockbroker.ErrEndpoint:    "ENDPOINT",
	lockbroker.ErrTLS:         "TLS",
}

// failed answers with an error.
func failed(err error) answer {
	var (
		refused *lockbroker.NotAcquiredError
		lost    *lockbroker.LostError
		ours    *lockbroker.Error
	)
	switch {
	case errors.As(err, &refused):
		return answer{"not_acquired": answer{"reason": refusals[refused.Reason], "owner": refused.Owner}}
	case errors.As(err, &lost):
		return answer{"lost": answer{"reason": losses[lost.Reason]}}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return answer{"cancelled": true}
	case errors.As(err, &ours) && kinds[ours.Kind] != "":
		return answer{"error": answer{"kind": kinds[ours.Kind], "message": err.Error()}}
	}
	return unexpected(err.Error())
}

func unexpected(message string) answer {
	return answer{"error": answer{"kind": "UNEXPECTED", "message": message}}
}

// guard is a lock or a lease.
type guard interface {
	Check() error
	Remaining() time.Duration
	Release() error
}

// hasGrant is a lock, one of several, or a lease.
type hasGrant interface {
	Token() int64
	ID() string
	Permit() (int, bool)
}

// grant tells what a lock or a lease was granted with.
func grant(lock hasGrant) answer {
	told := answer{"token": lock.Token(), "lock_id": lock.ID()}
	if permit, isShared := lock.Permit(); isShared {
		told["permit"] = permit
	}
	return told
}

// granted tells of a lock, or a lease.
func granted(lock hasGrant) answer {
	told := grant(lock)
	if lock, isLock := lock.(*lockbroker.Lock); isLock && len(lock.Locks()) > 1 {
		var also []answer
		for _, other := range lock.Locks()[1:] {
			each := grant(other)
			each["name"] = other.Name()
			also = append(also, each)
		}
		told["also"] = also
	}
	return answer{"granted": told}
}

// checked asks a lock if it is held.
func checked(lock guard) answer {
	err := lock.Check()
	switch {
	case err == nil:
		return answer{"held": answer{"remaining_ms": lock.Remaining().Milliseconds()}}
	case isOver(err):
		return answer{"lost": answer{"reason": "ENDED"}}
	}
	return failed(err)
}

// isOver reports whether a check has found that the lock was released here.
func isOver(err error) bool {
	return errors.Is(err, lockbroker.ErrReleased) || errors.Is(err, lockbroker.ErrClosed)
}

package lockbroker

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
)

// The kinds of an [Error], for [errors.Is].
var (
	// ErrEndpoint: the address of a broker is none. Nothing was sent.
	ErrEndpoint = errors.New("no endpoint")
	// ErrTLS: a certificate or key for TLS cannot be used. Nothing was sent.
	ErrTLS = errors.New("cannot use TLS")
	// ErrHandshake: the broker's certificate is not accepted here, or this client's is not accepted there. It would be the
	// same again.
	ErrHandshake = errors.New("cannot agree on TLS")
	// ErrProtocol: what listens there is no broker, or one side speaks TLS and the other does not. It would be the same again.
	ErrProtocol = errors.New("not a broker's protocol")
	// ErrInvalid: the request is wrong, and would be again: a name, an owner or a duration out of bounds.
	ErrInvalid = errors.New("invalid request")
	// ErrUnavailable: no broker could be reached or none answered in time, or the broker cannot reach its store. Try again
	// later.
	ErrUnavailable = errors.New("unavailable")
	// ErrExhausted: the store is full, or the broker has as many locks or waiters as it may have.
	ErrExhausted = errors.New("no room")
	// ErrDenied: the broker does not allow it.
	ErrDenied = errors.New("not allowed")
	// ErrUnexpected: an answer that a broker does not give. Is it one that listens there, and of this version?
	ErrUnexpected = errors.New("unexpected answer")
	// ErrReleased: the lock has been released here.
	ErrReleased = errors.New("released")
	// ErrClosed: the client has been closed.
	ErrClosed = errors.New("client closed")
)

// Error is a failure. [NotAcquiredError] and [LostError] have types of their own.
type Error struct {
	// Kind is one of the errors of this package, such as ErrUnavailable. errors.Is finds it.
	Kind error
	// Lock is the lock's name; empty where it is about no lock.
	Lock string
	// Message says what happened and what to do, for people.
	Message string
	// Reason is the broker's reason, for programs; empty if no broker gave one.
	Reason ErrorReason
	// RetryAfter is the time after which another try makes sense; 0 if the broker said none.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Lock == "" {
		return fmt.Sprintf("lockbroker: %v: %s", e.Kind, e.Message)
	}
	return fmt.Sprintf("lockbroker: lock %q: %v: %s", e.Lock, e.Kind, e.Message)
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }

// NotAcquiredError says that a lock was not acquired, for a reason that is no failure: somebody else has it, mostly.
type NotAcquiredError struct {
	// Lock is the lock's name. Of several that were asked for together, by [Also], it is the name of the one for which none was
	// acquired.
	Lock string
	// Reason is the reason.
	Reason NotAcquiredReason
	// Owner is the label of the present holder; empty if it has none or it is not known.
	Owner string
}

func (e *NotAcquiredError) Error() string {
	text := fmt.Sprintf("lockbroker: lock %q: not acquired: %v", e.Lock, e.Reason)
	if e.Owner != "" {
		text += fmt.Sprintf(" (holder: %s)", e.Owner)
	}
	return text
}

func notAcquired(lock string, refusal core.Refusal) error {
	reason := NotAcquiredReason(refusal.Reason)
	if refusal.Name != "" {
		lock = refusal.Name
	}
	switch reason {
	case Held, Lingering, WaitOver, NotReattachable:
		return &NotAcquiredError{Lock: lock, Reason: reason, Owner: refusal.Owner}
	}
	// None of the others was asked for.
	return unexpected(lock, "not acquired, for a reason that this client does not know")
}

// NotAcquiredReason is the reason for which a lock was not acquired.
type NotAcquiredReason int

const (
	// Held: somebody holds it.
	Held = NotAcquiredReason(core.RefusedHeld)
	// Lingering: it was released and its [Linger] or its [MinHold] is not over, or it was revoked and is still closed.
	Lingering = NotAcquiredReason(core.RefusedLingering)
	// WaitOver: the wait is over.
	WaitOver = NotAcquiredReason(core.RefusedMaxWait)
	// NotReattachable: the grant to adopt has ended, or has moved on to another lock id.
	NotReattachable = NotAcquiredReason(core.RefusedNotReattachable)
)

func (r NotAcquiredReason) String() string {
	switch r {
	case Held:
		return "held"
	case Lingering:
		return "closed after its release or revocation"
	case WaitOver:
		return "not free in time"
	case NotReattachable:
		return "no such grant, or no longer"
	}
	return fmt.Sprintf("reason %d", int(r))
}

// LostError says that a lock was lost. Somebody else may have had it since.
type LostError struct {
	// Lock is the lock's name.
	Lock string
	// Reason is the way in which it was lost.
	Reason LostReason
}

func (e *LostError) Error() string {
	return fmt.Sprintf("lockbroker: lock %q was lost: %v", e.Lock, e.Reason)
}

// LostReason is the way in which a lock was lost.
type LostReason int

const (
	// LostExpired: no renewal got through in time, by the broker's clock or by the client's.
	LostExpired = LostReason(core.LostExpired)
	// LostGone: the store no longer has the grant; it was released elsewhere, or went with the store's memory.
	LostGone = LostReason(core.LostGone)
	// LostTakenOver: the store has another grant in its place.
	LostTakenOver = LostReason(core.LostTakenOver)
	// LostRevoked: an operator revoked it.
	LostRevoked = LostReason(core.LostRevoked)
	// LostReleased: somebody released it by its lock id.
	LostReleased = LostReason(core.LostReleased)
)

func (r LostReason) String() string {
	switch r {
	case LostExpired:
		return "no renewal got through in time"
	case LostGone:
		return "the store no longer has it"
	case LostTakenOver:
		return "another grant took its place"
	case LostRevoked:
		return "an operator revoked it"
	case LostReleased:
		return "it was released by its lock id"
	}
	return fmt.Sprintf("reason %d", int(r))
}

func unavailable(lock, message string) *Error {
	return &Error{Kind: ErrUnavailable, Lock: lock, Message: message}
}

func unexpected(lock, message string) *Error {
	return &Error{Kind: ErrUnexpected, Lock: lock, Message: message}
}

func closedError(lock string) *Error {
	return &Error{Kind: ErrClosed, Lock: lock, Message: "Close was called"}
}

// fromFailure makes the error of a call, or of one lock of a Session, that failed.
func fromFailure(lock string, failure core.Failure) *Error {
	// The broker names the lock in its text, and so does this error.
	message := strings.TrimPrefix(failure.Message, fmt.Sprintf("lock %q: ", lock))
	made := &Error{Lock: lock, Message: message, Reason: ErrorReason(failure.Reason)}
	if failure.RetryAfter != nil {
		made.RetryAfter = *failure.RetryAfter
	}
	switch failure.Code {
	case core.CodeInvalidArgument:
		made.Kind = ErrInvalid
	case core.CodeUnavailable, core.CodeHandshake:
		made.Kind = ErrUnavailable
	case core.CodeResourceExhausted:
		made.Kind = ErrExhausted
	case core.CodePermissionDenied, core.CodeUnauthenticated:
		made.Kind = ErrDenied
	default:
		made.Kind = ErrUnexpected
		made.Message = fmt.Sprintf("status %d: %s", failure.Code, message)
	}
	return made
}

// toFailure tells the core of a call that failed.
func toFailure(err error) *core.Failure {
	failure := core.Failure{Code: core.CodeInternal, Message: err.Error()}
	var ours *Error
	if errors.As(err, &ours) {
		failure.Reason = string(ours.Reason)
		switch ours.Kind {
		case ErrUnavailable, ErrHandshake, ErrProtocol:
			failure.Code = core.CodeUnavailable
		case ErrInvalid:
			failure.Code = core.CodeInvalidArgument
		case ErrExhausted:
			failure.Code = core.CodeResourceExhausted
		case ErrDenied:
			failure.Code = core.CodePermissionDenied
		}
	}
	return &failure
}

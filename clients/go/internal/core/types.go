package core

import (
	"slices"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/clock"
)

type (
	// Moment is a point on the lease clock.
	Moment = clock.Moment
	// Key is the client's own number for one call and for its lock. It rises.
	Key uint64
	// LinkID tells the streams of one client apart.
	LinkID uint64
	// LockRef is a lock's handle on one stream.
	LockRef int64
)

// Input is something that has happened.
type Input interface{ isInput() }

type (
	// Acquire says that a call wants a lock.
	Acquire struct {
		// Key is a new key.
		Key  Key
		Spec LockSpec
		// Wait is nil to try once.
		Wait *Wait
		// Adopt is the lock id of a grant to take over; empty to ask for a new one.
		Adopt string
	}
	// End says that a lock, or the wait for it, is no longer wanted. It is ignored if the lock has ended.
	End struct{ Key Key }
	// NewValue says that a lock is to have another value: each reattach from now on brings it. It is ignored if the lock was asked
	// for without one, or has ended.
	NewValue struct {
		Key   Key
		Value []byte
	}
	// Share says that a lock that is held alone is to be shared from now on. It is ignored if it is shared already, or has ended.
	Share struct {
		Key Key
		// Limit is as in LockSpec.
		Limit *int
	}
	// Dialled says that a connection stands, or that it cannot be made.
	Dialled struct {
		Link LinkID
		// Failure is nil if it stands.
		Failure *Failure
	}
	// Received says that a message has come.
	Received struct {
		Link    LinkID
		Message Message
	}
	// Ended says that a stream has ended, though nobody here has hung up.
	Ended struct {
		Link    LinkID
		Failure Failure
	}
	// ReleasedElsewhere says that a call of Release has been answered, or has failed. Any answer means that the lock is
	// not held any more.
	ReleasedElsewhere struct {
		Key Key
		// Failure is nil if it has been answered.
		Failure *Failure
	}
	// Timeout says nothing but that time has passed.
	Timeout struct{}
)

func (Acquire) isInput()           {}
func (End) isInput()               {}
func (NewValue) isInput()          {}
func (Share) isInput()             {}
func (Dialled) isInput()           {}
func (Received) isInput()          {}
func (Ended) isInput()             {}
func (ReleasedElsewhere) isInput() {}
func (Timeout) isInput()           {}

// Output is something to do. Outputs are carried out in their order.
type Output interface{ isOutput() }

type (
	// Dial asks for a new connection; Dialled answers.
	Dial struct {
		Link LinkID
		// Endpoint is the number of the endpoint.
		Endpoint int
	}
	// Send asks to send a message.
	Send struct {
		Link    LinkID
		Request Request
	}
	// Hangup asks to close a connection, or to give up making it. Nothing of it counts any more.
	Hangup struct{ Link LinkID }
	// Granted says that a call has its lock.
	Granted struct {
		Key Key
		Grant
		// Also are the locks that it has together with that, in the order of LockSpec.Others.
		Also []Grant
	}
	// Moved says that a lock has been reattached. It is the same grant, with another id.
	Moved struct {
		Key    Key
		LockID string
		// Also are the ids of the locks that it has together with that.
		Also []string
		// Permit is nil for a lock that is not shared.
		Permit *int
	}
	// NotShared says that a lock that was to be shared is held alone, as before.
	NotShared struct {
		Key     Key
		Failure Failure
	}
	// Refused says that a call does not get its lock.
	Refused struct {
		Key     Key
		Refusal Refusal
	}
	// Failed says that a call has failed, or a release.
	Failed struct {
		Key     Key
		Failure Failure
	}
	// Lost says that a lock is no longer held.
	Lost struct {
		Key    Key
		Reason LostReason
	}
	// Released says that a lock has been released.
	Released struct{ Key Key }
	// ReleaseElsewhere asks to call Release at any broker; ReleasedElsewhere answers.
	ReleaseElsewhere struct {
		Key    Key
		Name   string
		LockID string
	}
)

func (Dial) isOutput()             {}
func (Send) isOutput()             {}
func (Hangup) isOutput()           {}
func (Granted) isOutput()          {}
func (Moved) isOutput()            {}
func (NotShared) isOutput()        {}
func (Refused) isOutput()          {}
func (Failed) isOutput()           {}
func (Lost) isOutput()             {}
func (Released) isOutput()         {}
func (ReleaseElsewhere) isOutput() {}

// LockSpec is a lock that is asked for.
type LockSpec struct {
	Name string
	// Linger is nil for the broker's default.
	Linger *time.Duration
	// MinHold is the least time for which nobody else gets it; nil for none.
	MinHold *time.Duration
	// IsKept: the end of a stream does not release it.
	IsKept bool
	// Owner is the label that others see; empty for none.
	Owner string
	// IsShared: others may have it too, each with a permit.
	IsShared bool
	// Limit is the most that share it at a time; nil for as many as there are permits. It is set only if IsShared is.
	Limit *int
	// Weight is how many permits it takes at once; nil for one. It is set only if IsShared is.
	Weight *int
	// Also are the names of other locks that are wanted together with it, in the same way: all or none.
	Also []string
	// Value is for those who observe the lock; nil for none.
	Value []byte
}

// Others returns the names of the locks that are had together with this one: other locks, or other permits of the same.
func (s *LockSpec) Others() []string {
	if s.Weight == nil {
		return s.Also
	}
	return slices.Concat(s.Also, slices.Repeat([]string{s.Name}, max(0, *s.Weight-1)))
}

// Grant is what a lock is granted with.
type Grant struct {
	LockID       string
	FencingToken int64
	// Permit is nil for a lock that is not shared.
	Permit *int
}

// Wait is the way to wait for a lock.
type Wait struct {
	// Until is the end of the wait; nil to wait for as long as it takes.
	Until *Moment
	// PollInterval is the least time between two of the broker's polls; nil for the broker's choice.
	PollInterval *time.Duration
}

// Request is a message to a broker.
type Request interface{ isRequest() }

type (
	// Open opens the Session, with the ttl of the settings.
	Open struct{}
	// Heartbeat says that the client lives.
	Heartbeat struct {
		// Seq rises by one.
		Seq int64
	}
	// Begin asks for a lock.
	Begin struct {
		// LockRef rises by one.
		LockRef LockRef
		Spec    LockSpec
		// Wait is nil to try once.
		Wait *WaitLeft
		// Reattach is the lock id to reattach; empty for none.
		Reattach string
		// ReattachAlso are those of the locks that go with it: of LockSpec.Also, or more permits of the same lock. Empty for none.
		ReattachAlso []string
	}
	// EndLock gives up a lock, or the wait for it.
	EndLock struct{ LockRef LockRef }
)

func (Open) isRequest()      {}
func (Heartbeat) isRequest() {}
func (Begin) isRequest()     {}
func (EndLock) isRequest()   {}

// WaitLeft is a wait, as a broker is told of it.
type WaitLeft struct {
	// MaxWait is the time that is left; nil to wait for as long as it takes.
	MaxWait *time.Duration
	// PollInterval is as in Wait.
	PollInterval *time.Duration
}

// Message is a message from a broker.
type Message interface{ isMessage() }

type (
	// Opened says that the Session is open.
	Opened struct {
		// TTL is the ttl as granted.
		TTL time.Duration
		// ExpiresAfter: locks granted from now on are valid for this long after Open was sent.
		ExpiresAfter time.Duration
		// HeartbeatInterval is the time from one heartbeat to the next; not 0.
		HeartbeatInterval time.Duration
	}
	// HeartbeatAck acknowledges a heartbeat.
	HeartbeatAck struct {
		Seq int64
		// ExpiresAfter: all locks but those in NotRenewed are valid for this long after the heartbeat was sent.
		ExpiresAfter time.Duration
		// NotRenewed are the locks that keep what they had.
		NotRenewed []LockRef
	}
	// Draining says that the broker goes away.
	Draining struct{}
	// LockEvent says that something happened to a lock.
	LockEvent struct {
		LockRef LockRef
		Event   Event
	}
	// Other is a kind of message that says nothing here. It shows that the broker is alive.
	Other struct{}
)

func (Opened) isMessage()       {}
func (HeartbeatAck) isMessage() {}
func (Draining) isMessage()     {}
func (LockEvent) isMessage()    {}
func (Other) isMessage()        {}

// Event is something that happened to a lock.
type Event interface{ isEvent() }

type (
	// WasAcquired says that the lock is granted, or reattached.
	WasAcquired struct {
		Grant
		// Also are the locks that go with it, in the order of LockSpec.Others.
		Also []Grant
	}
	// WasRefused says that it is not granted, or not reattached.
	WasRefused struct{ Refusal Refusal }
	// WasLost says that it is no longer held.
	WasLost struct{ Reason LostReason }
	// WasReleased says that it has been released.
	WasReleased struct{}
	// HasFailed says that the broker could not do it.
	HasFailed struct{ Failure Failure }
)

func (WasAcquired) isEvent() {}
func (WasRefused) isEvent()  {}
func (WasLost) isEvent()     {}
func (WasReleased) isEvent() {}
func (HasFailed) isEvent()   {}

// Refusal says why a lock was not acquired, and who has it.
type Refusal struct {
	Reason RefusalReason
	// Owner is the label of the present holder; empty if it has none or it is not known.
	Owner string
	// Name is that of the lock, of several; empty otherwise.
	Name string
}

// RefusalReason is the reason for which a lock was not acquired.
type RefusalReason int

const (
	// RefusedUnknown is a reason that this client does not know.
	RefusedUnknown RefusalReason = iota
	// RefusedHeld: somebody holds it.
	RefusedHeld
	// RefusedLingering: it was released a short while ago, with a linger.
	RefusedLingering
	// RefusedMaxWait: the wait is over.
	RefusedMaxWait
	// RefusedNotReattachable: the grant to take over has ended.
	RefusedNotReattachable
	// RefusedCancelled: the wait was cancelled.
	RefusedCancelled
)

// LostReason is the way in which a lock was lost.
type LostReason int

const (
	// LostExpired: no renewal got through in time, by the broker's clock or by the client's.
	LostExpired LostReason = iota + 1
	// LostGone: the store no longer has the grant; it was released elsewhere, or went with the store's memory.
	LostGone
	// LostTakenOver: the store has another grant in its place.
	LostTakenOver
	// LostRevoked: an operator revoked it.
	LostRevoked
	// LostReleased: somebody released it by its lock id.
	LostReleased
)

// Failure is a failure, as a broker or the way to it tells it.
type Failure struct {
	// Code is the kind, by which a program decides.
	Code Code
	// Message is for people.
	Message string
	// Reason is the broker's reason, for programs; empty if it gave none.
	Reason string
	// RetryAfter is the time after which another try makes sense; nil if the broker said none.
	RetryAfter *time.Duration
}

// Unavailable makes a failure that passes: nobody answers, or cannot at the moment.
func Unavailable(message string) Failure {
	return Failure{Code: CodeUnavailable, Message: message}
}

// Code is the kind of a failure: the number of a status of gRPC, or one of ours.
type Code int

const (
	CodeInvalidArgument   Code = 3
	CodePermissionDenied  Code = 7
	CodeResourceExhausted Code = 8
	CodeUnimplemented     Code = 12
	CodeInternal          Code = 13
	CodeUnavailable       Code = 14
	CodeUnauthenticated   Code = 16
	// CodeHandshake is none of gRPC's: the two sides cannot agree on TLS.
	CodeHandshake Code = 1000
)

// IsFinal reports whether a broker that refuses something with this code would refuse it again.
func (c Code) IsFinal() bool {
	switch c {
	case CodeInvalidArgument, CodePermissionDenied, CodeUnauthenticated, CodeUnimplemented, CodeHandshake:
		return true
	}
	return false
}

package lockbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/clock"
	"github.com/lockbroker/lockbroker/clients/go/internal/core"
)

// Lease is a lock that needs no connection: for a program that cannot keep one, or that hands the lock on to the next run of
// itself. It stands for its ttl. [Lease.Renew] prolongs it, and nothing else does: no heartbeats, and nobody tells of a loss.
// All its methods may be called by several goroutines at once.
//
// It is over with [Lease.Release] or with its ttl. Neither [Client.Close] nor the end of the process releases it.
type Lease struct {
	name  string
	id    string
	token int64
	// permit is nil for a lease that is not shared, or whose permit is not known.
	permit  *int
	brokers *brokers

	mu    sync.Mutex
	until clock.Moment
	// err is why the holder may not act any more; nil while it may.
	err error
	// lost is how the lease was lost; nil if it was not.
	lost *LostError

	releasing sync.Once
	// released is the outcome of the release.
	released error
}

// leaseAsk is a lease that is asked for.
type leaseAsk struct {
	spec core.LockSpec
	ttl  *time.Duration
	wait time.Duration
}

// Lease asks for the lock name, 1 to 128 bytes without control characters, as a lease: once, or for as long as [Wait] says, 30 s
// at most. If an answer does not come, it asks again, the same broker or the next: it gets the lease that it has got already.
//
// The end of ctx gives up the call. If a broker grants the lease at that very moment, the lock stands for its ttl.
//
// It returns a [*NotAcquiredError] if somebody else has the lock, the error of ctx if that has ended, and otherwise an [*Error]:
// ErrUnavailable if no broker answers within the [AnswerTimeout], beyond the wait.
func (c *Client) Lease(ctx context.Context, name string, options ...LeaseOption) (*Lease, error) {
	ask := leaseAsk{spec: core.LockSpec{Name: name, Owner: c.owner}, ttl: c.ttl}
	for _, option := range options {
		option.setLease(&ask)
	}
	if err := sendable(core.Acquire{Spec: ask.spec}); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, givenUp(ctx, name)
	}
	return c.brokers.acquireLease(ctx, ask)
}

// AdoptLease goes on with the lease that lockID names, which another process has got. It renews it at once. Its fencing token is
// not known here: [Lease.Token] is 0, and neither is its permit. The other process can use the lease, too.
//
// It returns a [*LostError] if the lease is over, and otherwise an [*Error] as [Lease.Renew] does.
func (c *Client) AdoptLease(ctx context.Context, name, lockID string) (*Lease, error) {
	if lockID == "" {
		return nil, &Error{Kind: ErrInvalid, Lock: name, Message: "there is no lock id to adopt"}
	}
	if err := sendable(core.Acquire{Spec: core.LockSpec{Name: name}, Adopt: lockID}); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, givenUp(ctx, name)
	}
	until, err := c.brokers.renewLease(ctx, name, lockID, clock.Never)
	if err != nil {
		return nil, err
	}
	lease := &Lease{name: name, id: lockID, brokers: c.brokers, until: until}
	if err := lease.Check(); err != nil {
		return nil, err
	}
	return lease, nil
}

// Name returns the lock's name.
func (l *Lease) Name() string { return l.name }

// ID names this lease at any broker: see [Client.AdoptLease] and [Client.ReleaseID]. It stays the same. It is a capability: keep
// it out of logs.
func (l *Lease) ID() string { return l.id }

// Token returns the fencing token, as [Lock.Token] does. It is 0 after [Client.AdoptLease].
func (l *Lease) Token() int64 { return l.token }

// Permit returns the number of the permit, as [Lock.Permit] does. It is false after [Client.AdoptLease].
func (l *Lease) Permit() (permit int, isShared bool) { return permitAs(l.permit) }

// Remaining returns the time for which the holder may act without a renewal, counted from now. It ends a thirtieth of the ttl
// before a broker could give the lock to anybody else. It is 0 once the lease is lost or released. Renew the lease when a third
// of it is over.
func (l *Lease) Remaining() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.look() != nil {
		return 0
	}
	return l.until.Remaining()
}

// Check returns nil if the holder may act at this moment. It reads the clock, and asks nobody: that the lease was released by its
// id, or revoked, only [Lease.Renew] finds. Once it has said that the lease is lost, the lease stays lost.
//
// It returns a [*LostError] if the lease is lost, and an [*Error] of the kind ErrReleased after Release.
func (l *Lease) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.look()
}

// look returns why the holder may not act. First it marks a lease that has run out as lost, so that nothing later can revive it.
func (l *Lease) look() error {
	if l.err == nil && l.until.HasPassed() {
		l.lose(&LostError{Lock: l.name, Reason: LostExpired})
	}
	return l.err
}

func (l *Lease) lose(lost *LostError) { l.lost, l.err = lost, lost }

// Renew makes the lease stand for its ttl from now on, whichever broker answers. If none does, it tries again for the
// [AnswerTimeout], and no longer than the lease is valid.
//
// It returns a [*LostError] if the lease is lost. It returns an [*Error] of the kind ErrUnavailable if no broker answered: the
// lease may have been renewed or not, and is good for what [Lease.Remaining] says, so try again. After the error of a ctx that has
// ended it is the same.
func (l *Lease) Renew(ctx context.Context) error {
	l.mu.Lock()
	err, until := l.look(), l.until
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return givenUp(ctx, l.name)
	}
	renewed, err := l.brokers.renewLease(ctx, l.name, l.id, until)
	l.mu.Lock()
	defer l.mu.Unlock()
	if over := l.look(); over != nil {
		if err == nil && l.lost != nil {
			// The answer has come too late, and nobody believes in it.
			go func() { _ = l.brokers.releaseLease(l.name, l.id) }()
		}
		return over
	}
	if lost := new(LostError); errors.As(err, &lost) {
		l.lose(lost)
	}
	if err == nil {
		l.until = max(l.until, renewed)
	}
	return err
}

// Release releases the lease, and waits until a broker has confirmed it, for the [AnswerTimeout] at most. It may be called again,
// also at the same time, and returns the same.
//
// It returns a [*LostError] if the lease had been lost before, and an [*Error] of the kind ErrUnavailable if no broker confirmed
// the release: then the lock is free when the ttl is over.
func (l *Lease) Release() error {
	l.releasing.Do(func() { l.released = l.release() })
	return l.released
}

func (l *Lease) release() error {
	l.mu.Lock()
	// The holder's own belief ends first.
	if l.look() == nil {
		l.err = &Error{Kind: ErrReleased, Lock: l.name, Message: "Release was called"}
	}
	lost := l.lost
	l.mu.Unlock()
	if lost == nil {
		return l.brokers.releaseLease(l.name, l.id)
	}
	if lost.Reason == LostExpired {
		// By the broker's clock it may stand for a while yet. Nobody is to wait for that.
		go func() { _ = l.brokers.releaseLease(l.name, l.id) }()
	}
	return lost
}

// String describes the lease, without its lock id.
func (l *Lease) String() string {
	return fmt.Sprintf("lease %q (token %d, %v left)", l.name, l.token, l.Remaining().Round(time.Millisecond))
}

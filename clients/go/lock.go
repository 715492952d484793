package lockbroker

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
)

// Lock is a lock that is held until [Lock.Release]. All its methods may be called by several goroutines at once.
//
// The lock can be lost all the same: when no broker renews it in time, because the network or all brokers are away, or when
// somebody releases it by its lock id. So give [Lock.Context] to the work, or call [Lock.Check] before each step that must
// not be done twice, and give [Lock.Token] to whatever the lock protects.
//
// A Lock that is not referred to any more is not released, since the work that it protects may go on. It is held until the
// client is closed or the process ends.
type Lock struct {
	// names are those of all its locks, the one that was asked for first.
	names []string
	// grants are what each of them was granted with. The ids in them may be out of date, and so may the permit of the first.
	grants []core.Grant
	key    core.Key
	// hasValue: it was asked for with a value.
	hasValue bool
	hold     *hold
	session  *session
	ctx      context.Context
	cleanup  runtime.Cleanup
}

// newLock makes the guard of a lock that has been granted.
func newLock(ctx context.Context, session *session, asked core.Acquire, granted answer) *Lock {
	ctx, cancel := context.WithCancelCause(ctx)
	granted.hold.watch(cancel)
	lock := &Lock{
		names: append([]string{asked.Spec.Name}, asked.Spec.Others()...), grants: granted.grants, key: asked.Key,
		hasValue: asked.Spec.Value != nil, hold: granted.hold, session: session, ctx: ctx,
	}
	lock.cleanup = runtime.AddCleanup(lock, warn, leak{session.logger, granted.hold})
	return lock
}

// leak is a lock that nobody can release any more.
type leak struct {
	logger *slog.Logger
	hold   *hold
}

func warn(leak leak) {
	if _, err := leak.hold.look(); err == nil {
		leak.logger.Warn("a lock is held and nobody can release it any more: call Release on every lock", "lock", leak.hold.name)
	}
}

// Name returns the lock's name.
func (l *Lock) Name() string { return l.names[0] }

// ID names this grant at any broker: see [Client.ReleaseID] and [Client.Adopt]. It changes when the client has to move to
// another stream, and it is a capability: keep it out of logs.
func (l *Lock) ID() string {
	held, _ := l.hold.look()
	return held.LockID
}

// Token returns the fencing token. It is greater than that of every earlier grant of the same name, below 2^53, and the same
// for as long as the lock is held. What the lock protects should refuse a token below the highest that it has seen.
func (l *Lock) Token() int64 { return l.grants[0].FencingToken }

// Permit returns the number of the permit, from 0 to the limit - 1; false for a lock that is not [Shared]. Nobody else
// has the same permit of this name at the same time, so it can number a worker. It stays the same for as long as the lock is held,
// once it is shared.
func (l *Lock) Permit() (permit int, isShared bool) {
	held, _ := l.hold.look()
	return permitAs(held.Permit)
}

// Locks returns all locks that are held by this one, in the order in which they were named: the one that was asked for, and those
// of [Also], or the other permits of a [Weight].
func (l *Lock) Locks() []GrantedLock {
	held, _ := l.hold.look()
	locks := make([]GrantedLock, len(l.names))
	for at, grant := range l.grants {
		locks[at] = GrantedLock{l.names[at], held.LockID, grant.FencingToken, held.Permit}
		if at > 0 {
			locks[at].id, locks[at].permit = held.Also[at-1], grant.Permit
		}
	}
	return locks
}

// permitAs returns a permit as users see it.
func permitAs(permit *int) (int, bool) {
	if permit == nil {
		return 0, false
	}
	return *permit, true
}

// TTL returns the lock's ttl as the broker granted it: for so long the lock outlives a holder that falls silent.
func (l *Lock) TTL() time.Duration {
	held, _ := l.hold.look()
	return held.TTL
}

// Remaining returns the time for which the holder may act without hearing from a broker again, counted from now. It ends a
// thirtieth of the ttl before the broker could give the lock to anybody else. It is 0 once the lock is lost or released. It
// is 0 as well while the stream to the broker is broken and the lock not yet reattached: the broker may have taken the break
// for the client's end.
func (l *Lock) Remaining() time.Duration { return l.hold.remaining() }

// ExpiresIn returns the longest time until the lock is lost if no broker is heard any more, counted from now. Other than
// [Lock.Remaining] it runs on through a broken stream and after a loss, and then nothing adds to it. Within this time, end
// your work on what the lock protects.
func (l *Lock) ExpiresIn() time.Duration {
	held, _ := l.hold.look()
	return held.Until.Remaining()
}

// Check returns nil if the holder may act at this moment. It reads the clock, so it finds a loss also where everything else
// was stopped. Once it has said that the lock is lost, the lock stays lost.
//
// It returns a [*LostError] if the lock is lost, an [*Error] of the kind ErrUnavailable while the stream to the broker is
// broken and the lock not yet reattached, and one of the kind ErrReleased or ErrClosed after Release or Close.
func (l *Lock) Check() error {
	held, err := l.hold.look()
	if err != nil {
		return err
	}
	if held.IsBroken {
		return unavailable(l.Name(), "the stream to the broker is broken and the lock not reattached yet")
	}
	return nil
}

// Context returns a context for the work under the lock. It has the values of the context that the lock was asked for with,
// and ends when that one ends, when the lock is lost, and when it is released. Then [context.Cause] is a [*LostError] after a
// loss. It goes on while the stream to the broker is broken and the lock can still be reattached; [Lock.Check] does not. The end of
// the context does not release the lock: work may still be stopping. Only Release does.
func (l *Lock) Context() context.Context { return l.ctx }

// Lost returns a channel that is closed when the lock is lost. It stays open after a release.
func (l *Lock) Lost() <-chan struct{} { return l.hold.lost }

// Release releases the lock and waits until a broker has confirmed it. If the stream breaks meanwhile, the release is
// repeated at whichever broker answers until the lock has run out: no longer than [Lock.ExpiresIn]. Release may be called
// again, also at the same time, and returns the same.
//
// It returns a [*LostError] if the lock had been lost before, and an [*Error] of the kind ErrUnavailable if no broker
// confirmed the release.
func (l *Lock) Release() error {
	l.cleanup.Stop()
	// The holder's own belief ends first.
	l.hold.finish(&Error{Kind: ErrReleased, Lock: l.Name(), Message: "Release was called"})
	l.session.do(func() { l.session.giveUp(l.key) })
	select {
	case <-l.hold.done:
	case <-l.session.ended:
		// The session ends every lock before it ends.
		<-l.hold.done
	}
	l.hold.mu.Lock()
	defer l.hold.mu.Unlock()
	return l.hold.result
}

// String describes the lock, without its lock id.
func (l *Lock) String() string {
	return fmt.Sprintf("lock %q (token %d, %v left)", l.Name(), l.Token(), l.Remaining().Round(time.Millisecond))
}

// GrantedLock is one of the locks of a [Lock], as [Lock.Locks] found it.
type GrantedLock struct {
	name   string
	id     string
	token  int64
	permit *int
}

// Name returns the lock's name.
func (g GrantedLock) Name() string { return g.name }

// ID returns the lock id, as [Lock.ID] does.
func (g GrantedLock) ID() string { return g.id }

// Token returns the fencing token, as [Lock.Token] does. Tokens of different names say nothing about each other.
func (g GrantedLock) Token() int64 { return g.token }

// Permit returns the permit, as [Lock.Permit] does.
func (g GrantedLock) Permit() (permit int, isShared bool) { return permitAs(g.permit) }

// String describes the lock, without its lock id.
func (g GrantedLock) String() string { return fmt.Sprintf("lock %q (token %d)", g.name, g.token) }

// GoString describes the lock as String does: nothing else hides the lock id from %#v.
func (g GrantedLock) GoString() string { return g.String() }

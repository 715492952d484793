package gocronlock

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/lockbroker/lockbroker/clients/go"
)

// ErrNotLeader says that another scheduler is the leader, or none yet.
var ErrNotLeader = errors.New("not the leader")

// tryAgain is the pause after a failure.
const tryAgain = time.Second

// Elector is a [gocron.Elector]. Whoever holds the lock is the leader. gocron asks before each run of a job, and does not stop a
// job that runs when the leadership is lost.
type Elector struct {
	name   string
	cancel context.CancelFunc
	// ended is closed when it asks for the lock no more.
	ended chan struct{}
	// lock is nil while it is not held.
	lock atomic.Pointer[lockbroker.Lock]
	// failure is why there is none, beyond somebody else having it.
	failure atomic.Pointer[error]
}

var _ gocron.Elector = (*Elector)(nil)

// NewElector makes an elector, which waits for the lock name until [Elector.Close]. After a loss it waits for it again.
func NewElector(client *lockbroker.Client, name string, options ...lockbroker.LockOption) *Elector {
	ctx, cancel := context.WithCancel(context.Background())
	elector := &Elector{name: name, cancel: cancel, ended: make(chan struct{})}
	go elector.run(ctx, client, options)
	return elector
}

// IsLeader returns nil if this one is the leader at this moment, and an error that is ErrNotLeader if not.
func (e *Elector) IsLeader(context.Context) error {
	err := error(nil)
	if lock := e.lock.Load(); lock != nil {
		if err = lock.Check(); err == nil {
			return nil
		}
	} else if failure := e.failure.Load(); failure != nil {
		err = *failure
	}
	if err == nil {
		return fmt.Errorf("gocronlock: %q: %w", e.name, ErrNotLeader)
	}
	return fmt.Errorf("gocronlock: %q: %w: %w", e.name, ErrNotLeader, err)
}

// Close gives the leadership up. Another one gets it at once.
func (e *Elector) Close() error {
	e.cancel()
	<-e.ended
	return nil
}

func (e *Elector) run(ctx context.Context, client *lockbroker.Client, options []lockbroker.LockOption) {
	defer close(e.ended)
	for ctx.Err() == nil {
		lock, err := client.Lock(ctx, e.name, options...)
		if err != nil {
			e.failure.Store(&err)
			if errors.Is(err, lockbroker.ErrClosed) {
				return
			}
			select {
			case <-time.After(tryAgain):
			case <-ctx.Done():
			}
			continue
		}
		e.failure.Store(nil)
		e.lock.Store(lock)
		<-lock.Context().Done()
		// IsLeader is to say no before anybody else can be the leader.
		e.lock.Store(nil)
		_ = lock.Release()
	}
}

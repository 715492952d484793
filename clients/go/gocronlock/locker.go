// Package gocronlock lets gocron's schedulers on several machines run each job once: a Locker takes a lock for each run of a
// job, and an Elector lets one scheduler run all jobs.
//
//	locker := gocronlock.NewLocker(client, lockbroker.Linger(10*time.Second))
//	scheduler, err := gocron.NewScheduler(gocron.WithDistributedLocker(locker))
package gocronlock

import (
	"context"
	"sync"

	"github.com/go-co-op/gocron/v2"

	"github.com/lockbroker/lockbroker/clients/go"
)

// Locker is a [gocron.Locker]. The name of the lock is the name of the job.
type Locker struct {
	client  *lockbroker.Client
	options []lockbroker.LockOption

	mu   sync.Mutex
	held map[string]*lockbroker.Lock
}

var _ gocron.Locker = (*Locker)(nil)

// NewLocker makes a locker. Its locks have these options. Give it a [lockbroker.Linger], or a [lockbroker.MinHold], that is
// longer than the clocks of the machines are apart, and shorter than the time between two runs: otherwise a job that ends quickly
// is run again by the machine whose clock is behind.
func NewLocker(client *lockbroker.Client, options ...lockbroker.LockOption) *Locker {
	return &Locker{client: client, options: options, held: map[string]*lockbroker.Lock{}}
}

// Lock asks for the lock of a job, once. An error means that gocron does not run the job.
func (l *Locker) Lock(ctx context.Context, key string) (gocron.Lock, error) {
	// gocron ends its context at a shutdown, when jobs still run. The lock's own context goes on until the release.
	lock, err := l.client.TryLock(context.WithoutCancel(ctx), key, l.options...)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[key] = lock
	return &run{l, key, lock}, nil
}

// Held returns the lock under which the job of that name runs here, for its token and its context; nil if it does not run.
// gocron does not stop a job whose lock is lost: let the job look at the lock's context.
func (l *Locker) Held(key string) *lockbroker.Lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key]
}

// run is one run of a job.
type run struct {
	locker *Locker
	key    string
	lock   *lockbroker.Lock
}

// Unlock releases the lock, also where ctx has ended.
func (r *run) Unlock(context.Context) error {
	r.locker.mu.Lock()
	if r.locker.held[r.key] == r.lock {
		delete(r.locker.held, r.key)
	}
	r.locker.mu.Unlock()
	return r.lock.Release()
}

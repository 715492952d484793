package lockbrokertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/lockbrokertest"
)

func TestItGrantsPermits(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	client := connect(t, broker)
	try := func(options ...lockbroker.LockOption) *lockbroker.Lock {
		t.Helper()
		lock, err := client.TryLock(t.Context(), "seats", options...)
		if err != nil {
			t.Fatal(err)
		}
		return lock
	}
	wantHeld := func(options ...lockbroker.LockOption) {
		t.Helper()
		_, err := client.TryLock(t.Context(), "seats", options...)
		if held := new(lockbroker.NotAcquiredError); !errors.As(err, &held) || held.Reason != lockbroker.Held {
			t.Fatalf("have %v", err)
		}
	}
	wait := func(options ...lockbroker.LockOption) chan *lockbroker.Lock {
		waiters, granted := broker.Waiters("seats"), make(chan *lockbroker.Lock, 1)
		go func() {
			lock, _ := client.Lock(context.Background(), "seats", options...)
			granted <- lock
		}()
		eventually(t, "somebody waits", func() bool { return broker.Waiters("seats") == waiters+1 })
		return granted
	}
	wantPermit := func(lock *lockbroker.Lock, want int) {
		t.Helper()
		if permit, isShared := lock.Permit(); !isShared || permit != want {
			t.Fatalf("have %d, %v; want %d", permit, isShared, want)
		}
	}
	release := func(lock *lockbroker.Lock) {
		t.Helper()
		if err := lock.Release(); err != nil {
			t.Fatal(err)
		}
	}
	first, second := try(lockbroker.Limit(2)), try(lockbroker.Limit(2))
	wantPermit(first, 0)
	wantPermit(second, 1)
	wantHeld(lockbroker.Limit(2))
	wantHeld()
	// The lowest that is free.
	release(first)
	first = try(lockbroker.Shared())
	wantPermit(first, 0)
	info, err := client.Get(t.Context(), "seats", "")
	if err != nil || info.State != lockbroker.StateHeld || info.SharedCount != 2 {
		t.Errorf("have %+v, %v", info, err)
	}
	info, err = client.GetPermit(t.Context(), "seats", 1)
	if err != nil || info.Token != second.Token() {
		t.Errorf("have %+v, %v", info, err)
	}
	// They move with their permits.
	id := second.ID()
	broker.Drain()
	eventually(t, "it moves", func() bool { return second.ID() != id && second.Check() == nil })
	wantPermit(second, 1)
	// A writer waits, and lets in no more readers; those who wait come after it.
	writer := wait()
	wantHeld(lockbroker.Shared())
	reader := wait(lockbroker.Shared())
	release(first)
	release(second)
	alone := <-writer
	if _, isShared := alone.Permit(); isShared {
		t.Error("the writer has a permit")
	}
	wantHeld(lockbroker.Shared())
	release(alone)
	wantPermit(<-reader, 0)
	// A writer that gives up lets them in again.
	_, err = client.Lock(t.Context(), "seats", lockbroker.Wait(20*time.Millisecond))
	if over := new(lockbroker.NotAcquiredError); !errors.As(err, &over) || over.Reason != lockbroker.WaitOver {
		t.Errorf("have %v", err)
	}
	// A linger closes the permit alone, and keeps out a writer.
	lingering := try(lockbroker.Shared(), lockbroker.Linger(time.Hour))
	wantPermit(lingering, 1)
	release(lingering)
	last := try(lockbroker.Shared())
	wantPermit(last, 2)
	broker.Lose(t, "seats", lockbroker.LostRevoked)
	if reason := lost(t, last); reason != lockbroker.LostRevoked {
		t.Errorf("have %v", reason)
	}
	_, err = client.TryLock(t.Context(), "seats")
	if closed := new(lockbroker.NotAcquiredError); !errors.As(err, &closed) || closed.Reason != lockbroker.Lingering {
		t.Errorf("have %v", err)
	}
	lease, err := client.Lease(t.Context(), "seats", lockbroker.Limit(3))
	if err != nil {
		t.Fatal(err)
	}
	if permit, isShared := lease.Permit(); !isShared || permit != 0 {
		t.Errorf("have %d, %v", permit, isShared)
	}
	broker.Take("seats", "somebody")
	wantLost(t, lease.Renew(t.Context()), lockbroker.LostTakenOver)
	wantHeld(lockbroker.Shared())
}

func TestItSharesALockThatWasHeldAlone(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	client := connect(t, broker)
	lock, err := client.TryLock(t.Context(), "index")
	if err != nil {
		t.Fatal(err)
	}
	token := lock.Token()
	if err := lock.Downgrade(t.Context(), lockbroker.Limit(2)); err != nil {
		t.Fatal(err)
	}
	if permit, isShared := lock.Permit(); !isShared || permit != 0 || lock.Token() != token {
		t.Errorf("have %d, %v and the token %d", permit, isShared, lock.Token())
	}
	another, err := client.TryLock(t.Context(), "index", lockbroker.Limit(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(another.Release(), lock.Release()); err != nil {
		t.Error(err)
	}
	job, err := client.TryLock(t.Context(), "job", lockbroker.MinHold(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if err := job.Downgrade(t.Context()); !errors.Is(err, lockbroker.ErrInvalid) || job.Check() != nil {
		t.Errorf("have %v, %v", err, job.Check())
	}
	// It does not know of several at once.
	if _, err := client.TryLock(t.Context(), "seats", lockbroker.Weight(2)); !errors.Is(err, lockbroker.ErrUnexpected) {
		t.Errorf("have %v", err)
	}
}

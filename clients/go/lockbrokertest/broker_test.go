package lockbrokertest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/lockbrokertest"
)

func connect(t *testing.T, broker *lockbrokertest.Broker) *lockbroker.Client {
	t.Helper()
	client, err := lockbroker.Connect(broker.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for begun := time.Now(); !is(); time.Sleep(time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			t.Fatal("not in time: ", what)
		}
	}
}

func lost(t *testing.T, lock *lockbroker.Lock) lockbroker.LostReason {
	t.Helper()
	select {
	case <-lock.Lost():
	case <-time.After(20 * time.Second):
		t.Fatal("it is not lost")
	}
	var lost *lockbroker.LostError
	if !errors.As(context.Cause(lock.Context()), &lost) || !errors.As(lock.Check(), &lost) {
		t.Fatalf("have %v", lock.Check())
	}
	return lost.Reason
}

func TestItGrantsAndRefuses(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	client := connect(t, broker)
	broker.Take("job", "somebody")
	_, err := client.TryLock(t.Context(), "job")
	var held *lockbroker.NotAcquiredError
	if !errors.As(err, &held) || held.Reason != lockbroker.Held || held.Owner != "somebody" {
		t.Fatalf("have %v", err)
	}
	_, err = client.Lock(t.Context(), "job", lockbroker.Wait(30*time.Millisecond))
	if !errors.As(err, &held) || held.Reason != lockbroker.WaitOver {
		t.Fatalf("have %v", err)
	}
	granted := make(chan *lockbroker.Lock, 1)
	go func() {
		lock, _ := client.Lock(t.Context(), "job", lockbroker.Owner("me"), lockbroker.Linger(time.Hour))
		granted <- lock
	}()
	eventually(t, "somebody waits", func() bool { return broker.Waiters("job") == 1 })
	broker.Free("job")
	lock := <-granted
	if owner, isHeld := broker.Holder("job"); !isHeld || owner != "me" {
		t.Errorf("held %v by %q", isHeld, owner)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	_, err = client.TryLock(t.Context(), "job")
	if !errors.As(err, &held) || held.Reason != lockbroker.Lingering {
		t.Fatalf("have %v", err)
	}
	lock, err = client.Lock(t.Context(), "job 2", lockbroker.Linger(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	if lock, err = client.Lock(t.Context(), "job 2"); err != nil {
		t.Fatal(err)
	}
	info, err := client.Get(t.Context(), "job 2", lock.ID())
	if err != nil || info.State != lockbroker.StateHeld || info.Token != lock.Token() {
		t.Errorf("have %+v, %v", info, err)
	}
	client.Close()
	if _, isHeld := broker.Holder("job 2"); isHeld {
		t.Error("it is still held")
	}
}

func TestItLosesOnCommand(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	client := connect(t, broker)
	for _, reason := range []lockbroker.LostReason{
		lockbroker.LostExpired, lockbroker.LostGone, lockbroker.LostTakenOver, lockbroker.LostRevoked,
		lockbroker.LostReleased,
	} {
		lock, err := client.TryLock(t.Context(), "job")
		if err != nil {
			t.Fatal(err)
		}
		broker.Lose(t, "job", reason)
		if have := lost(t, lock); have != reason {
			t.Errorf("have %v; want %v", have, reason)
		}
	}
}

func TestItFailsOnCommand(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	client := connect(t, broker)
	for reason, kind := range map[lockbroker.ErrorReason]error{
		lockbroker.ReasonStoreUnavailable: lockbroker.ErrUnavailable,
		lockbroker.ReasonPolicyDenied:     lockbroker.ErrDenied,
		lockbroker.ReasonMaxLocks:         lockbroker.ErrExhausted,
		lockbroker.ReasonBrokerFault:      lockbroker.ErrUnexpected,
	} {
		broker.Fail("job", reason)
		_, err := client.TryLock(t.Context(), "job")
		var failure *lockbroker.Error
		if !errors.Is(err, kind) || !errors.As(err, &failure) || failure.Reason != reason {
			t.Errorf("have %v; want %v", err, reason)
		}
	}
	// A wait goes on through a store that is away.
	broker.Fail("job", lockbroker.ReasonStoreUnavailable)
	if _, err := client.Lock(t.Context(), "job"); err != nil {
		t.Error(err)
	}
}

func TestItMovesLocksWhenItDrains(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	client := connect(t, broker)
	lock, err := client.TryLock(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	id, token := lock.ID(), lock.Token()
	begun := time.Now()
	broker.Drain()
	eventually(t, "it moves", func() bool { return lock.ID() != id })
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("the guard heard of it only with the next heartbeat, after %v", took)
	}
	if err := lock.Check(); err != nil || lock.Token() != token {
		t.Errorf("have %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

func TestASilentBrokerLosesLocks(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t, lockbrokertest.TTL(5*time.Second))
	client := connect(t, broker)
	lock, err := client.TryLock(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	// Heartbeats carry it beyond its ttl.
	time.Sleep(6 * time.Second)
	if err := lock.Check(); err != nil {
		t.Fatal(err)
	}
	broker.Silence(true)
	if reason := lost(t, lock); reason != lockbroker.LostExpired {
		t.Errorf("have %v", reason)
	}
	broker.Silence(false)
	if _, err := client.Lock(t.Context(), "job"); err != nil {
		t.Error(err)
	}
}

package lockbroker_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
)

// permitted is a lock or a lease.
type permitted interface{ Permit() (int, bool) }

// permit returns the permit of a lock, which must be shared.
func permit(t *testing.T, lock permitted) int {
	t.Helper()
	permit, isShared := lock.Permit()
	if !isShared {
		t.Fatal("it is not shared")
	}
	return permit
}

func TestPermits(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	for name, test := range map[string]func(*testing.T, *brokertest.Broker){
		"readers share, and a writer waits": readersAndAWriter,
		"so many at a time":                 soManyAtATime,
		"a lease has a permit":              leaseWithPermit,
		"several at once":                   severalPermits,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, broker)
		})
	}
}

func readersAndAWriter(t *testing.T, broker *brokertest.Broker) {
	one, two := connect(t, broker.URL), connect(t, broker.URL)
	readers := []*lockbroker.Lock{
		acquire(t, one, "read", lockbroker.Shared()), acquire(t, one, "read", lockbroker.Shared()),
		acquire(t, two, "read", lockbroker.Shared(), lockbroker.Owner("two")),
	}
	seen := map[int]bool{}
	for _, reader := range readers {
		seen[permit(t, reader)] = true
	}
	if len(seen) != len(readers) {
		t.Errorf("have the permits %v", seen)
	}
	if held := refused(t, two, "read"); held.Reason != lockbroker.Held || held.Owner != "" {
		t.Errorf("have %+v", held)
	}
	info, err := one.Get(t.Context(), "read", "")
	if err != nil || info.State != lockbroker.StateHeld || info.SharedCount != len(readers) {
		t.Errorf("have %+v, %v", info, err)
	}
	info, err = one.GetPermit(t.Context(), "read", permit(t, readers[2]))
	if err != nil || info.Token != readers[2].Token() || info.Owner != "two" || info.SharedCount != 0 {
		t.Errorf("have %+v, %v", info, err)
	}
	for _, wrong := range []int{-1, 4096, 1 << 40} {
		_, err := one.GetPermit(t.Context(), "read", wrong)
		wantKind(t, err, lockbroker.ErrInvalid)
	}
	granted := make(chan *lockbroker.Lock, 1)
	go func() {
		writer, err := two.Lock(context.Background(), "read")
		if err != nil {
			t.Error(err)
		}
		granted <- writer
	}()
	brokertest.Eventually(t, "the writer keeps new readers out", func() bool {
		reader, err := one.TryLock(t.Context(), "read", lockbroker.Shared())
		if err == nil {
			release(t, reader)
		}
		return err != nil
	})
	for _, reader := range readers {
		release(t, reader)
	}
	writer := <-granted
	if _, isShared := writer.Permit(); isShared {
		t.Error("the writer has a permit")
	}
	release(t, writer)
	release(t, acquire(t, one, "read", lockbroker.Shared()))
}

func soManyAtATime(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	first, second := acquire(t, client, "seats", lockbroker.Limit(2)), acquire(t, client, "seats", lockbroker.Limit(2))
	if permit(t, first)+permit(t, second) != 1 {
		t.Errorf("have the permits %d and %d", permit(t, first), permit(t, second))
	}
	_, err := client.TryLock(t.Context(), "seats", lockbroker.Limit(2))
	if held := new(lockbroker.NotAcquiredError); !errors.As(err, &held) || held.Reason != lockbroker.Held {
		t.Errorf("have %v", err)
	}
	granted := make(chan *lockbroker.Lock, 1)
	go func() {
		third, err := client.Lock(context.Background(), "seats", lockbroker.Shared(), lockbroker.Limit(2))
		if err != nil {
			t.Error(err)
		}
		granted <- third
	}()
	release(t, second)
	if third := <-granted; permit(t, third) != permit(t, second) || third.Token() <= second.Token() {
		t.Errorf("have the permit %d and the token %d", permit(t, third), third.Token())
	}
}

func leaseWithPermit(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	first, second := lease(t, client, "leased", lockbroker.Limit(2)), lease(t, client, "leased", lockbroker.Limit(2))
	if permit(t, first)+permit(t, second) != 1 {
		t.Errorf("have the permits %d and %d", permit(t, first), permit(t, second))
	}
	_, err := client.Lease(t.Context(), "leased", lockbroker.Limit(2))
	if held := new(lockbroker.NotAcquiredError); !errors.As(err, &held) || held.Reason != lockbroker.Held {
		t.Errorf("have %v", err)
	}
	renew(t, first)
	adopted, err := client.AdoptLease(t.Context(), "leased", first.ID())
	if err != nil {
		t.Fatal(err)
	}
	if _, isKnown := adopted.Permit(); isKnown {
		t.Error("nobody has told its permit")
	}
	info, err := client.GetPermit(t.Context(), "leased", permit(t, first))
	if err != nil || info.Token != first.Token() {
		t.Errorf("have %+v, %v", info, err)
	}
	// Whoever makes it a lock of its own is told.
	lock, err := client.Adopt(t.Context(), "leased", first.ID())
	if err != nil || permit(t, lock) != permit(t, first) || lock.Token() != first.Token() {
		t.Fatalf("have %v, %v", lock, err)
	}
	release(t, lock)
	if _, isShared := lease(t, client, "leased alone").Permit(); isShared {
		t.Error("it has a permit")
	}
}

// permits returns the permits of a lock, which must be so many, each another.
func permits(t *testing.T, lock *lockbroker.Lock, count int) map[int]int64 {
	t.Helper()
	permits := map[int]int64{}
	for _, each := range lock.Locks() {
		permits[permit(t, each)] = each.Token()
		if each.Name() != lock.Name() {
			t.Errorf("%q has a permit of %q", lock.Name(), each.Name())
		}
	}
	if len(permits) != count || len(lock.Locks()) != count {
		t.Fatalf("have %v; want %d permits", permits, count)
	}
	return permits
}

func severalPermits(t *testing.T, broker *brokertest.Broker) {
	client, other := connect(t, broker.URL), connect(t, broker.URL)
	limit := lockbroker.Limit(4)
	lock := acquire(t, client, "several", limit, lockbroker.Weight(3))
	for permit, token := range permits(t, lock, 3) {
		info, err := other.GetPermit(t.Context(), "several", permit)
		if err != nil || info.Token != token {
			t.Errorf("have %+v, %v", info, err)
		}
	}
	single := acquire(t, other, "several", limit, lockbroker.Weight(1))
	permits(t, single, 1)
	_, err := client.Lock(t.Context(), "several", limit, lockbroker.Weight(2), lockbroker.Wait(0))
	if held := new(lockbroker.NotAcquiredError); !errors.As(err, &held) {
		t.Errorf("have %v", err)
	}
	release(t, lock)
	if err := client.Do(t.Context(), "several", func(lock *lockbroker.Lock) error {
		permits(t, lock, 2)
		return lock.Downgrade(t.Context())
	}, limit, lockbroker.Weight(2)); !errors.Is(err, lockbroker.ErrInvalid) {
		t.Errorf("have %v", err)
	}
	release(t, single)
	release(t, acquire(t, other, "several"))
}

func TestSeveralPermitsMoveTogether(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	client, other := connect(t, one.URL+","+two.URL), connect(t, two.URL)
	lock := acquire(t, client, "move", lockbroker.Limit(4), lockbroker.Weight(3))
	had, ids := permits(t, lock, 3), lock.Locks()
	one.Kill()
	brokertest.Eventually(t, "the lock has moved", func() bool {
		return lock.ID() != ids[0].ID() && lock.Check() == nil
	})
	if now := permits(t, lock, 3); !maps.Equal(now, had) {
		t.Errorf("have %v; had %v", now, had)
	}
	for at, each := range lock.Locks() {
		if each.ID() == ids[at].ID() {
			t.Errorf("%v has its old id", each)
		}
	}
	release(t, lock)
	release(t, acquire(t, other, "move"))
}

func TestAPermitMovesWithItsLock(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	client, other := connect(t, one.URL+","+two.URL), connect(t, two.URL)
	first, lock := acquire(t, other, "moves", lockbroker.Limit(2)), acquire(t, client, "moves", lockbroker.Limit(2))
	had, id, token := permit(t, lock), lock.ID(), lock.Token()
	one.Kill()
	brokertest.Eventually(t, "the lock has moved", func() bool {
		if _, err := other.TryLock(t.Context(), "moves", lockbroker.Limit(2)); err == nil {
			t.Fatal("somebody else got its permit")
		}
		return lock.ID() != id && lock.Check() == nil
	})
	if permit(t, lock) != had || lock.Token() != token {
		t.Errorf("have the permit %d and the token %d; had %d and %d", permit(t, lock), lock.Token(), had, token)
	}
	info, err := other.GetPermit(t.Context(), "moves", had)
	if err != nil || info.Token != token {
		t.Errorf("have %+v, %v", info, err)
	}
	release(t, first)
	release(t, lock)
}

func TestAWeightThatCannotBeIsNotSent(t *testing.T) {
	t.Parallel()
	client := connect(t, "http://127.0.0.1:9", lockbroker.AnswerTimeout(brokertest.Soon))
	for _, options := range [][]lockbroker.LockOption{
		{lockbroker.Weight(0)}, {lockbroker.Weight(-1)}, {lockbroker.Weight(17)}, {lockbroker.Weight(1 << 40)},
		{lockbroker.Limit(2), lockbroker.Weight(3)}, {lockbroker.Weight(2), lockbroker.Also("another")},
		// Each permit takes its part of the message.
		{lockbroker.Weight(16), lockbroker.Owner(strings.Repeat("o", 500))},
	} {
		_, err := client.TryLock(t.Context(), "weighty", options...)
		wantKind(t, err, lockbroker.ErrInvalid)
	}
	_, err := client.Adopt(t.Context(), "weighty", "an id", lockbroker.Weight(2))
	wantKind(t, err, lockbroker.ErrInvalid)
}

func TestALimitThatCannotBeIsNotSent(t *testing.T) {
	t.Parallel()
	// Nobody is there to be asked.
	client := connect(t, "http://127.0.0.1:9", lockbroker.AnswerTimeout(brokertest.Soon))
	for _, limit := range []int{0, -1, 4097, 1 << 40} {
		_, err := client.TryLock(t.Context(), "limited", lockbroker.Limit(limit))
		wantKind(t, err, lockbroker.ErrInvalid)
		_, err = client.Lock(t.Context(), "limited", lockbroker.Limit(limit))
		wantKind(t, err, lockbroker.ErrInvalid)
		_, err = client.Lease(t.Context(), "limited", lockbroker.Limit(limit))
		wantKind(t, err, lockbroker.ErrInvalid)
	}
}

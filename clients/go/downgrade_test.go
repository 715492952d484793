package lockbroker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
)

func TestALockThatIsSharedFromNowOn(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	client, other := connect(t, one.URL+","+two.URL), connect(t, two.URL)
	lock := acquire(t, client, "index")
	token, id := lock.Token(), lock.ID()
	if _, isShared := lock.Permit(); isShared {
		t.Error("it has a permit")
	}
	refused(t, other, "index", lockbroker.Shared())
	if err := lock.Downgrade(t.Context(), lockbroker.Limit(2)); err != nil {
		t.Fatal(err)
	}
	had := permit(t, lock)
	if lock.Token() != token || lock.ID() == id || permit(t, lock.Locks()[0]) != had {
		t.Errorf("have %v; had the token %d", lock, token)
	}
	// It is shared already.
	if err := errors.Join(lock.Downgrade(t.Context()), lock.Check()); err != nil {
		t.Error(err)
	}
	another := acquire(t, other, "index", lockbroker.Limit(2))
	refused(t, other, "index", lockbroker.Limit(2))
	refused(t, other, "index")
	id = lock.ID()
	one.Kill()
	brokertest.Eventually(t, "the lock has moved", func() bool { return lock.ID() != id && lock.Check() == nil })
	if permit(t, lock) != had {
		t.Errorf("have the permit %d; had %d", permit(t, lock), had)
	}
	release(t, another)
	release(t, lock)
	release(t, acquire(t, other, "index"))
	err := lock.Downgrade(t.Context())
	if !errors.Is(err, lockbroker.ErrReleased) {
		t.Errorf("have %v", err)
	}
}

func TestALockThatCannotBeShared(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	client, other := connect(t, broker.URL), connect(t, broker.URL)
	locks := []*lockbroker.Lock{
		acquire(t, client, "job", lockbroker.MinHold(time.Second)),
		acquire(t, client, "leader", lockbroker.Value([]byte("here"))),
		acquire(t, client, "one", lockbroker.Also("another")),
	}
	for _, lock := range locks {
		wantKind(t, lock.Downgrade(t.Context()), lockbroker.ErrInvalid)
		if err := lock.Check(); err != nil {
			t.Error(err)
		}
		refused(t, other, lock.Name(), lockbroker.Shared())
	}
	for _, limit := range []int{0, -1, 4097, 1 << 40} {
		wantKind(t, locks[0].Downgrade(t.Context(), lockbroker.Limit(limit)), lockbroker.ErrInvalid)
	}
	if err := locks[1].Update(t.Context(), []byte("there")); err != nil {
		t.Error(err)
	}
	for _, lock := range locks {
		release(t, lock)
	}
}

func TestADowngradeThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	client := connect(t, broker.URL, lockbroker.AnswerTimeout(time.Second))
	lock := acquire(t, client, "unanswered")
	broker.Kill()
	ended, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := lock.Downgrade(ended); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("have %v", err)
	}
	wantKind(t, lock.Downgrade(t.Context()), lockbroker.ErrUnavailable)
	if _, isShared := lock.Permit(); isShared {
		t.Error("it has a permit")
	}
}

func TestALockThatIsLostBeforeItIsShared(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	client, other := connect(t, broker.URL), connect(t, broker.URL)
	lock := acquire(t, client, "gone")
	if _, err := other.ReleaseID(t.Context(), "gone", lock.ID()); err != nil {
		t.Fatal(err)
	}
	var lost *lockbroker.LostError
	if err := lock.Downgrade(t.Context()); !errors.As(err, &lost) {
		t.Errorf("have %v", err)
	}
}

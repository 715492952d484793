package lockbroker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// These tests share a broker: what one does there does not concern another.
func TestLocks(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	for name, test := range map[string]func(*testing.T, *brokertest.Broker){
		"a lock excludes others and is released":    excludes,
		"waiters are served in order":               inOrder,
		"a wait ends after its limit":               maxWait,
		"a cancelled wait leaves the queue at once": cancelledWait,
		"a lingering lock is refused":               lingering,
		"a release is idempotent":                   releaseTwice,
		"a stale id releases nothing":               staleID,
		"the end of Do releases, also by a panic":   endOfScope,
		"the context ends and the lock stays":       contextEnds,
		"a surrounding deadline ends the wait":      deadline,
		"a grant that comes with the end is undone": undone,
		"a release by id is a loss":                 releasedByID,
		"adopt takes a lock over":                   adopt,
		"a thousand locks on one client":            thousand,
		"goroutines of one client exclude others":   goroutines,
		"bad input is refused and says what":        badInput,
		"Close releases everything":                 closes,
		"a collected lock is held, and told of":     collected,
		"our stubs can be used beside the client":   stubs,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, broker)
		})
	}
}

func excludes(t *testing.T, broker *brokertest.Broker) {
	one := connect(t, broker.URL, lockbroker.Owner("one"))
	two := connect(t, broker.URL)
	lock := acquire(t, one, "excludes")
	if held := refused(t, two, "excludes"); held.Reason != lockbroker.Held || held.Owner != "one" || held.Lock != "excludes" {
		t.Errorf("have %+v", held)
	}
	if err := lock.Check(); err != nil {
		t.Error(err)
	}
	if lock.TTL() != 15*time.Second || lock.Remaining() < 11*time.Second || lock.Remaining() > 13*time.Second {
		t.Errorf("ttl %v, remaining %v", lock.TTL(), lock.Remaining())
	}
	if lock.Name() != "excludes" || len(lock.ID()) != 36 || lock.Token() < 1 {
		t.Errorf("have %v, id of %d characters", lock, len(lock.ID()))
	}
	info, err := two.Get(t.Context(), "excludes", lock.ID())
	if err != nil || info.State != lockbroker.StateHeld || info.Owner != "one" || info.Remaining < 11*time.Second {
		t.Errorf("have %+v, %v", info, err)
	}
	release(t, lock)
	wantKind(t, lock.Check(), lockbroker.ErrReleased)
	wantKind(t, context.Cause(lock.Context()), lockbroker.ErrReleased)
	if lock.Remaining() != 0 {
		t.Errorf("%v remain after the release", lock.Remaining())
	}
	again := acquire(t, two, "excludes")
	if again.Token() <= lock.Token() {
		t.Errorf("the token falls from %d to %d", lock.Token(), again.Token())
	}
	release(t, again)
	if state(t, one, "excludes") != lockbroker.StateFree {
		t.Error("it is not free")
	}
}

func inOrder(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	first := acquire(t, client, "order")
	var order []int
	var group sync.WaitGroup
	for number := range 5 {
		group.Go(func() {
			lock := acquire(t, client, "order")
			order = append(order, number) // Under the lock.
			release(t, lock)
		})
		waitPosition(t, broker, "order", number+2)
	}
	release(t, first)
	group.Wait()
	if fmt.Sprint(order) != "[0 1 2 3 4]" {
		t.Errorf("served in the order %v", order)
	}
}

// waitPosition waits until somebody who queues for a lock gets that place.
func waitPosition(t *testing.T, broker *brokertest.Broker, name string, want int) {
	t.Helper()
	stub := broker.Stub()
	brokertest.Eventually(t, fmt.Sprintf("place %d in the queue for %s is free", want, name), func() bool {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stream, err := stub.WaitAcquire(ctx, &pb.WaitAcquireRequest{Lock: &pb.LockSpec{Name: name}})
		if err != nil {
			t.Fatal(err)
		}
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return int(response.GetEvent().GetQueued().GetPosition()) == want
	})
}

func maxWait(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	defer acquire(t, client, "max wait").Release()
	begun := time.Now()
	_, err := client.Lock(t.Context(), "max wait", lockbroker.Wait(300*time.Millisecond))
	var held *lockbroker.NotAcquiredError
	if !errors.As(err, &held) || held.Reason != lockbroker.WaitOver {
		t.Fatalf("have %v", err)
	}
	if took := time.Since(begun); took < 250*time.Millisecond || took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	// A wait of no length asks once.
	if _, err = client.Lock(t.Context(), "max wait", lockbroker.Wait(0)); !errors.As(err, &held) {
		t.Fatalf("have %v", err)
	}
}

func cancelledWait(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	defer acquire(t, client, "cancelled").Release()
	why := errors.New("the user has left")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() {
		_, err := client.Lock(ctx, "cancelled")
		done <- err
	}()
	waitPosition(t, broker, "cancelled", 2)
	cancel(why)
	if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, why) || !strings.Contains(err.Error(), "cancelled") {
		t.Errorf("have %v", err)
	}
	waitPosition(t, broker, "cancelled", 1)
	if _, err := client.Lock(ctx, "cancelled"); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v of a context that had ended", err)
	}
}

func lingering(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	release(t, acquire(t, client, "lingers", lockbroker.Linger(time.Second)))
	if held := refused(t, client, "lingers"); held.Reason != lockbroker.Lingering {
		t.Errorf("have %v", held)
	}
	if state(t, client, "lingers") != lockbroker.StateLingering {
		t.Error("it does not linger")
	}
	release(t, acquire(t, client, "lingers"))
}

func releaseTwice(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	lock := acquire(t, client, "twice")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := lock.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	other := acquire(t, client, "twice")
	release(t, lock)
	if err := other.Check(); err != nil {
		t.Errorf("the second release has released another grant: %v", err)
	}
	release(t, other)
}

func staleID(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	lock := acquire(t, client, "stale")
	stale := lock.ID()
	release(t, lock)
	if outcome, err := client.ReleaseID(t.Context(), "stale", stale); err != nil || outcome != lockbroker.NotHeld {
		t.Errorf("have %v, %v", outcome, err)
	}
	other := acquire(t, client, "stale")
	if outcome, err := client.ReleaseID(t.Context(), "stale", stale); err != nil || outcome != lockbroker.HeldByAnother {
		t.Errorf("have %v, %v", outcome, err)
	}
	_, err := client.ReleaseID(t.Context(), "stale", "no id")
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = client.Adopt(t.Context(), "stale", stale)
	var held *lockbroker.NotAcquiredError
	if !errors.As(err, &held) || held.Reason != lockbroker.NotReattachable {
		t.Errorf("have %v", err)
	}
	release(t, other)
}

func endOfScope(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	failure := errors.New("the work failed")
	err := client.Do(t.Context(), "scope", func(lock *lockbroker.Lock) error {
		refused(t, client, "scope")
		return failure
	})
	if err != failure || state(t, client, "scope") != lockbroker.StateFree {
		t.Errorf("have %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is gone")
			}
		}()
		_ = client.Do(t.Context(), "scope", func(*lockbroker.Lock) error { panic("of the work") })
	}()
	if state(t, client, "scope") != lockbroker.StateFree {
		t.Error("it is not free after a panic")
	}
	err = client.Do(t.Context(), "scope", func(lock *lockbroker.Lock) error {
		_, err := client.ReleaseID(t.Context(), "scope", lock.ID())
		waitFor(t, "the loss", lock.Lost())
		return err
	})
	wantLost(t, err, lockbroker.LostReleased)
}

func contextEnds(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	lock, err := client.Lock(ctx, "context")
	if err != nil {
		t.Fatal(err)
	}
	if lock.Context().Value(key{}) != "value" {
		t.Error("the context has lost its values")
	}
	cancel()
	waitFor(t, "the end of the lock's context", lock.Context().Done())
	if err := lock.Check(); err != nil {
		t.Errorf("the lock is not held any more: %v", err)
	}
	refused(t, client, "context")
	release(t, lock)
}

func deadline(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	lock, err := client.Lock(ctx, "deadline")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	_, err = client.Lock(ctx, "deadline")
	wantKind(t, err, context.DeadlineExceeded)
	// The first call's deadline is over. Its lock, and the Session that it opened, are not.
	if err := lock.Check(); err != nil {
		t.Error(err)
	}
	refused(t, client, "deadline")
}

// endsLate is a context that has ended when the grant is there, and not before.
type endsLate struct {
	context.Context
	looks atomic.Int32
}

func (c *endsLate) Err() error {
	if c.looks.Add(1) > 1 {
		return context.Canceled
	}
	return nil
}

func undone(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	lock, err := client.TryLock(&endsLate{Context: t.Context()}, "undone")
	if lock != nil || !errors.Is(err, context.Canceled) {
		t.Fatalf("have %v, %v", lock, err)
	}
	release(t, acquire(t, client, "undone"))
}

func releasedByID(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	lock := acquire(t, client, "by id")
	if outcome, err := connect(t, broker.URL).ReleaseID(t.Context(), "by id", lock.ID()); outcome != lockbroker.Released {
		t.Fatalf("have %v, %v", outcome, err)
	}
	waitFor(t, "the loss", lock.Lost())
	waitFor(t, "the end of the context", lock.Context().Done())
	wantLost(t, context.Cause(lock.Context()), lockbroker.LostReleased)
	wantLost(t, lock.Check(), lockbroker.LostReleased)
	wantLost(t, lock.Release(), lockbroker.LostReleased)
	if lock.Remaining() != 0 {
		t.Errorf("%v remain after the loss", lock.Remaining())
	}
}

func adopt(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	lock := acquire(t, client, "adopted")
	other := startChild(t, broker.URL)
	other.tell("adopt adopted " + lock.ID())
	held := other.Line(prefixed("held "))
	var token int64
	var id string
	if _, err := fmt.Sscan(strings.TrimPrefix(held, "held "), &token, &id); err != nil || token != lock.Token() {
		t.Errorf("%s; the token was %d (%v)", held, lock.Token(), err)
	}
	waitFor(t, "the loss", lock.Lost())
	wantLost(t, lock.Check(), lockbroker.LostTakenOver)
	if answer := other.tell("check"); answer != "ok check" {
		t.Error(answer)
	}
	_, err := client.Adopt(t.Context(), "adopted", "")
	wantKind(t, err, lockbroker.ErrInvalid)
}

func thousand(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	locks := make([]*lockbroker.Lock, 1000)
	var group sync.WaitGroup
	for at := range locks {
		group.Go(func() { locks[at] = acquire(t, client, fmt.Sprint("thousand ", at)) })
	}
	group.Wait()
	tokens := map[string]bool{}
	for _, lock := range locks {
		tokens[lock.ID()] = true
		if err := lock.Check(); err != nil {
			t.Fatal(err)
		}
	}
	if len(tokens) != len(locks) {
		t.Errorf("%d ids of %d locks", len(tokens), len(locks))
	}
	for _, lock := range locks {
		group.Go(func() { release(t, lock) })
	}
	group.Wait()
}

func goroutines(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	var inside atomic.Int32
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			for range 5 {
				lock := acquire(t, client, "goroutines")
				if inside.Add(1) != 1 {
					t.Error("two hold it")
				}
				runtime.Gosched()
				inside.Add(-1)
				release(t, lock)
			}
		})
	}
	group.Wait()
}

func badInput(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	_, err := client.TryLock(t.Context(), "")
	wantKind(t, err, lockbroker.ErrInvalid)
	var ours *lockbroker.Error
	if !errors.As(err, &ours) || ours.Reason != lockbroker.ReasonInvalidField {
		t.Errorf("have %+v", ours)
	}
	_, err = client.Lock(t.Context(), strings.Repeat("x", 129))
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = client.TryLock(t.Context(), "bad owner", lockbroker.Owner("a\nb"))
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = client.TryLock(t.Context(), "bad linger", lockbroker.Linger(-time.Second))
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = client.Lock(t.Context(), "bad poll", lockbroker.PollInterval(2*time.Hour))
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = client.Get(t.Context(), "\x00", "")
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = connect(t, broker.URL, lockbroker.TTL(time.Second)).TryLock(t.Context(), "bad ttl")
	wantKind(t, err, lockbroker.ErrInvalid)
	// Each of these would end the Session, and so free the lock.
	kept := acquire(t, client, "kept")
	for _, name := range []string{strings.Repeat("x", 5000), "\xff"} {
		_, err = client.TryLock(t.Context(), name)
		wantKind(t, err, lockbroker.ErrInvalid)
	}
	_, err = client.TryLock(t.Context(), "bad owner", lockbroker.Owner("\xff"))
	wantKind(t, err, lockbroker.ErrInvalid)
	// The client goes on.
	release(t, acquire(t, client, "good"))
	if err := kept.Check(); err != nil {
		t.Error(err)
	}
	release(t, kept)
}

func closes(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	observer := connect(t, broker.URL)
	lock := acquire(t, client, "closed")
	blocker := acquire(t, observer, "closed, waited for")
	waiting := make(chan error)
	go func() {
		_, err := client.Lock(context.Background(), "closed, waited for")
		waiting <- err
	}()
	waitPosition(t, broker, "closed, waited for", 2)
	for range 2 {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
	wantKind(t, <-waiting, lockbroker.ErrClosed)
	wantKind(t, lock.Check(), lockbroker.ErrClosed)
	wantKind(t, context.Cause(lock.Context()), lockbroker.ErrClosed)
	release(t, lock)
	if state(t, observer, "closed") != lockbroker.StateFree {
		t.Error("it is not free")
	}
	waitPosition(t, broker, "closed, waited for", 1)
	release(t, blocker)
	_, err := client.TryLock(t.Context(), "closed")
	wantKind(t, err, lockbroker.ErrClosed)
	_, err = client.Get(t.Context(), "closed", "")
	wantKind(t, err, lockbroker.ErrClosed)
}

func collected(t *testing.T, broker *brokertest.Broker) {
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	client := connect(t, broker.URL, lockbroker.Logger(logger))
	func() { acquire(t, client, "collected") }()
	brokertest.Eventually(t, "the lock is collected", func() bool {
		runtime.GC()
		return strings.Contains(log.String(), "nobody can release it") && strings.Contains(log.String(), "collected")
	})
	// Its work may go on, so it is held.
	refused(t, client, "collected")
	client.Close()
	release(t, acquire(t, connect(t, broker.URL), "collected"))
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(text)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func stubs(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	defer acquire(t, client, "beside stubs").Release()
	info, err := broker.Stub().GetLock(t.Context(), &pb.GetLockRequest{Name: "beside stubs"})
	if err != nil || info.GetState() != pb.GetLockResponse_STATE_HELD {
		t.Errorf("have %v, %v", info, err)
	}
}

package lockbrokertest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lockbroker/lockbroker/clients/go"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
	"github.com/lockbroker/lockbroker/clients/go/lockbrokertest"
)

func wantLost(t *testing.T, err error, reason lockbroker.LostReason) {
	t.Helper()
	if lost := new(lockbroker.LostError); !errors.As(err, &lost) || lost.Reason != reason {
		t.Errorf("have %v; want lost: %v", err, reason)
	}
}

func TestItGrantsAndLosesLeases(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	client := connect(t, broker)
	lease := func(options ...lockbroker.LeaseOption) *lockbroker.Lease {
		t.Helper()
		lease, err := client.Lease(t.Context(), "job", options...)
		if err != nil {
			t.Fatal(err)
		}
		return lease
	}
	held := lease(lockbroker.Owner("me"))
	if owner, isHeld := broker.Holder("job"); !isHeld || owner != "me" {
		t.Errorf("held %v by %q", isHeld, owner)
	}
	var refused *lockbroker.NotAcquiredError
	if _, err := client.Lease(t.Context(), "job", lockbroker.Wait(30*time.Millisecond)); !errors.As(err, &refused) ||
		refused.Reason != lockbroker.WaitOver {
		t.Errorf("have %v", err)
	}
	waited := make(chan *lockbroker.Lease)
	go func() {
		lease, _ := client.Lease(context.Background(), "job", lockbroker.Wait(20*time.Second))
		waited <- lease
	}()
	eventually(t, "somebody waits", func() bool { return broker.Waiters("job") == 1 })
	if err := errors.Join(held.Renew(t.Context()), held.Release()); err != nil {
		t.Error(err)
	}
	held = <-waited
	for reason, told := range map[lockbroker.LostReason]lockbroker.LostReason{
		lockbroker.LostRevoked: lockbroker.LostRevoked, lockbroker.LostReleased: lockbroker.LostGone,
	} {
		broker.Lose(t, "job", reason)
		wantLost(t, held.Renew(t.Context()), told)
		held = lease()
	}
	broker.Take("job", "somebody")
	wantLost(t, held.Renew(t.Context()), lockbroker.LostTakenOver)
	broker.Free("job")
	broker.Fail("job", lockbroker.ReasonStoreFull)
	if _, err := client.Lease(t.Context(), "job"); !errors.Is(err, lockbroker.ErrExhausted) {
		t.Errorf("have %v", err)
	}
	// It is asked again.
	broker.Fail("job", lockbroker.ReasonStoreUnavailable)
	lock, err := client.Adopt(t.Context(), "job", lease().ID())
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
}

func TestALeaseRunsOut(t *testing.T) {
	t.Parallel()
	const ttl = 3 * time.Second
	broker := lockbrokertest.Start(t, lockbrokertest.TTL(ttl))
	client := connect(t, broker)
	held, err := client.Lease(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); time.Since(begun) < ttl+time.Second; time.Sleep(100 * time.Millisecond) {
		if err := held.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	broker.Silence(true)
	eventually(t, "it has run out", func() bool { return held.Check() != nil })
	wantLost(t, held.Check(), lockbroker.LostExpired)
	broker.Silence(false)
	eventually(t, "it is free", func() bool {
		_, isHeld := broker.Holder("job")
		return !isHeld
	})
}

func TestItKeepsLocksAsTheyWant(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t)
	observer := connect(t, broker)
	lock, err := observer.TryLock(t.Context(), "held", lockbroker.MinHold(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	var refused *lockbroker.NotAcquiredError
	if _, err := observer.TryLock(t.Context(), "held"); !errors.As(err, &refused) || refused.Reason != lockbroker.Lingering {
		t.Errorf("have %v", err)
	}
	// Close releases also what is kept.
	client := connect(t, broker)
	if _, err := client.TryLock(t.Context(), "kept", lockbroker.KeepOnDisconnect()); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if _, isHeld := broker.Holder("kept"); isHeld {
		t.Error("it is still held")
	}
}

func TestAKeptLockOutlivesItsStream(t *testing.T) {
	t.Parallel()
	broker := lockbrokertest.Start(t, lockbrokertest.TTL(time.Second))
	conn, err := grpc.NewClient(strings.TrimPrefix(broker.URL(), "http://"), grpc.WithNoProxy(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := pb.NewLockServiceClient(conn).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kept := &pb.LockSpec{Name: "kept", OnDisconnect: pb.LockSpec_ON_DISCONNECT_KEEP}
	for _, request := range []*pb.SessionRequest{
		{Kind: &pb.SessionRequest_Open{Open: &pb.OpenSession{}}},
		{Kind: &pb.SessionRequest_Begin{Begin: &pb.BeginLock{LockRef: 1, Lock: kept}}},
		{Kind: &pb.SessionRequest_Begin{Begin: &pb.BeginLock{LockRef: 2, Lock: &pb.LockSpec{Name: "dropped"}}}},
	} {
		if err := stream.Send(request); err != nil {
			t.Fatal(err)
		}
	}
	isHeld := func(name string) bool {
		_, isHeld := broker.Holder(name)
		return isHeld
	}
	eventually(t, "it is held", func() bool { return isHeld("dropped") })
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream has ended", func() bool { return !isHeld("dropped") })
	if !isHeld("kept") {
		t.Error("it is not kept")
	}
	eventually(t, "it has run out", func() bool { return !isHeld("kept") })
}

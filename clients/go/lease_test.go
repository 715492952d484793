package lockbroker_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// lease takes a lease, and waits for it if it must.
func lease(t *testing.T, client *lockbroker.Client, name string, options ...lockbroker.LeaseOption) *lockbroker.Lease {
	t.Helper()
	options = append([]lockbroker.LeaseOption{lockbroker.Wait(brokertest.Soon)}, options...)
	lease, err := client.Lease(t.Context(), name, options...)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func renew(t *testing.T, lease *lockbroker.Lease) {
	t.Helper()
	if err := lease.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestLeases(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	for name, test := range map[string]func(*testing.T, *brokertest.Broker){
		"a lease outlives its client":          outlives,
		"a wait is granted, ends, is given up": leaseWaits,
		"a lease runs out":                     leaseRunsOut,
		"a lease that is released by its id":   leaseReleasedByID,
		"a lease is adopted":                   leaseAdopted,
		"a release twice":                      leaseReleasedTwice,
		"bad input is refused":                 leaseBadInput,
		"a closed client":                      leaseClosed,
		"a lock stays closed for its min hold": minHold,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, broker)
		})
	}
}

func outlives(t *testing.T, broker *brokertest.Broker) {
	one, two := connect(t, broker.URL, lockbroker.Owner("one")), connect(t, broker.URL)
	held, err := one.Lease(t.Context(), "outlives")
	if err != nil {
		t.Fatal(err)
	}
	if refusal := refused(t, two, "outlives"); refusal.Reason != lockbroker.Held || refusal.Owner != "one" {
		t.Errorf("have %+v", refusal)
	}
	_, err = two.Lease(t.Context(), "outlives")
	if refusal := new(lockbroker.NotAcquiredError); !errors.As(err, &refusal) || refusal.Reason != lockbroker.Held {
		t.Errorf("have %v", err)
	}
	if held.Name() != "outlives" || held.Token() < 1 || held.Check() != nil ||
		held.Remaining() < 11*time.Second || held.Remaining() > 12500*time.Millisecond {
		t.Errorf("have %v, %v", held, held.Check())
	}
	one.Close()
	if err := held.Check(); err != nil {
		t.Error(err)
	}
	if state(t, two, "outlives") != lockbroker.StateHeld {
		t.Error("it is not held any more")
	}
	// A client can make it a lock of its own.
	lock, err := two.Adopt(t.Context(), "outlives", held.ID())
	if err != nil || lock.Token() != held.Token() {
		t.Fatalf("have %v, %v", lock, err)
	}
	release(t, lock)
}

func leaseWaits(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	first := lease(t, client, "lease waits")
	begun := time.Now()
	_, err := client.Lease(t.Context(), "lease waits", lockbroker.Wait(300*time.Millisecond))
	if refusal := new(lockbroker.NotAcquiredError); !errors.As(err, &refusal) || refusal.Reason != lockbroker.WaitOver {
		t.Errorf("have %v", err)
	}
	if took := time.Since(begun); took < 250*time.Millisecond || took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	given := make(chan error)
	go func() {
		_, err := client.Lease(ctx, "lease waits", lockbroker.Wait(20*time.Second))
		given <- err
	}()
	waitPosition(t, broker, "lease waits", 2)
	cancel()
	wantKind(t, <-given, context.Canceled)
	waitPosition(t, broker, "lease waits", 1)
	_, err = client.Lease(ctx, "lease waits")
	wantKind(t, err, context.Canceled)
	granted := make(chan *lockbroker.Lease)
	go func() {
		lease, _ := client.Lease(context.Background(), "lease waits", lockbroker.Wait(20*time.Second))
		granted <- lease
	}()
	waitPosition(t, broker, "lease waits", 2)
	if err := first.Release(); err != nil {
		t.Error(err)
	}
	second := <-granted
	if second == nil || second.Token() <= first.Token() || second.Remaining() < 10*time.Second {
		t.Fatalf("have %v", second)
	}
	if err := second.Release(); err != nil {
		t.Error(err)
	}
}

func leaseRunsOut(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	held := lease(t, client, "runs out", lockbroker.TTL(short))
	if held.Remaining() > 3*time.Second-short/30 {
		t.Errorf("%v remain: no time to stop in", held.Remaining())
	}
	brokertest.Eventually(t, "it has run out", func() bool { return held.Remaining() == 0 })
	wantLost(t, held.Check(), lockbroker.LostExpired)
	// Though the broker would.
	wantLost(t, held.Renew(t.Context()), lockbroker.LostExpired)
	begun := time.Now()
	wantLost(t, held.Release(), lockbroker.LostExpired)
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it waits for %v", took)
	}
	brokertest.Eventually(t, "it is free", func() bool { return state(t, client, "runs out") == lockbroker.StateFree })
}

func leaseReleasedByID(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	for _, ends := range []func(*lockbroker.Lease) error{
		func(lease *lockbroker.Lease) error { return lease.Renew(t.Context()) }, (*lockbroker.Lease).Release,
	} {
		held := lease(t, client, "lease by id")
		if outcome, err := client.ReleaseID(t.Context(), "lease by id", held.ID()); outcome != lockbroker.Released {
			t.Fatalf("have %v, %v", outcome, err)
		}
		// Nobody tells it.
		if err := held.Check(); err != nil {
			t.Error(err)
		}
		wantLost(t, ends(held), lockbroker.LostGone)
	}
	held := lease(t, client, "lease by id")
	_, _ = client.ReleaseID(t.Context(), "lease by id", held.ID())
	defer lease(t, client, "lease by id").Release()
	wantLost(t, held.Renew(t.Context()), lockbroker.LostTakenOver)
	wantLost(t, held.Check(), lockbroker.LostTakenOver)
	wantLost(t, held.Release(), lockbroker.LostTakenOver)
	if held.Remaining() != 0 {
		t.Errorf("%v remain", held.Remaining())
	}
}

func leaseAdopted(t *testing.T, broker *brokertest.Broker) {
	one, two := connect(t, broker.URL), connect(t, broker.URL)
	held := lease(t, one, "lease adopted")
	adopted, err := two.AdoptLease(t.Context(), "lease adopted", held.ID())
	if err != nil || adopted.Check() != nil || adopted.Token() != 0 || adopted.ID() != held.ID() {
		t.Fatalf("have %v, %v", adopted, err)
	}
	renew(t, adopted)
	if err := adopted.Release(); err != nil {
		t.Error(err)
	}
	wantLost(t, held.Renew(t.Context()), lockbroker.LostGone)
	_, err = two.AdoptLease(t.Context(), "lease adopted", held.ID())
	wantLost(t, err, lockbroker.LostGone)
	_, err = two.AdoptLease(t.Context(), "lease adopted", "")
	wantKind(t, err, lockbroker.ErrInvalid)
	lock := acquire(t, one, "lease adopted")
	_, err = two.AdoptLease(t.Context(), "lease adopted", lock.ID())
	wantKind(t, err, lockbroker.ErrInvalid)
	release(t, lock)
}

func leaseReleasedTwice(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	held := lease(t, client, "lease twice")
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := held.Release(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	wantKind(t, held.Check(), lockbroker.ErrReleased)
	wantKind(t, held.Renew(t.Context()), lockbroker.ErrReleased)
	other := acquire(t, client, "lease twice")
	if err := held.Release(); err != nil {
		t.Error(err)
	}
	if err := other.Check(); err != nil {
		t.Errorf("the second release has released another grant: %v", err)
	}
	release(t, other)
}

func leaseBadInput(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	for _, options := range [][]lockbroker.LeaseOption{
		{lockbroker.TTL(time.Second)}, {lockbroker.Wait(31 * time.Second)}, {lockbroker.MinHold(-time.Second)},
		{lockbroker.Linger(2 * time.Hour)}, {lockbroker.Owner("a\nb")}, {lockbroker.Owner("\xff")},
	} {
		_, err := client.Lease(t.Context(), "bad lease", options...)
		wantKind(t, err, lockbroker.ErrInvalid)
	}
	_, err := client.Lease(t.Context(), "")
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = client.TryLock(t.Context(), "bad min hold", lockbroker.MinHold(2*time.Hour))
	wantKind(t, err, lockbroker.ErrInvalid)
	// Its own ttl comes before the client's.
	_, err = connect(t, broker.URL, lockbroker.TTL(time.Second)).Lease(t.Context(), "bad lease")
	wantKind(t, err, lockbroker.ErrInvalid)
	held := lease(t, connect(t, broker.URL, lockbroker.TTL(time.Second)), "good lease", lockbroker.TTL(short))
	if err := held.Release(); err != nil {
		t.Error(err)
	}
}

func leaseClosed(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	held := lease(t, client, "lease closed")
	waiting := make(chan error)
	go func() {
		_, err := client.Lease(context.Background(), "lease closed", lockbroker.Wait(20*time.Second))
		waiting <- err
	}()
	waitPosition(t, broker, "lease closed", 2)
	client.Close()
	wantKind(t, <-waiting, lockbroker.ErrClosed)
	_, err := client.Lease(t.Context(), "lease closed")
	wantKind(t, err, lockbroker.ErrClosed)
	wantKind(t, held.Renew(t.Context()), lockbroker.ErrClosed)
	if err := held.Check(); err != nil {
		t.Error(err)
	}
	other := connect(t, broker.URL)
	if outcome, err := other.ReleaseID(t.Context(), "lease closed", held.ID()); outcome != lockbroker.Released {
		t.Errorf("have %v, %v", outcome, err)
	}
}

func minHold(t *testing.T, broker *brokertest.Broker) {
	const long = 3 * time.Second
	client := connect(t, broker.URL)
	begun := time.Now()
	release(t, acquire(t, client, "min hold", lockbroker.MinHold(long)))
	if err := lease(t, client, "min hold, lease", lockbroker.MinHold(long)).Release(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"min hold", "min hold, lease"} {
		if refusal := refused(t, client, name); refusal.Reason != lockbroker.Lingering {
			t.Errorf("have %v", refusal)
		}
	}
	release(t, acquire(t, client, "min hold"))
	if took := time.Since(begun); took < long {
		t.Errorf("it was free after %v", took)
	}
}

func TestALeaseIsRenewedAtAnyBroker(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	client, other := connect(t, one.URL+","+two.URL), connect(t, two.URL)
	const ttl = 9 * time.Second
	held := lease(t, client, "renewed", lockbroker.TTL(ttl))
	begun, isKilled := time.Now(), false
	for time.Since(begun) < ttl+2*time.Second {
		if !isKilled && time.Since(begun) > ttl/3 {
			one.Kill()
			isKilled = true
		}
		renew(t, held)
		if remaining := held.Remaining(); remaining < ttl/2 || remaining > ttl-2*time.Second {
			t.Errorf("%v remain", remaining)
		}
		refused(t, other, "renewed")
		time.Sleep(ttl / 10)
	}
	if err := held.Release(); err != nil {
		t.Error(err)
	}
	release(t, acquire(t, other, "renewed"))
}

// A broker that does not answer leaves the lease as it is.
func TestARenewalThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	proxy := brokertest.StartProxy(t, broker)
	client := connect(t, proxy.URL, lockbroker.AnswerTimeout(1500*time.Millisecond))
	held := lease(t, client, "unanswered", lockbroker.TTL(short))
	proxy.Hole()
	begun := time.Now()
	wantKind(t, held.Renew(t.Context()), lockbroker.ErrUnavailable)
	if took := time.Since(begun); took > 2500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	if err := held.Check(); err != nil {
		t.Error(err)
	}
	proxy.Open()
	renew(t, held)
	proxy.Hole()
	// It gives up when the lease is over.
	for held.Check() == nil {
		if err := held.Renew(t.Context()); !errors.Is(err, lockbroker.ErrUnavailable) {
			wantLost(t, err, lockbroker.LostExpired)
		}
	}
	wantLost(t, held.Check(), lockbroker.LostExpired)
}

// relay passes leases on to a broker, and spoils the first answers.
type relay struct {
	pb.UnimplementedLockServiceServer
	broker pb.LockServiceClient
	spoil  func() error

	mu       sync.Mutex
	asked    []string
	releases int
	lost     *pb.Acquired
}

func (r *relay) AcquireLease(ctx context.Context, request *pb.AcquireLeaseRequest) (*pb.AcquireLeaseResponse, error) {
	answer, err := r.broker.AcquireLease(ctx, request)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, request.GetRequestId())
	if len(r.asked) == 1 {
		r.lost = answer.GetAcquired()
		return nil, r.spoil()
	}
	return answer, err
}

func (r *relay) Release(ctx context.Context, request *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	answer, err := r.broker.Release(ctx, request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.releases++; r.releases == 1 {
		return nil, r.spoil()
	}
	return answer, err
}

func TestAnAnswerThatIsLostBlocksNothing(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func() error{
		"unavailable": func() error { return status.Error(codes.Unavailable, "a proxy") },
		"reset":       func() error { return status.Error(codes.Internal, "RST_STREAM") },
		"late": func() error {
			time.Sleep(3 * time.Second)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartBroker(t)
			between := &relay{broker: broker.Stub(), spoil: spoil}
			held, err := connect(t, serve(t, between)).Lease(t.Context(), "repeated")
			if err != nil {
				t.Fatal(err)
			}
			between.mu.Lock()
			asked, lost := between.asked, between.lost
			between.mu.Unlock()
			if len(asked) != 2 || asked[0] != asked[1] || lost.GetFencingToken() != held.Token() {
				t.Errorf("asked for %v; had %v, have %v", asked, lost, held)
			}
			renew(t, connectAdopted(t, broker, held))
			// The answer to the first release is lost, too. It is no loss.
			if err := held.Release(); err != nil {
				t.Error(err)
			}
			again := lease(t, connect(t, broker.URL), "repeated")
			if again.ID() == held.ID() {
				t.Error("the same lease again")
			}
		})
	}
}

func connectAdopted(t *testing.T, broker *brokertest.Broker, held *lockbroker.Lease) *lockbroker.Lease {
	t.Helper()
	adopted, err := connect(t, broker.URL).AdoptLease(t.Context(), held.Name(), held.ID())
	if err != nil {
		t.Fatal(err)
	}
	return adopted
}

func TestNoBrokerGivesNoLease(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	client := connect(t, "127.0.0.1:9,127.0.0.1:10", lockbroker.AnswerTimeout(time.Second))
	_, err := client.Lease(t.Context(), "nowhere")
	wantKind(t, err, lockbroker.ErrUnavailable)
	if took := time.Since(begun); took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAProxyThatClosesConnectionsCostsNoKeptLock(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	proxy := brokertest.StartProxy(t, broker)
	client, rival := connect(t, proxy.URL), connect(t, broker.URL)
	kept := acquire(t, client, "kept", lockbroker.KeepOnDisconnect())
	dropped := acquire(t, client, "dropped")
	waiting := make(chan *lockbroker.Lock, 1)
	go func() {
		lock, _ := rival.Lock(context.Background(), "kept")
		waiting <- lock
	}()
	waitPosition(t, broker, "kept", 2)
	for range 3 {
		id := kept.ID()
		proxy.Close()
		brokertest.Eventually(t, "the lock has moved", func() bool { return kept.ID() != id && kept.Check() == nil })
	}
	// Somebody who did not keep it may lose it, and somebody who did does not.
	brokertest.Eventually(t, "the other is decided", func() bool {
		return dropped.Check() == nil || !errors.Is(dropped.Check(), lockbroker.ErrUnavailable)
	})
	select {
	case lock := <-waiting:
		t.Fatalf("%v is held beside %v", lock, kept)
	case <-kept.Lost():
		t.Fatal(kept.Check())
	default:
	}
	release(t, kept)
	release(t, <-waiting)
}

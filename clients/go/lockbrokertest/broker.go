// Package lockbrokertest has a broker for tests. It runs in the test's own process, keeps its locks in memory, and grants,
// refuses and loses them on command.
//
//	broker := lockbrokertest.Start(t)
//	client, err := lockbroker.Connect(broker.URL())
//	…
//	broker.Take("reports", "somebody")                  // now somebody else has it
//	broker.Lose(t, "nightly", lockbroker.LostExpired)   // the holder's Lock.Context ends
//
// It grants permits of shared locks, too, each time the lowest that is free, and shares a lock by [lockbroker.Lock.Downgrade]. It does
// not know of locks that are asked for together, by [lockbroker.Also], nor of several permits at once, by [lockbroker.Weight]: it answers
// with the first alone, and the call fails. Nor does it know of values and of those who observe: a
// [lockbroker.Value] is ignored, and Lock.Update and Client.Observe fail with ErrUnexpected. It speaks the protocol as far as this client uses
// it: Session, Release, GetLock, AcquireLease and RenewLease. It checks no names and no bounds, and nothing that it says is kept:
// for tests of a whole system, start a real broker with --store memory.
package lockbrokertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/lockbroker/lockbroker/clients/go"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// Broker is a broker for tests. All its methods may be called by several goroutines at once.
type Broker struct {
	url    string
	server *grpc.Server
	ttl    time.Duration

	mu sync.Mutex
	// locks are all that were ever asked for.
	locks     map[string]*lock
	sessions  map[*session]bool
	isSilent  bool
	lastToken int64
}

// Option is a setting of a broker.
type Option func(*Broker)

// TTL sets the ttl of all locks, whatever clients ask for. Default: 15 s. With one of 300 ms a test sees quickly what a client
// does when it hears nothing.
func TTL(ttl time.Duration) Option {
	return func(broker *Broker) { broker.ttl = ttl }
}

// Start starts a broker on a free port of the loopback address. It stops when the test ends.
func Start(t testing.TB, options ...Option) *Broker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("lockbrokertest: %v", err)
	}
	broker := &Broker{
		url: "http://" + listener.Addr().String(), server: grpc.NewServer(), ttl: 15 * time.Second,
		locks: map[string]*lock{}, sessions: map[*session]bool{},
	}
	for _, option := range options {
		option(broker)
	}
	pb.RegisterLockServiceServer(broker.server, &service{broker: broker})
	go func() { _ = broker.server.Serve(listener) }()
	t.Cleanup(broker.Stop)
	return broker
}

// URL returns where it listens, for [lockbroker.Connect].
func (b *Broker) URL() string { return b.url }

// Stop ends the broker at once, as a crash does. A client finds its streams broken, and its locks lost when they have run out.
func (b *Broker) Stop() { b.server.Stop() }

// Take gives the lock to somebody else with that label, alone. Clients that hold it lose it.
func (b *Broker) Take(name, owner string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lock := b.lock(name)
	lock.loseAll(pb.Lost_REASON_TAKEN_OVER)
	clear(lock.closed)
	lock.holders = []*grant{b.newGrant(&request{owner: owner}, alone)}
}

// Free releases the lock, whoever has it. The first who waits for it gets it. Clients that held it lose it.
func (b *Broker) Free(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lock := b.lock(name)
	lock.loseAll(pb.Lost_REASON_GONE)
	clear(lock.closed)
	b.grantNext(lock)
}

// Lose makes the clients that hold the lock lose it; that of a lease finds it at the next renewal. It fails the test if no client
// holds the lock.
func (b *Broker) Lose(t testing.TB, name string, reason lockbroker.LostReason) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	lock := b.lock(name)
	isClients := func(grant *grant) bool { return grant.session != nil || grant.expiry != nil }
	if !slices.ContainsFunc(lock.holders, isClients) {
		t.Fatalf("lockbrokertest: no client holds %q", name)
	}
	for _, grant := range slices.Clone(lock.holders) {
		if reason == lockbroker.LostReleased && grant.session != nil {
			grant.sayReleased()
			lock.remove(grant)
			continue
		}
		// That of a lease which was released by its id is told that it is gone.
		lock.lose(grant, map[lockbroker.LostReason]pb.Lost_Reason{
			lockbroker.LostGone: pb.Lost_REASON_GONE, lockbroker.LostTakenOver: pb.Lost_REASON_TAKEN_OVER,
			lockbroker.LostRevoked: pb.Lost_REASON_REVOKED, lockbroker.LostReleased: pb.Lost_REASON_GONE,
		}[reason])
	}
	b.grantNext(lock)
}

// Fail makes the next request for the lock fail with that reason, such as [lockbroker.ReasonStoreUnavailable].
func (b *Broker) Fail(name string, reason lockbroker.ErrorReason) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lock := b.lock(name)
	lock.failures = append(lock.failures, reason)
}

// Silence makes the broker say nothing any more, as a network that is cut does; false ends that. Clients lose their locks when
// these have run out.
func (b *Broker) Silence(isSilent bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.isSilent = isSilent
}

// Drain tells all clients that the broker is going away. They connect again and move their locks.
func (b *Broker) Drain() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for session := range b.sessions {
		session.say(0, &pb.LockEvent{Kind: &pb.LockEvent_Draining{Draining: &pb.Draining{}}})
	}
}

// Holder returns the label of whoever holds the lock, and whether anybody does. If several share it: of the first of them.
func (b *Broker) Holder(name string) (owner string, isHeld bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if holders := b.lock(name).holders; len(holders) > 0 {
		return holders[0].owner, true
	}
	return "", false
}

// Waiters returns how many wait for the lock.
func (b *Broker) Waiters(name string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.lock(name).waiters)
}

func (b *Broker) lock(name string) *lock {
	if b.locks[name] == nil {
		b.locks[name] = &lock{name: name, closed: map[int32]time.Time{}, lost: map[string]pb.Lost_Reason{}}
	}
	return b.locks[name]
}

func (b *Broker) newGrant(asks *request, permit int32) *grant {
	b.lastToken++
	return &grant{
		id: newID(), token: b.lastToken, permit: permit, owner: asks.owner, linger: asks.linger, isKept: asks.isKept,
		heldUntil: time.Now().Add(asks.minHold),
	}
}

// newID makes a lock id: 36 characters, as those of a broker.
func newID() string {
	random := make([]byte, 16)
	_, _ = rand.Read(random)
	return fmt.Sprintf("%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
}

// grantNext gives what is free of a lock to those who wait, in their order.
func (b *Broker) grantNext(lock *lock) {
	for len(lock.waiters) > 0 {
		first := lock.waiters[0]
		permit, isFree := lock.free(first.limit)
		if !isFree {
			break
		}
		lock.removeWaiter(first)
		b.grant(lock, first, permit)
	}
	if opens := lock.opens(); len(lock.waiters) > 0 && !opens.IsZero() {
		time.AfterFunc(time.Until(opens), func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.grantNext(lock)
		})
	}
}

// grant gives a lock, or a permit of it, to who asks for it.
func (b *Broker) grant(lock *lock, asks *request, permit int32) {
	grant := b.newGrant(asks, permit)
	lock.holders = append(lock.holders, grant)
	if asks.session == nil {
		b.grantLease(lock, grant, asks)
		return
	}
	grant.session, grant.ref = asks.session, asks.ref
	asks.session.locks[asks.ref] = lock
	asks.session.acquired(grant)
}

// release ends a grant by its holder's will.
func (b *Broker) release(lock *lock, grant *grant) {
	closed := time.Now().Add(grant.linger)
	if grant.heldUntil.After(closed) {
		closed = grant.heldUntil
	}
	lock.closed[grant.permit] = closed
	lock.remove(grant)
	b.grantNext(lock)
}

// service answers the single calls.
type service struct {
	pb.UnimplementedLockServiceServer
	broker *Broker
}

func (s *service) Release(_ context.Context, request *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	lock := s.broker.lock(request.GetName())
	outcome := pb.ReleaseResponse_OUTCOME_RELEASED
	grant := lock.named(request.GetLockId())
	switch {
	case grant != nil:
		grant.sayReleased()
		s.broker.release(lock, grant)
	case len(lock.holders) == 0:
		outcome = pb.ReleaseResponse_OUTCOME_NOT_HELD
	default:
		outcome = pb.ReleaseResponse_OUTCOME_HELD_BY_ANOTHER
	}
	return &pb.ReleaseResponse{Outcome: outcome}, nil
}

func (s *service) GetLock(_ context.Context, request *pb.GetLockRequest) (*pb.GetLockResponse, error) {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	lock := s.broker.lock(request.GetName())
	named := lock.named(request.GetLockId())
	shown, isWhole := named, named == nil && request.Permit == nil
	switch {
	case request.Permit != nil:
		shown = lock.with(request.GetPermit())
	case isWhole:
		shown = lock.with(alone)
	}
	answer := &pb.GetLockResponse{State: pb.GetLockResponse_STATE_FREE}
	switch closed := lock.shut(request.Permit); {
	case shown != nil:
		answer.State, answer.Owner = pb.GetLockResponse_STATE_HELD, shown.owner
		answer.FreeWithin, answer.FencingToken = span(s.broker.ttl), shown.token
		if shown == named {
			answer.ExpiresAfterRequest = span(s.broker.validity())
		}
	case isWhole && len(lock.holders) > 0:
		answer.State, answer.FreeWithin = pb.GetLockResponse_STATE_HELD, span(s.broker.ttl)
		if request.GetLockId() == "" {
			answer.SharedCount = int32(len(lock.holders))
		}
	case time.Now().Before(closed):
		answer.State, answer.FreeWithin = pb.GetLockResponse_STATE_LINGERING, span(time.Until(closed))
	}
	return answer, nil
}

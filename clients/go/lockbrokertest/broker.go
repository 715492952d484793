// Package lockbrokertest has a broker for tests. It runs in the test's own process, keeps its locks in memory, and grants,
// refuses and loses them on command.
//
//	broker := lockbrokertest.Start(t)
//	client, err := lockbroker.Connect(broker.URL())
//	…
//	broker.Take("reports", "somebody")                  // now somebody else has it
//	broker.Lose(t, "nightly", lockbroker.LostExpired)   // the holder's Lock.Context ends
//
// It speaks the protocol as far as this client uses it: Session, Release, GetLock, AcquireLease and RenewLease. It checks no
// names and no bounds, and nothing that it says is kept: for tests of a whole system, start a real broker with --store memory.
package lockbrokertest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
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

// Take gives the lock to somebody else with that label. If a client holds it, that client loses it.
func (b *Broker) Take(name, owner string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lock := b.lock(name)
	lock.lose(pb.Lost_REASON_TAKEN_OVER)
	lock.lingers = time.Time{}
	lock.holder = b.newGrant(&request{owner: owner})
}

// Free releases the lock, whoever has it. The first who waits for it gets it. A client that held it loses it.
func (b *Broker) Free(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lock := b.lock(name)
	lock.lose(pb.Lost_REASON_GONE)
	lock.lingers = time.Time{}
	b.grantNext(lock)
}

// Lose makes the client that holds the lock lose it; that of a lease finds it at the next renewal. It fails the test if no client
// holds the lock.
func (b *Broker) Lose(t testing.TB, name string, reason lockbroker.LostReason) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	lock := b.lock(name)
	if lock.holder == nil || lock.holder.session == nil && lock.holder.expiry == nil {
		t.Fatalf("lockbrokertest: no client holds %q", name)
	}
	if reason == lockbroker.LostReleased && lock.holder.session != nil {
		lock.holder.session.say(lock.holder.ref, &pb.LockEvent{Kind: &pb.LockEvent_Released{Released: &pb.Released{}}})
		lock.holder.drop()
		lock.holder = nil
	} else {
		// That of a lease which was released by its id is told that it is gone.
		lock.lose(map[lockbroker.LostReason]pb.Lost_Reason{
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

// Holder returns the label of whoever holds the lock, and whether anybody does.
func (b *Broker) Holder(name string) (owner string, isHeld bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if holder := b.lock(name).holder; holder != nil {
		return holder.owner, true
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
		b.locks[name] = &lock{name: name, lost: map[string]pb.Lost_Reason{}}
	}
	return b.locks[name]
}

func (b *Broker) newGrant(asks *request) *grant {
	b.lastToken++
	return &grant{
		id: newID(), token: b.lastToken, owner: asks.owner, linger: asks.linger, isKept: asks.isKept,
		heldUntil: time.Now().Add(asks.minHold),
	}
}

// newID makes a lock id: 36 characters, as those of a broker.
func newID() string {
	random := make([]byte, 16)
	_, _ = rand.Read(random)
	return fmt.Sprintf("%x-%x-%x-%x-%x", random[:4], random[4:6], random[6:8], random[8:10], random[10:])
}

// grantNext gives a lock that nobody has to the first who waits.
func (b *Broker) grantNext(lock *lock) {
	if lock.holder != nil || len(lock.waiters) == 0 {
		return
	}
	if left := time.Until(lock.lingers); left > 0 {
		time.AfterFunc(left, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.grantNext(lock)
		})
		return
	}
	first := lock.waiters[0]
	lock.removeWaiter(first)
	b.grant(lock, first)
}

// grant gives a lock to who asks for it.
func (b *Broker) grant(lock *lock, asks *request) {
	lock.holder = b.newGrant(asks)
	if asks.session == nil {
		b.grantLease(lock, asks)
		return
	}
	lock.holder.session, lock.holder.ref = asks.session, asks.ref
	asks.session.locks[asks.ref] = lock
	asks.session.acquired(lock.holder)
}

// release ends the grant of a lock by its holder's will.
func (b *Broker) release(lock *lock) {
	lock.lingers = lock.holder.heldUntil
	if lingers := time.Now().Add(lock.holder.linger); lingers.After(lock.lingers) {
		lock.lingers = lingers
	}
	lock.holder.drop()
	lock.holder = nil
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
	switch {
	case lock.holder == nil:
		outcome = pb.ReleaseResponse_OUTCOME_NOT_HELD
	case lock.holder.id != request.GetLockId():
		outcome = pb.ReleaseResponse_OUTCOME_HELD_BY_ANOTHER
	default:
		if lock.holder.session != nil {
			lock.holder.session.say(lock.holder.ref, &pb.LockEvent{Kind: &pb.LockEvent_Released{Released: &pb.Released{}}})
		}
		s.broker.release(lock)
	}
	return &pb.ReleaseResponse{Outcome: outcome}, nil
}

func (s *service) GetLock(_ context.Context, request *pb.GetLockRequest) (*pb.GetLockResponse, error) {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	lock := s.broker.lock(request.GetName())
	answer := &pb.GetLockResponse{State: pb.GetLockResponse_STATE_FREE}
	switch {
	case lock.holder != nil:
		answer.State, answer.Owner = pb.GetLockResponse_STATE_HELD, lock.holder.owner
		answer.FreeWithin, answer.FencingToken = span(s.broker.ttl), lock.holder.token
		if lock.holder.id == request.GetLockId() {
			answer.ExpiresAfterRequest = span(s.broker.validity())
		}
	case time.Now().Before(lock.lingers):
		answer.State, answer.FreeWithin = pb.GetLockResponse_STATE_LINGERING, span(time.Until(lock.lingers))
	}
	return answer, nil
}

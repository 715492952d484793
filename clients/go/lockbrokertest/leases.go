package lockbrokertest

import (
	"context"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lockbroker/lockbroker/clients/go"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// statuses are the codes of the reasons that a request may fail with. The others are UNAVAILABLE.
var statuses = map[lockbroker.ErrorReason]codes.Code{
	lockbroker.ReasonInvalidField: codes.InvalidArgument,
	lockbroker.ReasonPolicyDenied: codes.PermissionDenied,
	lockbroker.ReasonStoreFull:    codes.ResourceExhausted,
	lockbroker.ReasonMaxLocks:     codes.ResourceExhausted,
	lockbroker.ReasonMaxWaiters:   codes.ResourceExhausted,
	lockbroker.ReasonBrokerFault:  codes.Internal,
}

// failureText and retryAfter are told with what fails on command.
const (
	failureText = "as the test wants it"
	retryAfter  = 50 * time.Millisecond
)

// failure returns how the next request is to fail; codes.OK if it is not.
func (l *lock) failure() (codes.Code, lockbroker.ErrorReason) {
	if len(l.failures) == 0 {
		return codes.OK, ""
	}
	reason := l.failures[0]
	l.failures = l.failures[1:]
	if code, found := statuses[reason]; found {
		return code, reason
	}
	return codes.Unavailable, reason
}

// failed returns the error of a single call that is to fail; nil if it is not.
func (l *lock) failed() error {
	code, reason := l.failure()
	if code == codes.OK {
		return nil
	}
	made, err := status.New(code, failureText).WithDetails(
		&errdetails.ErrorInfo{Domain: lockbroker.ErrorDomain, Reason: string(reason)},
		&errdetails.RetryInfo{RetryDelay: span(retryAfter)},
	)
	if err != nil {
		return err
	}
	return made.Err()
}

func (s *service) AcquireLease(ctx context.Context, asked *pb.AcquireLeaseRequest) (*pb.AcquireLeaseResponse, error) {
	asks := newRequest(asked.GetLock())
	asks.requestID, asks.answer = asked.GetRequestId(), make(chan *pb.AcquireLeaseResponse, 1)
	if err := s.broker.beSilent(ctx); err != nil {
		return nil, err
	}
	lock, err := s.begin(asked, asks)
	if err != nil {
		return nil, err
	}
	select {
	case answer := <-asks.answer:
		return answer, nil
	case <-ctx.Done():
	}
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	if slices.Contains(lock.waiters, asks) {
		lock.removeWaiter(asks)
	}
	select {
	case answer := <-asks.answer:
		// A call that is cancelled leaves no lock behind.
		if grant := lock.named(answer.GetAcquired().GetLockId()); grant != nil {
			s.broker.release(lock, grant)
		}
	default:
	}
	// Those behind a wait that is given up may get the lock now.
	s.broker.grantNext(lock)
	return nil, status.FromContextError(ctx.Err()).Err()
}

// beSilent waits until the caller goes away, if the broker is silent.
func (b *Broker) beSilent(ctx context.Context) error {
	b.mu.Lock()
	isSilent := b.isSilent
	b.mu.Unlock()
	if !isSilent {
		return nil
	}
	<-ctx.Done()
	return status.FromContextError(ctx.Err()).Err()
}

// begin asks for a lease. A call that is made again gets the lease that it has got.
func (s *service) begin(asked *pb.AcquireLeaseRequest, asks *request) (*lock, error) {
	b := s.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	lock := b.lock(asked.GetLock().GetName())
	if err := lock.failed(); err != nil {
		return nil, err
	}
	for _, grant := range lock.holders {
		if asks.requestID != "" && grant.requestID == asks.requestID {
			b.expire(lock, grant, b.ttl)
			asks.answer <- b.leased(grant)
			return lock, nil
		}
	}
	b.ask(lock, asks, asked.GetWait())
	return lock, nil
}

// grantLease tells that a lease is granted.
func (b *Broker) grantLease(lock *lock, grant *grant, asks *request) {
	grant.requestID = asks.requestID
	b.expire(lock, grant, b.ttl)
	asks.answer <- b.leased(grant)
}

func (b *Broker) leased(grant *grant) *pb.AcquireLeaseResponse {
	acquired := grant.acquired()
	acquired.ExpiresAfterRequest = span(b.validity())
	return &pb.AcquireLeaseResponse{Result: &pb.AcquireLeaseResponse_Acquired{Acquired: acquired}}
}

// expire ends a grant after that time, unless it is put off again.
func (b *Broker) expire(lock *lock, grant *grant, after time.Duration) {
	if grant.expiry != nil {
		grant.expiry.Stop()
	}
	grant.expiry = time.AfterFunc(after, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if slices.Contains(lock.holders, grant) {
			lock.lost[grant.id] = pb.Lost_REASON_GONE
			b.release(lock, grant)
		}
	})
}

func (s *service) RenewLease(ctx context.Context, asked *pb.RenewLeaseRequest) (*pb.RenewLeaseResponse, error) {
	b := s.broker
	if err := b.beSilent(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	lock, id := b.lock(asked.GetName()), asked.GetLockId()
	if err := lock.failed(); err != nil {
		return nil, err
	}
	if grant := lock.named(id); grant != nil && grant.expiry != nil {
		b.expire(lock, grant, b.ttl)
		renewed := &pb.Renewed{ExpiresAfterRequest: span(b.validity())}
		return &pb.RenewLeaseResponse{Result: &pb.RenewLeaseResponse_Renewed{Renewed: renewed}}, nil
	}
	reason, found := lock.lost[id]
	if !found {
		reason = pb.Lost_REASON_GONE
	}
	return &pb.RenewLeaseResponse{Result: &pb.RenewLeaseResponse_Lost{Lost: &pb.Lost{Reason: reason}}}, nil
}

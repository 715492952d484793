package lockbroker

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockbroker/lockbroker/clients/go/internal/clock"
	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// longestWait is the longest wait for a lease. Brokers refuse more, but for one without a limit, which is as long.
const longestWait = 30 * time.Second

// brokersMargin is by how much the validity that a broker tells is less than the ttl.
const brokersMargin = 2 * time.Second

// leaseUntil is the end of a lease's validity, or of what a renewal adds to it. The request was sent at sent and waited for wait
// at most.
func leaseUntil(sent clock.Moment, expires *durationpb.Duration, wait time.Duration) (clock.Moment, bool) {
	valid, ok := fromWire(expires)
	if !ok {
		return 0, false
	}
	// The broker does not say the ttl. A wait is part of what it says.
	ttl := max(0, valid-min(now().Since(sent), wait)) + brokersMargin
	return sent.Add(max(0, valid-core.Notice(ttl))), true
}

// acquireLease calls AcquireLease, and repeats it with one request id after an answer that did not come.
func (b *brokers) acquireLease(ctx context.Context, ask leaseAsk) (*Lease, error) {
	name := ask.spec.Name
	request := &pb.AcquireLeaseRequest{Lock: toSpec(ask.spec), Ttl: toWire(ask.ttl), RequestId: newRequestID()}
	var answer *pb.AcquireLeaseResponse
	var until clock.Moment
	err := b.repeat(ctx, repeated{name, min(ask.wait, longestWait), clock.Never,
		func(ctx context.Context, stub pb.LockServiceClient, left time.Duration) (err error) {
			if ask.wait > longestWait {
				left = ask.wait
			}
			if ask.wait > 0 {
				request.Wait = &pb.WaitSpec{MaxWait: toWire(&left)}
			}
			sent := now()
			if answer, err = stub.AcquireLease(ctx, request); err != nil || answer.GetAcquired() == nil {
				return err
			}
			var ok bool
			if until, ok = leaseUntil(sent, answer.GetAcquired().GetExpiresAfterRequest(), left); ok && until.HasPassed() {
				return status.Error(codes.Aborted, "the answer came when the lease was over")
			} else if !ok {
				answer = nil
			}
			return nil
		}})
	if err != nil {
		return nil, err
	}
	switch result := answer.GetResult().(type) {
	case *pb.AcquireLeaseResponse_Acquired:
		acquired := result.Acquired
		return &Lease{
			name: name, id: acquired.GetLockId(), token: acquired.GetFencingToken(), permit: toGrant(acquired, acquired.Permit).Permit,
			brokers: b, until: until,
		}, nil
	case *pb.AcquireLeaseResponse_NotAcquired:
		refused := result.NotAcquired
		return nil, notAcquired(name, core.Refusal{Reason: fromRefusal(refused.GetReason()), Owner: refused.GetOwner()})
	}
	return nil, unexpected(name, "neither a lease, with a validity, nor a refusal")
}

// renewLease calls RenewLease, and returns the end of the validity. The answer is of no use after end.
func (b *brokers) renewLease(ctx context.Context, name, lockID string, end clock.Moment) (clock.Moment, error) {
	request := &pb.RenewLeaseRequest{Name: name, LockId: lockID}
	var answer *pb.RenewLeaseResponse
	var sent clock.Moment
	err := b.repeat(ctx, repeated{name, 0, end,
		func(ctx context.Context, stub pb.LockServiceClient, _ time.Duration) (err error) {
			sent = now()
			answer, err = stub.RenewLease(ctx, request)
			return err
		}})
	if err != nil {
		return 0, err
	}
	switch result := answer.GetResult().(type) {
	case *pb.RenewLeaseResponse_Renewed:
		if until, ok := leaseUntil(sent, result.Renewed.GetExpiresAfterRequest(), 0); ok {
			return until, nil
		}
	case *pb.RenewLeaseResponse_Lost:
		return 0, &LostError{Lock: name, Reason: LostReason(fromLoss(result.Lost.GetReason()))}
	}
	return 0, unexpected(name, "a renewal without a validity")
}

// releaseLease calls Release. It returns a [*LostError] if the lease had ended before.
func (b *brokers) releaseLease(name, lockID string) error {
	var answer *pb.ReleaseResponse
	tries := 0
	err := b.repeat(context.Background(), repeated{name, 0, clock.Never,
		func(ctx context.Context, stub pb.LockServiceClient, _ time.Duration) (err error) {
			tries++
			answer, err = stub.Release(ctx, &pb.ReleaseRequest{Name: name, LockId: lockID})
			return err
		}})
	if err != nil || tries > 1 {
		// A try that was not answered may have been the one that released it.
		return err
	}
	switch answer.GetOutcome() {
	case pb.ReleaseResponse_OUTCOME_NOT_HELD:
		return &LostError{Lock: name, Reason: LostGone}
	case pb.ReleaseResponse_OUTCOME_HELD_BY_ANOTHER:
		return &LostError{Lock: name, Reason: LostTakenOver}
	}
	return nil
}

// newRequestID makes a random UUID: version 4.
func newRequestID() string {
	var uuid [16]byte
	_, _ = rand.Read(uuid[:])
	uuid[6], uuid[8] = uuid[6]&0x0f|0x40, uuid[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", uuid[:4], uuid[4:6], uuid[6:8], uuid[8:10], uuid[10:])
}

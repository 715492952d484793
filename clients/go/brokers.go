package lockbroker

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// brokers are those of a client, which are asked in turn; at least one.
type brokers struct {
	all []*broker
	// next is the one to ask next.
	next atomic.Int64
	// answerTimeout is the longest time that an answer may take, of all of them together.
	answerTimeout time.Duration
	// ending has ended once the client is being closed.
	ending context.Context
	// end ends the calls that are repeated.
	end context.CancelFunc
}

func newBrokers(endpoints []endpoint, files tlsFiles, answerTimeout time.Duration) *brokers {
	made := &brokers{answerTimeout: answerTimeout}
	made.ending, made.end = context.WithCancel(context.Background())
	for _, endpoint := range endpoints {
		within := core.DialTime(answerTimeout, len(endpoints))
		made.all = append(made.all, &broker{endpoint: endpoint, files: files, within: within})
	}
	return made
}

// names are the endpoints, for people.
func (b *brokers) names() []string {
	var names []string
	for _, broker := range b.all {
		names = append(names, broker.endpoint.name)
	}
	return names
}

// call makes a single call, at each broker in turn until one answers.
func (b *brokers) call(ctx context.Context, lock string, call func(context.Context, pb.LockServiceClient) error) error {
	share := b.answerTimeout / time.Duration(len(b.all))
	var failure error
	for range b.all {
		at := int(b.next.Load())
		err, again := b.all[at].call(ctx, share, lock, call)
		if err == nil || !again {
			return err
		}
		failure = err
		b.turnFrom(at)
	}
	return failure
}

// turnFrom turns from a broker that was of no use to the next, unless it has been turned from already.
func (b *brokers) turnFrom(at int) {
	b.next.CompareAndSwap(int64(at), int64((at+1)%len(b.all)))
}

// release calls Release. It is bounded by the answer timeout.
func (b *brokers) release(name, lockID string) (ReleaseOutcome, error) {
	return b.releaseWith(context.Background(), name, lockID)
}

func (b *brokers) releaseWith(ctx context.Context, name, lockID string) (ReleaseOutcome, error) {
	var answer *pb.ReleaseResponse
	err := b.call(ctx, name, func(ctx context.Context, stub pb.LockServiceClient) (err error) {
		answer, err = stub.Release(ctx, &pb.ReleaseRequest{Name: name, LockId: lockID})
		return err
	})
	if err != nil {
		return 0, err
	}
	switch answer.GetOutcome() {
	case pb.ReleaseResponse_OUTCOME_RELEASED:
		return Released, nil
	case pb.ReleaseResponse_OUTCOME_NOT_HELD:
		return NotHeld, nil
	case pb.ReleaseResponse_OUTCOME_HELD_BY_ANOTHER:
		return HeldByAnother, nil
	}
	return 0, unexpected(name, "a release without an outcome")
}

func (b *brokers) close() {
	for _, broker := range b.all {
		broker.close()
	}
}

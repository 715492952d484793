package lockbroker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/clock"
	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// leastTries is how many tries an answer's time has room for, also if all but the last get no answer.
const leastTries = 2

// repeated is a call that may be made again after an answer that did not come.
type repeated struct {
	lock string
	// wait is the time that the broker may wait before it answers.
	wait time.Duration
	// end is when the answer is of no use any more; clock.Never if it always is.
	end clock.Moment
	// call makes one try. It is told what is left of the wait.
	call func(ctx context.Context, stub pb.LockServiceClient, left time.Duration) error
}

// repeat makes a call at each broker in turn, and over again, until one answers or the answer timeout and the wait are over.
func (b *brokers) repeat(ctx context.Context, repeated repeated) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(b.ending, cancel)()
	waitEnd := now().Add(repeated.wait)
	by := min(repeated.end, waitEnd.Add(b.answerTimeout))
	share := b.answerTimeout / time.Duration(max(leastTries, len(b.all)))
	// disagreed counts the brokers in a row that this client cannot talk to.
	for tries, disagreed := 1, 0; ; tries++ {
		at, left := int(b.next.Load()), waitEnd.Remaining()
		within := min(share+left, by.Remaining())
		err, again := b.all[at].call(ctx, within, repeated.lock, func(ctx context.Context, stub pb.LockServiceClient) error {
			return repeated.call(ctx, stub, left)
		})
		if err != nil && b.ending.Err() != nil {
			return closedError(repeated.lock)
		}
		if err == nil || !again {
			return err
		}
		b.turnFrom(at)
		if errors.Is(err, ErrHandshake) || errors.Is(err, ErrProtocol) {
			disagreed++
		} else {
			disagreed = 0
		}
		pause := b.pause(err, tries)
		if disagreed == len(b.all) || by.Remaining() <= pause {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if b.ending.Err() != nil {
				return closedError(repeated.lock)
			}
			return givenUp(ctx, repeated.lock)
		}
	}
}

// pause returns the time until the next try, after so many that brought err. In the first round there is none.
func (b *brokers) pause(err error, tries int) time.Duration {
	if tries < len(b.all) {
		return 0
	}
	if ours := new(Error); errors.As(err, &ours) && ours.RetryAfter > 0 {
		return min(ours.RetryAfter, core.AskAgain)
	}
	return core.Pause(tries-len(b.all), b.answerTimeout/4, rand.Float64())
}

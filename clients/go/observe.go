package lockbroker

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/clock"
	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

const (
	// silence is the longest silence of a broker that is believed: it repeats the last state every 5 s.
	silence = 15 * time.Second
	// longestPause is the longest pause before brokers are asked again.
	longestPause = time.Second
)

// Observed is a lock as those see it who observe it.
type Observed struct {
	// State is the state of the lock.
	State LockState
	// Owner is the holder's label; empty if it has none or it is not known.
	Owner string
	// Value is the holder's [Value]; nil if it has none, or it is not known yet. An empty one is not nil.
	Value []byte
	// Token is the holder's fencing token; 0 if it is not known. It tells one holder from the next.
	Token int64
	// ExpiresIn: the lock is free this long after the broker looked, at the latest, if nobody renews it; 0 if free or unknown.
	ExpiresIn time.Duration
}

// Observe tells what the lock name is: the first state as soon as a broker tells it, and then whenever it has changed.
//
//	for seen, err := range client.Observe(ctx, "leader") {
//		if err != nil { return err }
//		… // seen.State, seen.Value, seen.Token
//	}
//
// Between two states a lock may have been free, or held by others, and a value may have been another one. A lower fencing token is
// never told after a higher one: that is [StateUnknown], for the store has lost its memory, or this broker has seen less than the one
// before. Where no broker answers, StateUnknown is told once, and brokers are asked again and again. Each loop asks anew, and leaving
// it ends that.
//
// After an error of ctx, or an [*Error] of the kind ErrInvalid, ErrDenied or ErrClosed, the loop ends. After others it goes on if you
// do, at the next broker: ErrExhausted if as many observe there as may, ErrUnexpected.
func (c *Client) Observe(ctx context.Context, name string) iter.Seq2[Observed, error] {
	return func(yield func(Observed, error) bool) {
		called, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(c.brokers.ending, cancel)()
		observer := &observer{brokers: c.brokers, name: name}
		defer observer.leave()
		for {
			seen, err := observer.next(called)
			if called.Err() != nil {
				seen, err = Observed{}, givenUpOrClosed(ctx, c.brokers, name)
			}
			isFinal := called.Err() != nil || errors.Is(err, ErrInvalid) || errors.Is(err, ErrDenied)
			if !yield(seen, err) || isFinal {
				return
			}
		}
	}
}

func givenUpOrClosed(ctx context.Context, brokers *brokers, name string) error {
	if brokers.ending.Err() != nil {
		return closedError(name)
	}
	return givenUp(ctx, name)
}

// observer is one that observes a lock, at one broker after the other.
type observer struct {
	brokers *brokers
	name    string
	// told is what was told last; nil if nothing was.
	told *Observed
	// highest is the highest token that was told.
	highest int64
	// source is nil while there is none.
	source *observation
	// failures is the number of attempts in a row that have found no broker, or one that ended at once or has told nothing.
	failures int
}

// next waits for what is to be told next.
func (o *observer) next(ctx context.Context) (Observed, error) {
	for {
		if o.source == nil {
			if o.failures > 0 {
				select {
				case <-time.After(core.Pause(o.failures-1, longestPause, rand.Float64())):
				case <-ctx.Done():
					return Observed{}, ctx.Err()
				}
			}
			// If the stream ends at once, the next attempt comes after a pause.
			o.failures++
			source, err := o.brokers.observe(ctx, o.name)
			switch {
			case err == nil:
				o.source = source
			case ctx.Err() == nil && (errors.Is(err, ErrUnavailable) || errors.Is(err, ErrHandshake) || errors.Is(err, ErrProtocol)):
				if seen, isNew := o.take(Observed{}); isNew {
					return seen, nil
				}
				continue
			default:
				return Observed{}, err
			}
		}
		answer, err := o.source.receive()
		if err != nil {
			hasServed := o.source.hasTold && now().Since(o.source.began) >= longestPause
			// Unless somebody else has turned from it already.
			o.brokers.turnFrom(o.source.at)
			o.leave()
			if ctx.Err() != nil {
				return Observed{}, ctx.Err()
			}
			if hasServed {
				o.failures = 0
			} else if o.failures >= len(o.brokers.all) {
				if seen, isNew := o.take(Observed{}); isNew {
					return seen, nil
				}
			}
			continue
		}
		o.source.hasTold = true
		if seen, isNew := o.take(toObserved(answer)); isNew {
			return seen, nil
		}
	}
}

func (o *observer) leave() {
	if o.source != nil {
		o.source.close()
		o.source = nil
	}
}

// take returns what is to be told, if it is new. An earlier holder is not told as one. But nor does the one that was told before stand
// for ever.
func (o *observer) take(seen Observed) (Observed, bool) {
	if seen.Token != 0 && seen.Token < o.highest {
		seen = Observed{}
	}
	o.highest = max(o.highest, seen.Token)
	if o.told != nil && seen.saysTheSame(*o.told) {
		return seen, false
	}
	o.told = &seen
	return seen, true
}

func (o Observed) saysTheSame(other Observed) bool {
	return o.State == other.State && o.Owner == other.Owner && o.Token == other.Token &&
		(o.Value == nil) == (other.Value == nil) && bytes.Equal(o.Value, other.Value)
}

func toObserved(answer *pb.ObserveResponse) Observed {
	seen := Observed{Owner: answer.GetOwner(), Value: answer.GetValue(), Token: max(0, answer.GetFencingToken())}
	switch answer.GetState() {
	case pb.ObserveResponse_STATE_FREE:
		seen.State = StateFree
	case pb.ObserveResponse_STATE_HELD:
		seen.State = StateHeld
	case pb.ObserveResponse_STATE_LINGERING:
		seen.State = StateLingering
	case pb.ObserveResponse_STATE_REVOKED:
		seen.State = StateRevoked
	}
	// A later version may know more: that is unknown here.
	seen.ExpiresIn, _ = fromWire(answer.GetExpiresIn())
	return seen
}

// observation is the stream of one broker.
type observation struct {
	// at is the number of the broker.
	at      int
	broker  *broker
	channel *channel
	stream  pb.LockService_ObserveClient
	began   clock.Moment
	// hasTold: it has told something.
	hasTold bool
	// end ends the stream.
	end context.CancelFunc
	// waitsSince is the moment since which an answer is waited for; 0 while none is.
	waitsSince atomic.Int64
}

// observe begins to observe a lock, at the first broker that answers.
func (b *brokers) observe(ctx context.Context, name string) (*observation, error) {
	share := b.answerTimeout / time.Duration(len(b.all))
	var failure error
	for range b.all {
		at := int(b.next.Load())
		observation, err, again := b.all[at].observe(ctx, share, name)
		if err == nil {
			observation.at = at
			return observation, nil
		}
		failure = err
		b.turnFrom(at)
		if !again {
			break
		}
	}
	return nil, failure
}

// observe begins to observe a lock here. It is again where another broker may do better.
func (b *broker) observe(ctx context.Context, within time.Duration, name string) (made *observation, err error, again bool) {
	channel, err := b.borrow()
	if err != nil {
		return nil, err, false
	}
	own, end := context.WithCancel(ctx)
	limited, cancel := context.WithTimeout(own, within)
	defer cancel()
	inTime := context.AfterFunc(limited, end)
	stream, err := pb.NewLockServiceClient(channel.conn).Observe(own, &pb.ObserveRequest{Name: name})
	if err == nil {
		// The headers are the broker's answer; the first state may take longer.
		if header, _ := stream.Header(); header == nil {
			_, err = stream.Recv()
		}
	}
	if !inTime() && err == nil {
		err = context.DeadlineExceeded
	}
	limit := limitOf(limited, within)
	if err != nil {
		end()
		err, again = b.failed(ctx, name, channel, err, limit)
		return nil, err, again
	}
	made = &observation{broker: b, channel: channel, stream: stream, began: now(), end: end}
	go made.watch(own)
	return made, nil, false
}

// receive waits for the next message.
func (o *observation) receive() (*pb.ObserveResponse, error) {
	o.waitsSince.Store(int64(max(1, clock.Now())))
	defer o.waitsSince.Store(0)
	return o.stream.Recv()
}

// watch ends the stream when the broker has been silent for too long. It looks again and again: timers stand still while the machine is
// suspended.
func (o *observation) watch(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if since := clock.Moment(o.waitsSince.Load()); since != 0 && clock.Now().Since(since) >= silence {
				o.end()
			}
		case <-ctx.Done():
			return
		}
	}
}

func (o *observation) close() {
	o.end()
	o.broker.giveBack(o.channel, false)
}

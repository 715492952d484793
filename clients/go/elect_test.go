package lockbroker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// follower is what one that observes a lock is told.
type follower struct {
	told   chan lockbroker.Observed
	failed chan error
	stop   context.CancelFunc
}

func follow(t *testing.T, client *lockbroker.Client, name string) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	follower := &follower{make(chan lockbroker.Observed, 100), make(chan error, 100), cancel}
	go func() {
		defer close(follower.told)
		for seen, err := range client.Observe(ctx, name) {
			if err != nil {
				follower.failed <- err
			} else {
				follower.told <- seen
			}
		}
	}()
	return follower
}

// next returns the next state that it is told, without the time, as a text.
func (f *follower) next(t *testing.T) string {
	t.Helper()
	select {
	case seen, isOpen := <-f.told:
		if !isOpen {
			t.Fatalf("the loop has ended: %v", <-f.failed)
		}
		return shown(seen)
	case <-time.After(brokertest.Soon):
		t.Fatal("nothing is told")
		return ""
	}
}

func shown(seen lockbroker.Observed) string {
	text := seen.State.String()
	if seen.Value != nil {
		text += fmt.Sprintf(" %q", seen.Value)
	}
	if seen.Owner != "" {
		text += " by " + seen.Owner
	}
	if seen.Token != 0 {
		text += " with a token"
	}
	return text
}

func (f *follower) sees(t *testing.T, wanted string) {
	t.Helper()
	for have := f.next(t); have != wanted; have = f.next(t) {
		// The first state of a new holder may be without its value.
		if !strings.HasPrefix(have, "held") {
			t.Fatalf("have %s, want %s", have, wanted)
		}
	}
}

// fails returns the error that ends it.
func (f *follower) fails(t *testing.T) error {
	t.Helper()
	select {
	case err := <-f.failed:
		if _, isOpen := <-f.told; isOpen {
			t.Error("it goes on")
		}
		return err
	case <-time.After(brokertest.Soon):
		t.Fatal("it does not fail")
		return nil
	}
}

func TestALeaderIsFollowed(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	for name, test := range map[string]func(*testing.T, *brokertest.Broker){
		"to its end":        followed,
		"by many updates":   updatedAtOnce,
		"while wanted":      followedWhileWanted,
		"with an odd value": oddValues,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, broker)
		})
	}
}

func followed(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	follower := follow(t, client, "leader")
	follower.sees(t, "free")
	value := []byte("one")
	lock := acquire(t, client, "leader", lockbroker.Value(value), lockbroker.Owner("me"))
	// It is a copy.
	value[0] = 'x'
	follower.sees(t, `held "one" by me with a token`)
	for _, value := range []string{"two", ""} {
		if err := lock.Update(t.Context(), []byte(value)); err != nil {
			t.Fatal(err)
		}
		follower.sees(t, fmt.Sprintf("held %q by me with a token", value))
	}
	release(t, lock)
	follower.sees(t, "free")
	if err := lock.Update(t.Context(), nil); !errors.Is(err, lockbroker.ErrReleased) {
		t.Errorf("have %v", err)
	}
	err := client.Do(t.Context(), "leader", func(*lockbroker.Lock) error {
		follower.sees(t, `held "" with a token`)
		return nil
	}, lockbroker.Value(nil))
	if err != nil {
		t.Error(err)
	}
	follower.sees(t, "free")
	lock = acquire(t, client, "leader", lockbroker.Value([]byte("lost")))
	if _, err := client.ReleaseID(t.Context(), "leader", lock.ID()); err != nil {
		t.Error(err)
	}
	waitFor(t, "the loss", lock.Lost())
	wantLost(t, lock.Update(t.Context(), nil), lockbroker.LostReleased)
}

// Of several at a time the last counts, and none comes after it.
func updatedAtOnce(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	lock := acquire(t, client, "busy", lockbroker.Value(nil))
	follower := follow(t, client, "busy")
	ended := make(chan error)
	for number := range 20 {
		go func() { ended <- lock.Update(t.Context(), fmt.Append(nil, number)) }()
	}
	for range 20 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := lock.Update(t.Context(), []byte("last")); err != nil {
		t.Error(err)
	}
	for follower.next(t) != `held "last" with a token` {
	}
	release(t, lock)
	follower.sees(t, "free")
	// One whose context has ended says so.
	ctx, cancel := context.WithCancel(t.Context())
	lock = acquire(t, client, "busy", lockbroker.Value(nil))
	cancel()
	if err := lock.Update(ctx, []byte("too late")); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
}

func followedWhileWanted(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	told := 0
	for _, err := range client.Observe(t.Context(), "wanted") {
		if told++; err != nil {
			t.Error(err)
		}
		break
	}
	if told != 1 {
		t.Errorf("it told %d states", told)
	}
	cancelled := follow(t, client, "wanted")
	cancelled.sees(t, "free")
	cancelled.stop()
	if err := cancelled.fails(t); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
	wantKind(t, follow(t, client, strings.Repeat("n", 129)).fails(t), lockbroker.ErrInvalid)
	closed := follow(t, client, "wanted")
	closed.sees(t, "free")
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	wantKind(t, closed.fails(t), lockbroker.ErrClosed)
	wantKind(t, follow(t, client, "wanted").fails(t), lockbroker.ErrClosed)
}

func oddValues(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	plain := acquire(t, client, "odd/plain")
	wantKind(t, plain.Update(t.Context(), nil), lockbroker.ErrInvalid)
	// A value is no text.
	lock := acquire(t, client, "odd", lockbroker.Value([]byte{0, 0xff}))
	wantKind(t, lock.Update(t.Context(), make([]byte, 1025)), lockbroker.ErrInvalid)
	follow(t, client, "odd").sees(t, `held "\x00\xff" with a token`)
	_, err := client.TryLock(t.Context(), "odd/shared", lockbroker.Value(nil), lockbroker.Shared())
	wantKind(t, err, lockbroker.ErrInvalid)
	if err := errors.Join(plain.Check(), lock.Check()); err != nil {
		t.Error(err)
	}
}

func TestAValueThatNoBrokerTakesIsNotSent(t *testing.T) {
	t.Parallel()
	// Nobody is there to be asked.
	client := connect(t, "http://127.0.0.1:9", lockbroker.AnswerTimeout(brokertest.Soon))
	_, err := client.Lock(t.Context(), "leader", lockbroker.Value(make([]byte, 1025)))
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = client.TryLock(t.Context(), "leader", lockbroker.Value(nil), lockbroker.Also("other"))
	wantKind(t, err, lockbroker.ErrInvalid)
	// Each of these texts is short enough, and all together are not.
	long := strings.Repeat("x", 1000)
	_, err = client.Adopt(t.Context(), long, long, lockbroker.Owner(long), lockbroker.Value(make([]byte, 1024)))
	wantKind(t, err, lockbroker.ErrInvalid)
}

func TestWhoObservesWhereNoRoomIsGoesOnElsewhere(t *testing.T) {
	t.Parallel()
	store := brokertest.Store(t)
	full, free := brokertest.StartBroker(t, append(store, "--max-observers", "1")...), brokertest.StartBroker(t, store...)
	follow(t, connect(t, full.URL), "leader").sees(t, "free")
	second := follow(t, connect(t, full.URL+","+free.URL), "leader")
	second.sees(t, "free")
	wantKind(t, <-second.failed, lockbroker.ErrExhausted)
}

func TestNobodyKnowsWithoutABroker(t *testing.T) {
	t.Parallel()
	client := connect(t, "http://127.0.0.1:9,http://127.0.0.1:10")
	follower := follow(t, client, "leader")
	follower.sees(t, "unknown")
	select {
	case seen := <-follower.told:
		t.Errorf("it is told %v", seen)
	case <-time.After(time.Second):
	}
}

// teller is a broker that tells an observer what a test says, and nothing more.
type teller struct {
	pb.UnimplementedLockServiceServer
	tells []*pb.ObserveResponse
	// ends: the stream ends then.
	ends bool
}

func (s *teller) Observe(_ *pb.ObserveRequest, stream grpc.ServerStreamingServer[pb.ObserveResponse]) error {
	for _, state := range s.tells {
		if err := stream.Send(state); err != nil {
			return err
		}
	}
	if !s.ends {
		<-stream.Context().Done()
	}
	return nil
}

func heldBy(owner string, token int64, expires time.Duration) *pb.ObserveResponse {
	return &pb.ObserveResponse{
		State: pb.ObserveResponse_STATE_HELD, Owner: owner, FencingToken: token, ExpiresIn: durationpb.New(expires),
	}
}

func TestAnEarlierLeaderIsNotToldAsOne(t *testing.T) {
	t.Parallel()
	server := serve(t, &teller{tells: []*pb.ObserveResponse{
		heldBy("one", 7, 9*time.Second),
		// The time alone is no change.
		heldBy("one", 7, 8*time.Second),
		heldBy("two", 9, 9*time.Second),
		heldBy("one", 7, 7*time.Second), heldBy("one", 7, 6*time.Second),
		heldBy("two", 9, 8*time.Second),
		// A state that a later version has.
		{State: 99}, {State: pb.ObserveResponse_STATE_FREE},
		{State: pb.ObserveResponse_STATE_REVOKED}, {State: pb.ObserveResponse_STATE_LINGERING},
	}})
	follower := follow(t, connect(t, server), "leader")
	for _, wanted := range []string{
		"held by one with a token", "held by two with a token", "unknown", "held by two with a token", "unknown", "free",
		"revoked", "lingering",
	} {
		if have := follower.next(t); have != wanted {
			t.Fatalf("have %s, want %s", have, wanted)
		}
	}
}

func TestAStreamThatEndsOrIsSilentIsLeft(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first  *teller
		within [2]time.Duration
	}{
		"ends":   {&teller{ends: true}, [2]time.Duration{0, brokertest.Soon}},
		"silent": {&teller{tells: []*pb.ObserveResponse{heldBy("one", 7, 0)}}, [2]time.Duration{14 * time.Second, 30 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			second := serve(t, &teller{tells: []*pb.ObserveResponse{heldBy("two", 8, 0)}})
			began := time.Now()
			var told []string
			for seen, err := range connect(t, serve(t, test.first)+","+second).Observe(t.Context(), "leader") {
				if err != nil {
					t.Fatal(err)
				}
				if told = append(told, seen.Owner); seen.Owner == "two" {
					break
				}
			}
			took := time.Since(began)
			if took < test.within[0] || took > test.within[1] || slices.Contains(told, "") {
				t.Errorf("it told %v in %v", told, took)
			}
		})
	}
}

// The value that was given last comes along, also when it was given while the lock was moving.
func TestAValueMovesAlong(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	client, other := connect(t, one.URL+","+two.URL), connect(t, two.URL)
	lock := acquire(t, client, "moves", lockbroker.Value([]byte("one")))
	quiet := acquire(t, client, "moves/quiet", lockbroker.Value([]byte("one")))
	for _, lock := range []*lockbroker.Lock{lock, quiet} {
		if err := lock.Update(t.Context(), []byte("two")); err != nil {
			t.Fatal(err)
		}
	}
	one.Kill()
	if err := lock.Update(t.Context(), []byte("three")); err != nil {
		t.Fatal(err)
	}
	brokertest.Eventually(t, "they have moved", func() bool { return lock.Check() == nil && quiet.Check() == nil })
	follow(t, other, "moves").sees(t, `held "three" with a token`)
	follow(t, other, "moves/quiet").sees(t, `held "two" with a token`)
	// Without the value that came along it would be refused.
	if err := quiet.Update(t.Context(), []byte("three")); err != nil {
		t.Error(err)
	}
}

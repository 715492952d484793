package lockbroker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
)

func TestSeveralLocksTogether(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	for name, test := range map[string]func(*testing.T, *brokertest.Broker){
		"all or none":         allOrNone,
		"readers":             readersOfSeveral,
		"whatever options":    whateverOptions,
		"Do, and the ends":    severalInDo,
		"one adopted alone":   adoptedAlone,
		"none is named twice": namedTwice,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, broker)
		})
	}
}

// names returns the names of all locks of one.
func names(lock *lockbroker.Lock) []string {
	var names []string
	for _, each := range lock.Locks() {
		names = append(names, each.Name())
	}
	return names
}

func allOrNone(t *testing.T, broker *brokertest.Broker) {
	one, two := connect(t, broker.URL), connect(t, broker.URL, lockbroker.Owner("two"))
	lock := acquire(t, one, "all/c", lockbroker.Also("all/a"), lockbroker.Also("all/b"))
	if names := names(lock); !slices.Equal(names, []string{"all/c", "all/a", "all/b"}) {
		t.Errorf("have %v", names)
	}
	first := lock.Locks()[0]
	if lock.Name() != first.Name() || lock.ID() != first.ID() || lock.Token() != first.Token() {
		t.Errorf("the first of %v is not %v", lock.Locks(), lock)
	}
	for _, each := range lock.Locks() {
		if _, isShared := each.Permit(); isShared {
			t.Errorf("%v has a permit", each)
		}
		info, err := two.Get(t.Context(), each.Name(), each.ID())
		if err != nil || info.State != lockbroker.StateHeld || info.Token != each.Token() || info.Remaining == 0 {
			t.Errorf("have %+v, %v", info, err)
		}
		if held := refused(t, two, each.Name()); held.Lock != each.Name() {
			t.Errorf("%q is refused for %q", each.Name(), held.Lock)
		}
		for _, text := range []string{fmt.Sprint(each), fmt.Sprintf("%+v %#v", each, each), fmt.Sprint(lock.Locks())} {
			if strings.Contains(text, each.ID()) {
				t.Errorf("%s has a lock id", text)
			}
		}
	}
	release(t, lock)
	taken := acquire(t, two, "all/b")
	for _, ask := range []func(context.Context, string, ...lockbroker.LockOption) (*lockbroker.Lock, error){
		one.TryLock, one.Lock,
	} {
		_, err := ask(t.Context(), "all/c", lockbroker.Also("all/b", "all/a"), lockbroker.Wait(200*time.Millisecond))
		var held *lockbroker.NotAcquiredError
		if !errors.As(err, &held) || held.Lock != "all/b" || held.Owner != "two" {
			t.Errorf("have %v", err)
		}
	}
	for _, name := range []string{"all/a", "all/c"} {
		if state := state(t, two, name); state != lockbroker.StateFree {
			t.Errorf("%s is %v", name, state)
		}
	}
	release(t, taken)
}

func readersOfSeveral(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	one := acquire(t, client, "seats/a", lockbroker.Limit(2), lockbroker.Also("seats/b"))
	two := acquire(t, client, "seats/b", lockbroker.Limit(2), lockbroker.Also("seats/a"))
	for at, each := range one.Locks() {
		if have := permit(t, each) + permit(t, two.Locks()[1-at]); have != 1 {
			t.Errorf("the permits of %s add up to %d", each.Name(), have)
		}
	}
	if permit(t, one) != permit(t, one.Locks()[0]) {
		t.Errorf("the first of them has another permit")
	}
	release(t, one)
	release(t, two)
}

func whateverOptions(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	lock := acquire(t, client, "options/a", lockbroker.Also("options/b"), lockbroker.Owner("one"),
		lockbroker.Linger(time.Minute), lockbroker.KeepOnDisconnect())
	info, err := client.Get(t.Context(), "options/b", "")
	if err != nil || info.Owner != "one" {
		t.Errorf("have %+v, %v", info, err)
	}
	release(t, lock)
	for _, name := range names(lock) {
		if state := state(t, client, name); state != lockbroker.StateLingering {
			t.Errorf("%s is %v", name, state)
		}
	}
	_, err = client.TryLock(t.Context(), "options/c", lockbroker.Also("options/d"), lockbroker.MinHold(time.Second))
	wantKind(t, err, lockbroker.ErrInvalid)
}

func severalInDo(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	err := client.Do(t.Context(), "do/a", func(lock *lockbroker.Lock) error {
		if state := state(t, client, "do/b"); len(lock.Locks()) != 2 || state != lockbroker.StateHeld {
			t.Errorf("have %v, of which one is %v", lock.Locks(), state)
		}
		return nil
	}, lockbroker.Also("do/b"))
	if state := state(t, client, "do/b"); err != nil || state != lockbroker.StateFree {
		t.Errorf("have %v, %v", state, err)
	}
	// A wait that is given up gives back what it had.
	taken := acquire(t, client, "do/b")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := client.Lock(ctx, "do/a", lockbroker.Also("do/b"))
		ended <- err
	}()
	brokertest.Eventually(t, "it has the one that is free", func() bool {
		return state(t, client, "do/a") == lockbroker.StateHeld
	})
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
	brokertest.Eventually(t, "it gives that back", func() bool { return state(t, client, "do/a") == lockbroker.StateFree })
	release(t, taken)
}

// Whoever adopts has one lock id, and each lock has its own.
func adoptedAlone(t *testing.T, broker *brokertest.Broker) {
	one, two := connect(t, broker.URL), connect(t, broker.URL)
	lock := acquire(t, one, "adopt/a", lockbroker.Also("adopt/b"))
	_, err := two.Adopt(t.Context(), "adopt/a", lock.ID(), lockbroker.Also("adopt/b"))
	wantKind(t, err, lockbroker.ErrInvalid)
	if err := lock.Check(); err != nil {
		t.Error(err)
	}
	release(t, lock)
}

func namedTwice(t *testing.T, broker *brokertest.Broker) {
	client := connect(t, broker.URL)
	_, err := client.TryLock(t.Context(), "twice", lockbroker.Also("twice/b", "twice"))
	wantKind(t, err, lockbroker.ErrInvalid)
}

func TestSeveralLocksMoveTogether(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	client, other := connect(t, one.URL+","+two.URL), connect(t, two.URL)
	lock := acquire(t, client, "moves/b", lockbroker.Also("moves/a"))
	before := lock.Locks()
	one.Kill()
	brokertest.Eventually(t, "they have moved", func() bool { return lock.ID() != before[0].ID() && lock.Check() == nil })
	for at, each := range lock.Locks() {
		if each.ID() == before[at].ID() || each.Token() != before[at].Token() || each.Name() != before[at].Name() {
			t.Errorf("%v was %v", each, before[at])
		}
		if state := state(t, other, each.Name()); state != lockbroker.StateHeld {
			t.Errorf("%v is %v", each, state)
		}
	}
	release(t, lock)
	for _, name := range names(lock) {
		if state := state(t, other, name); state != lockbroker.StateFree {
			t.Errorf("%s is %v", name, state)
		}
	}
}

func TestWhatIsTooMuchTogetherIsNotSent(t *testing.T) {
	t.Parallel()
	// Nobody is there to be asked.
	client := connect(t, "http://127.0.0.1:9", lockbroker.AnswerTimeout(brokertest.Soon))
	long := func(length int) string { return strings.Repeat("x", length) }
	for what, options := range map[string][]lockbroker.LockOption{
		"sixteen others": {lockbroker.Also(make([]string, 16)...)},
		"in two parts":   {lockbroker.Also(make([]string, 8)...), lockbroker.Also(make([]string, 8)...)},
		"a long name":    {lockbroker.Also(long(1025))},
		"long names":     {lockbroker.Also(long(1000), long(1000), long(1000), long(1000))},
		"a long owner":   {lockbroker.Also(long(1000)), lockbroker.Owner(long(1000))},
		"no UTF-8":       {lockbroker.Also("\xff")},
	} {
		for _, ask := range []func(context.Context, string, ...lockbroker.LockOption) (*lockbroker.Lock, error){
			client.TryLock, client.Lock,
		} {
			if _, err := ask(t.Context(), long(1000), options...); !errors.Is(err, lockbroker.ErrInvalid) {
				t.Errorf("%s: have %v", what, err)
			}
		}
	}
}

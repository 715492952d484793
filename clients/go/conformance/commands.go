package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"golang.org/x/sys/unix"

	"github.com/lockbroker/lockbroker/clients/go"
)

// commands are what the driver may tell. Those that answer nil have answered, or will.
var commands = map[string]func(*testee, context.Context, command) (answer, error){
	"connect":     (*testee).connect,
	"try":         (*testee).try,
	"wait":        (*testee).wait,
	"enter":       (*testee).enter,
	"leave":       (*testee).leave,
	"cancel":      (*testee).cancel,
	"release":     (*testee).release,
	"check":       (*testee).check,
	"update":      (*testee).update,
	"downgrade":   (*testee).downgrade,
	"observe":     (*testee).observe,
	"unobserve":   (*testee).unobserve,
	"adopt":       (*testee).adopt,
	"lease":       (*testee).lease,
	"renew":       (*testee).renew,
	"adopt_lease": (*testee).adoptLease,
	"get":         (*testee).get,
	"work":        (*testee).work,
	"forget":      (*testee).forget,
	"many":        (*testee).many,
	"check_many":  (*testee).checkMany,
	"cycle":       (*testee).cycle,
	"bare":        (*testee).bare,
	"bare_cycle":  (*testee).bareCycle,
	"deadline":    (*testee).deadline,
	"close":       (*testee).close,
}

// scope is a call of Client.Do that is under way.
type scope struct {
	leave chan bool
	ended chan answer
}

var errFailed = errors.New("the scope fails, as it was told")

func ok() (answer, error) { return answer{"ok": true}, nil }

func (t *testee) client(told command) *lockbroker.Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clients[told.Client]
}

func (t *testee) lock(name string) *lockbroker.Lock {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.locks[name]
}

// keep keeps a guard, tells of its loss, and answers.
func (t *testee) keep(name string, lock *lockbroker.Lock, err error) (answer, error) {
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.locks[name] = lock
	t.mu.Unlock()
	// Not the guard itself, so that it can be collected.
	lost, held := lock.Lost(), weak.Make(lock)
	go func() {
		<-lost
		reason := any("UNKNOWN")
		if lock := held.Value(); lock != nil {
			if lost, isLost := failed(lock.Check())["lost"].(answer); isLost {
				reason = lost["reason"]
			}
		}
		t.say(answer{"notice": "lost", "lock": name, "reason": reason})
	}()
	return granted(lock), nil
}

// common are the options that a lock and a lease have alike.
func common(told command) []lockbroker.CommonOption {
	var options []lockbroker.CommonOption
	add := func(milliseconds *int64, option func(time.Duration) lockbroker.CommonOption) {
		if milliseconds != nil {
			options = append(options, option(span(*milliseconds)))
		}
	}
	add(told.WaitMS, lockbroker.Wait)
	add(told.LingerMS, lockbroker.Linger)
	add(told.HoldMS, lockbroker.MinHold)
	if told.Owner != nil {
		options = append(options, lockbroker.Owner(*told.Owner))
	}
	if told.Shared {
		options = append(options, lockbroker.Shared())
	}
	if told.Limit != nil {
		options = append(options, lockbroker.Limit(*told.Limit))
	}
	return options
}

func options(told command) []lockbroker.LockOption {
	var options []lockbroker.LockOption
	for _, option := range common(told) {
		options = append(options, option)
	}
	if told.PollMS != nil {
		options = append(options, lockbroker.PollInterval(span(*told.PollMS)))
	}
	if told.Weight != nil {
		options = append(options, lockbroker.Weight(*told.Weight))
	}
	if told.Also != nil {
		options = append(options, lockbroker.Also(told.Also...))
	}
	if told.Value != nil {
		options = append(options, lockbroker.Value([]byte(*told.Value)))
	}
	if told.Keep {
		options = append(options, lockbroker.KeepOnDisconnect())
	}
	return options
}

func span(milliseconds int64) time.Duration { return time.Duration(milliseconds) * time.Millisecond }

func (t *testee) connect(_ context.Context, told command) (answer, error) {
	var options []lockbroker.ClientOption
	if told.TLS != nil {
		options = append(options, lockbroker.TLSAuthorities(told.TLS.CA), lockbroker.TLSIdentity(told.TLS.Cert, told.TLS.Key))
	}
	client, err := lockbroker.Connect(strings.Join(told.Servers, ","), options...)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clients[told.Client] = client
	return ok()
}

func (t *testee) try(ctx context.Context, told command) (answer, error) {
	lock, err := t.client(told).TryLock(ctx, told.Name, options(told)...)
	return t.keep(told.Lock, lock, err)
}

func (t *testee) deadline(ctx context.Context, told command) (answer, error) {
	within := time.Duration(told.MS) * time.Millisecond
	limited, cancel := context.WithTimeout(ctx, within)
	time.AfterFunc(within, cancel)
	return t.try(limited, told)
}

func (t *testee) wait(ctx context.Context, told command) (answer, error) {
	lock, err := t.client(told).Lock(ctx, told.Name, options(told)...)
	return t.keep(told.Lock, lock, err)
}

func (t *testee) enter(ctx context.Context, told command) (answer, error) {
	var entered *scope
	err := t.client(told).Do(ctx, told.Name, func(lock *lockbroker.Lock) error {
		entered = &scope{make(chan bool), make(chan answer, 1)}
		granted, _ := t.keep(told.Lock, lock, nil)
		t.mu.Lock()
		t.scopes[told.Lock] = entered
		t.mu.Unlock()
		t.answer(told.ID, granted)
		if <-entered.leave {
			return errFailed
		}
		return nil
	}, options(told)...)
	switch {
	case entered == nil:
		return nil, err
	case err == nil, errors.Is(err, errFailed):
		entered.ended <- answer{"left": true}
	default:
		entered.ended <- failed(err)
	}
	return nil, nil
}

func (t *testee) leave(_ context.Context, told command) (answer, error) {
	t.mu.Lock()
	scope := t.scopes[told.Lock]
	delete(t.scopes, told.Lock)
	t.mu.Unlock()
	scope.leave <- told.Fail
	return <-scope.ended, nil
}

func (t *testee) cancel(_ context.Context, told command) (answer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if cancel := t.cancels[told.Call]; cancel != nil {
		cancel()
	}
	return ok()
}

// guard returns a lock, or a lease.
func (t *testee) guard(name string) guard {
	if lock := t.lock(name); lock != nil {
		return lock
	}
	return t.leaseOf(name)
}

func (t *testee) release(_ context.Context, told command) (answer, error) {
	lock := t.guard(told.Lock)
	wasOver := isOver(lock.Check())
	if err := lock.Release(); err != nil {
		return nil, err
	}
	return answer{"released": !wasOver}, nil
}

func (t *testee) check(_ context.Context, told command) (answer, error) {
	return checked(t.guard(told.Lock)), nil
}

func (t *testee) downgrade(ctx context.Context, told command) (answer, error) {
	var options []lockbroker.DowngradeOption
	if told.Limit != nil {
		options = append(options, lockbroker.Limit(*told.Limit))
	}
	lock := t.lock(told.Lock)
	if err := lock.Downgrade(ctx, options...); err != nil {
		return nil, err
	}
	return answer{"downgraded": grant(lock)}, nil
}

func (t *testee) adopt(ctx context.Context, told command) (answer, error) {
	lock, err := t.client(told).Adopt(ctx, told.Name, told.LockID)
	return t.keep(told.Lock, lock, err)
}

func (t *testee) get(ctx context.Context, told command) (answer, error) {
	info, err := t.client(told).Get(ctx, told.Name, "")
	found := answer{
		"held": info.State == lockbroker.StateHeld, "state": strings.ToUpper(info.State.String()), "owner": info.Owner,
		"token": nil, "held_ms": nil, "etag": info.Etag, "shared_count": info.SharedCount,
	}
	if info.Token != 0 {
		found["token"] = info.Token
	}
	if info.HeldFor != 0 {
		found["held_ms"] = info.HeldFor.Milliseconds()
	}
	return found, err
}

func (t *testee) work(_ context.Context, told command) (answer, error) {
	lock := t.lock(told.Lock)
	go func() {
		for {
			var at unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
				panic(err)
			}
			state := checked(lock)
			if state["lost"] != nil {
				return
			}
			if state["held"] != nil {
				t.say(answer{"notice": "acting", "lock": told.Lock, "at": at.Nano()})
			}
			time.Sleep(time.Duration(told.EveryMS) * time.Millisecond)
		}
	}()
	return ok()
}

func (t *testee) forget(_ context.Context, told command) (answer, error) {
	t.mu.Lock()
	delete(t.locks, told.Lock)
	t.mu.Unlock()
	runtime.GC()
	return ok()
}

func (t *testee) many(ctx context.Context, told command) (answer, error) {
	client := t.client(told)
	var calls sync.WaitGroup
	var granted atomic.Int64
	for number := range told.Count {
		calls.Go(func() {
			name := fmt.Sprint(told.Prefix, number)
			lock, err := client.TryLock(ctx, name)
			if _, err := t.keep(name, lock, err); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
			granted.Add(1)
		})
	}
	calls.Wait()
	return answer{"granted": granted.Load()}, nil
}

func (t *testee) checkMany(_ context.Context, told command) (answer, error) {
	held := 0
	for number := range told.Count {
		if lock := t.lock(fmt.Sprint(told.Prefix, number)); lock != nil && lock.Check() == nil {
			held++
		}
	}
	return answer{"held": held}, nil
}

func (t *testee) cycle(ctx context.Context, told command) (answer, error) {
	client, began := t.client(told), time.Now()
	for range told.Count {
		lock, err := client.Lock(ctx, told.Name)
		if err != nil {
			return nil, err
		}
		if err := lock.Release(); err != nil {
			return nil, err
		}
	}
	return answer{"nanos": time.Since(began).Nanoseconds()}, nil
}

func (t *testee) close(_ context.Context, told command) (answer, error) {
	if err := t.client(told).Close(); err != nil {
		return nil, err
	}
	return ok()
}

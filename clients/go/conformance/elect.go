package main

import (
	"context"
	"strings"

	"github.com/lockbroker/lockbroker/clients/go"
)

func (t *testee) update(ctx context.Context, told command) (answer, error) {
	if err := t.lock(told.Lock).Update(ctx, []byte(*told.Value)); err != nil {
		return nil, err
	}
	return answer{"updated": true}, nil
}

// observe tells what a lock is, from now on.
func (t *testee) observe(ctx context.Context, told command) (answer, error) {
	ctx, cancel := context.WithCancel(ctx)
	t.mu.Lock()
	t.observers[told.As] = cancel
	t.mu.Unlock()
	client := t.client(told)
	go func() {
		defer cancel()
		for seen, err := range client.Observe(ctx, told.Name) {
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				t.say(answer{"notice": "seen", "as": told.As, "error": failed(err)["error"]})
				return
			}
			t.say(shown(told.As, seen))
		}
	}()
	return ok()
}

// shown is the notice of a state that an observer was told.
func shown(as string, seen lockbroker.Observed) answer {
	notice := answer{"notice": "seen", "as": as, "state": strings.ToUpper(seen.State.String()), "owner": seen.Owner}
	if seen.Value != nil {
		notice["value"] = string(seen.Value)
	}
	if seen.Token != 0 {
		notice["token"] = seen.Token
	}
	return notice
}

func (t *testee) unobserve(_ context.Context, told command) (answer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.observers[told.As]()
	return ok()
}

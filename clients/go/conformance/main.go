// Program conformance is the testee of tests/conformance: it does as the driver tells it, and says what happened.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/lockbroker/lockbroker/clients/go"
)

// command is what the driver tells, with the fields of all commands.
type command struct {
	ID      int64    `json:"id"`
	Do      string   `json:"do"`
	Client  string   `json:"client"`
	Servers []string `json:"servers"`
	TLS     *struct {
		CA   string `json:"ca"`
		Cert string `json:"cert"`
		Key  string `json:"key"`
	} `json:"tls"`
	Lock     string   `json:"lock"`
	Name     string   `json:"name"`
	Owner    *string  `json:"owner"`
	LingerMS *int64   `json:"linger_ms"`
	WaitMS   *int64   `json:"wait_ms"`
	PollMS   *int64   `json:"poll_ms"`
	HoldMS   *int64   `json:"min_hold_ms"`
	TTLMS    *int64   `json:"ttl_ms"`
	Keep     bool     `json:"keep"`
	Shared   bool     `json:"shared"`
	Limit    *int     `json:"limit"`
	Weight   *int     `json:"weight"`
	Also     []string `json:"also"`
	Value    *string  `json:"value"`
	As       string   `json:"as"`
	Fail     bool     `json:"fail"`
	Call     int64    `json:"call"`
	LockID   string   `json:"lock_id"`
	EveryMS  int64    `json:"every_ms"`
	Prefix   string   `json:"prefix"`
	Count    int      `json:"count"`
	Server   string   `json:"server"`
	MS       int64    `json:"ms"`
}

// answer is a line of the testee's.
type answer map[string]any

// testee has the clients and the guards, and what is under way.
type testee struct {
	mu      sync.Mutex
	clients map[string]*lockbroker.Client
	locks   map[string]*lockbroker.Lock
	leases  map[string]*lockbroker.Lease
	scopes  map[string]*scope
	// observers end those who observe.
	observers map[string]context.CancelFunc
	// cancels end the calls that wait.
	cancels map[int64]context.CancelFunc

	out sync.Mutex
}

func main() {
	t := &testee{
		clients:   map[string]*lockbroker.Client{},
		locks:     map[string]*lockbroker.Lock{},
		leases:    map[string]*lockbroker.Lease{},
		scopes:    map[string]*scope{},
		observers: map[string]context.CancelFunc{},
		cancels:   map[int64]context.CancelFunc{},
	}
	t.say(answer{"hello": answer{"client": "lockbroker for Go", "features": []string{"collect", "deadline"}}})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var told command
		if err := json.Unmarshal(lines.Bytes(), &told); err != nil {
			fmt.Fprintf(os.Stderr, "not a command: %s: %v\n", lines.Text(), err)
			os.Exit(2)
		}
		ctx, cancel := context.WithCancel(context.Background())
		t.mu.Lock()
		t.cancels[told.ID] = cancel
		t.mu.Unlock()
		go t.run(ctx, told)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, client := range t.clients {
		client.Close()
	}
}

// run runs a command, and answers. The context of a call is not cancelled at its end: the lock's context would end.
func (t *testee) run(ctx context.Context, told command) {
	do, found := commands[told.Do]
	if !found {
		t.answer(told.ID, unexpected("there is no command "+told.Do))
		return
	}
	said, err := do(t, ctx, told)
	t.mu.Lock()
	delete(t.cancels, told.ID)
	t.mu.Unlock()
	if err != nil {
		said = failed(err)
		if refused := new(lockbroker.NotAcquiredError); told.Also != nil && errors.As(err, &refused) {
			said["not_acquired"].(answer)["lock"] = refused.Lock
		}
	}
	if said != nil {
		t.answer(told.ID, said)
	}
}

func (t *testee) answer(id int64, said answer) {
	said["id"] = id
	t.say(said)
}

func (t *testee) say(line answer) {
	t.out.Lock()
	defer t.out.Unlock()
	// Fails only when the driver has gone.
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

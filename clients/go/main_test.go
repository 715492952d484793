package lockbroker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
)

// childVariable makes this program a client that does what it is told on stdin, instead of the tests.
const childVariable = "LOCKBROKER_TEST_CHILD"

// ttlVariable sets the ttl of such a client.
const ttlVariable = "LOCKBROKER_TEST_TTL"

func TestMain(m *testing.M) {
	if server, isChild := os.LookupEnv(childVariable); isChild {
		child(server)
		return
	}
	os.Exit(m.Run())
}

// child takes a command a line: lock NAME, adopt NAME ID, check, spin MILLISECONDS, fork, release. It says what comes of each.
func child(server string) {
	var options []lockbroker.ClientOption
	if ttl, err := time.ParseDuration(os.Getenv(ttlVariable)); err == nil {
		options = append(options, lockbroker.TTL(ttl))
	}
	client, err := lockbroker.Connect(server, options...)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var lock *lockbroker.Lock
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		words := strings.Fields(lines.Text())
		switch words[0] {
		case "lock":
			lock, err = client.Lock(context.Background(), words[1], lockbroker.Wait(10*time.Second))
		case "adopt":
			lock, err = client.Adopt(context.Background(), words[1], words[2])
		case "check":
			err = lock.Check()
		case "spin":
			span, _ := time.ParseDuration(words[1] + "ms")
			for begun := time.Now(); time.Since(begun) < span; {
			}
		case "fork":
			// It outlives this process.
			err = exec.Command("sleep", "5").Start()
		case "release":
			err = lock.Release()
		}
		if err != nil {
			fmt.Println("error", words[0], err)
			err = nil
			continue
		}
		fmt.Println("ok", words[0])
		if words[0] == "lock" || words[0] == "adopt" {
			fmt.Println("held", lock.Token(), lock.ID())
		}
	}
}

// startChild starts this program as a client.
func startChild(t *testing.T, server string, environment ...string) *childProcess {
	t.Helper()
	environment = append(environment, childVariable+"="+server)
	process := brokertest.Start(t, environment, os.Args[0])
	process.Line(prefixed("ready"))
	return &childProcess{process, t}
}

type childProcess struct {
	*brokertest.Process
	t *testing.T
}

// tell sends a command, and returns the line that answers it.
func (c *childProcess) tell(command string) string {
	c.t.Helper()
	c.order(command)
	verb := strings.Fields(command)[0]
	return c.Line(func(line string) (string, bool) {
		return line, strings.HasPrefix(line, "ok "+verb) || strings.HasPrefix(line, "error "+verb)
	})
}

// order sends a command and does not wait.
func (c *childProcess) order(command string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.Stdin, command); err != nil {
		c.t.Fatal(err)
	}
}

func prefixed(prefix string) func(string) (string, bool) {
	return func(line string) (string, bool) { return line, strings.HasPrefix(line, prefix) }
}

// connect makes a client that is closed when the test ends.
func connect(t *testing.T, server string, options ...lockbroker.ClientOption) *lockbroker.Client {
	t.Helper()
	client, err := lockbroker.Connect(server, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// acquire takes a lock, and waits for it if it must.
func acquire(t *testing.T, client *lockbroker.Client, name string, options ...lockbroker.LockOption) *lockbroker.Lock {
	t.Helper()
	options = append([]lockbroker.LockOption{lockbroker.Wait(brokertest.Soon)}, options...)
	lock, err := client.Lock(t.Context(), name, options...)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

// refused asks for a lock once, and returns why it is not acquired.
func refused(t *testing.T, client *lockbroker.Client, name string, options ...lockbroker.LockOption) *lockbroker.NotAcquiredError {
	t.Helper()
	lock, err := client.TryLock(t.Context(), name, options...)
	var held *lockbroker.NotAcquiredError
	if !errors.As(err, &held) {
		t.Fatalf("have %v, %v; want a NotAcquiredError", lock, err)
	}
	return held
}

func release(t *testing.T, lock *lockbroker.Lock) {
	t.Helper()
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("have %v; want %v", err, kind)
	}
}

func asNotAcquired(err error, into **lockbroker.NotAcquiredError) bool { return errors.As(err, into) }

func wantLost(t *testing.T, err error, reason lockbroker.LostReason) {
	t.Helper()
	var lost *lockbroker.LostError
	if !errors.As(err, &lost) || lost.Reason != reason {
		t.Fatalf("have %v; want lost: %v", err, reason)
	}
}

// state asks a broker for the state of a lock.
func state(t *testing.T, client *lockbroker.Client, name string) lockbroker.LockState {
	t.Helper()
	info, err := client.Get(t.Context(), name, "")
	if err != nil {
		t.Fatal(err)
	}
	return info.State
}

func waitFor(t *testing.T, what string, event <-chan struct{}) {
	t.Helper()
	select {
	case <-event:
	case <-time.After(brokertest.Soon):
		t.Fatalf("not within %v: %s", brokertest.Soon, what)
	}
}

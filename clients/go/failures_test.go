package lockbroker_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
)

// short is the shortest ttl that a broker grants.
const short = 5 * time.Second

// pair starts two brokers on one store.
func pair(t *testing.T) (one, two *brokertest.Broker) {
	t.Helper()
	store := brokertest.Store(t)
	return brokertest.StartBroker(t, store...), brokertest.StartBroker(t, store...)
}

func TestAKilledClientsLockIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	freeAtOnce(t)
}

// A process that a Go program starts does not get its sockets.
func TestAChildProcessKeepsNoLock(t *testing.T) {
	t.Parallel()
	freeAtOnce(t, "fork")
}

// freeAtOnce kills the holder of a lock, which has done what it was told, and checks how soon somebody else can have it.
//
// Now and then the kernel finds bytes that the holder had not read, and resets the connection. A broker takes that for
// silence. Then another holder is killed.
func freeAtOnce(t *testing.T, orders ...string) {
	t.Helper()
	broker := brokertest.StartBroker(t)
	client := connect(t, broker.URL)
	var took time.Duration
	for try := range 3 {
		name := fmt.Sprint("killed-", try)
		holder := startChild(t, broker.URL)
		for _, order := range append([]string{"lock " + name}, orders...) {
			holder.tell(order)
		}
		refused(t, client, name)
		begun := time.Now()
		holder.Kill()
		release(t, acquire(t, client, name))
		if took = time.Since(begun); took < 3*time.Second {
			return
		}
	}
	t.Errorf("it was free after %v", took)
}

func TestLocksMoveWhenABrokerIsKilled(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	client := connect(t, one.URL+","+two.URL)
	locks := make([]*lockbroker.Lock, 100)
	for at := range locks {
		locks[at] = acquire(t, client, fmt.Sprint("moved ", at))
	}
	ids := map[string]bool{}
	for _, lock := range locks {
		ids[lock.ID()] = true
	}
	one.Kill()
	brokertest.Eventually(t, "the locks have moved", func() bool {
		for _, lock := range locks {
			if ids[lock.ID()] || lock.Check() != nil {
				return false
			}
		}
		return true
	})
	refused(t, connect(t, two.URL), "moved 7")
	for _, lock := range locks {
		release(t, lock)
	}
}

func TestLocksMoveWhenABrokerDrains(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	client := connect(t, one.URL+","+two.URL)
	lock := acquire(t, client, "drained")
	blocker := acquire(t, connect(t, two.URL), "drained, waited for")
	waited := make(chan error, 1)
	go func() {
		lock, err := client.Lock(context.Background(), "drained, waited for")
		if err == nil {
			err = lock.Release()
		}
		waited <- err
	}()
	waitPosition(t, one, "drained, waited for", 2)
	id := lock.ID()
	one.Signal(syscall.SIGTERM)
	brokertest.Eventually(t, "the lock has moved", func() bool {
		if err := lock.Check(); err != nil {
			t.Fatal(err)
		}
		return lock.ID() != id
	})
	// The broker has nobody left to wait for.
	if code := one.Wait(); code != 0 {
		t.Errorf("the broker exits with %d", code)
	}
	release(t, lock)
	release(t, blocker)
	if err := <-waited; err != nil {
		t.Error(err)
	}
}

func TestAHalfOpenConnectionIsLeft(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	proxy := brokertest.StartProxy(t, one)
	// With the shortest ttl there is next to no time left when the silence is noticed.
	client := connect(t, proxy.URL+","+two.URL)
	lock := acquire(t, client, "half-open")
	id := lock.ID()
	proxy.Hole()
	brokertest.Eventually(t, "the lock has moved", func() bool {
		if err := lock.Check(); err != nil {
			t.Fatal(err)
		}
		return lock.ID() != id
	})
	release(t, lock)
}

func TestAResetAtOneEndMovesTheLocks(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	proxy := brokertest.StartProxy(t, one)
	client := connect(t, proxy.URL+","+two.URL, lockbroker.TTL(short))
	lock := acquire(t, client, "reset")
	id := lock.ID()
	proxy.ResetClients()
	brokertest.Eventually(t, "the lock has moved", func() bool { return lock.ID() != id })
	if err := lock.Check(); err != nil {
		t.Error(err)
	}
	release(t, lock)
}

func TestWithoutAnyBrokerALockIsLostInTime(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	client := connect(t, broker.URL, lockbroker.TTL(short))
	lock := acquire(t, client, "lost")
	var held []*lockbroker.Lock
	for at := range 10 {
		held = append(held, acquire(t, client, fmt.Sprint("lost ", at)))
	}
	broker.Kill()
	brokertest.Eventually(t, "the guard sees that the stream is broken", func() bool { return lock.Check() != nil })
	wantKind(t, lock.Check(), lockbroker.ErrUnavailable)
	if lock.Remaining() != 0 || lock.ExpiresIn() == 0 {
		t.Errorf("%v remain, and it expires in %v", lock.Remaining(), lock.ExpiresIn())
	}
	released := make(chan error, 1)
	go func() { released <- held[0].Release() }()
	waitFor(t, "the loss", lock.Lost())
	if lock.ExpiresIn() > 0 {
		t.Errorf("lost %v before the end", lock.ExpiresIn())
	}
	wantLost(t, lock.Check(), lockbroker.LostExpired)
	wantLost(t, lock.Release(), lockbroker.LostExpired)
	wantKind(t, <-released, lockbroker.ErrUnavailable)
	for _, lock := range held[1:] {
		waitFor(t, "the loss", lock.Lost())
	}
	begun := time.Now()
	_, err := client.TryLock(t.Context(), "lost")
	wantKind(t, err, lockbroker.ErrUnavailable)
	if took := time.Since(begun); took > 7*time.Second || !strings.Contains(err.Error(), broker.URL) {
		t.Errorf("it took %v: %v", took, err)
	}
}

func TestAReleaseIsRepeatedAtAnotherBroker(t *testing.T) {
	t.Parallel()
	one, two := pair(t)
	proxy := brokertest.StartProxy(t, one)
	client := connect(t, proxy.URL+","+two.URL)
	lock := acquire(t, client, "released elsewhere")
	// The broker gets the release, or does not: nothing comes back.
	proxy.Hole()
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- lock.Release() }()
	time.AfterFunc(100*time.Millisecond, proxy.ResetClients)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	release(t, acquire(t, connect(t, two.URL), "released elsewhere"))
}

func TestAStoppedClientFindsItsLockLost(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	holder := startChild(t, broker.URL, ttlVariable+"=5s")
	holder.tell("lock stopped")
	holder.Signal(syscall.SIGSTOP)
	client := connect(t, broker.URL)
	// Longer than the ttl, until nobody has it any more.
	other := acquire(t, client, "stopped")
	holder.Signal(syscall.SIGCONT)
	if answer := holder.tell("check"); !strings.Contains(answer, "was lost") {
		t.Error(answer)
	}
	release(t, other)
}

func TestABlockedLoopKeepsItsLock(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	holder := startChild(t, broker.URL, ttlVariable+"=5s", "GOMAXPROCS=1")
	holder.tell("lock busy")
	holder.order("spin 7000")
	client := connect(t, broker.URL)
	_, err := client.Lock(t.Context(), "busy", lockbroker.Wait(6500*time.Millisecond))
	if held := new(lockbroker.NotAcquiredError); !asNotAcquired(err, &held) || held.Reason != lockbroker.WaitOver {
		t.Errorf("have %v", err)
	}
	if answer := holder.tell("check"); answer != "ok check" {
		t.Error(answer)
	}
}

func TestProxyVariablesAreNotHeeded(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t, "--listen", "127.0.0.1:0")
	variables := []string{}
	for _, name := range []string{"http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"} {
		variables = append(variables, name+"=http://127.0.0.1:9")
	}
	if answer := startChild(t, broker.URL, variables...).tell("lock proxied"); answer != "ok lock" {
		t.Error(answer)
	}
}

func TestTheEnvironmentSaysWhereTheBrokersAre(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	holder := startChild(t, "", "LOCKBROKER_SERVER=127.0.0.1:9,"+broker.URL)
	if answer := holder.tell("lock environment"); answer != "ok lock" {
		t.Error(answer)
	}
}

func TestABrokerThatSaysNothingCostsItsShare(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartBroker(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// It accepts, and never sends SETTINGS.
	client := connect(t, listener.Addr().String()+","+broker.URL)
	begun := time.Now()
	lock, err := client.TryLock(t.Context(), "mute")
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	release(t, lock)
	if _, err := client.Get(t.Context(), "mute", ""); err != nil {
		t.Error(err)
	}
}

func TestNobodyListens(t *testing.T) {
	t.Parallel()
	client := connect(t, "127.0.0.1:9", lockbroker.AnswerTimeout(time.Second))
	_, err := client.TryLock(t.Context(), "nobody")
	wantKind(t, err, lockbroker.ErrUnavailable)
	if !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("it does not say why: %v", err)
	}
	_, err = client.Get(t.Context(), "nobody", "")
	wantKind(t, err, lockbroker.ErrUnavailable)
	if !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("it does not say why: %v", err)
	}
	begun := time.Now()
	client.Close()
	if took := time.Since(begun); took > time.Second {
		t.Errorf("Close took %v", took)
	}
}

func TestAUnixSocket(t *testing.T) {
	t.Parallel()
	socket := "unix:" + brokertest.Folder(t) + "/l?b%2F #.sock"
	brokertest.StartBroker(t, "--listen", socket)
	client := connect(t, socket)
	lock := acquire(t, client, "socket")
	if state(t, client, "socket") != lockbroker.StateHeld {
		t.Error("it is not held")
	}
	release(t, lock)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	authority, stranger := brokertest.NewAuthority(t), brokertest.NewAuthority(t)
	cert, key := authority.Sign("broker")
	mine, mineKey := authority.Sign("client")
	theirs, theirsKey := stranger.Sign("client")
	broker := brokertest.StartBroker(t, "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", authority.File)
	simple := brokertest.StartBroker(t, "--tls-cert", cert, "--tls-key", key)
	plain := brokertest.StartBroker(t)
	elsewhere, elsewhereKey := authority.SignFor("elsewhere", net.IPv4(10, 0, 0, 1))
	misnamed := brokertest.StartBroker(t, "--tls-cert", elsewhere, "--tls-key", elsewhereKey)
	cas := lockbroker.TLSAuthorities(authority.File)

	for _, client := range []*lockbroker.Client{
		connect(t, broker.URL, cas, lockbroker.TLSIdentity(mine, mineKey)),
		connect(t, strings.Replace(simple.URL, "127.0.0.1", "localhost", 1), cas),
	} {
		release(t, acquire(t, client, "tls"))
		if state(t, client, "tls") != lockbroker.StateFree {
			t.Error("it is not free")
		}
	}
	refusals := map[string]struct {
		client *lockbroker.Client
		kind   error
		says   string
	}{
		"no certificate":    {connect(t, broker.URL, cas), lockbroker.ErrHandshake, "TLSIdentity"},
		"a stranger's":      {connect(t, broker.URL, cas, lockbroker.TLSIdentity(theirs, theirsKey)), lockbroker.ErrHandshake, "--tls-client-ca"},
		"no authority":      {connect(t, simple.URL), lockbroker.ErrHandshake, "TLSAuthorities"},
		"another authority": {connect(t, simple.URL, lockbroker.TLSAuthorities(stranger.File)), lockbroker.ErrHandshake, "TLSAuthorities"},
		"TLS to plain text": {connect(t, "https://"+plain.Address, cas), lockbroker.ErrProtocol, "http://"},
		"plain text to TLS": {connect(t, "http://"+simple.Address), lockbroker.ErrProtocol, "https://"},
		"the wrong name":    {connect(t, misnamed.URL, cas), lockbroker.ErrHandshake, "subjectAltName"},
	}
	var group sync.WaitGroup
	for name, refusal := range refusals {
		group.Go(func() {
			begun := time.Now()
			_, err := refusal.client.TryLock(t.Context(), "refused")
			if took := time.Since(begun); refusal.says != "" && took > 3*time.Second {
				t.Errorf("%s: it took %v", name, took)
			}
			_, getErr := refusal.client.Get(t.Context(), "refused", "")
			for _, err := range []error{err, getErr} {
				if err == nil || !strings.Contains(err.Error(), refusal.says) {
					t.Errorf("%s: have %v; want %v and %q", name, err, refusal.kind, refusal.says)
					return
				}
				wantKind(t, err, refusal.kind)
			}
		})
	}
	group.Wait()
}

// A certificate that is renewed is shown by the next connection, without a new client.
func TestFilesForTLSAreReadAgain(t *testing.T) {
	t.Parallel()
	authority := brokertest.NewAuthority(t)
	cert, key := authority.Sign("broker")
	mine, mineKey := authority.Sign("client")
	theirs, theirsKey := brokertest.NewAuthority(t).Sign("stranger")
	folder := t.TempDir()
	files := [2]string{folder + "/cert.pem", folder + "/key.pem"}
	put := func(from ...string) {
		for at, file := range from {
			text, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(files[at], text, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put(theirs, theirsKey)
	broker := brokertest.StartBroker(t, "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", authority.File)
	client := connect(t, broker.URL, lockbroker.TLSAuthorities(authority.File), lockbroker.TLSIdentity(files[0], files[1]))
	_, err := client.TryLock(t.Context(), "renewed")
	wantKind(t, err, lockbroker.ErrHandshake)
	put(mine, mineKey)
	release(t, acquire(t, client, "renewed"))
	if state(t, client, "renewed") != lockbroker.StateFree {
		t.Error("it is not free")
	}
}

func TestWhatIsNoEndpointOrCertificateIsRefused(t *testing.T) {
	t.Parallel()
	for server, says := range map[string]string{
		"ftp://host:1":           "no scheme ftp://",
		"host":                   "no port",
		"http://":                "no host",
		"http://host:1/path":     "after the port",
		"http://host:port":       "invalid port",
		"http://host:99999":      "from 1 to 65535",
		"host:0":                 "from 1 to 65535",
		"http://user@host:1":     "certificates",
		"unix:":                  "no path",
		"http://a:1,,http://b:1": "no host",
	} {
		_, err := lockbroker.Connect(server)
		wantKind(t, err, lockbroker.ErrEndpoint)
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v; want %q", server, err, says)
		}
	}
	_, err := lockbroker.Connect("host:1", lockbroker.AnswerTimeout(0))
	wantKind(t, err, lockbroker.ErrInvalid)
	_, err = lockbroker.Connect("https://host:1", lockbroker.TLSAuthorities("/nowhere"))
	wantKind(t, err, lockbroker.ErrTLS)
	_, err = lockbroker.Connect("https://host:1", lockbroker.TLSIdentity("cert.pem", ""))
	wantKind(t, err, lockbroker.ErrTLS)
	_, err = lockbroker.Connect("host:1", lockbroker.TLSAuthorities("ca.pem"))
	wantKind(t, err, lockbroker.ErrEndpoint)
}

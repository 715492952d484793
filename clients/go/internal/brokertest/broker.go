package brokertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// Broker is a real broker.
type Broker struct {
	*Process
	// URL is where it listens, as clients take it; that of the first --listen.
	URL string
	// Address is HOST:PORT; empty on a Unix socket.
	Address string
}

// Program returns the broker's program.
func Program(t testing.TB) string { return setting(t, "LOCKBROKER_TEST_BROKER") }

func setting(t testing.TB, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Skipf("%s is not set: run scripts/test-clients go", name)
	}
	return value
}

// StartBroker starts one on a store in memory, or with the arguments of a Store. It returns when the broker is ready.
func StartBroker(t testing.TB, arguments ...string) *Broker {
	t.Helper()
	if !strings.Contains(strings.Join(arguments, " "), "--store") {
		arguments = append(arguments, "--store", "memory")
	}
	if !strings.Contains(strings.Join(arguments, " "), "--listen") {
		arguments = append(arguments, "--listen", "127.0.0.1:0")
	}
	scheme := "http://"
	if strings.Contains(strings.Join(arguments, " "), "--tls-cert") {
		scheme = "https://"
	}
	process := Start(t, nil, Program(t), append([]string{"serve", "--log-format", "json"}, arguments...)...)
	broker := &Broker{Process: process}
	where := process.Line(func(line string) (string, bool) {
		if !strings.Contains(line, `"listening"`) {
			return "", false
		}
		return listening(line)
	})
	if strings.HasPrefix(where, "/") || strings.HasPrefix(where, "unix:") {
		broker.URL = "unix:" + strings.TrimPrefix(where, "unix:")
	} else {
		broker.URL, broker.Address = scheme+where, where
	}
	if scheme == "http://" {
		broker.waitReady()
	}
	return broker
}

// listening finds the address in a line of the log, whichever field has it.
func listening(line string) (string, bool) {
	var fields any
	if json.Unmarshal([]byte(line), &fields) != nil {
		return "", false
	}
	return address(fields)
}

func address(value any) (string, bool) {
	switch value := value.(type) {
	case string:
		if _, _, err := net.SplitHostPort(value); err == nil && strings.HasPrefix(value, "127.") {
			return value, true
		}
		return value, strings.HasPrefix(value, "/") || strings.HasPrefix(value, "unix:")
	case map[string]any:
		for _, each := range value {
			if found, ok := address(each); ok {
				return found, true
			}
		}
	}
	return "", false
}

// Dial makes a bare connection of gRPC.
func (b *Broker) Dial() *grpc.ClientConn {
	b.t.Helper()
	network, address := "tcp", b.Address
	if address == "" {
		network, address = "unix", strings.TrimPrefix(b.URL, "unix:")
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	conn, err := grpc.NewClient("passthrough:///localhost", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(dial), grpc.WithNoProxy())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

// Stub makes a bare stub.
func (b *Broker) Stub() pb.LockServiceClient { return pb.NewLockServiceClient(b.Dial()) }

func (b *Broker) waitReady() {
	b.t.Helper()
	health := grpc_health_v1.NewHealthClient(b.Dial())
	Eventually(b.t, "the broker is ready", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		answer, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "readiness"})
		return err == nil && answer.GetStatus() == grpc_health_v1.HealthCheckResponse_SERVING
	})
}

var prefixes atomic.Int64

// Store starts a memcached and returns arguments for the brokers that share it.
func Store(t testing.TB) []string {
	t.Helper()
	program, broker := setting(t, "LOCKBROKER_TEST_MEMCACHED"), Program(t)
	port := freePort(t)
	user := []string{}
	if os.Getuid() == 0 {
		user = []string{"-u", "root"}
	}
	arguments := append([]string{"-M", "-F", "-l", "127.0.0.1", "-p", fmt.Sprint(port), "-U", "0", "-t", "1"}, user...)
	Start(t, nil, program, arguments...)
	Eventually(t, "memcached listens", func() bool {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	store := []string{
		"--store", fmt.Sprintf("memcached://127.0.0.1:%d", port), "--key-prefix", fmt.Sprintf("t%d:", prefixes.Add(1)),
	}
	// Ends the quarantine by hand.
	output, err := exec.Command(broker, append([]string{"shard", "open"}, store...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("lockbroker shard open: %v\n%s", err, output)
	}
	return store
}

func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// Folder returns a folder with a path that is short enough for sockets.
func Folder(t testing.TB) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "lb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return filepath.Clean(folder)
}

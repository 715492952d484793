package lockbroker_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
)

// The samples of README.md are built and run as they stand, in a module of a user's.
func TestTheSamplesOfThePageRun(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	broker := brokertest.StartBroker(t)
	authority := brokertest.NewAuthority(t)
	cert, key := authority.Sign("broker")
	client, clientKey := authority.Sign("client")
	secure := brokertest.StartBroker(t, "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", authority.File)
	socket := brokertest.Folder(t) + "/lb.sock"
	brokertest.StartBroker(t, "--listen", "unix:"+socket)
	// The page's brokers are these.
	places := strings.NewReplacer(
		"http://10.0.0.7:28551", "http://127.0.0.1:9", "http://10.0.0.8:28551", broker.URL,
		"https://broker.example:28551", secure.URL, "/run/lockbroker/lb.sock", socket,
		"/etc/lockbroker/ca.pem", authority.File,
		"/etc/lockbroker/client.pem", client, "/etc/lockbroker/client-key.pem", clientKey,
	)
	var program, samples, tests []string
	for _, match := range regexp.MustCompile("(?s)(<!-- (\\S+) -->\n)?```go\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		file, code := match[2], places.Replace(match[3])
		switch {
		case file != "":
			if whole, err := os.ReadFile(file); err != nil || !strings.Contains(string(whole), code) {
				t.Errorf("%s has no such lines (%v):\n%s", file, err, code)
			}
		case strings.HasPrefix(code, "package main"):
			program = append(program, code)
		case strings.HasPrefix(code, "func Test"):
			tests = append(tests, code)
		case strings.HasPrefix(code, "func "):
			samples = append(samples, code)
		default:
			t.Errorf("neither a program nor functions:\n%s", code)
		}
	}
	if len(program) != 1 || len(samples) != 9 || len(tests) != 1 {
		t.Fatalf("%d programs, %d blocks of functions, %d of tests", len(program), len(samples), len(tests))
	}
	folder := userModule(t, map[string]string{
		"program/main.go": program[0],
		"samples.go":      samplesHead + strings.Join(samples, "\n"),
		"page_test.go":    testsHead + strings.Join(tests, "\n"),
	})
	environment := []string{"LOCKBROKER_SERVER=" + broker.URL}
	if out := run(t, folder, environment, "go", "run", "./program"); !strings.HasPrefix(out, "working, with the token ") {
		t.Errorf("the program prints %q", out)
	}
	run(t, folder, environment, "go", "test", ".")
}

const samplesHead = `package samples

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockbroker/lockbroker/clients/go"
)

func report(context.Context) error { return nil }

func shard(_ context.Context, number int) error {
	if number < 0 || number > 7 {
		return errors.New("no number of a worker")
	}
	return nil
}

`

const testsHead = `package samples

import (
	"context"
	"errors"
	"testing"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/lockbrokertest"
)

func TestTheOtherSamples(t *testing.T) {
	for _, connect := range []func() (*lockbroker.Client, error){brokers, sidecar, secure} {
		client, err := connect()
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if err := nightly(t.Context(), client); err != nil {
			t.Error(err)
		}
		for _, sample := range []func(context.Context, *lockbroker.Client) error{
			worker, read, write, rebuild, bigJob, transfer, steps, export, behindProxy, hourly, hourly,
		} {
			if err := sample(t.Context(), client); err != nil {
				t.Error(err)
			}
		}
		followed := make(chan error)
		lock, err := client.TryLock(t.Context(), "leader", lockbroker.Value([]byte("here")))
		if err != nil {
			t.Fatal(err)
		}
		go func() { followed <- followers(t.Context(), client) }()
		if err := errors.Join(<-followed, lock.Release(), lead(t.Context(), client)); err != nil {
			t.Error(err)
		}
		lease, err := client.Lease(t.Context(), "gone on with")
		if err != nil {
			t.Fatal(err)
		}
		adopted, err := goOn(t.Context(), client, "gone on with", lease.ID())
		if err != nil {
			t.Fatal(err)
		}
		if err := adopted.Release(); err != nil {
			t.Error(err)
		}
	}
}

`

// userModule makes a module that uses this one, in a folder of its own.
func userModule(t *testing.T, files map[string]string) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	const path = "github.com/lockbroker/lockbroker/clients/go"
	module := strings.Replace(string(own), "module "+path, "module user", 1) +
		fmt.Sprintf("\nrequire %s v0.0.0\nreplace %s => %s\n", path, path, here)
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	files["go.mod"], files["go.sum"] = module, string(sums)
	for name, text := range files {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

// run runs a command, which must not fail, and returns what it prints.
func run(t *testing.T, folder string, environment []string, command ...string) string {
	t.Helper()
	out, err := tryRun(folder, environment, command...)
	if err != nil {
		t.Fatalf("%q: %v\n%s", command, err, out)
	}
	return out
}

func tryRun(folder string, environment []string, command ...string) (string, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), environment...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Stubs of the user's own, beside ours, are the one thing that Go's protobuf refuses. The page says what to do.
func TestASecondCopyOfTheStubsNeedsAFlag(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	flag := regexp.MustCompile(`-ldflags "(.*?)"`).FindSubmatch(page)
	if flag == nil {
		t.Fatal("the page does not name the flag")
	}
	files := map[string]string{"main.go": `package main

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lockbroker/lockbroker/clients/go"
	"user/own"
)

func main() {
	client, err := lockbroker.Connect("")
	if err != nil {
		panic(err)
	}
	defer client.Close()
	lock, err := client.Lock(context.Background(), "two copies")
	if err != nil {
		panic(err)
	}
	conn, err := grpc.NewClient("SERVER", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	info, err := lockbrokerv1.NewLockServiceClient(conn).GetLock(
		context.Background(), &lockbrokerv1.GetLockRequest{Name: "two copies"})
	fmt.Println(info.GetState(), err, lock.Release())
}
`}
	for _, name := range []string{"lockbroker.pb.go", "lockbroker_grpc.pb.go"} {
		stub, err := os.ReadFile(filepath.Join("lockbroker/v1", name))
		if err != nil {
			t.Fatal(err)
		}
		files["own/"+name] = string(stub)
	}
	broker := brokertest.StartBroker(t)
	files["main.go"] = strings.Replace(files["main.go"], "SERVER", broker.Address, 1)
	folder := userModule(t, files)
	environment := []string{"LOCKBROKER_SERVER=" + broker.URL}
	if out, err := tryRun(folder, environment, "go", "run", "."); err == nil || !strings.Contains(out, "conflict") {
		t.Errorf("without the flag: %v\n%s", err, out)
	}
	out := run(t, folder, environment, "go", "run", "-ldflags", string(flag[1]), ".")
	if !strings.Contains(out, "STATE_HELD <nil> <nil>") {
		t.Errorf("with the flag:\n%s", out)
	}
}

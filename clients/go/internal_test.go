package lockbroker

import (
	"context"
	"errors"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
	"github.com/lockbroker/lockbroker/clients/go/internal/core"
)

func TestAHoldThatHasRunOutIsNotRevived(t *testing.T) {
	soon := core.HeldLock{LockID: "id", TTL: 5 * time.Second, Until: now().Add(20 * time.Millisecond)}
	hold := newHold("revived", soon)
	if _, err := hold.look(); err != nil {
		t.Fatal(err)
	}
	if later := soon; !hold.publish(later) {
		t.Fatal("it has not run out yet")
	}
	for hold.remaining() > 0 {
		time.Sleep(time.Millisecond)
	}
	_, err := hold.look()
	var lost *LostError
	if !errors.As(err, &lost) {
		t.Fatalf("have %v", err)
	}
	soon.Until = now().Add(time.Hour)
	if hold.publish(soon) {
		t.Error("an answer that came too late is believed")
	}
	if hold.remaining() != 0 {
		t.Error("it is held again")
	}
	select {
	case <-hold.lost:
	default:
		t.Error("the loss is not told")
	}
	hold.over(nil)
	if hold.result == nil {
		t.Error("the release does not say that the lock had been lost")
	}
}

// blackHole returns an address that answers no attempt to connect.
func blackHole(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(socket, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	address := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: name.(*syscall.SockaddrInet4).Port}).String()
	// Linux takes one connection more than it was told to keep, and leaves the next ones without an answer.
	for {
		conn, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { conn.Close() })
	}
}

func TestAFirstAddressThatSwallowsPacketsCostsLittle(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	hole := blackHole(t)
	begun := time.Now()
	conn, err := dialFirst(ctx, "tcp", []string{hole, listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	_, err = dialFirst(ctx, "tcp", []string{"127.0.0.1:9", "127.0.0.1:9"})
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("have %v", err)
	}
	short, cancelShort := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelShort()
	var timeout net.Error
	if _, err := dialFirst(short, "tcp", []string{hole}); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("have %v", err)
	}
}

func TestTheReasonsAreThoseOfTheProto(t *testing.T) {
	ours, err := os.ReadFile("reasons.go")
	if err != nil {
		t.Fatal(err)
	}
	proto, err := os.ReadFile("../../proto/lockbroker/v1/lockbroker.proto")
	if err != nil {
		t.Fatal(err)
	}
	_, listed, _ := strings.Cut(string(proto), "// Errors:")
	listed, _, _ = strings.Cut(listed, "syntax =")
	find := func(pattern, text string) (found []string) {
		for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
		slices.Sort(found)
		return found
	}
	have, want := find(`ErrorReason = "(\w+)"`, string(ours)), find(`(?m)^//   ([A-Z_]{6,}) `, listed)
	if len(want) < 20 || !slices.Equal(have, want) {
		t.Errorf("have %v\nwant %v", have, want)
	}
}

// It runs alone, since it counts all goroutines.
func TestCloseLeavesNothingBehind(t *testing.T) {
	broker := brokertest.StartBroker(t)
	before := runtime.NumGoroutine()
	for range 5 {
		client, err := Connect(broker.URL + ",127.0.0.1:9")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Lock(t.Context(), "left behind"); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Get(t.Context(), "left behind", ""); err != nil {
			t.Fatal(err)
		}
		client.Close()
	}
	brokertest.Eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}

// Holds a lock while it works, and never works without it.
//
//	hold SERVER NAME [WAIT_SECONDS [WORK_SECONDS]]
//
// SERVER is http://HOST:PORT or unix:/PATH. Exit status: 0 the work is done, 1 it was stopped half-way, 2 wrong usage,
// 69 no broker answered, 75 somebody else has the lock.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "hold/lockbrokerv1"
)

const (
	ttl     = 15 * time.Second // For how long a grant stands without renewal.
	margin  = ttl / 30         // Stops this much early, as the broker does. The last step of the work has this long.
	silence = 15 * time.Second // A broker repeats `queued` every 5 s. One that says nothing for this long is gone.
)

// now reads a clock that runs on while the machine is suspended, as that of time.Now does not.
func now() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

type lock struct {
	client      pb.LockServiceClient
	name, id    string
	token       int64
	sent, until time.Duration
	stopped     string      // Why the work must not go on; empty while it may.
	refused     bool        // Somebody else has the lock.
	events      chan func() // Each takes in one thing that the broker said; run by the one who works.
	cancel      context.CancelFunc
}

// ask sends the request.
func ask(client pb.LockServiceClient, name string, wait time.Duration) *lock {
	// No deadline: the stream would end with it, and so would the lock.
	ctx, cancel := context.WithCancel(context.Background())
	l := &lock{client: client, name: name, events: make(chan func(), 16), cancel: cancel}
	l.sent = now() // Before the call: all times that the broker tells count from here.
	stream, err := client.WaitAcquire(ctx, &pb.WaitAcquireRequest{
		Lock: &pb.LockSpec{Name: name},
		Ttl:  durationpb.New(ttl),
		Wait: &pb.WaitSpec{MaxWait: durationpb.New(wait)}, // 0 tries once; unset would wait for ever.
	})
	go func() {
		for err == nil {
			var response *pb.WaitAcquireResponse
			if response, err = stream.Recv(); err == nil {
				l.events <- func() { l.heed(response.GetEvent()) }
			}
		}
		l.events <- func() { l.stop(err.Error()) }
	}()
	return l
}

func (l *lock) heed(event *pb.LockEvent) {
	switch kind := event.GetKind().(type) {
	case *pb.LockEvent_Acquired:
		l.id, l.token = kind.Acquired.LockId, kind.Acquired.FencingToken
		l.extend(kind.Acquired.ExpiresAfterRequest)
	case *pb.LockEvent_Renewed:
		l.extend(kind.Renewed.ExpiresAfterRequest)
	case *pb.LockEvent_Queued:
		fmt.Println("waiting: place", kind.Queued.Position)
	case *pb.LockEvent_NotAcquired:
		l.refused = true
		l.stop(kind.NotAcquired.Reason.String())
	case *pb.LockEvent_Lost:
		l.stop("lost")
	case *pb.LockEvent_Released:
		l.stop("released")
	case *pb.LockEvent_Draining:
		l.stop("draining") // The broker is going away. It renews for a while yet: enough to end the work.
	} // A broker may say more than this program knows: it passes over the rest.
}

// extend counts from the request, not from now. So what it is given grows with every renewal.
func (l *lock) extend(span *durationpb.Duration) { l.until = l.sent + span.AsDuration() - margin }

func (l *lock) stop(why string) {
	if l.stopped == "" {
		l.stopped = why
	}
}

// wait returns when the lock is held, or when it is certain that it will not be.
func (l *lock) wait() {
	for l.id == "" && l.stopped == "" {
		select {
		case heed := <-l.events:
			heed()
		case <-time.After(silence):
			l.stop("no answer")
		}
	}
}

// held says whether the work may go on. Ask before every step.
func (l *lock) held() bool {
	for {
		select {
		case heed := <-l.events:
			heed()
		default:
			if now() >= l.until {
				l.stop("no renewal came in time")
			}
			return l.stopped == ""
		}
	}
}

// release gives the lock back. Call it when the work has stopped, not before.
func (l *lock) release() {
	defer l.cancel() // Releases too, and gives up a wait.
	if l.id == "" {
		return
	}
	// A context of its own: one that has been cancelled would release nothing.
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if _, err := l.client.Release(ctx, &pb.ReleaseRequest{Name: l.name, LockId: l.id}); err != nil {
		fmt.Fprintln(os.Stderr, "not released:", err)
	}
}

// work is done in steps that are short beside the margin. Send l.token along with every write.
func work(l *lock, span time.Duration) bool {
	for end := time.Now().Add(span); l.held(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			return true
		}
		fmt.Println("acting")
	}
	return false
}

func run(server, name string, wait, span time.Duration) (int, error) {
	// Proxy variables of the environment would be heeded, for Unix sockets as well.
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	connection, err := grpc.NewClient(strings.TrimPrefix(server, "http://"), plain, grpc.WithNoProxy())
	if err != nil {
		return 2, err
	}
	defer connection.Close()
	l := ask(pb.NewLockServiceClient(connection), name, wait)
	defer l.release()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		why := (<-signals).String()
		l.events <- func() { l.stop(why) } // Ends the work; `defer` releases.
	}()

	l.wait()
	if l.id == "" {
		fmt.Println("not acquired:", l.stopped)
		if l.refused {
			return 75, nil
		}
		return 69, nil
	}
	fmt.Println("acquired: token", l.token)
	if !work(l, span) {
		fmt.Println("stopped:", l.stopped)
		return 1, nil
	}
	fmt.Println("done")
	return 0, nil
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: hold SERVER NAME [WAIT_SECONDS [WORK_SECONDS]]")
	os.Exit(2)
}

func main() {
	if len(os.Args) < 3 || len(os.Args) > 5 {
		usage()
	}
	numbers := [2]time.Duration{0, 60 * time.Second}
	for i, text := range os.Args[3:] {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil {
			usage()
		}
		numbers[i] = time.Duration(seconds * float64(time.Second))
	}
	status, err := run(os.Args[1], os.Args[2], numbers[0], numbers[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(status)
}

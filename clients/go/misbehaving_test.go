package lockbroker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockbroker/lockbroker/clients/go"
	"github.com/lockbroker/lockbroker/clients/go/internal/brokertest"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

type sessionStream = grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]

// scripted is a broker that does what a test says.
type scripted struct {
	pb.UnimplementedLockServiceServer
	session func(sessionStream) error
	// releases has the lock ids that it was asked to release; nil if it is not to be asked.
	releases chan string
}

func (s *scripted) Session(stream sessionStream) error { return s.session(stream) }

func (s *scripted) Release(_ context.Context, request *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	s.releases <- request.GetLockId()
	return &pb.ReleaseResponse{Outcome: pb.ReleaseResponse_OUTCOME_RELEASED}, nil
}

// startScripted starts one that is not asked to release, and returns where it listens.
func startScripted(t *testing.T, session func(sessionStream) error) string {
	t.Helper()
	return (&scripted{session: session}).start(t)
}

func (s *scripted) start(t *testing.T) string {
	t.Helper()
	return serve(t, s)
}

// serve starts a server, and returns where it listens.
func serve(t *testing.T, service pb.LockServiceServer) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	pb.RegisterLockServiceServer(server, service)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func opened(ttl time.Duration) *pb.SessionResponse {
	return &pb.SessionResponse{Kind: &pb.SessionResponse_Opened{Opened: &pb.SessionOpened{
		Ttl: durationpb.New(ttl), ExpiresAfterOpen: durationpb.New(ttl * 13 / 15), HeartbeatInterval: durationpb.New(ttl / 3),
	}}}
}

func acquired(ref int64, id string) *pb.SessionResponse {
	return event(ref, &pb.LockEvent{Kind: &pb.LockEvent_Acquired{Acquired: &pb.Acquired{LockId: id, FencingToken: 7}}})
}

func event(ref int64, event *pb.LockEvent) *pb.SessionResponse {
	return &pb.SessionResponse{Kind: &pb.SessionResponse_Event{Event: &pb.SessionEvent{LockRef: ref, Event: event}}}
}

// unknown is a message of a later version.
func unknown() *pb.SessionResponse {
	response := &pb.SessionResponse{}
	field := protowire.AppendTag(nil, 999, protowire.BytesType)
	response.ProtoReflect().SetUnknown(protowire.AppendString(field, "of a later version"))
	return response
}

// script says things, one after the other, after each request that it waits for. It ends with an error that is among them.
func script(stream sessionStream, says ...any) error {
	for _, said := range says {
		switch said := said.(type) {
		case string:
			request, err := stream.Recv()
			if err != nil {
				return err
			}
			if kind := fmt.Sprintf("%T", request.GetKind()); !strings.HasSuffix(kind, said) {
				return fmt.Errorf("%s came in the place of %s", kind, said)
			}
		case *pb.SessionResponse:
			if err := stream.Send(said); err != nil {
				return err
			}
		case error:
			return said
		}
	}
	<-stream.Context().Done()
	return nil
}

func TestABrokerOfALaterVersionIsUnderstood(t *testing.T) {
	t.Parallel()
	ack := &pb.SessionResponse{Kind: &pb.SessionResponse_HeartbeatAck{HeartbeatAck: &pb.HeartbeatAck{
		Seq: 77, ExpiresAfterHeartbeat: durationpb.New(time.Hour),
	}}}
	server := startScripted(t, func(stream sessionStream) error {
		return script(stream, "Open", opened(15*time.Second), unknown(), "Begin", unknown(), event(1, &pb.LockEvent{}),
			event(99, &pb.LockEvent{Kind: &pb.LockEvent_Lost{Lost: &pb.Lost{}}}), ack, acquired(1, "id"), ack, opened(time.Hour))
	})
	lock := acquire(t, connect(t, server, lockbroker.AnswerTimeout(time.Second)), "later")
	// Nothing of an acknowledgement that was never asked for, or of a second `opened`, is believed.
	if lock.Token() != 7 || lock.ID() != "id" || lock.Remaining() > 13*time.Second || lock.TTL() != 15*time.Second {
		t.Errorf("have %v, ttl %v", lock, lock.TTL())
	}
}

func TestABrokerThatMakesNoSenseIsLeft(t *testing.T) {
	t.Parallel()
	good := brokertest.StartBroker(t)
	for name, session := range map[string]func(sessionStream) error{
		"speaks before it is open": func(stream sessionStream) error { return script(stream, "Open", acquired(1, "id")) },
		"opens without durations": func(stream sessionStream) error {
			return script(stream, "Open", &pb.SessionResponse{Kind: &pb.SessionResponse_Opened{Opened: &pb.SessionOpened{}}})
		},
		"ends at once": func(sessionStream) error { return nil },
		"never opens":  func(stream sessionStream) error { return script(stream, "Open") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := startScripted(t, session)
			client := connect(t, bad, lockbroker.AnswerTimeout(500*time.Millisecond))
			if _, err := client.TryLock(t.Context(), "senseless"); err == nil {
				t.Error("it is believed")
			}
			lock, err := connect(t, bad+","+good.URL).TryLock(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			release(t, lock)
		})
	}
}

// The session and the single calls turn from a broker together.
func TestAReleaseIsNotAskedOfTheBrokerThatWasJustLeft(t *testing.T) {
	t.Parallel()
	left := &scripted{releases: make(chan string, 9), session: func(stream sessionStream) error {
		return script(stream, "Open", opened(15*time.Second), "Begin", acquired(1, "id"), "End", errors.New("it breaks"))
	}}
	next := &scripted{releases: make(chan string, 9), session: func(stream sessionStream) error { return script(stream) }}
	release(t, acquire(t, connect(t, left.start(t)+","+next.start(t)), "left"))
	if len(left.releases) != 0 || len(next.releases) != 1 || <-next.releases != "id" {
		t.Errorf("the broker that was left is asked %d times, the other %d times", len(left.releases), len(next.releases))
	}
}

// A broker that grants and then answers no heartbeat is left when its silence has lasted for half the ttl. The reattach at the
// other one is answered, and that answer comes too late.
func TestAnAnswerThatComesTooLateRevivesNothing(t *testing.T) {
	t.Parallel()
	const ttl = 900 * time.Millisecond
	silent := startScripted(t, func(stream sessionStream) error {
		return script(stream, "Open", opened(ttl), "Begin", acquired(1, "id"))
	})
	late := startScripted(t, func(stream sessionStream) error {
		go func() {
			time.Sleep(ttl)
			_ = stream.Send(acquired(1, "late"))
		}()
		return script(stream, "Open", opened(ttl), "Begin")
	})
	lock := acquire(t, connect(t, silent+","+late), "late")
	waitFor(t, "the loss", lock.Lost())
	wantLost(t, lock.Check(), lockbroker.LostExpired)
	time.Sleep(ttl)
	if lock.ID() != "id" || lock.Remaining() != 0 {
		t.Errorf("revived: %v", lock)
	}
}

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

func (t *testee) bare(ctx context.Context, told command) (answer, error) {
	if _, err := cycles(ctx, told.Server, told.Name, 1); err != nil {
		return nil, err
	}
	return ok()
}

func (t *testee) bareCycle(ctx context.Context, told command) (answer, error) {
	took, err := cycles(ctx, told.Server, told.Name, told.Count)
	return answer{"nanos": took.Nanoseconds()}, err
}

// cycles acquires and releases by the generated stub alone: begins a lock on a Session and ends it, as the client does. It
// returns the time that it took, without that for the connection.
func cycles(ctx context.Context, server, name string, count int) (time.Duration, error) {
	target := strings.TrimPrefix(server, "http://")
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	stream, err := pb.NewLockServiceClient(conn).Session(ctx)
	if err != nil {
		return 0, err
	}
	session := &bareSession{stream}
	open := &pb.SessionRequest{Kind: &pb.SessionRequest_Open{Open: &pb.OpenSession{}}}
	if err := session.ask(open, "Opened"); err != nil {
		return 0, err
	}
	began := time.Now()
	beat, beatAt := int64(1), began.Add(time.Second)
	for ref := int64(1); ref <= int64(count); ref++ {
		if time.Now().After(beatAt) {
			beatAt = beatAt.Add(time.Second)
			heartbeat := &pb.SessionRequest_Heartbeat{Heartbeat: &pb.Heartbeat{Seq: beat}}
			beat++
			if err := session.Send(&pb.SessionRequest{Kind: heartbeat}); err != nil {
				return 0, err
			}
		}
		begin := &pb.SessionRequest_Begin{Begin: &pb.BeginLock{LockRef: ref, Lock: &pb.LockSpec{Name: name}}}
		if err := session.ask(&pb.SessionRequest{Kind: begin}, "Acquired"); err != nil {
			return 0, err
		}
		end := &pb.SessionRequest_End{End: &pb.EndLock{LockRef: ref}}
		if err := session.ask(&pb.SessionRequest{Kind: end}, "Released"); err != nil {
			return 0, err
		}
	}
	return time.Since(began), session.CloseSend()
}

type bareSession struct {
	grpc.BidiStreamingClient[pb.SessionRequest, pb.SessionResponse]
}

// ask sends a request, and waits for the answer of that kind. Answers to heartbeats may come before.
func (s *bareSession) ask(request *pb.SessionRequest, kind string) error {
	if err := s.Send(request); err != nil {
		return err
	}
	for {
		response, err := s.Recv()
		if err != nil {
			return err
		}
		got := fmt.Sprintf("%T", response.GetKind())
		if event := response.GetEvent(); event != nil {
			got = fmt.Sprintf("%T", event.GetEvent().GetKind())
		}
		switch {
		case strings.HasSuffix(got, "_"+kind):
			return nil
		case !strings.HasSuffix(got, "_HeartbeatAck"):
			return fmt.Errorf("%s instead of %s", got, kind)
		}
	}
}

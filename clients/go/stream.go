package lockbroker

import (
	"context"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// goodbye is the longest time for which a stream is closed in good order. A broker would take a reset for silence.
const goodbye = time.Second

// stream is a Session stream on a connection of its own. Two goroutines send and receive, so that the session never waits
// for the network, and so that each of the two is done by one goroutine at a time.
type stream struct {
	id core.LinkID
	// ctx ends with the stream. It is not that of a call: the locks would end with the call.
	ctx    context.Context
	cancel context.CancelFunc
	// ended is closed when nothing more is received.
	ended chan struct{}
	// channel is nil until it stands.
	channel *channel

	mu sync.Mutex
	// queue has what is to be sent.
	queue []*pb.SessionRequest
	// isClosing: the sending side is to be closed behind the queue.
	isClosing bool
	// wake has room for one, and is full when there is something to do.
	wake chan struct{}
}

func newStream(id core.LinkID) *stream {
	ctx, cancel := context.WithCancel(context.Background())
	return &stream{id: id, ctx: ctx, cancel: cancel, ended: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// send queues a message. It never waits.
func (s *stream) send(request *pb.SessionRequest) {
	s.mu.Lock()
	s.queue = append(s.queue, request)
	s.mu.Unlock()
	s.signal()
}

func (s *stream) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run opens the Session, and passes on what is received until it ends.
func (s *stream) run(receive func(*pb.SessionResponse), end func(error)) {
	defer close(s.ended)
	session, err := pb.NewLockServiceClient(s.channel.conn).Session(s.ctx)
	if err != nil {
		end(err)
		return
	}
	go s.write(session)
	for {
		response, err := session.Recv()
		if err != nil {
			end(err)
			return
		}
		receive(response)
	}
}

// write sends what is queued until the stream ends.
func (s *stream) write(session grpc.BidiStreamingClient[pb.SessionRequest, pb.SessionResponse]) {
	for {
		select {
		case <-s.wake:
		case <-s.ended:
			return
		}
		s.mu.Lock()
		queue, isClosing := s.queue, s.isClosing
		s.queue = nil
		s.mu.Unlock()
		for _, request := range queue {
			// Fails only when the stream has ended; the receiving side tells why.
			if err := session.Send(request); err != nil {
				return
			}
		}
		if isClosing {
			_ = session.CloseSend()
			return
		}
	}
}

// close sends what is queued, closes the stream, which releases everything on it, and then the connection. It waits for
// goodbye at most.
func (s *stream) close() {
	if s.channel != nil {
		s.mu.Lock()
		s.isClosing = true
		s.mu.Unlock()
		s.signal()
		select {
		case <-s.ended:
		case <-time.After(goodbye):
		}
		s.channel.conn.Close()
	}
	s.cancel()
}

// endedFailure is the status of a stream that ended without one.
func endedFailure(err error) core.Failure {
	if err == io.EOF {
		return core.Unavailable("the broker ended the Session")
	}
	return fromError(err)
}

package lockbrokertest

import (
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockbroker/lockbroker/clients/go"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// lock is a lock of the broker's. The broker's mutex protects it, and all that it refers to.
type lock struct {
	name string
	// holder is nil if nobody has it.
	holder  *grant
	waiters []*request
	// lingers is until when nobody can have it.
	lingers time.Time
	// failures are what the next requests fail with.
	failures []lockbroker.ErrorReason
}

// grant is a lock that somebody has.
type grant struct {
	id     string
	token  int64
	owner  string
	linger time.Duration
	// session is nil if no client of this broker has it.
	session *session
	ref     int64
}

// drop takes the grant off its session.
func (g *grant) drop() {
	if g.session != nil {
		delete(g.session.locks, g.ref)
	}
}

// request is somebody who asks for a lock.
type request struct {
	session *session
	ref     int64
	owner   string
	linger  time.Duration
	// timer ends the wait; nil if nothing does.
	timer *time.Timer
}

// lose makes the holder lose the lock, if there is one.
func (l *lock) lose(reason pb.Lost_Reason) {
	if l.holder == nil {
		return
	}
	if reason == pb.Lost_REASON_UNSPECIFIED {
		reason = pb.Lost_REASON_EXPIRED
	}
	if l.holder.session != nil {
		l.holder.session.say(l.holder.ref, &pb.LockEvent{Kind: &pb.LockEvent_Lost{Lost: &pb.Lost{Reason: reason}}})
	}
	l.holder.drop()
	l.holder = nil
}

func (l *lock) removeWaiter(waiter *request) {
	if waiter.timer != nil {
		waiter.timer.Stop()
	}
	l.waiters = slices.DeleteFunc(l.waiters, func(each *request) bool { return each == waiter })
}

// session is a client's stream.
type session struct {
	broker *Broker
	stream grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]
	// locks are those that it has or waits for, by its handle.
	locks map[int64]*lock
	// queue has what is to be said; a goroutine says it, so that nobody waits for a client.
	queue chan *pb.SessionResponse
}

// queueSize is more than any test lets gather.
const queueSize = 1 << 16

func (s *service) Session(stream grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	session := &session{
		broker: s.broker, stream: stream, locks: map[int64]*lock{}, queue: make(chan *pb.SessionResponse, queueSize),
	}
	s.broker.mu.Lock()
	s.broker.sessions[session] = true
	s.broker.mu.Unlock()
	said := make(chan struct{})
	go func() {
		defer close(said)
		for response := range session.queue {
			if stream.Send(response) != nil {
				return
			}
		}
	}()
	for {
		request, err := stream.Recv()
		if err != nil {
			break
		}
		session.take(request)
	}
	session.end()
	<-said
	return nil
}

// end releases everything, as the end of a stream does.
func (s *session) end() {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	delete(s.broker.sessions, s)
	for ref := range s.locks {
		s.giveUp(ref)
	}
	close(s.queue)
}

func (s *session) take(request *pb.SessionRequest) {
	s.broker.mu.Lock()
	defer s.broker.mu.Unlock()
	switch kind := request.GetKind().(type) {
	case *pb.SessionRequest_Open:
		s.send(&pb.SessionResponse{Kind: &pb.SessionResponse_Opened{Opened: &pb.SessionOpened{
			Ttl: span(s.broker.ttl), ExpiresAfterOpen: span(s.broker.validity()), HeartbeatInterval: span(s.broker.ttl / 3),
		}}})
	case *pb.SessionRequest_Heartbeat:
		s.send(&pb.SessionResponse{Kind: &pb.SessionResponse_HeartbeatAck{HeartbeatAck: &pb.HeartbeatAck{
			Seq: kind.Heartbeat.GetSeq(), ExpiresAfterHeartbeat: span(s.broker.validity()),
		}}})
	case *pb.SessionRequest_Begin:
		s.begin(kind.Begin)
	case *pb.SessionRequest_End:
		ref := kind.End.GetLockRef()
		if lock := s.locks[ref]; lock != nil {
			if s.giveUp(ref) {
				s.say(ref, &pb.LockEvent{Kind: &pb.LockEvent_Released{Released: &pb.Released{}}})
			} else {
				s.refuse(ref, pb.NotAcquired_REASON_CANCELLED, "")
			}
		}
	}
}

// giveUp releases a lock, and returns true, or gives up the wait for it.
func (s *session) giveUp(ref int64) bool {
	lock := s.locks[ref]
	delete(s.locks, ref)
	if holder := lock.holder; holder != nil && holder.session == s && holder.ref == ref {
		s.broker.release(lock)
		return true
	}
	for _, waiter := range lock.waiters {
		if waiter.session == s && waiter.ref == ref {
			lock.removeWaiter(waiter)
			break
		}
	}
	return false
}

func (s *session) begin(begin *pb.BeginLock) {
	ref, lock := begin.GetLockRef(), s.broker.lock(begin.GetLock().GetName())
	if len(lock.failures) > 0 {
		reason := lock.failures[0]
		lock.failures = lock.failures[1:]
		code, found := statuses[reason]
		if !found {
			code = codes.Unavailable
		}
		s.say(ref, &pb.LockEvent{Kind: &pb.LockEvent_Failed{Failed: &pb.Failed{
			Code: int32(code), Message: "as the test wants it", Reason: string(reason), RetryAfter: span(50 * time.Millisecond),
		}}})
		return
	}
	if id := begin.GetReattachLockId(); id != "" {
		s.reattach(lock, ref, id)
		return
	}
	asks := &request{
		session: s, ref: ref, owner: begin.GetLock().GetOwner(), linger: begin.GetLock().GetLinger().AsDuration(),
	}
	lingers := time.Now().Before(lock.lingers)
	switch {
	case lock.holder == nil && !lingers:
		s.broker.grant(lock, asks)
	case begin.GetWait() != nil:
		s.wait(lock, asks, begin.GetWait().GetMaxWait())
	case lock.holder != nil:
		s.refuse(ref, pb.NotAcquired_REASON_HELD, lock.holder.owner)
	default:
		s.refuse(ref, pb.NotAcquired_REASON_LINGERING, "")
	}
}

// wait puts a request into the queue.
func (s *session) wait(lock *lock, asks *request, limit *durationpb.Duration) {
	if limit != nil {
		asks.timer = time.AfterFunc(limit.AsDuration(), func() {
			s.broker.mu.Lock()
			defer s.broker.mu.Unlock()
			if !slices.Contains(lock.waiters, asks) {
				return
			}
			lock.removeWaiter(asks)
			delete(s.locks, asks.ref)
			owner := ""
			if lock.holder != nil {
				owner = lock.holder.owner
			}
			s.refuse(asks.ref, pb.NotAcquired_REASON_MAX_WAIT, owner)
		})
	}
	s.locks[asks.ref] = lock
	lock.waiters = append(lock.waiters, asks)
	s.say(asks.ref, &pb.LockEvent{Kind: &pb.LockEvent_Queued{Queued: &pb.Queued{Position: int32(len(lock.waiters))}}})
	// It may be that nobody has it and it lingers.
	s.broker.grantNext(lock)
}

// reattach takes over a grant.
func (s *session) reattach(lock *lock, ref int64, id string) {
	if lock.holder == nil || lock.holder.id != id {
		s.refuse(ref, pb.NotAcquired_REASON_NOT_REATTACHABLE, "")
		return
	}
	grant := *lock.holder
	lock.lose(pb.Lost_REASON_TAKEN_OVER)
	grant.id, grant.session, grant.ref = newID(), s, ref
	lock.holder = &grant
	s.locks[ref] = lock
	s.acquired(&grant)
}

func (s *session) acquired(grant *grant) {
	s.say(grant.ref, &pb.LockEvent{Kind: &pb.LockEvent_Acquired{Acquired: &pb.Acquired{
		LockId: grant.id, FencingToken: grant.token,
	}}})
}

func (s *session) refuse(ref int64, reason pb.NotAcquired_Reason, owner string) {
	s.say(ref, &pb.LockEvent{Kind: &pb.LockEvent_NotAcquired{NotAcquired: &pb.NotAcquired{Reason: reason, Owner: owner}}})
}

// say tells the client of an event of a lock.
func (s *session) say(ref int64, event *pb.LockEvent) {
	s.send(&pb.SessionResponse{Kind: &pb.SessionResponse_Event{Event: &pb.SessionEvent{LockRef: ref, Event: event}}})
}

// send says something, unless the broker is silent or the stream is over.
func (s *session) send(response *pb.SessionResponse) {
	if s.broker.sessions[s] && !s.broker.isSilent {
		s.queue <- response
	}
}

// validity is what a broker tells of a ttl: 13 s of 15 s.
func (b *Broker) validity() time.Duration { return b.ttl * 13 / 15 }

func span(span time.Duration) *durationpb.Duration { return durationpb.New(span) }

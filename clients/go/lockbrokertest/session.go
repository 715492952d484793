package lockbrokertest

import (
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// grant is a lock that somebody has.
type grant struct {
	id    string
	token int64
	// permit is that of a shared lock, or alone.
	permit int32
	owner  string
	linger time.Duration
	// heldUntil is until when nobody else can have it.
	heldUntil time.Time
	// isKept: the end of its session does not release it.
	isKept bool
	// session is nil if it is on no stream.
	session *session
	ref     int64
	// expiry ends it after the ttl, if it is on no stream; nil if nothing does.
	expiry *time.Timer
	// requestID is that of the call that got the lease; empty for none.
	requestID string
}

// drop takes the grant off its session.
func (g *grant) drop() {
	if g.session != nil {
		delete(g.session.locks, g.ref)
	}
	if g.expiry != nil {
		g.expiry.Stop()
	}
}

// acquired is what a client is told of a grant.
func (g *grant) acquired() *pb.Acquired {
	acquired := &pb.Acquired{LockId: g.id, FencingToken: g.token}
	if g.permit != alone {
		acquired.Permit = &g.permit
	}
	return acquired
}

// sayReleased tells the client that the lock was released.
func (g *grant) sayReleased() {
	if g.session != nil {
		g.session.say(g.ref, &pb.LockEvent{Kind: &pb.LockEvent_Released{Released: &pb.Released{}}})
	}
}

// request is somebody who asks for a lock.
type request struct {
	// session is nil if a lease is asked for.
	session *session
	ref     int64
	owner   string
	// limit is above the permit that is asked for; 0 for who wants the lock alone.
	limit   int32
	linger  time.Duration
	minHold time.Duration
	isKept  bool
	// requestID and answer are those of a call for a lease.
	requestID string
	answer    chan *pb.AcquireLeaseResponse
	// timer ends the wait; nil if nothing does.
	timer *time.Timer
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
	for ref, lock := range s.locks {
		if grant := lock.at(s, ref); grant != nil && grant.isKept {
			grant.session = nil
			s.broker.expire(lock, grant, s.broker.ttl)
			continue
		}
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
	if grant := lock.at(s, ref); grant != nil {
		s.broker.release(lock, grant)
		return true
	}
	for _, waiter := range lock.waiters {
		if waiter.session == s && waiter.ref == ref {
			lock.removeWaiter(waiter)
			s.broker.grantNext(lock)
			break
		}
	}
	return false
}

func (s *session) begin(begin *pb.BeginLock) {
	ref, lock := begin.GetLockRef(), s.broker.lock(begin.GetLock().GetName())
	if code, reason := lock.failure(); code != codes.OK {
		s.fail(ref, &pb.Failed{Code: int32(code), Message: failureText, Reason: string(reason), RetryAfter: span(retryAfter)})
		return
	}
	asks := newRequest(begin.GetLock())
	asks.session, asks.ref = s, ref
	if id := begin.GetReattachLockId(); id != "" {
		s.reattach(lock, id, asks)
		return
	}
	s.broker.ask(lock, asks, begin.GetWait())
}

func newRequest(spec *pb.LockSpec) *request {
	return &request{
		limit: limitOf(spec),
		owner: spec.GetOwner(), linger: spec.GetLinger().AsDuration(), minHold: spec.GetMinHold().AsDuration(),
		isKept: spec.GetOnDisconnect() == pb.LockSpec_ON_DISCONNECT_KEEP,
	}
}

// ask grants the lock, or refuses it, or puts the request into the queue.
func (b *Broker) ask(lock *lock, asks *request, wait *pb.WaitSpec) {
	permit, isFree := lock.free(asks.limit)
	isKeptOut := permit != alone && lock.isWantedAlone()
	switch {
	case isFree && !isKeptOut:
		b.grant(lock, asks, permit)
	case wait != nil:
		b.wait(lock, asks, wait.GetMaxWait())
	case isKeptOut || len(lock.holders) > 0:
		asks.refuse(pb.NotAcquired_REASON_HELD, lock.owner())
	default:
		asks.refuse(pb.NotAcquired_REASON_LINGERING, "")
	}
}

// refuse says that the lock is not acquired.
func (r *request) refuse(reason pb.NotAcquired_Reason, owner string) {
	refusal := &pb.NotAcquired{Reason: reason, Owner: owner}
	if r.session == nil {
		r.answer <- &pb.AcquireLeaseResponse{Result: &pb.AcquireLeaseResponse_NotAcquired{NotAcquired: refusal}}
		return
	}
	r.session.say(r.ref, &pb.LockEvent{Kind: &pb.LockEvent_NotAcquired{NotAcquired: refusal}})
}

// wait puts a request into the queue.
func (b *Broker) wait(lock *lock, asks *request, limit *durationpb.Duration) {
	s := asks.session
	if limit != nil {
		asks.timer = time.AfterFunc(limit.AsDuration(), func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if !slices.Contains(lock.waiters, asks) {
				return
			}
			lock.removeWaiter(asks)
			if s != nil {
				delete(s.locks, asks.ref)
			}
			asks.refuse(pb.NotAcquired_REASON_MAX_WAIT, lock.owner())
			b.grantNext(lock)
		})
	}
	lock.waiters = append(lock.waiters, asks)
	if s != nil {
		s.locks[asks.ref] = lock
		s.say(asks.ref, &pb.LockEvent{Kind: &pb.LockEvent_Queued{Queued: &pb.Queued{Position: int32(len(lock.waiters))}}})
	}
	// It may be that nobody has it and it lingers.
	b.grantNext(lock)
}

// reattach takes over a grant, and shares it if it was held alone and that is asked for.
func (s *session) reattach(lock *lock, id string, asks *request) {
	held, ref := lock.named(id), asks.ref
	if held == nil {
		s.refuse(ref, pb.NotAcquired_REASON_NOT_REATTACHABLE, "")
		return
	}
	isShared := held.permit == alone && asks.limit > 0
	if isShared && time.Now().Before(held.heldUntil) {
		s.fail(ref, &pb.Failed{Code: int32(codes.InvalidArgument), Message: "a lock with a min_hold stays exclusive"})
		return
	}
	grant := *held
	lock.lose(held, pb.Lost_REASON_TAKEN_OVER)
	grant.id, grant.session, grant.ref, grant.expiry, grant.requestID = newID(), s, ref, nil, ""
	grant.isKept = asks.isKept
	if isShared {
		grant.permit, _ = lock.free(asks.limit)
	}
	lock.holders = append(lock.holders, &grant)
	s.locks[ref] = lock
	s.acquired(&grant)
	s.broker.grantNext(lock)
}

func (s *session) fail(ref int64, failed *pb.Failed) {
	s.say(ref, &pb.LockEvent{Kind: &pb.LockEvent_Failed{Failed: failed}})
}

func (s *session) acquired(grant *grant) {
	s.say(grant.ref, &pb.LockEvent{Kind: &pb.LockEvent_Acquired{Acquired: grant.acquired()}})
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

package lockbroker

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lockbroker/lockbroker/clients/go/internal/clock"
	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// longestSleep is the longest sleep of the session. Leases run on while the machine is suspended and timers do not, so it
// may notice that late that something has run out.
const longestSleep = time.Second

// session is behind a client: it does what the core says, and tells it what happens. One goroutine has all of it.
type session struct {
	brokers       *brokers
	ttl           *time.Duration
	answerTimeout time.Duration
	logger        *slog.Logger
	// events are run by the session's goroutine, one after the other. It has no room, so that each is run or refused.
	events chan func()
	// ended is closed when nothing is run any more.
	ended chan struct{}

	core    *core.Core
	callers map[core.Key]*caller
	streams map[core.LinkID]*stream
	// disagreement is the latest reason for which the two sides cannot talk.
	disagreement *Error
	// closeBy is when an ending session waits no longer; nil while it is not ending.
	closeBy *clock.Moment
	// isDone: nothing more is to be done, but for what is closed.
	isDone bool
	// closing are the streams that are being closed.
	closing sync.WaitGroup
}

// caller is told what becomes of a lock.
type caller struct {
	name string
	// answer has room for one, and is told of the grant or why there is none.
	answer chan answer
	// hold is nil until the lock is granted.
	hold *hold
}

// answer is the outcome of a call.
type answer struct {
	hold *hold
	// grants are those of all its locks, in the order of their names. The ids in them may be out of date.
	grants []core.Grant
	err    error
}

func newSession(brokers *brokers, settings settings) *session {
	told := core.Settings{Endpoints: brokers.names(), AnswerTimeout: settings.answerTimeout}
	return &session{
		brokers:       brokers,
		ttl:           settings.ttl,
		answerTimeout: settings.answerTimeout,
		logger:        settings.logger,
		events:        make(chan func()),
		ended:         make(chan struct{}),
		core:          core.New(told, rand.Float64, clock.Now()),
		callers:       map[core.Key]*caller{},
		streams:       map[core.LinkID]*stream{},
	}
}

// do runs event on the session's goroutine, and does not wait for it. It is false if the session has ended.
func (s *session) do(event func()) bool {
	select {
	case s.events <- event:
		return true
	case <-s.ended:
		return false
	}
}

// run runs until the session has been closed.
func (s *session) run() {
	defer close(s.ended)
	timer := time.NewTimer(longestSleep)
	defer timer.Stop()
	for !s.isOver() {
		var due <-chan time.Time
		if at := min(s.core.Due(), s.giveUpAt()); at != clock.Never {
			timer.Reset(min(at.Remaining(), longestSleep))
			due = timer.C
		}
		select {
		case event := <-s.events:
			event()
		case <-due:
			s.step(core.Timeout{})
		}
	}
	s.isDone = true
	for _, stream := range s.streams {
		s.hangUp(stream)
	}
	s.awaitClosing()
	for key, caller := range s.callers {
		s.end(key, unavailable(caller.name, "the client was closed before a broker confirmed the release"))
	}
}

// awaitClosing waits until all streams are closed. Meanwhile it takes what they still say.
func (s *session) awaitClosing() {
	closed := make(chan struct{})
	go func() {
		s.closing.Wait()
		close(closed)
	}()
	for {
		select {
		case event := <-s.events:
			event()
		case <-closed:
			return
		}
	}
}

// close releases everything and ends the session, after within at the latest.
func (s *session) close(within time.Duration) {
	if s.closeBy != nil {
		return
	}
	closeBy := clock.Now().Add(within)
	s.closeBy = &closeBy
	for key, caller := range s.callers {
		if caller.hold != nil {
			caller.hold.finish(closedError(caller.name))
		} else {
			s.end(key, closedError(caller.name))
		}
		s.step(core.End{Key: key})
	}
}

func (s *session) isOver() bool {
	return s.closeBy != nil && (len(s.callers) == 0 && s.core.IsEmpty() || s.closeBy.HasPassed())
}

func (s *session) giveUpAt() clock.Moment {
	if s.closeBy == nil {
		return clock.Never
	}
	return *s.closeBy
}

// begin asks for a lock.
func (s *session) begin(acquire core.Acquire, answered chan answer) {
	if s.closeBy != nil {
		answered <- answer{err: closedError(acquire.Spec.Name)}
		return
	}
	s.callers[acquire.Key] = &caller{name: acquire.Spec.Name, answer: answered}
	s.step(acquire)
}

// giveUp ends a lock, or the wait for it. It does nothing if the lock has ended.
func (s *session) giveUp(key core.Key) {
	caller := s.callers[key]
	if caller == nil {
		return
	}
	if caller.hold == nil {
		delete(s.callers, key)
	}
	s.step(core.End{Key: key})
}

// step tells the core what has happened, and does what it says.
func (s *session) step(input core.Input) {
	if s.isDone {
		return
	}
	endpoint := s.core.NextEndpoint()
	outputs := s.core.Handle(clock.Now(), input)
	if s.core.NextEndpoint() != endpoint {
		// Single calls turn from it too. What is to be released elsewhere is not asked of a broker that was just left.
		s.brokers.turnFrom(endpoint)
	}
	for _, output := range outputs {
		s.carryOut(output)
	}
	// These change what all locks of a stream may believe in.
	concernsAll := false
	switch input := input.(type) {
	case core.Ended:
		concernsAll = true
	case core.Received:
		_, concernsAll = input.Message.(core.HeartbeatAck)
	}
	if concernsAll {
		for key := range s.callers {
			s.publish(key)
		}
	}
}

// publish tells a guard for how long its lock is valid. A guard that has seen its lock run out since the core looked is
// believed: the lock is given up.
func (s *session) publish(key core.Key) {
	caller := s.callers[key]
	if caller == nil || caller.hold == nil {
		return
	}
	if held, ok := s.core.Held(key); ok && !caller.hold.publish(held) {
		s.step(core.End{Key: key})
	}
}

func (s *session) carryOut(output core.Output) {
	switch output := output.(type) {
	case core.Dial:
		s.dial(output.Link, s.brokers.all[output.Endpoint])
	case core.Send:
		if stream := s.streams[output.Link]; stream != nil {
			stream.send(toRequest(output.Request, s.ttl))
			if _, isOpen := output.Request.(core.Open); isOpen {
				go stream.run(s.receiver(stream))
			}
		}
	case core.Hangup:
		if stream := s.streams[output.Link]; stream != nil {
			s.hangUp(stream)
		}
	case core.Granted:
		s.granted(output)
	case core.Moved:
		s.logger.Debug("lock reattached", "lock", s.nameOf(output.Key))
		s.publish(output.Key)
		s.bringAlong(output.Key)
	case core.NotShared:
		if caller := s.callers[output.Key]; caller != nil && caller.hold != nil {
			caller.hold.refuseToShare(fromFailure(caller.name, output.Failure))
		}
	case core.Refused:
		s.refused(output)
	case core.Failed:
		s.failed(output)
	case core.Lost:
		s.lost(output)
	case core.Released:
		s.end(output.Key, nil)
	case core.ReleaseElsewhere:
		go func() {
			_, err := s.brokers.release(output.Name, output.LockID)
			ended := core.ReleasedElsewhere{Key: output.Key}
			if err != nil {
				ended.Failure = toFailure(err)
			}
			s.do(func() { s.step(ended) })
		}()
	}
}

func (s *session) dial(id core.LinkID, broker *broker) {
	stream := newStream(id)
	s.streams[id] = stream
	go func() {
		channel, failure, disagreement := broker.connect(stream.ctx)
		taken := s.do(func() { s.dialled(stream, channel, failure, disagreement) })
		if !taken && channel != nil {
			channel.conn.Close()
		}
	}()
}

func (s *session) dialled(stream *stream, channel *channel, failure *core.Failure, disagreement *Error) {
	if s.streams[stream.id] != stream {
		if channel != nil {
			channel.conn.Close()
		}
		return
	}
	if failure != nil {
		delete(s.streams, stream.id)
		stream.cancel()
		s.remember(disagreement)
	}
	stream.channel = channel
	s.step(core.Dialled{Link: stream.id, Failure: failure})
}

// remember keeps the reason for which the two sides cannot talk, for those who wait.
func (s *session) remember(disagreement *Error) {
	if disagreement != nil {
		s.disagreement = disagreement
	}
}

// hangUp closes a stream, and hears nothing more of it.
func (s *session) hangUp(stream *stream) {
	s.logger.Debug("hanging up", "link", stream.id)
	delete(s.streams, stream.id)
	s.closing.Go(stream.close)
}

// receiver returns what a stream is to call with a message, and when it ends.
func (s *session) receiver(stream *stream) (func(*pb.SessionResponse), func(error)) {
	receive := func(response *pb.SessionResponse) {
		s.do(func() { s.received(stream, response) })
	}
	end := func(err error) {
		s.do(func() { s.streamEnded(stream, err) })
	}
	return receive, end
}

func (s *session) received(stream *stream, response *pb.SessionResponse) {
	if s.streams[stream.id] != stream {
		return
	}
	message, ok := fromResponse(response)
	if !ok {
		text := "`opened` lacks a duration, or has one that makes no sense"
		s.streamEnded(stream, status.Error(codes.Internal, text))
		return
	}
	s.step(core.Received{Link: stream.id, Message: message})
}

func (s *session) streamEnded(stream *stream, err error) {
	if s.streams[stream.id] != stream {
		return
	}
	delete(s.streams, stream.id)
	failure := endedFailure(err)
	if failure.Reason == "" {
		var disagreement *Error
		failure, disagreement = stream.channel.explain(failure)
		s.remember(disagreement)
	}
	s.logger.Debug("the stream has ended", "link", stream.id, "status", failure.Message)
	go func() {
		stream.cancel()
		stream.channel.conn.Close()
	}()
	s.step(core.Ended{Link: stream.id, Failure: failure})
}

func (s *session) granted(output core.Granted) {
	caller := s.callers[output.Key]
	held, ok := s.core.Held(output.Key)
	if caller == nil || !ok {
		return
	}
	caller.hold = newHold(caller.name, held)
	caller.answer <- answer{hold: caller.hold, grants: append([]core.Grant{output.Grant}, output.Also...)}
}

func (s *session) refused(output core.Refused) {
	s.end(output.Key, notAcquired(s.nameOf(output.Key), output.Refusal))
}

func (s *session) failed(output core.Failed) {
	made := fromFailure(s.nameOf(output.Key), output.Failure)
	if output.Failure.Code == core.CodeHandshake && s.disagreement != nil {
		copied := *s.disagreement
		copied.Lock = made.Lock
		made = &copied
	}
	s.end(output.Key, made)
}

func (s *session) lost(output core.Lost) {
	name := s.nameOf(output.Key)
	lost := &LostError{Lock: name, Reason: LostReason(output.Reason)}
	if caller := s.callers[output.Key]; caller != nil && caller.hold != nil {
		s.logger.Debug("lock lost", "lock", name, "reason", lost.Reason.String())
		caller.hold.lose(lost)
	}
	s.end(output.Key, lost)
}

// end tells the end of a lock, or of a call that has failed; err is nil if it was released.
func (s *session) end(key core.Key, err error) {
	caller := s.callers[key]
	if caller == nil {
		return
	}
	delete(s.callers, key)
	if caller.hold != nil {
		caller.hold.over(err)
		return
	}
	if err == nil {
		err = errors.New("lockbroker: a call ended without an answer")
	}
	caller.answer <- answer{err: err}
}

func (s *session) nameOf(key core.Key) string {
	if caller := s.callers[key]; caller != nil {
		return caller.name
	}
	return ""
}

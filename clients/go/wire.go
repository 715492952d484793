package lockbroker

import (
	"math"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lockbroker/lockbroker/clients/go/internal/core"
	pb "github.com/lockbroker/lockbroker/clients/go/lockbroker/v1"
)

// far is a span longer than anybody needs, and short enough to be added to any moment.
const far = math.MaxUint32 * time.Second

// toWire rounds up to whole milliseconds, as everywhere on the wire; nil if it is not set.
func toWire(span *time.Duration) *durationpb.Duration {
	if span == nil {
		return nil
	}
	rounded := span.Truncate(time.Millisecond)
	if rounded < *span {
		rounded += time.Millisecond
	}
	return durationpb.New(rounded)
}

// fromWire reads a duration. It is false if there is none or it makes no sense.
func fromWire(span *durationpb.Duration) (time.Duration, bool) {
	if span == nil || span.CheckValid() != nil || span.AsDuration() < 0 {
		return 0, false
	}
	return min(span.AsDuration(), far), true
}

// maybeFromWire reads a duration; nil if there is none or it makes no sense.
func maybeFromWire(span *durationpb.Duration) *time.Duration {
	if read, ok := fromWire(span); ok {
		return &read
	}
	return nil
}

// toRequest writes a message to a broker. ttl is that of Open; nil for the broker's default.
func toRequest(request core.Request, ttl *time.Duration) *pb.SessionRequest {
	switch request := request.(type) {
	case core.Open:
		return &pb.SessionRequest{Kind: &pb.SessionRequest_Open{Open: &pb.OpenSession{Ttl: toWire(ttl)}}}
	case core.Heartbeat:
		return &pb.SessionRequest{Kind: &pb.SessionRequest_Heartbeat{Heartbeat: &pb.Heartbeat{Seq: request.Seq}}}
	case core.EndLock:
		return &pb.SessionRequest{Kind: &pb.SessionRequest_End{End: &pb.EndLock{LockRef: int64(request.LockRef)}}}
	case core.Begin:
		begin := &pb.BeginLock{
			LockRef:        int64(request.LockRef),
			Lock:           toSpec(request.Spec),
			ReattachLockId: request.Reattach,
		}
		others := slices.Clone(request.Spec.Also)
		for len(others) < len(request.ReattachAlso) {
			// One more permit of the same lock.
			others = append(others, request.Spec.Name)
		}
		for at, name := range others {
			spec := request.Spec
			spec.Name, spec.Weight = name, nil
			also := &pb.AlsoLock{Lock: toSpec(spec)}
			if at < len(request.ReattachAlso) {
				also.ReattachLockId = request.ReattachAlso[at]
			}
			begin.Also = append(begin.Also, also)
		}
		if request.Wait != nil {
			begin.Wait = &pb.WaitSpec{
				MaxWait: toWire(request.Wait.MaxWait), PollInterval: toWire(request.Wait.PollInterval),
			}
		}
		return &pb.SessionRequest{Kind: &pb.SessionRequest_Begin{Begin: begin}}
	}
	panic("lockbroker: a request that has no message")
}

func toSpec(spec core.LockSpec) *pb.LockSpec {
	written := &pb.LockSpec{
		Name: spec.Name, Linger: toWire(spec.Linger), Owner: spec.Owner, MinHold: toWire(spec.MinHold), Value: spec.Value,
	}
	if spec.IsKept {
		written.OnDisconnect = pb.LockSpec_ON_DISCONNECT_KEEP
	}
	if spec.IsShared {
		written.Mode = pb.LockSpec_MODE_SHARED
	}
	if spec.Limit != nil {
		written.Limit = int32(*spec.Limit)
	}
	if spec.Weight != nil && *spec.Weight > 1 {
		written.Weight = int32(*spec.Weight)
	}
	return written
}

// fromResponse reads a message from a broker. It is false if the message makes no sense.
func fromResponse(response *pb.SessionResponse) (core.Message, bool) {
	switch kind := response.GetKind().(type) {
	case *pb.SessionResponse_Opened:
		ttl, hasTTL := fromWire(kind.Opened.GetTtl())
		expires, hasExpires := fromWire(kind.Opened.GetExpiresAfterOpen())
		interval, hasInterval := fromWire(kind.Opened.GetHeartbeatInterval())
		return core.Opened{TTL: ttl, ExpiresAfter: expires, HeartbeatInterval: interval},
			hasTTL && hasExpires && hasInterval && interval > 0
	case *pb.SessionResponse_HeartbeatAck:
		expires, ok := fromWire(kind.HeartbeatAck.GetExpiresAfterHeartbeat())
		if !ok {
			return core.Other{}, true
		}
		ack := core.HeartbeatAck{Seq: kind.HeartbeatAck.GetSeq(), ExpiresAfter: expires}
		for _, ref := range kind.HeartbeatAck.GetNotRenewed() {
			ack.NotRenewed = append(ack.NotRenewed, core.LockRef(ref))
		}
		return ack, true
	case *pb.SessionResponse_Event:
		ref := kind.Event.GetLockRef()
		if _, isDraining := kind.Event.GetEvent().GetKind().(*pb.LockEvent_Draining); isDraining && ref == 0 {
			return core.Draining{}, true
		}
		if event := fromEvent(kind.Event.GetEvent()); event != nil {
			return core.LockEvent{LockRef: core.LockRef(ref), Event: event}, true
		}
	}
	// A broker may say more than this client knows.
	return core.Other{}, true
}

// fromEvent reads an event of a lock; nil if it says nothing here.
func fromEvent(event *pb.LockEvent) core.Event {
	switch kind := event.GetKind().(type) {
	case *pb.LockEvent_Acquired:
		acquired := core.WasAcquired{Grant: toGrant(kind.Acquired, kind.Acquired.Permit)}
		for _, also := range kind.Acquired.GetAlso() {
			acquired.Also = append(acquired.Also, toGrant(also, also.Permit))
		}
		return acquired
	case *pb.LockEvent_NotAcquired:
		reason := fromRefusal(kind.NotAcquired.GetReason())
		return core.WasRefused{Refusal: core.Refusal{
			Reason: reason, Owner: kind.NotAcquired.GetOwner(), Name: kind.NotAcquired.GetName(),
		}}
	case *pb.LockEvent_Lost:
		return core.WasLost{Reason: fromLoss(kind.Lost.GetReason())}
	case *pb.LockEvent_Released:
		return core.WasReleased{}
	case *pb.LockEvent_Failed:
		failed := kind.Failed
		return core.HasFailed{Failure: core.Failure{
			Code:       fromCode(codes.Code(failed.GetCode())),
			Message:    failed.GetMessage(),
			Reason:     failed.GetReason(),
			RetryAfter: maybeFromWire(failed.GetRetryAfter()),
		}}
	}
	return nil
}

// toGrant reads what a lock is granted with; permit is nil for one that is not shared.
func toGrant(granted interface {
	GetLockId() string
	GetFencingToken() int64
}, permit *int32) core.Grant {
	grant := core.Grant{LockID: granted.GetLockId(), FencingToken: granted.GetFencingToken()}
	if permit != nil && *permit >= 0 {
		number := int(*permit)
		grant.Permit = &number
	}
	return grant
}

func fromRefusal(reason pb.NotAcquired_Reason) core.RefusalReason {
	switch reason {
	case pb.NotAcquired_REASON_HELD:
		return core.RefusedHeld
	case pb.NotAcquired_REASON_LINGERING:
		return core.RefusedLingering
	case pb.NotAcquired_REASON_MAX_WAIT:
		return core.RefusedMaxWait
	case pb.NotAcquired_REASON_NOT_REATTACHABLE:
		return core.RefusedNotReattachable
	case pb.NotAcquired_REASON_CANCELLED:
		return core.RefusedCancelled
	}
	return core.RefusedUnknown
}

func fromLoss(reason pb.Lost_Reason) core.LostReason {
	switch reason {
	case pb.Lost_REASON_GONE:
		return core.LostGone
	case pb.Lost_REASON_TAKEN_OVER:
		return core.LostTakenOver
	case pb.Lost_REASON_REVOKED:
		return core.LostRevoked
	}
	return core.LostExpired
}

// fromCode reads a status. Where nobody has answered in time, it makes no difference which side's time it was.
func fromCode(code codes.Code) core.Code {
	if code == codes.DeadlineExceeded {
		return core.CodeUnavailable
	}
	return core.Code(code)
}

// fromError reads the status by which a call or a stream ended.
func fromError(err error) core.Failure {
	status := status.Convert(err)
	failure := core.Failure{Code: fromCode(status.Code()), Message: status.Message()}
	for _, detail := range status.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			if detail.GetDomain() == ErrorDomain {
				failure.Reason = detail.GetReason()
			}
		case *errdetails.RetryInfo:
			failure.RetryAfter = maybeFromWire(detail.GetRetryDelay())
		}
	}
	return failure
}

// Named locks over gRPC.
//
// A lock belongs to a session, a session is one stream, and the end of the stream releases the lock.
// A lease (AcquireLease) belongs to no stream: it ends with its ttl, unless it is renewed. Not getting a lock is an answer (`not_acquired`, status OK); only a failure is an error status.
//
// Durations: one that is not set takes the default that its field names; one that is set is taken at
// its word. Durations are rounded up to whole milliseconds. A negative one is INVALID_ARGUMENT, and so
// is one that protobuf forbids: seconds and nanos of different signs, nanos beyond 999,999,999, or
// seconds beyond 315,576,000,000.
//
// Validity: a field `expires_after_X` counts from when the client SENT X, never from when the answer
// came. So a client notes the time before it sends X, and may act until that time + the field. It
// counts by a clock that runs on while the machine is suspended. With a ttl of 15 s:
//
//   X                                sent at    the field says    the lock expires at
//   Acquire                          12:00:00   12.997 s          12:00:12.997
//   the same, at a Renewed 5 s later            17.996 s          12:00:17.996
//   WaitAcquire, granted after 40 s  12:00:00   52.989 s          12:00:52.989
//   a Session's open                 12:00:00   12.997 s          12:00:12.997
//   a Session's heartbeat            12:00:05   12.997 s          12:00:17.997
//
// The broker tells `lost` a thirtieth of the ttl (0.5 s here) before the end that it counts, and gives
// the lock to nobody before that end. A client does the same by its own count: from 12:00:12.497 on, in
// the first line, it takes the lock for lost and stops, whatever comes later.
//
// Errors: every error status has a google.rpc.ErrorInfo among its details, of the domain "lockbroker",
// with one of these reasons, and the lock's name as `lock` in its metadata where it is about one. A
// reason keeps its code and its meaning; texts may change; later versions may add reasons. UNAVAILABLE
// comes with a google.rpc.RetryInfo, INVALID_FIELD with a google.rpc.BadRequest that names the field.
//
//   INVALID_FIELD         INVALID_ARGUMENT    a field is wrong, and would be again
//   MALFORMED_MESSAGE     INTERNAL            the message is none of this service's
//   MESSAGE_TOO_LARGE     RESOURCE_EXHAUSTED  longer than 4 KiB, as it came or decompressed
//   UNSUPPORTED_ENCODING  UNIMPLEMENTED       compressed by something else than gzip
//   UNKNOWN_METHOD        UNIMPLEMENTED       there is no such method
//   UNKNOWN_SERVICE       NOT_FOUND           a health check of a service that there is not
//   UNKNOWN_CALLER        UNAUTHENTICATED     the policy knows nobody by this connection
//   POLICY_DENIED         PERMISSION_DENIED   the policy does not let this caller do that
//   ORIGIN_REFUSED        PERMISSION_DENIED   over HTTP: a web page of another site asks, or for a host that is not known
//   BROKER_DRAINING       UNAVAILABLE         the broker is going away: ask another one
//   STORE_UNAVAILABLE     UNAVAILABLE         the store did not answer, or not in time
//   STORE_QUARANTINED     UNAVAILABLE         the store lost its memory and grants nothing for a while
//   STORE_REFUSED         UNAVAILABLE         the store is not used until the operator mends it
//   STORE_FULL            RESOURCE_EXHAUSTED  the store has no memory for another lock
//   MAX_LOCKS             RESOURCE_EXHAUSTED  the broker holds as many locks as it may
//   MAX_WAITERS           RESOURCE_EXHAUSTED  as many wait at the broker as may
//   MAX_OBSERVERS         RESOURCE_EXHAUSTED  as many streams observe locks at the broker as may
//   MAX_CONCURRENT_RPCS   RESOURCE_EXHAUSTED  as many calls are under way as may be
//   MAX_STREAMS           RESOURCE_EXHAUSTED  as many streams are open at the broker as may be
//   QUOTA_LOCKS           RESOURCE_EXHAUSTED  the caller has as many locks here as its quota allows
//   QUOTA_WAITERS         RESOURCE_EXHAUSTED  as many of the caller's requests wait here as its quota allows
//   QUOTA_OBSERVERS       RESOURCE_EXHAUSTED  as many of the caller's streams observe locks here as its quota allows
//   QUOTA_RATE            RESOURCE_EXHAUSTED  the caller asks more often than its quota allows
//   REQUEST_INCOMPLETE    DEADLINE_EXCEEDED   the request did not come whole within a time
//   DEADLINE_OVER         DEADLINE_EXCEEDED   the call's deadline is over
//   LOST_EXPIRED          ABORTED             after `lost`: no renewal got through in time
//   LOST_GONE             ABORTED             after `lost`: the store no longer has the grant
//   LOST_TAKEN_OVER       ABORTED             after `lost`: another grant took its place
//   LOST_REVOKED          ABORTED             after `lost`: an operator revoked the lock
//   SESSION_SILENT        ABORTED             the Session's heartbeats were missing for too long
//   LIST_REFUSED          UNIMPLEMENTED       the store does not list its keys: memcached runs with -X
//   BROKER_FAULT          INTERNAL            the broker failed

// Code generated by protoc-gen-go-grpc. DO NOT EDIT.
// versions:
// - protoc-gen-go-grpc v1.6.1
// - protoc             v7.35.1
// source: lockbroker/v1/lockbroker.proto

package lockbrokerv1

import (
	context "context"
	grpc "google.golang.org/grpc"
	codes "google.golang.org/grpc/codes"
	status "google.golang.org/grpc/status"
)

// This is a compile-time assertion to ensure that this generated file
// is compatible with the grpc package it is being compiled against.
// Requires gRPC-Go v1.64.0 or later.
const _ = grpc.SupportPackageIsVersion9

const (
	LockService_Acquire_FullMethodName      = "/lockbroker.v1.LockService/Acquire"
	LockService_WaitAcquire_FullMethodName  = "/lockbroker.v1.LockService/WaitAcquire"
	LockService_Release_FullMethodName      = "/lockbroker.v1.LockService/Release"
	LockService_AcquireLease_FullMethodName = "/lockbroker.v1.LockService/AcquireLease"
	LockService_RenewLease_FullMethodName   = "/lockbroker.v1.LockService/RenewLease"
	LockService_GetLock_FullMethodName      = "/lockbroker.v1.LockService/GetLock"
	LockService_UpdateLock_FullMethodName   = "/lockbroker.v1.LockService/UpdateLock"
	LockService_Observe_FullMethodName      = "/lockbroker.v1.LockService/Observe"
	LockService_Session_FullMethodName      = "/lockbroker.v1.LockService/Session"
)

// LockServiceClient is the client API for LockService service.
//
// For semantics around ctx use and closing/ending streaming RPCs, please refer to https://pkg.go.dev/google.golang.org/grpc/?tab=doc#ClientConn.NewStream.
//
// Hands out named locks. Any broker of a deployment answers any call.
type LockServiceClient interface {
	// Tries once to take a lock. The first event is `acquired` or `not_acquired`. After `acquired` the
	// stream stays open for as long as the lock is wanted: cancelling it, or losing the connection,
	// releases the lock. Status: OK after `not_acquired` and `released`, ABORTED after `lost`,
	// INVALID_ARGUMENT, UNAVAILABLE (store away or in quarantine) or RESOURCE_EXHAUSTED otherwise.
	Acquire(ctx context.Context, in *AcquireRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[AcquireResponse], error)
	// Queues for a lock until it is granted or `max_wait` is over. The first event is `acquired`,
	// `not_acquired` or `queued`; `queued` is repeated every 5 s. Waits through a store that is away.
	// Everything else is as with Acquire.
	WaitAcquire(ctx context.Context, in *WaitAcquireRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[WaitAcquireResponse], error)
	// Releases the grant that a lock id names, from any connection and at any broker. Idempotent. A
	// stale id, or that of another lock, changes nothing; the outcome says so with status OK.
	Release(ctx context.Context, in *ReleaseRequest, opts ...grpc.CallOption) (*ReleaseResponse, error)
	// Takes a lock for a client that can hold no stream: a cron job, a web page, a function. The lock
	// stands for its ttl. RenewLease prolongs it, Release ends it, and so does the end of the ttl. The
	// answer comes when the lock is acquired, or when `max_wait` is over. A call that is cancelled before
	// it is answered leaves no lock behind. If the answer is lost on its way, the lock stands for its ttl;
	// with a `request_id` the call can be repeated, and is answered with the same lease.
	AcquireLease(ctx context.Context, in *AcquireLeaseRequest, opts ...grpc.CallOption) (*AcquireLeaseResponse, error)
	// Renews a lease for its ttl, at any broker. Only leases have this: a stream renews its own locks. An
	// error says nothing about the lease: try again, for as long as it is valid.
	RenewLease(ctx context.Context, in *RenewLeaseRequest, opts ...grpc.CallOption) (*RenewLeaseResponse, error)
	// Looks at a lock without touching it.
	GetLock(ctx context.Context, in *GetLockRequest, opts ...grpc.CallOption) (*GetLockResponse, error)
	// Gives the grant that a lock id names another `value`, from any connection and at any broker. The lock must have been asked for with
	// one. A stale id, or that of another lock, changes nothing; the outcome says so with status OK. UNAVAILABLE: the
	// value may have been updated or not, or somebody else has updated it at the same time. Try again; for a lock that was asked
	// for without a value, brokers that do not keep it say so each time.
	UpdateLock(ctx context.Context, in *UpdateLockRequest, opts ...grpc.CallOption) (*UpdateLockResponse, error)
	// Tells who holds a lock and with which `value`, at once and whenever that changes: what another broker does, within 1.2 s, or 4 s if the store is slow. The
	// last state is repeated every 5 s; who hears nothing for three times that long knows nothing any more. What is told is what this broker has
	// seen last. Between two answers a lock may have been free, or held by others, and a value may have been another one. A lower
	// fencing token is never told after a higher one. The stream has no end of its own: UNAVAILABLE if the broker goes
	// away. A policy allows it to whoever may GetLock.
	Observe(ctx context.Context, in *ObserveRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[ObserveResponse], error)
	// Many locks on one stream. The client sends `open` first and then heartbeats, and begins and ends
	// locks as it likes. Half-closing or cancelling the stream releases everything on it. A stream that
	// falls silent loses its locks when the validity that its client was last told is over.
	Session(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[SessionRequest, SessionResponse], error)
}

type lockServiceClient struct {
	cc grpc.ClientConnInterface
}

func NewLockServiceClient(cc grpc.ClientConnInterface) LockServiceClient {
	return &lockServiceClient{cc}
}

func (c *lockServiceClient) Acquire(ctx context.Context, in *AcquireRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[AcquireResponse], error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	stream, err := c.cc.NewStream(ctx, &LockService_ServiceDesc.Streams[0], LockService_Acquire_FullMethodName, cOpts...)
	if err != nil {
		return nil, err
	}
	x := &grpc.GenericClientStream[AcquireRequest, AcquireResponse]{ClientStream: stream}
	if err := x.ClientStream.SendMsg(in); err != nil {
		return nil, err
	}
	if err := x.ClientStream.CloseSend(); err != nil {
		return nil, err
	}
	return x, nil
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockService_AcquireClient = grpc.ServerStreamingClient[AcquireResponse]

func (c *lockServiceClient) WaitAcquire(ctx context.Context, in *WaitAcquireRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[WaitAcquireResponse], error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	stream, err := c.cc.NewStream(ctx, &LockService_ServiceDesc.Streams[1], LockService_WaitAcquire_FullMethodName, cOpts...)
	if err != nil {
		return nil, err
	}
	x := &grpc.GenericClientStream[WaitAcquireRequest, WaitAcquireResponse]{ClientStream: stream}
	if err := x.ClientStream.SendMsg(in); err != nil {
		return nil, err
	}
	if err := x.ClientStream.CloseSend(); err != nil {
		return nil, err
	}
	return x, nil
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockService_WaitAcquireClient = grpc.ServerStreamingClient[WaitAcquireResponse]

func (c *lockServiceClient) Release(ctx context.Context, in *ReleaseRequest, opts ...grpc.CallOption) (*ReleaseResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(ReleaseResponse)
	err := c.cc.Invoke(ctx, LockService_Release_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *lockServiceClient) AcquireLease(ctx context.Context, in *AcquireLeaseRequest, opts ...grpc.CallOption) (*AcquireLeaseResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(AcquireLeaseResponse)
	err := c.cc.Invoke(ctx, LockService_AcquireLease_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *lockServiceClient) RenewLease(ctx context.Context, in *RenewLeaseRequest, opts ...grpc.CallOption) (*RenewLeaseResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(RenewLeaseResponse)
	err := c.cc.Invoke(ctx, LockService_RenewLease_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *lockServiceClient) GetLock(ctx context.Context, in *GetLockRequest, opts ...grpc.CallOption) (*GetLockResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(GetLockResponse)
	err := c.cc.Invoke(ctx, LockService_GetLock_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *lockServiceClient) UpdateLock(ctx context.Context, in *UpdateLockRequest, opts ...grpc.CallOption) (*UpdateLockResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(UpdateLockResponse)
	err := c.cc.Invoke(ctx, LockService_UpdateLock_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (c *lockServiceClient) Observe(ctx context.Context, in *ObserveRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[ObserveResponse], error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	stream, err := c.cc.NewStream(ctx, &LockService_ServiceDesc.Streams[2], LockService_Observe_FullMethodName, cOpts...)
	if err != nil {
		return nil, err
	}
	x := &grpc.GenericClientStream[ObserveRequest, ObserveResponse]{ClientStream: stream}
	if err := x.ClientStream.SendMsg(in); err != nil {
		return nil, err
	}
	if err := x.ClientStream.CloseSend(); err != nil {
		return nil, err
	}
	return x, nil
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockService_ObserveClient = grpc.ServerStreamingClient[ObserveResponse]

func (c *lockServiceClient) Session(ctx context.Context, opts ...grpc.CallOption) (grpc.BidiStreamingClient[SessionRequest, SessionResponse], error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	stream, err := c.cc.NewStream(ctx, &LockService_ServiceDesc.Streams[3], LockService_Session_FullMethodName, cOpts...)
	if err != nil {
		return nil, err
	}
	x := &grpc.GenericClientStream[SessionRequest, SessionResponse]{ClientStream: stream}
	return x, nil
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockService_SessionClient = grpc.BidiStreamingClient[SessionRequest, SessionResponse]

// LockServiceServer is the server API for LockService service.
// All implementations must embed UnimplementedLockServiceServer
// for forward compatibility.
//
// Hands out named locks. Any broker of a deployment answers any call.
type LockServiceServer interface {
	// Tries once to take a lock. The first event is `acquired` or `not_acquired`. After `acquired` the
	// stream stays open for as long as the lock is wanted: cancelling it, or losing the connection,
	// releases the lock. Status: OK after `not_acquired` and `released`, ABORTED after `lost`,
	// INVALID_ARGUMENT, UNAVAILABLE (store away or in quarantine) or RESOURCE_EXHAUSTED otherwise.
	Acquire(*AcquireRequest, grpc.ServerStreamingServer[AcquireResponse]) error
	// Queues for a lock until it is granted or `max_wait` is over. The first event is `acquired`,
	// `not_acquired` or `queued`; `queued` is repeated every 5 s. Waits through a store that is away.
	// Everything else is as with Acquire.
	WaitAcquire(*WaitAcquireRequest, grpc.ServerStreamingServer[WaitAcquireResponse]) error
	// Releases the grant that a lock id names, from any connection and at any broker. Idempotent. A
	// stale id, or that of another lock, changes nothing; the outcome says so with status OK.
	Release(context.Context, *ReleaseRequest) (*ReleaseResponse, error)
	// Takes a lock for a client that can hold no stream: a cron job, a web page, a function. The lock
	// stands for its ttl. RenewLease prolongs it, Release ends it, and so does the end of the ttl. The
	// answer comes when the lock is acquired, or when `max_wait` is over. A call that is cancelled before
	// it is answered leaves no lock behind. If the answer is lost on its way, the lock stands for its ttl;
	// with a `request_id` the call can be repeated, and is answered with the same lease.
	AcquireLease(context.Context, *AcquireLeaseRequest) (*AcquireLeaseResponse, error)
	// Renews a lease for its ttl, at any broker. Only leases have this: a stream renews its own locks. An
	// error says nothing about the lease: try again, for as long as it is valid.
	RenewLease(context.Context, *RenewLeaseRequest) (*RenewLeaseResponse, error)
	// Looks at a lock without touching it.
	GetLock(context.Context, *GetLockRequest) (*GetLockResponse, error)
	// Gives the grant that a lock id names another `value`, from any connection and at any broker. The lock must have been asked for with
	// one. A stale id, or that of another lock, changes nothing; the outcome says so with status OK. UNAVAILABLE: the
	// value may have been updated or not, or somebody else has updated it at the same time. Try again; for a lock that was asked
	// for without a value, brokers that do not keep it say so each time.
	UpdateLock(context.Context, *UpdateLockRequest) (*UpdateLockResponse, error)
	// Tells who holds a lock and with which `value`, at once and whenever that changes: what another broker does, within 1.2 s, or 4 s if the store is slow. The
	// last state is repeated every 5 s; who hears nothing for three times that long knows nothing any more. What is told is what this broker has
	// seen last. Between two answers a lock may have been free, or held by others, and a value may have been another one. A lower
	// fencing token is never told after a higher one. The stream has no end of its own: UNAVAILABLE if the broker goes
	// away. A policy allows it to whoever may GetLock.
	Observe(*ObserveRequest, grpc.ServerStreamingServer[ObserveResponse]) error
	// Many locks on one stream. The client sends `open` first and then heartbeats, and begins and ends
	// locks as it likes. Half-closing or cancelling the stream releases everything on it. A stream that
	// falls silent loses its locks when the validity that its client was last told is over.
	Session(grpc.BidiStreamingServer[SessionRequest, SessionResponse]) error
	mustEmbedUnimplementedLockServiceServer()
}

// UnimplementedLockServiceServer must be embedded to have
// forward compatible implementations.
//
// NOTE: this should be embedded by value instead of pointer to avoid a nil
// pointer dereference when methods are called.
type UnimplementedLockServiceServer struct{}

func (UnimplementedLockServiceServer) Acquire(*AcquireRequest, grpc.ServerStreamingServer[AcquireResponse]) error {
	return status.Error(codes.Unimplemented, "method Acquire not implemented")
}
func (UnimplementedLockServiceServer) WaitAcquire(*WaitAcquireRequest, grpc.ServerStreamingServer[WaitAcquireResponse]) error {
	return status.Error(codes.Unimplemented, "method WaitAcquire not implemented")
}
func (UnimplementedLockServiceServer) Release(context.Context, *ReleaseRequest) (*ReleaseResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method Release not implemented")
}
func (UnimplementedLockServiceServer) AcquireLease(context.Context, *AcquireLeaseRequest) (*AcquireLeaseResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method AcquireLease not implemented")
}
func (UnimplementedLockServiceServer) RenewLease(context.Context, *RenewLeaseRequest) (*RenewLeaseResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method RenewLease not implemented")
}
func (UnimplementedLockServiceServer) GetLock(context.Context, *GetLockRequest) (*GetLockResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method GetLock not implemented")
}
func (UnimplementedLockServiceServer) UpdateLock(context.Context, *UpdateLockRequest) (*UpdateLockResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method UpdateLock not implemented")
}
func (UnimplementedLockServiceServer) Observe(*ObserveRequest, grpc.ServerStreamingServer[ObserveResponse]) error {
	return status.Error(codes.Unimplemented, "method Observe not implemented")
}
func (UnimplementedLockServiceServer) Session(grpc.BidiStreamingServer[SessionRequest, SessionResponse]) error {
	return status.Error(codes.Unimplemented, "method Session not implemented")
}
func (UnimplementedLockServiceServer) mustEmbedUnimplementedLockServiceServer() {}
func (UnimplementedLockServiceServer) testEmbeddedByValue()                     {}

// UnsafeLockServiceServer may be embedded to opt out of forward compatibility for this service.
// Use of this interface is not recommended, as added methods to LockServiceServer will
// result in compilation errors.
type UnsafeLockServiceServer interface {
	mustEmbedUnimplementedLockServiceServer()
}

func RegisterLockServiceServer(s grpc.ServiceRegistrar, srv LockServiceServer) {
	// If the following call panics, it indicates UnimplementedLockServiceServer was
	// embedded by pointer and is nil.  This will cause panics if an
	// unimplemented method is ever invoked, so we test this at initialization
	// time to prevent it from happening at runtime later due to I/O.
	if t, ok := srv.(interface{ testEmbeddedByValue() }); ok {
		t.testEmbeddedByValue()
	}
	s.RegisterService(&LockService_ServiceDesc, srv)
}

func _LockService_Acquire_Handler(srv interface{}, stream grpc.ServerStream) error {
	m := new(AcquireRequest)
	if err := stream.RecvMsg(m); err != nil {
		return err
	}
	return srv.(LockServiceServer).Acquire(m, &grpc.GenericServerStream[AcquireRequest, AcquireResponse]{ServerStream: stream})
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockService_AcquireServer = grpc.ServerStreamingServer[AcquireResponse]

func _LockService_WaitAcquire_Handler(srv interface{}, stream grpc.ServerStream) error {
	m := new(WaitAcquireRequest)
	if err := stream.RecvMsg(m); err != nil {
		return err
	}
	return srv.(LockServiceServer).WaitAcquire(m, &grpc.GenericServerStream[WaitAcquireRequest, WaitAcquireResponse]{ServerStream: stream})
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockService_WaitAcquireServer = grpc.ServerStreamingServer[WaitAcquireResponse]

func _LockService_Release_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(ReleaseRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(LockServiceServer).Release(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: LockService_Release_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(LockServiceServer).Release(ctx, req.(*ReleaseRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _LockService_AcquireLease_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(AcquireLeaseRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(LockServiceServer).AcquireLease(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: LockService_AcquireLease_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(LockServiceServer).AcquireLease(ctx, req.(*AcquireLeaseRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _LockService_RenewLease_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(RenewLeaseRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(LockServiceServer).RenewLease(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: LockService_RenewLease_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(LockServiceServer).RenewLease(ctx, req.(*RenewLeaseRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _LockService_GetLock_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(GetLockRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(LockServiceServer).GetLock(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: LockService_GetLock_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(LockServiceServer).GetLock(ctx, req.(*GetLockRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _LockService_UpdateLock_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(UpdateLockRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(LockServiceServer).UpdateLock(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: LockService_UpdateLock_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(LockServiceServer).UpdateLock(ctx, req.(*UpdateLockRequest))
	}
	return interceptor(ctx, in, info, handler)
}

func _LockService_Observe_Handler(srv interface{}, stream grpc.ServerStream) error {
	m := new(ObserveRequest)
	if err := stream.RecvMsg(m); err != nil {
		return err
	}
	return srv.(LockServiceServer).Observe(m, &grpc.GenericServerStream[ObserveRequest, ObserveResponse]{ServerStream: stream})
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockService_ObserveServer = grpc.ServerStreamingServer[ObserveResponse]

func _LockService_Session_Handler(srv interface{}, stream grpc.ServerStream) error {
	return srv.(LockServiceServer).Session(&grpc.GenericServerStream[SessionRequest, SessionResponse]{ServerStream: stream})
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockService_SessionServer = grpc.BidiStreamingServer[SessionRequest, SessionResponse]

// LockService_ServiceDesc is the grpc.ServiceDesc for LockService service.
// It's only intended for direct use with grpc.RegisterService,
// and not to be introspected or modified (even as a copy)
var LockService_ServiceDesc = grpc.ServiceDesc{
	ServiceName: "lockbroker.v1.LockService",
	HandlerType: (*LockServiceServer)(nil),
	Methods: []grpc.MethodDesc{
		{
			MethodName: "Release",
			Handler:    _LockService_Release_Handler,
		},
		{
			MethodName: "AcquireLease",
			Handler:    _LockService_AcquireLease_Handler,
		},
		{
			MethodName: "RenewLease",
			Handler:    _LockService_RenewLease_Handler,
		},
		{
			MethodName: "GetLock",
			Handler:    _LockService_GetLock_Handler,
		},
		{
			MethodName: "UpdateLock",
			Handler:    _LockService_UpdateLock_Handler,
		},
	},
	Streams: []grpc.StreamDesc{
		{
			StreamName:    "Acquire",
			Handler:       _LockService_Acquire_Handler,
			ServerStreams: true,
		},
		{
			StreamName:    "WaitAcquire",
			Handler:       _LockService_WaitAcquire_Handler,
			ServerStreams: true,
		},
		{
			StreamName:    "Observe",
			Handler:       _LockService_Observe_Handler,
			ServerStreams: true,
		},
		{
			StreamName:    "Session",
			Handler:       _LockService_Session_Handler,
			ServerStreams: true,
			ClientStreams: true,
		},
	},
	Metadata: "lockbroker/v1/lockbroker.proto",
}

const (
	LockAdmin_ListLocks_FullMethodName   = "/lockbroker.v1.LockAdmin/ListLocks"
	LockAdmin_ListWaiters_FullMethodName = "/lockbroker.v1.LockAdmin/ListWaiters"
	LockAdmin_RevokeLock_FullMethodName  = "/lockbroker.v1.LockAdmin/RevokeLock"
)

// LockAdminClient is the client API for LockAdmin service.
//
// For semantics around ctx use and closing/ending streaming RPCs, please refer to https://pkg.go.dev/google.golang.org/grpc/?tab=doc#ClientConn.NewStream.
//
// Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
// it by verbs of its own: `list` and `revoke`.
type LockAdminClient interface {
	// Lists the locks of the whole store, whichever broker granted them, also if that broker has died. The
	// answers together are one list, in the order of the names' bytes. A lock that is acquired, released or
	// moved meanwhile may be missing.
	ListLocks(ctx context.Context, in *ListLocksRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[ListLocksResponse], error)
	// Lists who waits for locks at the broker that is asked. Every broker has waiters of its own.
	ListWaiters(ctx context.Context, in *ListWaitersRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[ListWaitersResponse], error)
	// Takes a lock from its holder. The holder is told `lost` (REVOKED). Nobody else can acquire the lock
	// until the holder can no longer believe that it has it, and its linger is over: `free_within`, at most
	// --max-ttl and the linger together, or what is left of its `min_hold`, if that is longer. `immediate` frees the lock at once,
	// also one that was revoked before.
	RevokeLock(ctx context.Context, in *RevokeLockRequest, opts ...grpc.CallOption) (*RevokeLockResponse, error)
}

type lockAdminClient struct {
	cc grpc.ClientConnInterface
}

func NewLockAdminClient(cc grpc.ClientConnInterface) LockAdminClient {
	return &lockAdminClient{cc}
}

func (c *lockAdminClient) ListLocks(ctx context.Context, in *ListLocksRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[ListLocksResponse], error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	stream, err := c.cc.NewStream(ctx, &LockAdmin_ServiceDesc.Streams[0], LockAdmin_ListLocks_FullMethodName, cOpts...)
	if err != nil {
		return nil, err
	}
	x := &grpc.GenericClientStream[ListLocksRequest, ListLocksResponse]{ClientStream: stream}
	if err := x.ClientStream.SendMsg(in); err != nil {
		return nil, err
	}
	if err := x.ClientStream.CloseSend(); err != nil {
		return nil, err
	}
	return x, nil
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockAdmin_ListLocksClient = grpc.ServerStreamingClient[ListLocksResponse]

func (c *lockAdminClient) ListWaiters(ctx context.Context, in *ListWaitersRequest, opts ...grpc.CallOption) (grpc.ServerStreamingClient[ListWaitersResponse], error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	stream, err := c.cc.NewStream(ctx, &LockAdmin_ServiceDesc.Streams[1], LockAdmin_ListWaiters_FullMethodName, cOpts...)
	if err != nil {
		return nil, err
	}
	x := &grpc.GenericClientStream[ListWaitersRequest, ListWaitersResponse]{ClientStream: stream}
	if err := x.ClientStream.SendMsg(in); err != nil {
		return nil, err
	}
	if err := x.ClientStream.CloseSend(); err != nil {
		return nil, err
	}
	return x, nil
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockAdmin_ListWaitersClient = grpc.ServerStreamingClient[ListWaitersResponse]

func (c *lockAdminClient) RevokeLock(ctx context.Context, in *RevokeLockRequest, opts ...grpc.CallOption) (*RevokeLockResponse, error) {
	cOpts := append([]grpc.CallOption{grpc.StaticMethod()}, opts...)
	out := new(RevokeLockResponse)
	err := c.cc.Invoke(ctx, LockAdmin_RevokeLock_FullMethodName, in, out, cOpts...)
	if err != nil {
		return nil, err
	}
	return out, nil
}

// LockAdminServer is the server API for LockAdmin service.
// All implementations must embed UnimplementedLockAdminServer
// for forward compatibility.
//
// Shows what is held and who waits, and ends what has to be ended. It is for operators. A policy allows
// it by verbs of its own: `list` and `revoke`.
type LockAdminServer interface {
	// Lists the locks of the whole store, whichever broker granted them, also if that broker has died. The
	// answers together are one list, in the order of the names' bytes. A lock that is acquired, released or
	// moved meanwhile may be missing.
	ListLocks(*ListLocksRequest, grpc.ServerStreamingServer[ListLocksResponse]) error
	// Lists who waits for locks at the broker that is asked. Every broker has waiters of its own.
	ListWaiters(*ListWaitersRequest, grpc.ServerStreamingServer[ListWaitersResponse]) error
	// Takes a lock from its holder. The holder is told `lost` (REVOKED). Nobody else can acquire the lock
	// until the holder can no longer believe that it has it, and its linger is over: `free_within`, at most
	// --max-ttl and the linger together, or what is left of its `min_hold`, if that is longer. `immediate` frees the lock at once,
	// also one that was revoked before.
	RevokeLock(context.Context, *RevokeLockRequest) (*RevokeLockResponse, error)
	mustEmbedUnimplementedLockAdminServer()
}

// UnimplementedLockAdminServer must be embedded to have
// forward compatible implementations.
//
// NOTE: this should be embedded by value instead of pointer to avoid a nil
// pointer dereference when methods are called.
type UnimplementedLockAdminServer struct{}

func (UnimplementedLockAdminServer) ListLocks(*ListLocksRequest, grpc.ServerStreamingServer[ListLocksResponse]) error {
	return status.Error(codes.Unimplemented, "method ListLocks not implemented")
}
func (UnimplementedLockAdminServer) ListWaiters(*ListWaitersRequest, grpc.ServerStreamingServer[ListWaitersResponse]) error {
	return status.Error(codes.Unimplemented, "method ListWaiters not implemented")
}
func (UnimplementedLockAdminServer) RevokeLock(context.Context, *RevokeLockRequest) (*RevokeLockResponse, error) {
	return nil, status.Error(codes.Unimplemented, "method RevokeLock not implemented")
}
func (UnimplementedLockAdminServer) mustEmbedUnimplementedLockAdminServer() {}
func (UnimplementedLockAdminServer) testEmbeddedByValue()                   {}

// UnsafeLockAdminServer may be embedded to opt out of forward compatibility for this service.
// Use of this interface is not recommended, as added methods to LockAdminServer will
// result in compilation errors.
type UnsafeLockAdminServer interface {
	mustEmbedUnimplementedLockAdminServer()
}

func RegisterLockAdminServer(s grpc.ServiceRegistrar, srv LockAdminServer) {
	// If the following call panics, it indicates UnimplementedLockAdminServer was
	// embedded by pointer and is nil.  This will cause panics if an
	// unimplemented method is ever invoked, so we test this at initialization
	// time to prevent it from happening at runtime later due to I/O.
	if t, ok := srv.(interface{ testEmbeddedByValue() }); ok {
		t.testEmbeddedByValue()
	}
	s.RegisterService(&LockAdmin_ServiceDesc, srv)
}

func _LockAdmin_ListLocks_Handler(srv interface{}, stream grpc.ServerStream) error {
	m := new(ListLocksRequest)
	if err := stream.RecvMsg(m); err != nil {
		return err
	}
	return srv.(LockAdminServer).ListLocks(m, &grpc.GenericServerStream[ListLocksRequest, ListLocksResponse]{ServerStream: stream})
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockAdmin_ListLocksServer = grpc.ServerStreamingServer[ListLocksResponse]

func _LockAdmin_ListWaiters_Handler(srv interface{}, stream grpc.ServerStream) error {
	m := new(ListWaitersRequest)
	if err := stream.RecvMsg(m); err != nil {
		return err
	}
	return srv.(LockAdminServer).ListWaiters(m, &grpc.GenericServerStream[ListWaitersRequest, ListWaitersResponse]{ServerStream: stream})
}

// This type alias is provided for backwards compatibility with existing code that references the prior non-generic stream type by name.
type LockAdmin_ListWaitersServer = grpc.ServerStreamingServer[ListWaitersResponse]

func _LockAdmin_RevokeLock_Handler(srv interface{}, ctx context.Context, dec func(interface{}) error, interceptor grpc.UnaryServerInterceptor) (interface{}, error) {
	in := new(RevokeLockRequest)
	if err := dec(in); err != nil {
		return nil, err
	}
	if interceptor == nil {
		return srv.(LockAdminServer).RevokeLock(ctx, in)
	}
	info := &grpc.UnaryServerInfo{
		Server:     srv,
		FullMethod: LockAdmin_RevokeLock_FullMethodName,
	}
	handler := func(ctx context.Context, req interface{}) (interface{}, error) {
		return srv.(LockAdminServer).RevokeLock(ctx, req.(*RevokeLockRequest))
	}
	return interceptor(ctx, in, info, handler)
}

// LockAdmin_ServiceDesc is the grpc.ServiceDesc for LockAdmin service.
// It's only intended for direct use with grpc.RegisterService,
// and not to be introspected or modified (even as a copy)
var LockAdmin_ServiceDesc = grpc.ServiceDesc{
	ServiceName: "lockbroker.v1.LockAdmin",
	HandlerType: (*LockAdminServer)(nil),
	Methods: []grpc.MethodDesc{
		{
			MethodName: "RevokeLock",
			Handler:    _LockAdmin_RevokeLock_Handler,
		},
	},
	Streams: []grpc.StreamDesc{
		{
			StreamName:    "ListLocks",
			Handler:       _LockAdmin_ListLocks_Handler,
			ServerStreams: true,
		},
		{
			StreamName:    "ListWaiters",
			Handler:       _LockAdmin_ListWaiters_Handler,
			ServerStreams: true,
		},
	},
	Metadata: "lockbroker/v1/lockbroker.proto",
}

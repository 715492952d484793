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

// Code generated by protoc-gen-go. DO NOT EDIT.
// versions:
// 	protoc-gen-go v1.36.11
// 	protoc        v7.35.1
// source: lockbroker/v1/lockbroker.proto

package lockbrokerv1

import (
	protoreflect "google.golang.org/protobuf/reflect/protoreflect"
	protoimpl "google.golang.org/protobuf/runtime/protoimpl"
	durationpb "google.golang.org/protobuf/types/known/durationpb"
	reflect "reflect"
	sync "sync"
	unsafe "unsafe"
)

const (
	// Verify that this generated code is sufficiently up-to-date.
	_ = protoimpl.EnforceVersion(20 - protoimpl.MinVersion)
	// Verify that runtime/protoimpl is sufficiently up-to-date.
	_ = protoimpl.EnforceVersion(protoimpl.MaxVersion - 20)
)

// The two ways in which a lock can outlive its stream, or not.
type LockSpec_OnDisconnect int32

const (
	// As RELEASE.
	LockSpec_ON_DISCONNECT_UNSPECIFIED LockSpec_OnDisconnect = 0
	// A stream that is closed, by the client or by a proxy between, releases the lock at once.
	LockSpec_ON_DISCONNECT_RELEASE LockSpec_OnDisconnect = 1
	// The lock is kept until its validity is over, however the stream ends. So the client can reattach, and
	// a proxy that ends streams costs no lock (but one that ends the stream of a reattach that is under way).
	// EndLock and Release still release it at once. If the client
	// dies, others wait until its validity is over. AcquireLease does not take this: a lease has no stream.
	LockSpec_ON_DISCONNECT_KEEP LockSpec_OnDisconnect = 2
)

// Enum value maps for LockSpec_OnDisconnect.
var (
	LockSpec_OnDisconnect_name = map[int32]string{
		0: "ON_DISCONNECT_UNSPECIFIED",
		1: "ON_DISCONNECT_RELEASE",
		2: "ON_DISCONNECT_KEEP",
	}
	LockSpec_OnDisconnect_value = map[string]int32{
		"ON_DISCONNECT_UNSPECIFIED": 0,
		"ON_DISCONNECT_RELEASE":     1,
		"ON_DISCONNECT_KEEP":        2,
	}
)

func (x LockSpec_OnDisconnect) Enum() *LockSpec_OnDisconnect {
	p := new(LockSpec_OnDisconnect)
	*p = x
	return p
}

func (x LockSpec_OnDisconnect) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (LockSpec_OnDisconnect) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[0].Descriptor()
}

func (LockSpec_OnDisconnect) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[0]
}

func (x LockSpec_OnDisconnect) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use LockSpec_OnDisconnect.Descriptor instead.
func (LockSpec_OnDisconnect) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{0, 0}
}

// The two ways to have a lock.
type LockSpec_Mode int32

const (
	// As EXCLUSIVE.
	LockSpec_MODE_UNSPECIFIED LockSpec_Mode = 0
	// Nobody else has the lock at the same time.
	LockSpec_MODE_EXCLUSIVE LockSpec_Mode = 1
	// Others who ask for it as SHARED may have the lock at the same time, each with a permit of its own, up to `limit` of
	// them. Nobody has it EXCLUSIVE meanwhile. One who waits for it EXCLUSIVE lets no new ones in, and gets it when all
	// who share it have gone.
	LockSpec_MODE_SHARED LockSpec_Mode = 2
)

// Enum value maps for LockSpec_Mode.
var (
	LockSpec_Mode_name = map[int32]string{
		0: "MODE_UNSPECIFIED",
		1: "MODE_EXCLUSIVE",
		2: "MODE_SHARED",
	}
	LockSpec_Mode_value = map[string]int32{
		"MODE_UNSPECIFIED": 0,
		"MODE_EXCLUSIVE":   1,
		"MODE_SHARED":      2,
	}
)

func (x LockSpec_Mode) Enum() *LockSpec_Mode {
	p := new(LockSpec_Mode)
	*p = x
	return p
}

func (x LockSpec_Mode) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (LockSpec_Mode) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[1].Descriptor()
}

func (LockSpec_Mode) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[1]
}

func (x LockSpec_Mode) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use LockSpec_Mode.Descriptor instead.
func (LockSpec_Mode) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{0, 1}
}

// The reason for which a lock was not acquired.
type NotAcquired_Reason int32

const (
	// Never sent.
	NotAcquired_REASON_UNSPECIFIED NotAcquired_Reason = 0
	// Somebody holds it: EXCLUSIVE, or, where it is asked for EXCLUSIVE, SHARED. Where it is asked for SHARED: or every permit
	// below the `limit` is taken.
	NotAcquired_REASON_HELD NotAcquired_Reason = 1
	// It was released and lingers, or its `min_hold` is not over, or it was revoked and is still closed.
	// GetLock says which, and for how long.
	NotAcquired_REASON_LINGERING NotAcquired_Reason = 2
	// `max_wait` is over.
	NotAcquired_REASON_MAX_WAIT NotAcquired_Reason = 3
	// EndLock came before the grant.
	NotAcquired_REASON_CANCELLED NotAcquired_Reason = 4
	// The grant named by `reattach_lock_id` has ended.
	NotAcquired_REASON_NOT_REATTACHABLE NotAcquired_Reason = 5
)

// Enum value maps for NotAcquired_Reason.
var (
	NotAcquired_Reason_name = map[int32]string{
		0: "REASON_UNSPECIFIED",
		1: "REASON_HELD",
		2: "REASON_LINGERING",
		3: "REASON_MAX_WAIT",
		4: "REASON_CANCELLED",
		5: "REASON_NOT_REATTACHABLE",
	}
	NotAcquired_Reason_value = map[string]int32{
		"REASON_UNSPECIFIED":      0,
		"REASON_HELD":             1,
		"REASON_LINGERING":        2,
		"REASON_MAX_WAIT":         3,
		"REASON_CANCELLED":        4,
		"REASON_NOT_REATTACHABLE": 5,
	}
)

func (x NotAcquired_Reason) Enum() *NotAcquired_Reason {
	p := new(NotAcquired_Reason)
	*p = x
	return p
}

func (x NotAcquired_Reason) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (NotAcquired_Reason) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[2].Descriptor()
}

func (NotAcquired_Reason) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[2]
}

func (x NotAcquired_Reason) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use NotAcquired_Reason.Descriptor instead.
func (NotAcquired_Reason) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{9, 0}
}

// The reason for which a lock was lost.
type Lost_Reason int32

const (
	// Never sent.
	Lost_REASON_UNSPECIFIED Lost_Reason = 0
	// No renewal got through in time.
	Lost_REASON_EXPIRED Lost_Reason = 1
	// The store no longer has the grant; somebody released it elsewhere, for instance.
	Lost_REASON_GONE Lost_Reason = 2
	// The store has another grant in its place: reattached elsewhere, or released and granted anew.
	Lost_REASON_TAKEN_OVER Lost_Reason = 3
	// An operator revoked it.
	Lost_REASON_REVOKED Lost_Reason = 4
)

// Enum value maps for Lost_Reason.
var (
	Lost_Reason_name = map[int32]string{
		0: "REASON_UNSPECIFIED",
		1: "REASON_EXPIRED",
		2: "REASON_GONE",
		3: "REASON_TAKEN_OVER",
		4: "REASON_REVOKED",
	}
	Lost_Reason_value = map[string]int32{
		"REASON_UNSPECIFIED": 0,
		"REASON_EXPIRED":     1,
		"REASON_GONE":        2,
		"REASON_TAKEN_OVER":  3,
		"REASON_REVOKED":     4,
	}
)

func (x Lost_Reason) Enum() *Lost_Reason {
	p := new(Lost_Reason)
	*p = x
	return p
}

func (x Lost_Reason) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (Lost_Reason) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[3].Descriptor()
}

func (Lost_Reason) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[3]
}

func (x Lost_Reason) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use Lost_Reason.Descriptor instead.
func (Lost_Reason) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{12, 0}
}

// The effect of a Release.
type ReleaseResponse_Outcome int32

const (
	// Never sent.
	ReleaseResponse_OUTCOME_UNSPECIFIED ReleaseResponse_Outcome = 0
	// The grant was ended by this call.
	ReleaseResponse_OUTCOME_RELEASED ReleaseResponse_Outcome = 1
	// Nobody holds the lock.
	ReleaseResponse_OUTCOME_NOT_HELD ReleaseResponse_Outcome = 2
	// Somebody else holds the lock; untouched.
	ReleaseResponse_OUTCOME_HELD_BY_ANOTHER ReleaseResponse_Outcome = 3
)

// Enum value maps for ReleaseResponse_Outcome.
var (
	ReleaseResponse_Outcome_name = map[int32]string{
		0: "OUTCOME_UNSPECIFIED",
		1: "OUTCOME_RELEASED",
		2: "OUTCOME_NOT_HELD",
		3: "OUTCOME_HELD_BY_ANOTHER",
	}
	ReleaseResponse_Outcome_value = map[string]int32{
		"OUTCOME_UNSPECIFIED":     0,
		"OUTCOME_RELEASED":        1,
		"OUTCOME_NOT_HELD":        2,
		"OUTCOME_HELD_BY_ANOTHER": 3,
	}
)

func (x ReleaseResponse_Outcome) Enum() *ReleaseResponse_Outcome {
	p := new(ReleaseResponse_Outcome)
	*p = x
	return p
}

func (x ReleaseResponse_Outcome) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (ReleaseResponse_Outcome) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[4].Descriptor()
}

func (ReleaseResponse_Outcome) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[4]
}

func (x ReleaseResponse_Outcome) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use ReleaseResponse_Outcome.Descriptor instead.
func (ReleaseResponse_Outcome) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{21, 0}
}

// The state of a lock.
type GetLockResponse_State int32

const (
	// Never sent.
	GetLockResponse_STATE_UNSPECIFIED GetLockResponse_State = 0
	// Nobody has it.
	GetLockResponse_STATE_FREE GetLockResponse_State = 1
	// Somebody holds it. If it is SHARED, `shared_count` says how many.
	GetLockResponse_STATE_HELD GetLockResponse_State = 2
	// It was released and nobody can acquire it yet. If it was SHARED, its permits linger, and nobody can acquire it EXCLUSIVE.
	GetLockResponse_STATE_LINGERING GetLockResponse_State = 3
	// It was revoked, and nobody can acquire it until its holder no longer believes in it.
	GetLockResponse_STATE_REVOKED GetLockResponse_State = 4
	// Only in a ListLocksResponse: nobody holds it EXCLUSIVE. Somebody waits for those who share it, and lets no new ones in.
	GetLockResponse_STATE_CLAIMED GetLockResponse_State = 5
)

// Enum value maps for GetLockResponse_State.
var (
	GetLockResponse_State_name = map[int32]string{
		0: "STATE_UNSPECIFIED",
		1: "STATE_FREE",
		2: "STATE_HELD",
		3: "STATE_LINGERING",
		4: "STATE_REVOKED",
		5: "STATE_CLAIMED",
	}
	GetLockResponse_State_value = map[string]int32{
		"STATE_UNSPECIFIED": 0,
		"STATE_FREE":        1,
		"STATE_HELD":        2,
		"STATE_LINGERING":   3,
		"STATE_REVOKED":     4,
		"STATE_CLAIMED":     5,
	}
)

func (x GetLockResponse_State) Enum() *GetLockResponse_State {
	p := new(GetLockResponse_State)
	*p = x
	return p
}

func (x GetLockResponse_State) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (GetLockResponse_State) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[5].Descriptor()
}

func (GetLockResponse_State) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[5]
}

func (x GetLockResponse_State) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use GetLockResponse_State.Descriptor instead.
func (GetLockResponse_State) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{23, 0}
}

// The effect of an UpdateLock.
type UpdateLockResponse_Outcome int32

const (
	// Never sent.
	UpdateLockResponse_OUTCOME_UNSPECIFIED UpdateLockResponse_Outcome = 0
	// The lock has the new value.
	UpdateLockResponse_OUTCOME_UPDATED UpdateLockResponse_Outcome = 1
	// Nobody holds the lock.
	UpdateLockResponse_OUTCOME_NOT_HELD UpdateLockResponse_Outcome = 2
	// Somebody else holds the lock, or it was reattached under another lock id; untouched.
	UpdateLockResponse_OUTCOME_HELD_BY_ANOTHER UpdateLockResponse_Outcome = 3
	// The lock was asked for without a value. Only the broker that keeps the lock knows that.
	UpdateLockResponse_OUTCOME_NO_VALUE UpdateLockResponse_Outcome = 4
)

// Enum value maps for UpdateLockResponse_Outcome.
var (
	UpdateLockResponse_Outcome_name = map[int32]string{
		0: "OUTCOME_UNSPECIFIED",
		1: "OUTCOME_UPDATED",
		2: "OUTCOME_NOT_HELD",
		3: "OUTCOME_HELD_BY_ANOTHER",
		4: "OUTCOME_NO_VALUE",
	}
	UpdateLockResponse_Outcome_value = map[string]int32{
		"OUTCOME_UNSPECIFIED":     0,
		"OUTCOME_UPDATED":         1,
		"OUTCOME_NOT_HELD":        2,
		"OUTCOME_HELD_BY_ANOTHER": 3,
		"OUTCOME_NO_VALUE":        4,
	}
)

func (x UpdateLockResponse_Outcome) Enum() *UpdateLockResponse_Outcome {
	p := new(UpdateLockResponse_Outcome)
	*p = x
	return p
}

func (x UpdateLockResponse_Outcome) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (UpdateLockResponse_Outcome) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[6].Descriptor()
}

func (UpdateLockResponse_Outcome) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[6]
}

func (x UpdateLockResponse_Outcome) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use UpdateLockResponse_Outcome.Descriptor instead.
func (UpdateLockResponse_Outcome) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{25, 0}
}

// What a lock is.
type ObserveResponse_State int32

const (
	// Never sent.
	ObserveResponse_STATE_UNSPECIFIED ObserveResponse_State = 0
	// The broker cannot tell: the store is away, or has lost its memory and does not grant yet. The lock may be held as before.
	ObserveResponse_STATE_UNKNOWN ObserveResponse_State = 1
	// Nobody has it.
	ObserveResponse_STATE_FREE ObserveResponse_State = 2
	// Somebody holds it, or several share it.
	ObserveResponse_STATE_HELD ObserveResponse_State = 3
	// It was released and nobody can acquire it yet.
	ObserveResponse_STATE_LINGERING ObserveResponse_State = 4
	// It was revoked, and nobody can acquire it until its holder no longer believes in it.
	ObserveResponse_STATE_REVOKED ObserveResponse_State = 5
)

// Enum value maps for ObserveResponse_State.
var (
	ObserveResponse_State_name = map[int32]string{
		0: "STATE_UNSPECIFIED",
		1: "STATE_UNKNOWN",
		2: "STATE_FREE",
		3: "STATE_HELD",
		4: "STATE_LINGERING",
		5: "STATE_REVOKED",
	}
	ObserveResponse_State_value = map[string]int32{
		"STATE_UNSPECIFIED": 0,
		"STATE_UNKNOWN":     1,
		"STATE_FREE":        2,
		"STATE_HELD":        3,
		"STATE_LINGERING":   4,
		"STATE_REVOKED":     5,
	}
)

func (x ObserveResponse_State) Enum() *ObserveResponse_State {
	p := new(ObserveResponse_State)
	*p = x
	return p
}

func (x ObserveResponse_State) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (ObserveResponse_State) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[7].Descriptor()
}

func (ObserveResponse_State) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[7]
}

func (x ObserveResponse_State) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use ObserveResponse_State.Descriptor instead.
func (ObserveResponse_State) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{27, 0}
}

// The effect of a RevokeLock.
type RevokeLockResponse_Outcome int32

const (
	// Never sent.
	RevokeLockResponse_OUTCOME_UNSPECIFIED RevokeLockResponse_Outcome = 0
	// The grant was revoked.
	RevokeLockResponse_OUTCOME_REVOKED RevokeLockResponse_Outcome = 1
	// Nobody holds the lock: it is free; or it lingers or was revoked before, and `immediate` is not set; or it is SHARED, and
	// `permit` is unset.
	RevokeLockResponse_OUTCOME_NOT_HELD RevokeLockResponse_Outcome = 2
	// The lock is no longer what `etag` names; untouched.
	RevokeLockResponse_OUTCOME_CHANGED RevokeLockResponse_Outcome = 3
	// Nobody held the lock, which was still closed after a release or a revocation; `immediate` freed it.
	RevokeLockResponse_OUTCOME_FREED RevokeLockResponse_Outcome = 4
)

// Enum value maps for RevokeLockResponse_Outcome.
var (
	RevokeLockResponse_Outcome_name = map[int32]string{
		0: "OUTCOME_UNSPECIFIED",
		1: "OUTCOME_REVOKED",
		2: "OUTCOME_NOT_HELD",
		3: "OUTCOME_CHANGED",
		4: "OUTCOME_FREED",
	}
	RevokeLockResponse_Outcome_value = map[string]int32{
		"OUTCOME_UNSPECIFIED": 0,
		"OUTCOME_REVOKED":     1,
		"OUTCOME_NOT_HELD":    2,
		"OUTCOME_CHANGED":     3,
		"OUTCOME_FREED":       4,
	}
)

func (x RevokeLockResponse_Outcome) Enum() *RevokeLockResponse_Outcome {
	p := new(RevokeLockResponse_Outcome)
	*p = x
	return p
}

func (x RevokeLockResponse_Outcome) String() string {
	return protoimpl.X.EnumStringOf(x.Descriptor(), protoreflect.EnumNumber(x))
}

func (RevokeLockResponse_Outcome) Descriptor() protoreflect.EnumDescriptor {
	return file_lockbroker_v1_lockbroker_proto_enumTypes[8].Descriptor()
}

func (RevokeLockResponse_Outcome) Type() protoreflect.EnumType {
	return &file_lockbroker_v1_lockbroker_proto_enumTypes[8]
}

func (x RevokeLockResponse_Outcome) Number() protoreflect.EnumNumber {
	return protoreflect.EnumNumber(x)
}

// Deprecated: Use RevokeLockResponse_Outcome.Descriptor instead.
func (RevokeLockResponse_Outcome) EnumDescriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{45, 0}
}

// A lock to ask for, and its properties.
type LockSpec struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name: 1 to 128 bytes of UTF-8 without control characters. Names differ if one byte does.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// The time after the release for which nobody can acquire the lock. Unset: 0. At most 1 h. That of a SHARED lock closes its
	// permit alone; whoever wants the lock EXCLUSIVE waits for it too.
	Linger *durationpb.Duration `protobuf:"bytes,2,opt,name=linger,proto3" json:"linger,omitempty"`
	// A label that GetLock and `not_acquired` show to others, for people who look for the holder.
	// At most 128 bytes without control characters. Unset: none. Best effort: it may be missing.
	Owner string `protobuf:"bytes,3,opt,name=owner,proto3" json:"owner,omitempty"`
	// The way to have the lock: EXCLUSIVE for writers, SHARED for readers, and for up to N at a time. A reattach of a permit
	// says SHARED, or nothing. EXCLUSIVE is INVALID_ARGUMENT: two readers who both wanted to write would wait for each other.
	//
	// A reattach of an EXCLUSIVE lock that says SHARED is a downgrade: from then on others may share the lock, and nobody has
	// had it EXCLUSIVE in between. Stop writing before you ask: the answer may come late. `Acquired` has a permit then. If it
	// has none, there was none to be had (the store was away), and the lock is EXCLUSIVE as before: ask again with the new
	// lock id. INVALID_ARGUMENT for a lock with a `min_hold`. The lock's `value` ends with it.
	Mode LockSpec_Mode `protobuf:"varint,4,opt,name=mode,proto3,enum=lockbroker.v1.LockSpec_Mode" json:"mode,omitempty"`
	// Of a SHARED lock: the most that may have it at a time, 1 to 4,096. The permit is below this number. Unset: 4,096.
	// INVALID_ARGUMENT with another mode. Nothing is set up, so each request says it anew: all users of a name should
	// say the same. If they do not, each still gets a permit below its own limit alone, and so never more than the
	// highest of the limits have the lock at a time.
	Limit int32 `protobuf:"varint,6,opt,name=limit,proto3" json:"limit,omitempty"`
	// The number of permits to take of a SHARED lock, all at once: 1 to 16, and at most `limit`. Unset: 1. More than one only on
	// a Session, and not together with `also` or `min_hold`. `Acquired` has the first permit, and `Acquired.also` the others,
	// each with a lock id and a token of its own. A reattach has the first in `reattach_lock_id`, the others in
	// `BeginLock.also`, and no weight. Once it is the turn of one that waits for several, others get no new ones, as behind one
	// that wants the lock EXCLUSIVE. When one is lost, all are.
	Weight int32 `protobuf:"varint,9,opt,name=weight,proto3" json:"weight,omitempty"`
	// What becomes of the lock when its stream ends. Each reattach says it anew.
	OnDisconnect LockSpec_OnDisconnect `protobuf:"varint,5,opt,name=on_disconnect,json=onDisconnect,proto3,enum=lockbroker.v1.LockSpec_OnDisconnect" json:"on_disconnect,omitempty"`
	// The time after the grant for which nobody else can acquire the lock, whenever and however its holder
	// ends: for jobs that must not run twice on machines whose clocks differ. A linger counts from the
	// release; whichever of the two ends later counts. Unset: 0. At most 1 h. A reattach keeps what was
	// granted. That of a SHARED lock closes its permit alone, as a linger does.
	MinHold *durationpb.Duration `protobuf:"bytes,8,opt,name=min_hold,json=minHold,proto3" json:"min_hold,omitempty"`
	// What the holder tells those who Observe the lock: a leader's address, say. At most 1,024 bytes, of any kind; it may be empty. Unset:
	// none, and UpdateLock gives it none. INVALID_ARGUMENT for a SHARED lock or a lease. It is no secret. Each reattach says it anew.
	// Best effort: those who observe may see none for a while, and never that of another grant.
	Value         []byte `protobuf:"bytes,7,opt,name=value,proto3,oneof" json:"value,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LockSpec) Reset() {
	*x = LockSpec{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[0]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LockSpec) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LockSpec) ProtoMessage() {}

func (x *LockSpec) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[0]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LockSpec.ProtoReflect.Descriptor instead.
func (*LockSpec) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{0}
}

func (x *LockSpec) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *LockSpec) GetLinger() *durationpb.Duration {
	if x != nil {
		return x.Linger
	}
	return nil
}

func (x *LockSpec) GetOwner() string {
	if x != nil {
		return x.Owner
	}
	return ""
}

func (x *LockSpec) GetMode() LockSpec_Mode {
	if x != nil {
		return x.Mode
	}
	return LockSpec_MODE_UNSPECIFIED
}

func (x *LockSpec) GetLimit() int32 {
	if x != nil {
		return x.Limit
	}
	return 0
}

func (x *LockSpec) GetWeight() int32 {
	if x != nil {
		return x.Weight
	}
	return 0
}

func (x *LockSpec) GetOnDisconnect() LockSpec_OnDisconnect {
	if x != nil {
		return x.OnDisconnect
	}
	return LockSpec_ON_DISCONNECT_UNSPECIFIED
}

func (x *LockSpec) GetMinHold() *durationpb.Duration {
	if x != nil {
		return x.MinHold
	}
	return nil
}

func (x *LockSpec) GetValue() []byte {
	if x != nil {
		return x.Value
	}
	return nil
}

// The way to wait for a lock.
type WaitSpec struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The longest wait, from when the request arrived, exact to 50 ms. The answer comes up to 100 ms
	// later if the store is slow to say who holds the lock. 0 tries once. Unset, or 365 days and more
	// (also more than protobuf allows): until the client leaves.
	MaxWait *durationpb.Duration `protobuf:"bytes,1,opt,name=max_wait,json=maxWait,proto3" json:"max_wait,omitempty"`
	// The least time between two polls of a lock that another broker holds. Each poll comes after 1.0
	// to 1.2 times that. Only the first in a broker's queue polls, by its own interval, which begins
	// when it becomes the first; those behind wait for it. If a holder at the same broker is released
	// at another one, the broker finds out after such an interval, too. 1 ms to 1 h. Unset: the broker
	// chooses (100 ms unless it was started otherwise).
	PollInterval  *durationpb.Duration `protobuf:"bytes,2,opt,name=poll_interval,json=pollInterval,proto3" json:"poll_interval,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *WaitSpec) Reset() {
	*x = WaitSpec{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[1]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WaitSpec) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WaitSpec) ProtoMessage() {}

func (x *WaitSpec) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[1]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WaitSpec.ProtoReflect.Descriptor instead.
func (*WaitSpec) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{1}
}

func (x *WaitSpec) GetMaxWait() *durationpb.Duration {
	if x != nil {
		return x.MaxWait
	}
	return nil
}

func (x *WaitSpec) GetPollInterval() *durationpb.Duration {
	if x != nil {
		return x.PollInterval
	}
	return nil
}

// Asks for a lock, once.
type AcquireRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock.
	Lock *LockSpec `protobuf:"bytes,1,opt,name=lock,proto3" json:"lock,omitempty"`
	// The time for which a grant stands without renewal. Unset: the broker's default (15 s). 5 s up to
	// the broker's --max-ttl (15 s unless it was started otherwise).
	Ttl *durationpb.Duration `protobuf:"bytes,2,opt,name=ttl,proto3" json:"ttl,omitempty"`
	// If set, the call takes over the grant that this lock id names, instead of asking for a new one.
	// Use it after a broken stream or `draining`. The grant keeps its fencing token and gets a new lock
	// id.
	ReattachLockId string `protobuf:"bytes,3,opt,name=reattach_lock_id,json=reattachLockId,proto3" json:"reattach_lock_id,omitempty"`
	unknownFields  protoimpl.UnknownFields
	sizeCache      protoimpl.SizeCache
}

func (x *AcquireRequest) Reset() {
	*x = AcquireRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[2]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AcquireRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AcquireRequest) ProtoMessage() {}

func (x *AcquireRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[2]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AcquireRequest.ProtoReflect.Descriptor instead.
func (*AcquireRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{2}
}

func (x *AcquireRequest) GetLock() *LockSpec {
	if x != nil {
		return x.Lock
	}
	return nil
}

func (x *AcquireRequest) GetTtl() *durationpb.Duration {
	if x != nil {
		return x.Ttl
	}
	return nil
}

func (x *AcquireRequest) GetReattachLockId() string {
	if x != nil {
		return x.ReattachLockId
	}
	return ""
}

// Asks for a lock and waits for it.
type WaitAcquireRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock.
	Lock *LockSpec `protobuf:"bytes,1,opt,name=lock,proto3" json:"lock,omitempty"`
	// The ttl, as in AcquireRequest.
	Ttl *durationpb.Duration `protobuf:"bytes,2,opt,name=ttl,proto3" json:"ttl,omitempty"`
	// The way to wait. Unset: as a WaitSpec with nothing set.
	Wait          *WaitSpec `protobuf:"bytes,3,opt,name=wait,proto3" json:"wait,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *WaitAcquireRequest) Reset() {
	*x = WaitAcquireRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[3]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WaitAcquireRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WaitAcquireRequest) ProtoMessage() {}

func (x *WaitAcquireRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[3]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WaitAcquireRequest.ProtoReflect.Descriptor instead.
func (*WaitAcquireRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{3}
}

func (x *WaitAcquireRequest) GetLock() *LockSpec {
	if x != nil {
		return x.Lock
	}
	return nil
}

func (x *WaitAcquireRequest) GetTtl() *durationpb.Duration {
	if x != nil {
		return x.Ttl
	}
	return nil
}

func (x *WaitAcquireRequest) GetWait() *WaitSpec {
	if x != nil {
		return x.Wait
	}
	return nil
}

// One event on an Acquire stream.
type AcquireResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Always set.
	Event         *LockEvent `protobuf:"bytes,1,opt,name=event,proto3" json:"event,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *AcquireResponse) Reset() {
	*x = AcquireResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[4]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AcquireResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AcquireResponse) ProtoMessage() {}

func (x *AcquireResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[4]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AcquireResponse.ProtoReflect.Descriptor instead.
func (*AcquireResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{4}
}

func (x *AcquireResponse) GetEvent() *LockEvent {
	if x != nil {
		return x.Event
	}
	return nil
}

// One event on a WaitAcquire stream.
type WaitAcquireResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Always set.
	Event         *LockEvent `protobuf:"bytes,1,opt,name=event,proto3" json:"event,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *WaitAcquireResponse) Reset() {
	*x = WaitAcquireResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[5]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WaitAcquireResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WaitAcquireResponse) ProtoMessage() {}

func (x *WaitAcquireResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[5]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WaitAcquireResponse.ProtoReflect.Descriptor instead.
func (*WaitAcquireResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{5}
}

func (x *WaitAcquireResponse) GetEvent() *LockEvent {
	if x != nil {
		return x.Event
	}
	return nil
}

// An event of a lock.
type LockEvent struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Exactly one is set. A client ignores kinds that it does not know.
	//
	// Types that are valid to be assigned to Kind:
	//
	//	*LockEvent_Acquired
	//	*LockEvent_NotAcquired
	//	*LockEvent_Queued
	//	*LockEvent_Renewed
	//	*LockEvent_Lost
	//	*LockEvent_Released
	//	*LockEvent_Draining
	//	*LockEvent_Failed
	Kind          isLockEvent_Kind `protobuf_oneof:"kind"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LockEvent) Reset() {
	*x = LockEvent{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[6]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LockEvent) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LockEvent) ProtoMessage() {}

func (x *LockEvent) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[6]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LockEvent.ProtoReflect.Descriptor instead.
func (*LockEvent) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{6}
}

func (x *LockEvent) GetKind() isLockEvent_Kind {
	if x != nil {
		return x.Kind
	}
	return nil
}

func (x *LockEvent) GetAcquired() *Acquired {
	if x != nil {
		if x, ok := x.Kind.(*LockEvent_Acquired); ok {
			return x.Acquired
		}
	}
	return nil
}

func (x *LockEvent) GetNotAcquired() *NotAcquired {
	if x != nil {
		if x, ok := x.Kind.(*LockEvent_NotAcquired); ok {
			return x.NotAcquired
		}
	}
	return nil
}

func (x *LockEvent) GetQueued() *Queued {
	if x != nil {
		if x, ok := x.Kind.(*LockEvent_Queued); ok {
			return x.Queued
		}
	}
	return nil
}

func (x *LockEvent) GetRenewed() *Renewed {
	if x != nil {
		if x, ok := x.Kind.(*LockEvent_Renewed); ok {
			return x.Renewed
		}
	}
	return nil
}

func (x *LockEvent) GetLost() *Lost {
	if x != nil {
		if x, ok := x.Kind.(*LockEvent_Lost); ok {
			return x.Lost
		}
	}
	return nil
}

func (x *LockEvent) GetReleased() *Released {
	if x != nil {
		if x, ok := x.Kind.(*LockEvent_Released); ok {
			return x.Released
		}
	}
	return nil
}

func (x *LockEvent) GetDraining() *Draining {
	if x != nil {
		if x, ok := x.Kind.(*LockEvent_Draining); ok {
			return x.Draining
		}
	}
	return nil
}

func (x *LockEvent) GetFailed() *Failed {
	if x != nil {
		if x, ok := x.Kind.(*LockEvent_Failed); ok {
			return x.Failed
		}
	}
	return nil
}

type isLockEvent_Kind interface {
	isLockEvent_Kind()
}

type LockEvent_Acquired struct {
	// The lock is held.
	Acquired *Acquired `protobuf:"bytes,1,opt,name=acquired,proto3,oneof"`
}

type LockEvent_NotAcquired struct {
	// The lock was not acquired; the last event.
	NotAcquired *NotAcquired `protobuf:"bytes,2,opt,name=not_acquired,json=notAcquired,proto3,oneof"`
}

type LockEvent_Queued struct {
	// The request waits in a queue.
	Queued *Queued `protobuf:"bytes,3,opt,name=queued,proto3,oneof"`
}

type LockEvent_Renewed struct {
	// The grant was renewed (Acquire and WaitAcquire; a Session has `heartbeat_ack`).
	Renewed *Renewed `protobuf:"bytes,4,opt,name=renewed,proto3,oneof"`
}

type LockEvent_Lost struct {
	// The lock is lost; the last event, and the status that follows is ABORTED.
	Lost *Lost `protobuf:"bytes,5,opt,name=lost,proto3,oneof"`
}

type LockEvent_Released struct {
	// The lock was released by a Release call at this broker or by EndLock; the last event.
	Released *Released `protobuf:"bytes,6,opt,name=released,proto3,oneof"`
}

type LockEvent_Draining struct {
	// This broker is going away.
	Draining *Draining `protobuf:"bytes,7,opt,name=draining,proto3,oneof"`
}

type LockEvent_Failed struct {
	// This lock of a Session failed while the others go on; the last event of its lock_ref.
	Failed *Failed `protobuf:"bytes,8,opt,name=failed,proto3,oneof"`
}

func (*LockEvent_Acquired) isLockEvent_Kind() {}

func (*LockEvent_NotAcquired) isLockEvent_Kind() {}

func (*LockEvent_Queued) isLockEvent_Kind() {}

func (*LockEvent_Renewed) isLockEvent_Kind() {}

func (*LockEvent_Lost) isLockEvent_Kind() {}

func (*LockEvent_Released) isLockEvent_Kind() {}

func (*LockEvent_Draining) isLockEvent_Kind() {}

func (*LockEvent_Failed) isLockEvent_Kind() {}

// The lock is held from now on.
type Acquired struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Names the grant: 36 characters, 7 more if the lock has a `min_hold`, and 4 more if it is SHARED. It is a capability; whoever has it can release the lock. Keep it
	// out of logs.
	LockId string `protobuf:"bytes,1,opt,name=lock_id,json=lockId,proto3" json:"lock_id,omitempty"`
	// Rises strictly with every grant of the same name; below 2^53. Whatever the lock protects should
	// refuse a token below the highest that it has seen. Where several have a SHARED lock at a time, it refuses a token
	// below the highest of those with the same `permit`, or below that of the last EXCLUSIVE holder.
	FencingToken int64 `protobuf:"varint,2,opt,name=fencing_token,json=fencingToken,proto3" json:"fencing_token,omitempty"`
	// The holder may act until this long after it *sent* the request, not after this event came. A
	// WaitAcquire granted after 40 s with a ttl of 15 s says some 53 s: 13 of them are left. Unset in a
	// Session, where the latest `heartbeat_ack` covers the lock.
	ExpiresAfterRequest *durationpb.Duration `protobuf:"bytes,3,opt,name=expires_after_request,json=expiresAfterRequest,proto3" json:"expires_after_request,omitempty"`
	// Set if the lock is SHARED: the number of the holder's permit, from 0 up to `limit` - 1. Nobody else has the same permit
	// of this name at the same time, as nobody else has an EXCLUSIVE lock. So it can name a worker, a port or a slot of
	// work. It stays the same when the lock is reattached. The lowest free one is not always given.
	Permit *int32 `protobuf:"varint,4,opt,name=permit,proto3,oneof" json:"permit,omitempty"`
	// The locks of `BeginLock.also`, in its order. To release them by their ids, call Release for each.
	Also          []*AlsoAcquired `protobuf:"bytes,5,rep,name=also,proto3" json:"also,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Acquired) Reset() {
	*x = Acquired{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[7]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Acquired) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Acquired) ProtoMessage() {}

func (x *Acquired) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[7]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Acquired.ProtoReflect.Descriptor instead.
func (*Acquired) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{7}
}

func (x *Acquired) GetLockId() string {
	if x != nil {
		return x.LockId
	}
	return ""
}

func (x *Acquired) GetFencingToken() int64 {
	if x != nil {
		return x.FencingToken
	}
	return 0
}

func (x *Acquired) GetExpiresAfterRequest() *durationpb.Duration {
	if x != nil {
		return x.ExpiresAfterRequest
	}
	return nil
}

func (x *Acquired) GetPermit() int32 {
	if x != nil && x.Permit != nil {
		return *x.Permit
	}
	return 0
}

func (x *Acquired) GetAlso() []*AlsoAcquired {
	if x != nil {
		return x.Also
	}
	return nil
}

// One more lock that is held from now on.
type AlsoAcquired struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock id, as in Acquired.
	LockId string `protobuf:"bytes,1,opt,name=lock_id,json=lockId,proto3" json:"lock_id,omitempty"`
	// The fencing token, as in Acquired. Tokens of different names say nothing about each other.
	FencingToken int64 `protobuf:"varint,2,opt,name=fencing_token,json=fencingToken,proto3" json:"fencing_token,omitempty"`
	// The permit, as in Acquired.
	Permit        *int32 `protobuf:"varint,3,opt,name=permit,proto3,oneof" json:"permit,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *AlsoAcquired) Reset() {
	*x = AlsoAcquired{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[8]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AlsoAcquired) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AlsoAcquired) ProtoMessage() {}

func (x *AlsoAcquired) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[8]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AlsoAcquired.ProtoReflect.Descriptor instead.
func (*AlsoAcquired) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{8}
}

func (x *AlsoAcquired) GetLockId() string {
	if x != nil {
		return x.LockId
	}
	return ""
}

func (x *AlsoAcquired) GetFencingToken() int64 {
	if x != nil {
		return x.FencingToken
	}
	return 0
}

func (x *AlsoAcquired) GetPermit() int32 {
	if x != nil && x.Permit != nil {
		return *x.Permit
	}
	return 0
}

// The lock was not acquired.
type NotAcquired struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The reason.
	Reason NotAcquired_Reason `protobuf:"varint,1,opt,name=reason,proto3,enum=lockbroker.v1.NotAcquired_Reason" json:"reason,omitempty"`
	// The owner label of whoever held it when the broker looked, where known and given.
	Owner string `protobuf:"bytes,2,opt,name=owner,proto3" json:"owner,omitempty"`
	// Of several locks (`BeginLock.also`): the name of the one for which none was acquired. Empty otherwise.
	Name          string `protobuf:"bytes,3,opt,name=name,proto3" json:"name,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *NotAcquired) Reset() {
	*x = NotAcquired{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[9]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *NotAcquired) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*NotAcquired) ProtoMessage() {}

func (x *NotAcquired) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[9]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use NotAcquired.ProtoReflect.Descriptor instead.
func (*NotAcquired) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{9}
}

func (x *NotAcquired) GetReason() NotAcquired_Reason {
	if x != nil {
		return x.Reason
	}
	return NotAcquired_REASON_UNSPECIFIED
}

func (x *NotAcquired) GetOwner() string {
	if x != nil {
		return x.Owner
	}
	return ""
}

func (x *NotAcquired) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

// The request waits in a queue.
type Queued struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The place among this broker's waiters for the name; the first is 1. Other brokers have queues of
	// their own, so it does not tell who is next.
	Position      int32 `protobuf:"varint,1,opt,name=position,proto3" json:"position,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Queued) Reset() {
	*x = Queued{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[10]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Queued) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Queued) ProtoMessage() {}

func (x *Queued) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[10]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Queued.ProtoReflect.Descriptor instead.
func (*Queued) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{10}
}

func (x *Queued) GetPosition() int32 {
	if x != nil {
		return x.Position
	}
	return 0
}

// The grant was renewed.
type Renewed struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The validity as in Acquired, from the same request: so on a stream it grows with every renewal (13 s,
	// 18 s, 23 s, ...). Since clocks may run apart, it is shorter by 0.72 s for each hour since the request.
	// To hold a lock for hours, use a Session, or ask GetLock with the lock id: its answer counts from
	// that request.
	ExpiresAfterRequest *durationpb.Duration `protobuf:"bytes,1,opt,name=expires_after_request,json=expiresAfterRequest,proto3" json:"expires_after_request,omitempty"`
	unknownFields       protoimpl.UnknownFields
	sizeCache           protoimpl.SizeCache
}

func (x *Renewed) Reset() {
	*x = Renewed{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[11]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Renewed) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Renewed) ProtoMessage() {}

func (x *Renewed) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[11]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Renewed.ProtoReflect.Descriptor instead.
func (*Renewed) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{11}
}

func (x *Renewed) GetExpiresAfterRequest() *durationpb.Duration {
	if x != nil {
		return x.ExpiresAfterRequest
	}
	return nil
}

// The lock is lost: stop what it protects. After EXPIRED that is to be done within a thirtieth of the
// ttl, for which the lock is still kept from others. No later answer makes the lock valid again.
type Lost struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The reason.
	Reason Lost_Reason `protobuf:"varint,1,opt,name=reason,proto3,enum=lockbroker.v1.Lost_Reason" json:"reason,omitempty"`
	// Of several locks (`BeginLock.also`): the name of the one that is lost. None of the others may be relied on. Empty otherwise.
	Name          string `protobuf:"bytes,2,opt,name=name,proto3" json:"name,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Lost) Reset() {
	*x = Lost{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[12]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Lost) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Lost) ProtoMessage() {}

func (x *Lost) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[12]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Lost.ProtoReflect.Descriptor instead.
func (*Lost) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{12}
}

func (x *Lost) GetReason() Lost_Reason {
	if x != nil {
		return x.Reason
	}
	return Lost_REASON_UNSPECIFIED
}

func (x *Lost) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

// The lock was released as asked.
type Released struct {
	state         protoimpl.MessageState `protogen:"open.v1"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Released) Reset() {
	*x = Released{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[13]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Released) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Released) ProtoMessage() {}

func (x *Released) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[13]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Released.ProtoReflect.Descriptor instead.
func (*Released) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{13}
}

// This broker is going away; reattach on a new connection, then end this stream.
type Draining struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The longest time for which this broker goes on renewing, from when it sent this. It may end earlier,
	// so reattach at once instead of waiting for it.
	Grace         *durationpb.Duration `protobuf:"bytes,1,opt,name=grace,proto3" json:"grace,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Draining) Reset() {
	*x = Draining{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[14]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Draining) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Draining) ProtoMessage() {}

func (x *Draining) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[14]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Draining.ProtoReflect.Descriptor instead.
func (*Draining) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{14}
}

func (x *Draining) GetGrace() *durationpb.Duration {
	if x != nil {
		return x.Grace
	}
	return nil
}

// One lock of a Session failed.
type Failed struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The number of a google.rpc.Code: the status that Acquire or WaitAcquire would have ended with.
	Code int32 `protobuf:"varint,1,opt,name=code,proto3" json:"code,omitempty"`
	// The explanation, for the person who reads it.
	Message string `protobuf:"bytes,2,opt,name=message,proto3" json:"message,omitempty"`
	// The time after which a new try makes sense, from when this came. Unset: not known.
	RetryAfter *durationpb.Duration `protobuf:"bytes,3,opt,name=retry_after,json=retryAfter,proto3" json:"retry_after,omitempty"`
	// The reason, for programs: one of google.rpc.ErrorInfo, as listed at the top.
	Reason        string `protobuf:"bytes,4,opt,name=reason,proto3" json:"reason,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Failed) Reset() {
	*x = Failed{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[15]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Failed) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Failed) ProtoMessage() {}

func (x *Failed) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[15]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Failed.ProtoReflect.Descriptor instead.
func (*Failed) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{15}
}

func (x *Failed) GetCode() int32 {
	if x != nil {
		return x.Code
	}
	return 0
}

func (x *Failed) GetMessage() string {
	if x != nil {
		return x.Message
	}
	return ""
}

func (x *Failed) GetRetryAfter() *durationpb.Duration {
	if x != nil {
		return x.RetryAfter
	}
	return nil
}

func (x *Failed) GetReason() string {
	if x != nil {
		return x.Reason
	}
	return ""
}

// Asks for a lease.
type AcquireLeaseRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock.
	Lock *LockSpec `protobuf:"bytes,1,opt,name=lock,proto3" json:"lock,omitempty"`
	// The ttl, as in AcquireRequest. It stays the same for as long as the lease is renewed.
	Ttl *durationpb.Duration `protobuf:"bytes,2,opt,name=ttl,proto3" json:"ttl,omitempty"`
	// The way to wait, for at most 30 s: that is also the wait where `wait.max_wait` is unset. If `wait`
	// is unset: try once.
	Wait *WaitSpec `protobuf:"bytes,3,opt,name=wait,proto3" json:"wait,omitempty"`
	// A name for this call, so that it can be repeated after an answer that did not come: the same call
	// with the same `request_id`, at any broker, is answered with the lease that it has got already. A
	// random UUID (version 4 or 7), made anew for each lease. Two calls that share one share the lease!
	// Unset: if the answer is lost, the lock stands for its ttl, and nobody knows its id. A SHARED lease is looked for
	// among the permits 0 to 63: with a higher `limit`, a call that is repeated may get another permit, and the
	// first one stands for its ttl.
	RequestId     string `protobuf:"bytes,4,opt,name=request_id,json=requestId,proto3" json:"request_id,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *AcquireLeaseRequest) Reset() {
	*x = AcquireLeaseRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[16]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AcquireLeaseRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AcquireLeaseRequest) ProtoMessage() {}

func (x *AcquireLeaseRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[16]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AcquireLeaseRequest.ProtoReflect.Descriptor instead.
func (*AcquireLeaseRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{16}
}

func (x *AcquireLeaseRequest) GetLock() *LockSpec {
	if x != nil {
		return x.Lock
	}
	return nil
}

func (x *AcquireLeaseRequest) GetTtl() *durationpb.Duration {
	if x != nil {
		return x.Ttl
	}
	return nil
}

func (x *AcquireLeaseRequest) GetWait() *WaitSpec {
	if x != nil {
		return x.Wait
	}
	return nil
}

func (x *AcquireLeaseRequest) GetRequestId() string {
	if x != nil {
		return x.RequestId
	}
	return ""
}

// The answer to AcquireLease.
type AcquireLeaseResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Exactly one is set.
	//
	// Types that are valid to be assigned to Result:
	//
	//	*AcquireLeaseResponse_Acquired
	//	*AcquireLeaseResponse_NotAcquired
	Result        isAcquireLeaseResponse_Result `protobuf_oneof:"result"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *AcquireLeaseResponse) Reset() {
	*x = AcquireLeaseResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[17]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AcquireLeaseResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AcquireLeaseResponse) ProtoMessage() {}

func (x *AcquireLeaseResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[17]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AcquireLeaseResponse.ProtoReflect.Descriptor instead.
func (*AcquireLeaseResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{17}
}

func (x *AcquireLeaseResponse) GetResult() isAcquireLeaseResponse_Result {
	if x != nil {
		return x.Result
	}
	return nil
}

func (x *AcquireLeaseResponse) GetAcquired() *Acquired {
	if x != nil {
		if x, ok := x.Result.(*AcquireLeaseResponse_Acquired); ok {
			return x.Acquired
		}
	}
	return nil
}

func (x *AcquireLeaseResponse) GetNotAcquired() *NotAcquired {
	if x != nil {
		if x, ok := x.Result.(*AcquireLeaseResponse_NotAcquired); ok {
			return x.NotAcquired
		}
	}
	return nil
}

type isAcquireLeaseResponse_Result interface {
	isAcquireLeaseResponse_Result()
}

type AcquireLeaseResponse_Acquired struct {
	// The lease. Its `lock_id` is longer than that of a lock on a stream, and RenewLease takes no other.
	// It is also good for Release, GetLock, and `reattach_lock_id`, which makes the lease a stream's lock.
	Acquired *Acquired `protobuf:"bytes,1,opt,name=acquired,proto3,oneof"`
}

type AcquireLeaseResponse_NotAcquired struct {
	// The lock was not acquired.
	NotAcquired *NotAcquired `protobuf:"bytes,2,opt,name=not_acquired,json=notAcquired,proto3,oneof"`
}

func (*AcquireLeaseResponse_Acquired) isAcquireLeaseResponse_Result() {}

func (*AcquireLeaseResponse_NotAcquired) isAcquireLeaseResponse_Result() {}

// Asks to renew a lease.
type RenewLeaseRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// The lock id, from AcquireLease.
	LockId        string `protobuf:"bytes,2,opt,name=lock_id,json=lockId,proto3" json:"lock_id,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *RenewLeaseRequest) Reset() {
	*x = RenewLeaseRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[18]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *RenewLeaseRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*RenewLeaseRequest) ProtoMessage() {}

func (x *RenewLeaseRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[18]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use RenewLeaseRequest.ProtoReflect.Descriptor instead.
func (*RenewLeaseRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{18}
}

func (x *RenewLeaseRequest) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *RenewLeaseRequest) GetLockId() string {
	if x != nil {
		return x.LockId
	}
	return ""
}

// The answer to RenewLease.
type RenewLeaseResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Exactly one is set.
	//
	// Types that are valid to be assigned to Result:
	//
	//	*RenewLeaseResponse_Renewed
	//	*RenewLeaseResponse_Lost
	Result        isRenewLeaseResponse_Result `protobuf_oneof:"result"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *RenewLeaseResponse) Reset() {
	*x = RenewLeaseResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[19]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *RenewLeaseResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*RenewLeaseResponse) ProtoMessage() {}

func (x *RenewLeaseResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[19]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use RenewLeaseResponse.ProtoReflect.Descriptor instead.
func (*RenewLeaseResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{19}
}

func (x *RenewLeaseResponse) GetResult() isRenewLeaseResponse_Result {
	if x != nil {
		return x.Result
	}
	return nil
}

func (x *RenewLeaseResponse) GetRenewed() *Renewed {
	if x != nil {
		if x, ok := x.Result.(*RenewLeaseResponse_Renewed); ok {
			return x.Renewed
		}
	}
	return nil
}

func (x *RenewLeaseResponse) GetLost() *Lost {
	if x != nil {
		if x, ok := x.Result.(*RenewLeaseResponse_Lost); ok {
			return x.Lost
		}
	}
	return nil
}

type isRenewLeaseResponse_Result interface {
	isRenewLeaseResponse_Result()
}

type RenewLeaseResponse_Renewed struct {
	// The lease is good: `expires_after_request` counts from when the client sent this RenewLeaseRequest.
	Renewed *Renewed `protobuf:"bytes,1,opt,name=renewed,proto3,oneof"`
}

type RenewLeaseResponse_Lost struct {
	// The lease is lost: it has run out, or somebody ended it.
	Lost *Lost `protobuf:"bytes,2,opt,name=lost,proto3,oneof"`
}

func (*RenewLeaseResponse_Renewed) isRenewLeaseResponse_Result() {}

func (*RenewLeaseResponse_Lost) isRenewLeaseResponse_Result() {}

// Asks to release a lock.
type ReleaseRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name, as in LockSpec.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// The lock id, from Acquired.
	LockId        string `protobuf:"bytes,2,opt,name=lock_id,json=lockId,proto3" json:"lock_id,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReleaseRequest) Reset() {
	*x = ReleaseRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[20]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReleaseRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReleaseRequest) ProtoMessage() {}

func (x *ReleaseRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[20]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReleaseRequest.ProtoReflect.Descriptor instead.
func (*ReleaseRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{20}
}

func (x *ReleaseRequest) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *ReleaseRequest) GetLockId() string {
	if x != nil {
		return x.LockId
	}
	return ""
}

// The effect of a Release.
type ReleaseResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The effect.
	Outcome       ReleaseResponse_Outcome `protobuf:"varint,1,opt,name=outcome,proto3,enum=lockbroker.v1.ReleaseResponse_Outcome" json:"outcome,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ReleaseResponse) Reset() {
	*x = ReleaseResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[21]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ReleaseResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ReleaseResponse) ProtoMessage() {}

func (x *ReleaseResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[21]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ReleaseResponse.ProtoReflect.Descriptor instead.
func (*ReleaseResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{21}
}

func (x *ReleaseResponse) GetOutcome() ReleaseResponse_Outcome {
	if x != nil {
		return x.Outcome
	}
	return ReleaseResponse_OUTCOME_UNSPECIFIED
}

// Asks about a lock.
type GetLockRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name, as in LockSpec.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// The lock id, from Acquired. If set, and if it names the present grant and this broker keeps it,
	// the answer carries `expires_after_request`. That of a SHARED lock is looked up at its permit.
	LockId string `protobuf:"bytes,2,opt,name=lock_id,json=lockId,proto3" json:"lock_id,omitempty"`
	// The permit to look at, 0 to 4,095, of a lock that is SHARED. Unset: the permit of `lock_id`; without one, the lock itself.
	// INVALID_ARGUMENT if `lock_id` names another one.
	Permit        *int32 `protobuf:"varint,3,opt,name=permit,proto3,oneof" json:"permit,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *GetLockRequest) Reset() {
	*x = GetLockRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[22]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *GetLockRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*GetLockRequest) ProtoMessage() {}

func (x *GetLockRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[22]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use GetLockRequest.ProtoReflect.Descriptor instead.
func (*GetLockRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{22}
}

func (x *GetLockRequest) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *GetLockRequest) GetLockId() string {
	if x != nil {
		return x.LockId
	}
	return ""
}

func (x *GetLockRequest) GetPermit() int32 {
	if x != nil && x.Permit != nil {
		return *x.Permit
	}
	return 0
}

// The state of a lock.
type GetLockResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The state of a lock.
	State GetLockResponse_State `protobuf:"varint,1,opt,name=state,proto3,enum=lockbroker.v1.GetLockResponse_State" json:"state,omitempty"`
	// The holder's label, where known and given. Unset for a lock that is SHARED: each permit has a label of its own.
	Owner string `protobuf:"bytes,2,opt,name=owner,proto3" json:"owner,omitempty"`
	// The lock is free this long after the broker looked, at the latest, if nobody renews it. For those who
	// wait; a holder's validity ends earlier. Unset when free. Of a lock that is SHARED: until the last permit is free.
	FreeWithin *durationpb.Duration `protobuf:"bytes,3,opt,name=free_within,json=freeWithin,proto3" json:"free_within,omitempty"`
	// The lock id is valid until this long after the client sent this GetLockRequest.
	ExpiresAfterRequest *durationpb.Duration `protobuf:"bytes,4,opt,name=expires_after_request,json=expiresAfterRequest,proto3" json:"expires_after_request,omitempty"`
	// The number of permits that are held, if the lock is SHARED: of the permits from 0 on, up to the first row of 64 that nobody
	// has. Always 0 where the call names a permit, or a lock id: all the rest is about that permit then, and
	// `state` says if somebody has it.
	SharedCount int32 `protobuf:"varint,5,opt,name=shared_count,json=sharedCount,proto3" json:"shared_count,omitempty"`
	// The holder's fencing token, where known. Unset: 0.
	FencingToken int64 `protobuf:"varint,6,opt,name=fencing_token,json=fencingToken,proto3" json:"fencing_token,omitempty"`
	// The time since the lock was granted or last reattached, where known. Where another broker granted
	// it, this is as exact as the wall clocks of the two.
	HeldFor *durationpb.Duration `protobuf:"bytes,7,opt,name=held_for,json=heldFor,proto3" json:"held_for,omitempty"`
	// Names what the lock is now, for RevokeLock: a grant, or a linger. It is no secret. Unset when free, and of a
	// lock that is SHARED, where each permit has one of its own.
	Etag string `protobuf:"bytes,8,opt,name=etag,proto3" json:"etag,omitempty"`
	// True if the lock is SHARED, and somebody waits for those who share it and lets no new ones in: one who wants it EXCLUSIVE, or
	// several permits. ListWaiters tells who. False where the call names a permit, or a lock id.
	Claimed       bool `protobuf:"varint,9,opt,name=claimed,proto3" json:"claimed,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *GetLockResponse) Reset() {
	*x = GetLockResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[23]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *GetLockResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*GetLockResponse) ProtoMessage() {}

func (x *GetLockResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[23]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use GetLockResponse.ProtoReflect.Descriptor instead.
func (*GetLockResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{23}
}

func (x *GetLockResponse) GetState() GetLockResponse_State {
	if x != nil {
		return x.State
	}
	return GetLockResponse_STATE_UNSPECIFIED
}

func (x *GetLockResponse) GetOwner() string {
	if x != nil {
		return x.Owner
	}
	return ""
}

func (x *GetLockResponse) GetFreeWithin() *durationpb.Duration {
	if x != nil {
		return x.FreeWithin
	}
	return nil
}

func (x *GetLockResponse) GetExpiresAfterRequest() *durationpb.Duration {
	if x != nil {
		return x.ExpiresAfterRequest
	}
	return nil
}

func (x *GetLockResponse) GetSharedCount() int32 {
	if x != nil {
		return x.SharedCount
	}
	return 0
}

func (x *GetLockResponse) GetFencingToken() int64 {
	if x != nil {
		return x.FencingToken
	}
	return 0
}

func (x *GetLockResponse) GetHeldFor() *durationpb.Duration {
	if x != nil {
		return x.HeldFor
	}
	return nil
}

func (x *GetLockResponse) GetEtag() string {
	if x != nil {
		return x.Etag
	}
	return ""
}

func (x *GetLockResponse) GetClaimed() bool {
	if x != nil {
		return x.Claimed
	}
	return false
}

// Asks to give a lock another value.
type UpdateLockRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name, as in LockSpec.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// The lock id, from Acquired.
	LockId string `protobuf:"bytes,2,opt,name=lock_id,json=lockId,proto3" json:"lock_id,omitempty"`
	// The value, as in LockSpec. Unset: an empty one.
	Value         []byte `protobuf:"bytes,3,opt,name=value,proto3" json:"value,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *UpdateLockRequest) Reset() {
	*x = UpdateLockRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[24]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *UpdateLockRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*UpdateLockRequest) ProtoMessage() {}

func (x *UpdateLockRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[24]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use UpdateLockRequest.ProtoReflect.Descriptor instead.
func (*UpdateLockRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{24}
}

func (x *UpdateLockRequest) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *UpdateLockRequest) GetLockId() string {
	if x != nil {
		return x.LockId
	}
	return ""
}

func (x *UpdateLockRequest) GetValue() []byte {
	if x != nil {
		return x.Value
	}
	return nil
}

// The effect of an UpdateLock.
type UpdateLockResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The effect.
	Outcome       UpdateLockResponse_Outcome `protobuf:"varint,1,opt,name=outcome,proto3,enum=lockbroker.v1.UpdateLockResponse_Outcome" json:"outcome,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *UpdateLockResponse) Reset() {
	*x = UpdateLockResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[25]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *UpdateLockResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*UpdateLockResponse) ProtoMessage() {}

func (x *UpdateLockResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[25]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use UpdateLockResponse.ProtoReflect.Descriptor instead.
func (*UpdateLockResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{25}
}

func (x *UpdateLockResponse) GetOutcome() UpdateLockResponse_Outcome {
	if x != nil {
		return x.Outcome
	}
	return UpdateLockResponse_OUTCOME_UNSPECIFIED
}

// Asks to observe a lock.
type ObserveRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name, as in LockSpec.
	Name          string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ObserveRequest) Reset() {
	*x = ObserveRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[26]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ObserveRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ObserveRequest) ProtoMessage() {}

func (x *ObserveRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[26]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ObserveRequest.ProtoReflect.Descriptor instead.
func (*ObserveRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{26}
}

func (x *ObserveRequest) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

// The state of a lock, as far as the broker knows. One that is SHARED has no owner, value or token here.
type ObserveResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// What it is.
	State ObserveResponse_State `protobuf:"varint,1,opt,name=state,proto3,enum=lockbroker.v1.ObserveResponse_State" json:"state,omitempty"`
	// The holder's label, where known and given.
	Owner string `protobuf:"bytes,2,opt,name=owner,proto3" json:"owner,omitempty"`
	// The holder's value, where known and given. Unset: there is none, or it is not known yet.
	Value []byte `protobuf:"bytes,3,opt,name=value,proto3,oneof" json:"value,omitempty"`
	// The holder's fencing token, where known: always if there is a value. Unset: 0. It tells one holder from the next.
	FencingToken int64 `protobuf:"varint,4,opt,name=fencing_token,json=fencingToken,proto3" json:"fencing_token,omitempty"`
	// The lock is free this long after the broker looked, at the latest, if nobody renews it. Unset when free or unknown.
	ExpiresIn     *durationpb.Duration `protobuf:"bytes,5,opt,name=expires_in,json=expiresIn,proto3" json:"expires_in,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ObserveResponse) Reset() {
	*x = ObserveResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[27]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ObserveResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ObserveResponse) ProtoMessage() {}

func (x *ObserveResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[27]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ObserveResponse.ProtoReflect.Descriptor instead.
func (*ObserveResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{27}
}

func (x *ObserveResponse) GetState() ObserveResponse_State {
	if x != nil {
		return x.State
	}
	return ObserveResponse_STATE_UNSPECIFIED
}

func (x *ObserveResponse) GetOwner() string {
	if x != nil {
		return x.Owner
	}
	return ""
}

func (x *ObserveResponse) GetValue() []byte {
	if x != nil {
		return x.Value
	}
	return nil
}

func (x *ObserveResponse) GetFencingToken() int64 {
	if x != nil {
		return x.FencingToken
	}
	return 0
}

func (x *ObserveResponse) GetExpiresIn() *durationpb.Duration {
	if x != nil {
		return x.ExpiresIn
	}
	return nil
}

// A message on a Session, from the client.
type SessionRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Exactly one is set.
	//
	// Types that are valid to be assigned to Kind:
	//
	//	*SessionRequest_Open
	//	*SessionRequest_Heartbeat
	//	*SessionRequest_Begin
	//	*SessionRequest_End
	Kind          isSessionRequest_Kind `protobuf_oneof:"kind"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SessionRequest) Reset() {
	*x = SessionRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[28]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SessionRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SessionRequest) ProtoMessage() {}

func (x *SessionRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[28]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SessionRequest.ProtoReflect.Descriptor instead.
func (*SessionRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{28}
}

func (x *SessionRequest) GetKind() isSessionRequest_Kind {
	if x != nil {
		return x.Kind
	}
	return nil
}

func (x *SessionRequest) GetOpen() *OpenSession {
	if x != nil {
		if x, ok := x.Kind.(*SessionRequest_Open); ok {
			return x.Open
		}
	}
	return nil
}

func (x *SessionRequest) GetHeartbeat() *Heartbeat {
	if x != nil {
		if x, ok := x.Kind.(*SessionRequest_Heartbeat); ok {
			return x.Heartbeat
		}
	}
	return nil
}

func (x *SessionRequest) GetBegin() *BeginLock {
	if x != nil {
		if x, ok := x.Kind.(*SessionRequest_Begin); ok {
			return x.Begin
		}
	}
	return nil
}

func (x *SessionRequest) GetEnd() *EndLock {
	if x != nil {
		if x, ok := x.Kind.(*SessionRequest_End); ok {
			return x.End
		}
	}
	return nil
}

type isSessionRequest_Kind interface {
	isSessionRequest_Kind()
}

type SessionRequest_Open struct {
	// First, and once.
	Open *OpenSession `protobuf:"bytes,1,opt,name=open,proto3,oneof"`
}

type SessionRequest_Heartbeat struct {
	// The sign of life; every `heartbeat_interval`.
	Heartbeat *Heartbeat `protobuf:"bytes,2,opt,name=heartbeat,proto3,oneof"`
}

type SessionRequest_Begin struct {
	// Asks for a lock.
	Begin *BeginLock `protobuf:"bytes,3,opt,name=begin,proto3,oneof"`
}

type SessionRequest_End struct {
	// Gives up a lock, or the wait for it.
	End *EndLock `protobuf:"bytes,4,opt,name=end,proto3,oneof"`
}

func (*SessionRequest_Open) isSessionRequest_Kind() {}

func (*SessionRequest_Heartbeat) isSessionRequest_Kind() {}

func (*SessionRequest_Begin) isSessionRequest_Kind() {}

func (*SessionRequest_End) isSessionRequest_Kind() {}

// Opens a Session.
type OpenSession struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The ttl of all its locks, as in AcquireRequest.
	Ttl           *durationpb.Duration `protobuf:"bytes,1,opt,name=ttl,proto3" json:"ttl,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *OpenSession) Reset() {
	*x = OpenSession{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[29]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *OpenSession) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*OpenSession) ProtoMessage() {}

func (x *OpenSession) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[29]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use OpenSession.ProtoReflect.Descriptor instead.
func (*OpenSession) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{29}
}

func (x *OpenSession) GetTtl() *durationpb.Duration {
	if x != nil {
		return x.Ttl
	}
	return nil
}

// The client lives.
type Heartbeat struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// 1 or more, and above that of every earlier heartbeat of this stream.
	Seq           int64 `protobuf:"varint,1,opt,name=seq,proto3" json:"seq,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *Heartbeat) Reset() {
	*x = Heartbeat{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[30]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *Heartbeat) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*Heartbeat) ProtoMessage() {}

func (x *Heartbeat) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[30]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use Heartbeat.ProtoReflect.Descriptor instead.
func (*Heartbeat) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{30}
}

func (x *Heartbeat) GetSeq() int64 {
	if x != nil {
		return x.Seq
	}
	return 0
}

// Asks for a lock on a Session.
type BeginLock struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The client's handle for the lock on this stream: 1 or more, and above every earlier one.
	LockRef int64 `protobuf:"varint,1,opt,name=lock_ref,json=lockRef,proto3" json:"lock_ref,omitempty"`
	// The lock.
	Lock *LockSpec `protobuf:"bytes,2,opt,name=lock,proto3" json:"lock,omitempty"`
	// The way to wait; unset: try once.
	Wait *WaitSpec `protobuf:"bytes,3,opt,name=wait,proto3" json:"wait,omitempty"`
	// The lock id to reattach, as in AcquireRequest. Not together with `wait`.
	ReattachLockId string `protobuf:"bytes,4,opt,name=reattach_lock_id,json=reattachLockId,proto3" json:"reattach_lock_id,omitempty"`
	// Other locks that are wanted together with `lock`: all of them or none, by this one handle. At most 15, all with
	// different names, and without `min_hold` and `value`. A reattach may name several permits of one lock. Requests for
	// several never wait for each other in a circle, whatever the order in which they name them. `max_wait` is for all
	// together. A client that waits may hold some of them before it has all; others see those as held. When one is lost,
	// all are; the others stay closed until their validity is over, or EndLock.
	Also          []*AlsoLock `protobuf:"bytes,5,rep,name=also,proto3" json:"also,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *BeginLock) Reset() {
	*x = BeginLock{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[31]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *BeginLock) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*BeginLock) ProtoMessage() {}

func (x *BeginLock) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[31]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use BeginLock.ProtoReflect.Descriptor instead.
func (*BeginLock) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{31}
}

func (x *BeginLock) GetLockRef() int64 {
	if x != nil {
		return x.LockRef
	}
	return 0
}

func (x *BeginLock) GetLock() *LockSpec {
	if x != nil {
		return x.Lock
	}
	return nil
}

func (x *BeginLock) GetWait() *WaitSpec {
	if x != nil {
		return x.Wait
	}
	return nil
}

func (x *BeginLock) GetReattachLockId() string {
	if x != nil {
		return x.ReattachLockId
	}
	return ""
}

func (x *BeginLock) GetAlso() []*AlsoLock {
	if x != nil {
		return x.Also
	}
	return nil
}

// One more lock of a BeginLock.
type AlsoLock struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock.
	Lock *LockSpec `protobuf:"bytes,1,opt,name=lock,proto3" json:"lock,omitempty"`
	// The lock id to reattach: set in all of a BeginLock's locks, or in none.
	ReattachLockId string `protobuf:"bytes,2,opt,name=reattach_lock_id,json=reattachLockId,proto3" json:"reattach_lock_id,omitempty"`
	unknownFields  protoimpl.UnknownFields
	sizeCache      protoimpl.SizeCache
}

func (x *AlsoLock) Reset() {
	*x = AlsoLock{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[32]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *AlsoLock) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*AlsoLock) ProtoMessage() {}

func (x *AlsoLock) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[32]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use AlsoLock.ProtoReflect.Descriptor instead.
func (*AlsoLock) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{32}
}

func (x *AlsoLock) GetLock() *LockSpec {
	if x != nil {
		return x.Lock
	}
	return nil
}

func (x *AlsoLock) GetReattachLockId() string {
	if x != nil {
		return x.ReattachLockId
	}
	return ""
}

// Ends a lock on a Session: it is released (answered `released`), or its wait is over
// (`not_acquired`, CANCELLED). A lock that was no longer held is answered `lost`. Ending what has
// already ended does nothing, with one exception: after `lost` of several locks (`BeginLock.also`) it frees the others at once.
// Send it then only when the program has stopped writing under them.
type EndLock struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's handle, as in BeginLock. One that was never begun ends the Session with
	// INVALID_ARGUMENT.
	LockRef       int64 `protobuf:"varint,1,opt,name=lock_ref,json=lockRef,proto3" json:"lock_ref,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *EndLock) Reset() {
	*x = EndLock{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[33]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *EndLock) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*EndLock) ProtoMessage() {}

func (x *EndLock) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[33]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use EndLock.ProtoReflect.Descriptor instead.
func (*EndLock) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{33}
}

func (x *EndLock) GetLockRef() int64 {
	if x != nil {
		return x.LockRef
	}
	return 0
}

// A message on a Session, from the broker.
type SessionResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// Exactly one is set. A client ignores kinds that it does not know.
	//
	// Types that are valid to be assigned to Kind:
	//
	//	*SessionResponse_Opened
	//	*SessionResponse_HeartbeatAck
	//	*SessionResponse_Event
	Kind          isSessionResponse_Kind `protobuf_oneof:"kind"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SessionResponse) Reset() {
	*x = SessionResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[34]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SessionResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SessionResponse) ProtoMessage() {}

func (x *SessionResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[34]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SessionResponse.ProtoReflect.Descriptor instead.
func (*SessionResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{34}
}

func (x *SessionResponse) GetKind() isSessionResponse_Kind {
	if x != nil {
		return x.Kind
	}
	return nil
}

func (x *SessionResponse) GetOpened() *SessionOpened {
	if x != nil {
		if x, ok := x.Kind.(*SessionResponse_Opened); ok {
			return x.Opened
		}
	}
	return nil
}

func (x *SessionResponse) GetHeartbeatAck() *HeartbeatAck {
	if x != nil {
		if x, ok := x.Kind.(*SessionResponse_HeartbeatAck); ok {
			return x.HeartbeatAck
		}
	}
	return nil
}

func (x *SessionResponse) GetEvent() *SessionEvent {
	if x != nil {
		if x, ok := x.Kind.(*SessionResponse_Event); ok {
			return x.Event
		}
	}
	return nil
}

type isSessionResponse_Kind interface {
	isSessionResponse_Kind()
}

type SessionResponse_Opened struct {
	// Answers `open`.
	Opened *SessionOpened `protobuf:"bytes,1,opt,name=opened,proto3,oneof"`
}

type SessionResponse_HeartbeatAck struct {
	// Answers a heartbeat.
	HeartbeatAck *HeartbeatAck `protobuf:"bytes,2,opt,name=heartbeat_ack,json=heartbeatAck,proto3,oneof"`
}

type SessionResponse_Event struct {
	// Something happened to a lock, or to the whole Session.
	Event *SessionEvent `protobuf:"bytes,3,opt,name=event,proto3,oneof"`
}

func (*SessionResponse_Opened) isSessionResponse_Kind() {}

func (*SessionResponse_HeartbeatAck) isSessionResponse_Kind() {}

func (*SessionResponse_Event) isSessionResponse_Kind() {}

// The Session is open.
type SessionOpened struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The ttl as granted.
	Ttl *durationpb.Duration `protobuf:"bytes,1,opt,name=ttl,proto3" json:"ttl,omitempty"`
	// Locks granted from now on are valid until this long after the client sent `open`.
	ExpiresAfterOpen *durationpb.Duration `protobuf:"bytes,2,opt,name=expires_after_open,json=expiresAfterOpen,proto3" json:"expires_after_open,omitempty"`
	// The time from one heartbeat to the next, and from `open` to the first, each as sent: a third of the ttl.
	HeartbeatInterval *durationpb.Duration `protobuf:"bytes,3,opt,name=heartbeat_interval,json=heartbeatInterval,proto3" json:"heartbeat_interval,omitempty"`
	unknownFields     protoimpl.UnknownFields
	sizeCache         protoimpl.SizeCache
}

func (x *SessionOpened) Reset() {
	*x = SessionOpened{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[35]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SessionOpened) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SessionOpened) ProtoMessage() {}

func (x *SessionOpened) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[35]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SessionOpened.ProtoReflect.Descriptor instead.
func (*SessionOpened) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{35}
}

func (x *SessionOpened) GetTtl() *durationpb.Duration {
	if x != nil {
		return x.Ttl
	}
	return nil
}

func (x *SessionOpened) GetExpiresAfterOpen() *durationpb.Duration {
	if x != nil {
		return x.ExpiresAfterOpen
	}
	return nil
}

func (x *SessionOpened) GetHeartbeatInterval() *durationpb.Duration {
	if x != nil {
		return x.HeartbeatInterval
	}
	return nil
}

// A heartbeat has been answered and the locks of the Session renewed.
type HeartbeatAck struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The heartbeat's seq. The same one may be acknowledged again, with fewer locks in `not_renewed`.
	Seq int64 `protobuf:"varint,1,opt,name=seq,proto3" json:"seq,omitempty"`
	// Every lock of the Session that is not in `not_renewed`, and every one granted later, is valid until
	// this long after the client sent that heartbeat.
	ExpiresAfterHeartbeat *durationpb.Duration `protobuf:"bytes,2,opt,name=expires_after_heartbeat,json=expiresAfterHeartbeat,proto3" json:"expires_after_heartbeat,omitempty"`
	// The lock_refs that keep what an earlier ack gave them.
	NotRenewed    []int64 `protobuf:"varint,3,rep,packed,name=not_renewed,json=notRenewed,proto3" json:"not_renewed,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *HeartbeatAck) Reset() {
	*x = HeartbeatAck{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[36]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *HeartbeatAck) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*HeartbeatAck) ProtoMessage() {}

func (x *HeartbeatAck) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[36]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use HeartbeatAck.ProtoReflect.Descriptor instead.
func (*HeartbeatAck) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{36}
}

func (x *HeartbeatAck) GetSeq() int64 {
	if x != nil {
		return x.Seq
	}
	return 0
}

func (x *HeartbeatAck) GetExpiresAfterHeartbeat() *durationpb.Duration {
	if x != nil {
		return x.ExpiresAfterHeartbeat
	}
	return nil
}

func (x *HeartbeatAck) GetNotRenewed() []int64 {
	if x != nil {
		return x.NotRenewed
	}
	return nil
}

// Something happened on a Session.
type SessionEvent struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's handle. 0: the whole Session (`draining`).
	LockRef int64 `protobuf:"varint,1,opt,name=lock_ref,json=lockRef,proto3" json:"lock_ref,omitempty"`
	// The event.
	Event         *LockEvent `protobuf:"bytes,2,opt,name=event,proto3" json:"event,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *SessionEvent) Reset() {
	*x = SessionEvent{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[37]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *SessionEvent) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*SessionEvent) ProtoMessage() {}

func (x *SessionEvent) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[37]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use SessionEvent.ProtoReflect.Descriptor instead.
func (*SessionEvent) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{37}
}

func (x *SessionEvent) GetLockRef() int64 {
	if x != nil {
		return x.LockRef
	}
	return 0
}

func (x *SessionEvent) GetEvent() *LockEvent {
	if x != nil {
		return x.Event
	}
	return nil
}

// Asks which locks there are.
type ListLocksRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The beginning of the names. Unset: all.
	Prefix string `protobuf:"bytes,1,opt,name=prefix,proto3" json:"prefix,omitempty"`
	// The most locks to list, of 1 to 1,000,000: the first by name. Unset: 1,000,000.
	Limit         int32 `protobuf:"varint,2,opt,name=limit,proto3" json:"limit,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ListLocksRequest) Reset() {
	*x = ListLocksRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[38]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ListLocksRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ListLocksRequest) ProtoMessage() {}

func (x *ListLocksRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[38]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ListLocksRequest.ProtoReflect.Descriptor instead.
func (*ListLocksRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{38}
}

func (x *ListLocksRequest) GetPrefix() string {
	if x != nil {
		return x.Prefix
	}
	return ""
}

func (x *ListLocksRequest) GetLimit() int32 {
	if x != nil {
		return x.Limit
	}
	return 0
}

// A part of the list.
type ListLocksResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// A part of the locks, at most 1,000. Each permit of a SHARED lock counts as a lock.
	Locks []*LockInfo `protobuf:"bytes,1,rep,name=locks,proto3" json:"locks,omitempty"`
	// In the last answer: the number of locks that there are, also beyond `limit`; 2,147,483,647 if they are
	// more than that. 0 in the others.
	Total         int32 `protobuf:"varint,2,opt,name=total,proto3" json:"total,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ListLocksResponse) Reset() {
	*x = ListLocksResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[39]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ListLocksResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ListLocksResponse) ProtoMessage() {}

func (x *ListLocksResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[39]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ListLocksResponse.ProtoReflect.Descriptor instead.
func (*ListLocksResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{39}
}

func (x *ListLocksResponse) GetLocks() []*LockInfo {
	if x != nil {
		return x.Locks
	}
	return nil
}

func (x *ListLocksResponse) GetTotal() int32 {
	if x != nil {
		return x.Total
	}
	return 0
}

// A lock as the store has it.
type LockInfo struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// HELD, LINGERING, REVOKED or CLAIMED.
	State GetLockResponse_State `protobuf:"varint,2,opt,name=state,proto3,enum=lockbroker.v1.GetLockResponse_State" json:"state,omitempty"`
	// The holder's label, where known and given.
	Owner string `protobuf:"bytes,3,opt,name=owner,proto3" json:"owner,omitempty"`
	// As in GetLockResponse.
	FreeWithin *durationpb.Duration `protobuf:"bytes,4,opt,name=free_within,json=freeWithin,proto3" json:"free_within,omitempty"`
	// As in GetLockResponse.
	FencingToken int64 `protobuf:"varint,5,opt,name=fencing_token,json=fencingToken,proto3" json:"fencing_token,omitempty"`
	// As in GetLockResponse.
	HeldFor *durationpb.Duration `protobuf:"bytes,6,opt,name=held_for,json=heldFor,proto3" json:"held_for,omitempty"`
	// As in GetLockResponse. Unset for CLAIMED, which nobody can revoke.
	Etag string `protobuf:"bytes,7,opt,name=etag,proto3" json:"etag,omitempty"`
	// The permit, if the lock is SHARED: each permit is an entry of its own. Those of one name stand in their order, behind that of
	// the lock itself, which is CLAIMED beside them.
	Permit        *int32 `protobuf:"varint,8,opt,name=permit,proto3,oneof" json:"permit,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *LockInfo) Reset() {
	*x = LockInfo{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[40]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *LockInfo) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*LockInfo) ProtoMessage() {}

func (x *LockInfo) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[40]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use LockInfo.ProtoReflect.Descriptor instead.
func (*LockInfo) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{40}
}

func (x *LockInfo) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *LockInfo) GetState() GetLockResponse_State {
	if x != nil {
		return x.State
	}
	return GetLockResponse_STATE_UNSPECIFIED
}

func (x *LockInfo) GetOwner() string {
	if x != nil {
		return x.Owner
	}
	return ""
}

func (x *LockInfo) GetFreeWithin() *durationpb.Duration {
	if x != nil {
		return x.FreeWithin
	}
	return nil
}

func (x *LockInfo) GetFencingToken() int64 {
	if x != nil {
		return x.FencingToken
	}
	return 0
}

func (x *LockInfo) GetHeldFor() *durationpb.Duration {
	if x != nil {
		return x.HeldFor
	}
	return nil
}

func (x *LockInfo) GetEtag() string {
	if x != nil {
		return x.Etag
	}
	return ""
}

func (x *LockInfo) GetPermit() int32 {
	if x != nil && x.Permit != nil {
		return *x.Permit
	}
	return 0
}

// Asks who waits.
type ListWaitersRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name. Unset: the waiters of all locks that `prefix` names.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// The beginning of the names. Not together with `name`.
	Prefix string `protobuf:"bytes,2,opt,name=prefix,proto3" json:"prefix,omitempty"`
	// The most waiters to list, of 1 to 1,000,000: the first by name and place. Unset: 1,000,000.
	Limit         int32 `protobuf:"varint,3,opt,name=limit,proto3" json:"limit,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ListWaitersRequest) Reset() {
	*x = ListWaitersRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[41]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ListWaitersRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ListWaitersRequest) ProtoMessage() {}

func (x *ListWaitersRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[41]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ListWaitersRequest.ProtoReflect.Descriptor instead.
func (*ListWaitersRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{41}
}

func (x *ListWaitersRequest) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *ListWaitersRequest) GetPrefix() string {
	if x != nil {
		return x.Prefix
	}
	return ""
}

func (x *ListWaitersRequest) GetLimit() int32 {
	if x != nil {
		return x.Limit
	}
	return 0
}

// A part of the list.
type ListWaitersResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// A part of the waiters, at most 1,000. Those of one lock stand in the order of their places.
	Waiters []*WaiterInfo `protobuf:"bytes,1,rep,name=waiters,proto3" json:"waiters,omitempty"`
	// In the last answer: the number of waiters that there are, as in ListLocksResponse.
	Total         int32 `protobuf:"varint,2,opt,name=total,proto3" json:"total,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *ListWaitersResponse) Reset() {
	*x = ListWaitersResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[42]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *ListWaitersResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*ListWaitersResponse) ProtoMessage() {}

func (x *ListWaitersResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[42]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use ListWaitersResponse.ProtoReflect.Descriptor instead.
func (*ListWaitersResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{42}
}

func (x *ListWaitersResponse) GetWaiters() []*WaiterInfo {
	if x != nil {
		return x.Waiters
	}
	return nil
}

func (x *ListWaitersResponse) GetTotal() int32 {
	if x != nil {
		return x.Total
	}
	return 0
}

// Somebody who waits for a lock.
type WaiterInfo struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// The place among this broker's waiters for the name; the first is 1.
	Position int32 `protobuf:"varint,2,opt,name=position,proto3" json:"position,omitempty"`
	// The waiter's label, where given: what it would show as a holder.
	Owner string `protobuf:"bytes,3,opt,name=owner,proto3" json:"owner,omitempty"`
	// The time since it asked.
	WaitedFor *durationpb.Duration `protobuf:"bytes,4,opt,name=waited_for,json=waitedFor,proto3" json:"waited_for,omitempty"`
	// EXCLUSIVE or SHARED.
	Mode LockSpec_Mode `protobuf:"varint,5,opt,name=mode,proto3,enum=lockbroker.v1.LockSpec_Mode" json:"mode,omitempty"`
	// As in LockSpec; 4,096 where that was unset. 0 if it is EXCLUSIVE.
	Limit int32 `protobuf:"varint,6,opt,name=limit,proto3" json:"limit,omitempty"`
	// The number of permits that it takes. 0 if it is EXCLUSIVE.
	Weight int32 `protobuf:"varint,7,opt,name=weight,proto3" json:"weight,omitempty"`
	// True if nobody else gets the lock, or a permit of it, before: it waits for those who share the lock. ListLocks shows it as CLAIMED
	// meanwhile.
	KeepsOthersOut bool `protobuf:"varint,8,opt,name=keeps_others_out,json=keepsOthersOut,proto3" json:"keeps_others_out,omitempty"`
	unknownFields  protoimpl.UnknownFields
	sizeCache      protoimpl.SizeCache
}

func (x *WaiterInfo) Reset() {
	*x = WaiterInfo{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[43]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *WaiterInfo) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*WaiterInfo) ProtoMessage() {}

func (x *WaiterInfo) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[43]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use WaiterInfo.ProtoReflect.Descriptor instead.
func (*WaiterInfo) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{43}
}

func (x *WaiterInfo) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *WaiterInfo) GetPosition() int32 {
	if x != nil {
		return x.Position
	}
	return 0
}

func (x *WaiterInfo) GetOwner() string {
	if x != nil {
		return x.Owner
	}
	return ""
}

func (x *WaiterInfo) GetWaitedFor() *durationpb.Duration {
	if x != nil {
		return x.WaitedFor
	}
	return nil
}

func (x *WaiterInfo) GetMode() LockSpec_Mode {
	if x != nil {
		return x.Mode
	}
	return LockSpec_MODE_UNSPECIFIED
}

func (x *WaiterInfo) GetLimit() int32 {
	if x != nil {
		return x.Limit
	}
	return 0
}

func (x *WaiterInfo) GetWeight() int32 {
	if x != nil {
		return x.Weight
	}
	return 0
}

func (x *WaiterInfo) GetKeepsOthersOut() bool {
	if x != nil {
		return x.KeepsOthersOut
	}
	return false
}

// Asks to take a lock from its holder.
type RevokeLockRequest struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The lock's name.
	Name string `protobuf:"bytes,1,opt,name=name,proto3" json:"name,omitempty"`
	// From GetLock or ListLocks: revoke that grant alone; with `immediate`, free that linger or revocation
	// alone. It has 16 hexadecimal digits. Unset: whatever the lock is when the broker looks.
	Etag string `protobuf:"bytes,2,opt,name=etag,proto3" json:"etag,omitempty"`
	// True frees the lock at once, without its linger and its `min_hold`. If nobody holds it, it ends what keeps
	// the lock closed: a linger, a `min_hold`, or an earlier revocation. Its holder may believe in it for up to --max-ttl more: until then there can be TWO HOLDERS.
	// Use it only if the holder is known to be gone. If another broker keeps the lock and the two do not hear
	// each other (--advertise), the holder is told GONE or TAKEN_OVER, at its next renewal.
	Immediate bool `protobuf:"varint,3,opt,name=immediate,proto3" json:"immediate,omitempty"`
	// The permit to revoke, 0 to 4,095, of a lock that is SHARED. Nobody else can acquire this permit before its holder can no longer believe
	// in it; the other permits are as they were. Unset: the lock itself, of one who has it EXCLUSIVE.
	Permit        *int32 `protobuf:"varint,4,opt,name=permit,proto3,oneof" json:"permit,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *RevokeLockRequest) Reset() {
	*x = RevokeLockRequest{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[44]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *RevokeLockRequest) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*RevokeLockRequest) ProtoMessage() {}

func (x *RevokeLockRequest) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[44]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use RevokeLockRequest.ProtoReflect.Descriptor instead.
func (*RevokeLockRequest) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{44}
}

func (x *RevokeLockRequest) GetName() string {
	if x != nil {
		return x.Name
	}
	return ""
}

func (x *RevokeLockRequest) GetEtag() string {
	if x != nil {
		return x.Etag
	}
	return ""
}

func (x *RevokeLockRequest) GetImmediate() bool {
	if x != nil {
		return x.Immediate
	}
	return false
}

func (x *RevokeLockRequest) GetPermit() int32 {
	if x != nil && x.Permit != nil {
		return *x.Permit
	}
	return 0
}

// The effect of a RevokeLock.
type RevokeLockResponse struct {
	state protoimpl.MessageState `protogen:"open.v1"`
	// The effect.
	Outcome RevokeLockResponse_Outcome `protobuf:"varint,1,opt,name=outcome,proto3,enum=lockbroker.v1.RevokeLockResponse_Outcome" json:"outcome,omitempty"`
	// The label of the holder whose grant was revoked, where known and given.
	Owner string `protobuf:"bytes,2,opt,name=owner,proto3" json:"owner,omitempty"`
	// After REVOKED: somebody else can have the lock after this long. 0 if it is free. It takes longer if
	// this broker dies meanwhile.
	FreeWithin    *durationpb.Duration `protobuf:"bytes,3,opt,name=free_within,json=freeWithin,proto3" json:"free_within,omitempty"`
	unknownFields protoimpl.UnknownFields
	sizeCache     protoimpl.SizeCache
}

func (x *RevokeLockResponse) Reset() {
	*x = RevokeLockResponse{}
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[45]
	ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
	ms.StoreMessageInfo(mi)
}

func (x *RevokeLockResponse) String() string {
	return protoimpl.X.MessageStringOf(x)
}

func (*RevokeLockResponse) ProtoMessage() {}

func (x *RevokeLockResponse) ProtoReflect() protoreflect.Message {
	mi := &file_lockbroker_v1_lockbroker_proto_msgTypes[45]
	if x != nil {
		ms := protoimpl.X.MessageStateOf(protoimpl.Pointer(x))
		if ms.LoadMessageInfo() == nil {
			ms.StoreMessageInfo(mi)
		}
		return ms
	}
	return mi.MessageOf(x)
}

// Deprecated: Use RevokeLockResponse.ProtoReflect.Descriptor instead.
func (*RevokeLockResponse) Descriptor() ([]byte, []int) {
	return file_lockbroker_v1_lockbroker_proto_rawDescGZIP(), []int{45}
}

func (x *RevokeLockResponse) GetOutcome() RevokeLockResponse_Outcome {
	if x != nil {
		return x.Outcome
	}
	return RevokeLockResponse_OUTCOME_UNSPECIFIED
}

func (x *RevokeLockResponse) GetOwner() string {
	if x != nil {
		return x.Owner
	}
	return ""
}

func (x *RevokeLockResponse) GetFreeWithin() *durationpb.Duration {
	if x != nil {
		return x.FreeWithin
	}
	return nil
}

var File_lockbroker_v1_lockbroker_proto protoreflect.FileDescriptor

const file_lockbroker_v1_lockbroker_proto_rawDesc = "" +
	"\n" +
	"\x1elockbroker/v1/lockbroker.proto\x12\rlockbroker.v1\x1a\x1egoogle/protobuf/duration.proto\"\x92\x04\n" +
	"\bLockSpec\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x121\n" +
	"\x06linger\x18\x02 \x01(\v2\x19.google.protobuf.DurationR\x06linger\x12\x14\n" +
	"\x05owner\x18\x03 \x01(\tR\x05owner\x120\n" +
	"\x04mode\x18\x04 \x01(\x0e2\x1c.lockbroker.v1.LockSpec.ModeR\x04mode\x12\x14\n" +
	"\x05limit\x18\x06 \x01(\x05R\x05limit\x12\x16\n" +
	"\x06weight\x18\t \x01(\x05R\x06weight\x12I\n" +
	"\ron_disconnect\x18\x05 \x01(\x0e2$.lockbroker.v1.LockSpec.OnDisconnectR\fonDisconnect\x124\n" +
	"\bmin_hold\x18\b \x01(\v2\x19.google.protobuf.DurationR\aminHold\x12\x19\n" +
	"\x05value\x18\a \x01(\fH\x00R\x05value\x88\x01\x01\"`\n" +
	"\fOnDisconnect\x12\x1d\n" +
	"\x19ON_DISCONNECT_UNSPECIFIED\x10\x00\x12\x19\n" +
	"\x15ON_DISCONNECT_RELEASE\x10\x01\x12\x16\n" +
	"\x12ON_DISCONNECT_KEEP\x10\x02\"A\n" +
	"\x04Mode\x12\x14\n" +
	"\x10MODE_UNSPECIFIED\x10\x00\x12\x12\n" +
	"\x0eMODE_EXCLUSIVE\x10\x01\x12\x0f\n" +
	"\vMODE_SHARED\x10\x02B\b\n" +
	"\x06_value\"\x80\x01\n" +
	"\bWaitSpec\x124\n" +
	"\bmax_wait\x18\x01 \x01(\v2\x19.google.protobuf.DurationR\amaxWait\x12>\n" +
	"\rpoll_interval\x18\x02 \x01(\v2\x19.google.protobuf.DurationR\fpollInterval\"\x94\x01\n" +
	"\x0eAcquireRequest\x12+\n" +
	"\x04lock\x18\x01 \x01(\v2\x17.lockbroker.v1.LockSpecR\x04lock\x12+\n" +
	"\x03ttl\x18\x02 \x01(\v2\x19.google.protobuf.DurationR\x03ttl\x12(\n" +
	"\x10reattach_lock_id\x18\x03 \x01(\tR\x0ereattachLockId\"\x9b\x01\n" +
	"\x12WaitAcquireRequest\x12+\n" +
	"\x04lock\x18\x01 \x01(\v2\x17.lockbroker.v1.LockSpecR\x04lock\x12+\n" +
	"\x03ttl\x18\x02 \x01(\v2\x19.google.protobuf.DurationR\x03ttl\x12+\n" +
	"\x04wait\x18\x03 \x01(\v2\x17.lockbroker.v1.WaitSpecR\x04wait\"A\n" +
	"\x0fAcquireResponse\x12.\n" +
	"\x05event\x18\x01 \x01(\v2\x18.lockbroker.v1.LockEventR\x05event\"E\n" +
	"\x13WaitAcquireResponse\x12.\n" +
	"\x05event\x18\x01 \x01(\v2\x18.lockbroker.v1.LockEventR\x05event\"\xba\x03\n" +
	"\tLockEvent\x125\n" +
	"\bacquired\x18\x01 \x01(\v2\x17.lockbroker.v1.AcquiredH\x00R\bacquired\x12?\n" +
	"\fnot_acquired\x18\x02 \x01(\v2\x1a.lockbroker.v1.NotAcquiredH\x00R\vnotAcquired\x12/\n" +
	"\x06queued\x18\x03 \x01(\v2\x15.lockbroker.v1.QueuedH\x00R\x06queued\x122\n" +
	"\arenewed\x18\x04 \x01(\v2\x16.lockbroker.v1.RenewedH\x00R\arenewed\x12)\n" +
	"\x04lost\x18\x05 \x01(\v2\x13.lockbroker.v1.LostH\x00R\x04lost\x125\n" +
	"\breleased\x18\x06 \x01(\v2\x17.lockbroker.v1.ReleasedH\x00R\breleased\x125\n" +
	"\bdraining\x18\a \x01(\v2\x17.lockbroker.v1.DrainingH\x00R\bdraining\x12/\n" +
	"\x06failed\x18\b \x01(\v2\x15.lockbroker.v1.FailedH\x00R\x06failedB\x06\n" +
	"\x04kind\"\xf0\x01\n" +
	"\bAcquired\x12\x17\n" +
	"\alock_id\x18\x01 \x01(\tR\x06lockId\x12#\n" +
	"\rfencing_token\x18\x02 \x01(\x03R\ffencingToken\x12M\n" +
	"\x15expires_after_request\x18\x03 \x01(\v2\x19.google.protobuf.DurationR\x13expiresAfterRequest\x12\x1b\n" +
	"\x06permit\x18\x04 \x01(\x05H\x00R\x06permit\x88\x01\x01\x12/\n" +
	"\x04also\x18\x05 \x03(\v2\x1b.lockbroker.v1.AlsoAcquiredR\x04alsoB\t\n" +
	"\a_permit\"t\n" +
	"\fAlsoAcquired\x12\x17\n" +
	"\alock_id\x18\x01 \x01(\tR\x06lockId\x12#\n" +
	"\rfencing_token\x18\x02 \x01(\x03R\ffencingToken\x12\x1b\n" +
	"\x06permit\x18\x03 \x01(\x05H\x00R\x06permit\x88\x01\x01B\t\n" +
	"\a_permit\"\x84\x02\n" +
	"\vNotAcquired\x129\n" +
	"\x06reason\x18\x01 \x01(\x0e2!.lockbroker.v1.NotAcquired.ReasonR\x06reason\x12\x14\n" +
	"\x05owner\x18\x02 \x01(\tR\x05owner\x12\x12\n" +
	"\x04name\x18\x03 \x01(\tR\x04name\"\x8f\x01\n" +
	"\x06Reason\x12\x16\n" +
	"\x12REASON_UNSPECIFIED\x10\x00\x12\x0f\n" +
	"\vREASON_HELD\x10\x01\x12\x14\n" +
	"\x10REASON_LINGERING\x10\x02\x12\x13\n" +
	"\x0fREASON_MAX_WAIT\x10\x03\x12\x14\n" +
	"\x10REASON_CANCELLED\x10\x04\x12\x1b\n" +
	"\x17REASON_NOT_REATTACHABLE\x10\x05\"$\n" +
	"\x06Queued\x12\x1a\n" +
	"\bposition\x18\x01 \x01(\x05R\bposition\"X\n" +
	"\aRenewed\x12M\n" +
	"\x15expires_after_request\x18\x01 \x01(\v2\x19.google.protobuf.DurationR\x13expiresAfterRequest\"\xc0\x01\n" +
	"\x04Lost\x122\n" +
	"\x06reason\x18\x01 \x01(\x0e2\x1a.lockbroker.v1.Lost.ReasonR\x06reason\x12\x12\n" +
	"\x04name\x18\x02 \x01(\tR\x04name\"p\n" +
	"\x06Reason\x12\x16\n" +
	"\x12REASON_UNSPECIFIED\x10\x00\x12\x12\n" +
	"\x0eREASON_EXPIRED\x10\x01\x12\x0f\n" +
	"\vREASON_GONE\x10\x02\x12\x15\n" +
	"\x11REASON_TAKEN_OVER\x10\x03\x12\x12\n" +
	"\x0eREASON_REVOKED\x10\x04\"\n" +
	"\n" +
	"\bReleased\";\n" +
	"\bDraining\x12/\n" +
	"\x05grace\x18\x01 \x01(\v2\x19.google.protobuf.DurationR\x05grace\"\x8a\x01\n" +
	"\x06Failed\x12\x12\n" +
	"\x04code\x18\x01 \x01(\x05R\x04code\x12\x18\n" +
	"\amessage\x18\x02 \x01(\tR\amessage\x12:\n" +
	"\vretry_after\x18\x03 \x01(\v2\x19.google.protobuf.DurationR\n" +
	"retryAfter\x12\x16\n" +
	"\x06reason\x18\x04 \x01(\tR\x06reason\"\xbb\x01\n" +
	"\x13AcquireLeaseRequest\x12+\n" +
	"\x04lock\x18\x01 \x01(\v2\x17.lockbroker.v1.LockSpecR\x04lock\x12+\n" +
	"\x03ttl\x18\x02 \x01(\v2\x19.google.protobuf.DurationR\x03ttl\x12+\n" +
	"\x04wait\x18\x03 \x01(\v2\x17.lockbroker.v1.WaitSpecR\x04wait\x12\x1d\n" +
	"\n" +
	"request_id\x18\x04 \x01(\tR\trequestId\"\x98\x01\n" +
	"\x14AcquireLeaseResponse\x125\n" +
	"\bacquired\x18\x01 \x01(\v2\x17.lockbroker.v1.AcquiredH\x00R\bacquired\x12?\n" +
	"\fnot_acquired\x18\x02 \x01(\v2\x1a.lockbroker.v1.NotAcquiredH\x00R\vnotAcquiredB\b\n" +
	"\x06result\"@\n" +
	"\x11RenewLeaseRequest\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12\x17\n" +
	"\alock_id\x18\x02 \x01(\tR\x06lockId\"}\n" +
	"\x12RenewLeaseResponse\x122\n" +
	"\arenewed\x18\x01 \x01(\v2\x16.lockbroker.v1.RenewedH\x00R\arenewed\x12)\n" +
	"\x04lost\x18\x02 \x01(\v2\x13.lockbroker.v1.LostH\x00R\x04lostB\b\n" +
	"\x06result\"=\n" +
	"\x0eReleaseRequest\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12\x17\n" +
	"\alock_id\x18\x02 \x01(\tR\x06lockId\"\xc0\x01\n" +
	"\x0fReleaseResponse\x12@\n" +
	"\aoutcome\x18\x01 \x01(\x0e2&.lockbroker.v1.ReleaseResponse.OutcomeR\aoutcome\"k\n" +
	"\aOutcome\x12\x17\n" +
	"\x13OUTCOME_UNSPECIFIED\x10\x00\x12\x14\n" +
	"\x10OUTCOME_RELEASED\x10\x01\x12\x14\n" +
	"\x10OUTCOME_NOT_HELD\x10\x02\x12\x1b\n" +
	"\x17OUTCOME_HELD_BY_ANOTHER\x10\x03\"e\n" +
	"\x0eGetLockRequest\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12\x17\n" +
	"\alock_id\x18\x02 \x01(\tR\x06lockId\x12\x1b\n" +
	"\x06permit\x18\x03 \x01(\x05H\x00R\x06permit\x88\x01\x01B\t\n" +
	"\a_permit\"\x95\x04\n" +
	"\x0fGetLockResponse\x12:\n" +
	"\x05state\x18\x01 \x01(\x0e2$.lockbroker.v1.GetLockResponse.StateR\x05state\x12\x14\n" +
	"\x05owner\x18\x02 \x01(\tR\x05owner\x12:\n" +
	"\vfree_within\x18\x03 \x01(\v2\x19.google.protobuf.DurationR\n" +
	"freeWithin\x12M\n" +
	"\x15expires_after_request\x18\x04 \x01(\v2\x19.google.protobuf.DurationR\x13expiresAfterRequest\x12!\n" +
	"\fshared_count\x18\x05 \x01(\x05R\vsharedCount\x12#\n" +
	"\rfencing_token\x18\x06 \x01(\x03R\ffencingToken\x124\n" +
	"\bheld_for\x18\a \x01(\v2\x19.google.protobuf.DurationR\aheldFor\x12\x12\n" +
	"\x04etag\x18\b \x01(\tR\x04etag\x12\x18\n" +
	"\aclaimed\x18\t \x01(\bR\aclaimed\"y\n" +
	"\x05State\x12\x15\n" +
	"\x11STATE_UNSPECIFIED\x10\x00\x12\x0e\n" +
	"\n" +
	"STATE_FREE\x10\x01\x12\x0e\n" +
	"\n" +
	"STATE_HELD\x10\x02\x12\x13\n" +
	"\x0fSTATE_LINGERING\x10\x03\x12\x11\n" +
	"\rSTATE_REVOKED\x10\x04\x12\x11\n" +
	"\rSTATE_CLAIMED\x10\x05\"V\n" +
	"\x11UpdateLockRequest\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12\x17\n" +
	"\alock_id\x18\x02 \x01(\tR\x06lockId\x12\x14\n" +
	"\x05value\x18\x03 \x01(\fR\x05value\"\xdc\x01\n" +
	"\x12UpdateLockResponse\x12C\n" +
	"\aoutcome\x18\x01 \x01(\x0e2).lockbroker.v1.UpdateLockResponse.OutcomeR\aoutcome\"\x80\x01\n" +
	"\aOutcome\x12\x17\n" +
	"\x13OUTCOME_UNSPECIFIED\x10\x00\x12\x13\n" +
	"\x0fOUTCOME_UPDATED\x10\x01\x12\x14\n" +
	"\x10OUTCOME_NOT_HELD\x10\x02\x12\x1b\n" +
	"\x17OUTCOME_HELD_BY_ANOTHER\x10\x03\x12\x14\n" +
	"\x10OUTCOME_NO_VALUE\x10\x04\"$\n" +
	"\x0eObserveRequest\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\"\xe2\x02\n" +
	"\x0fObserveResponse\x12:\n" +
	"\x05state\x18\x01 \x01(\x0e2$.lockbroker.v1.ObserveResponse.StateR\x05state\x12\x14\n" +
	"\x05owner\x18\x02 \x01(\tR\x05owner\x12\x19\n" +
	"\x05value\x18\x03 \x01(\fH\x00R\x05value\x88\x01\x01\x12#\n" +
	"\rfencing_token\x18\x04 \x01(\x03R\ffencingToken\x128\n" +
	"\n" +
	"expires_in\x18\x05 \x01(\v2\x19.google.protobuf.DurationR\texpiresIn\"y\n" +
	"\x05State\x12\x15\n" +
	"\x11STATE_UNSPECIFIED\x10\x00\x12\x11\n" +
	"\rSTATE_UNKNOWN\x10\x01\x12\x0e\n" +
	"\n" +
	"STATE_FREE\x10\x02\x12\x0e\n" +
	"\n" +
	"STATE_HELD\x10\x03\x12\x13\n" +
	"\x0fSTATE_LINGERING\x10\x04\x12\x11\n" +
	"\rSTATE_REVOKED\x10\x05B\b\n" +
	"\x06_value\"\xe2\x01\n" +
	"\x0eSessionRequest\x120\n" +
	"\x04open\x18\x01 \x01(\v2\x1a.lockbroker.v1.OpenSessionH\x00R\x04open\x128\n" +
	"\theartbeat\x18\x02 \x01(\v2\x18.lockbroker.v1.HeartbeatH\x00R\theartbeat\x120\n" +
	"\x05begin\x18\x03 \x01(\v2\x18.lockbroker.v1.BeginLockH\x00R\x05begin\x12*\n" +
	"\x03end\x18\x04 \x01(\v2\x16.lockbroker.v1.EndLockH\x00R\x03endB\x06\n" +
	"\x04kind\":\n" +
	"\vOpenSession\x12+\n" +
	"\x03ttl\x18\x01 \x01(\v2\x19.google.protobuf.DurationR\x03ttl\"\x1d\n" +
	"\tHeartbeat\x12\x10\n" +
	"\x03seq\x18\x01 \x01(\x03R\x03seq\"\xd7\x01\n" +
	"\tBeginLock\x12\x19\n" +
	"\block_ref\x18\x01 \x01(\x03R\alockRef\x12+\n" +
	"\x04lock\x18\x02 \x01(\v2\x17.lockbroker.v1.LockSpecR\x04lock\x12+\n" +
	"\x04wait\x18\x03 \x01(\v2\x17.lockbroker.v1.WaitSpecR\x04wait\x12(\n" +
	"\x10reattach_lock_id\x18\x04 \x01(\tR\x0ereattachLockId\x12+\n" +
	"\x04also\x18\x05 \x03(\v2\x17.lockbroker.v1.AlsoLockR\x04also\"a\n" +
	"\bAlsoLock\x12+\n" +
	"\x04lock\x18\x01 \x01(\v2\x17.lockbroker.v1.LockSpecR\x04lock\x12(\n" +
	"\x10reattach_lock_id\x18\x02 \x01(\tR\x0ereattachLockId\"$\n" +
	"\aEndLock\x12\x19\n" +
	"\block_ref\x18\x01 \x01(\x03R\alockRef\"\xca\x01\n" +
	"\x0fSessionResponse\x126\n" +
	"\x06opened\x18\x01 \x01(\v2\x1c.lockbroker.v1.SessionOpenedH\x00R\x06opened\x12B\n" +
	"\rheartbeat_ack\x18\x02 \x01(\v2\x1b.lockbroker.v1.HeartbeatAckH\x00R\fheartbeatAck\x123\n" +
	"\x05event\x18\x03 \x01(\v2\x1b.lockbroker.v1.SessionEventH\x00R\x05eventB\x06\n" +
	"\x04kind\"\xcf\x01\n" +
	"\rSessionOpened\x12+\n" +
	"\x03ttl\x18\x01 \x01(\v2\x19.google.protobuf.DurationR\x03ttl\x12G\n" +
	"\x12expires_after_open\x18\x02 \x01(\v2\x19.google.protobuf.DurationR\x10expiresAfterOpen\x12H\n" +
	"\x12heartbeat_interval\x18\x03 \x01(\v2\x19.google.protobuf.DurationR\x11heartbeatInterval\"\x94\x01\n" +
	"\fHeartbeatAck\x12\x10\n" +
	"\x03seq\x18\x01 \x01(\x03R\x03seq\x12Q\n" +
	"\x17expires_after_heartbeat\x18\x02 \x01(\v2\x19.google.protobuf.DurationR\x15expiresAfterHeartbeat\x12\x1f\n" +
	"\vnot_renewed\x18\x03 \x03(\x03R\n" +
	"notRenewed\"Y\n" +
	"\fSessionEvent\x12\x19\n" +
	"\block_ref\x18\x01 \x01(\x03R\alockRef\x12.\n" +
	"\x05event\x18\x02 \x01(\v2\x18.lockbroker.v1.LockEventR\x05event\"@\n" +
	"\x10ListLocksRequest\x12\x16\n" +
	"\x06prefix\x18\x01 \x01(\tR\x06prefix\x12\x14\n" +
	"\x05limit\x18\x02 \x01(\x05R\x05limit\"X\n" +
	"\x11ListLocksResponse\x12-\n" +
	"\x05locks\x18\x01 \x03(\v2\x17.lockbroker.v1.LockInfoR\x05locks\x12\x14\n" +
	"\x05total\x18\x02 \x01(\x05R\x05total\"\xc3\x02\n" +
	"\bLockInfo\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12:\n" +
	"\x05state\x18\x02 \x01(\x0e2$.lockbroker.v1.GetLockResponse.StateR\x05state\x12\x14\n" +
	"\x05owner\x18\x03 \x01(\tR\x05owner\x12:\n" +
	"\vfree_within\x18\x04 \x01(\v2\x19.google.protobuf.DurationR\n" +
	"freeWithin\x12#\n" +
	"\rfencing_token\x18\x05 \x01(\x03R\ffencingToken\x124\n" +
	"\bheld_for\x18\x06 \x01(\v2\x19.google.protobuf.DurationR\aheldFor\x12\x12\n" +
	"\x04etag\x18\a \x01(\tR\x04etag\x12\x1b\n" +
	"\x06permit\x18\b \x01(\x05H\x00R\x06permit\x88\x01\x01B\t\n" +
	"\a_permit\"V\n" +
	"\x12ListWaitersRequest\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12\x16\n" +
	"\x06prefix\x18\x02 \x01(\tR\x06prefix\x12\x14\n" +
	"\x05limit\x18\x03 \x01(\x05R\x05limit\"`\n" +
	"\x13ListWaitersResponse\x123\n" +
	"\awaiters\x18\x01 \x03(\v2\x19.lockbroker.v1.WaiterInfoR\awaiters\x12\x14\n" +
	"\x05total\x18\x02 \x01(\x05R\x05total\"\x96\x02\n" +
	"\n" +
	"WaiterInfo\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12\x1a\n" +
	"\bposition\x18\x02 \x01(\x05R\bposition\x12\x14\n" +
	"\x05owner\x18\x03 \x01(\tR\x05owner\x128\n" +
	"\n" +
	"waited_for\x18\x04 \x01(\v2\x19.google.protobuf.DurationR\twaitedFor\x120\n" +
	"\x04mode\x18\x05 \x01(\x0e2\x1c.lockbroker.v1.LockSpec.ModeR\x04mode\x12\x14\n" +
	"\x05limit\x18\x06 \x01(\x05R\x05limit\x12\x16\n" +
	"\x06weight\x18\a \x01(\x05R\x06weight\x12(\n" +
	"\x10keeps_others_out\x18\b \x01(\bR\x0ekeepsOthersOut\"\x81\x01\n" +
	"\x11RevokeLockRequest\x12\x12\n" +
	"\x04name\x18\x01 \x01(\tR\x04name\x12\x12\n" +
	"\x04etag\x18\x02 \x01(\tR\x04etag\x12\x1c\n" +
	"\timmediate\x18\x03 \x01(\bR\timmediate\x12\x1b\n" +
	"\x06permit\x18\x04 \x01(\x05H\x00R\x06permit\x88\x01\x01B\t\n" +
	"\a_permit\"\xa2\x02\n" +
	"\x12RevokeLockResponse\x12C\n" +
	"\aoutcome\x18\x01 \x01(\x0e2).lockbroker.v1.RevokeLockResponse.OutcomeR\aoutcome\x12\x14\n" +
	"\x05owner\x18\x02 \x01(\tR\x05owner\x12:\n" +
	"\vfree_within\x18\x03 \x01(\v2\x19.google.protobuf.DurationR\n" +
	"freeWithin\"u\n" +
	"\aOutcome\x12\x17\n" +
	"\x13OUTCOME_UNSPECIFIED\x10\x00\x12\x13\n" +
	"\x0fOUTCOME_REVOKED\x10\x01\x12\x14\n" +
	"\x10OUTCOME_NOT_HELD\x10\x02\x12\x13\n" +
	"\x0fOUTCOME_CHANGED\x10\x03\x12\x11\n" +
	"\rOUTCOME_FREED\x10\x042\xde\x05\n" +
	"\vLockService\x12J\n" +
	"\aAcquire\x12\x1d.lockbroker.v1.AcquireRequest\x1a\x1e.lockbroker.v1.AcquireResponse0\x01\x12V\n" +
	"\vWaitAcquire\x12!.lockbroker.v1.WaitAcquireRequest\x1a\".lockbroker.v1.WaitAcquireResponse0\x01\x12H\n" +
	"\aRelease\x12\x1d.lockbroker.v1.ReleaseRequest\x1a\x1e.lockbroker.v1.ReleaseResponse\x12W\n" +
	"\fAcquireLease\x12\".lockbroker.v1.AcquireLeaseRequest\x1a#.lockbroker.v1.AcquireLeaseResponse\x12Q\n" +
	"\n" +
	"RenewLease\x12 .lockbroker.v1.RenewLeaseRequest\x1a!.lockbroker.v1.RenewLeaseResponse\x12H\n" +
	"\aGetLock\x12\x1d.lockbroker.v1.GetLockRequest\x1a\x1e.lockbroker.v1.GetLockResponse\x12Q\n" +
	"\n" +
	"UpdateLock\x12 .lockbroker.v1.UpdateLockRequest\x1a!.lockbroker.v1.UpdateLockResponse\x12J\n" +
	"\aObserve\x12\x1d.lockbroker.v1.ObserveRequest\x1a\x1e.lockbroker.v1.ObserveResponse0\x01\x12L\n" +
	"\aSession\x12\x1d.lockbroker.v1.SessionRequest\x1a\x1e.lockbroker.v1.SessionResponse(\x010\x012\x88\x02\n" +
	"\tLockAdmin\x12P\n" +
	"\tListLocks\x12\x1f.lockbroker.v1.ListLocksRequest\x1a .lockbroker.v1.ListLocksResponse0\x01\x12V\n" +
	"\vListWaiters\x12!.lockbroker.v1.ListWaitersRequest\x1a\".lockbroker.v1.ListWaitersResponse0\x01\x12Q\n" +
	"\n" +
	"RevokeLock\x12 .lockbroker.v1.RevokeLockRequest\x1a!.lockbroker.v1.RevokeLockResponseB\xc4\x01\n" +
	"\x17io.github.lockbroker.v1B\x0fLockbrokerProtoP\x01ZFgithub.com/lockbroker/lockbroker/clients/go/lockbroker/v1;lockbrokerv1\xa2\x02\x03LKB\xaa\x02\rLockbroker.V1\xca\x02\rLockbroker\\V1\xe2\x02\x16Lockbroker\\V1\\Metadata\xea\x02\x0eLockbroker::V1b\x06proto3"

var (
	file_lockbroker_v1_lockbroker_proto_rawDescOnce sync.Once
	file_lockbroker_v1_lockbroker_proto_rawDescData []byte
)

func file_lockbroker_v1_lockbroker_proto_rawDescGZIP() []byte {
	file_lockbroker_v1_lockbroker_proto_rawDescOnce.Do(func() {
		file_lockbroker_v1_lockbroker_proto_rawDescData = protoimpl.X.CompressGZIP(unsafe.Slice(unsafe.StringData(file_lockbroker_v1_lockbroker_proto_rawDesc), len(file_lockbroker_v1_lockbroker_proto_rawDesc)))
	})
	return file_lockbroker_v1_lockbroker_proto_rawDescData
}

var file_lockbroker_v1_lockbroker_proto_enumTypes = make([]protoimpl.EnumInfo, 9)
var file_lockbroker_v1_lockbroker_proto_msgTypes = make([]protoimpl.MessageInfo, 46)
var file_lockbroker_v1_lockbroker_proto_goTypes = []any{
	(LockSpec_OnDisconnect)(0),      // 0: lockbroker.v1.LockSpec.OnDisconnect
	(LockSpec_Mode)(0),              // 1: lockbroker.v1.LockSpec.Mode
	(NotAcquired_Reason)(0),         // 2: lockbroker.v1.NotAcquired.Reason
	(Lost_Reason)(0),                // 3: lockbroker.v1.Lost.Reason
	(ReleaseResponse_Outcome)(0),    // 4: lockbroker.v1.ReleaseResponse.Outcome
	(GetLockResponse_State)(0),      // 5: lockbroker.v1.GetLockResponse.State
	(UpdateLockResponse_Outcome)(0), // 6: lockbroker.v1.UpdateLockResponse.Outcome
	(ObserveResponse_State)(0),      // 7: lockbroker.v1.ObserveResponse.State
	(RevokeLockResponse_Outcome)(0), // 8: lockbroker.v1.RevokeLockResponse.Outcome
	(*LockSpec)(nil),                // 9: lockbroker.v1.LockSpec
	(*WaitSpec)(nil),                // 10: lockbroker.v1.WaitSpec
	(*AcquireRequest)(nil),          // 11: lockbroker.v1.AcquireRequest
	(*WaitAcquireRequest)(nil),      // 12: lockbroker.v1.WaitAcquireRequest
	(*AcquireResponse)(nil),         // 13: lockbroker.v1.AcquireResponse
	(*WaitAcquireResponse)(nil),     // 14: lockbroker.v1.WaitAcquireResponse
	(*LockEvent)(nil),               // 15: lockbroker.v1.LockEvent
	(*Acquired)(nil),                // 16: lockbroker.v1.Acquired
	(*AlsoAcquired)(nil),            // 17: lockbroker.v1.AlsoAcquired
	(*NotAcquired)(nil),             // 18: lockbroker.v1.NotAcquired
	(*Queued)(nil),                  // 19: lockbroker.v1.Queued
	(*Renewed)(nil),                 // 20: lockbroker.v1.Renewed
	(*Lost)(nil),                    // 21: lockbroker.v1.Lost
	(*Released)(nil),                // 22: lockbroker.v1.Released
	(*Draining)(nil),                // 23: lockbroker.v1.Draining
	(*Failed)(nil),                  // 24: lockbroker.v1.Failed
	(*AcquireLeaseRequest)(nil),     // 25: lockbroker.v1.AcquireLeaseRequest
	(*AcquireLeaseResponse)(nil),    // 26: lockbroker.v1.AcquireLeaseResponse
	(*RenewLeaseRequest)(nil),       // 27: lockbroker.v1.RenewLeaseRequest
	(*RenewLeaseResponse)(nil),      // 28: lockbroker.v1.RenewLeaseResponse
	(*ReleaseRequest)(nil),          // 29: lockbroker.v1.ReleaseRequest
	(*ReleaseResponse)(nil),         // 30: lockbroker.v1.ReleaseResponse
	(*GetLockRequest)(nil),          // 31: lockbroker.v1.GetLockRequest
	(*GetLockResponse)(nil),         // 32: lockbroker.v1.GetLockResponse
	(*UpdateLockRequest)(nil),       // 33: lockbroker.v1.UpdateLockRequest
	(*UpdateLockResponse)(nil),      // 34: lockbroker.v1.UpdateLockResponse
	(*ObserveRequest)(nil),          // 35: lockbroker.v1.ObserveRequest
	(*ObserveResponse)(nil),         // 36: lockbroker.v1.ObserveResponse
	(*SessionRequest)(nil),          // 37: lockbroker.v1.SessionRequest
	(*OpenSession)(nil),             // 38: lockbroker.v1.OpenSession
	(*Heartbeat)(nil),               // 39: lockbroker.v1.Heartbeat
	(*BeginLock)(nil),               // 40: lockbroker.v1.BeginLock
	(*AlsoLock)(nil),                // 41: lockbroker.v1.AlsoLock
	(*EndLock)(nil),                 // 42: lockbroker.v1.EndLock
	(*SessionResponse)(nil),         // 43: lockbroker.v1.SessionResponse
	(*SessionOpened)(nil),           // 44: lockbroker.v1.SessionOpened
	(*HeartbeatAck)(nil),            // 45: lockbroker.v1.HeartbeatAck
	(*SessionEvent)(nil),            // 46: lockbroker.v1.SessionEvent
	(*ListLocksRequest)(nil),        // 47: lockbroker.v1.ListLocksRequest
	(*ListLocksResponse)(nil),       // 48: lockbroker.v1.ListLocksResponse
	(*LockInfo)(nil),                // 49: lockbroker.v1.LockInfo
	(*ListWaitersRequest)(nil),      // 50: lockbroker.v1.ListWaitersRequest
	(*ListWaitersResponse)(nil),     // 51: lockbroker.v1.ListWaitersResponse
	(*WaiterInfo)(nil),              // 52: lockbroker.v1.WaiterInfo
	(*RevokeLockRequest)(nil),       // 53: lockbroker.v1.RevokeLockRequest
	(*RevokeLockResponse)(nil),      // 54: lockbroker.v1.RevokeLockResponse
	(*durationpb.Duration)(nil),     // 55: google.protobuf.Duration
}
var file_lockbroker_v1_lockbroker_proto_depIdxs = []int32{
	55, // 0: lockbroker.v1.LockSpec.linger:type_name -> google.protobuf.Duration
	1,  // 1: lockbroker.v1.LockSpec.mode:type_name -> lockbroker.v1.LockSpec.Mode
	0,  // 2: lockbroker.v1.LockSpec.on_disconnect:type_name -> lockbroker.v1.LockSpec.OnDisconnect
	55, // 3: lockbroker.v1.LockSpec.min_hold:type_name -> google.protobuf.Duration
	55, // 4: lockbroker.v1.WaitSpec.max_wait:type_name -> google.protobuf.Duration
	55, // 5: lockbroker.v1.WaitSpec.poll_interval:type_name -> google.protobuf.Duration
	9,  // 6: lockbroker.v1.AcquireRequest.lock:type_name -> lockbroker.v1.LockSpec
	55, // 7: lockbroker.v1.AcquireRequest.ttl:type_name -> google.protobuf.Duration
	9,  // 8: lockbroker.v1.WaitAcquireRequest.lock:type_name -> lockbroker.v1.LockSpec
	55, // 9: lockbroker.v1.WaitAcquireRequest.ttl:type_name -> google.protobuf.Duration
	10, // 10: lockbroker.v1.WaitAcquireRequest.wait:type_name -> lockbroker.v1.WaitSpec
	15, // 11: lockbroker.v1.AcquireResponse.event:type_name -> lockbroker.v1.LockEvent
	15, // 12: lockbroker.v1.WaitAcquireResponse.event:type_name -> lockbroker.v1.LockEvent
	16, // 13: lockbroker.v1.LockEvent.acquired:type_name -> lockbroker.v1.Acquired
	18, // 14: lockbroker.v1.LockEvent.not_acquired:type_name -> lockbroker.v1.NotAcquired
	19, // 15: lockbroker.v1.LockEvent.queued:type_name -> lockbroker.v1.Queued
	20, // 16: lockbroker.v1.LockEvent.renewed:type_name -> lockbroker.v1.Renewed
	21, // 17: lockbroker.v1.LockEvent.lost:type_name -> lockbroker.v1.Lost
	22, // 18: lockbroker.v1.LockEvent.released:type_name -> lockbroker.v1.Released
	23, // 19: lockbroker.v1.LockEvent.draining:type_name -> lockbroker.v1.Draining
	24, // 20: lockbroker.v1.LockEvent.failed:type_name -> lockbroker.v1.Failed
	55, // 21: lockbroker.v1.Acquired.expires_after_request:type_name -> google.protobuf.Duration
	17, // 22: lockbroker.v1.Acquired.also:type_name -> lockbroker.v1.AlsoAcquired
	2,  // 23: lockbroker.v1.NotAcquired.reason:type_name -> lockbroker.v1.NotAcquired.Reason
	55, // 24: lockbroker.v1.Renewed.expires_after_request:type_name -> google.protobuf.Duration
	3,  // 25: lockbroker.v1.Lost.reason:type_name -> lockbroker.v1.Lost.Reason
	55, // 26: lockbroker.v1.Draining.grace:type_name -> google.protobuf.Duration
	55, // 27: lockbroker.v1.Failed.retry_after:type_name -> google.protobuf.Duration
	9,  // 28: lockbroker.v1.AcquireLeaseRequest.lock:type_name -> lockbroker.v1.LockSpec
	55, // 29: lockbroker.v1.AcquireLeaseRequest.ttl:type_name -> google.protobuf.Duration
	10, // 30: lockbroker.v1.AcquireLeaseRequest.wait:type_name -> lockbroker.v1.WaitSpec
	16, // 31: lockbroker.v1.AcquireLeaseResponse.acquired:type_name -> lockbroker.v1.Acquired
	18, // 32: lockbroker.v1.AcquireLeaseResponse.not_acquired:type_name -> lockbroker.v1.NotAcquired
	20, // 33: lockbroker.v1.RenewLeaseResponse.renewed:type_name -> lockbroker.v1.Renewed
	21, // 34: lockbroker.v1.RenewLeaseResponse.lost:type_name -> lockbroker.v1.Lost
	4,  // 35: lockbroker.v1.ReleaseResponse.outcome:type_name -> lockbroker.v1.ReleaseResponse.Outcome
	5,  // 36: lockbroker.v1.GetLockResponse.state:type_name -> lockbroker.v1.GetLockResponse.State
	55, // 37: lockbroker.v1.GetLockResponse.free_within:type_name -> google.protobuf.Duration
	55, // 38: lockbroker.v1.GetLockResponse.expires_after_request:type_name -> google.protobuf.Duration
	55, // 39: lockbroker.v1.GetLockResponse.held_for:type_name -> google.protobuf.Duration
	6,  // 40: lockbroker.v1.UpdateLockResponse.outcome:type_name -> lockbroker.v1.UpdateLockResponse.Outcome
	7,  // 41: lockbroker.v1.ObserveResponse.state:type_name -> lockbroker.v1.ObserveResponse.State
	55, // 42: lockbroker.v1.ObserveResponse.expires_in:type_name -> google.protobuf.Duration
	38, // 43: lockbroker.v1.SessionRequest.open:type_name -> lockbroker.v1.OpenSession
	39, // 44: lockbroker.v1.SessionRequest.heartbeat:type_name -> lockbroker.v1.Heartbeat
	40, // 45: lockbroker.v1.SessionRequest.begin:type_name -> lockbroker.v1.BeginLock
	42, // 46: lockbroker.v1.SessionRequest.end:type_name -> lockbroker.v1.EndLock
	55, // 47: lockbroker.v1.OpenSession.ttl:type_name -> google.protobuf.Duration
	9,  // 48: lockbroker.v1.BeginLock.lock:type_name -> lockbroker.v1.LockSpec
	10, // 49: lockbroker.v1.BeginLock.wait:type_name -> lockbroker.v1.WaitSpec
	41, // 50: lockbroker.v1.BeginLock.also:type_name -> lockbroker.v1.AlsoLock
	9,  // 51: lockbroker.v1.AlsoLock.lock:type_name -> lockbroker.v1.LockSpec
	44, // 52: lockbroker.v1.SessionResponse.opened:type_name -> lockbroker.v1.SessionOpened
	45, // 53: lockbroker.v1.SessionResponse.heartbeat_ack:type_name -> lockbroker.v1.HeartbeatAck
	46, // 54: lockbroker.v1.SessionResponse.event:type_name -> lockbroker.v1.SessionEvent
	55, // 55: lockbroker.v1.SessionOpened.ttl:type_name -> google.protobuf.Duration
	55, // 56: lockbroker.v1.SessionOpened.expires_after_open:type_name -> google.protobuf.Duration
	55, // 57: lockbroker.v1.SessionOpened.heartbeat_interval:type_name -> google.protobuf.Duration
	55, // 58: lockbroker.v1.HeartbeatAck.expires_after_heartbeat:type_name -> google.protobuf.Duration
	15, // 59: lockbroker.v1.SessionEvent.event:type_name -> lockbroker.v1.LockEvent
	49, // 60: lockbroker.v1.ListLocksResponse.locks:type_name -> lockbroker.v1.LockInfo
	5,  // 61: lockbroker.v1.LockInfo.state:type_name -> lockbroker.v1.GetLockResponse.State
	55, // 62: lockbroker.v1.LockInfo.free_within:type_name -> google.protobuf.Duration
	55, // 63: lockbroker.v1.LockInfo.held_for:type_name -> google.protobuf.Duration
	52, // 64: lockbroker.v1.ListWaitersResponse.waiters:type_name -> lockbroker.v1.WaiterInfo
	55, // 65: lockbroker.v1.WaiterInfo.waited_for:type_name -> google.protobuf.Duration
	1,  // 66: lockbroker.v1.WaiterInfo.mode:type_name -> lockbroker.v1.LockSpec.Mode
	8,  // 67: lockbroker.v1.RevokeLockResponse.outcome:type_name -> lockbroker.v1.RevokeLockResponse.Outcome
	55, // 68: lockbroker.v1.RevokeLockResponse.free_within:type_name -> google.protobuf.Duration
	11, // 69: lockbroker.v1.LockService.Acquire:input_type -> lockbroker.v1.AcquireRequest
	12, // 70: lockbroker.v1.LockService.WaitAcquire:input_type -> lockbroker.v1.WaitAcquireRequest
	29, // 71: lockbroker.v1.LockService.Release:input_type -> lockbroker.v1.ReleaseRequest
	25, // 72: lockbroker.v1.LockService.AcquireLease:input_type -> lockbroker.v1.AcquireLeaseRequest
	27, // 73: lockbroker.v1.LockService.RenewLease:input_type -> lockbroker.v1.RenewLeaseRequest
	31, // 74: lockbroker.v1.LockService.GetLock:input_type -> lockbroker.v1.GetLockRequest
	33, // 75: lockbroker.v1.LockService.UpdateLock:input_type -> lockbroker.v1.UpdateLockRequest
	35, // 76: lockbroker.v1.LockService.Observe:input_type -> lockbroker.v1.ObserveRequest
	37, // 77: lockbroker.v1.LockService.Session:input_type -> lockbroker.v1.SessionRequest
	47, // 78: lockbroker.v1.LockAdmin.ListLocks:input_type -> lockbroker.v1.ListLocksRequest
	50, // 79: lockbroker.v1.LockAdmin.ListWaiters:input_type -> lockbroker.v1.ListWaitersRequest
	53, // 80: lockbroker.v1.LockAdmin.RevokeLock:input_type -> lockbroker.v1.RevokeLockRequest
	13, // 81: lockbroker.v1.LockService.Acquire:output_type -> lockbroker.v1.AcquireResponse
	14, // 82: lockbroker.v1.LockService.WaitAcquire:output_type -> lockbroker.v1.WaitAcquireResponse
	30, // 83: lockbroker.v1.LockService.Release:output_type -> lockbroker.v1.ReleaseResponse
	26, // 84: lockbroker.v1.LockService.AcquireLease:output_type -> lockbroker.v1.AcquireLeaseResponse
	28, // 85: lockbroker.v1.LockService.RenewLease:output_type -> lockbroker.v1.RenewLeaseResponse
	32, // 86: lockbroker.v1.LockService.GetLock:output_type -> lockbroker.v1.GetLockResponse
	34, // 87: lockbroker.v1.LockService.UpdateLock:output_type -> lockbroker.v1.UpdateLockResponse
	36, // 88: lockbroker.v1.LockService.Observe:output_type -> lockbroker.v1.ObserveResponse
	43, // 89: lockbroker.v1.LockService.Session:output_type -> lockbroker.v1.SessionResponse
	48, // 90: lockbroker.v1.LockAdmin.ListLocks:output_type -> lockbroker.v1.ListLocksResponse
	51, // 91: lockbroker.v1.LockAdmin.ListWaiters:output_type -> lockbroker.v1.ListWaitersResponse
	54, // 92: lockbroker.v1.LockAdmin.RevokeLock:output_type -> lockbroker.v1.RevokeLockResponse
	81, // [81:93] is the sub-list for method output_type
	69, // [69:81] is the sub-list for method input_type
	69, // [69:69] is the sub-list for extension type_name
	69, // [69:69] is the sub-list for extension extendee
	0,  // [0:69] is the sub-list for field type_name
}

func init() { file_lockbroker_v1_lockbroker_proto_init() }
func file_lockbroker_v1_lockbroker_proto_init() {
	if File_lockbroker_v1_lockbroker_proto != nil {
		return
	}
	file_lockbroker_v1_lockbroker_proto_msgTypes[0].OneofWrappers = []any{}
	file_lockbroker_v1_lockbroker_proto_msgTypes[6].OneofWrappers = []any{
		(*LockEvent_Acquired)(nil),
		(*LockEvent_NotAcquired)(nil),
		(*LockEvent_Queued)(nil),
		(*LockEvent_Renewed)(nil),
		(*LockEvent_Lost)(nil),
		(*LockEvent_Released)(nil),
		(*LockEvent_Draining)(nil),
		(*LockEvent_Failed)(nil),
	}
	file_lockbroker_v1_lockbroker_proto_msgTypes[7].OneofWrappers = []any{}
	file_lockbroker_v1_lockbroker_proto_msgTypes[8].OneofWrappers = []any{}
	file_lockbroker_v1_lockbroker_proto_msgTypes[17].OneofWrappers = []any{
		(*AcquireLeaseResponse_Acquired)(nil),
		(*AcquireLeaseResponse_NotAcquired)(nil),
	}
	file_lockbroker_v1_lockbroker_proto_msgTypes[19].OneofWrappers = []any{
		(*RenewLeaseResponse_Renewed)(nil),
		(*RenewLeaseResponse_Lost)(nil),
	}
	file_lockbroker_v1_lockbroker_proto_msgTypes[22].OneofWrappers = []any{}
	file_lockbroker_v1_lockbroker_proto_msgTypes[27].OneofWrappers = []any{}
	file_lockbroker_v1_lockbroker_proto_msgTypes[28].OneofWrappers = []any{
		(*SessionRequest_Open)(nil),
		(*SessionRequest_Heartbeat)(nil),
		(*SessionRequest_Begin)(nil),
		(*SessionRequest_End)(nil),
	}
	file_lockbroker_v1_lockbroker_proto_msgTypes[34].OneofWrappers = []any{
		(*SessionResponse_Opened)(nil),
		(*SessionResponse_HeartbeatAck)(nil),
		(*SessionResponse_Event)(nil),
	}
	file_lockbroker_v1_lockbroker_proto_msgTypes[40].OneofWrappers = []any{}
	file_lockbroker_v1_lockbroker_proto_msgTypes[44].OneofWrappers = []any{}
	type x struct{}
	out := protoimpl.TypeBuilder{
		File: protoimpl.DescBuilder{
			GoPackagePath: reflect.TypeOf(x{}).PkgPath(),
			RawDescriptor: unsafe.Slice(unsafe.StringData(file_lockbroker_v1_lockbroker_proto_rawDesc), len(file_lockbroker_v1_lockbroker_proto_rawDesc)),
			NumEnums:      9,
			NumMessages:   46,
			NumExtensions: 0,
			NumServices:   2,
		},
		GoTypes:           file_lockbroker_v1_lockbroker_proto_goTypes,
		DependencyIndexes: file_lockbroker_v1_lockbroker_proto_depIdxs,
		EnumInfos:         file_lockbroker_v1_lockbroker_proto_enumTypes,
		MessageInfos:      file_lockbroker_v1_lockbroker_proto_msgTypes,
	}.Build()
	File_lockbroker_v1_lockbroker_proto = out.File
	file_lockbroker_v1_lockbroker_proto_goTypes = nil
	file_lockbroker_v1_lockbroker_proto_depIdxs = nil
}

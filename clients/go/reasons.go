package lockbroker

// ErrorDomain is the domain of every google.rpc.ErrorInfo of a broker.
const ErrorDomain = "lockbroker"

// ErrorReason is the reason of an error, for programs, as the broker wrote it. A reason keeps its meaning; later versions may
// add some.
type ErrorReason string

const (
	// ReasonInvalidField: a field of the request is wrong, and would be again. `google.rpc.BadRequest` names it.
	ReasonInvalidField ErrorReason = "INVALID_FIELD"
	// ReasonMalformedMessage: the message is none of this service's, or is compressed and broken.
	ReasonMalformedMessage ErrorReason = "MALFORMED_MESSAGE"
	// ReasonMessageTooLarge: the message is longer than 4 KiB, as it came or decompressed.
	ReasonMessageTooLarge ErrorReason = "MESSAGE_TOO_LARGE"
	// ReasonUnsupportedEncoding: the message is compressed by something else than gzip.
	ReasonUnsupportedEncoding ErrorReason = "UNSUPPORTED_ENCODING"
	// ReasonUnknownMethod: there is no such method.
	ReasonUnknownMethod ErrorReason = "UNKNOWN_METHOD"
	// ReasonUnknownService: a health check names a service that does not exist.
	ReasonUnknownService ErrorReason = "UNKNOWN_SERVICE"
	// ReasonUnknownCaller: the policy knows nobody by this connection.
	ReasonUnknownCaller ErrorReason = "UNKNOWN_CALLER"
	// ReasonPolicyDenied: the policy does not let this caller do that with this name.
	ReasonPolicyDenied ErrorReason = "POLICY_DENIED"
	// ReasonOriginRefused: over HTTP: a web page of another site asks, or for a host that is not known.
	ReasonOriginRefused ErrorReason = "ORIGIN_REFUSED"
	// ReasonBrokerDraining: the broker is going away. Ask another one.
	ReasonBrokerDraining ErrorReason = "BROKER_DRAINING"
	// ReasonStoreUnavailable: the store did not answer, or not in time. What was asked for may still have been done,
	// but for a lock that was asked for: that is undone.
	ReasonStoreUnavailable ErrorReason = "STORE_UNAVAILABLE"
	// ReasonStoreQuarantined: the store has lost its memory and grants nothing until every lock that went with it is
	// over.
	ReasonStoreQuarantined ErrorReason = "STORE_QUARANTINED"
	// ReasonStoreRefused: the broker does not use the store: it cannot keep locks, or other brokers use it otherwise.
	// The operator has to mend that.
	ReasonStoreRefused ErrorReason = "STORE_REFUSED"
	// ReasonStoreFull: the store has no memory for another lock.
	ReasonStoreFull ErrorReason = "STORE_FULL"
	// ReasonMaxLocks: the broker holds as many locks as it may (`--max-locks`).
	ReasonMaxLocks ErrorReason = "MAX_LOCKS"
	// ReasonMaxWaiters: as many wait at the broker as may (`--max-waiters`).
	ReasonMaxWaiters ErrorReason = "MAX_WAITERS"
	// ReasonMaxObservers: as many streams observe locks at the broker as may (`--max-observers`).
	ReasonMaxObservers ErrorReason = "MAX_OBSERVERS"
	// ReasonMaxConcurrentRpcs: as many calls are under way as may be (`--max-concurrent-rpcs`).
	ReasonMaxConcurrentRpcs ErrorReason = "MAX_CONCURRENT_RPCS"
	// ReasonMaxStreams: as many streams are open as may be (`--max-streams`).
	ReasonMaxStreams ErrorReason = "MAX_STREAMS"
	// ReasonQuotaLocks: the caller has as many locks here as its quota allows (`max_locks` in its policy).
	ReasonQuotaLocks ErrorReason = "QUOTA_LOCKS"
	// ReasonQuotaWaiters: as many of the caller's requests wait here as its quota allows (`max_waiters` in its policy).
	ReasonQuotaWaiters ErrorReason = "QUOTA_WAITERS"
	// ReasonQuotaObservers: as many of the caller's streams observe locks here as its quota allows (`max_observers` in its policy).
	ReasonQuotaObservers ErrorReason = "QUOTA_OBSERVERS"
	// ReasonQuotaRate: the caller asks more often than its quota allows (`max_rate` in its policy).
	ReasonQuotaRate ErrorReason = "QUOTA_RATE"
	// ReasonRequestIncomplete: the request did not come whole within 30 s, or a Session's `open` within 10 s.
	ReasonRequestIncomplete ErrorReason = "REQUEST_INCOMPLETE"
	// ReasonDeadlineOver: the call's deadline is over.
	ReasonDeadlineOver ErrorReason = "DEADLINE_OVER"
	// ReasonLostExpired: the lock is lost: no renewal got through in time.
	ReasonLostExpired ErrorReason = "LOST_EXPIRED"
	// ReasonLostGone: the lock is lost: the store no longer has the grant.
	ReasonLostGone ErrorReason = "LOST_GONE"
	// ReasonLostTakenOver: the lock is lost: the store has another grant in its place.
	ReasonLostTakenOver ErrorReason = "LOST_TAKEN_OVER"
	// ReasonLostRevoked: the lock is lost: an operator revoked it.
	ReasonLostRevoked ErrorReason = "LOST_REVOKED"
	// ReasonSessionSilent: the Session's heartbeats were missing for so long that its locks are lost.
	ReasonSessionSilent ErrorReason = "SESSION_SILENT"
	// ReasonListRefused: the store does not list its keys: memcached runs with `-X`.
	ReasonListRefused ErrorReason = "LIST_REFUSED"
	// ReasonBrokerFault: the broker failed in a way of which it knows nothing more.
	ReasonBrokerFault ErrorReason = "BROKER_FAULT"
)

import type { LostReason, Refusal, RefusalReason } from "./core/types.js";

export type { LostReason } from "./core/types.js";

/** The reason for which a lock was not acquired. */
export type NotAcquiredReason = Exclude<RefusalReason, "CANCELLED" | "UNKNOWN">;

/**
 * The kind of an error.
 *
 * - `NOT_ACQUIRED`: somebody else has the lock: a {@link NotAcquiredError}.
 * - `LOST`: the lock was lost: a {@link LostError}.
 * - `UNAVAILABLE`: no broker could be reached or none answered in time, or the broker cannot reach its store. Try again.
 * - `EXHAUSTED`: the store is full, or the broker has as many locks or waiters as it may have.
 * - `INVALID`: the request is wrong, and would be again: a name, an owner or a time out of bounds.
 * - `DENIED`: the broker does not allow it.
 * - `HANDSHAKE`: the two sides cannot agree on TLS. It would be the same again.
 * - `PROTOCOL`: what listens there is no broker, or one side speaks TLS and the other does not.
 * - `ENDPOINT`, `TLS`: what `connect` was given cannot be used. Nothing was sent.
 * - `RELEASED`, `CLOSED`: the lock has been released here, or the client has been closed.
 * - `UNEXPECTED`: an answer that a broker does not give. Is it one that listens there, and of this version? Or the client's own
 *   thread cannot be started, or has ended by a fault. The text says which.
 */
export type ErrorCode =
  | "NOT_ACQUIRED"
  | "LOST"
  | "UNAVAILABLE"
  | "EXHAUSTED"
  | "INVALID"
  | "DENIED"
  | "HANDSHAKE"
  | "PROTOCOL"
  | "ENDPOINT"
  | "TLS"
  | "RELEASED"
  | "CLOSED"
  | "UNEXPECTED";

/**
 * The broker's reason, for programs: such as `STORE_UNAVAILABLE`. A reason keeps its meaning; later versions may add some.
 * docs/protocol.md lists them.
 */
export type BrokerReason =
  | "INVALID_FIELD"
  | "MALFORMED_MESSAGE"
  | "MESSAGE_TOO_LARGE"
  | "UNSUPPORTED_ENCODING"
  | "UNKNOWN_METHOD"
  | "UNKNOWN_SERVICE"
  | "UNKNOWN_CALLER"
  | "POLICY_DENIED"
  | "ORIGIN_REFUSED"
  | "BROKER_DRAINING"
  | "STORE_UNAVAILABLE"
  | "STORE_QUARANTINED"
  | "STORE_REFUSED"
  | "STORE_FULL"
  | "MAX_LOCKS"
  | "MAX_WAITERS"
  | "MAX_OBSERVERS"
  | "MAX_CONCURRENT_RPCS"
  | "MAX_STREAMS"
  | "QUOTA_LOCKS"
  | "QUOTA_WAITERS"
  | "QUOTA_OBSERVERS"
  | "QUOTA_RATE"
  | "REQUEST_INCOMPLETE"
  | "DEADLINE_OVER"
  | "LOST_EXPIRED"
  | "LOST_GONE"
  | "LOST_TAKEN_OVER"
  | "LOST_REVOKED"
  | "SESSION_SILENT"
  | "LIST_REFUSED"
  | "BROKER_FAULT"
  // One of a later version.
  | (string & {});

/** An error as it passes between threads. */
export interface ErrorData {
  readonly code: ErrorCode;
  /** The lock's name; empty where it is about none. */
  readonly lock: string;
  /** Says what happened and what to do, without the lock's name. */
  readonly text: string;
  /** The broker's reason; empty if no broker gave one. */
  readonly reason?: string | undefined;
  /** Milliseconds. */
  readonly retryAfter?: number | undefined;
}

/** Any error of this package. */
export class LockbrokerError extends Error {
  override readonly name: string = "LockbrokerError";
  /** The kind. */
  readonly code: ErrorCode;
  /** The lock's name; empty where it is about no lock. */
  readonly lock: string;
  /** The reason, for programs; undefined if no broker gave one. */
  readonly reason: BrokerReason | undefined;
  /** The time after which another try makes sense, in milliseconds; undefined if the broker said none. */
  readonly retryAfter: number | undefined;

  constructor({ code, lock, text, reason, retryAfter }: ErrorData) {
    super(lock === "" ? text : `lock ${JSON.stringify(lock)}: ${text}`);
    this.code = code;
    this.lock = lock;
    this.reason = reason || undefined;
    this.retryAfter = retryAfter;
  }
}

const REFUSALS: Record<NotAcquiredReason, string> = {
  HELD: "held",
  LINGERING: "closed after its release or revocation",
  MAX_WAIT: "not free in time",
  NOT_REATTACHABLE: "no such grant, or no longer",
};

/**
 * Says that a lock was not acquired, for a reason that is no failure: somebody else has it, mostly. Of several that were asked for
 * together, `lock` names the one for which none was acquired.
 */
export class NotAcquiredError extends LockbrokerError {
  override readonly name = "NotAcquiredError";
  declare readonly code: "NOT_ACQUIRED";
  /**
   * `HELD`: somebody holds it. `LINGERING`: it was released and its `linger` or its `minHold` is not over, or it was revoked and
   * is still closed. `MAX_WAIT`: the wait is over.
   * `NOT_REATTACHABLE`: the grant to adopt has ended, or has moved on to another lock id.
   */
  declare readonly reason: NotAcquiredReason;
  /** The label of the present holder; empty if it has none or it is not known. */
  readonly owner: string;

  constructor(lock: string, reason: NotAcquiredReason, owner: string) {
    const holder = owner === "" ? "" : ` (holder: ${owner})`;
    super({ code: "NOT_ACQUIRED", lock, text: `not acquired: ${REFUSALS[reason]}${holder}`, reason });
    this.owner = owner;
  }
}

const LOSSES: Record<LostReason, string> = {
  EXPIRED: "no renewal got through in time",
  GONE: "the store no longer has it",
  TAKEN_OVER: "another grant took its place",
  REVOKED: "an operator revoked it",
  RELEASED: "it was released by its lock id",
};

/** Says that a lock was lost. Somebody else may have had it since: stop what it protects. */
export class LostError extends LockbrokerError {
  override readonly name = "LostError";
  declare readonly code: "LOST";
  /**
   * `EXPIRED`: no renewal got through in time, by the broker's clock or by the client's. `GONE`: the store no longer has the
   * grant. `TAKEN_OVER`: the store has another grant in its place; a release may find that, too. `REVOKED`: an operator revoked
   * it. `RELEASED`: somebody released it by its lock id.
   */
  declare readonly reason: LostReason;

  constructor(lock: string, reason: LostReason) {
    super({ code: "LOST", lock, text: `lost: ${LOSSES[reason]}`, reason });
  }
}

/** Makes the error of a request that brings no lock. @internal */
export function notAcquired(lock: string, { reason, owner, name }: Refusal): LockbrokerError {
  if (reason === "CANCELLED" || reason === "UNKNOWN") {
    const text = "unexpected answer: not acquired, for a reason that this client does not know";
    return new LockbrokerError({ code: "UNEXPECTED", lock, text });
  }
  return new NotAcquiredError(name || lock, reason, owner);
}

/** Makes the error of a lock that has been released here. @internal */
export function released(lock: string): LockbrokerError {
  return new LockbrokerError({ code: "RELEASED", lock, text: "it was released" });
}

/** Makes the error of a client that has been closed. @internal */
export function closedData(lock: string): ErrorData {
  return { code: "CLOSED", lock, text: "the client was closed" };
}

/** Names the commands and notices between the client and its engine. All of it passes between threads, so it is plain data. */
import type { Acquire, AllAcquired, Key, LockSpec, LostReason, Moment, Refusal } from "../core/types.js";
import type { Endpoint } from "../endpoint.js";
import type { ErrorData } from "../errors.js";
import type { TlsFiles } from "../tls.js";

/** Is told to the engine once. Times are in milliseconds. */
export interface EngineSettings {
  readonly endpoints: readonly Endpoint[];
  readonly files: TlsFiles;
  readonly answerTimeout: number;
  /** Unset: the broker's default. */
  readonly ttl?: number | undefined;
}

/** A single call. */
export type Call =
  | { readonly kind: "release"; readonly name: string; readonly lockId: string }
  | { readonly kind: "get"; readonly name: string; readonly lockId: string; readonly permit?: number | undefined }
  | ({ readonly kind: "acquireLease"; readonly name: string } & LeaseAsk)
  /** An answer is of no use after `end`. */
  | { readonly kind: "renewLease"; readonly name: string; readonly lockId: string; readonly end: Moment }
  | { readonly kind: "releaseLease"; readonly name: string; readonly lockId: string }
  /** Gives a lock that is held another value. */
  | { readonly kind: "update"; readonly name: string; readonly key: Key; readonly value: Uint8Array }
  /** Shares a lock that is held alone. */
  | { readonly kind: "share"; readonly name: string; readonly key: Key; readonly limit?: number | undefined }
  /** Waits for the next state of a lock. `id` names the observation, which begins with its first call. */
  | { readonly kind: "observe"; readonly name: string; readonly id: number };

/** A lease that is asked for. Times are in milliseconds. */
export interface LeaseAsk {
  readonly spec: LockSpec;
  /** Unset: the broker's default. */
  readonly ttl?: number | undefined;
  /** 0: try once. */
  readonly wait: number;
}

/** A lease that was granted, or adopted. */
export interface LeaseGrant {
  readonly lockId: string;
  /** Undefined if it was adopted. */
  readonly token?: number | undefined;
  /** Undefined if the lock is not shared, or the lease was adopted. */
  readonly permit?: number | undefined;
  /** The end of its validity. */
  readonly until: Moment;
}

/** The answer to a call for a lease. */
export type LeaseAnswer = ({ readonly kind: "granted" } & LeaseGrant) | ({ readonly kind: "refused" } & Refusal);

/** The answer to a renewal. */
export type RenewalAnswer =
  | { readonly kind: "renewed"; readonly until: Moment }
  | { readonly kind: "lost"; readonly reason: LostReason };

/** The answers to the single calls, by their kind. */
export interface Answers {
  readonly release: ReleaseOutcome;
  readonly get: LockInfo;
  readonly acquireLease: LeaseAnswer;
  readonly renewLease: RenewalAnswer;
  readonly releaseLease: ReleaseOutcome;
  readonly update: UpdateAnswer;
  readonly share: ShareAnswer;
  readonly observe: Observed;
}

export type AnswerTo<C extends Call> = Answers[C["kind"]];
export type Answer = Answers[keyof Answers];

/** The effect of a Release. */
export type ReleaseOutcome = "RELEASED" | "NOT_HELD" | "HELD_BY_ANOTHER";

/** The effect of an UpdateLock; undefined: none that is known. */
export type UpdateOutcome = "UPDATED" | "NOT_HELD" | "HELD_BY_ANOTHER" | "NO_VALUE" | undefined;

/** The answer to an update. `over`: the lock is not held any more. */
export type UpdateAnswer = { readonly kind: "updated" } | { readonly kind: "over" };

/** The answer to a lock that is to be shared. `over`: it is not held any more. */
export type ShareAnswer = { readonly kind: "shared" } | { readonly kind: "over" };

/** A lock as those see it who observe it. */
export interface Observed {
  /**
   * `UNKNOWN`: nobody can tell, because no broker answers, or the brokers' store is away, or has lost its memory; the lock may be held
   * as before. `HELD`: somebody holds it, or several share it. `LINGERING`: it was released and nobody can acquire it yet. `REVOKED`: it
   * was revoked, and nobody can acquire it until its holder no longer believes in it.
   */
  readonly state: "UNKNOWN" | "FREE" | "HELD" | "LINGERING" | "REVOKED";
  /** The holder's label; empty if it has none or it is not known. */
  readonly owner: string;
  /** The holder's value; undefined if it has none, or it is not known yet. `new TextDecoder().decode(value)` makes a text of it. */
  readonly value: Uint8Array | undefined;
  /** The holder's fencing token; undefined if it is not known. It tells one holder from the next. */
  readonly fencingToken: number | undefined;
  /**
   * The lock is free this long after the broker looked, at the latest, if nobody renews it, in milliseconds; undefined when free or
   * unknown.
   */
  readonly expiresIn: number | undefined;
}

/** A lock as others see it. */
export interface LockInfo {
  /**
   * `HELD`: somebody holds it. If they share it, `sharedCount` says how many. `LINGERING`: it was released and nobody can acquire it yet. `REVOKED`: it was revoked, and nobody can acquire it until its
   * holder no longer believes in it.
   */
  readonly state: "FREE" | "HELD" | "LINGERING" | "REVOKED";
  /** The holder's label; empty if it has none or it is not known. */
  readonly owner: string;
  /** The lock is free this long after the broker looked, at the latest, if nobody renews it, in milliseconds; 0 when free. */
  readonly freeWithin: number;
  /**
   * The time for which the given lock id stays valid, counted from when the answer came, in milliseconds. 0 if no lock id
   * was given, or if this broker does not keep the lock.
   */
  readonly remaining: number;
  /** The holder's fencing token; undefined if it is not known. */
  readonly fencingToken: number | undefined;
  /**
   * The time since the lock was granted or last reattached, in milliseconds; undefined if it is not known. Where another broker
   * granted it, this is as exact as the wall clocks of the two.
   */
  readonly heldFor: number | undefined;
  /**
   * Names what the lock is now, for those who revoke it. It is no secret. Empty when free, and of a lock that is shared, where each
   * permit has one of its own.
   */
  readonly etag: string;
  /** The number of permits that are held, if the lock is shared, and neither a lock id nor a permit was asked about. */
  readonly sharedCount: number;
}

/** The answer that grants a lock, and those that were asked for together with it. */
export interface Grant extends AllAcquired {
  /** Milliseconds. */
  readonly ttl: number;
}

/** The parts of a grant that are other ones on another stream. */
export interface Move {
  readonly lockId: string;
  /** Those of the locks that are held together with it. */
  readonly also: readonly string[];
  /** Undefined: the lock is not shared. */
  readonly permit: number | undefined;
  /** Milliseconds. */
  readonly ttl: number;
}

export type Command =
  /** `belief` is the memory of the lock's `Belief`. */
  | { readonly kind: "acquire"; readonly acquire: Acquire; readonly belief: SharedArrayBuffer }
  /** A lock, or the wait for it, is no longer wanted. */
  | { readonly kind: "giveUp"; readonly key: Key }
  | { readonly kind: "call"; readonly id: number; readonly call: Call }
  | { readonly kind: "cancelCall"; readonly id: number }
  /** An observation is no longer wanted. */
  | { readonly kind: "unobserve"; readonly id: number }
  /** Release everything, and end within that time. */
  | { readonly kind: "close"; readonly within: number };

export type Notice =
  | ({ readonly kind: "granted"; readonly key: Key } & Grant)
  | ({ readonly kind: "moved"; readonly key: Key } & Move)
  | ({ readonly kind: "refused"; readonly key: Key } & Refusal)
  | { readonly kind: "failed"; readonly key: Key; readonly error: ErrorData }
  | { readonly kind: "lost"; readonly key: Key; readonly reason: LostReason }
  | { readonly kind: "released"; readonly key: Key }
  | { readonly kind: "answered"; readonly id: number; readonly answer: Answer }
  | { readonly kind: "callFailed"; readonly id: number; readonly error: ErrorData }
  | { readonly kind: "closed" };

/** Names the inputs and outputs of the core. All moments and spans are in milliseconds. */

/** A point on the lease clock, in milliseconds. Only differences mean anything. */
export type Moment = number;
/** Later than every moment. */
export const NEVER: Moment = Number.POSITIVE_INFINITY;
/** The client's own number for one call and for its lock. It rises. */
export type Key = number;
/** Tells the streams of one client apart. */
export type LinkId = number;
/** A lock's handle on one stream. */
export type LockRef = number;

/** Something that has happened. */
export type Input =
  | ({ readonly kind: "acquire" } & Acquire)
  /** A lock, or the wait for it, is no longer wanted. Ignored if the lock has ended. */
  | { readonly kind: "end"; readonly key: Key }
  /** A lock is to have another value. Ignored if it was asked for without one, or has ended. */
  | { readonly kind: "value"; readonly key: Key; readonly value: Uint8Array }
  /** A lock that is held alone is to be shared from now on. Ignored if it has a permit, or has ended. */
  | { readonly kind: "share"; readonly key: Key; readonly limit?: number | undefined }
  /** A connection stands, or, with a failure, cannot be made. */
  | { readonly kind: "dialled"; readonly link: LinkId; readonly failure?: Failure | undefined }
  | { readonly kind: "received"; readonly link: LinkId; readonly message: Message }
  /** A stream has ended, though nobody here has hung up. */
  | { readonly kind: "ended"; readonly link: LinkId; readonly failure: Failure }
  | ({ readonly kind: "releasedElsewhere"; readonly key: Key } & ReleaseEnd)
  /** Time has passed. */
  | { readonly kind: "timeout" };

/** The end of a call of Release. It has been answered, or, with a failure, has failed. Any answer means: not held here. */
export interface ReleaseEnd {
  readonly failure?: Failure | undefined;
  /** Somebody else holds the lock by now. */
  readonly isHeldByAnother?: boolean | undefined;
}

/** A call that wants a lock. */
export interface Acquire {
  /** A new key. */
  readonly key: Key;
  readonly spec: LockSpec;
  /** Unset: try once. */
  readonly wait?: Wait | undefined;
  /** The lock id of a grant to take over. Unset: ask for a new one. */
  readonly adopt?: string | undefined;
}

/** A lock that is asked for. */
export interface LockSpec {
  readonly name: string;
  /** Unset: the broker's default. */
  readonly linger?: number | undefined;
  /** The least time for which nobody else gets it. Unset: none. */
  readonly minHold?: number | undefined;
  /** The label that others see; empty for none. */
  readonly owner: string;
  /** The end of a stream does not release it. */
  readonly isKept?: boolean | undefined;
  /** All who share it may have it at the same time, each with a permit. Unset: nobody else has it. */
  readonly shared?: Shared | undefined;
  /** The names of the locks that are wanted together with it: all or none, in the same way. Unset: none. */
  readonly also?: readonly string[] | undefined;
  /** The value for those who observe the lock. Each reattach says it anew. Unset: none. */
  readonly value?: Uint8Array | undefined;
}

/** The way to share a lock. */
export interface Shared {
  /** The most that may have it. Unset: as many as there are permits. */
  readonly limit?: number | undefined;
  /** The number of permits to take: all or none. Unset: 1. */
  readonly weight?: number | undefined;
}

/** Returns the names of what is had together with a lock: other locks, or other permits of the same. */
export function othersOf({ name, also = [], shared }: LockSpec): readonly string[] {
  return [...also, ...Array<string>((shared?.weight ?? 1) - 1).fill(name)];
}

/** The way to wait for a lock. */
export interface Wait {
  /** The end of the wait. Unset: as long as it takes. */
  readonly until?: Moment | undefined;
  /** The least time between two of the broker's polls. Unset: the broker's choice. */
  readonly pollInterval?: number | undefined;
}

/** Something to do. Outputs are carried out in their order. */
export type Output =
  /** Make a new connection to the endpoint with that number; `dialled` answers. */
  | { readonly kind: "dial"; readonly link: LinkId; readonly endpoint: number }
  | { readonly kind: "send"; readonly link: LinkId; readonly request: Request }
  /** Close a connection, or give up making it. Nothing of it counts any more. */
  | { readonly kind: "hangup"; readonly link: LinkId }
  | ({ readonly kind: "granted"; readonly key: Key } & AllAcquired)
  /** A lock has been reattached, with those that are held together with it. They are the same grants, with other ids. */
  | {
      readonly kind: "moved";
      readonly key: Key;
      readonly lockId: string;
      readonly also: readonly string[];
      /** Unset: the lock is not shared. */
      readonly permit?: number | undefined;
    }
  /** A lock that was to be shared is held alone, as before. */
  | { readonly kind: "notShared"; readonly key: Key; readonly failure: Failure }
  | { readonly kind: "refused"; readonly key: Key; readonly refusal: Refusal }
  /** A call has failed, or a release. */
  | { readonly kind: "failed"; readonly key: Key; readonly failure: Failure }
  | { readonly kind: "lost"; readonly key: Key; readonly reason: LostReason }
  | { readonly kind: "released"; readonly key: Key }
  /** Call Release at any broker; `releasedElsewhere` answers. */
  | { readonly kind: "releaseElsewhere"; readonly key: Key; readonly name: string; readonly lockId: string };

/** A message to a broker. */
export type Request =
  /** Opens the Session, with the ttl of the settings. */
  | { readonly kind: "open" }
  | { readonly kind: "heartbeat"; readonly seq: number }
  | {
      readonly kind: "begin";
      readonly lockRef: LockRef;
      readonly spec: LockSpec;
      /** Unset: try once. */
      readonly wait?: WaitLeft | undefined;
      /** The lock id to reattach. */
      readonly reattach?: string | undefined;
      /** Those of the locks that are held together with it, in the order of `othersOf`. */
      readonly reattachAlso: readonly string[];
    }
  | { readonly kind: "endLock"; readonly lockRef: LockRef };

/** A wait, as a broker is told of it. */
export interface WaitLeft {
  /** The time that is left. Unset: as long as it takes. */
  readonly maxWait?: number | undefined;
  readonly pollInterval?: number | undefined;
}

/** A message from a broker. */
export type Message =
  | ({ readonly kind: "opened" } & Terms)
  | {
      readonly kind: "heartbeatAck";
      readonly seq: number;
      /** All locks but those in `notRenewed` are valid for this long after the heartbeat was sent. */
      readonly expiresAfter: number;
      readonly notRenewed: readonly LockRef[];
    }
  | { readonly kind: "draining" }
  | { readonly kind: "lockEvent"; readonly lockRef: LockRef; readonly event: Event }
  /** Says nothing here, but shows that the broker is alive. */
  | { readonly kind: "other" };

/** The broker's terms. */
export interface Terms {
  /** The ttl as granted. */
  readonly ttl: number;
  /** Locks granted from now on are valid for this long after `open` was sent. */
  readonly expiresAfter: number;
  /** The time from one heartbeat to the next; more than 0. */
  readonly heartbeatInterval: number;
}

/** Something that happened to a lock. */
export type Event =
  | ({ readonly kind: "acquired" } & AllAcquired)
  | ({ readonly kind: "notAcquired" } & Refusal)
  | { readonly kind: "lost"; readonly reason: LostReason }
  | { readonly kind: "released" }
  | { readonly kind: "failed"; readonly failure: Failure };

/** The answer to a request that brings a lock. */
export interface Acquired {
  readonly lockId: string;
  readonly fencingToken: number;
  /** Unset: the lock is not shared. */
  readonly permit?: number | undefined;
}

/** The same, with the locks that were asked for together with it, in the order of `othersOf`. */
export interface AllAcquired extends Acquired {
  readonly also: readonly Acquired[];
}

/** The answer to a request that brings no lock: the reason, and who has it. */
export interface Refusal {
  readonly reason: RefusalReason;
  /** The label of the present holder; empty if it has none or it is not known. */
  readonly owner: string;
  /** Of several locks the name of the one for which none was acquired; empty otherwise. */
  readonly name: string;
}

/** The reason for which a lock was not acquired. `CANCELLED` and `UNKNOWN` are none that a caller asked for. */
export type RefusalReason = "HELD" | "LINGERING" | "MAX_WAIT" | "NOT_REATTACHABLE" | "CANCELLED" | "UNKNOWN";

/** The way in which a lock was lost. */
export type LostReason = "EXPIRED" | "GONE" | "TAKEN_OVER" | "REVOKED" | "RELEASED";

/** A failure, as a broker or the way to it tells it. */
export interface Failure {
  /** The kind, by which the core decides: gRPC's name of a status, or `HANDSHAKE`. */
  readonly code: string;
  /** For people. */
  readonly message: string;
  /** The broker's reason, for programs; empty if it gave none. */
  readonly reason: string;
  /** The time after which another try makes sense. Unset: the broker said none. */
  readonly retryAfter?: number | undefined;
}

/** Makes a failure that passes: nobody answers, or cannot at the moment. */
export function unavailable(message: string): Failure {
  return { code: "UNAVAILABLE", message, reason: "" };
}

const FINAL = new Set(["INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED", "HANDSHAKE"]);

/** Returns true if a broker that refuses a Session or a call with this code would refuse it again. */
export function isFinal(code: string): boolean {
  return FINAL.has(code);
}

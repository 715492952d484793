import {
  type HeldLock,
  type Lease,
  type Lock,
  LockbrokerError,
  LostError,
  NotAcquiredError,
  type Observed,
} from "../src/index.js";

/** A line of the testee's. */
export type Answer = Record<string, unknown>;

export function say(line: Answer): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

export function granted(held: Lock | Lease): Answer {
  const also = "locks" in held ? held.locks.slice(1).map((lock) => ({ name: lock.name, ...grant(lock) })) : [];
  return { granted: { ...grant(held), also: also.length > 0 ? also : undefined } };
}

export function downgraded(lock: Lock): Answer {
  return { downgraded: grant(lock) };
}

function grant({ fencingToken, lockId, permit }: Lock | Lease | HeldLock): Answer {
  return { token: fencingToken, lock_id: lockId, permit };
}

export function renewed(lease: Lease): Answer {
  return { renewed: { remaining_ms: lease.remaining() } };
}

/** Tells a state of a lock that is observed. */
export function seen({ state, owner, value, fencingToken: token }: Observed): Answer {
  return { state, owner, value: value && new TextDecoder().decode(value), token };
}

export function unexpected(message: string): Answer {
  return { error: { kind: "UNEXPECTED", message } };
}

/** Answers with an error. `several`: more than one lock was asked for. */
export function failed(error: unknown, several = false): Answer {
  if (error instanceof NotAcquiredError) {
    const { reason, owner, lock } = error;
    return { not_acquired: { reason, owner, lock: several ? lock : undefined } };
  }
  if (error instanceof LostError) return { lost: { reason: error.reason } };
  if (error instanceof LockbrokerError) return { error: { kind: error.code, message: error.message } };
  if (error instanceof Error && error.name === "AbortError") return { cancelled: true };
  return unexpected(String(error));
}

/** Asks a lock if it is held. */
export function checked(lock: Lock | Lease): Answer {
  try {
    lock.check();
    return { held: { remaining_ms: lock.remaining() } };
  } catch (error) {
    const isOver = error instanceof LockbrokerError && (error.code === "RELEASED" || error.code === "CLOSED");
    return isOver ? { lost: { reason: "ENDED" } } : failed(error);
  }
}

import { type Lease, type Lock, LockbrokerError, LostError, NotAcquiredError } from "../src/index.js";

/** A line of the testee's. */
export type Answer = Record<string, unknown>;

export function say(line: Answer): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

export function granted({ fencingToken, lockId, permit }: Lock | Lease): Answer {
  return { granted: { token: fencingToken, lock_id: lockId, permit } };
}

export function renewed(lease: Lease): Answer {
  return { renewed: { remaining_ms: lease.remaining() } };
}

export function unexpected(message: string): Answer {
  return { error: { kind: "UNEXPECTED", message } };
}

/** Answers with an error. */
export function failed(error: unknown): Answer {
  if (error instanceof NotAcquiredError) return { not_acquired: { reason: error.reason, owner: error.owner } };
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

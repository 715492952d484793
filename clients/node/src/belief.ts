/**
 * The end of a lock's validity, in memory that the thread of the heartbeats and the holder's thread share. So the holder
 * sees the truth also when its event loop has not run for long.
 */
import { now } from "./clock.js";
import type { Held } from "./core/core.js";
import type { LostReason, Moment } from "./core/types.js";

/** The knowledge of a lock at a moment. */
export type Look =
  /** The holder may act until then. */
  | { readonly kind: "valid"; readonly until: Moment }
  /** The stream is broken and the holder must not act. The lock is lost at that moment unless it is reattached before. */
  | { readonly kind: "broken"; readonly until: Moment }
  | { readonly kind: "over"; readonly reason: LostReason };

/** The word for each way to be over. All other positive words are the end of the validity, in microseconds; negative ones
 * that of a lock whose stream is broken. */
const OVER: readonly LostReason[] = ["EXPIRED", "GONE", "TAKEN_OVER", "REVOKED", "RELEASED"];

/** A word that both threads change by compare and swap only. Once it says that the lock is over, it stays so. */
export class Belief {
  readonly #word: BigInt64Array<SharedArrayBuffer>;

  constructor(readonly memory: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.#word = new BigInt64Array(memory);
  }

  /** Takes a grant. Call it once, before the holder knows of the lock. */
  begin(held: Held): void {
    Atomics.store(this.#word, 0, toWord(held));
  }

  /** Takes what the core knows by now. Returns false if that comes too late: the holder has been told that it is over. */
  publish(held: Held): boolean {
    for (;;) {
      const seen = Atomics.load(this.#word, 0);
      if (read(seen).kind === "over") return false;
      if (Atomics.compareExchange(this.#word, 0, seen, toWord(held)) === seen) return true;
    }
  }

  /** Ends it, unless it has ended. */
  end(reason: LostReason): void {
    for (;;) {
      const seen = Atomics.load(this.#word, 0);
      if (read(seen).kind === "over") return;
      if (Atomics.compareExchange(this.#word, 0, seen, BigInt(OVER.indexOf(reason))) === seen) return;
    }
  }

  /** Looks at the clock and the lock. First marks a lock that has run out as lost, so that nothing later can revive it. */
  look(): Look {
    for (;;) {
      const seen = Atomics.load(this.#word, 0);
      const look = read(seen);
      if (look.kind === "over" || look.until > now()) return look;
      if (Atomics.compareExchange(this.#word, 0, seen, 0n) === seen) return { kind: "over", reason: "EXPIRED" };
    }
  }
}

function toWord({ until, isBroken }: Held): bigint {
  // A validity that ended when the machine was started cannot be told from an end, and is one.
  const word = BigInt(Math.floor(Math.min(Math.max(0, until), Number.MAX_SAFE_INTEGER / 1000) * 1000));
  return isBroken ? -word : word;
}

function read(word: bigint): Look {
  const reason = word >= 0n ? OVER[Number(word)] : undefined;
  if (reason !== undefined) return { kind: "over", reason };
  const until = Number(word < 0n ? -word : word) / 1000;
  return { kind: word < 0n ? "broken" : "valid", until };
}

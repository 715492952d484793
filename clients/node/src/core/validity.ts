import type { LockRef, Moment } from "./types.js";

/** The locks that have run out: all of a stream, or some. */
export type RunOut = "all" | readonly LockRef[];

/**
 * Counts until when the locks of one stream may be believed in.
 *
 * There is one moment for the whole stream, which every acknowledged heartbeat moves on, and one for each lock that the
 * latest acknowledgement left out. Moments count from when the client sent what is acknowledged, so the clocks of client and
 * broker are never compared.
 */
export class Validity {
  /** The end of the validity of every lock that is not in `behind`, later ones included. */
  #coveredUntil: Moment;
  /** The locks that the latest acknowledgement did not renew, with the validity that an earlier one gave them. */
  #behind = new Map<LockRef, Moment>();
  /** The locks in `behind` that acknowledgements no longer mention. */
  readonly #settled = new Set<LockRef>();
  /**
   * The heartbeats that may still be acknowledged, oldest first. The first may have been acknowledged already, since the
   * broker repeats itself when it has renewed more.
   */
  #beats: { seq: number; sent: Moment }[] = [];
  /** The moment at which something here runs out next. Undefined: everything has. */
  #next: Moment | undefined;

  /** Begins with a stream whose `open` was sent at `sent` and answered with `expiresAfter`. */
  constructor(sent: Moment, expiresAfter: number) {
    this.#coveredUntil = sent + expiresAfter;
    this.#next = this.#coveredUntil;
  }

  /** Returns the moment at which something runs out next; undefined if everything has. */
  get next(): Moment | undefined {
    return this.#next;
  }

  /** Notes that the heartbeat `seq` is being sent. */
  beat(seq: number, now: Moment): void {
    this.#beats.push({ seq, sent: now });
  }

  /** Takes an acknowledgement. Ignores one that was never asked for, or is older than another that has come. */
  acknowledged(seq: number, expiresAfter: number, notRenewed: readonly LockRef[]): void {
    const at = this.#beats.findIndex((beat) => beat.seq === seq);
    const beat = this.#beats[at];
    if (beat === undefined) return;
    this.#beats = this.#beats.slice(at);
    const behind = new Map<LockRef, Moment>();
    for (const lock of [...notRenewed, ...this.#settled]) behind.set(lock, this.until(lock));
    this.#behind = behind;
    this.#coveredUntil = beat.sent + expiresAfter;
    this.#lookAhead();
  }

  /** Notes that no more events come for this lock. It keeps its validity, and acknowledgements add nothing to it. */
  settle(lock: LockRef): void {
    this.#behind.set(lock, this.until(lock));
    this.#settled.add(lock);
    this.#lookAhead();
  }

  /** Returns the end of the lock's validity. */
  until(lock: LockRef): Moment {
    return this.#behind.get(lock) ?? this.#coveredUntil;
  }

  /** Returns what has run out by `now` and was not reported before; undefined if nothing has. */
  runOut(now: Moment): RunOut | undefined {
    if (this.#next === undefined || this.#next > now) return undefined;
    if (this.#coveredUntil <= now) {
      this.#next = undefined;
      return "all";
    }
    // Those reported stay in `behind`: a lock that has run out once must not become valid again.
    const over: LockRef[] = [];
    let next = this.#coveredUntil;
    for (const [lock, until] of this.#behind) {
      if (until <= now) over.push(lock);
      else next = Math.min(next, until);
    }
    this.#next = next;
    return over.sort((a, b) => a - b);
  }

  #lookAhead(): void {
    let next = this.#coveredUntil;
    for (const until of this.#behind.values()) next = Math.min(next, until);
    this.#next = next;
  }
}

import { type Chance, pause } from "./pause.js";
import { type Failure, type Key, type Moment, NEVER, type Output, unavailable } from "./types.js";

/** The longest pause between two calls, in milliseconds. */
const MOST = 1000;

/** A lock that is being released by calls. */
interface Release {
  readonly name: string;
  readonly lockId: string;
  /** The end of its validity. */
  readonly until: Moment;
  /** The moment of the next call; NEVER while one is under way. */
  next: Moment;
  tries: number;
}

/**
 * The releases that no stream can confirm. Any broker is asked, again and again, until the lock has run out by itself.
 */
export class Elsewhere {
  readonly #releases = new Map<Key, Release>();

  get isEmpty(): boolean {
    return this.#releases.size === 0;
  }

  has(key: Key): boolean {
    return this.#releases.has(key);
  }

  /** Begins to release a lock. */
  begin(key: Key, name: string, lockId: string, until: Moment, out: Output[]): void {
    out.push({ kind: "releaseElsewhere", key, name, lockId });
    this.#releases.set(key, { name, lockId, until, next: NEVER, tries: 0 });
  }

  /** Takes the end of a call. */
  ended(key: Key, failure: Failure | undefined, now: Moment, chance: Chance, out: Output[]): void {
    const release = this.#releases.get(key);
    if (release === undefined) return;
    if (failure?.code === "UNAVAILABLE") {
      release.next = now + pause(release.tries, MOST, chance());
      release.tries += 1;
      return;
    }
    out.push(failure === undefined ? { kind: "released", key } : { kind: "failed", key, failure });
    this.#releases.delete(key);
  }

  /** Calls again where it is time, and ends what has run out. */
  keepTime(now: Moment, out: Output[]): void {
    for (const [key, release] of [...this.#releases].sort(([a], [b]) => a - b)) {
      if (release.until <= now) {
        const why = "no broker confirmed the release before the lock ran out by itself";
        out.push({ kind: "failed", key, failure: unavailable(why) });
        this.#releases.delete(key);
      } else if (release.next <= now) {
        release.next = NEVER;
        out.push({ kind: "releaseElsewhere", key, name: release.name, lockId: release.lockId });
      }
    }
  }

  /** Returns the moment at which to keep time. */
  get due(): Moment {
    let due = NEVER;
    for (const { next, until } of this.#releases.values()) due = Math.min(due, next, until);
    return due;
  }
}

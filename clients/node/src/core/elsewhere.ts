import { type Chance, pause } from "./pause.js";
import { isFinal, type Key, type Moment, NEVER, type Output, type ReleaseEnd, unavailable } from "./types.js";

/** The longest pause between two calls, in milliseconds. */
const MOST = 1000;

/** A lock that is being released by calls. */
interface Release {
  /** The names and ids that are still to be released, one after another. */
  readonly grants: (readonly [name: string, lockId: string])[];
  /** Somebody else holds one of them by now. */
  isHeldByAnother: boolean;
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
  /** The earliest moment at which there is something to do. */
  #due: Moment = NEVER;

  get isEmpty(): boolean {
    return this.#releases.size === 0;
  }

  has(key: Key): boolean {
    return this.#releases.has(key);
  }

  /** Begins to release a lock, and those that are held together with it: their names and ids. */
  begin(key: Key, grants: Release["grants"], until: Moment, out: Output[]): void {
    const release = { grants, isHeldByAnother: false, until, next: NEVER, tries: 0 };
    call(key, release, out);
    this.#releases.set(key, release);
    this.#due = Math.min(this.#due, until);
  }

  /** Takes the end of a call. */
  ended(key: Key, { failure, isHeldByAnother }: ReleaseEnd, now: Moment, chance: Chance, out: Output[]): void {
    const release = this.#releases.get(key);
    if (release === undefined) return;
    if (failure !== undefined && !isFinal(failure.code)) {
      release.next = now + pause(release.tries, MOST, chance());
      release.tries += 1;
      this.#due = Math.min(this.#due, release.next);
      return;
    }
    release.isHeldByAnother ||= isHeldByAnother === true;
    release.grants.shift();
    if (failure === undefined && release.grants.length > 0) return call(key, release, out);
    if (failure !== undefined) out.push({ kind: "failed", key, failure });
    // Perhaps since before the work ended. Perhaps only since an earlier release, whose answer did not come: nobody can tell.
    else if (release.isHeldByAnother) out.push({ kind: "lost", key, reason: "TAKEN_OVER" });
    else out.push({ kind: "released", key });
    this.#releases.delete(key);
    if (lookAt(release) <= this.#due) this.#lookAhead();
  }

  /** Calls again where it is time, and ends what has run out. */
  keepTime(now: Moment, out: Output[]): void {
    if (this.#due > now) return;
    const due = [...this.#releases].filter(([, release]) => lookAt(release) <= now);
    for (const [key, release] of due.sort(([a], [b]) => a - b)) {
      if (release.until <= now) {
        const why = "no broker confirmed the release before the lock ran out by itself";
        out.push({ kind: "failed", key, failure: unavailable(why) });
        this.#releases.delete(key);
      } else {
        release.next = NEVER;
        call(key, release, out);
      }
    }
    this.#lookAhead();
  }

  /** Returns the moment at which to keep time. */
  get due(): Moment {
    return this.#due;
  }

  #lookAhead(): void {
    let due = NEVER;
    for (const release of this.#releases.values()) due = Math.min(due, lookAt(release));
    this.#due = due;
  }
}

/** Makes the next call. */
function call(key: Key, { grants }: Release, out: Output[]): void {
  const [name, lockId] = grants[0] ?? ["", ""];
  out.push({ kind: "releaseElsewhere", key, name, lockId });
}

/** Returns the moment at which there is something to do for a release. */
function lookAt({ next, until }: Release): Moment {
  return Math.min(next, until);
}

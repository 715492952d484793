import TinyQueue from "tinyqueue";
import { type Key, type Moment, NEVER } from "./types.js";

/** A call that waits for its answer, and until when. */
export interface Call {
  readonly key: Key;
  /** The moment at which to see if it is over. */
  check: Moment;
  /** The moment at which it is over even if a broker may be there. */
  readonly atMost: Moment;
}

interface Check {
  readonly at: Moment;
  readonly key: Key;
}

/** The number of checks of calls that are over, beside as many as there are calls, from which on they are thrown away. */
const MANY = 64;

/** The calls that wait for an answer within a time. */
export class Calls {
  readonly #calls = new Map<Key, Call>();
  /** The checks to make, and those of calls that are over or were postponed. */
  #checks = queue([]);

  add(key: Key, check: Moment, atMost: Moment): void {
    this.#calls.set(key, { key, check, atMost });
    this.#checks.push({ at: check, key });
  }

  /** Forgets a call that has its answer, or needs none any more. */
  remove(key: Key): void {
    this.#calls.delete(key);
    // A long wait that has had its answer would stay until its end.
    if (this.#checks.length > 2 * this.#calls.size + MANY) {
      this.#checks = queue(Array.from(this.#calls.values(), ({ check, key }) => ({ at: check, key })));
    }
  }

  /** Sets another moment at which to see if a call is over. */
  postpone(call: Call, check: Moment): void {
    call.check = check;
    this.#checks.push({ at: check, key: call.key });
  }

  /** Takes the next call that is to be looked at by now; it is then removed or postponed. */
  next(now: Moment): Call | undefined {
    if (this.due > now) return undefined;
    const check = this.#checks.pop();
    return check && this.#calls.get(check.key);
  }

  /** Returns the earliest moment at which to look at a call. */
  get due(): Moment {
    for (let check = this.#checks.peek(); check; check = this.#checks.peek()) {
      if (this.#calls.get(check.key)?.check === check.at) return check.at;
      this.#checks.pop();
    }
    return NEVER;
  }
}

function queue(checks: Check[]): TinyQueue<Check> {
  return new TinyQueue(checks, (a, b) => a.at - b.at || a.key - b.key);
}

import { type Key, type Moment, NEVER } from "./types.js";

/** A call that waits for its answer, and until when. */
export interface Call {
  readonly key: Key;
  /** The moment at which to see if it is over. */
  check: Moment;
  /** The moment at which it is over even if a broker may be there. */
  readonly atMost: Moment;
}

/** The calls that wait for an answer within a time. */
export class Calls {
  readonly #calls = new Map<Key, Call>();
  /** The earliest `check`, or an earlier moment; looked up again when it has come. */
  #due: Moment = NEVER;

  add(key: Key, check: Moment, atMost: Moment): void {
    this.#calls.set(key, { key, check, atMost });
    this.#due = Math.min(this.#due, check);
  }

  /** Forgets a call that has its answer, or needs none any more. */
  remove(key: Key): void {
    const call = this.#calls.get(key);
    this.#calls.delete(key);
    if (call?.check === this.#due) this.#lookAhead();
  }

  /** Sets another moment at which to see if a call is over. */
  postpone(call: Call, check: Moment): void {
    call.check = check;
    this.#lookAhead();
  }

  /** Returns the calls to look at by now, in the order of their moments. */
  dueBy(now: Moment): Call[] {
    if (this.#due > now) return [];
    const due = [...this.#calls.values()].filter((call) => call.check <= now);
    return due.sort((a, b) => a.check - b.check || a.key - b.key);
  }

  /** Returns the earliest moment at which to look at a call. */
  get due(): Moment {
    return this.#due;
  }

  #lookAhead(): void {
    let due = NEVER;
    for (const call of this.#calls.values()) due = Math.min(due, call.check);
    this.#due = due;
  }
}

/** Brings brokers the value that the holder of a lock has given it last. */
import { setTimeout as sleep } from "node:timers/promises";
import { debuglog } from "node:util";
import { now } from "../clock.js";
import { type Moment, unavailable } from "../core/types.js";
import { strange } from "./brokers.js";
import { CallFailed, fromFailure, noValue } from "./failures.js";
import type { UpdateAnswer, UpdateOutcome } from "./protocol.js";

/** The pause before an update is tried again that somebody else's was in the way of, or a reattach, in milliseconds. */
const AGAIN = 50;

const debug = debuglog("lockbroker");

/** The lock, as its updates see it. */
export interface Updated {
  readonly name: string;
  /** The id by which brokers know it by now; undefined once it is over. */
  lockId(): string | undefined;
  /** Calls UpdateLock. Throws a `CallFailed`. */
  call(lockId: string, value: Uint8Array): Promise<UpdateOutcome>;
}

/** An update that waits for its answer. */
interface Waiting {
  /** The number of its value. */
  readonly version: number;
  /** The moment from which it is not tried again. */
  readonly until: Moment;
  resolve(answer: UpdateAnswer): void;
  reject(error: unknown): void;
}

/** Makes one call at a time, with the latest value. So an older one never comes after it. */
export class Updates {
  readonly #lock: Updated;
  readonly #answerTimeout: number;
  /** The value that it was given last. Undefined: it has that with which it was asked for. */
  #value: Uint8Array | undefined;
  #version = 0;
  #waiting: Waiting[] = [];
  #isBringing = false;

  constructor(lock: Updated, answerTimeout: number) {
    this.#lock = lock;
    this.#answerTimeout = answerTimeout;
  }

  /** Gives the lock another value, and waits until a broker has taken it. Throws a `CallFailed`. */
  update(value: Uint8Array): Promise<UpdateAnswer> {
    this.#value = value;
    this.#version += 1;
    return new Promise((resolve, reject) => this.#wait(resolve, reject));
  }

  /** Brings the latest value to where the lock has moved: its reattach may have been under way with an earlier one. */
  moved(): void {
    if (this.#value === undefined) return;
    const failed = (error: unknown) => debug("lock %j: the value has not moved along: %s", this.#lock.name, error);
    this.#wait(() => {}, failed);
  }

  #wait(resolve: Waiting["resolve"], reject: Waiting["reject"]): void {
    this.#waiting.push({ version: this.#version, until: now() + this.#answerTimeout, resolve, reject });
    if (!this.#isBringing) void this.#bring();
  }

  async #bring(): Promise<void> {
    this.#isBringing = true;
    while (this.#waiting.length > 0) {
      const [lockId, version, value] = [this.#lock.lockId(), this.#version, this.#value];
      if (lockId === undefined || value === undefined) {
        this.#end(
          () => true,
          (each) => each.resolve({ kind: "over" }),
        );
        continue;
      }
      const failure = await this.#call(lockId, value);
      const isAgain = failure instanceof CallFailed && failure.data.code === "UNAVAILABLE";
      if (failure !== undefined) {
        const isOver = isAgain ? ({ until }: Waiting) => until <= now() : (each: Waiting) => each.version <= version;
        this.#end(isOver, (each) => each.reject(failure));
        if (isAgain && this.#waiting.length > 0) await sleep(AGAIN, undefined, { ref: false });
      } else if ((this.#lock.lockId() ?? lockId) === lockId) {
        this.#end(
          (each) => each.version <= version,
          (each) => each.resolve({ kind: "updated" }),
        );
      }
      // Otherwise it has moved meanwhile, perhaps with the value from before.
    }
    this.#isBringing = false;
  }

  /** Makes the call. Returns why the lock does not have the value; undefined if it has. `UNAVAILABLE` is to be tried again. */
  async #call(lockId: string, value: Uint8Array): Promise<unknown> {
    const { name } = this.#lock;
    try {
      switch (await this.#lock.call(lockId, value)) {
        case "UPDATED":
          return undefined;
        case "NOT_HELD":
        case "HELD_BY_ANOTHER": {
          // It is about to move: its new id is on the way.
          const failure = unavailable("the brokers know this lock by another id, or no more");
          return new CallFailed(failure, fromFailure(name, failure));
        }
        case "NO_VALUE":
          return noValue(name);
        default:
          return strange(name, "an update without an outcome");
      }
    } catch (error) {
      return error;
    }
  }

  /** Ends those of the updates that wait. */
  #end(isOver: (each: Waiting) => boolean, end: (each: Waiting) => void): void {
    const ended = this.#waiting.filter(isOver);
    this.#waiting = this.#waiting.filter((each) => !ended.includes(each));
    for (const each of ended) end(each);
  }
}

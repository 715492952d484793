/** Waits until a lock that was held alone is shared. */
import type { Failure } from "../core/types.js";
import { unavailable } from "../core/types.js";
import { CallFailed, fromFailure } from "./failures.js";
import type { ShareAnswer } from "./protocol.js";

/** A call that waits. */
interface Waiting {
  readonly timer: NodeJS.Timeout;
  resolve(answer: ShareAnswer): void;
  reject(error: CallFailed): void;
}

/** The calls that wait until one lock is shared. */
export class Sharing {
  readonly #name: string;
  readonly #answerTimeout: number;
  readonly #waiting = new Set<Waiting>();

  constructor(name: string, answerTimeout: number) {
    this.#name = name;
    this.#answerTimeout = answerTimeout;
  }

  /** Waits for the outcome, for the `answerTimeout` at most. Throws a `CallFailed`. */
  wait(): Promise<ShareAnswer> {
    return new Promise((resolve, reject) => {
      const late = () => {
        this.#waiting.delete(waiting);
        reject(this.#failed(unavailable("no broker has shared the lock in time; it may still become a shared one")));
      };
      const waiting = { timer: setTimeout(late, this.#answerTimeout).unref(), resolve, reject };
      this.#waiting.add(waiting);
    });
  }

  /** Tells the outcome to all who wait. */
  tell(outcome: ShareAnswer | Failure): void {
    for (const { timer, resolve, reject } of this.#waiting) {
      clearTimeout(timer);
      if ("kind" in outcome) resolve(outcome);
      else reject(this.#failed(outcome));
    }
    this.#waiting.clear();
  }

  #failed(failure: Failure): CallFailed {
    return new CallFailed(failure, fromFailure(this.#name, failure));
  }
}

import { onAbort } from "./abort.js";
import type { Observed } from "./engine/protocol.js";
import { LockbrokerError } from "./errors.js";
import type { Requests } from "./requests.js";

/** The reason of an observation's end that is no error. */
const CLOSED = Symbol("closed");

/**
 * Tells what a lock is, from now on: `for await (const seen of client.observe("leader"))`.
 *
 * The first state comes as soon as a broker tells it, and then one whenever it has changed. Between two of them the lock may have been
 * free, or held by others, and a value may have been another one: whoever reads slowly gets the latest alone. A lower fencing token is
 * never told after a higher one.
 *
 * It ends when its loop is left, by {@link Observation.close}, or at the end of its scope (`await using`). While nobody waits for a
 * state, it does not keep the process alive.
 */
export class Observation implements AsyncIterableIterator<Observed>, AsyncDisposable {
  /** The lock's name. */
  readonly name: string;
  readonly #requests: Requests;
  readonly #id: number;
  readonly #signal: AbortSignal;
  readonly #end: (reason: unknown) => void;

  /** @internal */
  constructor(requests: Requests, name: string, signal: AbortSignal | undefined) {
    this.name = name;
    this.#requests = requests;
    const id = requests.newId();
    this.#id = id;
    const ending = new AbortController();
    this.#signal = ending.signal;
    // Without `this`, so that it can be collected.
    const end = (reason: unknown) => {
      if (ending.signal.aborted) return;
      stopWatching();
      forgotten.unregister(ending);
      ending.abort(reason);
      requests.unobserve(id);
    };
    const stopWatching = onAbort(signal, () => end(signal?.reason));
    this.#end = end;
    forgotten.register(this, end, ending);
    if (signal?.aborted) end(signal.reason);
  }

  /**
   * Waits for the next state.
   *
   * Throws the reason of the signal if that was aborted, and otherwise a {@link LockbrokerError}: `INVALID` or `DENIED` as the broker
   * says, `CLOSED` once the client is closed, and `EXHAUSTED` if as many observe there as may. After that last one another call asks
   * the next broker; after the others it is at its end.
   */
  async next(): Promise<IteratorResult<Observed, undefined>> {
    const call = { kind: "observe", name: this.name, id: this.#id } as const;
    try {
      return { done: false, value: await this.#requests.call(call, this.#signal) };
    } catch (error) {
      if (error === CLOSED) return OVER;
      if (!(error instanceof LockbrokerError) || error.code !== "EXHAUSTED") this.#end(CLOSED);
      throw error;
    }
  }

  /** Ends it. A loop that waits for the next state ends, too. */
  async close(): Promise<void> {
    this.#end(CLOSED);
  }

  /** Ends it, as a loop does that is left. */
  async return(): Promise<IteratorResult<Observed, undefined>> {
    this.#end(CLOSED);
    return OVER;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end(CLOSED);
  }

  /** Describes it. */
  toString(): string {
    return `observation of lock ${JSON.stringify(this.name)}`;
  }
}

const OVER: IteratorResult<Observed, undefined> = { done: true, value: undefined };

/** Ends the streams of those that nobody can read any more. */
const forgotten = new FinalizationRegistry<(reason: unknown) => void>((end) => end(CLOSED));

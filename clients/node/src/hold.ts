import { onAbort } from "./abort.js";
import type { Belief, Look } from "./belief.js";
import type { Acquired, Key, LockSpec } from "./core/types.js";
import { deferred } from "./deferred.js";
import type { Grant, Move } from "./engine/protocol.js";
import { type LockbrokerError, LostError, released } from "./errors.js";

/** A lock that has been granted, as the client knows it. A `Lock` shows it to the user. */
export class Hold {
  /** The lock, and those that are held together with it, in the order in which they were named. */
  grants: readonly [Acquired, ...Acquired[]];
  ttl: number;
  /** The reason for which the holder may not act any more; undefined while it may. */
  #error: LockbrokerError | undefined;
  /** The way in which the lock was lost; undefined if it was not. */
  #lost: LostError | undefined;
  readonly #controller = new AbortController();
  /** The signal was read after the loss had aborted it. */
  #isRead = false;
  /** The notice of the loss came in this turn of the event loop. */
  #isNew = false;
  readonly #done = deferred<LockbrokerError | undefined>();
  /** Resolves when the engine is done with the lock: to the error of its release, if there is one. */
  readonly done = this.#done.promise;
  readonly #stopWatching: () => void;

  constructor(
    readonly key: Key,
    readonly spec: LockSpec,
    readonly belief: Belief,
    grant: Grant,
    signal: AbortSignal | undefined,
  ) {
    this.grants = [grant, ...grant.also];
    this.ttl = grant.ttl;
    this.#stopWatching = onAbort(signal, () => this.#controller.abort(signal?.reason));
  }

  get name(): string {
    return this.spec.name;
  }

  /** Takes the ids that the locks have on another stream, and the permit of one that has come to be shared. */
  move({ lockId, also, permit, ttl }: Move): void {
    const [first, ...others] = this.grants;
    this.grants = [{ ...first, lockId, permit }, ...others.map((grant, at) => ({ ...grant, lockId: also[at] ?? "" }))];
    this.ttl = ttl;
  }

  get signal(): AbortSignal {
    const { signal } = this.#controller;
    if (signal.aborted && signal.reason === this.#lost) this.#isRead = true;
    return signal;
  }

  /**
   * Returns true if the holder has seen the loss by the signal: has read it after its abort, or has just been ended by the
   * abort. All that an abort ends at once ends in its own turn of the event loop.
   */
  get isSeen(): boolean {
    return this.#isRead || this.#isNew;
  }

  get lost(): LostError | undefined {
    this.look();
    return this.#lost;
  }

  /** Looks at the lock and the clock. A lock that has run out is lost from then on. */
  look(): Look {
    const look = this.belief.look();
    if (look.kind === "over" && this.#error === undefined) this.lose(new LostError(this.name, look.reason));
    return look;
  }

  /** Returns why the holder may not act any more; undefined while it may. */
  get error(): LockbrokerError | undefined {
    this.look();
    return this.#error;
  }

  /** Takes the engine's notice that the lock is lost. */
  hear(lost: LostError): void {
    if (this.#error === undefined) {
      this.#isNew = true;
      setImmediate(() => {
        this.#isNew = false;
      });
    }
    this.lose(lost);
  }

  /** Takes the loss of the lock. */
  lose(lost: LostError): void {
    this.#lost ??= lost;
    this.#end(this.#lost);
  }

  /** Ends the hold by the holder's own will. */
  finish(error: LockbrokerError): void {
    this.look();
    this.#end(error);
  }

  #end(error: LockbrokerError): void {
    if (this.#error !== undefined) return;
    this.#error = error;
    this.#stopWatching();
    this.#controller.abort(error);
  }

  /** The engine is done with the lock: it has been released, if there is no error. */
  over(error: LockbrokerError | undefined): void {
    this.#end(error ?? released(this.name));
    // A loss comes first: it says more than that nobody confirms the release of what was lost.
    this.#done.resolve(this.#lost ?? error);
  }
}

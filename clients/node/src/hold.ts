import { onAbort } from "./abort.js";
import type { Belief, Look } from "./belief.js";
import type { Key, LockSpec } from "./core/types.js";
import { deferred } from "./deferred.js";
import { LockbrokerError, LostError } from "./errors.js";

/** What a grant brings. */
export interface Grant {
  readonly lockId: string;
  readonly token: number;
  /** Milliseconds. */
  readonly ttl: number;
}

/** A lock that has been granted, as the client knows it. A `Lock` shows it to the user. */
export class Hold {
  lockId: string;
  ttl: number;
  readonly token: number;
  /** Why the holder may not act any more; undefined while it may. */
  #error: LockbrokerError | undefined;
  /** How the lock was lost; undefined if it was not. */
  #lost: LostError | undefined;
  readonly #controller = new AbortController();
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
    this.lockId = grant.lockId;
    this.ttl = grant.ttl;
    this.token = grant.token;
    this.#stopWatching = onAbort(signal, () => this.#controller.abort(signal?.reason));
  }

  get name(): string {
    return this.spec.name;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
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
    this.#end(error ?? new LockbrokerError({ code: "RELEASED", lock: this.name, text: "it was released" }));
    this.#done.resolve(error ?? this.#lost);
  }
}

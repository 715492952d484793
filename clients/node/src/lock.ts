import { now } from "./clock.js";
import { type Acquired, othersOf } from "./core/types.js";
import { LockbrokerError, LostError, released } from "./errors.js";
import type { Hold } from "./hold.js";
import { invalid, lockValue, permitLimit } from "./values.js";

/** What the engine does with a lock that is held. Each returns false if the lock is over. */
export interface LockCalls {
  /** Begins to release it. */
  giveUp(): void;
  /** Gives it another value. */
  update(value: Uint8Array): Promise<boolean>;
  /** Shares it. */
  share(limit: number | undefined): Promise<boolean>;
}

/**
 * A lock that is held until {@link Lock.release}, or to the end of the scope: `await using lock = await client.lock("x")`.
 *
 * The lock can be lost all the same: when no broker renews it in time, because the network or all brokers are away, or when
 * somebody releases it by its lock id. So give {@link Lock.signal} to the work, call {@link Lock.check} before each step
 * that must not be done twice, and give {@link Lock.fencingToken} to whatever the lock protects.
 *
 * A Lock that is not referred to any more is not released, since the work that it protects may go on. It is held until the
 * client is closed or the process ends, and Node shows a warning.
 */
export class Lock implements AsyncDisposable {
  readonly #hold: Hold;
  readonly #calls: LockCalls;
  #release: Promise<void> | undefined;
  #isTold = false;

  /** @internal */
  constructor(hold: Hold, calls: LockCalls) {
    this.#hold = hold;
    this.#calls = calls;
    forgotten.register(this, hold, hold);
  }

  /** The lock's name. */
  get name(): string {
    return this.#hold.name;
  }

  /** The label that others see; empty if it has none. */
  get owner(): string {
    return this.#hold.spec.owner;
  }

  /**
   * The fencing token. It is greater than that of every earlier grant of the same name, below 2^53, and the same for as long
   * as the lock is held. What the lock protects should refuse a token below the highest that it has seen.
   */
  get fencingToken(): number {
    return this.#hold.grants[0].fencingToken;
  }

  /**
   * The number of the permit, from 0 to the limit - 1; undefined for a lock that is not shared. Nobody else has the
   * same permit of this name at the same time, so it can number a worker. It is the same for as long as the lock is held, once it is shared. Several
   * have the lock then, so what a worker writes under its number is fenced by both: refuse a token below the highest that has
   * come with the same permit.
   */
  get permit(): number | undefined {
    return this.#hold.grants[0].permit;
  }

  /**
   * Names this grant at any broker: see {@link Client.release} and {@link Client.adopt}. It changes when the client moves to
   * another stream, and it is a capability: keep it out of logs.
   */
  get lockId(): string {
    return this.#hold.grants[0].lockId;
  }

  /**
   * All locks that this one `Lock` holds, in the order in which they were named: the one that was asked for, and those of
   * {@link LockOptions.also}. With a {@link LockOptions.weight}, all permits of the one.
   */
  get locks(): readonly HeldLock[] {
    const names = [this.name, ...othersOf(this.#hold.spec)];
    return this.#hold.grants.map((grant, at) => new HeldLock(names[at] ?? "", grant));
  }

  /** The lock's ttl as the broker granted it, in milliseconds: for so long the lock outlives a holder that falls silent. */
  get ttl(): number {
    return this.#hold.ttl;
  }

  /**
   * A signal for the work under the lock. It is aborted when the lock is lost, by a {@link LostError}; when it is released;
   * and when the signal that it was asked for with is. It is not aborted while the stream to the broker is broken and the
   * lock can still be reattached; {@link Lock.check} tells that. An event loop that is blocked hears of it later.
   *
   * Reading `lock.signal` after its abort counts as hearing of the loss: the end of a scope does not throw it again.
   */
  get signal(): AbortSignal {
    return this.#hold.signal;
  }

  /** The way in which the lock was lost; undefined if it was not. It reads the clock. */
  get lost(): LostError | undefined {
    return this.#hold.lost;
  }

  /**
   * Returns the time in milliseconds for which the holder may act without hearing from a broker again. It reads the clock,
   * also where the event loop was blocked. It is 0 once the lock is lost or released, and while the stream to the broker is
   * broken and the lock not yet reattached: the broker may have taken the break for the client's end.
   */
  remaining(): number {
    const look = this.#hold.look();
    return this.#hold.error === undefined && look.kind === "valid" ? left(look.until) : 0;
  }

  /**
   * Returns the longest time in milliseconds that work under the lock has to come to its end. It is an upper bound and no
   * more: it never allows a step to begin, and {@link Lock.check} decides on that. Unlike {@link Lock.remaining} it runs on
   * while the stream to the broker is broken, though somebody else may have the lock by then. It is 0 once the lock is lost
   * or released.
   */
  expiresIn(): number {
    const look = this.#hold.look();
    return this.#hold.error !== undefined || look.kind === "over" ? 0 : left(look.until);
  }

  /**
   * Throws unless the holder may act at this moment. It reads the clock, so it finds a loss also where
   * the event loop was blocked. Once it has said that the lock is lost, the lock stays lost.
   *
   * Throws a {@link LostError} if the lock is lost; an `UNAVAILABLE` error while the stream to the broker is broken and the
   * lock not yet reattached; and a `RELEASED` or `CLOSED` one after a release or after the client was closed.
   */
  check(): void {
    const look = this.#hold.look();
    this.#throwIfOver();
    if (look.kind === "broken") {
      const text = "unavailable: the stream to the broker is broken and the lock not reattached yet";
      const broken = new LockbrokerError({ code: "UNAVAILABLE", lock: this.name, text });
      unsure.add(broken);
      throw broken;
    }
  }

  #throwIfOver(): void {
    const { error } = this.#hold;
    if (error === undefined) return;
    this.#isTold = true;
    throw error;
  }

  /**
   * Gives the lock another value, for those who observe it, and waits until a broker has taken it. The lock has to have been asked for
   * with a {@link LockOptions.value}. Of several updates at a time the last one counts.
   *
   * Throws a {@link LostError} if the lock is lost, an `INVALID` error if the value has more than 1,024 bytes or the lock was asked for
   * without one, and an `UNAVAILABLE` one if no broker takes it within the `answerTimeout`: then those who observe may see either value,
   * until the next update.
   */
  async update(value: string | Uint8Array): Promise<void> {
    const bytes = lockValue(value, this.name);
    this.#throwIfOver();
    if (this.#hold.spec.value === undefined) {
      throw invalid(this.name, "it was asked for without a value, so it can be given none");
    }
    if (!(await this.#calls.update(bytes))) this.#throwOver();
  }

  /**
   * Shares the lock from now on, and waits until it has a {@link Lock.permit}.
   *
   * **Stop writing first**: others may share the lock before this resolves, and also if it fails.
   *
   * They may share it up to `limit` at a time, 1 to 4,096 (default: 4,096), and nobody has it alone in between. The fencing token stays.
   * Does nothing if it is shared already.
   *
   * Throws a {@link LostError} if the lock is lost. Throws an `INVALID` error if the limit is out of range, and if the lock has a
   * `minHold`, a `value`, or others beside it: then it is held alone, as before. Throws an `UNAVAILABLE` error if no broker could do it
   * within the `answerTimeout`: it may still become a shared one.
   */
  async downgrade(limit?: number): Promise<void> {
    const most = permitLimit(limit, this.name);
    this.#throwIfOver();
    if (this.#hold.grants.length > 1) {
      throw invalid(this.name, "several locks are held together, and only one alone can be shared from now on");
    }
    const isShared = await this.#calls.share(most);
    this.#throwIfOver();
    if (!isShared) this.#throwOver();
  }

  #throwOver(): never {
    this.#throwIfOver();
    // The engine knows before this thread does.
    throw new LostError(this.name, "GONE");
  }

  /**
   * Releases the lock and waits until a broker has confirmed it. If the stream breaks meanwhile, the release is repeated at
   * whichever broker answers until the lock has run out by itself: no longer than {@link Lock.expiresIn} said before.
   *
   * Returns true, or false if it had been released before, also by the end of the client. Throws a {@link LostError} if the
   * lock had been lost before, and an `UNAVAILABLE` error if no broker confirmed the release. If the stream breaks and
   * somebody else holds the lock by the time a broker answers, that is a loss (`TAKEN_OVER`), too: nobody can tell since when.
   */
  async release(): Promise<boolean> {
    const isFirst = this.#release === undefined && this.#hold.error?.code !== "CLOSED";
    this.#release ??= this.#doRelease();
    await this.#release;
    return isFirst;
  }

  async #doRelease(): Promise<void> {
    forgotten.unregister(this.#hold);
    // The holder's own belief ends first.
    this.#hold.finish(released(this.name));
    this.#calls.giveUp();
    const error = await this.#hold.done;
    if (error !== undefined) throw error;
  }

  /**
   * Releases the lock at the end of a scope. Throws a {@link LostError} if the lock was lost and the scope has not heard of it:
   * the last step of the work may not have been under the lock. It has heard of it if `check` has thrown it, if `lock.signal`
   * was read after its abort, or if the abort has ended the scope at once. A scope that goes on for a while after the abort,
   * to clean up, gets a `SuppressedError` of both; {@link Client.using} knows better. A release that nobody confirms is no
   * error here: the lock runs out by itself.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const isTold = this.#isTold || this.#hold.isSeen;
    try {
      await this.release();
    } catch (error) {
      if (error === this.#hold.lost && !isTold) throw error;
    }
  }

  /** Describes the lock, without its lock id. */
  toString(): string {
    const permit = this.permit === undefined ? "" : `permit ${this.permit}, `;
    return `lock ${JSON.stringify(this.name)} (token ${this.fencingToken}, ${permit}${this.remaining()} ms left)`;
  }
}

/** One of the locks that a {@link Lock} holds. */
export class HeldLock {
  /** The lock's name. */
  readonly name: string;
  /** See {@link Lock.fencingToken}. Tokens of different names say nothing about each other. */
  readonly fencingToken: number;
  /** See {@link Lock.permit}. */
  readonly permit: number | undefined;
  /** Private, so that nothing prints it. */
  readonly #lockId: string;

  /** @internal */
  constructor(name: string, { lockId, fencingToken, permit }: Acquired) {
    this.name = name;
    this.fencingToken = fencingToken;
    this.permit = permit;
    this.#lockId = lockId;
  }

  /** Names this grant at any broker: see {@link Lock.lockId}. */
  get lockId(): string {
    return this.#lockId;
  }
}

/** The errors by which `check` has said that a lock may be lost. */
const unsure = new WeakSet<object>();

/** Returns true if work under the lock has failed with this because the lock was, or may have been, lost. */
export function isConsequence(error: unknown, lock: Lock): boolean {
  if (lock.lost !== undefined) return true;
  return typeof error === "object" && error !== null && unsure.has(error);
}

/** Rounds down: a holder may not act longer. */
export function left(until: number): number {
  return Math.max(0, Math.floor(until - now()));
}

/** Warns of locks that nobody can release any more. */
const forgotten = new FinalizationRegistry<Hold>((hold) => {
  if (hold.error !== undefined) return;
  const text = `lock ${JSON.stringify(hold.name)} is held and nobody can release it any more: call release on every lock`;
  process.emitWarning(text, { type: "LockbrokerWarning", code: "LOCKBROKER_FORGOTTEN" });
});

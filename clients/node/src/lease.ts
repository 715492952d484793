import { now } from "./clock.js";
import type { Moment } from "./core/types.js";
import type { LeaseGrant } from "./engine/protocol.js";
import { type LockbrokerError, LostError, released } from "./errors.js";
import { left } from "./lock.js";
import type { LeaseOptions } from "./options.js";
import type { Requests } from "./requests.js";
import { optionalSignal } from "./values.js";

/**
 * A lock that needs no connection: for a program that cannot keep one, or that hands the lock on to the next run of itself. It
 * stands for its ttl. {@link Lease.renew} prolongs it, and nothing else does: no heartbeats, and nobody tells of a loss.
 *
 * It is over with {@link Lease.release}, at the end of the scope (`await using`), or with its ttl. Neither `client.close` nor the
 * end of the process releases it, and it does not keep the process alive.
 */
export class Lease implements AsyncDisposable {
  /** The lock's name. */
  readonly name: string;
  /**
   * Names this lease at any broker: see {@link Client.adoptLease} and {@link Client.release}. It stays the same. It is a
   * capability: keep it out of logs.
   */
  readonly lockId: string;
  /** The fencing token, as that of a lock. Undefined after {@link Client.adoptLease}. */
  readonly fencingToken: number | undefined;
  /** The number of the permit, as that of a lock. Undefined if it is not shared, and after {@link Client.adoptLease}. */
  readonly permit: number | undefined;
  readonly #requests: Requests;
  #until: Moment;
  /** The reason for which the holder may not act any more; undefined while it may. */
  #error: LockbrokerError | undefined;
  #lost: LostError | undefined;
  /** The caller has been told of the loss. */
  #isTold = false;
  #release: Promise<void> | undefined;

  /** @internal */
  constructor(requests: Requests, name: string, grant: LeaseGrant) {
    this.name = name;
    this.lockId = grant.lockId;
    this.fencingToken = grant.token;
    this.permit = grant.permit;
    this.#until = grant.until;
    this.#requests = requests;
  }

  /** The way in which the lease was lost, as far as this client knows; undefined if it was not. It reads the clock. */
  get lost(): LostError | undefined {
    this.#look();
    return this.#lost;
  }

  /**
   * Returns the time in milliseconds for which the holder may act without a renewal. It reads the clock. It is 0 once the lease
   * is lost or released. Renew the lease when a third of it is over.
   */
  remaining(): number {
    return this.#look() === undefined ? left(this.#until) : 0;
  }

  /**
   * Throws unless the holder may act at this moment. It reads the clock, and asks nobody: that the lease was released by its id, or
   * revoked, only {@link Lease.renew} finds. Once it has said that the lease is lost, the lease stays lost.
   *
   * Throws a {@link LostError} if the lease is lost, and a `RELEASED` error after a release.
   */
  check(): void {
    const error = this.#look();
    if (error !== undefined) this.#throw(error);
  }

  #throw(error: LockbrokerError): never {
    if (error === this.#lost) this.#isTold = true;
    throw error;
  }

  /** Looks at the clock. A lease that has run out is lost from then on. */
  #look(): LockbrokerError | undefined {
    if (this.#error === undefined && this.#until <= now()) this.#lose(new LostError(this.name, "EXPIRED"));
    return this.#error;
  }

  #lose(lost: LostError): void {
    this.#lost = lost;
    this.#error = lost;
  }

  /**
   * Makes the lease stand for its ttl from now on, whichever broker answers. If none does, it tries again for the `answerTimeout`,
   * and no longer than the lease is valid.
   *
   * Throws a {@link LostError} if the lease is lost. Throws an `UNAVAILABLE` error if no broker answered: the lease may have been
   * renewed or not, and is good for what {@link Lease.remaining} says, so try again. After an abort it is the same.
   */
  async renew(options: Pick<LeaseOptions, "signal"> = {}): Promise<void> {
    const signal = optionalSignal(options.signal, this.name);
    this.check();
    const { name, lockId } = this;
    const call = { kind: "renewLease", name, lockId, end: this.#until } as const;
    const [answer, failure] = await this.#requests.call(call, signal).then(
      (answer) => [answer, undefined] as const,
      (error: unknown) => [undefined, error] as const,
    );
    const over = this.#look();
    if (over !== undefined) {
      // An answer that has come too late is one that nobody believes in.
      if (answer?.kind === "renewed" && over === this.#lost) this.#letGo();
      this.#throw(over);
    }
    if (answer === undefined) throw failure;
    if (answer.kind === "lost") {
      const lost = new LostError(name, answer.reason);
      this.#lose(lost);
      this.#throw(lost);
    }
    this.#until = Math.max(this.#until, answer.until);
  }

  /**
   * Releases the lease, and waits until a broker has confirmed it, for the `answerTimeout` at most.
   *
   * Returns true, or false if it had been released before. Throws a {@link LostError} if the lease had been lost before, and an
   * `UNAVAILABLE` error if no broker confirmed the release: then the lock is free when the ttl is over.
   */
  async release(): Promise<boolean> {
    const isFirst = this.#release === undefined;
    this.#release ??= this.#doRelease();
    await this.#release;
    return isFirst;
  }

  async #doRelease(): Promise<void> {
    const { name, lockId } = this;
    if (this.#look() === undefined) {
      // The holder's own belief ends first.
      this.#error = released(name);
      const outcome = await this.#requests.call({ kind: "releaseLease", name, lockId }, undefined);
      if (outcome === "RELEASED") return;
      this.#lost = new LostError(name, outcome === "NOT_HELD" ? "GONE" : "TAKEN_OVER");
    } else if (this.#lost?.reason === "EXPIRED") {
      // By the broker's clock it may stand for a while yet. Nobody is to wait for that.
      this.#letGo();
    }
    throw this.#lost;
  }

  /** Releases, in the background, what nobody believes in. */
  #letGo(): void {
    const { name, lockId } = this;
    this.#requests.call({ kind: "releaseLease", name, lockId }, undefined).catch(() => {});
  }

  /**
   * Releases the lease at the end of a scope. Throws a {@link LostError} if the lease was lost and the scope has not heard of it by
   * `check` or `renew`: the last step of the work may not have been under the lock. A release that nobody confirms is no error
   * here: the lease runs out by itself.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    const isTold = this.#isTold;
    try {
      await this.release();
    } catch (error) {
      if (error === this.#lost && !isTold) throw error;
    }
  }

  /** Describes the lease, without its lock id. */
  toString(): string {
    const permit = this.permit === undefined ? "" : `permit ${this.permit}, `;
    const token = this.fencingToken ?? "unknown";
    return `lease ${JSON.stringify(this.name)} (token ${token}, ${permit}${this.remaining()} ms left)`;
  }
}

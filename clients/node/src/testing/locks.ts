/** The locks of a broker for tests: who has them, who waits, and what they do on command. */
import { randomUUID } from "node:crypto";
import { status as Status } from "@grpc/grpc-js";
import { LONGEST_TIMER } from "../clock.js";
import type { BrokerReason } from "../errors.js";
import { Lost_Reason as Lost, NotAcquired_Reason as Refusal } from "../v1/index.js";

/** An event of a lock, as `create` takes it. */
export type Event =
  | { case: "acquired"; value: { lockId: string; fencingToken: bigint } }
  | { case: "notAcquired"; value: { reason: Refusal; owner: string } }
  | { case: "queued"; value: { position: number } }
  | { case: "lost"; value: { reason: Lost } }
  | { case: "failed"; value: { code: number; message: string; reason: string; retryAfter: { nanos: number } } }
  | { case: "released" | "draining"; value: Record<never, never> };

/** Somebody who asks for a lock, by a handle on a stream, or holds it. */
export interface Party {
  readonly owner: string;
  /** Milliseconds, as `minHold`. */
  readonly linger: number;
  readonly minHold: number;
  /** The end of the stream does not release the lock. */
  readonly isKept: boolean;
  /** Tells of the lock. */
  tell(event: Event): void;
}

/** A lock that somebody has. */
interface Grant {
  readonly id: string;
  readonly token: number;
  readonly owner: string;
  readonly linger: number;
  /** The moment of `performance.now` until which nobody else can have it. */
  readonly heldUntil: number;
  /** Undefined if no client of this broker has it. */
  readonly party: Party | undefined;
}

const FAILURES: Partial<Record<BrokerReason, number>> = {
  INVALID_FIELD: Status.INVALID_ARGUMENT,
  POLICY_DENIED: Status.PERMISSION_DENIED,
  UNKNOWN_CALLER: Status.UNAUTHENTICATED,
  STORE_FULL: Status.RESOURCE_EXHAUSTED,
  MAX_LOCKS: Status.RESOURCE_EXHAUSTED,
  MAX_WAITERS: Status.RESOURCE_EXHAUSTED,
  QUOTA_LOCKS: Status.RESOURCE_EXHAUSTED,
  QUOTA_WAITERS: Status.RESOURCE_EXHAUSTED,
  QUOTA_RATE: Status.RESOURCE_EXHAUSTED,
  BROKER_FAULT: Status.INTERNAL,
};

let lastToken = 0;

/** A lock, which somebody holds or not. */
export class TestLock {
  #grant: Grant | undefined;
  readonly #waiting = new Map<Party, NodeJS.Timeout | undefined>();
  /** The moment of `performance.now` until which nobody can have it. */
  #lingersUntil = 0;
  /** The reasons by which the next requests fail. */
  readonly failures: BrokerReason[] = [];

  get holder(): Pick<Grant, "id" | "token" | "owner"> | undefined {
    return this.#grant;
  }

  get waiters(): number {
    return this.#waiting.size;
  }

  /** The time in milliseconds for which it still lingers; 0 if it does not. */
  get lingers(): number {
    return Math.max(0, this.#lingersUntil - performance.now());
  }

  /** Asks for the lock. `wait` is undefined to try once, and its limit is in milliseconds, undefined for none. */
  ask(party: Party, wait: { limit: number | undefined } | undefined): void {
    if (this.#failIfWanted(party)) return;
    if (this.#grant === undefined && this.lingers === 0) return this.#give(party);
    if (wait === undefined) {
      const reason = this.#grant === undefined ? Refusal.LINGERING : Refusal.HELD;
      return party.tell({ case: "notAcquired", value: { reason, owner: this.#grant?.owner ?? "" } });
    }
    const { limit } = wait;
    const timer = limit === undefined ? undefined : setTimeout(() => this.#waitOver(party), Math.min(limit, LONGEST_TIMER));
    this.#waiting.set(party, timer?.unref());
    party.tell({ case: "queued", value: { position: this.#waiting.size } });
    this.#grantNext();
  }

  /** Takes over the grant of that id. */
  reattach(party: Party, id: string): void {
    if (this.#failIfWanted(party)) return;
    const grant = this.#grant;
    if (grant?.id !== id) {
      return party.tell({ case: "notAcquired", value: { reason: Refusal.NOT_REATTACHABLE, owner: "" } });
    }
    grant.party?.tell({ case: "lost", value: { reason: Lost.TAKEN_OVER } });
    this.#begin(party, grant.token, grant.heldUntil);
  }

  #failIfWanted(party: Party): boolean {
    const failure = this.failure();
    if (failure !== undefined) party.tell(failure);
    return failure !== undefined;
  }

  /** Returns how the next request is to fail; undefined if it is not. */
  failure(): Extract<Event, { case: "failed" }> | undefined {
    const reason = this.failures.shift();
    if (reason === undefined) return undefined;
    const code = FAILURES[reason] ?? Status.UNAVAILABLE;
    const retryAfter = { nanos: 50_000_000 };
    return { case: "failed", value: { code, message: "as the test wants it", reason, retryAfter } };
  }

  #waitOver(party: Party): void {
    if (!this.#waiting.delete(party)) return;
    party.tell({ case: "notAcquired", value: { reason: Refusal.MAX_WAIT, owner: this.#grant?.owner ?? "" } });
  }

  #give(party: Party): void {
    lastToken += 1;
    this.#begin(party, lastToken, performance.now() + party.minHold);
  }

  #begin(party: Party, token: number, heldUntil: number): void {
    const id = randomUUID();
    this.#grant = { id, token, owner: party.owner, linger: party.linger, heldUntil, party };
    party.tell({ case: "acquired", value: { lockId: id, fencingToken: BigInt(token) } });
  }

  /** Gives up a lock or the wait for it, by its party's will. Returns what the party had. */
  leave(party: Party): "held" | "waited" | "nothing" {
    if (this.#grant?.party === party) {
      this.release();
      return "held";
    }
    clearTimeout(this.#waiting.get(party));
    return this.#waiting.delete(party) ? "waited" : "nothing";
  }

  /** Ends the grant by its holder's will. */
  release(): void {
    const { linger = 0, heldUntil = 0 } = this.#grant ?? {};
    this.#lingersUntil = Math.max(performance.now() + linger, heldUntil);
    this.#grant = undefined;
    this.#grantNext();
  }

  /** Ends the grant by its id, and tells its holder. */
  releaseById(): void {
    const party = this.#grant?.party;
    this.release();
    party?.tell({ case: "released", value: {} });
  }

  /** Keeps the grant for so many milliseconds, though its party's stream has ended. Returns false if the party has none. */
  orphan(party: Party, ttl: number): boolean {
    if (this.#grant?.party !== party) return false;
    const orphan = { ...this.#grant, party: undefined };
    this.#grant = orphan;
    setTimeout(() => {
      if (this.#grant === orphan) this.release();
    }, ttl).unref();
    return true;
  }

  /** Makes somebody outside of all clients hold it. A client that held it loses it. */
  take(owner: string): void {
    this.#grant?.party?.tell({ case: "lost", value: { reason: Lost.TAKEN_OVER } });
    this.#lingersUntil = 0;
    lastToken += 1;
    this.#grant = { id: randomUUID(), token: lastToken, owner, linger: 0, heldUntil: 0, party: undefined };
  }

  /** Ends the grant, whoever has it. A client that has it is told so. Returns false if no client has it. */
  end(event: Event): boolean {
    const party = this.#grant?.party;
    party?.tell(event);
    this.#grant = undefined;
    this.#lingersUntil = 0;
    this.#grantNext();
    return party !== undefined;
  }

  /** Gives a lock that nobody has to the first who waits. */
  #grantNext(): void {
    const [first] = this.#waiting.keys();
    if (this.#grant !== undefined || first === undefined) return;
    if (this.lingers > 0) {
      setTimeout(() => this.#grantNext(), this.lingers).unref();
      return;
    }
    clearTimeout(this.#waiting.get(first));
    this.#waiting.delete(first);
    this.#give(first);
  }
}

/** The locks of a broker for tests: who has them, who waits, and what they do on command. */
import { randomUUID } from "node:crypto";
import { status as Status } from "@grpc/grpc-js";
import { LONGEST_TIMER } from "../clock.js";
import type { BrokerReason } from "../errors.js";
import { Lost_Reason as Lost, NotAcquired_Reason as Refusal } from "../v1/index.js";

/** An event of a lock, as `create` takes it. */
export type Event =
  | { case: "acquired"; value: { lockId: string; fencingToken: bigint; permit: number | undefined } }
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
  /** Its permit is to be below this. 0: it wants the lock alone. */
  readonly limit: number;
  /** Tells of the lock. */
  tell(event: Event): void;
}

/** A lock that somebody has, alone or with a permit. */
export interface Grant {
  readonly id: string;
  readonly token: number;
  readonly owner: string;
  /** Undefined if the lock is not shared. */
  readonly permit: number | undefined;
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

/** The answer of a broker that does not share a lock as is asked. */
const NO_DOWNGRADE: Event = {
  case: "failed",
  value: {
    code: Status.INVALID_ARGUMENT,
    message: "a lock with a min_hold cannot be shared",
    reason: "INVALID_FIELD",
    retryAfter: { nanos: 0 },
  },
};

let lastToken = 0;

/** What a lock has to give: a permit, or, undefined, itself. */
type Permit = number | undefined;

/** A lock, which somebody holds or not. */
export class TestLock {
  readonly #grants = new Map<Permit, Grant>();
  readonly #waiting = new Map<Party, NodeJS.Timeout | undefined>();
  /** The moments of `performance.now` until which nobody can have what was released. */
  readonly #closed = new Map<Permit, number>();
  /** The reasons by which the next requests fail. */
  readonly failures: BrokerReason[] = [];

  /** Those who have it, in the order of their permits. */
  get holders(): readonly Grant[] {
    return [...this.#grants.values()].sort((one, other) => (one.permit ?? 0) - (other.permit ?? 0));
  }

  /** Returns who has that permit, or, if it is undefined, the lock alone. */
  at(permit: Permit): Grant | undefined {
    return this.#grants.get(permit);
  }

  find(id: string): Grant | undefined {
    return this.holders.find((grant) => grant.id === id);
  }

  get waiters(): number {
    return this.#waiting.size;
  }

  /** Returns the time in milliseconds for which that permit still lingers, or, if it is undefined, anything of the lock. */
  lingers(permit?: Permit, now = performance.now()): number {
    const ends = permit === undefined ? [...this.#closed.values()] : [this.#closed.get(permit) ?? 0];
    return Math.max(0, ...ends.map((end) => end - now));
  }

  /** Returns what the party can have now: the lowest free permit, or the lock alone. Undefined if there is nothing. */
  #free({ limit }: Party, now: number): { permit: Permit } | undefined {
    const isTaken = (permit: Permit) => this.#grants.has(permit) || (this.#closed.get(permit) ?? 0) > now;
    const isFree = this.#grants.size === 0 && this.lingers(undefined, now) === 0;
    if (limit === 0) return isFree ? { permit: undefined } : undefined;
    if (isTaken(undefined)) return undefined;
    for (let permit = 0; permit < limit; permit += 1) if (!isTaken(permit)) return { permit };
    return undefined;
  }

  /** Returns true if somebody waits for the lock alone, and lets in no others. */
  #isKeptOut({ limit }: Party): boolean {
    return limit > 0 && [...this.#waiting.keys()].some((waiting) => waiting.limit === 0);
  }

  /** The label of who has it alone. */
  get #owner(): string {
    return this.#grants.get(undefined)?.owner ?? "";
  }

  /** Asks for the lock. `wait` is undefined to try once, and its limit is in milliseconds, undefined for none. */
  ask(party: Party, wait: { limit: number | undefined } | undefined): void {
    if (this.#failIfWanted(party)) return;
    const free = this.#isKeptOut(party) ? undefined : this.#free(party, performance.now());
    if (free !== undefined) return this.#give(party, free.permit);
    if (wait === undefined) {
      const reason = this.#grants.size === 0 ? Refusal.LINGERING : Refusal.HELD;
      return party.tell({ case: "notAcquired", value: { reason, owner: this.#owner } });
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
    const grant = this.find(id);
    if (grant === undefined) {
      return party.tell({ case: "notAcquired", value: { reason: Refusal.NOT_REATTACHABLE, owner: "" } });
    }
    const isDowngrade = party.limit > 0 && grant.permit === undefined;
    if (isDowngrade && party.minHold > 0) return party.tell(NO_DOWNGRADE);
    grant.party?.tell({ case: "lost", value: { reason: Lost.TAKEN_OVER } });
    if (!isDowngrade) return this.#begin(party, grant);
    this.#grants.delete(undefined);
    // Nobody else has a permit.
    this.#begin(party, { ...grant, permit: 0 });
    this.#grantNext();
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
    party.tell({ case: "notAcquired", value: { reason: Refusal.MAX_WAIT, owner: this.#owner } });
    // It may have kept others out.
    this.#grantNext();
  }

  #give(party: Party, permit: Permit): void {
    lastToken += 1;
    this.#begin(party, { token: lastToken, permit, heldUntil: performance.now() + party.minHold });
  }

  #begin(party: Party, { token, permit, heldUntil }: Pick<Grant, "token" | "permit" | "heldUntil">): void {
    const id = randomUUID();
    this.#grants.set(permit, { id, token, permit, heldUntil, party, owner: party.owner, linger: party.linger });
    party.tell({ case: "acquired", value: { lockId: id, fencingToken: BigInt(token), permit } });
  }

  /** Returns what the party has. */
  #grantOf(party: Party): Grant | undefined {
    return this.holders.find((grant) => grant.party === party);
  }

  /** Gives up a lock or the wait for it, by its party's will. Returns what the party had. */
  leave(party: Party): "held" | "waited" | "nothing" {
    const grant = this.#grantOf(party);
    if (grant !== undefined) {
      this.#release(grant);
      return "held";
    }
    clearTimeout(this.#waiting.get(party));
    if (!this.#waiting.delete(party)) return "nothing";
    // It may have kept others out.
    this.#grantNext();
    return "waited";
  }

  /** Ends a grant by its holder's will. */
  #release({ permit, linger, heldUntil }: Grant): void {
    this.#closed.set(permit, Math.max(performance.now() + linger, heldUntil));
    this.#grants.delete(permit);
    this.#grantNext();
  }

  /** Ends the grant of that id, and tells its holder. Returns false if there is none. */
  releaseById(id: string): boolean {
    const grant = this.find(id);
    if (grant === undefined) return false;
    this.#release(grant);
    grant.party?.tell({ case: "released", value: {} });
    return true;
  }

  /** Keeps the grant for so many milliseconds, though its party's stream has ended. Returns false if the party has none. */
  orphan(party: Party, ttl: number): boolean {
    const grant = this.#grantOf(party);
    if (grant === undefined) return false;
    const orphan = { ...grant, party: undefined };
    this.#grants.set(grant.permit, orphan);
    setTimeout(() => {
      if (this.at(grant.permit) === orphan) this.#release(orphan);
    }, ttl).unref();
    return true;
  }

  /** Makes somebody outside of all clients hold it alone. Clients that held it lose it. */
  take(owner: string): void {
    this.#endAll({ case: "lost", value: { reason: Lost.TAKEN_OVER } });
    lastToken += 1;
    const grant = {
      id: randomUUID(),
      token: lastToken,
      owner,
      permit: undefined,
      linger: 0,
      heldUntil: 0,
      party: undefined,
    };
    this.#grants.set(undefined, grant);
  }

  /** Ends all grants, whoever has them. Clients that have one are told so. Returns false if no client has. */
  end(event: Event): boolean {
    const had = this.#endAll(event);
    this.#grantNext();
    return had;
  }

  #endAll(event: Event): boolean {
    const parties = this.holders.map(({ party }) => party);
    for (const party of parties) party?.tell(event);
    this.#grants.clear();
    this.#closed.clear();
    return parties.some((party) => party !== undefined);
  }

  /** Gives what nobody has to those who wait, in their order, for as long as there is anything to give. */
  #grantNext(): void {
    // One moment for all: what ends between two looks at the clock would be missed.
    const now = performance.now();
    for (const first of this.#waiting.keys()) {
      const free = this.#free(first, now);
      if (free === undefined) return this.#grantLater(now);
      clearTimeout(this.#waiting.get(first));
      this.#waiting.delete(first);
      this.#give(first, free.permit);
    }
  }

  /** Looks again when the next of what lingers does not any more. */
  #grantLater(now: number): void {
    const lefts = [...this.#closed.values()].map((end) => end - now).filter((left) => left > 0);
    if (lefts.length > 0) setTimeout(() => this.#grantNext(), Math.min(...lefts)).unref();
  }
}

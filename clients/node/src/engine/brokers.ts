import { setTimeout as sleep } from "node:timers/promises";
import { LONGEST_TIMER, now } from "../clock.js";
import { ASK_AGAIN } from "../core/core.js";
import { share } from "../core/dialer.js";
import { pause } from "../core/pause.js";
import { isFinal, type Moment, unavailable } from "../core/types.js";
import type { Endpoint } from "../endpoint.js";
import {
  ReleaseResponse_Outcome as Outcome,
  type ReleaseResponse,
  GetLockResponse_State as State,
  UpdateLockResponse_Outcome as Updated,
} from "../gen/lockbroker/v1/lockbroker_pb.js";
import type { TlsFiles } from "../tls.js";
import { lockService } from "../v1/index.js";
import { Broker, type UnaryMethod } from "./broker.js";
import { CallFailed, unexpected } from "./failures.js";
import type { LockInfo, ReleaseOutcome, UpdateOutcome } from "./protocol.js";
import { fromWire } from "./wire.js";

const OUTCOMES: Partial<Record<Outcome, ReleaseOutcome>> = {
  [Outcome.RELEASED]: "RELEASED",
  [Outcome.NOT_HELD]: "NOT_HELD",
  [Outcome.HELD_BY_ANOTHER]: "HELD_BY_ANOTHER",
};

const UPDATES: Partial<Record<Updated, UpdateOutcome>> = {
  [Updated.UPDATED]: "UPDATED",
  [Updated.NOT_HELD]: "NOT_HELD",
  [Updated.HELD_BY_ANOTHER]: "HELD_BY_ANOTHER",
  [Updated.NO_VALUE]: "NO_VALUE",
};

const STATES: Partial<Record<State, LockInfo["state"]>> = {
  [State.FREE]: "FREE",
  [State.HELD]: "HELD",
  [State.LINGERING]: "LINGERING",
  [State.REVOKED]: "REVOKED",
};

/** The tries that an answer's time has room for, also if all but the last get no answer. */
const LEAST_TRIES = 2;

/** A call that may be made again after an answer that did not come. Times are in milliseconds. */
export interface Repeated<I, O, R> {
  readonly method: UnaryMethod<I, O>;
  readonly lock: string;
  /** The time that the broker may wait before it answers. */
  readonly wait: number;
  /** The moment from which an answer is of no use; NEVER if it always is. */
  readonly end: Moment;
  /** Makes the request of a try. `left` is what is left of the wait. */
  request(left: number): I;
  /** Makes something of an answer to what was sent at `sent`, the result of so many tries. Undefined: it is of no use. */
  read(answer: O, sent: Moment, tries: number): R | undefined;
}

/** The brokers of a client, which are asked in turn. */
export class Brokers {
  readonly all: readonly Broker[];
  readonly #answerTimeout: number;
  /** The number of the broker to ask next. */
  #next = 0;

  constructor(endpoints: readonly Endpoint[], files: TlsFiles, answerTimeout: number) {
    this.all = endpoints.map((endpoint) => new Broker(endpoint, files));
    this.#answerTimeout = answerTimeout;
  }

  /** Turns from a broker that was of no use to the next, unless it has been turned from already. */
  turnFrom(number: number): void {
    if (this.#next === number) this.#next = (number + 1) % this.all.length;
  }

  /** Returns the broker to ask next, its number, and the longest time for which it may say nothing. */
  get current(): { readonly number: number; readonly broker: Broker; readonly within: number } {
    const within = share(this.#answerTimeout, this.all.length);
    return { number: this.#next, broker: this.all[this.#next] as Broker, within };
  }

  /** Makes a single call, at each broker in turn until one answers or refuses for good. Throws a `CallFailed`. */
  async #call<I, O>(method: UnaryMethod<I, O>, request: I, lock: string, signal: AbortSignal): Promise<O> {
    const within = share(this.#answerTimeout, this.all.length);
    let failure: unknown;
    for (let tries = 0; tries < this.all.length && !signal.aborted; tries += 1) {
      const number = this.#next;
      try {
        return await (this.all[number] as Broker).call(method, request, lock, within, signal);
      } catch (error) {
        if (!(error instanceof CallFailed) || isFinal(error.failure.code)) throw error;
        failure = error;
        if (!signal.aborted) this.turnFrom(number);
      }
    }
    throw failure ?? new Error("lockbroker: a call was cancelled before it began");
  }

  /**
   * Makes a call at each broker in turn, and over again, until one answers or the answer timeout and the wait are over. Throws a
   * `CallFailed`.
   */
  async repeat<I, O, R>(repeated: Repeated<I, O, R>, signal: AbortSignal): Promise<R> {
    const { method, lock, wait, end } = repeated;
    const waitEnd = now() + wait;
    const by = Math.min(end, waitEnd + this.#answerTimeout);
    const within = share(this.#answerTimeout, Math.max(LEAST_TRIES, this.all.length));
    // The brokers in a row that this client cannot talk to.
    let disagreed = 0;
    for (let tries = 1; ; tries += 1) {
      const number = this.#next;
      const sent = now();
      const left = Math.max(0, waitEnd - sent);
      const most = Math.min(within + left, Math.max(0, by - sent), LONGEST_TIMER);
      let failure: CallFailed;
      try {
        const broker = this.all[number] as Broker;
        const answer = await broker.call(method, repeated.request(left), lock, most, signal);
        const read = repeated.read(answer, sent, tries);
        if (read !== undefined) return read;
        const text = "unavailable: the answer came when the lease was over";
        failure = new CallFailed(unavailable(text), { code: "UNAVAILABLE", lock, text });
      } catch (error) {
        if (!(error instanceof CallFailed) || signal.aborted || !mayBeAsked(error)) throw error;
        failure = error;
      }
      this.turnFrom(number);
      disagreed = failure.data.code === "HANDSHAKE" || failure.data.code === "PROTOCOL" ? disagreed + 1 : 0;
      const rest = this.#pause(failure, tries);
      if (disagreed === this.all.length || by - now() <= rest) throw failure;
      await sleep(rest, undefined, { signal }).catch(() => {
        throw failure;
      });
    }
  }

  /** Returns the time until the next try, after so many that failed. In the first round there is none. */
  #pause({ failure }: CallFailed, tries: number): number {
    if (tries < this.all.length) return 0;
    if (failure.retryAfter) return Math.min(failure.retryAfter, ASK_AGAIN);
    return pause(tries - this.all.length, this.#answerTimeout / 4, Math.random());
  }

  /** Calls Release. It is bounded by the answer timeout. */
  async release(name: string, lockId: string, signal: AbortSignal): Promise<ReleaseOutcome> {
    return readOutcome(name, await this.#call(lockService.Release, { name, lockId } as never, name, signal));
  }

  /** Calls UpdateLock. */
  async update(name: string, lockId: string, value: Uint8Array, signal: AbortSignal): Promise<UpdateOutcome> {
    const { outcome } = await this.#call(lockService.UpdateLock, { name, lockId, value } as never, name, signal);
    return UPDATES[outcome];
  }

  /** Calls GetLock. */
  async get(name: string, lockId: string, permit: number | undefined, signal: AbortSignal): Promise<LockInfo> {
    const sent = now();
    const answer = await this.#call(lockService.GetLock, { name, lockId, permit } as never, name, signal);
    const expires = fromWire(answer.expiresAfterRequest);
    return {
      state: STATES[answer.state] ?? strange(name, "a lock without a state"),
      owner: answer.owner,
      freeWithin: fromWire(answer.freeWithin) ?? 0,
      remaining: expires === undefined ? 0 : Math.max(0, sent + expires - now()),
      fencingToken: Number(answer.fencingToken) || undefined,
      heldFor: fromWire(answer.heldFor),
      etag: answer.etag,
      sharedCount: answer.sharedCount,
    };
  }

  close(): void {
    for (const broker of this.all) broker.close();
  }
}

/** Returns true if a call that failed so may be made again: what has no reason is not a broker's word. */
function mayBeAsked({ failure }: CallFailed): boolean {
  return failure.code === "UNAVAILABLE" || (failure.reason === "" && !isFinal(failure.code));
}

export function readOutcome(lock: string, { outcome }: ReleaseResponse): ReleaseOutcome {
  return OUTCOMES[outcome] ?? strange(lock, "a release without an outcome");
}

export function strange(lock: string, what: string): never {
  const data = unexpected(lock, what);
  throw new CallFailed({ code: "INTERNAL", message: data.text, reason: "" }, data);
}

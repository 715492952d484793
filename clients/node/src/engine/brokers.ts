import { now } from "../clock.js";
import { share } from "../core/dialer.js";
import { isFinal } from "../core/types.js";
import type { Endpoint } from "../endpoint.js";
import { ReleaseResponse_Outcome as Outcome, GetLockResponse_State as State } from "../gen/lockbroker/v1/lockbroker_pb.js";
import type { TlsFiles } from "../tls.js";
import { lockService } from "../v1/index.js";
import { Broker, type UnaryMethod } from "./broker.js";
import { CallFailed, unexpected } from "./failures.js";
import type { LockInfo, ReleaseOutcome } from "./protocol.js";
import { fromWire } from "./wire.js";

const OUTCOMES: Partial<Record<Outcome, ReleaseOutcome>> = {
  [Outcome.RELEASED]: "RELEASED",
  [Outcome.NOT_HELD]: "NOT_HELD",
  [Outcome.HELD_BY_ANOTHER]: "HELD_BY_ANOTHER",
};

const STATES: Partial<Record<State, LockInfo["state"]>> = {
  [State.FREE]: "FREE",
  [State.HELD]: "HELD",
  [State.LINGERING]: "LINGERING",
  [State.REVOKED]: "REVOKED",
};

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

  /** Calls Release. It is bounded by the answer timeout. */
  async release(name: string, lockId: string, signal: AbortSignal): Promise<ReleaseOutcome> {
    const { outcome } = await this.#call(lockService.Release, { name, lockId } as never, name, signal);
    return OUTCOMES[outcome] ?? strange(name, "a release without an outcome");
  }

  /** Calls GetLock. */
  async get(name: string, lockId: string, signal: AbortSignal): Promise<LockInfo> {
    const sent = now();
    const answer = await this.#call(lockService.GetLock, { name, lockId } as never, name, signal);
    const expires = fromWire(answer.expiresAfterRequest);
    return {
      state: STATES[answer.state] ?? strange(name, "a lock without a state"),
      owner: answer.owner,
      freeWithin: fromWire(answer.freeWithin) ?? 0,
      remaining: expires === undefined ? 0 : Math.max(0, sent + expires - now()),
      fencingToken: Number(answer.fencingToken) || undefined,
      heldFor: fromWire(answer.heldFor),
      etag: answer.etag,
    };
  }

  close(): void {
    for (const broker of this.all) broker.close();
  }
}

function strange(lock: string, what: string): never {
  const data = unexpected(lock, what);
  throw new CallFailed({ code: "INTERNAL", message: data.text, reason: "" }, data);
}

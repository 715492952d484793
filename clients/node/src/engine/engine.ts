import { Belief } from "../belief.js";
import type { ErrorData } from "../errors.js";
import { Brokers } from "./brokers.js";
import { CallFailed } from "./failures.js";
import { Leases } from "./leases.js";
import type { Answer, Call, Command, EngineSettings, Notice } from "./protocol.js";
import { Session } from "./session.js";
import { Watch } from "./watch.js";

/** Everything behind a client that talks to brokers. It runs in a thread of its own, or in the client's. */
export class Engine {
  readonly #brokers: Brokers;
  readonly #leases: Leases;
  readonly #session: Session;
  readonly #notify: (notice: Notice) => void;
  /** The single calls under way. */
  readonly #calls = new Map<number, AbortController>();
  /** The locks that are observed, by the number of the observation. */
  readonly #watches = new Map<number, Watch>();

  constructor(settings: EngineSettings, notify: (notice: Notice) => void) {
    const { endpoints, files, answerTimeout } = settings;
    this.#brokers = new Brokers(endpoints, files, answerTimeout);
    this.#leases = new Leases(this.#brokers);
    this.#session = new Session(this.#brokers, settings, notify);
    this.#notify = notify;
  }

  take(command: Command): void {
    switch (command.kind) {
      case "acquire":
        return this.#session.begin(command.acquire, new Belief(command.belief));
      case "giveUp":
        return this.#session.giveUp(command.key);
      case "call":
        void this.#call(command.id, command.call);
        return;
      case "cancelCall":
        this.#calls.get(command.id)?.abort();
        return;
      case "unobserve":
        this.#watches.get(command.id)?.rest();
        this.#watches.delete(command.id);
        return;
      case "close":
        void this.close(command.within);
    }
  }

  /** Closes all connections while nothing is held. */
  rest(): void {
    this.#session.rest();
    this.#restWatches();
  }

  #restWatches(): void {
    for (const watch of this.#watches.values()) watch.rest();
  }

  /** Makes every holder know that it may not act any more: nobody sends heartbeats from now on. */
  abandon(): void {
    this.#session.abandon();
  }

  async close(within: number): Promise<void> {
    for (const call of this.#calls.values()) call.abort();
    this.#restWatches();
    await this.#session.close(within);
    this.#brokers.close();
    this.#notify({ kind: "closed" });
  }

  async #call(id: number, call: Call): Promise<void> {
    const abort = new AbortController();
    this.#calls.set(id, abort);
    try {
      const answer = await this.#answer(call, abort.signal);
      this.#notify({ kind: "answered", id, answer });
    } catch (error) {
      const text = `unexpected: ${String(error)}`;
      const data: ErrorData = error instanceof CallFailed ? error.data : { code: "UNEXPECTED", lock: call.name, text };
      this.#notify({ kind: "callFailed", id, error: data });
    } finally {
      this.#calls.delete(id);
    }
  }

  #answer(call: Call, signal: AbortSignal): Promise<Answer> {
    switch (call.kind) {
      case "release":
        return this.#brokers.release(call.name, call.lockId, signal);
      case "get":
        return this.#brokers.get(call.name, call.lockId, call.permit, signal);
      case "acquireLease":
        return this.#leases.acquire(call, signal);
      case "renewLease":
        return this.#leases.renew(call.name, call.lockId, call.end, signal);
      case "releaseLease":
        return this.#leases.release(call.name, call.lockId, signal);
      case "update":
        return this.#session.update(call.name, call.key, call.value);
      case "share":
        return this.#session.share(call.name, call.key, call.limit);
      case "observe":
        return this.#watch(call.id, call.name).next(signal);
    }
  }

  #watch(id: number, name: string): Watch {
    let watch = this.#watches.get(id);
    if (watch === undefined) {
      watch = new Watch(this.#brokers, name);
      this.#watches.set(id, watch);
    }
    return watch;
  }
}

import { Belief } from "../belief.js";
import type { ErrorData } from "../errors.js";
import { Brokers } from "./brokers.js";
import { CallFailed } from "./failures.js";
import type { Call, Command, EngineSettings, Notice } from "./protocol.js";
import { Session } from "./session.js";

/** Everything behind a client that talks to brokers. It runs in a thread of its own, or in the client's. */
export class Engine {
  readonly #brokers: Brokers;
  readonly #session: Session;
  readonly #notify: (notice: Notice) => void;
  /** The single calls under way. */
  readonly #calls = new Map<number, AbortController>();

  constructor(settings: EngineSettings, notify: (notice: Notice) => void) {
    const { endpoints, files, answerTimeout } = settings;
    this.#brokers = new Brokers(endpoints, files, answerTimeout);
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
      case "close":
        void this.close(command.within);
    }
  }

  /** Closes all connections while nothing is held. */
  rest(): void {
    this.#session.rest();
  }

  /** Makes every holder know that it may not act any more: nobody sends heartbeats from now on. */
  abandon(): void {
    this.#session.abandon();
  }

  async close(within: number): Promise<void> {
    for (const call of this.#calls.values()) call.abort();
    await this.#session.close(within);
    this.#brokers.close();
    this.#notify({ kind: "closed" });
  }

  async #call(id: number, call: Call): Promise<void> {
    const abort = new AbortController();
    this.#calls.set(id, abort);
    try {
      const { kind, name, lockId } = call;
      const answer = await this.#brokers[kind](name, lockId, abort.signal);
      this.#notify({ kind: "answered", id, answer });
    } catch (error) {
      const text = `unexpected: ${String(error)}`;
      const data: ErrorData = error instanceof CallFailed ? error.data : { code: "UNEXPECTED", lock: call.name, text };
      this.#notify({ kind: "callFailed", id, error: data });
    } finally {
      this.#calls.delete(id);
    }
  }
}

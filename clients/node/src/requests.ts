/** Keeps the calls that wait for an answer of the engine, and the locks that were granted. */
import { onAbort } from "./abort.js";
import { Belief } from "./belief.js";
import type { Acquire, Key, LockSpec } from "./core/types.js";
import { type Deferred, deferred } from "./deferred.js";
import type { Answer, AnswerTo, Call, EngineSettings, Grant, Notice } from "./engine/protocol.js";
import { closedData, LockbrokerError, LostError, notAcquired } from "./errors.js";
import { Hold } from "./hold.js";
import { type Host, InlineHost, ThreadHost } from "./host.js";
import { Lock, type LockCalls } from "./lock.js";

/** A call that waits for its lock. */
interface Asking {
  readonly spec: LockSpec;
  readonly belief: Belief;
  readonly signal: AbortSignal | undefined;
  readonly answer: Deferred<Lock>;
}

/** A single call that waits for its answer. */
interface Calling {
  readonly name: string;
  readonly answer: Deferred<Answer>;
}

/** The client's side of its engine. */
export class Requests {
  readonly #answerTimeout: number;
  readonly #host: Host;
  readonly #asking = new Map<Key, Asking>();
  readonly #holds = new Map<Key, Hold>();
  readonly #calls = new Map<number, Calling>();
  /** The observations that the engine knows of. */
  readonly #observed = new Set<number>();
  /** The latest number of a lock or a call. */
  #last = 0;
  #closing: Promise<void> | undefined;
  readonly #closed = deferred<void>();
  /** Set once the engine has ended by a fault. */
  #fault: string | undefined;

  constructor(settings: EngineSettings, inThread: boolean) {
    this.#answerTimeout = settings.answerTimeout;
    const listener = {
      notice: (notice: Notice) => this.#heed(notice),
      failed: (why: string) => this.#fail(why),
      exiting: () => this.#endHolds(),
    };
    this.#host = inThread ? new ThreadHost(settings, listener) : new InlineHost(settings, listener);
  }

  /** Asks for a lock. A signal that is aborted gives that up. */
  async ask(spec: LockSpec, more: Pick<Acquire, "wait" | "adopt">, signal: AbortSignal | undefined): Promise<Lock> {
    if (signal?.aborted) throw signal.reason;
    this.#throwIfClosed(spec.name);
    const key = this.newId();
    const asking: Asking = { spec, belief: new Belief(), signal, answer: deferred<Lock>() };
    this.#asking.set(key, asking);
    this.#host.keepAlive(true);
    this.#host.post({ kind: "acquire", acquire: { key, spec, ...more }, belief: asking.belief.memory });
    const cancel = () => {
      if (!this.#asking.delete(key)) return;
      // If a grant is on its way, it is released too.
      this.#host.post({ kind: "giveUp", key });
      asking.answer.reject(signal?.reason);
    };
    return this.#answer(asking.answer, signal, cancel);
  }

  /** Returns a number that nothing has had before. */
  newId(): number {
    this.#last += 1;
    return this.#last;
  }

  /** Ends an observation. */
  unobserve(id: number): void {
    if (this.#observed.delete(id)) this.#host.post({ kind: "unobserve", id });
  }

  /** Makes a single call. A signal that is aborted cancels it. */
  async call<C extends Call>(call: C, signal: AbortSignal | undefined): Promise<AnswerTo<C>> {
    if (signal?.aborted) throw signal.reason;
    this.#throwIfClosed(call.name);
    const id = this.newId();
    const answer = deferred<Answer>();
    this.#calls.set(id, { name: call.name, answer });
    if (call.kind === "observe") this.#observed.add(call.id);
    this.#host.keepAlive(true);
    this.#host.post({ kind: "call", id, call });
    const cancel = () => {
      if (!this.#calls.delete(id)) return;
      this.#host.post({ kind: "cancelCall", id });
      answer.reject(signal?.reason);
    };
    return (await this.#answer(answer, signal, cancel)) as AnswerTo<C>;
  }

  async #answer<T>(answer: Deferred<T>, signal: AbortSignal | undefined, cancel: () => void): Promise<T> {
    const stopWatching = onAbort(signal, cancel);
    try {
      return await answer.promise;
    } finally {
      stopWatching();
      this.#restIfIdle();
    }
  }

  /** Releases everything, and ends all that waits. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends the holders' own belief, before anything is released. */
  #endHolds(): void {
    for (const hold of this.#holds.values()) hold.finish(new LockbrokerError(closedData(hold.name)));
  }

  async #close(): Promise<void> {
    this.#endHolds();
    for (const [key, { spec, answer }] of this.#asking) {
      this.#asking.delete(key);
      answer.reject(new LockbrokerError(closedData(spec.name)));
    }
    for (const [id, { name, answer }] of this.#calls) {
      this.#calls.delete(id);
      answer.reject(new LockbrokerError(closedData(name)));
    }
    if (this.#fault === undefined && this.#last > 0) {
      this.#host.keepAlive(true);
      this.#host.post({ kind: "close", within: this.#answerTimeout });
      await this.#closed.promise;
    }
    this.#host.end();
  }

  #throwIfClosed(lock: string): void {
    if (this.#closing !== undefined) throw new LockbrokerError(closedData(lock));
    if (this.#fault !== undefined) throw new LockbrokerError({ code: "UNEXPECTED", lock, text: this.#fault });
  }

  /** Lets the process end when nothing is held or asked for. */
  #restIfIdle(): void {
    const isIdle = this.#asking.size === 0 && this.#holds.size === 0 && this.#calls.size === 0;
    if (isIdle && this.#closing === undefined) this.#host.keepAlive(false);
  }

  #heed(notice: Notice): void {
    switch (notice.kind) {
      case "granted":
        return this.#granted(notice.key, notice);
      case "moved":
        return this.#holds.get(notice.key)?.move(notice);
      case "refused":
        return this.#refuse(notice.key, (name) => notAcquired(name, notice));
      case "failed":
        this.#refuse(notice.key, () => new LockbrokerError(notice.error));
        return this.#over(notice.key, new LockbrokerError(notice.error));
      case "lost": {
        const lost = (name: string) => new LostError(name, notice.reason);
        const hold = this.#holds.get(notice.key);
        hold?.hear(lost(hold.name));
        this.#refuse(notice.key, lost);
        return this.#over(notice.key, hold?.lost);
      }
      case "released":
        return this.#over(notice.key, undefined);
      case "answered":
        this.#calls.get(notice.id)?.answer.resolve(notice.answer);
        this.#calls.delete(notice.id);
        return;
      case "callFailed":
        this.#calls.get(notice.id)?.answer.reject(new LockbrokerError(notice.error));
        this.#calls.delete(notice.id);
        return;
      case "closed":
        this.#closed.resolve();
    }
  }

  #granted(key: Key, grant: Grant): void {
    const asking = this.#asking.get(key);
    // Given up meanwhile: the engine releases it.
    if (asking === undefined) return;
    this.#asking.delete(key);
    const { spec, belief, signal, answer } = asking;
    const hold = new Hold(key, spec, belief, grant, signal);
    this.#holds.set(key, hold);
    const { name } = hold;
    const calls: LockCalls = {
      giveUp: () => this.#host.post({ kind: "giveUp", key }),
      update: async (value) => (await this.call({ kind: "update", name, key, value }, undefined)).kind !== "over",
      share: async (limit) => (await this.call({ kind: "share", name, key, limit }, undefined)).kind !== "over",
    };
    answer.resolve(new Lock(hold, calls));
  }

  /** Ends a call that does not get its lock. */
  #refuse(key: Key, error: (name: string) => LockbrokerError): void {
    const asking = this.#asking.get(key);
    this.#asking.delete(key);
    asking?.answer.reject(error(asking.spec.name));
  }

  /** Notes that the engine is done with a lock. */
  #over(key: Key, error: LockbrokerError | undefined): void {
    const hold = this.#holds.get(key);
    this.#holds.delete(key);
    hold?.over(error);
    this.#restIfIdle();
  }

  /** Ends everything: the engine is gone, and its connections with it. */
  #fail(why: string): void {
    if (this.#fault !== undefined) return;
    this.#fault = why;
    const error = (lock: string) => new LockbrokerError({ code: "UNEXPECTED", lock, text: why });
    for (const [key, hold] of [...this.#holds]) {
      hold.belief.end("GONE");
      hold.lose(new LostError(hold.name, "GONE"));
      this.#over(key, hold.lost);
    }
    for (const [key] of [...this.#asking]) this.#refuse(key, error);
    for (const { name, answer } of this.#calls.values()) answer.reject(error(name));
    this.#calls.clear();
    this.#closed.resolve();
  }
}

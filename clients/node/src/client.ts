import { onAbort } from "./abort.js";
import { Belief } from "./belief.js";
import { now } from "./clock.js";
import type { Acquire, Key } from "./core/types.js";
import { type Deferred, deferred } from "./deferred.js";
import { parseEndpoints } from "./endpoint.js";
import type { Call, EngineSettings, LockInfo, Notice, ReleaseOutcome } from "./engine/protocol.js";
import { fromEnvironment } from "./environment.js";
import { closedData, type ErrorData, LockbrokerError, LostError, NotAcquiredError } from "./errors.js";
import { Hold } from "./hold.js";
import { type Host, InlineHost, ThreadHost } from "./host.js";
import { Lock } from "./lock.js";
import type { ConnectOptions, LockOptions, WaitOptions } from "./options.js";
import { readTls, type TlsFiles } from "./tls.js";
import { optionalText, optionalTime, text } from "./values.js";

const DEFAULT_ANSWER_TIMEOUT = 5000;

/**
 * Makes a client of the brokers at `server`: `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` or `unix:/PATH`. Several
 * brokers of one store, in a list or with commas between them, are asked in turn: one that does not answer costs its share
 * of the time, and no more. It connects only when it is first asked for something.
 *
 * Without `server`, it is read from the environment: LOCKBROKER_SERVER, LOCKBROKER_CLIENT_TLS_CA, LOCKBROKER_CLIENT_TLS_CERT
 * and LOCKBROKER_CLIENT_TLS_KEY, as the command line does; else it is http://127.0.0.1:28551.
 *
 * Throws an `ENDPOINT`, `TLS` or `INVALID` error.
 */
export function connect(server?: string | readonly string[], options: ConnectOptions = {}): Client {
  const environment = server === undefined ? fromEnvironment() : { server, files: {} };
  const files: TlsFiles = options.tls ?? environment.files;
  const answerTimeout = optionalTime("answerTimeout", options.answerTimeout, "") ?? DEFAULT_ANSWER_TIMEOUT;
  if (answerTimeout <= 0) {
    const text = `an answerTimeout of ${answerTimeout} leaves no time for an answer`;
    throw new LockbrokerError({ code: "INVALID", lock: "", text });
  }
  const ttl = optionalTime("ttl", options.ttl, "");
  const hasFiles = Object.values(files).some((file) => file !== undefined);
  const endpoints = parseEndpoints(environment.server, hasFiles);
  // Mistakes are to be told here, and not by the first call.
  if (hasFiles) readTls(files);
  const { ca, cert, key } = files;
  const settings = { server: endpoints.map(({ name }) => name), files: { ca, cert, key }, answerTimeout, ttl };
  return new Client(settings, optionalText("owner", options.owner, "") ?? "", options.worker ?? true);
}

/** A call that waits for its lock. */
interface Asking {
  readonly name: string;
  readonly owner: string;
  readonly belief: Belief;
  readonly signal: AbortSignal | undefined;
  readonly answer: Deferred<Lock>;
}

/** Asks brokers for locks. All its locks share one stream to a broker. Made by {@link connect}. */
export class Client implements AsyncDisposable {
  readonly #owner: string;
  readonly #answerTimeout: number;
  readonly #host: Host;
  readonly #asking = new Map<Key, Asking>();
  readonly #holds = new Map<Key, Hold>();
  readonly #calls = new Map<number, { readonly name: string; readonly answer: Deferred<ReleaseOutcome | LockInfo> }>();
  /** The latest number of a lock or a call. */
  #last = 0;
  #closing: Promise<void> | undefined;
  readonly #closed = deferred<void>();
  /** Set once the engine has ended by a fault. */
  #fault: string | undefined;

  /** @internal */
  constructor(settings: EngineSettings, owner: string, inThread: boolean) {
    this.#owner = owner;
    this.#answerTimeout = settings.answerTimeout;
    const listener = { notice: (notice: Notice) => this.#heed(notice), failed: (why: string) => this.#fail(why) };
    this.#host = inThread ? new ThreadHost(settings, listener) : new InlineHost(settings, listener);
  }

  /**
   * Waits for the lock `name`, 1 to 128 bytes without control characters, until it is granted, the limit of `wait` is over,
   * or `signal` is aborted. It waits through a broker that goes away, at the next one, and through a store that is away.
   *
   * Throws a {@link NotAcquiredError} if the wait is over, the reason of the signal if that was aborted, and otherwise a
   * {@link LockbrokerError}. A wait that is shorter than `answerTimeout` may take that long to find out that there is no
   * broker.
   */
  async lock(name: string, options: WaitOptions = {}): Promise<Lock> {
    const limit = optionalTime("wait", options.wait, name, true);
    const pollInterval = optionalTime("pollInterval", options.pollInterval, name);
    if (limit !== undefined && limit <= 0) return this.#ask(name, options, {});
    const until = limit === undefined || limit === Number.POSITIVE_INFINITY ? undefined : now() + limit;
    return this.#ask(name, options, { wait: { until, pollInterval } });
  }

  /**
   * Asks for the lock `name`, once. Returns null if somebody else has it, so that nothing but a lock is true:
   * `if (lock) …`, and `await using lock = await client.tryLock("x")` takes null. {@link Client.get} tells who has it.
   */
  async tryLock(name: string, options: LockOptions = {}): Promise<Lock | null> {
    try {
      return await this.#ask(name, options, {});
    } catch (error) {
      if (error instanceof NotAcquiredError) return null;
      throw error;
    }
  }

  /**
   * Takes over the grant that `lockId` names, from whoever holds it: another process, say, that has handed it on. Its
   * fencing token stays. The former holder is told that it has lost the lock.
   *
   * Throws a {@link NotAcquiredError} with the reason `NOT_REATTACHABLE` if the grant has ended.
   */
  async adopt(name: string, lockId: string, options: LockOptions = {}): Promise<Lock> {
    if (text("lockId", lockId, name) === "") throw invalid(name, "there is no lock id to adopt");
    return this.#ask(name, options, { adopt: lockId });
  }

  /**
   * Waits for the lock as {@link Client.lock} does, runs `work`, and releases the lock when `work` has ended, however it
   * does. Returns what `work` returns and throws what it throws. If it throws nothing, throws a {@link LostError} if the lock
   * was lost meanwhile: the work is done, and its last step may not have been under the lock.
   */
  async using<T>(name: string, work: (lock: Lock) => T | PromiseLike<T>, options: WaitOptions = {}): Promise<T> {
    const lock = await this.lock(name, options);
    try {
      const result = await work(lock);
      if (lock.lost !== undefined) throw lock.lost;
      return result;
    } finally {
      // A loss has been told. If nobody confirms the release, the lock runs out by itself.
      await lock.release().catch(() => {});
    }
  }

  /**
   * Runs `work` under the lock as {@link Client.using} does, and when the lock is lost, waits for it and runs `work` anew:
   * until `work` ends under the lock, fails for another reason than the loss, or `signal` is aborted. For work that goes on
   * for as long as the process does, such as a leader's. Give `lock.signal` to it, or it does not hear of a loss.
   */
  async hold<T>(name: string, work: (lock: Lock) => T | PromiseLike<T>, options: WaitOptions = {}): Promise<T> {
    for (;;) {
      let held: Lock | undefined;
      try {
        const run = (lock: Lock) => {
          held = lock;
          return work(lock);
        };
        return await this.using(name, run, options);
      } catch (error) {
        if (held?.lost === undefined) throw error;
        options.signal?.throwIfAborted();
      }
    }
  }

  /**
   * Releases the grant that `lockId` names, whoever holds it and at whichever broker. Its holder, if there is one, is told.
   * If the grant has ended, it changes nothing and says so: `NOT_HELD` or `HELD_BY_ANOTHER`.
   *
   * Throws an `UNAVAILABLE` error if no broker answers in time, and then the release may still happen.
   */
  async release(name: string, lockId: string, options: { signal?: AbortSignal | undefined } = {}): Promise<ReleaseOutcome> {
    const call: Call = { kind: "release", name: text("name", name, ""), lockId: text("lockId", lockId, name) };
    return (await this.#call(call, options.signal)) as ReleaseOutcome;
  }

  /**
   * Looks at a lock without touching it. If `lockId` names the present grant and the broker keeps it, the answer says for
   * how long it is valid.
   */
  async get(
    name: string,
    options: { lockId?: string | undefined; signal?: AbortSignal | undefined } = {},
  ): Promise<LockInfo> {
    const call: Call = {
      kind: "get",
      name: text("name", name, ""),
      lockId: optionalText("lockId", options.lockId, name) ?? "",
    };
    return (await this.#call(call, options.signal)) as LockInfo;
  }

  /**
   * Releases everything that the client holds, ends all its calls, and closes its connections. It waits until a broker has
   * confirmed the releases, for the `answerTimeout` at most, and a moment for the connections.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    for (const hold of this.#holds.values()) hold.finish(new LockbrokerError(closedData(hold.name)));
    for (const [key, { name, answer }] of this.#asking) {
      this.#asking.delete(key);
      answer.reject(new LockbrokerError(closedData(name)));
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

  async #ask(name: string, options: LockOptions, more: Pick<Acquire, "wait" | "adopt">): Promise<Lock> {
    const { signal } = options;
    const owner = optionalText("owner", options.owner, name) ?? this.#owner;
    const linger = optionalTime("linger", options.linger, name);
    const spec = { name: text("name", name, ""), owner, linger };
    signal?.throwIfAborted();
    this.#throwIfClosed(name);
    this.#last += 1;
    const key = this.#last;
    const asking: Asking = { name, owner, belief: new Belief(), signal, answer: deferred<Lock>() };
    this.#asking.set(key, asking);
    this.#host.keepAlive(true);
    this.#host.post({ kind: "acquire", acquire: { key, spec, ...more }, belief: asking.belief.memory });
    const cancel = () => {
      if (!this.#asking.delete(key)) return;
      // If a grant is on its way, it is released too.
      this.#host.post({ kind: "giveUp", key });
      asking.answer.reject(signal?.reason);
    };
    const stopWatching = onAbort(signal, cancel);
    try {
      return await asking.answer.promise;
    } finally {
      stopWatching();
      this.#restIfIdle();
    }
  }

  async #call(call: Call, signal: AbortSignal | undefined): Promise<ReleaseOutcome | LockInfo> {
    signal?.throwIfAborted();
    this.#throwIfClosed(call.name);
    this.#last += 1;
    const id = this.#last;
    const answer = deferred<ReleaseOutcome | LockInfo>();
    this.#calls.set(id, { name: call.name, answer });
    this.#host.keepAlive(true);
    this.#host.post({ kind: "call", id, call });
    const cancel = () => {
      if (!this.#calls.delete(id)) return;
      this.#host.post({ kind: "cancelCall", id });
      answer.reject(signal?.reason);
    };
    const stopWatching = onAbort(signal, cancel);
    try {
      return await answer.promise;
    } finally {
      stopWatching();
      this.#restIfIdle();
    }
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
      case "moved": {
        const hold = this.#holds.get(notice.key);
        if (hold !== undefined) Object.assign(hold, { lockId: notice.lockId, ttl: notice.ttl });
        return;
      }
      case "refused":
        return this.#refuse(notice.key, (name) => {
          const { reason, owner } = notice;
          if (reason === "CANCELLED" || reason === "UNKNOWN") {
            const text = "unexpected answer: not acquired, for a reason that this client does not know";
            return new LockbrokerError({ code: "UNEXPECTED", lock: name, text });
          }
          return new NotAcquiredError(name, reason, owner);
        });
      case "failed":
        this.#refuse(notice.key, () => new LockbrokerError(notice.error));
        return this.#over(notice.key, new LockbrokerError(notice.error));
      case "lost": {
        const lost = (name: string) => new LostError(name, notice.reason);
        const hold = this.#holds.get(notice.key);
        hold?.lose(lost(hold.name));
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

  #granted(key: Key, grant: { lockId: string; token: number; ttl: number }): void {
    const asking = this.#asking.get(key);
    // Given up meanwhile: the engine releases it.
    if (asking === undefined) return;
    this.#asking.delete(key);
    const { name, owner, belief, signal, answer } = asking;
    const hold = new Hold(key, name, owner, belief, grant, signal);
    this.#holds.set(key, hold);
    answer.resolve(new Lock(hold, () => this.#host.post({ kind: "giveUp", key })));
  }

  /** Ends a call that does not get its lock. */
  #refuse(key: Key, error: (name: string) => LockbrokerError): void {
    const asking = this.#asking.get(key);
    this.#asking.delete(key);
    asking?.answer.reject(error(asking.name));
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
    const error = (lock: string) => new LockbrokerError({ code: "UNEXPECTED", lock, text: why } satisfies ErrorData);
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

function invalid(lock: string, text: string): LockbrokerError {
  return new LockbrokerError({ code: "INVALID", lock, text });
}

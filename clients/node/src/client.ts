import { debuglog } from "node:util";
import { LONGEST_TIMER, now } from "./clock.js";
import { type Acquire, type LockSpec, NEVER } from "./core/types.js";
import { parseEndpoints } from "./endpoint.js";
import type { EngineSettings, LockInfo, ReleaseOutcome } from "./engine/protocol.js";
import { fromEnvironment } from "./environment.js";
import { LostError, NotAcquiredError, notAcquired } from "./errors.js";
import { Lease } from "./lease.js";
import { isConsequence, type Lock } from "./lock.js";
import { Observation } from "./observation.js";
import type { ConnectOptions, LeaseOptions, LockOptions, WaitOptions } from "./options.js";
import { Requests } from "./requests.js";
import { readTls, type TlsFiles } from "./tls.js";
import {
  besideValue,
  invalid,
  lockValue,
  MOST_PERMITS,
  namesTogether,
  optionalBoolean,
  optionalSignal,
  optionalText,
  optionalTime,
  optionalWhole,
  permitLimit,
  permitWeight,
  text,
  together,
} from "./values.js";

const debug = debuglog("lockbroker");

/** Milliseconds. */
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
    throw invalid("", `an answerTimeout of ${answerTimeout} leaves no time for an answer`);
  }
  const ttl = optionalTime("ttl", options.ttl, "");
  const hasFiles = Object.values(files).some((file) => file !== undefined);
  const endpoints = parseEndpoints(environment.server, hasFiles);
  // Mistakes are to be told here, and not by the first call.
  if (hasFiles) readTls(files);
  const { ca, cert, key } = files;
  const settings = {
    endpoints,
    files: { ca, cert, key },
    answerTimeout: Math.min(answerTimeout, LONGEST_TIMER),
    ttl,
  };
  return new Client(settings, optionalText("owner", options.owner, "") ?? "", options.worker ?? true);
}

/** Asks brokers for locks. All its locks share one stream to a broker. Made by {@link connect}. */
export class Client implements AsyncDisposable {
  readonly #owner: string;
  readonly #ttl: number | undefined;
  readonly #requests: Requests;

  /** @internal */
  constructor(settings: EngineSettings, owner: string, inThread: boolean) {
    this.#owner = owner;
    this.#ttl = settings.ttl;
    this.#requests = new Requests(settings, inThread);
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
    text("name", name, "");
    const limit = optionalTime("wait", options.wait, name, true);
    const pollInterval = optionalTime("pollInterval", options.pollInterval, name);
    if (limit === 0) return this.#ask(name, options, {});
    const until = limit === undefined || limit === Number.POSITIVE_INFINITY ? undefined : now() + limit;
    return this.#ask(name, options, { wait: { until, pollInterval } });
  }

  /**
   * Asks for the lock `name`, once. Returns null if somebody else has it: test it with `if (lock)`. `await using lock = await
   * client.tryLock("x")` works too, for JavaScript ignores a null there. {@link Client.get} tells who has it.
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
   * fencing token stays. The former holder is told that it has lost the lock. Without `value` it has none from now on.
   *
   * Throws a {@link NotAcquiredError} with the reason `NOT_REATTACHABLE` if the grant has ended.
   */
  async adopt(name: string, lockId: string, options: Omit<LockOptions, "also" | "weight"> = {}): Promise<Lock> {
    text("name", name, "");
    if (text("lockId", lockId, name) === "") throw invalid(name, "there is no lock id to adopt");
    return this.#ask(name, options, { adopt: lockId });
  }

  /**
   * Waits for the lock as {@link Client.lock} does, runs `work`, and releases the lock when `work` has ended, however it
   * does. Returns what `work` returns and throws what it throws, or the {@link LostError} behind an `AbortError` that
   * `lock.signal` has caused. If it throws nothing, throws a {@link LostError} if the lock was lost meanwhile, also if only
   * the release finds that: the work is done, and its last step may not have been under the lock.
   */
  async using<T>(name: string, work: (lock: Lock) => T | PromiseLike<T>, options: WaitOptions = {}): Promise<T> {
    const lock = await this.lock(name, options);
    let result: T;
    try {
      result = await work(lock);
    } catch (error) {
      await lock.release().catch(() => {});
      // Node's own functions end with an AbortError of their own when a signal is aborted.
      const cause = error instanceof Error && error.name === "AbortError" ? error.cause : undefined;
      throw cause instanceof LostError && cause === lock.lost ? cause : error;
    }
    await lock.release().catch((error: unknown) => {
      // If nobody confirms the release, the lock runs out by itself.
      if (error instanceof LostError) throw error;
    });
    return result;
  }

  /**
   * Runs `work` under the lock as {@link Client.using} does, and when the lock is lost, waits for it and runs `work` anew:
   * until `work` ends under the lock, fails for another reason than the loss, or `signal` is aborted. An `UNAVAILABLE` that
   * `lock.check` has thrown counts as a loss. For work that goes on for as long as the process does, such as a leader's. Give
   * `lock.signal` to it, or it does not hear of a loss.
   *
   * An exception of `work` after a loss is taken for a consequence of the loss, and dropped; `NODE_DEBUG=lockbroker` shows it.
   * Catch in `work` what you want to see.
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
        if (held === undefined || !isConsequence(error, held)) throw error;
        debug("hold of lock %j: %s; the work has ended with %s", name, held.lost?.message ?? "in doubt", error);
        options.signal?.throwIfAborted();
      }
    }
  }

  /**
   * Asks for the lock `name` as a lease, which needs no connection: once, or for as long as `wait` says. If an answer does not
   * come, it asks again, the same broker or the next: it gets the lease that it has got already.
   *
   * Throws a {@link NotAcquiredError} if somebody else has the lock, the reason of the signal if that was aborted, and otherwise a
   * {@link LockbrokerError}: `UNAVAILABLE` if no broker answers within the `answerTimeout`, beyond the wait.
   */
  async lease(name: string, options: LeaseOptions = {}): Promise<Lease> {
    const spec = this.#spec(text("name", name, ""), options);
    const ttl = optionalTime("ttl", options.ttl, name) ?? this.#ttl;
    const wait = optionalTime("wait", options.wait, name) ?? 0;
    const signal = optionalSignal(options.signal, name);
    const answer = await this.#requests.call({ kind: "acquireLease", name, spec, ttl, wait }, signal);
    if (answer.kind === "refused") throw notAcquired(name, answer);
    return new Lease(this.#requests, name, answer);
  }

  /**
   * Goes on with the lease that `lockId` names, which another process has got. It renews it at once. Its fencing token is not known
   * here. The other process can use the lease, too.
   *
   * Throws a {@link LostError} if the lease is over, and otherwise what {@link Lease.renew} throws.
   */
  async adoptLease(name: string, lockId: string, options: Pick<LeaseOptions, "signal"> = {}): Promise<Lease> {
    text("name", name, "");
    if (text("lockId", lockId, name) === "") throw invalid(name, "there is no lock id to adopt");
    const signal = optionalSignal(options.signal, name);
    const answer = await this.#requests.call({ kind: "renewLease", name, lockId, end: NEVER }, signal);
    if (answer.kind === "lost") throw new LostError(name, answer.reason);
    const lease = new Lease(this.#requests, name, { lockId, until: answer.until });
    lease.check();
    return lease;
  }

  /**
   * Releases the grant that `lockId` names, whoever holds it and at whichever broker. Its holder, if there is one, is told.
   * If the grant has ended, it changes nothing and says so: `NOT_HELD` or `HELD_BY_ANOTHER`.
   *
   * Throws an `UNAVAILABLE` error if no broker answers in time, and then the release may still happen.
   */
  async release(name: string, lockId: string, options: Pick<LockOptions, "signal"> = {}): Promise<ReleaseOutcome> {
    const call = { kind: "release", name: text("name", name, ""), lockId: text("lockId", lockId, name) } as const;
    return this.#requests.call(call, optionalSignal(options.signal, name));
  }

  /**
   * Looks at a lock without touching it. If `lockId` names the present grant and the broker keeps it, the answer says for
   * how long it is valid. `permit`, 0 to 4,095, looks at that permit of a lock that is shared. Without both, the answer counts
   * those who share it.
   */
  async get(
    name: string,
    options: Pick<LockOptions, "signal"> & {
      readonly lockId?: string | undefined;
      readonly permit?: number | undefined;
    } = {},
  ): Promise<LockInfo> {
    const lockId = optionalText("lockId", options.lockId, name) ?? "";
    const permit = optionalWhole("permit", options.permit, name, 0, MOST_PERMITS - 1);
    const call = { kind: "get", name: text("name", name, ""), lockId, permit } as const;
    return this.#requests.call(call, optionalSignal(options.signal, name));
  }

  /**
   * Tells what the lock `name` is, at once and whenever that changes, without touching it: `for await (const seen of
   * client.observe("leader"))`. It goes on until its loop is left, or `signal` is aborted, through brokers that go away: that none
   * answers is told as `UNKNOWN`, once.
   *
   * Takes the right to look at the lock: a value is no secret. {@link Observation.next} says what it throws.
   */
  observe(name: string, options: Pick<LockOptions, "signal"> = {}): Observation {
    return new Observation(this.#requests, text("name", name, ""), optionalSignal(options.signal, name));
  }

  /**
   * Releases all locks that the client holds, ends all its calls, and closes its connections. It waits until a broker has
   * confirmed the releases, for the `answerTimeout` at most, and a moment for the connections. Leases stand for what is left of
   * their ttl.
   */
  close(): Promise<void> {
    return this.#requests.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #ask(name: string, options: LockOptions, more: Pick<Acquire, "wait" | "adopt">): Promise<Lock> {
    const spec = this.#spec(text("name", name, ""), options);
    const isKept = optionalBoolean("keepOnDisconnect", options.keepOnDisconnect, name);
    const also = namesTogether(options.also, name);
    const weight = permitWeight(options.weight, spec.shared?.limit, name);
    const shared = weight === undefined ? spec.shared : { ...spec.shared, weight };
    const signal = optionalSignal(options.signal, name);
    const value = options.value === undefined ? undefined : lockValue(options.value, name);
    const whole = { ...spec, shared, isKept, also, value };
    together(whole);
    const texts = value === undefined ? {} : { name, owner: spec.owner, lockId: more.adopt ?? "" };
    for (const [option, text] of Object.entries(texts)) besideValue(option, text, name);
    return this.#requests.ask(whole, more, signal);
  }

  #spec(name: string, options: Pick<LockOptions, "owner" | "linger" | "minHold" | "shared" | "limit">): LockSpec {
    const owner = optionalText("owner", options.owner, name) ?? this.#owner;
    const linger = optionalTime("linger", options.linger, name);
    const minHold = optionalTime("minHold", options.minHold, name);
    const limit = permitLimit(options.limit, name);
    const isShared = optionalBoolean("shared", options.shared, name) || limit !== undefined;
    return { name, owner, linger, minHold, shared: isShared ? { limit } : undefined };
  }
}

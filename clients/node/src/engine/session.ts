import { setMaxListeners } from "node:events";
import { debuglog } from "node:util";
import type { Belief } from "../belief.js";
import { now } from "../clock.js";
import { Core } from "../core/core.js";
import { dialTime } from "../core/dialer.js";
import type { Acquire, AllAcquired, Failure, Input, Key, LinkId, Moment, Output, ReleaseEnd } from "../core/types.js";
import { NEVER, unavailable } from "../core/types.js";
import { closedData, type ErrorData } from "../errors.js";
import type { Broker } from "./broker.js";
import type { Brokers } from "./brokers.js";
import { type Channel, type NoConnection, open } from "./channel.js";
import { CallFailed, fromFailure, noValue } from "./failures.js";
import type { EngineSettings, Notice, ShareAnswer, UpdateAnswer } from "./protocol.js";
import { Sharing } from "./sharing.js";
import { Stream } from "./stream.js";
import { Updates } from "./updates.js";
import { fromResponse, fromStatus, toRequest } from "./wire.js";

/**
 * The longest sleep, in milliseconds. Leases run on while the machine is suspended and timers do not, so it may be noticed
 * that late that something has run out.
 */
const LONGEST_SLEEP = 1000;

const debug = debuglog("lockbroker");

/** A call that wants a lock, or a lock that is held or being released. */
interface Caller {
  readonly name: string;
  readonly belief: Belief;
  /** Unset: the lock was asked for without a value. */
  readonly updates: Updates | undefined;
  readonly sharing: Sharing;
  /** The lock has been granted. */
  isGranted: boolean;
}

/** Does what the core says, and tells it what happens. */
export class Session {
  readonly #brokers: Brokers;
  readonly #settings: EngineSettings;
  readonly #notify: (notice: Notice) => void;
  readonly #callers = new Map<Key, Caller>();
  readonly #streams = new Map<LinkId, Stream>();
  /** The streams that are being closed. */
  readonly #closing = new Set<Promise<void>>();
  readonly #never = new AbortController().signal;
  #core: Core;
  /** The latest reason for which the two sides cannot talk. */
  #disagreement: ErrorData | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The moment at which the timer fires; NEVER if it is not set. */
  #timerAt: Moment = NEVER;
  /** Set while the session ends: the moment at which it waits no longer, and what to call then. */
  #closeBy: { readonly at: Moment; readonly done: () => void } | undefined;
  #isDone = false;

  constructor(brokers: Brokers, settings: EngineSettings, notify: (notice: Notice) => void) {
    this.#brokers = brokers;
    this.#settings = settings;
    this.#notify = notify;
    this.#core = this.#newCore();
    // Each call listens to it, of which there may be as many as locks.
    setMaxListeners(0, this.#never);
  }

  #newCore(): Core {
    const endpoints = this.#brokers.all.map(({ endpoint }) => endpoint.name);
    return new Core({ endpoints, answerTimeout: this.#settings.answerTimeout }, Math.random, now());
  }

  /** Asks for a lock. */
  begin(acquire: Acquire, belief: Belief): void {
    const { key, spec } = acquire;
    if (this.#closeBy !== undefined) {
      this.#notify({ kind: "failed", key, error: closedData(spec.name) });
      return;
    }
    const updates = spec.value === undefined ? undefined : this.#newUpdates(key, spec.name);
    const sharing = new Sharing(spec.name, this.#settings.answerTimeout);
    this.#callers.set(key, { name: spec.name, belief, updates, sharing, isGranted: false });
    this.#step({ kind: "acquire", ...acquire });
  }

  #newUpdates(key: Key, name: string): Updates {
    const lockId = () => {
      const isOver = this.#callers.get(key)?.belief.look().kind === "over";
      return isOver ? undefined : this.#core.held(key)?.lockId;
    };
    const call = (id: string, value: Uint8Array) => this.#brokers.update(name, id, value, this.#never);
    return new Updates({ name, lockId, call }, this.#settings.answerTimeout);
  }

  /** Gives a lock that is held another value. Throws a `CallFailed`. */
  async update(name: string, key: Key, value: Uint8Array): Promise<UpdateAnswer> {
    const caller = this.#callers.get(key);
    if (caller === undefined) return { kind: "over" };
    if (caller.updates === undefined) throw noValue(name);
    // Before it is sent, so that a reattach brings it.
    this.#step({ kind: "value", key, value });
    return caller.updates.update(value);
  }

  /** Shares a lock that is held alone, and waits until it has a permit. Throws a `CallFailed`. */
  async share(name: string, key: Key, limit: number | undefined): Promise<ShareAnswer> {
    const sharing = this.#callers.get(key)?.sharing;
    if (sharing === undefined) return { kind: "over" };
    const shared = sharing.wait();
    debug("lock %j is to be shared", name);
    this.#step({ kind: "share", key, limit });
    this.#tellIfShared(key);
    return shared;
  }

  #tellIfShared(key: Key): void {
    if (this.#core.held(key)?.permit !== undefined) this.#callers.get(key)?.sharing.tell({ kind: "shared" });
  }

  /** Ends a lock, or the wait for it. Does nothing if the lock has ended. */
  giveUp(key: Key): void {
    const caller = this.#callers.get(key);
    if (caller === undefined) return;
    if (!caller.isGranted) this.#callers.delete(key);
    this.#step({ kind: "end", key });
  }

  /** Returns true if nothing is held, asked for or being released. */
  get isEmpty(): boolean {
    return this.#callers.size === 0 && this.#core.isEmpty;
  }

  /** Closes all connections while nothing is held. The next call makes new ones. */
  rest(): void {
    if (!this.isEmpty || this.#isDone) return;
    for (const stream of [...this.#streams.values()]) this.#hangUp(stream);
    this.#core = this.#newCore();
    this.#setTimer();
  }

  /** Releases everything and ends the session, within that time and a moment for the connections. */
  close(within: number): Promise<void> {
    return new Promise((resolve) => {
      this.#closeBy ??= { at: now() + within, done: resolve };
      for (const [key, caller] of [...this.#callers]) {
        if (!caller.isGranted) this.#end(key, { kind: "failed", key, error: closedData(caller.name) });
        this.#step({ kind: "end", key });
      }
      this.#endIfOver();
    });
  }

  /** Makes every holder know that it may not act any more. */
  abandon(): void {
    for (const { belief } of this.#callers.values()) belief.end("GONE");
  }

  /** Tells the core what has happened, and does what it says. */
  #step(input: Input): void {
    if (this.#isDone) return;
    const endpoint = this.#core.nextEndpoint;
    const outputs = this.#core.handle(now(), input);
    // Single calls turn from a broker too. What is to be released elsewhere is not asked of one that was just left.
    if (this.#core.nextEndpoint !== endpoint) this.#brokers.turnFrom(endpoint);
    for (const output of outputs) this.#carryOut(output);
    // These change what all locks of a stream may believe in.
    if (input.kind === "ended" || (input.kind === "received" && input.message.kind === "heartbeatAck")) {
      for (const key of [...this.#callers.keys()]) this.#publish(key);
    }
    this.#setTimer();
    this.#endIfOver();
  }

  #setTimer(): void {
    const due = this.#isDone ? NEVER : Math.min(this.#core.due, this.#closeBy?.at ?? NEVER);
    // One that fires too early does no harm, and is not worth setting anew.
    if (this.#timer !== undefined && this.#timerAt <= due && due !== NEVER) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = NEVER;
    if (due === NEVER) return;
    const sleep = Math.min(Math.max(0, due - now()), LONGEST_SLEEP);
    this.#timerAt = now() + sleep;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#step({ kind: "timeout" });
    }, sleep);
    // The host keeps the process alive for as long as it has to be.
    this.#timer.unref();
  }

  /** Tells a holder for how long its lock is valid. One that has seen its lock run out since the core looked is believed. */
  #publish(key: Key): void {
    const caller = this.#callers.get(key);
    const held = caller?.isGranted ? this.#core.held(key) : undefined;
    if (held !== undefined && !caller?.belief.publish(held)) this.#step({ kind: "end", key });
  }

  #carryOut(output: Output): void {
    switch (output.kind) {
      case "dial":
        this.#dial(output.link, this.#brokers.all[output.endpoint] as Broker);
        return;
      case "send": {
        const stream = this.#streams.get(output.link);
        if (output.request.kind === "open") stream?.begin(this.#listener(stream));
        stream?.send(toRequest(output.request, this.#settings.ttl));
        return;
      }
      case "hangup": {
        const stream = this.#streams.get(output.link);
        if (stream !== undefined) this.#hangUp(stream);
        return;
      }
      case "granted":
        return this.#granted(output.key, output);
      case "moved":
        return this.#moved(output);
      case "notShared":
        this.#callers.get(output.key)?.sharing.tell(output.failure);
        return;
      case "refused": {
        const { key, refusal } = output;
        return this.#end(key, { kind: "refused", key, ...refusal });
      }
      case "failed":
        return this.#failed(output.key, output.failure);
      case "lost": {
        const { key, reason } = output;
        debug("lock %j is lost: %s", this.#nameOf(key), reason);
        this.#callers.get(key)?.belief.end(reason);
        return this.#end(key, { kind: "lost", key, reason });
      }
      case "released":
        return this.#end(output.key, { kind: "released", key: output.key });
      case "releaseElsewhere":
        void this.#releaseElsewhere(output.key, output.name, output.lockId);
    }
  }

  #dial(id: LinkId, broker: Broker): void {
    const channel = open(broker.endpoint, broker.files);
    if (!("client" in channel)) {
      // Not within the step that it answers.
      setImmediate(() => this.#dialFailed(id, channel));
      return;
    }
    const stream = new Stream(id, channel);
    this.#streams.set(id, stream);
    void this.#connected(stream, channel);
  }

  async #connected(stream: Stream, channel: Channel): Promise<void> {
    const why = await channel.connected(dialTime(this.#settings.answerTimeout, this.#brokers.all.length));
    if (this.#streams.get(stream.id) !== stream) return;
    if (why === undefined) {
      this.#step({ kind: "dialled", link: stream.id });
      return;
    }
    this.#streams.delete(stream.id);
    channel.destroy();
    this.#dialFailed(stream.id, why);
  }

  #dialFailed(link: LinkId, { failure, disagreement }: NoConnection): void {
    debug("link %d: no connection: %s", link, failure.message);
    this.#disagreement = disagreement ?? this.#disagreement;
    this.#step({ kind: "dialled", link, failure });
  }

  /** Closes a stream, and hears nothing more of it. */
  #hangUp(stream: Stream): void {
    debug("link %d: hanging up", stream.id);
    this.#streams.delete(stream.id);
    const closing = stream.close().finally(() => this.#closing.delete(closing));
    this.#closing.add(closing);
  }

  #listener(stream: Stream) {
    const isCurrent = () => this.#streams.get(stream.id) === stream;
    return {
      received: (response: Parameters<typeof fromResponse>[0]) => {
        if (!isCurrent()) return;
        const message = fromResponse(response, stream.ttl);
        if (message === undefined) {
          const why = "`opened` lacks a duration, or has one that makes no sense";
          this.#streamEnded(stream, { code: "INTERNAL", message: why, reason: "" });
          return;
        }
        if (message.kind === "opened") stream.ttl = message.ttl;
        this.#step({ kind: "received", link: stream.id, message });
      },
      ended: (status: Parameters<typeof fromStatus>[0]) => {
        if (!isCurrent()) return;
        const failure = status.code === 0 ? unavailable("the broker ended the Session") : fromStatus(status);
        this.#streamEnded(stream, failure);
      },
    };
  }

  #streamEnded(stream: Stream, failure: Failure): void {
    debug("link %d: the stream has ended: %s", stream.id, failure.message);
    this.#streams.delete(stream.id);
    stream.channel.destroy();
    this.#step({ kind: "ended", link: stream.id, failure });
  }

  #granted(key: Key, { lockId, fencingToken, permit, also }: AllAcquired): void {
    const caller = this.#callers.get(key);
    const held = this.#core.held(key);
    if (caller === undefined || held === undefined) return;
    caller.isGranted = true;
    caller.belief.begin(held);
    this.#notify({ kind: "granted", key, lockId, fencingToken, permit, also, ttl: held.ttl });
  }

  #moved({ key, lockId, also, permit }: Extract<Output, { kind: "moved" }>): void {
    debug("lock %j has moved to another stream, or is shared", this.#nameOf(key));
    const ttl = this.#core.held(key)?.ttl;
    this.#publish(key);
    if (ttl !== undefined) this.#notify({ kind: "moved", key, lockId, also, permit, ttl });
    this.#callers.get(key)?.updates?.moved();
    this.#tellIfShared(key);
  }

  #failed(key: Key, failure: Failure): void {
    const lock = this.#nameOf(key);
    const agreed = failure.code === "HANDSHAKE" ? this.#disagreement : undefined;
    const error = agreed === undefined ? fromFailure(lock, failure) : { ...agreed, lock };
    this.#end(key, { kind: "failed", key, error });
  }

  async #releaseElsewhere(key: Key, name: string, lockId: string): Promise<void> {
    let end: ReleaseEnd;
    try {
      const outcome = await this.#brokers.release(name, lockId, this.#never);
      end = { isHeldByAnother: outcome === "HELD_BY_ANOTHER" };
    } catch (error) {
      end = { failure: error instanceof CallFailed ? error.failure : unavailable(String(error)) };
    }
    this.#step({ kind: "releasedElsewhere", key, ...end });
  }

  /** Tells the end of a lock, or of a call that has failed. */
  #end(key: Key, notice: Notice): void {
    const caller = this.#callers.get(key);
    if (caller === undefined) return;
    this.#callers.delete(key);
    this.#notify(notice);
    caller.sharing.tell({ kind: "over" });
  }

  #nameOf(key: Key): string {
    return this.#callers.get(key)?.name ?? "";
  }

  #endIfOver(): void {
    if (this.#closeBy === undefined || this.#isDone) return;
    if (!this.isEmpty && this.#closeBy.at > now()) return;
    this.#isDone = true;
    this.#setTimer();
    for (const stream of [...this.#streams.values()]) this.#hangUp(stream);
    for (const [key, { name }] of [...this.#callers]) {
      const text = "unavailable: the client was closed before a broker confirmed the release";
      this.#end(key, { kind: "failed", key, error: { code: "UNAVAILABLE", lock: name, text } });
    }
    void Promise.all(this.#closing).then(this.#closeBy.done);
  }
}

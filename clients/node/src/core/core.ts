/**
 * The client's half of the protocol, without I/O: what has happened goes in with the moment at which it did, and what is to
 * be done comes out. It knows no stream, no promise and no clock.
 *
 * One link is current and takes new locks. Others are on their way out: they drain, are silent, or have ended. A link on its
 * way out stays, and sends heartbeats, until each of its locks has been reattached elsewhere or has run out, because closing
 * it would release them. `lock.ts` has the life of a single lock.
 */
import { Calls } from "./calls.js";
import { Dialer } from "./dialer.js";
import { Elsewhere } from "./elsewhere.js";
import { Link, Links } from "./link.js";
import { Lock, type Next } from "./lock.js";
import type { Chance } from "./pause.js";
import {
  type Acquire,
  type Failure,
  type Input,
  isFinal,
  type Key,
  type LinkId,
  type Message,
  type Moment,
  NEVER,
  type Output,
  type Terms,
  unavailable,
} from "./types.js";

/** The longest pause before a broker is asked again for what it could not do. There is not much time to be polite. */
export const ASK_AGAIN = 250;
/** The time that a broker's answer may still take when a wait is over. */
const GRACE = 1000;
/** The interval at which to check if there is a broker, when a wait is over. */
const CHECK_INTERVAL = 50;

/** Is told to the core once. */
export interface Settings {
  /** The endpoints, as people name them; at least one. */
  readonly endpoints: readonly string[];
  /** The longest time that an answer may take beyond a wait, in milliseconds. */
  readonly answerTimeout: number;
}

/** A held lock, as its holder may believe in it. */
export interface Held {
  readonly lockId: string;
  readonly ttl: number;
  /** The end of its validity. */
  readonly until: Moment;
  /**
   * Its stream has ended against the client's will. The broker may have taken that for the client's end, so `until` only
   * bounds a reattach.
   */
  readonly isBroken: boolean;
  /** Unset: the lock is not shared. */
  readonly permit?: number | undefined;
}

/** The state of a client's Session, on whatever streams it is. */
export class Core {
  readonly #settings: Settings;
  readonly #chance: Chance;
  readonly #locks = new Map<Key, Lock>();
  readonly #links = new Links();
  readonly #dialer: Dialer;
  readonly #elsewhere = new Elsewhere();
  readonly #calls = new Calls();
  /** The reasons for which there is no session with each endpoint, by its number. */
  readonly #troubles = new Map<number, string>();
  /** The number of dials in a row that failed in a way in which they would fail again. */
  #refused = 0;
  /** The moment at which to ask again for what a broker has failed to do. */
  #askAt: Moment = NEVER;

  constructor(settings: Settings, chance: Chance, now: Moment) {
    this.#settings = settings;
    this.#chance = chance;
    this.#dialer = new Dialer(settings.endpoints.length, settings.answerTimeout, now);
  }

  /**
   * Takes what has happened by now, and returns what is to be done. What time has ended comes before the input: a message
   * that is read too late revives nothing.
   */
  handle(now: Moment, input: Input): Output[] {
    const out: Output[] = [];
    // But a broker whose message waited here for long is not silent.
    if (input.kind === "received") this.#links.get(input.link)?.heard(now);
    this.#keepTime(now, out);
    this.#take(input, now, out);
    if (this.#needsLink) this.#dialer.dial(now, this.#chance, out);
    this.#hangUp(out);
    return out;
  }

  #take(input: Input, now: Moment, out: Output[]): void {
    switch (input.kind) {
      case "acquire":
        return this.#acquire(input, now, out);
      case "end":
        return this.#end(input.key, now, out);
      case "value": {
        const lock = this.#locks.get(input.key);
        if (lock?.spec.value !== undefined) lock.spec = { ...lock.spec, value: input.value };
        return;
      }
      case "share": {
        const lock = this.#locks.get(input.key);
        if (lock !== undefined) this.#step(lock, lock.share(input.limit), now, out);
        return;
      }
      case "dialled":
        if (input.failure === undefined) this.#dialer.connected(input.link, now, out);
        else this.#dialFailed(input.link, input.failure, now, out);
        return;
      case "received":
        return this.#message(input.link, input.message, now, out);
      case "ended":
        return this.#ended(input.link, input.failure, now, out);
      case "releasedElsewhere":
        return this.#elsewhere.ended(input.key, input, now, this.#chance, out);
      case "timeout":
    }
  }

  /** Returns the moment at which to come back if nothing happens before; NEVER if there is none. */
  get due(): Moment {
    let due = Math.min(this.#dialer.due(this.#needsLink), this.#elsewhere.due, this.#askAt, this.#calls.due);
    for (const link of this.#links.all) due = Math.min(due, link.due);
    return due;
  }

  /** Returns a lock that is held and not given up. */
  held(key: Key): Held | undefined {
    const lock = this.#locks.get(key);
    if (!lock?.isHeld || lock.home === undefined) return undefined;
    const link = this.#links.get(lock.home.link);
    if (link === undefined) return undefined;
    const { lockId, permit } = lock;
    return { lockId, ttl: link.ttl, until: link.until(lock.home.lockRef), isBroken: !link.isOpen, permit };
  }

  /** Returns the number of the endpoint to try next. */
  get nextEndpoint(): number {
    return this.#dialer.endpoint;
  }

  /** Returns true if there is nothing left to hold, to ask for or to release. */
  get isEmpty(): boolean {
    return this.#locks.size === 0 && this.#elsewhere.isEmpty;
  }

  /** Returns the state of a lock, by the name that it has in the vectors; undefined if it has ended. */
  state(key: Key): string | undefined {
    return this.#elsewhere.has(key) ? "releasing_elsewhere" : this.#locks.get(key)?.state;
  }

  get #needsLink(): boolean {
    return this.#dialer.isIdle && this.#locks.size > 0 && this.#links.current === undefined;
  }

  #acquire(acquire: Acquire, now: Moment, out: Output[]): void {
    const { key, wait } = acquire;
    const answerBy = now + this.#settings.answerTimeout;
    if (wait === undefined) this.#calls.add(key, answerBy, answerBy);
    // A broker ends the wait itself. One that is being connected to gets the time that a call without a wait has.
    else if (wait.until !== undefined) this.#calls.add(key, wait.until, Math.max(answerBy, wait.until + GRACE));
    this.#locks.set(key, new Lock(acquire));
    this.#ask(key, now, out);
  }

  /** Does what a transition of a lock leaves to be done. */
  #step(lock: Lock, next: Next, now: Moment, out: Output[]): void {
    if (next.kind === "gone" || !lock.isPending) this.#calls.remove(lock.key);
    switch (next.kind) {
      case "gone":
        this.#locks.delete(lock.key);
        return;
      case "ask":
        return this.#ask(lock.key, now, out);
      case "askLater":
        // The next failure does not put off those that wait already.
        this.#askAt = Math.min(this.#askAt, now + Math.min(ASK_AGAIN, next.after ?? ASK_AGAIN));
        return;
      case "retire":
        return this.#retire(next.link, false, now, out);
      case "releaseElsewhere":
        this.#locks.delete(lock.key);
        return this.#elsewhere.begin(lock.key, lock.grants, next.until, out);
      case "stay":
    }
  }

  /** Gives up a lock, or the wait for it. */
  #end(key: Key, now: Moment, out: Output[]): void {
    const lock = this.#locks.get(key);
    if (lock !== undefined) this.#step(lock, lock.end(this.#links, now, out), now, out);
  }

  /** Asks the current link, if there is one, for a lock that is wanted, or for the reattach of one that is held elsewhere. */
  #ask(key: Key, now: Moment, out: Output[]): void {
    const link = this.#links.current;
    if (link !== undefined) this.#locks.get(key)?.place(link, now, out);
  }

  /** Asks the current link for everything that it does not know yet, in the order in which it was wanted. */
  #askAll(now: Moment, out: Output[]): void {
    const link = this.#links.current;
    if (link !== undefined) for (const lock of this.#inOrder()) lock.place(link, now, out);
  }

  #inOrder(): Lock[] {
    return [...this.#locks.values()].sort((a, b) => a.key - b.key);
  }

  #dialFailed(link: LinkId, failure: Failure, now: Moment, out: Output[]): void {
    const endpoint = this.#dialer.failed(link);
    if (endpoint === undefined) return;
    this.#refused = isFinal(failure.code) ? this.#refused + 1 : 0;
    this.#troubled(endpoint, failure.message);
    // Another broker may take what one refuses.
    if (this.#refused < this.#settings.endpoints.length) return;
    for (const lock of this.#inOrder()) if (lock.isPending) this.#fail(lock.key, failure, now, out);
  }

  /** Notes why there is no session with an endpoint. */
  #troubled(endpoint: number, why: string): void {
    this.#troubles.set(endpoint, why || "it gives no reason");
  }

  /** Ends a call by a failure. */
  #fail(key: Key, failure: Failure, now: Moment, out: Output[]): void {
    this.#end(key, now, out);
    out.push({ kind: "failed", key, failure });
  }

  #message(id: LinkId, message: Message, now: Moment, out: Output[]): void {
    if (message.kind === "opened") return this.#opened(id, message, now, out);
    const link = this.#links.get(id);
    if (link === undefined) return this.#notOpened(id, now, out);
    switch (message.kind) {
      case "heartbeatAck":
        link.acknowledged(message.seq, message.expiresAfter, message.notRenewed);
        return this.#dialer.startOver(now);
      case "draining":
        return this.#retire(id, true, now, out);
      case "lockEvent": {
        // Ignores what is said of a lock that has moved on or was given up.
        const key = link.locks.get(message.lockRef);
        const lock = key === undefined ? undefined : this.#locks.get(key);
        const at = { link: id, lockRef: message.lockRef };
        if (lock !== undefined) this.#step(lock, lock.event(at, message.event, this.#links, now, out), now, out);
        return;
      }
      case "other":
    }
  }

  #opened(id: LinkId, terms: Terms, now: Moment, out: Output[]): void {
    const dialled = this.#dialer.opened(id);
    if (dialled === undefined) return;
    this.#troubles.clear();
    this.#refused = 0;
    this.#links.all.push(new Link(id, dialled.endpoint, dialled.sent, now, terms));
    this.#askAll(now, out);
  }

  /** Hangs up on a broker that says something else before `opened`. */
  #notOpened(id: LinkId, now: Moment, out: Output[]): void {
    if (!this.#dialer.isDialling(id)) return;
    out.push({ kind: "hangup", link: id });
    const message = "the Session did not begin with `opened`";
    this.#dialFailed(id, { code: "INTERNAL", message, reason: "" }, now, out);
  }

  #ended(id: LinkId, failure: Failure, now: Moment, out: Output[]): void {
    const link = this.#links.get(id);
    if (link === undefined) return this.#dialFailed(id, failure, now, out);
    if (link.phase === "current") {
      this.#troubled(link.endpoint, failure.message);
      this.#dialer.turnFrom(link.endpoint);
    }
    link.phase = "ended";
    this.#leave(link, false, now, out);
  }

  /**
   * Takes a link out of use: what is wanted or held there moves to the next. `answers` says if releases that were asked for
   * on it are still answered there.
   */
  #retire(id: LinkId, answers: boolean, now: Moment, out: Output[]): void {
    const link = this.#links.get(id);
    if (link === undefined) return;
    if (link.phase === "current") {
      link.phase = "retired";
      this.#dialer.turnFrom(link.endpoint);
    }
    this.#leave(link, answers, now, out);
  }

  #leave(link: Link, answers: boolean, now: Moment, out: Output[]): void {
    for (const key of [...link.locks.values()]) {
      const lock = this.#locks.get(key);
      if (lock !== undefined) this.#step(lock, lock.leave(link.id, answers, this.#links, now, out), now, out);
    }
    this.#askAll(now, out);
  }

  /** Does what it is time for. */
  #keepTime(now: Moment, out: Output[]): void {
    for (const link of this.#links.all) this.#runOut(link, now, out);
    this.#elsewhere.keepTime(now, out);
    const late = this.#dialer.late(now);
    if (late !== undefined) {
      out.push({ kind: "hangup", link: late.link });
      this.#dialFailed(late.link, late.failure, now, out);
    }
    const silent = this.#links.current;
    if (silent?.isSilent(now)) {
      this.#troubled(silent.endpoint, "the broker is silent");
      this.#retire(silent.id, false, now, out);
    }
    if (this.#askAt <= now) {
      this.#askAt = NEVER;
      this.#askAll(now, out);
    }
    this.#giveUp(now, out);
    for (const link of this.#links.all) link.beat(now, out);
  }

  /** Loses what has run out on a link. */
  #runOut(link: Link, now: Moment, out: Output[]): void {
    const over = link.runOut(now);
    if (over === undefined) return;
    const keys = over === "all" ? [...link.locks.values()] : over.map((ref) => link.locks.get(ref));
    for (const key of keys) {
      const lock = key === undefined ? undefined : this.#locks.get(key);
      if (lock !== undefined && !lock.isPending && lock.home?.link === link.id) {
        this.#step(lock, lock.lose("EXPIRED", this.#links, out), now, out);
      }
    }
  }

  /** Ends the calls that have no answer in time. */
  #giveUp(now: Moment, out: Output[]): void {
    for (let call = this.#calls.next(now); call; call = this.#calls.next(now)) {
      if (this.#troubles.size > 0 || call.atMost <= now) {
        this.#calls.remove(call.key);
        this.#fail(call.key, unavailable(this.#whyNoAnswer()), now, out);
      } else {
        // Trouble may become known at any time.
        this.#calls.postpone(call, Math.min(now + CHECK_INTERVAL, call.atMost));
      }
    }
  }

  /** Returns why no broker has answered: the troubles with each, as far as they are known. */
  #whyNoAnswer(): string {
    const { endpoints, answerTimeout } = this.#settings;
    const told = endpoints.flatMap((endpoint, at) => {
      const trouble = this.#troubles.get(at);
      return trouble === undefined ? [] : [`no session with a broker at ${endpoint}: ${trouble}`];
    });
    if (told.length > 0) return told.join("; ");
    return `no answer from the broker at ${endpoints.join(", ")} within ${answerTimeout} ms`;
  }

  /** Closes the links that are out of use and have no lock left. */
  #hangUp(out: Output[]): void {
    const isOver = (link: Link) => link.phase !== "current" && link.locks.size === 0;
    if (!this.#links.all.some(isOver)) return;
    for (const link of this.#links.all) {
      if (isOver(link) && link.isOpen) out.push({ kind: "hangup", link: link.id });
    }
    this.#links.all = this.#links.all.filter((link) => !isOver(link));
  }
}

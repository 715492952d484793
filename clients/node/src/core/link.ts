import type { Output, Request, Terms, WaitLeft } from "./types.js";
import { type Key, type LinkId, type LockRef, type LockSpec, type Moment, NEVER } from "./types.js";
import { type RunOut, Validity } from "./validity.js";

/** The ids of a grant, and of those that are held together with it. */
export interface Ids {
  /** Before it is granted that of the grant to take over; undefined: a new one is wanted. */
  readonly first: string | undefined;
  readonly also: readonly string[];
}

/** A lock on a link. */
export interface Place {
  readonly link: LinkId;
  readonly lockRef: LockRef;
}

/**
 * The state of a link. It only goes on.
 *
 * - `current`: takes new locks. There is one such link at most.
 * - `retired`: takes no new locks, and stays open until those that it has are elsewhere. Closing it would release them.
 * - `ended`: the other side has ended it. What it covered is still what bounds a reattach.
 */
export type Phase = "current" | "retired" | "ended";

/** Returns how long before the end of its validity a lock of this ttl counts as lost (docs/safety.md, R6a). */
export function notice(ttl: number): number {
  return ttl / 30;
}

/** One Session stream: what was sent on it, what it covers, and when it has to be heard again. */
export class Link {
  /** The ttl of its locks, as granted. */
  readonly ttl: number;
  phase: Phase = "current";
  /** The locks that were begun here and have not ended, in the order in which they were begun. */
  readonly locks = new Map<LockRef, Key>();
  readonly #validity: Validity;
  readonly #heartbeatInterval: number;
  #lastRef = 0;
  #lastSeq = 0;
  #nextBeat: Moment;
  /** The moment of the broker's last message. */
  #heardAt: Moment;

  /** Makes the link of a Session whose `open` was sent at `sent` and has been answered now. */
  constructor(
    readonly id: LinkId,
    /** The number of the endpoint. */
    readonly endpoint: number,
    sent: Moment,
    now: Moment,
    terms: Terms,
  ) {
    this.ttl = terms.ttl;
    this.#validity = new Validity(sent, Math.max(0, terms.expiresAfter - notice(terms.ttl)));
    this.#heartbeatInterval = terms.heartbeatInterval;
    // The validity counts from `open`, and so do the heartbeats that carry it on. After an answer that took long, the first
    // would come too late.
    this.#nextBeat = sent + terms.heartbeatInterval;
    this.#heardAt = now;
  }

  get isOpen(): boolean {
    return this.phase !== "ended";
  }

  /** Asks for a lock and returns its place here. */
  begin(key: Key, spec: LockSpec, wait: WaitLeft | undefined, ids: Ids, out: Output[]): Place {
    const lockRef = ++this.#lastRef;
    this.locks.set(lockRef, key);
    this.#send({ kind: "begin", lockRef, spec, wait, reattach: ids.first, reattachAlso: ids.also }, out);
    return { link: this.id, lockRef };
  }

  /**
   * Releases a lock or gives up the wait for it. The stream keeps order, so a grant that crosses this is released by it.
   */
  end(lockRef: LockRef, out: Output[]): void {
    this.#send({ kind: "endLock", lockRef }, out);
  }

  #send(request: Request, out: Output[]): void {
    if (this.isOpen) out.push({ kind: "send", link: this.id, request });
  }

  /** Notes that the broker was heard. */
  heard(now: Moment): void {
    this.#heardAt = now;
  }

  /** Takes an acknowledgement. */
  acknowledged(seq: number, expiresAfter: number, notRenewed: readonly LockRef[]): void {
    this.#validity.acknowledged(seq, Math.max(0, expiresAfter - notice(this.ttl)), notRenewed);
  }

  /** Notes that no more events come for a lock that may still be valid. Acknowledgements no longer cover it. */
  settle(lockRef: LockRef): void {
    this.#validity.settle(lockRef);
  }

  /** Returns the end of a lock's validity. */
  until(lockRef: LockRef): Moment {
    return this.#validity.until(lockRef);
  }

  /** Returns what has run out by `now` and was not reported before; undefined if nothing has. */
  runOut(now: Moment): RunOut | undefined {
    return this.#validity.runOut(now);
  }

  /** Sends a heartbeat if one is due. */
  beat(now: Moment, out: Output[]): void {
    if (!this.isOpen || now < this.#nextBeat) return;
    this.#lastSeq += 1;
    this.#validity.beat(this.#lastSeq, now);
    this.#send({ kind: "heartbeat", seq: this.#lastSeq }, out);
    this.#nextBeat = now + this.#heartbeatInterval;
  }

  /**
   * Returns the moment from which the silence means that something is wrong: half a ttl after the last message. An
   * acknowledgement may take a sixth of the ttl. The rest is for its way.
   */
  get #silentAt(): Moment {
    return this.#heardAt + this.ttl / 2 + this.ttl / 30;
  }

  /** Returns true if the silence has lasted too long. */
  isSilent(now: Moment): boolean {
    return now >= this.#silentAt;
  }

  /** Returns the moment at which this link has something to do next; NEVER: not before a message comes. */
  get due(): Moment {
    const runsOut = this.locks.size > 0 ? (this.#validity.next ?? NEVER) : NEVER;
    const beats = this.isOpen ? this.#nextBeat : NEVER;
    const silent = this.phase === "current" ? this.#silentAt : NEVER;
    return Math.min(runsOut, beats, silent);
  }
}

/** All streams of a client. */
export class Links {
  all: Link[] = [];

  get(id: LinkId): Link | undefined {
    return this.all.find((link) => link.id === id);
  }

  /** Returns the one that takes new locks, if there is one. */
  get current(): Link | undefined {
    return this.all.find((link) => link.phase === "current");
  }

  /** Takes a lock off its link without telling the broker. */
  remove(at: Place): void {
    this.get(at.link)?.locks.delete(at.lockRef);
  }

  /** Ends a lock, and ignores whatever the broker says of it from now on. */
  forget(at: Place, out: Output[]): void {
    const link = this.get(at.link);
    link?.locks.delete(at.lockRef);
    link?.end(at.lockRef, out);
  }
}

import type { Ids, Link, Links, Place } from "./link.js";
import {
  type Acquire,
  type AllAcquired,
  type Event,
  isFinal,
  type Key,
  type LinkId,
  type LockSpec,
  type LostReason,
  type Moment,
  type Output,
  othersOf,
  type Wait,
  type WaitLeft,
} from "./types.js";

/**
 * The state of a lock. A lock that has been refused or lost, or whose wait was given up, is gone. One whose release its
 * stream cannot confirm goes to `Elsewhere`.
 *
 *              place           acquired          place              acquired
 *     wanted ----------> asked ----------> held ----------> moving ----------> held
 *        ^                 |                 |  <----------    |
 *        +-----------------+                 | end   failed    | end
 *          leave, try later                  v                 v      acquired, failed
 *                                        releasing <------- given_up
 *
 * - `wanted`: to be asked for as soon as there is a link.
 * - `asked`: asked for, at home.
 * - `held`: held at home. That link is the one that counts.
 * - `moving`: held at home, and its reattach asked for at `to`. There is one at a time: a second would not know the lock id
 *   that the first one's answer brings.
 * - `given_up`: given up while it was moving. It is to be released by the lock id that the answer brings.
 * - `releasing`: given up; its end has been sent and not been answered.
 */
type State =
  | { readonly kind: "wanted" }
  | { readonly kind: "asked" | "held" | "releasing"; readonly home: Place }
  | { readonly kind: "moving" | "given_up"; readonly home: Place; readonly to: Place };

/** The rest of a transition: what is to be done beyond the lock. */
export type Next =
  | { readonly kind: "stay" }
  /** Forget the lock. */
  | { readonly kind: "gone" }
  /** Ask the current link for it. */
  | { readonly kind: "ask" }
  /** Ask again after a pause; undefined: of the usual length. */
  | { readonly kind: "askLater"; readonly after: number | undefined }
  /** Take the link out of use: its heartbeats are not acknowledged in time. */
  | { readonly kind: "retire"; readonly link: LinkId }
  /** Release it at any broker, within its validity. */
  | { readonly kind: "releaseElsewhere"; readonly until: Moment };

const STAY: Next = { kind: "stay" };
const GONE: Next = { kind: "gone" };
const ASK: Next = { kind: "ask" };

/** A lock as the client has it, from the call that wants it to its end. Every transition is here. */
export class Lock {
  readonly key: Key;
  spec: LockSpec;
  readonly #wait: Wait | undefined;
  #ids: Ids;
  /** Unset before it is held, and if it is not shared. */
  #permit: number | undefined;
  /** It is held alone and to be shared: a reattach does that, also on the link where it is. */
  #wantsPermit = false;
  /** True if a reattach that was to share it has not been answered. */
  #mayBeShared = false;
  #state: State = { kind: "wanted" };

  constructor({ key, spec, wait, adopt }: Acquire) {
    this.key = key;
    this.spec = spec;
    this.#wait = wait;
    this.#ids = { first: adopt, also: [] };
  }

  get state(): State["kind"] {
    return this.#state.kind;
  }

  get lockId(): string {
    return this.#ids.first ?? "";
  }

  get permit(): number | undefined {
    return this.#permit;
  }

  /** Returns the names and ids of what is held: its own, and those of the locks that are held together with it. */
  get grants(): (readonly [name: string, lockId: string])[] {
    const also = othersOf(this.spec).map((name, at) => [name, this.#ids.also[at] ?? ""] as const);
    return [[this.spec.name, this.lockId], ...also];
  }

  /** Returns the place of the lock; undefined while it is wanted. If no call waits, it counts for the validity. */
  get home(): Place | undefined {
    return this.#state.kind === "wanted" ? undefined : this.#state.home;
  }

  /** Returns true if a call waits for the answer. */
  get isPending(): boolean {
    return this.#state.kind === "wanted" || this.#state.kind === "asked";
  }

  /** Returns true if it is held and not given up. */
  get isHeld(): boolean {
    return this.#state.kind === "held" || this.#state.kind === "moving";
  }

  /** Asks a link for the lock if nobody has been asked, or for its reattach if it is held elsewhere. */
  place(link: Link, now: Moment, out: Output[]): void {
    const state = this.#state;
    if (state.kind === "wanted") {
      const home = link.begin(this.key, this.spec, left(this.#wait, now), this.#ids, out);
      this.#state = { kind: "asked", home };
    } else if (state.kind === "held" && (state.home.link !== link.id || this.#wantsPermit)) {
      const to = link.begin(this.key, this.spec, undefined, this.#ids, out);
      this.#state = { kind: "moving", home: state.home, to };
    }
  }

  /** Shares the lock from now on. Nothing may be written under it any more. */
  share(limit: number | undefined): Next {
    if (this.#permit !== undefined) return STAY;
    this.spec = { ...this.spec, shared: { ...this.spec.shared, limit: limit ?? this.spec.shared?.limit } };
    this.#wantsPermit = true;
    return ASK;
  }

  /** Gives the lock up, or the wait for it. */
  end(links: Links, now: Moment, out: Output[]): Next {
    const state = this.#state;
    switch (state.kind) {
      case "wanted":
        return GONE;
      case "asked":
        links.forget(state.home, out);
        return GONE;
      case "held":
        return this.#release(state.home, links, now, out);
      case "moving":
        this.#state = { ...state, kind: "given_up" };
        return STAY;
      default:
        return STAY;
    }
  }

  #release(home: Place, links: Links, now: Moment, out: Output[]): Next {
    const link = links.get(home.link);
    if (link === undefined) return GONE;
    if (link.isOpen && !link.isSilent(now)) {
      link.end(home.lockRef, out);
      this.#state = { kind: "releasing", home };
      return STAY;
    }
    const until = link.until(home.lockRef);
    links.forget(home, out);
    return { kind: "releaseElsewhere", until };
  }

  /** Goes on after a reattach that was not granted. Returns `next` for a lock that is still wanted. */
  #resume(next: Next, links: Links, now: Moment, out: Output[]): Next {
    const state = this.#state;
    if (state.kind !== "moving" && state.kind !== "given_up") return STAY;
    this.#state = { kind: "held", home: state.home };
    return state.kind === "given_up" ? this.#release(state.home, links, now, out) : next;
  }

  /**
   * Leaves a link that has been taken out of use, as far as it can be left: what is held there stays until it is
   * reattached. `answers` says if a release is still answered there.
   */
  leave(id: LinkId, answers: boolean, links: Links, now: Moment, out: Output[]): Next {
    const state = this.#state;
    switch (state.kind) {
      case "asked":
        if (state.home.link !== id) return STAY;
        links.forget(state.home, out);
        this.#state = { kind: "wanted" };
        return STAY;
      case "moving":
      case "given_up":
        // Unanswered, and nobody will ever know: the old lock id is all there is to try with.
        if (state.to.link !== id || links.get(id)?.isOpen) return STAY;
        links.remove(state.to);
        this.#mayBeShared ||= this.#wantsPermit;
        return this.#resume(STAY, links, now, out);
      case "releasing": {
        if (state.home.link !== id || answers) return STAY;
        const until = links.get(id)?.until(state.home.lockRef) ?? now;
        links.forget(state.home, out);
        return { kind: "releaseElsewhere", until };
      }
      default:
        return STAY;
    }
  }

  /** Takes an event of this lock from its place. */
  event(at: Place, event: Event, links: Links, now: Moment, out: Output[]): Next {
    const state = this.#state;
    switch (state.kind) {
      case "asked":
        return this.#askedEvent(at, event, links, now, out);
      case "moving":
      case "given_up":
        if (state.to.link === at.link && state.to.lockRef === at.lockRef) return this.#movingEvent(event, links, now, out);
        // The reattach makes the old broker lose the lock: the answer to it decides. It must come within what the old
        // broker has told so far, for that one knows of the lock no more.
        if (event.kind === "lost" || event.kind === "released") links.get(at.link)?.settle(at.lockRef);
        return STAY;
      case "held":
        if (event.kind === "lost" && this.#ids.also.length > 0) {
          // The broker keeps the others from everybody for as long as they were valid.
          links.remove(state.home);
          out.push({ kind: "lost", key: this.key, reason: event.reason });
          return GONE;
        }
        if (event.kind === "lost") return this.lose(event.reason, links, out);
        if (event.kind === "released") return this.lose("RELEASED", links, out);
        return STAY;
      case "releasing":
        return this.#releasingEvent(state.home, event, links, out);
      default:
        return STAY;
    }
  }

  #askedEvent(at: Place, event: Event, links: Links, now: Moment, out: Output[]): Next {
    const link = links.get(at.link);
    if (link === undefined) return STAY;
    const { key } = this;
    switch (event.kind) {
      case "acquired":
        // Nothing covers it: the broker has acknowledged no heartbeat for too long. It goes back, and a stream that works is
        // asked.
        if (link.until(at.lockRef) <= now) return { kind: "retire", link: at.link };
        // A broker that does not know of several locks, or permits, takes the first alone.
        if (event.also.length !== othersOf(this.spec).length) {
          links.forget(at, out);
          const message = "the broker does not know how to acquire several locks or permits together";
          out.push({ kind: "failed", key, failure: { code: "UNIMPLEMENTED", message, reason: "" } });
          return GONE;
        }
        this.#state = { kind: "held", home: at };
        this.#ids = idsOf(event);
        this.#permit = event.permit;
        out.push({ ...event, kind: "granted", key });
        return ASK;
      case "failed":
        // A broker that goes away tells its waiters so, perhaps before it tells that it does.
        if (this.#wait !== undefined && event.failure.code === "UNAVAILABLE") {
          links.remove(at);
          this.#state = { kind: "wanted" };
          return { kind: "askLater", after: event.failure.retryAfter };
        }
        out.push({ kind: "failed", key, failure: event.failure });
        break;
      case "notAcquired":
        out.push({ kind: "refused", key, refusal: { reason: event.reason, owner: event.owner, name: event.name } });
        break;
      case "lost":
        out.push({ kind: "lost", key, reason: event.reason });
        break;
      default:
        return STAY;
    }
    links.remove(at);
    return GONE;
  }

  #movingEvent(event: Event, links: Links, now: Moment, out: Output[]): Next {
    const state = this.#state;
    if (state.kind !== "moving" && state.kind !== "given_up") return STAY;
    switch (event.kind) {
      case "acquired": {
        // An answer counts only if what it brings is still good. (That the old validity has not run out is seen before any
        // input.)
        const link = links.get(state.to.link);
        const isGood = link !== undefined && link.until(state.to.lockRef) > now;
        if (!isGood || event.also.length !== this.#ids.also.length) return this.lose("EXPIRED", links, out);
        links.remove(state.home);
        this.#state = { kind: "held", home: state.to };
        this.#ids = idsOf(event);
        const { lockId, permit } = event;
        this.#permit = permit;
        this.#wantsPermit &&= permit === undefined;
        this.#mayBeShared = false;
        if (state.kind === "given_up") return this.#release(state.to, links, now, out);
        out.push({ kind: "moved", key: this.key, lockId, also: this.#ids.also, permit });
        // Whatever keeps the broker from a permit may pass.
        if (this.#wantsPermit) return { kind: "askLater", after: undefined };
        // The link may have been retired while it answered.
        return ASK;
      }
      case "failed": {
        links.remove(state.to);
        const { failure } = event;
        const next = this.#resume({ kind: "askLater", after: failure.retryAfter }, links, now, out);
        if (isFinal(failure.code) && this.#wantsPermit && !this.#mayBeShared) {
          this.#wantsPermit = false;
          this.spec = { ...this.spec, shared: undefined };
          out.push({ kind: "notShared", key: this.key, failure });
        }
        return next;
      }
      default:
        return this.lose("GONE", links, out);
    }
  }

  #releasingEvent(home: Place, event: Event, links: Links, out: Output[]): Next {
    const { key } = this;
    switch (event.kind) {
      case "released":
      case "notAcquired":
        out.push({ kind: "released", key });
        break;
      case "lost":
        out.push({ kind: "lost", key, reason: event.reason });
        break;
      case "failed":
        out.push({ kind: "failed", key, failure: event.failure });
        break;
      default:
        return STAY;
    }
    links.remove(home);
    return GONE;
  }

  /** Ends the lock as lost, wherever it is. */
  lose(reason: LostReason, links: Links, out: Output[]): Next {
    const state = this.#state;
    if (state.kind === "wanted" || state.kind === "asked") return STAY;
    links.forget(state.home, out);
    if (state.kind === "moving" || state.kind === "given_up") links.forget(state.to, out);
    out.push({ kind: "lost", key: this.key, reason });
    return GONE;
  }
}

function idsOf({ lockId, also }: AllAcquired): Ids {
  return { first: lockId, also: also.map(({ lockId }) => lockId) };
}

/** Returns the wait, less the time that has passed; undefined to try once. */
function left(wait: Wait | undefined, now: Moment): WaitLeft | undefined {
  if (wait === undefined) return undefined;
  const { until, pollInterval } = wait;
  return { maxWait: until === undefined ? undefined : Math.max(0, until - now), pollInterval };
}

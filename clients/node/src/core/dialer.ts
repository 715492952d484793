import { type Chance, pause } from "./pause.js";
import { type Failure, type LinkId, type Moment, NEVER, type Output, unavailable } from "./types.js";

/** The longest time that a new connection and its Session may take to answer, in milliseconds. */
const LONGEST = 3000;
/** The longest pause between two dials, in milliseconds. */
const MOST = 2000;

/** Returns the longest time that one of several endpoints may take to answer, so that there is time to ask each. */
export function share(answerTimeout: number, endpoints: number): number {
  return answerTimeout / endpoints;
}

/** Returns the longest time of one dial. */
export function dialTime(answerTimeout: number, endpoints: number): number {
  return Math.min(share(answerTimeout, endpoints), LONGEST);
}

/** A dial under way. */
interface Dial {
  readonly link: LinkId;
  readonly endpoint: number;
  /** It has failed then. */
  readonly until: Moment;
  /** The moment at which `open` was sent. Undefined: the connection is still being made. */
  sent?: Moment;
}

/** Makes links: knows at which endpoint the next one is tried, when, and for how long. */
export class Dialer {
  #dial: Dial | undefined;
  /** The longest time of one dial. */
  readonly #within: number;
  /** The endpoint to try next. */
  #endpoint = 0;
  #lastLink = 0;
  /** The earliest moment of the next dial. */
  #next: Moment;
  /** The dials since a heartbeat was acknowledged. */
  #tries = 0;

  constructor(
    readonly endpoints: number,
    answerTimeout: number,
    now: Moment,
  ) {
    this.#within = dialTime(answerTimeout, endpoints);
    this.#next = now;
  }

  get isIdle(): boolean {
    return this.#dial === undefined;
  }

  /** Returns the number of the endpoint to try next. */
  get endpoint(): number {
    return this.#endpoint;
  }

  /** Returns true if that link is being dialled. */
  isDialling(link: LinkId): boolean {
    return this.#dial?.link === link;
  }

  /** Dials if it is time. */
  dial(now: Moment, chance: Chance, out: Output[]): void {
    if (!this.isIdle || now < this.#next) return;
    this.#lastLink += 1;
    this.#next = now + pause(this.#tries, MOST, chance());
    this.#tries += 1;
    this.#dial = { link: this.#lastLink, endpoint: this.#endpoint, until: now + this.#within };
    out.push({ kind: "dial", link: this.#lastLink, endpoint: this.#endpoint });
  }

  /** Opens the Session on a connection that stands, unless it comes too late. */
  connected(link: LinkId, now: Moment, out: Output[]): void {
    if (this.#dial?.link !== link || this.#dial.sent !== undefined) return;
    this.#dial.sent = now;
    out.push({ kind: "send", link, request: { kind: "open" } });
  }

  /** Takes the dial as done, and returns its endpoint and when `open` was sent. */
  opened(link: LinkId): { endpoint: number; sent: Moment } | undefined {
    if (this.#dial?.link !== link || this.#dial.sent === undefined) return undefined;
    const { endpoint, sent } = this.#dial;
    this.#dial = undefined;
    return { endpoint, sent };
  }

  /** Takes the dial as failed, and returns its endpoint. */
  failed(link: LinkId): number | undefined {
    if (this.#dial?.link !== link) return undefined;
    const { endpoint } = this.#dial;
    this.#dial = undefined;
    this.turnFrom(endpoint);
    return endpoint;
  }

  /** Returns the dial that has taken too long, and its failure. */
  late(now: Moment): { link: LinkId; failure: Failure } | undefined {
    if (this.#dial === undefined || this.#dial.until > now) return undefined;
    return { link: this.#dial.link, failure: unavailable(`no broker answered within ${this.#within} ms`) };
  }

  /** Turns from an endpoint that was of no use to the next, unless it has been turned from already. */
  turnFrom(endpoint: number): void {
    if (this.#endpoint === endpoint) this.#endpoint = (endpoint + 1) % this.endpoints;
  }

  /** Starts the pauses over: a broker has acknowledged a heartbeat. */
  startOver(now: Moment): void {
    this.#tries = 0;
    this.#next = now;
  }

  /** Returns the moment at which a dial is late, or the next one may be made if it is needed. */
  due(isNeeded: boolean): Moment {
    if (this.#dial !== undefined) return this.#dial.until;
    return isNeeded ? this.#next : NEVER;
  }
}

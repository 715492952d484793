/** Observes a lock: who holds it, and with which value. */
import { now } from "../clock.js";
import { pause } from "../core/pause.js";
import { isFinal, type Moment, unavailable } from "../core/types.js";
import { type ObserveResponse, ObserveResponse_State as State } from "../gen/lockbroker/v1/lockbroker_pb.js";
import { lockService } from "../v1/index.js";
import type { Brokers } from "./brokers.js";
import { CallFailed, fromFailure } from "./failures.js";
import type { Observed } from "./protocol.js";
import { fromWire } from "./wire.js";

/** The longest silence of a broker that is believed, in milliseconds: it repeats the last state every 5 s. */
const SILENCE = 15_000;
/** The longest pause before brokers are asked again, in milliseconds. A stream that lasts for so long is one that has served. */
const LONGEST_PAUSE = 1000;
/** The longest sleep, in milliseconds. Timers stand still while the machine is suspended. */
const LONGEST_SLEEP = 1000;

const STATES: Partial<Record<State, Observed["state"]>> = {
  [State.FREE]: "FREE",
  [State.HELD]: "HELD",
  [State.LINGERING]: "LINGERING",
  [State.REVOKED]: "REVOKED",
};

const UNKNOWN: Observed = {
  state: "UNKNOWN",
  owner: "",
  value: undefined,
  fencingToken: undefined,
  expiresIn: undefined,
};

/** Reads what a broker tells. A state that is not known here is unknown. */
function read({ state, owner, value, fencingToken, expiresIn }: ObserveResponse): Observed {
  return {
    state: STATES[state] ?? "UNKNOWN",
    owner,
    // A copy: the bytes may be a part of much more.
    value: value && new Uint8Array(value),
    fencingToken: Number(fencingToken) || undefined,
    expiresIn: fromWire(expiresIn),
  };
}

function isSame(one: Observed, other: Observed): boolean {
  return (
    one.state === other.state &&
    one.owner === other.owner &&
    one.fencingToken === other.fencingToken &&
    (one.value === other.value || (one.value && other.value && Buffer.compare(one.value, other.value) === 0)) === true
  );
}

/** A stream of a broker. */
interface Stream {
  /** The number of the broker. */
  readonly broker: number;
  readonly began: Moment;
  /** The moment at which it has to be heard at the latest. */
  due: Moment;
  hasTold: boolean;
  cancel(): void;
}

/**
 * Follows what a lock is, as far as the brokers tell it. It connects when the first state is asked for. It keeps the latest state
 * alone, until somebody asks for it.
 */
export class Watch {
  readonly #brokers: Brokers;
  readonly #name: string;
  #stream: Stream | undefined;
  /** The latest state, which nobody has been told yet. */
  #latest: Observed | undefined;
  #told: Observed | undefined;
  #highest = 0;
  #error: CallFailed | undefined;
  /** The moment from which on a broker may be asked. */
  #askAt: Moment = 0;
  /** The number of brokers that have failed in this round, and of rounds in a row. */
  #tried = 0;
  #failures = 0;
  readonly #wakes = new Set<() => void>();

  constructor(brokers: Brokers, name: string) {
    this.#brokers = brokers;
    this.#name = name;
  }

  /** Waits for the next state that is another one than was told before. Throws a `CallFailed`, or what the signal says. */
  async next(signal: AbortSignal): Promise<Observed> {
    for (;;) {
      signal.throwIfAborted();
      const stream = this.#stream;
      if (stream !== undefined && stream.due <= now()) {
        stream.cancel();
        this.#left(stream, ended(this.#name));
      }
      const seen = this.#take();
      if (seen !== undefined) return seen;
      const error = this.#error;
      this.#error = undefined;
      if (error !== undefined) throw error;
      if (this.#stream === undefined && this.#askAt <= now()) this.#open();
      await this.#wake(Math.min(this.#stream?.due ?? this.#askAt, now() + LONGEST_SLEEP), signal);
    }
  }

  /** Ends the stream. The next state that is asked for makes a new one. */
  rest(): void {
    this.#stream?.cancel();
    this.#stream = undefined;
  }

  /** Waits until there may be something new, or for that moment. */
  async #wake(until: Moment, signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        this.#wakes.delete(done);
        resolve();
      };
      const timer = setTimeout(done, Math.max(0, Math.ceil(until - now())));
      signal.addEventListener("abort", done, { once: true });
      this.#wakes.add(done);
    });
  }

  #wakeAll(): void {
    for (const wake of [...this.#wakes]) wake();
  }

  #open(): void {
    const { number, broker, within } = this.#brokers.current;
    const began = now();
    const stream: Stream = { broker: number, began, due: began + within, hasTold: false, cancel: () => {} };
    this.#stream = stream;
    const heard = () => {
      stream.due = now() + SILENCE;
    };
    const listener = {
      // Before the first state, the broker may have to ask its store.
      opened: heard,
      told: (answer: ObserveResponse) => {
        if (stream !== this.#stream) return;
        heard();
        stream.hasTold = true;
        this.#heard(read(answer));
      },
      ended: (failure: CallFailed) => {
        this.#left(stream, failure);
        this.#wakeAll();
      },
    };
    stream.cancel = broker.stream(lockService.Observe, { name: this.#name } as never, this.#name, within, listener);
  }

  #heard(seen: Observed): void {
    const token = seen.fencingToken ?? this.#highest;
    // This broker has seen less so far, or the store has lost its memory: it is no longer known who holds the lock.
    this.#latest = token < this.#highest ? UNKNOWN : seen;
    this.#highest = Math.max(this.#highest, token);
    this.#wakeAll();
  }

  /** Returns the latest state, if that is another one than was told last. */
  #take(): Observed | undefined {
    const seen = this.#latest;
    this.#latest = undefined;
    if (seen === undefined || (this.#told !== undefined && isSame(seen, this.#told))) return undefined;
    this.#told = seen;
    return seen;
  }

  /** Notes that a stream has ended. */
  #left(stream: Stream, failure: CallFailed): void {
    if (stream !== this.#stream) return;
    this.#stream = undefined;
    if (!stream.hasTold || now() < stream.began + LONGEST_PAUSE) {
      // A stream that has told something was not refused.
      return this.#failed(stream.broker, stream.hasTold ? ended(this.#name) : failure);
    }
    this.#brokers.turnFrom(stream.broker);
    this.#tried = 0;
    this.#failures = 0;
    this.#askAt = now();
  }

  /** Notes that a broker does not let the lock be observed, does not answer, or has ended its stream at once. */
  #failed(broker: number, failed: CallFailed): void {
    const { code, reason } = failed.failure;
    // A failure that has no reason and may pass is not a broker's word.
    const isRefused = code !== "UNAVAILABLE" && (reason !== "" || isFinal(code));
    if (isRefused) this.#error = failed;
    this.#askAt = now();
    this.#brokers.turnFrom(broker);
    this.#tried += 1;
    if (!isRefused && this.#tried < this.#brokers.all.length) return;
    if (!isRefused) this.#latest = UNKNOWN;
    this.#tried = 0;
    this.#askAt += pause(this.#failures, LONGEST_PAUSE, Math.random());
    this.#failures += 1;
  }
}

function ended(name: string): CallFailed {
  const failure = unavailable("the broker is silent, or has ended the stream");
  return new CallFailed(failure, fromFailure(name, failure));
}

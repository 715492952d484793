import { status as Status, type StatusObject } from "@grpc/grpc-js";
import { type Failure, unavailable } from "../core/types.js";
import type { Endpoint } from "../endpoint.js";
import type { TlsFiles } from "../tls.js";
import { type Channel, type NoConnection, open } from "./channel.js";
import { CallFailed, fromFailure } from "./failures.js";
import { fromStatus } from "./wire.js";

/** A method with one answer. */
export interface UnaryMethod<I, O> {
  readonly path: string;
  requestSerialize(request: I): Buffer;
  responseDeserialize(bytes: Buffer): O;
}

/** Hears what a stream of answers tells. */
export interface StreamListener<O> {
  /** The broker has taken the call. */
  opened(): void;
  told(answer: O): void;
  /** Is called once, and not before `stream` has returned. */
  ended(failure: CallFailed): void;
}

/** One of a client's brokers. */
export class Broker {
  /** The connection for single calls. */
  #channel: Channel | undefined;

  constructor(
    readonly endpoint: Endpoint,
    readonly files: TlsFiles,
  ) {}

  /**
   * Makes one single call. Throws a `CallFailed`. The call is cancelled when `signal` is aborted, or has not been answered
   * within that time.
   */
  async call<I, O>(method: UnaryMethod<I, O>, request: I, lock: string, within: number, signal: AbortSignal): Promise<O> {
    const channel = this.#borrow();
    if (!("client" in channel)) throw failed(lock, channel);
    channel.users += 1;
    try {
      const { status, answer, isLate } = await invoke(channel, method, request, within, signal);
      if (answer !== undefined) return answer;
      throw await this.#failed(channel, lock, status, isLate, within);
    } finally {
      this.#return(channel);
    }
  }

  /**
   * Makes a call that has many answers, and no end of its own. Returns what cancels it. If there is no connection, finding out why takes
   * `within` at most.
   */
  stream<I, O>(
    method: UnaryMethod<I, O>,
    request: I,
    lock: string,
    within: number,
    listener: StreamListener<O>,
  ): () => void {
    const channel = this.#borrow();
    if (!("client" in channel)) {
      setImmediate(() => listener.ended(failed(lock, channel)));
      return () => {};
    }
    channel.users += 1;
    const { path, requestSerialize, responseDeserialize } = method;
    const call = channel.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    call.on("metadata", () => listener.opened());
    call.on("data", (answer: O) => listener.told(answer));
    // The status says the same. Without a handler Node would end the process.
    call.on("error", () => {});
    call.on("status", async (status: StatusObject) => {
      const isEnd = status.code === Status.OK;
      const failure = isEnd
        ? failed(lock, { failure: unavailable("the broker ended the stream") })
        : await this.#failed(channel, lock, status, false, within);
      this.#return(channel);
      listener.ended(failure);
    });
    return () => call.cancel();
  }

  /** Notes that a call on a channel has ended. The last one on a channel that is out of use closes it. */
  #return(channel: Channel): void {
    channel.users -= 1;
    if (channel !== this.#channel && channel.users === 0) channel.destroy();
  }

  async #failed(channel: Channel, lock: string, status: StatusObject, isLate: boolean, within: number): Promise<CallFailed> {
    const failure = fromStatus(status);
    const name = this.endpoint.name;
    if (failure.reason !== "") return failed(lock, { failure });
    if (isLate) {
      this.#drop(channel);
      return failed(lock, { failure: unavailable(`no answer from the broker at ${name} within ${Math.round(within)} ms`) });
    }
    if (failure.code !== "UNAVAILABLE") return failed(lock, { failure });
    this.#drop(channel);
    const why = await channel.explain(failure, within);
    const message = `no connection to a broker at ${name}: ${why.failure.message}`;
    return failed(lock, { failure: { ...why.failure, message }, disagreement: why.disagreement });
  }

  /** Returns the channel for single calls. If it has no connection any more, there is a new one. */
  #borrow(): Channel | NoConnection {
    if (this.#channel?.isSpent) this.#drop(this.#channel);
    if (this.#channel !== undefined) return this.#channel;
    const made = open(this.endpoint, this.files);
    if ("client" in made) this.#channel = made;
    return made;
  }

  /** Takes a channel out of use. The last call on it closes it. */
  #drop(channel: Channel): void {
    if (this.#channel !== channel) return;
    this.#channel = undefined;
    if (channel.users === 0) channel.destroy();
  }

  close(): void {
    if (this.#channel !== undefined) this.#drop(this.#channel);
  }
}

function failed(lock: string, { failure, disagreement }: NoConnection): CallFailed {
  // Another broker may be of use where two sides cannot talk.
  const told: Failure = disagreement === undefined ? failure : unavailable(disagreement.text);
  return new CallFailed(told, disagreement === undefined ? fromFailure(lock, told) : { ...disagreement, lock });
}

/** Makes a call, and returns its answer if there is one. */
function invoke<I, O>(
  { client }: Channel,
  { path, requestSerialize, responseDeserialize }: UnaryMethod<I, O>,
  request: I,
  within: number,
  signal: AbortSignal,
): Promise<{ status: StatusObject; answer: O | undefined; isLate: boolean }> {
  return new Promise((resolve) => {
    let answer: O | undefined;
    let isLate = false;
    const call = client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (_error, value) => {
      answer = value;
    });
    // The time of day, by which gRPC counts its deadlines, may be set.
    const timer = setTimeout(() => {
      isLate = true;
      call.cancel();
    }, within);
    const cancel = () => call.cancel();
    signal.addEventListener("abort", cancel, { once: true });
    if (signal.aborted) cancel();
    call.on("status", (status: StatusObject) => {
      clearTimeout(timer);
      signal.removeEventListener("abort", cancel);
      // The answer is given with the status, or just after it.
      setImmediate(() => resolve({ status, answer: status.code === Status.OK ? answer : undefined, isLate }));
    });
  });
}

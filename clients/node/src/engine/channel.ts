import type { StatusObject } from "@grpc/grpc-js";
import { type ChannelOptions, Client, connectivityState, credentials } from "@grpc/grpc-js";
import { type Failure, unavailable } from "../core/types.js";
import type { Endpoint } from "../endpoint.js";
import { type ErrorData, LockbrokerError } from "../errors.js";
import { readTls, type TlsFiles } from "../tls.js";
import { lockService } from "../v1/index.js";
import { cause, findDisagreement } from "./disagreement.js";
import { route } from "./resolver.js";

const OPTIONS: ChannelOptions = {
  // A link is a connection of its own: after `draining` a shared one would lead to the broker that goes away.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_http_proxy": 0,
  "grpc.enable_retries": 0,
  "grpc.enable_channelz": 0,
  "grpc.service_config_disable_resolution": 1,
  // Within the dial's time, one try is enough. (HTTP/2's keepalive is off unless it is set: it would close a stream that is
  // silent, and a broker takes a close for the client's wish to release everything.)
  "grpc.initial_reconnect_backoff_ms": 60_000,
  "grpc.max_reconnect_backoff_ms": 60_000,
};

/** The reason for which there is no connection. */
export interface NoConnection {
  readonly failure: Failure;
  /** Set if the two sides cannot talk to each other. */
  readonly disagreement?: ErrorData | undefined;
}

/** A connection to a broker, or one that is being made. */
export class Channel {
  readonly client: Client;
  readonly #endpoint: Endpoint;
  readonly #end = new AbortController();
  /** The single calls under way. */
  users = 0;

  /** Begins to connect. Throws a `TLS` error. */
  constructor(endpoint: Endpoint, files: TlsFiles) {
    this.#endpoint = endpoint;
    const isTls = endpoint.kind === "tcp" && endpoint.isTls;
    const { target, options } = route(endpoint, this.#end.signal);
    this.client = new Client(
      target,
      isTls ? credentials.createFromSecureContext(readTls(files)) : credentials.createInsecure(),
      { ...OPTIONS, ...options },
    );
    this.client.getChannel().getConnectivityState(true);
  }

  /** Waits until the connection stands. Resolves to why there is none; undefined if it stands, or was closed here. */
  async connected(within: number): Promise<NoConnection | undefined> {
    const channel = this.client.getChannel();
    for (;;) {
      const state = channel.getConnectivityState(false);
      if (state === connectivityState.READY || state === connectivityState.SHUTDOWN) return undefined;
      if (state === connectivityState.TRANSIENT_FAILURE) return this.#explain(await this.#lastWords(), within);
      await new Promise((resolve) => channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, resolve));
    }
  }

  /** Returns the reason for which the channel has failed. grpc-js tells it only to a call. */
  #lastWords(): Promise<string> {
    const { path } = lockService.GetLock;
    const nothing = () => Buffer.alloc(0);
    return new Promise((resolve) => {
      const call = this.client.makeUnaryRequest(path, nothing, nothing, undefined, () => {});
      call.on("status", ({ details }: StatusObject) => resolve(details));
    });
  }

  /** Tells why a call could not be made, from the details of its status. */
  async #explain(details: string, within: number): Promise<NoConnection> {
    const why = cause(details);
    const disagreement = await findDisagreement(this.#endpoint, why, within);
    if (disagreement !== undefined) {
      return { failure: { code: "HANDSHAKE", message: disagreement.text, reason: "" }, disagreement };
    }
    return { failure: unavailable(/Failed to connect|Connection (dropped|closed)/.test(why) ? brokenText(why) : why) };
  }

  /** Tells why a call on this channel failed, if no broker has told. */
  explain(failure: Failure, within: number): Promise<NoConnection> {
    return this.#explain(failure.message, within);
  }

  /** Returns true if nothing more can be done on this channel. */
  get isSpent(): boolean {
    const state = this.client.getChannel().getConnectivityState(false);
    return state !== connectivityState.READY && state !== connectivityState.CONNECTING;
  }

  /** Closes the connection once its streams have ended. */
  close(): void {
    this.client.close();
  }

  /** Closes the connection, or gives up making it. */
  destroy(): void {
    this.client.close();
    this.#end.abort();
  }
}

/** Makes a channel, or says why there can be none. */
export function open(endpoint: Endpoint, files: TlsFiles): Channel | NoConnection {
  try {
    return new Channel(endpoint, files);
  } catch (error) {
    if (!(error instanceof LockbrokerError)) throw error;
    return { failure: unavailable(error.message) };
  }
}

/** Says why a connection that stood may have been closed. The broker has no way to say so. */
function brokenText(why: string): string {
  return (
    `it was closed before an answer came (${why}): the broker has as many clients as its --max-connections allows, or is ` +
    "ending, and its log says which"
  );
}

/**
 * Gives grpc-js the addresses of an endpoint. Its own resolvers would parse a path, and nothing can end a connection that
 * they lead to while it is being made: the process would wait for the system to give up on an address that swallows packets,
 * for two minutes.
 */
import { lookup } from "node:dns";
import { experimental, Metadata, status } from "@grpc/grpc-js";
import type { Endpoint } from "../endpoint.js";

const SCHEME = "lockbroker";
/** The option of a channel that has its `Route`. */
const ROUTE = "lockbroker.route";

/** Where a channel connects to, and the end of all that. */
interface Route {
  readonly endpoint: Endpoint;
  /** Closes its sockets, also those that are still connecting: `net.connect` takes it along with the address. */
  readonly signal: AbortSignal;
}

/** Returns the target of a channel, and the options that belong to it. */
export function route(endpoint: Endpoint, signal: AbortSignal): { target: string; options: Record<string, unknown> } {
  register();
  // The target's path names the server, in requests and in TLS.
  const target = `${SCHEME}:${authority(endpoint)}`;
  return { target, options: { [ROUTE]: { endpoint, signal } satisfies Route } };
}

function authority(endpoint: Endpoint): string {
  if (endpoint.kind === "unix") return "localhost";
  const { host, port } = endpoint;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

type Listener = experimental.ResolverListener;

class Resolver implements experimental.Resolver {
  readonly #listener: Listener;
  readonly #route: Route;
  #isAsked = false;

  constructor(_target: experimental.GrpcUri, listener: Listener, options: Record<string, unknown>) {
    this.#listener = listener;
    this.#route = options[ROUTE] as Route;
  }

  static getDefaultAuthority(target: experimental.GrpcUri): string {
    return target.path;
  }

  updateResolution(): void {
    if (this.#isAsked) return;
    this.#isAsked = true;
    const { endpoint, signal } = this.#route;
    if (endpoint.kind === "unix") {
      process.nextTick(() => this.#found([{ path: endpoint.path, signal }]));
      return;
    }
    lookup(endpoint.host, { all: true }, (error, found) => {
      if (error !== null) this.#failed(error.message);
      else this.#found(found.map(({ address }) => ({ host: address, port: endpoint.port, signal })));
    });
  }

  #found(addresses: (experimental.SubchannelAddress & { signal: AbortSignal })[]): void {
    if (!this.#isAsked) return;
    const endpoints = addresses.map((address) => ({ addresses: [address] }));
    this.#listener(experimental.statusOrFromValue(endpoints), {}, null, "");
  }

  #failed(details: string): void {
    if (!this.#isAsked) return;
    const error = { code: status.UNAVAILABLE, details, metadata: new Metadata() };
    this.#listener(experimental.statusOrFromError(error), {}, null, "");
  }

  destroy(): void {
    this.#isAsked = false;
  }
}

let isRegistered = false;

function register(): void {
  if (isRegistered) return;
  isRegistered = true;
  experimental.registerResolver(SCHEME, Resolver);
}

import type { ClientDuplexStream, StatusObject } from "@grpc/grpc-js";
import type { LinkId } from "../core/types.js";
import { deferred } from "../deferred.js";
import type { SessionRequest, SessionResponse } from "../gen/lockbroker/v1/lockbroker_pb.js";
import { lockService } from "../v1/index.js";
import type { Channel } from "./channel.js";

/** The longest time for which a stream is closed in good order, in milliseconds. A broker takes a reset for silence. */
const GOODBYE = 1000;

/** Hears what a stream tells. */
export interface Listener {
  received(response: SessionResponse): void;
  ended(status: StatusObject): void;
}

/** A Session stream on a connection of its own. */
export class Stream {
  /** The ttl of the Session; 0 until it is known. */
  ttl = 0;
  #call: ClientDuplexStream<SessionRequest, SessionResponse> | undefined;
  readonly #ended = deferred<void>();

  constructor(
    readonly id: LinkId,
    readonly channel: Channel,
  ) {}

  /** Begins the Session, on a connection that stands. There is no deadline: the locks would end with it. */
  begin(listener: Listener): void {
    const { path, requestSerialize, responseDeserialize } = lockService.Session;
    const call = this.channel.client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    this.#call = call;
    call.on("data", (response: SessionResponse) => listener.received(response));
    // The status says the same. Without a handler Node would end the process.
    call.on("error", () => {});
    call.on("status", (status: StatusObject) => {
      this.#ended.resolve();
      listener.ended(status);
    });
  }

  /** Sends a message, behind those before it. Messages after the stream's end are dropped; its end says why. */
  send(request: SessionRequest): void {
    if (this.#call?.writable) this.#call.write(request);
  }

  /** Ends the stream, which releases everything on it, and then the connection. Takes `GOODBYE` at most. */
  async close(): Promise<void> {
    if (this.#call !== undefined) {
      this.#call.end();
      const timer = setTimeout(() => this.#ended.resolve(), GOODBYE);
      await this.#ended.promise;
      clearTimeout(timer);
      this.#call.cancel();
      this.channel.close();
      // Lets the system send what it still has.
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.channel.destroy();
  }
}

import { connect, createServer, type Socket } from "node:net";
import type { Broker } from "./broker.js";
import type { Scope } from "./process.js";

/** Passes connections on to a broker, and spoils them on command. */
export interface Proxy {
  /** Where it listens. */
  readonly url: string;
  /** The number of connections that were ever made. */
  readonly connections: number;
  /** Lets nothing pass any more, as a network that is cut does. */
  hole(): void;
  open(): void;
  /** Closes all connections, on both sides, as a proxy does in a reload. */
  close(): void;
  /** Resets the clients' connections only: the broker hears nothing. */
  resetClients(): void;
}

/** Starts a proxy before a broker. */
export async function startProxy(t: Scope, broker: Broker): Promise<Proxy> {
  const pairs: { client: Socket; broker: Socket }[] = [];
  let isHole = false;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const there = connect({ port: broker.port, host: "127.0.0.1", allowHalfOpen: true });
    pairs.push({ client, broker: there });
    for (const [from, to] of [
      [client, there],
      [there, client],
    ] as const) {
      from.on("error", () => {});
      from.pipe(to);
      if (isHole) from.pause();
    }
  });
  server.listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const sockets = () => pairs.flatMap(({ client, broker }) => [client, broker]);
  t.after(() => {
    server.close();
    for (const socket of sockets()) socket.destroy();
  });
  const address = server.address();
  const port = typeof address === "object" ? address?.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    get connections() {
      return pairs.length;
    },
    hole() {
      isHole = true;
      for (const socket of sockets()) socket.unpipe().pause();
    },
    open() {
      isHole = false;
      for (const { client, broker } of pairs) {
        client.pipe(broker);
        broker.pipe(client);
      }
    },
    close() {
      for (const { client, broker } of pairs) {
        client.unpipe(broker);
        broker.unpipe(client);
        client.end();
        broker.end();
      }
    },
    resetClients() {
      for (const { client } of pairs) client.unpipe().resetAndDestroy();
    },
  };
}

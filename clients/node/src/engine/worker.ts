/** The thread that holds a client's locks. Nothing that the user's code does can keep its heartbeats from being sent. */
import { parentPort, workerData } from "node:worker_threads";
import { Engine } from "./engine.js";
import type { Command, EngineSettings } from "./protocol.js";

/** The data that the thread is given. */
export interface WorkerData {
  readonly settings: EngineSettings;
  /** An Int32 that becomes 1 when everything is closed. A process that exits waits for it. */
  readonly closed: SharedArrayBuffer;
}

const port = parentPort;
if (port === null) throw new Error("lockbroker: this module is the start of a thread");
const { settings, closed } = workerData as WorkerData;
// grpc-js names an address as the server in TLS, and Node warns of that.
process.noDeprecation = true;

const engine = new Engine(settings, (notice) => {
  if (notice.kind === "closed") {
    const word = new Int32Array(closed);
    Atomics.store(word, 0, 1);
    Atomics.notify(word, 0);
  }
  port.postMessage(notice);
});
port.on("message", (command: Command) => engine.take(command));
// A fault here ends the thread, and with it the connections. Holders must not believe in their locks any longer.
process.on("uncaughtExceptionMonitor", () => engine.abandon());

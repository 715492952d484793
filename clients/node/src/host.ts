/** Runs the engine of a client: in a thread of its own, or in the thread of the client. */
import { Worker } from "node:worker_threads";
import { LONGEST_TIMER } from "./clock.js";
import type { Engine } from "./engine/engine.js";
import type { Command, EngineSettings, Notice } from "./engine/protocol.js";
import type { WorkerData } from "./engine/worker.js";

/** Is called by a host. */
export interface HostListener {
  notice(notice: Notice): void;
  /** The engine has ended by a fault. Nothing comes from it any more. */
  failed(why: string): void;
  /** The process exits: the engine now releases everything. */
  exiting(): void;
}

export interface Host {
  post(command: Command): void;
  /** Says if the process is to be kept alive. */
  keepAlive(isWanted: boolean): void;
  /** Frees everything, after the `closed` notice. */
  end(): void;
}

/** The time in milliseconds that the exit of the process waits for locks to be released. */
const AT_EXIT = 1000;

/** The threads that have something to release when the process exits. */
const busy = new Set<ThreadHost>();

process.on("exit", () => {
  for (const host of busy) host.closeAtExit();
  const end = performance.now() + AT_EXIT;
  for (const host of busy) host.awaitClosed(Math.max(0, end - performance.now()));
});

/** Has the engine in a thread of its own, which starts with the first command. */
export class ThreadHost implements Host {
  readonly #settings: EngineSettings;
  readonly #listener: HostListener;
  readonly #closed = new SharedArrayBuffer(4);
  #worker: Worker | undefined;
  #isKept = false;
  #isOver = false;

  constructor(settings: EngineSettings, listener: HostListener) {
    this.#settings = settings;
    this.#listener = listener;
  }

  post(command: Command): void {
    if (this.#isOver) return;
    try {
      this.#worker ??= this.#start();
    } catch (error) {
      this.#ended(`cannot be started: ${messageOf(error)}; connect(server, { worker: false }) needs no thread`);
      return;
    }
    this.#worker.postMessage(command);
  }

  #start(): Worker {
    const workerData: WorkerData = { settings: this.#settings, closed: this.#closed };
    // Without what the program itself was started with, such as a loader or a debugger.
    const worker = new Worker(new URL("./engine/worker.js", import.meta.url), {
      workerData,
      execArgv: [],
      name: "lockbroker",
    });
    worker.on("message", (notice: Notice) => this.#listener.notice(notice));
    worker.on("error", (error: Error) => this.#ended(`has ended: ${traceOf(error)}`));
    worker.on("exit", (code) => this.#ended(`has ended: it exits with ${code}`));
    if (!this.#isKept) worker.unref();
    return worker;
  }

  #ended(why: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#worker = undefined;
    busy.delete(this);
    this.#listener.failed(`the thread of the client ${why}`);
  }

  keepAlive(isWanted: boolean): void {
    if (this.#isKept === isWanted) return;
    this.#isKept = isWanted;
    if (isWanted) {
      busy.add(this);
      this.#worker?.ref();
    } else {
      busy.delete(this);
      this.#worker?.unref();
    }
  }

  end(): void {
    this.#isOver = true;
    busy.delete(this);
    void this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** Begins to release everything, though this thread's loop does not run any more. */
  closeAtExit(): void {
    this.#listener.exiting();
    this.#worker?.postMessage({ kind: "close", within: AT_EXIT } satisfies Command);
  }

  /** Waits until everything is released, for so many milliseconds at most. */
  awaitClosed(within: number): void {
    if (this.#worker !== undefined) Atomics.wait(new Int32Array(this.#closed), 0, 0, within);
  }
}

/** The time in milliseconds after which an engine that has nothing to hold closes its connections. */
const REST = 1000;

/** Has the engine in the client's own thread. */
export class InlineHost implements Host {
  /** It and all that it needs is loaded only where it is used. */
  readonly #engine: Promise<Engine>;
  readonly #listener: HostListener;
  #keeper: NodeJS.Timeout | undefined;
  #rest: NodeJS.Timeout | undefined;

  constructor(settings: EngineSettings, listener: HostListener) {
    this.#listener = listener;
    // As from another thread: not while the client is still at the command.
    const tell = (told: Notice) => setImmediate(() => listener.notice(told));
    this.#engine = import("./engine/engine.js").then(({ Engine }) => new Engine(settings, tell));
    this.#engine.catch((error) => listener.failed(`the engine cannot be loaded: ${messageOf(error)}`));
  }

  post(command: Command): void {
    this.#do((engine) => engine.take(command));
  }

  /** Does something with the engine once it is loaded, in the order of the calls. A fault ends the engine. */
  #do(act: (engine: Engine) => void): void {
    const run = (engine: Engine) => {
      try {
        act(engine);
      } catch (error) {
        engine.abandon();
        this.#listener.failed(`the engine of the client has ended: ${traceOf(error)}`);
        // Ends its connections, as the end of a thread does.
        void engine.close(0).catch(() => {});
      }
    };
    // The constructor tells if there is none.
    this.#engine.then(run, () => {});
  }

  keepAlive(isWanted: boolean): void {
    clearTimeout(this.#rest);
    if (isWanted) {
      this.#keeper ??= setInterval(() => {}, LONGEST_TIMER);
      return;
    }
    clearInterval(this.#keeper);
    this.#keeper = undefined;
    // An open stream keeps the process alive.
    this.#rest = setTimeout(() => this.#do((engine) => engine.rest()), REST).unref();
  }

  end(): void {
    this.keepAlive(false);
    clearTimeout(this.#rest);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function traceOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

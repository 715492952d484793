import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import {
  type Client,
  type ConnectOptions,
  connect as connectTo,
  type Lock,
  LockbrokerError,
  LostError,
  NotAcquiredError,
  type WaitOptions,
} from "../../src/index.js";
import { Program, type Scope, SOON } from "./process.js";

/** Makes a client that is closed when the test ends. */
export function connect(t: Scope, server: string | string[], options?: ConnectOptions): Client {
  const client = connectTo(server, options);
  t.after(() => client.close());
  return client;
}

/** Takes a lock, and waits for it if it must. */
export function acquire(client: Client, name: string, options: WaitOptions = {}): Promise<Lock> {
  return client.lock(name, { wait: SOON, ...options });
}

/** Asks for a lock once, and returns why it is not acquired. */
export async function refused(client: Client, name: string): Promise<NotAcquiredError> {
  try {
    await client.lock(name, { wait: 0 });
  } catch (error) {
    if (error instanceof NotAcquiredError) return error;
    throw error;
  }
  return assert.fail(`${name} is not refused`);
}

/** Returns what is thrown, or what a promise is rejected with. */
export async function thrown(work: Promise<unknown> | (() => unknown)): Promise<unknown> {
  try {
    await (typeof work === "function" ? work() : work);
  } catch (error) {
    return error;
  }
  return assert.fail("nothing is thrown");
}

/** Checks that an error of that kind is thrown, and returns it. */
export async function fails(work: Promise<unknown> | (() => unknown), code: string): Promise<LockbrokerError> {
  const error = await thrown(work);
  assert.ok(error instanceof LockbrokerError, `not ours: ${error}`);
  assert.equal(error.code, code, error.message);
  return error;
}

/** Checks that a loss is told. */
export async function loses(work: Promise<unknown> | (() => unknown), reason: string): Promise<void> {
  const error = await thrown(work);
  assert.ok(error instanceof LostError, `not lost: ${error}`);
  assert.equal(error.reason, reason);
}

/** Waits until a signal is aborted. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not within ${SOON} ms: the signal`)), SOON);
    const done = () => {
      clearTimeout(timer);
      resolve();
    };
    if (signal.aborted) done();
    else signal.addEventListener("abort", done, { once: true });
  });
}

/** Returns the state of a lock. */
export async function state(client: Client, name: string): Promise<string> {
  return (await client.get(name)).state;
}

/** A client in a process of its own. */
export class Child extends Program {
  constructor(t: Scope, server: string, env: NodeJS.ProcessEnv = {}) {
    super(t, process.execPath, [fileURLToPath(new URL("child.js", import.meta.url)), server], env);
  }

  /** Sends a command, and returns the line that answers it. */
  tell(command: string): Promise<string> {
    const verb = command.split(" ")[0];
    const skip = this.lineCount;
    this.write(command);
    return this.line((line) => (line.startsWith(`ok ${verb}`) || line.startsWith(`error ${verb}`) ? line : undefined), skip);
  }
}

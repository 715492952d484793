/** Starts real brokers and memcacheds. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, connect as dial } from "node:net";
import { tmpdir } from "node:os";
import { type Client, credentials, makeClientConstructor } from "@grpc/grpc-js";
import type { WaitAcquireResponse } from "../../src/v1/index.js";
import { lockService } from "../../src/v1/index.js";
import { eventually, Program, type Scope } from "./process.js";

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run scripts/test-clients node`);
  return value;
}

/** A real broker. */
export interface Broker extends Pick<Program, "kill" | "signal" | "exited" | "text"> {
  /** Where it listens, as clients take it. */
  readonly url: string;
  /** HOST:PORT. */
  readonly address: string;
  readonly port: number;
}

/** Starts one on a store in memory, or with the arguments of `store`. Returns when it is ready. */
export async function startBroker(t: Scope, ...args: string[]): Promise<Broker> {
  const more = args.includes("--store") ? [] : ["--store", "memory"];
  const where = args.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
  const all = ["serve", "--log-format", "json", ...args, ...more, ...where];
  const program = new Program(t, setting("LOCKBROKER_TEST_BROKER"), all);
  const listening = await program.line((line) => {
    if (!line.includes('"listening"')) return undefined;
    return JSON.parse(line).fields.address as string;
  });
  const isUnix = listening.startsWith("/") || listening.startsWith("unix:");
  const scheme = args.includes("--tls-cert") ? "https" : "http";
  const url = isUnix ? `unix:${listening.replace(/^unix:/, "")}` : `${scheme}://${listening}`;
  const address = isUnix ? "" : listening;
  return Object.assign(program, { url, address, port: Number(address.split(":").at(-1)) });
}

let prefixes = 0;

/** Starts a memcached, and returns it and the arguments for the brokers that share it. */
export async function startStore(t: Scope): Promise<{ memcached: Program; port: number; args: string[] }> {
  const port = await freePort();
  const memcached = await startMemcached(t, port);
  prefixes += 1;
  const args = ["--store", `memcached://127.0.0.1:${port}`, "--key-prefix", `t${prefixes}:`];
  // Ends the quarantine by hand.
  execFileSync(setting("LOCKBROKER_TEST_BROKER"), ["shard", "open", ...args], { stdio: "pipe" });
  return { memcached, port, args };
}

export async function startMemcached(t: Scope, port: number): Promise<Program> {
  const user = process.getuid?.() === 0 ? ["-u", "root"] : [];
  const flags = ["-M", "-F", "-l", "127.0.0.1", "-p", String(port), "-U", "0", "-t", "1"];
  const memcached = new Program(t, setting("LOCKBROKER_TEST_MEMCACHED"), [...flags, ...user]);
  await eventually("memcached listens", () => listens(port));
  return memcached;
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = dial(port, "127.0.0.1");
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Starts two brokers on one store. */
export async function startPair(t: Scope): Promise<[Broker, Broker]> {
  const { args } = await startStore(t);
  return [await startBroker(t, ...args), await startBroker(t, ...args)];
}

/** Returns a folder with a path that is short enough for sockets. */
export function folder(t: Scope): string {
  const made = mkdtempSync(`${tmpdir()}/lb`);
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

/** A stub as a user would make it. */
export const Stub = makeClientConstructor(lockService, "LockService");

/** Makes a bare stub of a broker. */
export function stub(t: Scope, broker: { url: string; address?: string }): Client & Record<string, CallableFunction> {
  const made = new Stub(broker.address || broker.url.replace(/^http:\/\//, ""), credentials.createInsecure(), {
    "grpc.enable_http_proxy": 0,
    "grpc.use_local_subchannel_pool": 1,
  });
  t.after(() => made.close());
  return made as Client & Record<string, CallableFunction>;
}

/** Waits until somebody who queues for a lock gets that place. */
export async function place(t: Scope, broker: Broker, name: string, wanted: number): Promise<void> {
  const bare = stub(t, broker);
  await eventually(`place ${wanted} in the queue for ${name} is free`, async () => {
    const call = bare.WaitAcquire?.({ lock: { name } });
    const response = await new Promise<WaitAcquireResponse>((resolve, reject) => {
      call.once("data", resolve).on("error", reject);
    });
    call.cancel();
    const kind = response.event?.kind;
    return kind?.case === "queued" && kind.value.position === wanted;
  });
}

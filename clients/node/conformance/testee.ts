/** The testee of tests/conformance: it does as the driver tells it, and says what happened. */
import { createInterface } from "node:readline";
import {
  type Client,
  connect,
  type Lease,
  type Lock,
  LockbrokerError,
  LostError,
  type Observation,
  type WaitOptions,
} from "../src/index.js";
import { type Answer, checked, downgraded, failed, granted, renewed, say, seen, unexpected } from "./answers.js";
import { cycles } from "./stub.js";

/** What the driver tells, with the fields of all commands. */
interface Command {
  readonly id: number;
  readonly do: string;
  readonly client: string;
  readonly servers?: string[];
  readonly tls?: { ca?: string | null; cert?: string | null; key?: string | null } | null;
  readonly lock: string;
  readonly name: string;
  readonly owner?: string;
  readonly linger_ms?: number;
  readonly wait_ms?: number;
  readonly poll_ms?: number;
  readonly min_hold_ms?: number;
  readonly ttl_ms?: number;
  readonly keep?: boolean;
  readonly shared?: boolean;
  readonly limit?: number;
  readonly weight?: number;
  readonly also?: string[];
  readonly value?: string;
  readonly as: string;
  readonly fail?: boolean;
  readonly call: number;
  readonly lock_id: string;
  readonly every_ms: number;
  readonly prefix: string;
  readonly count: number;
  readonly server: string;
  readonly ms: number;
}

/** A scope that is open. */
interface Scope {
  leave(fail: boolean): void;
  readonly ended: Promise<Answer>;
}

class Failed extends Error {}

const clients = new Map<string, Client>();
const locks = new Map<string, Lock | Lease>();
const scopes = new Map<string, Scope>();
const observations = new Map<string, Observation>();
/** End the calls that wait. */
const cancels = new Map<number, AbortController>();

function find<T>(all: Map<string, T>, name: string): T {
  const found = all.get(name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
}

/** Keeps a guard, and tells of its loss. */
function keep(name: string, lock: Lock): Answer {
  locks.set(name, lock);
  // Not the guard itself, so that it can be collected.
  const { signal } = lock;
  const tell = () => {
    if (signal.reason instanceof LostError) say({ notice: "lost", lock: name, reason: signal.reason.reason });
  };
  if (signal.aborted) tell();
  else signal.addEventListener("abort", tell, { once: true });
  return granted(lock);
}

/** Tells what is seen until the observation ends. */
async function follow(name: string, observation: Observation): Promise<void> {
  try {
    for await (const told of observation) say({ notice: "seen", as: name, ...seen(told) });
  } catch (error) {
    say({ notice: "seen", as: name, ...failed(error) });
  }
}

/** Returns the options that a lock and a lease have alike. */
function common(told: Command, signal: AbortSignal) {
  const { owner, linger_ms: linger, min_hold_ms: minHold, wait_ms: wait, shared, limit } = told;
  return { signal, owner, linger, minHold, wait, shared, limit };
}

function options(told: Command, signal: AbortSignal): WaitOptions {
  const { poll_ms: pollInterval, keep: keepOnDisconnect, weight, also, value } = told;
  return { ...common(told, signal), pollInterval, keepOnDisconnect, weight, also, value };
}

function leaseOf(name: string): Lease {
  return find(locks, name) as Lease;
}

const commands: Record<string, (told: Command, signal: AbortSignal) => Promise<Answer> | Answer> = {
  connect(told) {
    const { ca, cert, key } = told.tls ?? {};
    const tls = told.tls ? { ca: ca ?? undefined, cert: cert ?? undefined, key: key ?? undefined } : undefined;
    // None: by the environment.
    clients.set(told.client, connect(told.servers?.length ? told.servers : undefined, { tls }));
    return { ok: true };
  },
  async try(told, signal) {
    // As tryLock, but it says who has the lock.
    const lock = await find(clients, told.client).lock(told.name, { ...options(told, signal), wait: 0 });
    return keep(told.lock, lock);
  },
  async wait(told, signal) {
    return keep(told.lock, await find(clients, told.client).lock(told.name, options(told, signal)));
  },
  enter(told, signal) {
    return new Promise((entered, refused) => {
      let leave = (_fail: boolean) => {};
      const left = new Promise<boolean>((resolve) => {
        leave = resolve;
      });
      const scope = async (): Promise<Answer> => {
        await using lock = await find(clients, told.client)
          .lock(told.name, options(told, signal))
          .catch((error) => {
            refused(error);
            throw error;
          });
        entered(keep(told.lock, lock));
        if (await left) throw new Failed();
        return { left: true };
      };
      const ended = scope().catch((error) => (error instanceof Failed ? { left: true } : failed(error)));
      scopes.set(told.lock, { leave, ended });
    });
  },
  async leave(told) {
    const scope = find(scopes, told.lock);
    scopes.delete(told.lock);
    scope.leave(told.fail ?? false);
    return await scope.ended;
  },
  cancel(told) {
    cancels.get(told.call)?.abort();
    return { ok: true };
  },
  async release(told) {
    return { released: await find(locks, told.lock).release() };
  },
  async lease(told, signal) {
    const lease = await find(clients, told.client).lease(told.name, { ...common(told, signal), ttl: told.ttl_ms });
    locks.set(told.lock, lease);
    return granted(lease);
  },
  async renew(told, signal) {
    const lease = leaseOf(told.lock);
    try {
      await lease.renew({ signal });
    } catch (error) {
      if (error instanceof LockbrokerError && error.code === "RELEASED") return { lost: { reason: "ENDED" } };
      throw error;
    }
    return renewed(lease);
  },
  async adopt_lease(told, signal) {
    const lease = await find(clients, told.client).adoptLease(told.name, told.lock_id, { signal });
    locks.set(told.lock, lease);
    return renewed(lease);
  },
  check: (told) => checked(find(locks, told.lock)),
  async adopt(told, signal) {
    return keep(told.lock, await find(clients, told.client).adopt(told.name, told.lock_id, { signal }));
  },
  async get(told, signal) {
    const info = await find(clients, told.client).get(told.name, { signal });
    const { state, owner, fencingToken: token = null, heldFor: held_ms = null, etag, sharedCount: shared_count } = info;
    return { held: state === "HELD", state, owner, token, held_ms, etag, shared_count };
  },
  async update(told) {
    await (find(locks, told.lock) as Lock).update(told.value ?? "");
    return { updated: true };
  },
  async downgrade(told) {
    const lock = find(locks, told.lock) as Lock;
    await lock.downgrade(told.limit);
    return downgraded(lock);
  },
  observe(told) {
    const observation = find(clients, told.client).observe(told.name);
    observations.set(told.as, observation);
    void follow(told.as, observation);
    return { ok: true };
  },
  async unobserve(told) {
    await find(observations, told.as).close();
    observations.delete(told.as);
    return { ok: true };
  },
  work(told) {
    const lock = find(locks, told.lock);
    const timer = setInterval(() => {
      const at = Number(process.hrtime.bigint());
      const state = checked(lock);
      if ("lost" in state) clearInterval(timer);
      else if ("held" in state) say({ notice: "acting", lock: told.lock, at });
    }, told.every_ms);
    return { ok: true };
  },
  forget(told) {
    locks.delete(told.lock);
    globalThis.gc?.();
    return { ok: true };
  },
  async many(told) {
    const client = find(clients, told.client);
    const ask = async (_: unknown, number: number) => {
      const name = `${told.prefix}${number}`;
      const lock = await client.tryLock(name);
      if (lock !== null) keep(name, lock);
      return lock !== null;
    };
    const answers = await Promise.allSettled(Array.from({ length: told.count }, ask));
    for (const answer of answers) if (answer.status === "rejected") console.error(String(answer.reason));
    return { granted: answers.filter((answer) => answer.status === "fulfilled" && answer.value).length };
  },
  check_many(told) {
    const names = Array.from({ length: told.count }, (_, number) => `${told.prefix}${number}`);
    return { held: names.filter((name) => "held" in checked(find(locks, name))).length };
  },
  async cycle(told) {
    const client = find(clients, told.client);
    const began = process.hrtime.bigint();
    for (let round = 0; round < told.count; round += 1) await (await client.lock(told.name)).release();
    return { nanos: Number(process.hrtime.bigint() - began) };
  },
  async bare(told) {
    await cycles(told.server, told.name, 1);
    return { ok: true };
  },
  async bare_cycle(told) {
    return { nanos: await cycles(told.server, told.name, told.count) };
  },
  block(told) {
    for (const end = performance.now() + told.ms; performance.now() < end; );
    return { ok: true };
  },
  async close(told) {
    await find(clients, told.client).close();
    return { ok: true };
  },
};

async function obey(told: Command): Promise<void> {
  const cancel = new AbortController();
  cancels.set(told.id, cancel);
  let answer: Answer;
  try {
    const command = commands[told.do];
    answer = command === undefined ? unexpected(`there is no command ${told.do}`) : await command(told, cancel.signal);
  } catch (error) {
    answer = failed(error, told.also !== undefined && told.also.length > 0);
  } finally {
    cancels.delete(told.id);
  }
  say({ id: told.id, ...answer });
}

say({ hello: { client: "lockbroker for Node", features: ["loop", "collect"] } });
createInterface(process.stdin)
  .on("line", (line) => void obey(JSON.parse(line)))
  .on("close", async () => {
    await Promise.all([...clients.values()].map((client) => client.close()));
    process.exit(0);
  });

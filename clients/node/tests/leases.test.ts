/** Leases, and locks that outlive their stream or their holder. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Server, ServerCredentials, status as Status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { type Client, type Lease, LostError, NotAcquiredError } from "../src/index.js";
import {
  type AcquireLeaseRequest,
  type AcquireLeaseResponse,
  lockService,
  type ReleaseRequest,
  type ReleaseResponse,
} from "../src/v1/index.js";
import { type Broker, place, startBroker, startPair, stub } from "./support/broker.js";
import { acquire, connect, fails, loses, refused, state, thrown } from "./support/client.js";
import { eventually, fileScope, type Scope, SOON } from "./support/process.js";
import { startProxy } from "./support/proxy.js";

/** The shortest ttl. */
const SHORT = 5000;

const scope = fileScope();
let broker: Broker;
before(async () => {
  broker = await startBroker(scope);
});

/** Checks that a lease is refused, and returns the reason. */
async function why(asking: Promise<Lease>): Promise<string> {
  const error = await thrown(asking);
  assert.ok(error instanceof NotAcquiredError, String(error));
  return error.reason;
}

for (const worker of [true, false]) {
  test(`a lease outlives its client, ${worker ? "with" : "without"} a thread`, async (t) => {
    const name = `outlives ${worker}`;
    const one = connect(t, broker.url, { owner: "one", worker });
    const two = connect(t, broker.url, { worker });
    // A thread takes a while to start, on a busy machine.
    for (const client of [one, two]) await (await acquire(client, `${name}, before`)).release();
    const lease = await one.lease(name);
    const remaining = lease.remaining();
    assert.ok(remaining > 6000 && remaining <= 12_000, `${remaining}`);
    const { reason, owner } = await refused(two, name);
    assert.deepEqual([reason, owner, await why(two.lease(name))], ["HELD", "one", "HELD"]);
    lease.check();
    assert.ok(!String(lease).includes(lease.lockId));
    await one.close();
    lease.check();
    await fails(lease.renew(), "CLOSED");
    lease.check();
    assert.equal(await state(two, name), "HELD");
    // A client can make it a lock of its own.
    const lock = await two.adopt(name, lease.lockId);
    assert.equal(lock.fencingToken, lease.fencingToken);
    await lock.release();
  });
}

describe("leases", { concurrency: 4 }, () => {
  let client: Client;
  before(() => {
    client = connect(scope, broker.url);
  });

  test("a wait is granted, ends, and is given up", async () => {
    const name = "lease waits";
    const first = await client.lease(name);
    const begun = performance.now();
    assert.equal(await why(client.lease(name, { wait: 300 })), "MAX_WAIT");
    const took = performance.now() - begun;
    assert.ok(took >= 250 && took < 3000, `it took ${took} ms`);
    const abort = new AbortController();
    const given = thrown(client.lease(name, { wait: SOON, signal: abort.signal }));
    await place(scope, broker, name, 2);
    const reason = new Error("the user has left");
    abort.abort(reason);
    assert.equal(await given, reason);
    await place(scope, broker, name, 1);
    const waiting = client.lease(name, { wait: SOON });
    await place(scope, broker, name, 2);
    assert.equal(await first.release(), true);
    const second = await waiting;
    assert.ok((second.fencingToken ?? 0) > (first.fencingToken ?? 0));
    assert.ok(second.remaining() > 6000, `${second.remaining()}`);
    assert.equal(await second.release(), true);
  });

  test("a lease runs out", async () => {
    const name = "runs out";
    const lease = await client.lease(name, { ttl: SHORT });
    assert.ok(lease.remaining() <= 3000 - SHORT / 15, `${lease.remaining()} ms remain: no time to stop in`);
    // Less than a millisecond before, 0 ms remain.
    await eventually("it has run out", () => lease.lost !== undefined);
    assert.equal(lease.remaining(), 0);
    await loses(() => lease.check(), "EXPIRED");
    // Though the broker would.
    await loses(lease.renew(), "EXPIRED");
    const begun = performance.now();
    await loses(lease.release(), "EXPIRED");
    assert.ok(performance.now() - begun < 1000, "it waits");
    await eventually("it is free", async () => (await state(client, name)) === "FREE");
  });

  test("a release by its id is found at the next renewal, or release", async () => {
    const name = "lease by id";
    for (const end of [(lease: Lease) => lease.renew(), (lease: Lease) => lease.release()]) {
      const lease = await client.lease(name);
      assert.equal(await client.release(name, lease.lockId), "RELEASED");
      // Nobody tells it.
      lease.check();
      await loses(end(lease), "GONE");
    }
    const lease = await client.lease(name);
    await client.release(name, lease.lockId);
    const other = await client.lease(name);
    await loses(lease.renew(), "TAKEN_OVER");
    await loses(() => lease.check(), "TAKEN_OVER");
    await loses(lease.release(), "TAKEN_OVER");
    assert.deepEqual([lease.remaining(), lease.lost?.reason], [0, "TAKEN_OVER"]);
    await other.release();
  });

  test("a loss comes out of the scope, once", async () => {
    const name = "lease scope";
    await (async () => {
      await using lease = await client.lease(name);
      lease.check();
      await refused(client, name);
    })();
    assert.equal(await state(client, name), "FREE");
    const unheard = async () => {
      await using lease = await client.lease(name);
      await client.release(name, lease.lockId);
    };
    await loses(unheard, "GONE");
    const heard = async () => {
      await using lease = await client.lease(name);
      await client.release(name, lease.lockId);
      await lease.renew();
    };
    assert.ok((await thrown(heard)) instanceof LostError);
  });

  test("another client adopts it", async (t) => {
    const name = "lease adopted";
    const lease = await client.lease(name);
    const two = connect(t, broker.url);
    const adopted = await two.adoptLease(name, lease.lockId);
    assert.deepEqual([adopted.fencingToken, adopted.lockId], [undefined, lease.lockId]);
    await adopted.renew();
    assert.equal(await adopted.release(), true);
    await loses(lease.renew(), "GONE");
    await loses(two.adoptLease(name, lease.lockId), "GONE");
    await fails(two.adoptLease(name, ""), "INVALID");
    const lock = await acquire(client, name);
    await fails(two.adoptLease(name, lock.lockId), "INVALID");
    await lock.release();
  });

  test("a release may be called again and releases no other grant", async () => {
    const name = "lease twice";
    const lease = await client.lease(name);
    const released = await Promise.all(Array.from({ length: 8 }, () => lease.release()));
    assert.deepEqual(released, [true, ...Array(7).fill(false)]);
    await fails(() => lease.check(), "RELEASED");
    await fails(lease.renew(), "RELEASED");
    const other = await acquire(client, name);
    assert.equal(await lease.release(), false);
    other.check();
    await other.release();
  });

  test("bad input is refused", async (t) => {
    const bad = [{ ttl: 1000 }, { wait: 31_000 }, { minHold: 7_200_000 }, { owner: "a\nb" }, { linger: -1 }];
    for (const options of bad) await fails(client.lease("bad lease", options), "INVALID");
    for (const wait of [Number.POSITIVE_INFINITY, 1e9, "1"]) {
      await fails(client.lease("bad lease", { wait: wait as number }), "INVALID");
    }
    await fails(client.lease(""), "INVALID");
    await fails(client.tryLock("bad lease", { keepOnDisconnect: "yes" as unknown as boolean }), "INVALID");
    await fails(client.tryLock("bad lease", { minHold: 7_200_000 }), "INVALID");
    // Its own ttl comes before the client's.
    const strange = connect(t, broker.url, { ttl: 1000 });
    await fails(strange.lease("bad lease"), "INVALID");
    await (await strange.lease("good lease", { ttl: SHORT })).release();
    // A broker takes that for no limit, which is 30 s here.
    await (await client.lease("long wait", { wait: Number.MAX_VALUE })).release();
  });

  test("close ends a call that waits", async (t) => {
    const name = "lease closed";
    const lease = await client.lease(name);
    const other = connect(t, broker.url);
    const waiting = fails(other.lease(name, { wait: SOON }), "CLOSED");
    await place(scope, broker, name, 2);
    await other.close();
    await waiting;
    await fails(other.lease(name), "CLOSED");
    await lease.release();
  });

  test("a lock stays closed for its min hold", async () => {
    const long = 3000;
    const begun = performance.now();
    await (await acquire(client, "min hold", { minHold: long })).release();
    await (await client.lease("min hold, lease", { minHold: long })).release();
    for (const name of ["min hold", "min hold, lease"]) assert.equal((await refused(client, name)).reason, "LINGERING");
    await (await acquire(client, "min hold")).release();
    assert.ok(performance.now() - begun >= long);
  });
});

describe("leases and failures", { concurrency: 4 }, () => {
  test("a lease is renewed at any broker", async (t) => {
    const [one, two] = await startPair(t);
    const client = connect(t, [one.url, two.url]);
    const other = connect(t, two.url);
    const ttl = 9000;
    const lease = await client.lease("renewed", { ttl });
    const begun = performance.now();
    for (let isKilled = false; performance.now() - begun < ttl + 2000; ) {
      if (!isKilled && performance.now() - begun > ttl / 3) {
        one.kill();
        isKilled = true;
      }
      await lease.renew();
      const remaining = lease.remaining();
      assert.ok(remaining > ttl / 2 && remaining < ttl - 2000, `${remaining}`);
      await refused(other, "renewed");
      await sleep(ttl / 10);
    }
    await lease.release();
    assert.equal(await state(other, "renewed"), "FREE");
  });

  test("a renewal that nobody answers leaves the lease as it is", async (t) => {
    const proxy = await startProxy(t, await startBroker(t));
    const client = connect(t, proxy.url, { answerTimeout: 1500 });
    const lease = await client.lease("unanswered", { ttl: SHORT });
    proxy.hole();
    const begun = performance.now();
    await fails(lease.renew(), "UNAVAILABLE");
    assert.ok(performance.now() - begun < 2500);
    lease.check();
    proxy.open();
    await lease.renew();
    proxy.hole();
    // It gives up when the lease is over.
    let error: unknown;
    while (!(error instanceof LostError)) error = await thrown(lease.renew());
    assert.equal(error.reason, "EXPIRED");
  });

  const spoils: Record<string, () => Promise<{ code: number; details: string }>> = {
    unavailable: async () => ({ code: Status.UNAVAILABLE, details: "a proxy" }),
    "a reset": async () => ({ code: Status.INTERNAL, details: "RST_STREAM" }),
    late: async () => {
      await sleep(3000);
      return { code: Status.UNAVAILABLE, details: "nobody listens" };
    },
  };
  for (const [what, spoil] of Object.entries(spoils)) {
    test(`an answer that is lost blocks nothing: ${what}`, async (t) => {
      const real = await startBroker(t);
      const between = await startRelay(t, real, spoil);
      const lease = await connect(t, between.url).lease("repeated");
      assert.deepEqual([between.asked.length, new Set(between.asked).size], [2, 1]);
      assert.equal(lease.fencingToken, between.token);
      await (await connect(t, real.url).adoptLease("repeated", lease.lockId)).renew();
      // The answer to the first release is lost, too. It is no loss.
      assert.equal(await lease.release(), true);
      await (await connect(t, real.url).lease("repeated")).release();
    });
  }

  test("no broker gives no lease", async (t) => {
    const begun = performance.now();
    const client = connect(t, ["127.0.0.1:9", "127.0.0.1:10"], { answerTimeout: 1000 });
    await fails(client.lease("nowhere"), "UNAVAILABLE");
    assert.ok(performance.now() - begun < 8000);
  });

  test("a proxy that closes connections costs no lock that is kept", async (t) => {
    const real = await startBroker(t);
    const proxy = await startProxy(t, real);
    const client = connect(t, proxy.url);
    const kept = await acquire(client, "kept", { keepOnDisconnect: true });
    let isTaken = false;
    const rival = connect(t, real.url)
      .lock("kept")
      .then((lock) => {
        isTaken = true;
        return lock;
      });
    await place(t, real, "kept", 2);
    for (let round = 0; round < 3; round += 1) {
      const { lockId } = kept;
      proxy.close();
      await eventually("the lock has moved", () => kept.lockId !== lockId && kept.remaining() > 0);
    }
    assert.deepEqual([isTaken, kept.lost], [false, undefined]);
    await kept.release();
    await (await rival).release();
  });
});

/** Starts a server that passes leases on to a broker, and spoils the first answers. */
async function startRelay(t: Scope, broker: Broker, spoil: () => Promise<{ code: number; details: string }>) {
  const bare = stub(t, broker);
  const relay = { url: "", asked: [] as string[], token: undefined as number | undefined };
  type Done<T> = (error: object | null, answer?: T) => void;
  const acquire = ({ request }: { request: AcquireLeaseRequest }, done: Done<AcquireLeaseResponse>) => {
    bare.AcquireLease?.(request, async (error: Error | null, answer: AcquireLeaseResponse) => {
      relay.asked.push(request.requestId);
      if (relay.asked.length > 1) return done(error, answer);
      if (answer.result.case === "acquired") relay.token = Number(answer.result.value.fencingToken);
      done(await spoil());
    });
  };
  let releases = 0;
  const release = ({ request }: { request: ReleaseRequest }, done: Done<ReleaseResponse>) => {
    bare.Release?.(request, async (error: Error | null, answer: ReleaseResponse) => {
      releases += 1;
      if (releases > 1) done(error, answer);
      else done(await spoil());
    });
  };
  const server = new Server();
  const { AcquireLease, Release } = lockService;
  const service = { AcquireLease: acquire, Release: release } as unknown as UntypedServiceImplementation;
  server.addService({ AcquireLease, Release }, service);
  const port = await new Promise<number>((resolve, reject) => {
    const bound = (error: Error | null, port: number) => (error === null ? resolve(port) : reject(error));
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), bound);
  });
  t.after(() => server.forceShutdown());
  relay.url = `http://127.0.0.1:${port}`;
  return relay;
}

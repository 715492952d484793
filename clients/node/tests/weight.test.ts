/** Several permits of one lock at once: all or none, for one guard. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { type Lock, NotAcquiredError, type WaitOptions } from "../src/index.js";
import { type Broker, startBroker, startPair } from "./support/broker.js";
import { acquire, connect, fails, loses, refused, state, thrown } from "./support/client.js";
import { eventually, fileScope } from "./support/process.js";

const scope = fileScope();
let broker: Broker;
before(async () => {
  broker = await startBroker(scope);
});

/** Returns what stays the same of the permits. */
function permits({ locks }: Lock) {
  return locks.map(({ name, permit, fencingToken }) => [name, permit, fencingToken]);
}

describe("several permits", { concurrency: 4 }, () => {
  test("are had all or none", async (t) => {
    const [one, two] = [connect(t, broker.url), connect(t, broker.url, { worker: false })];
    const lock = await acquire(one, "pool", { limit: 4, weight: 3 });
    const { name, lockId, fencingToken, permit } = lock;
    const [own] = lock.locks;
    assert.deepEqual([own?.name, own?.lockId, own?.fencingToken, own?.permit], [name, lockId, fencingToken, permit]);
    assert.deepEqual(new Set(lock.locks.map(({ permit }) => permit)), new Set([0, 1, 2]));
    for (const held of lock.locks) {
      assert.equal(held.name, "pool");
      assert.equal((await two.get("pool", { permit: held.permit })).fencingToken, held.fencingToken);
      assert.ok((await two.get("pool", { lockId: held.lockId })).remaining > 0);
    }
    const error = await thrown(two.lock("pool", { limit: 4, weight: 2, wait: 0 }));
    assert.ok(error instanceof NotAcquiredError, String(error));
    assert.deepEqual([error.lock, error.reason], ["pool", "HELD"]);
    let single: Lock | null = null;
    await eventually("one is left", async () => {
      single = await two.tryLock("pool", { limit: 4 });
      return single !== null;
    });
    assert.equal((single as Lock | null)?.permit, 3);
    assert.equal((await refused(two, "pool")).reason, "HELD");
    const waiting = two.lock("pool", { limit: 4, weight: 2 });
    let isGranted = false;
    void waiting.then(() => {
      isGranted = true;
    });
    assert.equal(await one.tryLock("pool", { limit: 4 }), null);
    assert.equal(isGranted, false);
    await lock.release();
    const later = await waiting;
    assert.equal(new Set([3, ...later.locks.map(({ permit }) => permit)]).size, 3);
    await later.release();
    await (single as Lock | null)?.release();
    assert.equal(await state(one, "pool"), "FREE");
    // One is a permit, as any.
    const alone = await acquire(one, "pool", { weight: 1 });
    assert.notEqual((await acquire(two, "pool", { shared: true })).permit, alone.permit);
  });

  for (const end of ["SIGTERM", "SIGKILL"] as const) {
    test(`move together after ${end}`, async (t) => {
      const [first, second] = await startPair(t);
      const [client, other] = [connect(t, [first.url, second.url]), connect(t, second.url)];
      const lock = await acquire(client, "moves", { limit: 3, weight: 2 });
      const [before, ids] = [permits(lock), lock.locks.map(({ lockId }) => lockId)];
      first.signal(end);
      await eventually("it has moved", () => lock.lockId !== ids[0]);
      lock.check();
      assert.deepEqual(permits(lock), before);
      for (const [at, { lockId }] of lock.locks.entries()) {
        assert.notEqual(lockId, ids[at]);
        assert.ok((await other.get("moves", { lockId })).remaining > 0);
      }
      assert.equal((await other.get("moves")).sharedCount, 2);
      await lock.release();
      assert.equal(await state(other, "moves"), "FREE");
    });
  }

  test("are released where no stream is left", async (t) => {
    const [first, second] = await startPair(t);
    const [client, other] = [connect(t, [first.url, second.url]), connect(t, second.url)];
    const lock = await acquire(client, "gone", { weight: 3 });
    first.kill();
    await first.exited;
    await lock.release();
    assert.equal(await state(other, "gone"), "FREE");
  });

  test("are all lost when one is", async (t) => {
    const [one, two] = [connect(t, broker.url, { ttl: 5000 }), connect(t, broker.url)];
    const lock = await acquire(one, "lost", { limit: 3, weight: 3 });
    await two.release("lost", lock.locks[1]?.lockId ?? "");
    await eventually("it is lost", () => lock.lost !== undefined);
    await loses(() => lock.check(), lock.lost?.reason ?? "");
    await loses(lock.release(), lock.lost?.reason ?? "");
    await acquire(two, "lost");
  });

  test("leave none behind when the wait is given up", async (t) => {
    const client = connect(t, broker.url);
    const held = await acquire(client, "wait", { limit: 3 });
    const leave = new AbortController();
    const waiting = client.lock("wait", { limit: 3, weight: 3, signal: leave.signal });
    await eventually("it waits", async () => {
      const isLetIn = await client.tryLock("wait", { limit: 3 });
      await isLetIn?.release();
      return isLetIn === null;
    });
    leave.abort();
    await assert.rejects(waiting, { name: "AbortError" });
    await acquire(client, "wait", { limit: 3, weight: 2 });
    held.check();
  });

  test("are refused before anything is sent where they cannot be", async (t) => {
    // Nobody is there.
    const nobody = connect(t, "127.0.0.1:9");
    const wrong: [WaitOptions, RegExp][] = [
      ...[0, 17, 1.5, "2" as never, true as never, null as never].map((weight): [WaitOptions, RegExp] => [
        { weight },
        /weight is to be a whole number from 1 to 16, and not/,
      ]),
      [{ weight: 3, limit: 2 }, /weight is to be a whole number from 1 to 2, and not 3/],
      [{ weight: 2, also: ["x"] }, /a weight is for one lock alone/],
      [{ weight: 2, value: "x" }, /a value is for a lock that one holder has alone/],
      [{ weight: 16, owner: "o".repeat(200) }, /too long for one message/],
    ];
    for (const ask of ["lock", "tryLock"] as const) {
      for (const [options, why] of wrong) {
        assert.match((await fails(nobody[ask]("wrong", options), "INVALID")).message, why);
      }
    }
    const client = connect(t, broker.url);
    const kept = await acquire(client, "wrong/kept");
    await fails(client.lock("wrong", { weight: 2, minHold: 1000 }), "INVALID");
    const lock = await acquire(client, "n".repeat(128), { weight: 16 });
    assert.equal(new Set(lock.locks.map(({ permit }) => permit)).size, 16);
    kept.check();
  });
});

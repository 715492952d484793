/** A lock that one has alone becomes one that others share, and nobody has it alone in between. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Broker, startBroker, startPair, startStore } from "./support/broker.js";
import { acquire, connect, fails, loses } from "./support/client.js";
import { eventually, fileScope } from "./support/process.js";

const scope = fileScope();
let broker: Broker;
before(async () => {
  broker = await startBroker(scope);
});

describe("a downgrade", { concurrency: 4 }, () => {
  for (const worker of [true, false]) {
    test(`shares what one had alone, ${worker ? "with" : "without"} a thread`, async (t) => {
      const [client, other] = [connect(t, broker.url, { worker }), connect(t, broker.url)];
      const name = `index/${worker}`;
      const lock = await acquire(client, name);
      const { lockId, fencingToken } = lock;
      assert.equal(await other.tryLock(name, { limit: 2 }), null);
      await lock.downgrade(2);
      assert.deepEqual([lock.permit, lock.fencingToken, lock.locks[0]?.permit], [0, fencingToken, 0]);
      assert.notEqual(lock.lockId, lockId);
      assert.match(String(lock), /permit 0, /);
      // It is not lost on the stream where it was.
      await sleep(300);
      assert.equal(lock.lost, undefined);
      lock.check();
      const after = lock.lockId;
      await lock.downgrade();
      assert.equal(lock.lockId, after);
      const beside = await acquire(other, name, { limit: 2 });
      assert.equal(beside.permit, 1);
      assert.ok(beside.fencingToken > fencingToken);
      assert.equal(await other.tryLock(name, { limit: 2 }), null);
      assert.equal(await other.tryLock(name), null);
      await beside.release();
      await lock.release();
      assert.equal((await acquire(other, name)).permit, undefined);
    });
  }

  for (const end of ["SIGTERM", "SIGKILL"] as const) {
    test(`goes on at another broker after ${end}`, async (t) => {
      const [first, second] = await startPair(t);
      const [client, other] = [connect(t, [first.url, second.url]), connect(t, second.url)];
      const lock = await acquire(client, "moves", { keepOnDisconnect: true });
      const { fencingToken, lockId } = lock;
      // While it moves.
      first.signal(end);
      await lock.downgrade(2);
      assert.notEqual(lock.lockId, lockId);
      assert.deepEqual([lock.permit, lock.fencingToken], [0, fencingToken]);
      await eventually("it is held", () => lock.remaining() > 0);
      assert.equal((await acquire(other, "moves", { limit: 2 })).permit, 1);
      await lock.release();
    });
  }

  test("that cannot be leaves the lock alone, as before", async (t) => {
    const [client, other] = [connect(t, broker.url), connect(t, broker.url)];
    const job = await acquire(client, "job", { minHold: 1000 });
    const leader = await acquire(client, "leader", { value: "here" });
    for (const lock of [job, leader]) {
      assert.match((await fails(lock.downgrade(), "INVALID")).message, /MODE_SHARED/);
      assert.equal(lock.permit, undefined);
      lock.check();
      assert.equal(await other.tryLock(lock.name, { shared: true }), null);
    }
    await leader.update("there");
    const group = await acquire(client, "group/a", { also: ["group/b"] });
    const several = await acquire(client, "group/c", { weight: 2 });
    for (const lock of [group, several]) {
      assert.match((await fails(lock.downgrade(), "INVALID")).message, /several locks are held together/);
      lock.check();
    }
    const lock = await acquire(client, "limits");
    const before = lock.lockId;
    for (const limit of [0, -1, 4097, 1.5, "2" as never, null as never]) {
      assert.match((await fails(lock.downgrade(limit), "INVALID")).message, /limit is to be a whole number from 1 to 4096/);
    }
    assert.deepEqual([lock.permit, lock.lockId], [undefined, before]);
  });

  test("of a lock that is over fails", async (t) => {
    const [client, other] = [connect(t, broker.url), connect(t, broker.url)];
    const lost = await acquire(client, "over");
    await other.release("over", lost.lockId);
    await eventually("it is lost", () => lost.lost !== undefined);
    await loses(lost.downgrade(), lost.lost?.reason ?? "");
    const released = await acquire(client, "over");
    await released.release();
    await fails(released.downgrade(), "RELEASED");
    const closed = await acquire(client, "over");
    await client.close();
    await fails(closed.downgrade(), "CLOSED");
  });

  test("waits for a store that is away", async (t) => {
    const { memcached, args } = await startStore(t);
    const broker = await startBroker(t, ...args);
    const [client, hasty] = [connect(t, broker.url), connect(t, broker.url, { answerTimeout: 400 })];
    const [lock, later] = [await acquire(client, "away"), await acquire(hasty, "away/later")];
    const released = await acquire(client, "away/released");
    memcached.signal("SIGSTOP");
    const sharing = lock.downgrade();
    const ending = fails(released.downgrade(), "RELEASED");
    assert.match((await fails(later.downgrade(), "UNAVAILABLE")).message, /it may still become a shared one/);
    assert.equal(lock.permit, undefined);
    const releasing = released.release();
    memcached.signal("SIGCONT");
    await sharing;
    assert.equal(lock.permit, 0);
    await eventually("the other has come to be shared", () => later.permit === 0);
    await later.downgrade();
    lock.check();
    later.check();
    await releasing;
    await ending;
  });
});

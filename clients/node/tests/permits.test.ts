/** Locks that several have at a time, each with a permit. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import type { Lease, Lock } from "../src/index.js";
import { type Broker, place, startBroker, startPair } from "./support/broker.js";
import { acquire, connect, fails, refused } from "./support/client.js";
import { eventually, fileScope } from "./support/process.js";

const scope = fileScope();
let broker: Broker;
before(async () => {
  broker = await startBroker(scope);
});

function permits(...held: (Lock | Lease)[]): Set<number | undefined> {
  return new Set(held.map(({ permit }) => permit));
}

describe("permits", { concurrency: 4 }, () => {
  test("a lock is shared, and nobody has it alone", async (t) => {
    const [one, two] = [connect(t, broker.url), connect(t, broker.url, { worker: false })];
    const options = { shared: true, owner: "a reader" };
    const readers = [await acquire(one, "shared", options), await acquire(one, "shared", options)];
    readers.push(await acquire(two, "shared", options));
    assert.equal(permits(...readers).size, 3);
    assert.equal((await refused(two, "shared")).reason, "HELD");
    const whole = await one.get("shared");
    assert.deepEqual([whole.state, whole.sharedCount], ["HELD", 3]);
    for (const { permit, fencingToken, lockId } of readers) {
      const { state, owner, fencingToken: token, sharedCount } = await two.get("shared", { permit });
      assert.deepEqual([state, owner, token, sharedCount], ["HELD", "a reader", fencingToken, 0]);
      assert.ok((await one.get("shared", { lockId })).remaining > 0);
    }
    assert.match(String(readers[0]), new RegExp(`permit ${readers[0]?.permit}, `));
    assert.equal((await one.get("shared", { permit: 4095 })).state, "FREE");
    for (const reader of readers) await reader.release();
    const writer = await acquire(two, "shared");
    assert.equal(writer.permit, undefined);
    assert.ok(readers.every(({ fencingToken }) => fencingToken < writer.fencingToken));
    assert.doesNotMatch(String(writer), /permit/);
    assert.equal(await one.tryLock("shared", { shared: true }), null);
    assert.equal((await one.get("shared")).sharedCount, 0);
  });

  test("a limit lets in so many", async (t) => {
    const client = connect(t, broker.url);
    const seats = [await acquire(client, "seats", { limit: 2 }), await acquire(client, "seats", { limit: 2 })] as const;
    assert.deepEqual(permits(...seats), new Set([0, 1]));
    assert.equal(await client.tryLock("seats", { limit: 2 }), null);
    const waiting = client.lock("seats", { limit: 2 });
    await place(t, broker, "seats", 2);
    await seats[1].release();
    const third = await waiting;
    assert.equal(third.permit, seats[1].permit);
    assert.ok(third.fencingToken > seats[1].fencingToken);
    const beside = await acquire(client, "seats", { shared: true });
    assert.ok((beside.permit ?? 0) > 1);
  });

  test("a writer that waits lets no new readers in", async (t) => {
    const client = connect(t, broker.url);
    const reader = await acquire(client, "data", { shared: true });
    const writing = client.lock("data");
    await eventually("it lets in no new ones", async () => {
      const isLetIn = await client.tryLock("data", { shared: true });
      await isLetIn?.release();
      return isLetIn === null;
    });
    let isRead = false;
    const read = ({ permit }: Lock) => {
      isRead = true;
      return permit;
    };
    const reading = client.using("data", read, { shared: true });
    await place(t, broker, "data", 3);
    await reader.release();
    const writer = await writing;
    assert.deepEqual([writer.permit, isRead], [undefined, false]);
    await writer.release();
    assert.notEqual(await reading, undefined);
  });

  test("a permit stays the same when its lock moves", async (t) => {
    const [first, second] = await startPair(t);
    const [client, other] = [connect(t, [first.url, second.url]), connect(t, second.url)];
    const locks = [await acquire(client, "moves", { limit: 2 }), await acquire(client, "moves", { limit: 2 })] as const;
    const before = locks.map(({ permit, fencingToken }) => [permit, fencingToken]);
    const ids = locks.map(({ lockId }) => lockId);
    first.signal("SIGTERM");
    await eventually("they have moved", () => locks.every(({ lockId }, number) => lockId !== ids[number]));
    assert.deepEqual(
      locks.map(({ permit, fencingToken }) => [permit, fencingToken]),
      before,
    );
    for (const lock of locks) {
      lock.check();
      assert.equal((await other.get("moves", { permit: lock.permit })).fencingToken, lock.fencingToken);
    }
    assert.equal(await other.tryLock("moves", { limit: 2 }), null);
    const adopted = await other.adopt("moves", locks[0].lockId);
    assert.deepEqual([adopted.permit, adopted.fencingToken], before[0]);
  });

  test("a lease has a permit", async (t) => {
    const client = connect(t, broker.url);
    const [lease, beside] = [await client.lease("leases", { limit: 2 }), await client.lease("leases", { limit: 2 })];
    assert.deepEqual(permits(lease, beside), new Set([0, 1]));
    assert.match(String(lease), new RegExp(`permit ${lease.permit}, `));
    await fails(client.lease("leases", { limit: 2 }), "NOT_ACQUIRED");
    await beside.release();
    const adopted = await client.adoptLease("leases", lease.lockId);
    assert.equal(adopted.permit, undefined);
    await lease.renew();
    assert.equal((await client.get("leases", { permit: lease.permit })).fencingToken, lease.fencingToken);
    const lock = await client.adopt("leases", lease.lockId);
    assert.deepEqual([lock.permit, lock.fencingToken], [lease.permit, lease.fencingToken]);
    await lock.release();
    await using alone = await client.lease("leases");
    assert.equal(alone.permit, undefined);
  });

  test("what is wrong is told before anything is sent", async (t) => {
    // Nobody is there.
    const client = connect(t, "127.0.0.1:9");
    for (const limit of [0, -1, 4097, 2 ** 40, 1.5, Number.NaN, "5" as never, true as never, null as never]) {
      for (const ask of ["lock", "tryLock", "lease"] as const) {
        const { message } = await fails(client[ask]("wrong", { limit }), "INVALID");
        assert.match(message, /limit is to be a whole number from 1 to 4096, and not/);
      }
    }
    await fails(client.lock("wrong", { shared: 1 as never }), "INVALID");
    for (const permit of [-1, 4096]) await fails(client.get("wrong", { permit }), "INVALID");
    assert.notEqual((await acquire(connect(t, broker.url), "wrong", { limit: 4096 })).permit, undefined);
  });
});

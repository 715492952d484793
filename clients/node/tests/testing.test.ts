/** The broker for users' tests does what a real one does, as far as this client can tell. */
import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Client, Lock } from "../src/index.js";
import { TestBroker, type TestBrokerOptions } from "../src/testing/index.js";
import { LockSpec_OnDisconnect } from "../src/v1/index.js";
import { stub } from "./support/broker.js";
import { aborted, acquire, connect, fails, loses, refused, state } from "./support/client.js";
import { eventually } from "./support/process.js";

async function start(t: TestContext, options?: TestBrokerOptions): Promise<[TestBroker, Client]> {
  const broker = await TestBroker.start(options);
  const client = connect(t, broker.url, { owner: "test", worker: false });
  // Behind the client's end, which releases its locks.
  t.after(() => broker.stop());
  return [broker, client];
}

describe("the broker for tests", { concurrency: true }, () => {
  test("grants, refuses and hands over", async (t) => {
    const [broker, client] = await start(t);
    const lock = await acquire(client, "x");
    assert.deepEqual(broker.holder("x"), { owner: "test", fencingToken: lock.fencingToken });
    assert.deepEqual([(await refused(client, "x")).reason, (await refused(client, "x")).owner], ["HELD", "test"]);
    assert.equal((await fails(client.lock("x", { wait: 50 }), "NOT_ACQUIRED")).reason, "MAX_WAIT");
    const waiting = client.lock("x");
    await eventually("somebody waits", () => broker.waiters("x") === 1);
    assert.equal(await lock.release(), true);
    const next = await waiting;
    assert.ok(next.fencingToken > lock.fencingToken);
    assert.equal((await client.get("x")).fencingToken, next.fencingToken);
    assert.equal(await client.release("x", next.lockId), "RELEASED");
    await loses(() => aborted(next.signal).then(() => next.check()), "RELEASED");
    assert.equal(await client.release("x", next.lockId), "NOT_HELD");
    broker.take("x");
    assert.equal(await client.release("x", next.lockId), "HELD_BY_ANOTHER");
    assert.equal(await state(client, "x"), "HELD");
    broker.free("x");
    assert.equal(await state(client, "x"), "FREE");
  });

  test("does not know of values", async (t) => {
    const [broker, client] = await start(t);
    const lock = await acquire(client, "x", { value: "10.0.0.7:80" });
    assert.deepEqual(broker.holder("x"), { owner: "test", fencingToken: lock.fencingToken });
    assert.match((await fails(lock.update("10.0.0.8:80"), "UNEXPECTED")).message, /UNIMPLEMENTED/);
    assert.match((await fails(client.observe("x").next(), "UNEXPECTED")).message, /UNIMPLEMENTED/);
  });

  test("lingers, and a wait can be given up", async (t) => {
    const [broker, client] = await start(t);
    await (await acquire(client, "x", { linger: 3000 })).release();
    assert.equal((await refused(client, "x")).reason, "LINGERING");
    assert.equal(await state(client, "x"), "LINGERING");
    await acquire(client, "x");
    const abort = new AbortController();
    const waiting = client.lock("x", { signal: abort.signal }).catch(() => "given up");
    await eventually("somebody waits", () => broker.waiters("x") === 1);
    abort.abort();
    assert.equal(await waiting, "given up");
    await eventually("nobody waits", () => broker.waiters("x") === 0);
  });

  test("shares a lock, and keeps those apart who want it alone", async (t) => {
    const [broker, client] = await start(t);
    const first = await acquire(client, "x", { limit: 2 });
    const second = await acquire(client, "x", { limit: 2, owner: "second" });
    assert.deepEqual([first.permit, second.permit], [0, 1]);
    const shown = [first, second].map(({ owner, fencingToken, permit }) => ({ owner, fencingToken, permit }));
    assert.deepEqual(broker.holders("x"), shown);
    assert.deepEqual(broker.holder("x"), shown[0]);
    assert.equal(await client.tryLock("x", { limit: 2 }), null);
    const whole = await client.get("x");
    assert.deepEqual([whole.state, whole.owner, whole.fencingToken, whole.sharedCount], ["HELD", "", undefined, 2]);
    const part = await client.get("x", { permit: 1 });
    assert.deepEqual([part.owner, part.fencingToken, part.sharedCount], ["second", second.fencingToken, 0]);
    assert.ok((await client.get("x", { lockId: second.lockId })).remaining > 0);
    assert.equal((await client.get("x", { permit: 2 })).state, "FREE");
    const writing = client.lock("x");
    await eventually("the writer waits", () => broker.waiters("x") === 1);
    assert.equal(await client.tryLock("x", { shared: true }), null);
    const reading = client.lock("x", { shared: true });
    const leasing = client.lease("x", { shared: true, wait: 20_000 });
    await eventually("the readers wait", () => broker.waiters("x") === 3);
    await first.release();
    const moved = await client.adopt("x", second.lockId);
    assert.deepEqual([moved.permit, moved.fencingToken], [1, second.fencingToken]);
    assert.equal(await client.release("x", moved.lockId), "RELEASED");
    const writer = await writing;
    assert.deepEqual([writer.permit, broker.waiters("x")], [undefined, 2]);
    await writer.release();
    const [reader, lease] = await Promise.all([reading, leasing]);
    assert.deepEqual(new Set([reader.permit, lease.permit]), new Set([0, 1]));
    await lease.renew();
    // A writer that waits no more is in nobody's way.
    assert.equal((await fails(client.lock("x", { wait: 50 }), "NOT_ACQUIRED")).reason, "MAX_WAIT");
    await (await acquire(client, "x", { shared: true })).release();
    broker.lose("x", "GONE");
    await loses(() => aborted(reader.signal).then(() => reader.check()), "GONE");
    await loses(lease.renew(), "GONE");
    assert.deepEqual(broker.holders("x"), []);
  });

  test("refuses several locks together, as a broker that does not know of them", async (t) => {
    const [broker, client] = await start(t);
    for (const options of [{ also: ["y"] }, { weight: 2 }]) {
      const { message } = await fails(client.lock("x", options), "UNEXPECTED");
      assert.match(message, /several locks or permits together/);
    }
    await eventually("the first is free again", () => broker.holder("x") === undefined);
  });

  test("shares what one had alone", async (t) => {
    const [broker, client] = await start(t);
    const lock = await acquire(client, "x");
    const reading = client.lock("x", { shared: true });
    await eventually("it waits", () => broker.waiters("x") === 1);
    await lock.downgrade();
    assert.deepEqual([lock.permit, (await reading).permit], [0, 1]);
    assert.equal(broker.holder("x")?.fencingToken, lock.fencingToken);
    assert.equal(await client.tryLock("x"), null);
    const alone = await acquire(client, "y", { minHold: 60_000 });
    await fails(alone.downgrade(), "INVALID");
    assert.equal(alone.permit, undefined);
    alone.check();
  });

  test("closes a permit that lingers, and no other", async (t) => {
    const [, client] = await start(t);
    await (await acquire(client, "x", { limit: 1, linger: 60_000 })).release();
    assert.equal((await refused(client, "x")).reason, "LINGERING");
    assert.equal(await state(client, "x"), "LINGERING");
    assert.equal((await client.get("x", { permit: 0 })).state, "LINGERING");
    assert.equal((await acquire(client, "x", { limit: 2 })).permit, 1);
    await (await acquire(client, "y", { limit: 1, linger: 200 })).release();
    assert.equal((await acquire(client, "y", { limit: 1 })).permit, 0);
  });

  for (const reason of ["EXPIRED", "GONE", "TAKEN_OVER", "REVOKED", "RELEASED"] as const) {
    test(`loses a lock: ${reason}`, async (t) => {
      const [broker, client] = await start(t);
      assert.throws(() => broker.lose("x"), /no client holds/);
      const lock = await acquire(client, "x");
      broker.lose("x", reason);
      await aborted(lock.signal);
      await loses(() => lock.check(), reason);
      assert.equal(broker.holder("x"), undefined);
    });
  }

  test("fails as it is told", async (t) => {
    const [broker, client] = await start(t);
    broker.fail("x", "STORE_FULL");
    assert.equal((await fails(client.lock("x"), "EXHAUSTED")).reason, "STORE_FULL");
    broker.fail("x");
    const error = await fails(client.tryLock("x"), "UNAVAILABLE");
    assert.deepEqual([error.reason, error.retryAfter], ["STORE_UNAVAILABLE", 50]);
    // A wait goes on.
    broker.fail("x");
    await (await acquire(client, "x")).release();
  });

  test("drains: locks move, and another client adopts them", async (t) => {
    const [broker, client] = await start(t);
    const lock = await acquire(client, "x");
    const id = lock.lockId;
    broker.drain();
    await eventually("the lock has moved", () => lock.lockId !== id);
    lock.check();
    const adopted = await connect(t, broker.url, { worker: false }).adopt("x", lock.lockId);
    assert.equal(adopted.fencingToken, lock.fencingToken);
    await aborted(lock.signal);
    await loses(() => lock.check(), "TAKEN_OVER");
    await adopted.release();
  });

  test("a loss that is found at the release comes out of using", async (t) => {
    const [broker, client] = await start(t);
    let other: Lock | undefined;
    // The news crosses the release.
    const work = async (lock: Lock) => {
      broker.take("x", "other");
      other = lock;
    };
    await loses(client.using("x", work), "TAKEN_OVER");
    assert.equal(other?.lost?.reason, "TAKEN_OVER");
    broker.free("x");
    // The work's own error comes first.
    const failing = async () => {
      broker.take("x", "other");
      throw new Error("the work failed");
    };
    await assert.rejects(client.using("x", failing), /the work failed/);
    broker.free("x");
    // It has thrown nothing, though the work knows of the loss.
    const knowing = async (lock: Lock) => {
      broker.lose("x");
      await aborted(lock.signal);
    };
    await loses(client.using("x", knowing), "EXPIRED");
  });

  test("a release that finds another holder tells a loss", async (t) => {
    const first = await TestBroker.start();
    const second = await TestBroker.start();
    t.after(() => second.stop());
    const client = connect(t, [first.url, second.url], { worker: false });
    second.take("x", "other");
    // The stream breaks, and the work ends before the reattach.
    const work = async (lock: Lock) => {
      for (let times = 0; times < 20; times += 1) second.fail("x");
      first.stop();
      await eventually("the stream is broken", () => lock.remaining() === 0);
    };
    await loses(client.using("x", work), "TAKEN_OVER");
  });

  test("falls silent: locks run out", async (t) => {
    const [broker, client] = await start(t, { ttl: 600 });
    const lock = await acquire(client, "x");
    broker.silence();
    const begun = performance.now();
    await aborted(lock.signal);
    await loses(() => lock.check(), "EXPIRED");
    // The machine may be busy. With the default ttl it would be 12.5 s.
    assert.ok(performance.now() - begun < 10_000);
    broker.silence(false);
  });

  test("grants, refuses and loses leases", async (t) => {
    const [broker, client] = await start(t);
    const lease = await client.lease("x");
    assert.deepEqual(broker.holder("x"), { owner: "test", fencingToken: lease.fencingToken });
    assert.equal((await fails(client.lease("x", { wait: 50 }), "NOT_ACQUIRED")).reason, "MAX_WAIT");
    const abort = new AbortController();
    const given = client.lease("x", { wait: 20_000, signal: abort.signal }).catch(() => "given up");
    await eventually("somebody waits", () => broker.waiters("x") === 1);
    abort.abort();
    assert.equal(await given, "given up");
    await eventually("nobody waits", () => broker.waiters("x") === 0);
    const waiting = client.lease("x", { wait: 20_000 });
    await eventually("somebody waits", () => broker.waiters("x") === 1);
    await lease.renew();
    assert.equal(await lease.release(), true);
    const next = await waiting;
    broker.lose("x", "REVOKED");
    await loses(next.renew(), "REVOKED");
    const released = await client.lease("x", { linger: 60_000 });
    assert.equal(await client.release("x", released.lockId), "RELEASED");
    await loses(released.renew(), "GONE");
    assert.equal((await refused(client, "x")).reason, "LINGERING");
    const taken = await client.lease("y");
    broker.take("y");
    await loses(taken.renew(), "TAKEN_OVER");
    broker.free("y");
    broker.fail("y", "STORE_FULL");
    assert.equal((await fails(client.lease("y"), "EXHAUSTED")).reason, "STORE_FULL");
    // It is asked again.
    broker.fail("y");
    const last = await client.lease("y");
    broker.fail("y");
    await last.renew();
    await (await client.adopt("y", last.lockId)).release();
    assert.equal(broker.holder("y"), undefined);
  });

  test("keeps a lock when its stream ends, and closes one for its min hold", async (t) => {
    const [, held] = await start(t);
    await (await acquire(held, "held", { minHold: 60_000 })).release();
    assert.equal((await refused(held, "held")).reason, "LINGERING");
    const [broker] = await start(t, { ttl: 1000 });
    const bare = stub(t, broker);
    const session = bare.Session?.();
    session.on("error", () => {});
    session.on("data", () => {});
    const lock = { name: "kept", onDisconnect: LockSpec_OnDisconnect.KEEP };
    session.write({ kind: { case: "open", value: {} } });
    session.write({ kind: { case: "begin", value: { lockRef: 1n, lock } } });
    session.write({ kind: { case: "begin", value: { lockRef: 2n, lock: { name: "dropped" } } } });
    await eventually("it is held", () => broker.holder("dropped") !== undefined);
    session.end();
    await eventually("the stream has ended", () => broker.holder("dropped") === undefined);
    assert.notEqual(broker.holder("kept"), undefined);
    await eventually("it has run out", () => broker.holder("kept") === undefined);
  });

  test("stops: locks are not reattached, and run out", async (t) => {
    const [broker, client] = await start(t, { ttl: 600 });
    const lock = await acquire(client, "x");
    broker.stop();
    await eventually("the stream is broken", () => lock.remaining() === 0);
    await aborted(lock.signal);
    await loses(() => lock.check(), "EXPIRED");
  });
});

// Alone: what renews by itself gets no processor while all others begin.
describe("the broker for tests, in time", () => {
  test("leases run out, and are renewed beyond their ttl", async (t) => {
    const ttl = 5000;
    const [broker, client] = await start(t, { ttl });
    const lease = await client.lease("x");
    for (const begun = performance.now(); performance.now() - begun < ttl + 1000; await sleep(100)) await lease.renew();
    broker.silence();
    await eventually("it has run out", () => lease.lost !== undefined);
    assert.equal(lease.lost?.reason, "EXPIRED");
    broker.silence(false);
    await eventually("it is free", () => broker.holder("x") === undefined);
  });
});

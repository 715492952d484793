/** Several locks together: all or none, for one guard. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { inspect } from "node:util";
import { type Client, NotAcquiredError } from "../src/index.js";
import { type Broker, startBroker, startPair } from "./support/broker.js";
import { acquire, connect, fails, loses, refused, state, thrown } from "./support/client.js";
import { eventually, fileScope } from "./support/process.js";

const scope = fileScope();
let broker: Broker;
before(async () => {
  broker = await startBroker(scope);
});

function states(client: Client, names: string[]): Promise<string[]> {
  return Promise.all(names.map((name) => state(client, name)));
}

describe("several locks together", { concurrency: 4 }, () => {
  test("are had all or none", async (t) => {
    const [one, two] = [connect(t, broker.url), connect(t, broker.url, { worker: false })];
    const names = ["all/b", "all/c", "all/a"];
    const [first = "", ...also] = names;
    for (const [client, other] of [
      [one, two],
      [two, one],
    ] as const) {
      const lock = await acquire(client, first, { also, owner: "me" });
      assert.deepEqual(
        lock.locks.map(({ name }) => name),
        names,
      );
      const { name, lockId, fencingToken, permit } = lock;
      const [own] = lock.locks;
      assert.deepEqual([own?.name, own?.lockId, own?.fencingToken, own?.permit], [name, lockId, fencingToken, permit]);
      for (const held of lock.locks) {
        const info = await other.get(held.name, { lockId: held.lockId });
        assert.deepEqual([info.state, info.owner, info.fencingToken], ["HELD", "me", held.fencingToken]);
        assert.equal(await other.tryLock(held.name), null);
        assert.ok(!inspect(held, { showHidden: true }).includes(held.lockId));
        assert.ok(!JSON.stringify(held).includes(held.lockId));
      }
      lock.check();
      assert.equal(await lock.release(), true);
      assert.deepEqual(await states(other, names), ["FREE", "FREE", "FREE"]);
    }
    await acquire(two, "all/a", { owner: "them" });
    for (const [wait, reason] of [
      [0, "HELD"],
      [200, "MAX_WAIT"],
    ] as const) {
      const error = await thrown(one.lock(first, { also, wait }));
      assert.ok(error instanceof NotAcquiredError, String(error));
      assert.deepEqual([error.lock, error.reason], ["all/a", reason]);
      assert.match(error.message, /^lock "all\/a": /);
    }
    assert.equal(await one.tryLock(first, { also }), null);
    assert.deepEqual(await states(one, names), ["FREE", "FREE", "HELD"]);
    assert.equal((await refused(one, "all/a")).lock, "all/a");
  });

  test("are had in the same way", async (t) => {
    const client = connect(t, broker.url);
    const names = ["way/b", "way/a"];
    const shared = await acquire(client, "way/b", { also: ["way/a"], limit: 2, linger: 60_000 });
    const beside = await acquire(client, "way/b", { also: ["way/a"], limit: 2 });
    for (const [at, { permit }] of shared.locks.entries()) {
      assert.deepEqual(new Set([permit, beside.locks[at]?.permit]), new Set([0, 1]));
    }
    await beside.release();
    await shared.release();
    assert.deepEqual(await states(client, names), ["LINGERING", "LINGERING"]);
    const alone = await acquire(client, "way/alone", { also: [] });
    assert.deepEqual(
      alone.locks.map(({ name, permit }) => [name, permit]),
      [["way/alone", undefined]],
    );
  });

  test("are waited for by nobody in a circle", async (t) => {
    const [one, two] = await startPair(t);
    const rounds = async (client: Client, name: string, also: string) => {
      for (let round = 0; round < 5; round += 1) await client.using(name, () => {}, { also: [also] });
    };
    await Promise.all([
      rounds(connect(t, one.url), "circle/a", "circle/b"),
      rounds(connect(t, two.url), "circle/b", "circle/a"),
    ]);
  });

  test("leave none behind when the wait is given up", async (t) => {
    const client = connect(t, broker.url);
    const held = await acquire(client, "wait/z");
    const leave = new AbortController();
    const waiting = client.lock("wait/a", { also: ["wait/z"], signal: leave.signal });
    await eventually("it waits", async () => (await state(client, "wait/a")) === "HELD");
    leave.abort();
    await assert.rejects(waiting, { name: "AbortError" });
    await eventually("the other is free", async () => (await state(client, "wait/a")) === "FREE");
    held.check();
  });

  test("are all lost when one is", async (t) => {
    const [one, two] = [connect(t, broker.url, { ttl: 5000 }), connect(t, broker.url)];
    const lock = await acquire(one, "lost/b", { also: ["lost/c", "lost/a"] });
    await two.release("lost/c", lock.locks[1]?.lockId ?? "");
    await eventually("it is lost", () => lock.lost !== undefined);
    await loses(() => lock.check(), lock.lost?.reason ?? "");
    // Its holder may still believe in it for a moment, so nobody else gets it.
    assert.equal(await two.tryLock("lost/a"), null);
    await loses(lock.release(), lock.lost?.reason ?? "");
    const later = await acquire(two, "lost/a", { also: ["lost/b"] });
    assert.ok(later.fencingToken > (lock.locks[2]?.fencingToken ?? Number.NaN));
  });

  test("move together", async (t) => {
    const [first, second] = await startPair(t);
    const [client, other] = [connect(t, [first.url, second.url]), connect(t, second.url)];
    const names = ["moves/b", "moves/a"];
    const lock = await acquire(client, "moves/b", { also: ["moves/a"], keepOnDisconnect: true });
    const before = lock.locks;
    first.signal("SIGTERM");
    await eventually("it has moved", () => lock.lockId !== before[0]?.lockId);
    lock.check();
    for (const [at, held] of lock.locks.entries()) {
      assert.notEqual(held.lockId, before[at]?.lockId);
      assert.deepEqual([held.name, held.fencingToken], [before[at]?.name, before[at]?.fencingToken]);
      assert.ok((await other.get(held.name, { lockId: held.lockId })).remaining > 0);
    }
    await lock.release();
    assert.deepEqual(await states(other, names), ["FREE", "FREE"]);
  });

  test("are released where no stream is left", async (t) => {
    const [first, second] = await startPair(t);
    const [client, other] = [connect(t, [first.url, second.url]), connect(t, second.url)];
    const lock = await acquire(client, "gone/b", { also: ["gone/a"] });
    first.kill();
    await first.exited;
    await lock.release();
    assert.deepEqual(await states(other, ["gone/b", "gone/a"]), ["FREE", "FREE"]);
  });

  test("are refused before anything is sent where they do not fit", async (t) => {
    // Nobody is there.
    const nobody = connect(t, "127.0.0.1:9");
    const wrong: [unknown, RegExp][] = [
      [Array.from({ length: 16 }, (_, at) => String(at)), /16 other locks .*: take at most 15/],
      [["x".repeat(1025)], /has 1025 bytes/],
      [Array.from({ length: 4 }, () => "x".repeat(1000)), /too long for one message/],
      [["\ud800"], /no valid Unicode/],
      ["x", /an array of names, and not "x"/],
      [[1], /a string, and not 1/],
      [null, /an array of names/],
    ];
    for (const ask of ["lock", "tryLock"] as const) {
      for (const [also, why] of wrong) {
        const { message } = await fails(nobody[ask]("wrong", { also: also as string[] }), "INVALID");
        assert.match(message, why);
      }
      const long = { also: ["x", "y", "z"], owner: "o".repeat(900) };
      assert.match((await fails(nobody[ask]("n".repeat(1024), long), "INVALID")).message, /too long for one message/);
    }
    const client = connect(t, broker.url);
    const kept = await acquire(client, "wrong/kept");
    // A broker says these, and the Session goes on.
    await fails(client.lock("wrong/a", { also: ["wrong/a"] }), "INVALID");
    await fails(client.lock("wrong/a", { also: ["wrong/b", "wrong/b"] }), "INVALID");
    await fails(client.lock("wrong/a", { also: ["wrong/b"], minHold: 1000 }), "INVALID");
    await fails(client.lock("wrong/a", { also: [""] }), "INVALID");
    const longest = Array.from({ length: 16 }, (_, at) => at.toString(16).padStart(128, "n"));
    const lock = await acquire(client, longest[0] ?? "", { also: longest.slice(1) });
    assert.deepEqual(
      lock.locks.map(({ name }) => name),
      longest,
    );
    kept.check();
  });
});

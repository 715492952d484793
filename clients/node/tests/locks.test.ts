/** What a client does while nothing fails. All tests share a broker: what one does there does not concern another. */
import assert from "node:assert/strict";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Client, type Lock, LostError } from "../src/index.js";
import type { GetLockResponse } from "../src/v1/index.js";
import { GetLockResponse_State } from "../src/v1/index.js";
import { type Broker, place, startBroker, stub } from "./support/broker.js";
import { aborted, acquire, Child, connect, fails, loses, refused, state, thrown } from "./support/client.js";
import { eventually, fileScope, type Scope } from "./support/process.js";

const scope = fileScope();
let broker: Broker;
before(async () => {
  broker = await startBroker(scope);
});

for (const worker of [true, false]) {
  describe(worker ? "with a thread" : "without a thread", { concurrency: 4 }, () => {
    const lock = (name: string) => `${name} ${worker}`;

    test("a lock excludes others and is released", async (t) => {
      const name = lock("excludes");
      const one = connect(t, broker.url, { owner: "one", worker });
      const two = connect(t, broker.url, { worker });
      const held = await acquire(one, name);
      const { reason, owner, lock: about } = await refused(two, name);
      assert.deepEqual([reason, owner, about], ["HELD", "one", name]);
      assert.equal(await two.tryLock(name), null);
      held.check();
      assert.equal(held.ttl, 15_000);
      assert.ok(held.remaining() > 6000 && held.remaining() <= 12_000, `${held.remaining()}`);
      assert.deepEqual([held.name, held.owner, held.lockId.length], [name, "one", 36]);
      assert.ok(!String(held).includes(held.lockId));
      const info = await two.get(name, { lockId: held.lockId });
      assert.deepEqual([info.state, info.owner], ["HELD", "one"]);
      assert.ok(info.remaining > 6000 && info.remaining <= 13_000);
      assert.equal(await held.release(), true);
      await fails(() => held.check(), "RELEASED");
      assert.equal(held.signal.reason.code, "RELEASED");
      assert.deepEqual([held.remaining(), held.lost], [0, undefined]);
      const again = await acquire(two, name);
      assert.ok(again.fencingToken > held.fencingToken);
      await again.release();
      assert.equal(await state(one, name), "FREE");
    });

    test("a wait ends after its limit", async (t) => {
      const name = lock("max wait");
      const client = connect(t, broker.url, { worker });
      await acquire(client, name);
      const begun = performance.now();
      const error = await fails(client.lock(name, { wait: 300 }), "NOT_ACQUIRED");
      assert.equal(error.reason, "MAX_WAIT");
      const took = performance.now() - begun;
      assert.ok(took >= 250 && took < 3000, `it took ${took} ms`);
    });

    test("a cancelled wait leaves the queue at once", async (t) => {
      const name = lock("cancelled");
      const client = connect(t, broker.url, { worker });
      await acquire(client, name);
      const abort = new AbortController();
      const waiting = thrown(client.lock(name, { signal: abort.signal }));
      await place(t, broker, name, 2);
      const why = new Error("the user has left");
      abort.abort(why);
      assert.equal(await waiting, why);
      await place(t, broker, name, 1);
      assert.equal(await thrown(client.lock(name, { signal: abort.signal })), why);
    });

    test("a grant that comes with the cancel is undone", async (t) => {
      const name = lock("undone");
      const client = connect(t, broker.url, { worker });
      // Connects.
      await (await acquire(client, name)).release();
      for (let round = 0; round < 30; round += 1) {
        const abort = new AbortController();
        const asking = client.lock(name, { signal: abort.signal }).catch(() => undefined);
        await sleep(round % 4);
        abort.abort();
        await (await asking)?.release();
        await (await acquire(client, name)).release();
      }
      assert.equal(await state(client, name), "FREE");
    });

    test("a thousand locks on one client", async (t) => {
      const client = connect(t, broker.url, { worker });
      const names = Array.from({ length: 1000 }, (_, number) => lock(`thousand ${number}`));
      const locks = await Promise.all(names.map((name) => acquire(client, name)));
      for (const held of locks) held.check();
      assert.equal(new Set(locks.map(({ lockId }) => lockId)).size, 1000);
      await Promise.all(locks.map((held) => held.release()));
    });

    test("those of one client exclude each other, in the order in which they asked", async (t) => {
      const name = lock("one by one");
      const client = connect(t, broker.url, { worker });
      let inside = 0;
      const order: number[] = [];
      const work = async (number: number) => {
        const held = await acquire(client, name);
        inside += 1;
        assert.equal(inside, 1);
        order.push(number);
        await sleep(1);
        inside -= 1;
        await held.release();
      };
      const numbers = Array.from({ length: 20 }, (_, number) => number);
      await Promise.all(numbers.map(work));
      assert.deepEqual(order, numbers);
    });

    test("close releases everything and ends what waits", async (t) => {
      const name = lock("closed");
      const client = connect(t, broker.url, { worker });
      const observer = connect(t, broker.url);
      const held = await acquire(client, name);
      const blocker = await acquire(observer, `${name}, waited for`);
      const waiting = thrown(client.lock(`${name}, waited for`));
      await place(t, broker, `${name}, waited for`, 2);
      await Promise.all([client.close(), client.close()]);
      assert.equal(((await waiting) as { code: string }).code, "CLOSED");
      await fails(() => held.check(), "CLOSED");
      assert.equal(held.signal.reason.code, "CLOSED");
      assert.equal(await held.release(), false);
      assert.equal(await state(observer, name), "FREE");
      await place(t, broker, `${name}, waited for`, 1);
      await blocker.release();
      await fails(client.tryLock(name), "CLOSED");
      await fails(client.get(name), "CLOSED");
    });

    test("the process ends by itself when nothing is held", async (t) => {
      const child = new Child(t, broker.url, { WORKER: String(worker) });
      await child.tell(`lock ${worker}-ends`);
      await child.tell("release");
      await child.tell("end");
      assert.equal(await child.exited, 0);
    });
  });
}

describe("locks", { concurrency: 4 }, () => {
  // As in a program of a user's, one for all.
  let client: Client;
  before(() => {
    client = connect(scope, broker.url);
  });

  test("a lock that lingers is refused", async () => {
    await (await acquire(client, "lingers", { linger: 3000 })).release();
    assert.equal((await refused(client, "lingers")).reason, "LINGERING");
    assert.equal(await state(client, "lingers"), "LINGERING");
    await (await acquire(client, "lingers")).release();
  });

  test("a release may be called again and releases no other grant", async () => {
    const held = await acquire(client, "twice");
    const released = await Promise.all(Array.from({ length: 8 }, () => held.release()));
    assert.deepEqual(released, [true, ...Array(7).fill(false)]);
    const other = await acquire(client, "twice");
    assert.equal(await held.release(), false);
    other.check();
  });

  test("an id of a grant that has ended changes nothing", async () => {
    const held = await acquire(client, "stale");
    const stale = held.lockId;
    await held.release();
    assert.equal(await client.release("stale", stale), "NOT_HELD");
    await acquire(client, "stale");
    assert.equal(await client.release("stale", stale), "HELD_BY_ANOTHER");
    await fails(client.release("stale", "no id"), "INVALID");
    assert.equal((await fails(client.adopt("stale", stale), "NOT_ACQUIRED")).reason, "NOT_REATTACHABLE");
    await fails(client.adopt("stale", ""), "INVALID");
  });

  test("the end of the scope releases, and throws what was thrown in it", async () => {
    const failure = new Error("the work failed");
    const work = async () => {
      await refused(client, "scope");
      throw failure;
    };
    assert.equal(await thrown(client.using("scope", work)), failure);
    assert.equal(await state(client, "scope"), "FREE");
    assert.equal(await client.using("scope", ({ fencingToken }) => typeof fencingToken), "number");
    const scope = async () => {
      await using held = await acquire(client, "scope");
      await using none = await client.tryLock("scope");
      assert.equal(none, null);
      held.check();
      throw failure;
    };
    assert.equal(await thrown(scope), failure);
    assert.equal(await state(client, "scope"), "FREE");
  });

  test("a loss comes out of the scope, once", async () => {
    const lose = async (held: Lock) => {
      // Not read after its abort: that would count as hearing of the loss.
      const { signal } = held;
      await client.release(held.name, held.lockId);
      await aborted(signal);
    };
    await loses(client.using("lost scope", lose), "RELEASED");
    await loses(async () => {
      await using held = await acquire(client, "lost scope");
      await lose(held);
      // Goes on, and does not look.
      await sleep(50);
    }, "RELEASED");
    // Does not throw again what `check` has thrown.
    const checked = async () => {
      await using held = await acquire(client, "lost scope");
      await lose(held);
      held.check();
    };
    await loses(checked, "RELEASED");
  });

  test("hold runs the work anew after a loss", async () => {
    const tokens: number[] = [];
    const work = async (held: Lock) => {
      tokens.push(held.fencingToken);
      if (tokens.length === 3) return "done";
      await client.release(held.name, held.lockId);
      await aborted(held.signal);
      held.check();
      return assert.fail();
    };
    assert.equal(await client.hold("leader", work), "done");
    assert.equal(new Set(tokens).size, 3);
    const failure = new Error("the work failed");
    const failing = client.hold("leader", () => Promise.reject(failure));
    assert.equal(await thrown(failing), failure);
    assert.equal(await state(client, "leader"), "FREE");
  });

  test("the loss comes out of using, whatever an aborted function throws for it", async () => {
    const work = async (held: Lock) => {
      await client.release(held.name, held.lockId);
      await sleep(20_000, undefined, { signal: held.signal });
    };
    const error = await thrown(client.using("slept", work));
    assert.ok(error instanceof LostError, String(error));
  });

  test("the signal of the call aborts the lock's, and the lock stays", async () => {
    const abort = new AbortController();
    const held = await client.lock("signal", { signal: abort.signal });
    const why = new Error("stop");
    abort.abort(why);
    assert.equal(held.signal.reason, why);
    held.check();
    await refused(client, "signal");
    await held.release();
  });

  test("one signal for many locks gives no warning", async (t) => {
    const warnings = noteWarnings(t);
    const { signal } = new AbortController();
    const names = Array.from({ length: 50 }, (_, number) => `many ${number}`);
    await Promise.all(names.map((name) => client.lock(name, { signal })));
    await sleep(10);
    assert.deepEqual(
      warnings.filter((warning) => warning.includes("MaxListeners")),
      [],
    );
  });

  test("a release by id is a loss", async (t) => {
    const held = await acquire(client, "by id");
    assert.equal(await connect(t, broker.url).release("by id", held.lockId), "RELEASED");
    await aborted(held.signal);
    assert.equal(held.signal.reason, held.lost);
    await loses(() => held.check(), "RELEASED");
    await loses(held.release(), "RELEASED");
    assert.deepEqual([held.remaining(), held.expiresIn()], [0, 0]);
  });

  test("adopt takes a lock over from another process", async (t) => {
    const held = await acquire(client, "adopted");
    const child = new Child(t, broker.url);
    const [, , token] = (await child.tell(`adopt adopted ${held.lockId}`)).split(" ");
    assert.equal(Number(token), held.fencingToken);
    await aborted(held.signal);
    await loses(() => held.check(), "TAKEN_OVER");
    assert.equal(await child.tell("check"), "ok check");
  });

  test("bad input is refused and says what", async (t) => {
    const empty = await fails(client.tryLock(""), "INVALID");
    assert.equal(empty.reason, "INVALID_FIELD");
    await fails(client.lock("x".repeat(129)), "INVALID");
    await fails(client.tryLock("bad owner", { owner: "a\nb" }), "INVALID");
    await fails(client.tryLock("bad linger", { linger: -1 }), "INVALID");
    await fails(client.lock("bad poll", { pollInterval: 7_200_000 }), "INVALID");
    await fails(client.get("\0"), "INVALID");
    await fails(connect(t, broker.url, { ttl: 1000 }).tryLock("bad ttl"), "INVALID");
    for (const wait of [Number.NaN, "10", null, -1, Number.NEGATIVE_INFINITY]) {
      const error = await fails(client.lock("bad wait", { wait: wait as number }), "INVALID");
      assert.match(error.message, /"bad wait": wait is to be (a number of milliseconds|0 or more), and not /);
    }
    for (const bad of [Number.POSITIVE_INFINITY, Number.NaN, -1]) {
      await fails(client.lock("bad linger", { linger: bad }), "INVALID");
      await fails(client.lock("bad poll", { pollInterval: bad }), "INVALID");
    }
    for (const name of [undefined, 7, "\ud800"]) await fails(client.tryLock(name as string), "INVALID");
    // The client goes on.
    await (await client.lock("good", { wait: Number.POSITIVE_INFINITY })).release();
  });

  test("a text that no broker takes is not sent, and costs no other lock anything", async (t) => {
    const careful = connect(t, broker.url);
    const held = await acquire(careful, "beside bad texts");
    const { lockId } = held;
    const long = "ä".repeat(600);
    const asks: Record<string, () => Promise<unknown>> = {
      name: () => careful.lock(long),
      owner: () => careful.tryLock("bad text", { owner: long }),
      lockId: () => careful.adopt("bad text", long),
    };
    for (const [what, ask] of Object.entries(asks)) {
      const error = await fails(ask, "INVALID");
      assert.match(error.message, new RegExp(`${what} has 1200 bytes.* at most 128 bytes`));
      assert.equal(error.reason, undefined);
    }
    await fails(careful.get(long), "INVALID");
    await fails(careful.get("bad text", { lockId: long }), "INVALID");
    await fails(careful.release(long, "id"), "INVALID");
    await fails(careful.release("bad text", long), "INVALID");
    await fails(async () => connect(t, broker.url, { owner: long }), "INVALID");
    // Below that, the broker says no. All texts together are no message that is too large.
    const most = "x".repeat(1024);
    assert.equal((await fails(careful.tryLock(most, { owner: most }), "INVALID")).reason, "INVALID_FIELD");
    await fails(careful.adopt(most, most, { owner: most }), "INVALID");
    await sleep(6000);
    held.check();
    // It has not moved, and has been confirmed since.
    assert.equal(held.lockId, lockId);
    assert.ok(held.remaining() > 7000, `${held.remaining()}`);
  });

  test("times beyond all bounds do no harm", async (t) => {
    const careful = connect(t, broker.url);
    const held = await acquire(careful, "beside long times");
    for (const wait of [Number.MAX_VALUE, 1e300, Number.POSITIVE_INFINITY]) {
      await (await careful.lock("long wait", { wait })).release();
    }
    const ask = careful.lock("beside long times", { wait: Number.MAX_VALUE });
    await place(t, broker, "beside long times", 2);
    await fails(careful.lock("long linger", { linger: Number.MAX_VALUE }), "INVALID");
    await fails(careful.lock("long poll", { pollInterval: Number.MAX_VALUE }), "INVALID");
    await fails(connect(t, broker.url, { ttl: Number.MAX_VALUE }).tryLock("long ttl"), "INVALID");
    held.check();
    await held.release();
    await (await ask).release();
  });

  test("a signal of null is none, and what is no signal is refused", async () => {
    await (await client.lock("no signal", { signal: null })).release();
    await client.get("no signal", { signal: null });
    assert.equal(await client.using("no signal", () => 1, { signal: null }), 1);
    for (const signal of ["stop", {}, 7, new AbortController()]) {
      const error = await fails(client.lock("no signal", { signal: signal as AbortSignal }), "INVALID");
      assert.match(error.message, /signal is to be an AbortSignal/);
      await fails(client.get("no signal", { signal: signal as AbortSignal }), "INVALID");
    }
    assert.equal(await state(client, "no signal"), "FREE");
  });

  test("nothing is left of a lock's time after its release", async () => {
    const held = await acquire(client, "released time");
    assert.ok(held.expiresIn() > 0);
    const releasing = held.release();
    assert.deepEqual([held.expiresIn(), held.remaining()], [0, 0]);
    await releasing;
    assert.deepEqual([held.expiresIn(), held.remaining()], [0, 0]);
  });

  test("a loss that the scope has seen by the signal comes out of it once", async () => {
    const lose = (held: Lock) => client.release(held.name, held.lockId);
    // The signal ends what is under way.
    const waiting = async () => {
      await using held = await acquire(client, "seen loss");
      void lose(held);
      await new Promise((_, reject) => {
        held.signal.addEventListener("abort", ({ target }) => reject((target as AbortSignal).reason));
      });
    };
    await loses(waiting, "RELEASED");
    const fetching = async () => {
      await using held = await acquire(client, "seen loss");
      const server = await mute();
      try {
        const fetched = fetch(server.url, { signal: held.signal });
        void lose(held);
        await fetched;
      } finally {
        server.close();
      }
    };
    await loses(fetching, "RELEASED");
    // The signal is read after its abort.
    const looking = async () => {
      await using held = await acquire(client, "seen loss");
      await lose(held);
      await aborted(held.signal);
      await sleep(50);
      held.signal.throwIfAborted();
    };
    await loses(looking, "RELEASED");
    // Nobody has looked: a listener that is left over from a step that is done is no witness.
    const unseen = async () => {
      await using held = await acquire(client, "seen loss");
      held.signal.addEventListener("abort", () => {});
      await lose(held);
      await eventually("it is lost", () => held.lost !== undefined);
      await sleep(50);
    };
    await loses(unseen, "RELEASED");
  });

  test("a lock that is forgotten is held, and told of", async (t) => {
    const forgetful = connect(t, broker.url);
    const warnings = noteWarnings(t);
    await (async () => {
      await acquire(forgetful, "forgotten");
    })();
    await eventually("the lock is collected", () => {
      globalThis.gc?.();
      return warnings.some((warning) => warning.includes('"forgotten" is held and nobody can release it'));
    });
    // Its work may go on, so it is held.
    await refused(client, "forgotten");
    await forgetful.close();
    assert.equal(await state(client, "forgotten"), "FREE");
  });

  test("our stubs can be used beside the client", async (t) => {
    await acquire(client, "beside stubs");
    const bare = stub(t, broker);
    const answer = await new Promise<GetLockResponse>((resolve, reject) => {
      const done = (error: Error | null, value: GetLockResponse) => (error ? reject(error) : resolve(value));
      bare.GetLock?.({ name: "beside stubs" }, done);
    });
    assert.equal(answer.state, GetLockResponse_State.HELD);
  });
});

/** Starts a server that accepts and never answers. */
async function mute(): Promise<{ url: string; close(): void }> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => void sockets.push(socket)).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const close = () => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}

/** Returns the warnings from now on. */
function noteWarnings(t: Scope): string[] {
  const warnings: string[] = [];
  const note = (warning: Error) => warnings.push(String(warning));
  process.on("warning", note);
  t.after(() => void process.off("warning", note));
  return warnings;
}

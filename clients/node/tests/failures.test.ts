/** What a client does when brokers, networks, stores and processes fail. */
import assert from "node:assert/strict";
import { createServer, connect as dial } from "node:net";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Lock } from "../src/index.js";
import { folder, place, startBroker, startMemcached, startPair, startStore } from "./support/broker.js";
import { aborted, acquire, Child, connect, fails, loses, refused, state } from "./support/client.js";
import { eventually, Program, type Scope } from "./support/process.js";
import { startProxy } from "./support/proxy.js";

/** The shortest ttl that a broker grants. */
const SHORT = 5000;

/** Waits until a lock is held under another id. */
async function moves(lock: Lock, id: string): Promise<void> {
  await eventually("the lock has moved", () => {
    assert.equal(lock.lost, undefined);
    return lock.lockId !== id;
  });
  lock.check();
}

describe("a process that ends frees its locks at once", { concurrency: 4 }, () => {
  const ends = {
    "by SIGKILL": (child: Child) => child.kill(),
    "by SIGTERM": (child: Child) => child.signal("SIGTERM"),
    "by process.exit": (child: Child) => child.write("exit"),
    "by an uncaught exception": (child: Child) => child.write("throw"),
  };
  for (const [how, end] of Object.entries(ends)) {
    test(how, async (t) => {
      const broker = await startBroker(t);
      const child = new Child(t, broker.url);
      await child.tell("lock ended");
      const client = connect(t, broker.url);
      await refused(client, "ended");
      const begun = performance.now();
      end(child);
      await (await acquire(client, "ended")).release();
      const took = performance.now() - begun;
      assert.ok(took < 8000, `it was free after ${took} ms`);
    });
  }
});

describe("brokers that fail", { concurrency: 4 }, () => {
  test("locks move when a broker is killed", async (t) => {
    const [one, two] = await startPair(t);
    const client = connect(t, [one.url, two.url]);
    const names = Array.from({ length: 100 }, (_, number) => `moved ${number}`);
    const locks = await Promise.all(names.map((name) => acquire(client, name)));
    const ids = new Set(locks.map(({ lockId }) => lockId));
    one.kill();
    await eventually("the locks have moved", () => locks.every(({ lockId }) => !ids.has(lockId)));
    for (const lock of locks) lock.check();
    await refused(connect(t, two.url), "moved 7");
    await Promise.all(locks.map((lock) => lock.release()));
  });

  test("locks and waiters move when a broker drains", async (t) => {
    const [one, two] = await startPair(t);
    const client = connect(t, `${one.url},${two.url}`);
    const lock = await acquire(client, "drained");
    const blocker = await acquire(connect(t, two.url), "drained, waited for");
    const waiting = client.lock("drained, waited for");
    await place(t, one, "drained, waited for", 2);
    const id = lock.lockId;
    one.signal("SIGTERM");
    await moves(lock, id);
    // It has nobody left to wait for.
    assert.equal(await one.exited, 0);
    await lock.release();
    await blocker.release();
    await (await waiting).release();
  });

  test("a half-open connection is left", async (t) => {
    const [one, two] = await startPair(t);
    const proxy = await startProxy(t, one);
    const lock = await acquire(connect(t, [proxy.url, two.url]), "half-open");
    const id = lock.lockId;
    proxy.hole();
    await moves(lock, id);
    await lock.release();
  });

  test("a reset at one end moves the locks", async (t) => {
    const [one, two] = await startPair(t);
    const proxy = await startProxy(t, one);
    const lock = await acquire(connect(t, [proxy.url, two.url], { ttl: SHORT }), "reset");
    const id = lock.lockId;
    proxy.resetClients();
    await moves(lock, id);
    await lock.release();
  });

  test("hold begins anew when its work finds the stream broken", async (t) => {
    const [one] = await startPair(t);
    const proxy = await startProxy(t, one);
    let runs = 0;
    const work = async (lock: Lock) => {
      if (++runs === 2) return "done";
      proxy.hole();
      proxy.resetClients();
      try {
        for (;;) {
          lock.check();
          await sleep(1);
        }
      } finally {
        proxy.open();
      }
    };
    assert.equal(await connect(t, proxy.url).hold("led", work), "done");
    assert.equal(runs, 2);
  });

  test("a memcached that restarts loses no lock", async (t) => {
    const { memcached, port, args } = await startStore(t);
    const lock = await acquire(connect(t, (await startBroker(t, ...args)).url), "restarted");
    memcached.kill();
    await memcached.exited;
    await startMemcached(t, port);
    const begun = performance.now();
    await eventually("a renewal comes after the restart", () => {
      lock.check();
      return performance.now() - begun > 13_000;
    });
    await lock.release();
  });

  test("without any broker a lock is lost in time", async (t) => {
    const broker = await startBroker(t);
    const client = connect(t, broker.url, { ttl: SHORT });
    const lock = await acquire(client, "lost");
    const other = await acquire(client, "released");
    broker.kill();
    await eventually("the guard sees that the stream is broken", () => lock.remaining() === 0);
    await fails(() => lock.check(), "UNAVAILABLE");
    assert.ok(lock.expiresIn() > 0 && !lock.signal.aborted);
    const releasing = fails(other.release(), "UNAVAILABLE");
    await aborted(lock.signal);
    assert.equal(lock.expiresIn(), 0);
    await loses(() => lock.check(), "EXPIRED");
    await loses(lock.release(), "EXPIRED");
    await releasing;
    const error = await fails(client.tryLock("lost"), "UNAVAILABLE");
    assert.ok(error.message.includes(broker.url), error.message);
  });

  test("a release is repeated at another broker", async (t) => {
    const [one, two] = await startPair(t);
    const proxy = await startProxy(t, one);
    const lock = await acquire(connect(t, [proxy.url, two.url]), "released elsewhere");
    // The broker gets the release, or does not: nothing comes back.
    proxy.hole();
    const releasing = lock.release();
    setTimeout(() => proxy.resetClients(), 100);
    await releasing;
    // The one that was just left is not asked first: it would cost its share of the answer timeout.
    assert.equal(proxy.connections, 1);
    await (await acquire(connect(t, two.url), "released elsewhere")).release();
  });

  test("a broker that accepts and says nothing costs its share", async (t) => {
    const broker = await startBroker(t);
    const mute = await listen(t);
    const client = connect(t, [mute, broker.url], { worker: false });
    // Without the share, the answer timeout would be over.
    assert.equal(await (await client.tryLock("mute"))?.release(), true);
    assert.equal(await state(client, "mute"), "FREE");
  });

  test("an address that swallows packets costs its share, and nothing is left of it", async (t) => {
    const broker = await startBroker(t);
    const swallows = await fullListener(t);
    for (const worker of [true, false]) {
      const child = new Child(t, `${swallows},${broker.url}`, { WORKER: String(worker) });
      const begun = performance.now();
      assert.match(await child.tell(`lock swallowed-${worker}`), /^ok/);
      await child.tell("release");
      await child.tell("end");
      assert.equal(await child.exited, 0);
      // The system would try for two minutes.
      assert.ok(performance.now() - begun < 20_000);
    }
  });

  test("nobody listens", async (t) => {
    for (const worker of [true, false]) {
      const client = connect(t, "127.0.0.1:9", { answerTimeout: 1000, worker });
      for (const ask of [() => client.tryLock("nobody"), () => client.get("nobody")]) {
        const error = await fails(ask, "UNAVAILABLE");
        assert.match(error.message, /127\.0\.0\.1:9: connect ECONNREFUSED/);
      }
      const begun = performance.now();
      await client.close();
      assert.ok(performance.now() - begun < 3000);
    }
  });
});

describe("processes that stand still", { concurrency: 4 }, () => {
  test("a stopped process finds its lock lost", async (t) => {
    const broker = await startBroker(t);
    const child = new Child(t, broker.url, { TTL: String(SHORT) });
    await child.tell("lock stopped");
    child.signal("SIGSTOP");
    // Until nobody has it any more.
    const other = await acquire(connect(t, broker.url), "stopped");
    child.signal("SIGCONT");
    assert.match(await child.tell("check"), /lost/);
    await other.release();
  });

  test("a blocked loop keeps its lock, and check knows it", async (t) => {
    const broker = await startBroker(t);
    const child = new Child(t, broker.url, { TTL: String(SHORT) });
    await child.tell("lock busy");
    const spinning = child.tell("spin 7000");
    const error = await fails(connect(t, broker.url).lock("busy", { wait: 6500 }), "NOT_ACQUIRED");
    assert.equal(error.reason, "MAX_WAIT");
    assert.equal(await spinning, "ok spin");
  });

  test("without a thread a blocked loop loses its lock, and check knows it", async (t) => {
    const broker = await startBroker(t);
    const child = new Child(t, broker.url, { TTL: String(SHORT), WORKER: "false" });
    await child.tell("lock busy");
    assert.match(await child.tell("spin 7000"), /^error spin LostError/);
  });
});

describe("surroundings", { concurrency: 4 }, () => {
  test("proxy variables are not heeded", async (t) => {
    const broker = await startBroker(t);
    const names = ["http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"];
    const env = Object.fromEntries(names.map((name) => [name, "http://127.0.0.1:9"]));
    assert.match(await new Child(t, broker.url, env).tell("lock proxied"), /^ok/);
  });

  test("the environment says where the brokers are", async (t) => {
    const broker = await startBroker(t);
    const child = new Child(t, "", { LOCKBROKER_SERVER: `127.0.0.1:9,${broker.url}` });
    assert.match(await child.tell("lock environment"), /^ok/);
    const empty = new Child(t, "", { LOCKBROKER_SERVER: "" });
    assert.equal(await empty.exited, 1);
    assert.match(empty.text, /LOCKBROKER_SERVER is empty/);
  });

  test("a Unix socket, whatever its name", async (t) => {
    const socket = `unix:${folder(t)}/l?b%2F #.sock`;
    await startBroker(t, "--listen", socket);
    for (const worker of [true, false]) {
      const client = connect(t, socket, { worker });
      const lock = await acquire(client, "socket");
      assert.equal(await state(client, "socket"), "HELD");
      await lock.release();
    }
  });
});

/** Listens, accepts, and never says anything. */
async function listen(t: Scope): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  t.after(() => void server.close());
  return addressOf(server.address());
}

/** Listens with a queue that is full, so that the system drops what would begin a connection. */
async function fullListener(t: Scope): Promise<string> {
  const code = `
    const server = require("node:net").createServer();
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log("listening", server.address().port));`;
  const program = new Program(t, process.execPath, ["--eval", code]);
  const port = await program.line((line) => /^listening (\d+)$/.exec(line)?.[1]);
  program.signal("SIGSTOP");
  for (let isFull = false; !isFull; ) {
    const socket = dial(Number(port), "127.0.0.1").on("error", () => {});
    t.after(() => void socket.destroy());
    const connected = new Promise((resolve) => socket.once("connect", () => resolve(false)));
    isFull = (await Promise.race([connected, sleep(500).then(() => true)])) as boolean;
  }
  return `127.0.0.1:${port}`;
}

function addressOf(address: unknown): string {
  return `127.0.0.1:${(address as { port: number }).port}`;
}

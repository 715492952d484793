/** What the client's thread and the holder's thread share, and the end of the one. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Worker } from "node:worker_threads";
import { Belief } from "../src/belief.js";
import { now } from "../src/clock.js";
import { parseEndpoints } from "../src/endpoint.js";
import type { Command, Notice } from "../src/engine/protocol.js";
import { InlineHost, ThreadHost } from "../src/host.js";
import { startBroker } from "./support/broker.js";
import { acquire, connect, refused } from "./support/client.js";
import { eventually, Program } from "./support/process.js";

const held = { lockId: "id", ttl: 15_000, isBroken: false };

describe("the clock", () => {
  test("never goes back, and keeps step with the system's uptime", () => {
    // This thread may be held up between two looks at a clock, so each look of ours has one of the other before and after it.
    const look = () => ({ before: performance.now(), here: now(), after: performance.now() });
    const began = look();
    let last = began;
    while (last.before < began.after + 300) {
      const at = look();
      assert.ok(at.here >= last.here);
      last = at;
    }
    const passed = last.here - began.here;
    const [least, most] = [last.before - began.after, last.after - began.before];
    // A step of 10 ms of the uptime may show at once.
    assert.ok(passed > least - 1 && passed < most + 25, `${passed} ms, not ${least} to ${most}`);
  });

  test("is the same in all threads", async () => {
    const clock = new URL("../src/clock.js", import.meta.url).href;
    const code = `
      const { parentPort } = require("node:worker_threads");
      import(${JSON.stringify(clock)}).then(({ now }) => parentPort.on("message", () => parentPort.postMessage(now())));`;
    const worker = new Worker(code, { eval: true });
    for (let round = 0; round < 5; round += 1) {
      const before = now();
      worker.postMessage("what time is it?");
      const there = await new Promise<number>((resolve) => worker.once("message", resolve));
      assert.ok(there > before - 15 && there < now() + 15, `${before} ${there} ${now()}`);
    }
    await worker.terminate();
  });
});

describe("a belief", () => {
  test("ends by the clock, and nothing revives it", async () => {
    const mine = new Belief();
    const engine = new Belief(mine.memory);
    engine.begin({ ...held, until: now() + 50 });
    assert.equal(mine.look().kind, "valid");
    await eventually("it is over", () => mine.look().kind === "over");
    assert.equal(engine.publish({ ...held, until: now() + 10_000 }), false);
    assert.deepEqual(mine.look(), { kind: "over", reason: "EXPIRED" });
  });

  test("is broken with its stream, and whole again after the reattach", () => {
    const mine = new Belief();
    const engine = new Belief(mine.memory);
    const until = now() + 10_000;
    engine.begin({ ...held, until });
    assert.ok(engine.publish({ ...held, until, isBroken: true }));
    const look = mine.look();
    assert.ok(look.kind === "broken" && Math.abs(look.until - until) < 0.01);
    assert.ok(engine.publish({ ...held, until: until + 1 }));
    assert.equal(mine.look().kind, "valid");
    for (const reason of ["TAKEN_OVER", "GONE"] as const) engine.end(reason);
    assert.deepEqual(mine.look(), { kind: "over", reason: "TAKEN_OVER" });
  });
});

describe("the thread of a client", { concurrency: true }, () => {
  for (const Made of [ThreadHost, InlineHost]) {
    test(`${Made.name}: a fault takes the locks along, and the holder knows it`, async (t) => {
      const broker = await startBroker(t);
      const notices: Notice[] = [];
      const failures: string[] = [];
      const listener = {
        notice: (notice: Notice) => void notices.push(notice),
        failed: (why: string) => void failures.push(why),
        exiting: () => {},
      };
      const host = new Made({ endpoints: parseEndpoints(broker.url, false), files: {}, answerTimeout: 5000 }, listener);
      host.keepAlive(true);
      const belief = new Belief();
      const acquire = { key: 1, spec: { name: "fault", owner: "" } };
      host.post({ kind: "acquire", acquire, belief: belief.memory });
      await eventually("it is granted", () => notices.length > 0);
      assert.equal(belief.look().kind, "valid");
      // It is not made for that.
      host.post({ kind: "acquire" } as Command);
      if (host instanceof InlineHost) await eventually("it is over", () => belief.look().kind === "over");
      // Before any message is heard of, since the loop may be blocked.
      for (const end = performance.now() + 10_000; belief.look().kind === "valid" && performance.now() < end; );
      assert.deepEqual(belief.look(), { kind: "over", reason: "GONE" });
      await eventually("the client hears of it", () => failures.length > 0);
      assert.match(String(failures), /the (thread|engine) of the client has ended: TypeError/);
      const lock = await connect(t, broker.url, { worker: false }).lock("fault", { wait: 10_000 });
      await lock.release();
      host.end();
    });
  }

  test("knows of a loss while the loop is blocked", async (t) => {
    const broker = await startBroker(t);
    const lock = await acquire(connect(t, broker.url), "blocked");
    const other = connect(t, broker.url);
    await refused(other, "blocked");
    const releasing = other.release("blocked", lock.lockId);
    // Nothing is handled here meanwhile.
    for (const end = performance.now() + 10_000; lock.remaining() > 0 && performance.now() < end; );
    assert.equal(lock.signal.aborted, true);
    assert.equal(lock.lost?.reason, "RELEASED");
    assert.equal(await releasing, "RELEASED");
  });
});

test("a lock is no longer believed in when the process exits", async (t) => {
  const broker = await startBroker(t);
  const script = `
    import { connect } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
    const lock = await connect(${JSON.stringify(broker.url)}).lock("exit");
    process.on("exit", () => {
      try {
        lock.check();
        console.log("held");
      } catch (error) {
        console.log("told", error.code, lock.remaining());
      }
    });
    process.exit(0);`;
  const program = new Program(t, process.execPath, ["--input-type=module", "--eval", script]);
  assert.equal(await program.exited, 0, program.text);
  assert.match(program.text, /told CLOSED 0/);
});

describe("an engine that cannot start", { concurrency: true }, () => {
  const script = `
    import { connect } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
    const client = connect("127.0.0.1:9", { worker: process.argv[1] === "thread" });
    for (const ask of [() => client.tryLock("x"), () => client.get("x")]) {
      await ask().catch((error) => console.log("told", error.code, error.message));
    }
    // Longer than the engine is kept for nothing.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await client.close();
    console.log("closed");`;
  const run = async (t: Parameters<typeof startBroker>[0], where: string, ...options: string[]) => {
    const args = [...options, "--input-type=module", "--eval", script, where];
    const program = new Program(t, process.execPath, args);
    assert.equal(await program.exited, 0, program.text);
    assert.match(program.text, /\nclosed(\n|$)/);
    return program.text.split("\n").filter((line) => line.startsWith("told "));
  };

  test("for want of the permission says how to do without a thread", async (t) => {
    const flag = process.allowedNodeEnvironmentFlags.has("--permission") ? "--permission" : "--experimental-permission";
    const told = await run(t, "thread", flag, "--allow-fs-read=*");
    assert.equal(told.length, 2);
    for (const line of told) assert.match(line, /told UNEXPECTED lock "x": .*cannot be started: .*worker: false/);
  });

  test("for want of its module fails its calls, and does not end the process", async (t) => {
    const hooks = `export async function load(url, context, next) {
      if (url.endsWith("/engine/engine.js")) throw new Error("as the test wants it");
      return next(url, context);
    }`;
    const toUrl = (code: string) => `data:text/javascript,${encodeURIComponent(code)}`;
    const register = `import { register } from "node:module"; register(${JSON.stringify(toUrl(hooks))});`;
    const told = await run(t, "inline", `--import=${toUrl(register)}`);
    assert.equal(told.length, 2);
    for (const line of told) assert.match(line, /told UNEXPECTED lock "x": .*as the test wants it/);
  });
});

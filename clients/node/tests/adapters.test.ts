/** The adapters and the examples, each in the project that they are for. */
import "reflect-metadata";
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Injectable, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import type { Lock } from "lockbroker";
import { runCoordinator } from "lockbroker/node-cron";
import { createTask } from "node-cron";
import { OneAtATime, provideLockbroker } from "../examples/nestjs/one-at-a-time.js";
import { type Broker, startBroker } from "./support/broker.js";
import { aborted, acquire, connect, refused, state } from "./support/client.js";
import { here } from "./support/paths.js";
import { eventually, fileScope, Program } from "./support/process.js";

const scope = fileScope();
let broker: Broker;
before(async () => {
  broker = await startBroker(scope);
});

describe("node-cron", { concurrency: true }, () => {
  test("of the programs that have a task, one runs it each time", async (t) => {
    const runs: string[] = [];
    const skipped: string[] = [];
    const tasks = [0, 1, 2].map((number) => {
      const coordinator = runCoordinator(connect(t, broker.url, { worker: false }), { owner: `program ${number}` });
      const work = (context: { date: Date }) => {
        const lock = coordinator.lockOf(context);
        lock?.check();
        runs.push(`${context.date.toISOString()} ${typeof lock?.fencingToken}`);
      };
      const task = createTask("* * * * * *", work, { name: "each", distributed: true, runCoordinator: coordinator });
      task.on("execution:skipped", ({ date, reason }) => void skipped.push(`${date.toISOString()} ${reason}`));
      t.after(() => void task.destroy());
      return task;
    });
    for (const task of tasks) task.start();
    await eventually("several runs are over", () => runs.length >= 3 && skipped.length >= 6);
    for (const task of tasks) task.stop();
    assert.equal(new Set(runs).size, runs.length, `run twice: ${runs}`);
    for (const run of runs) assert.match(run, / number$/);
    for (const skip of skipped) assert.match(skip, / not-elected$/);
  });

  test("the lock is held while the task runs, lingers after it, and its loss is heard of", async (t) => {
    const client = connect(t, broker.url, { worker: false });
    const coordinator = runCoordinator(client, { prefix: "p/" });
    const date = new Date(0);
    const key = `slow:${date.toISOString()}`;
    assert.equal(await coordinator.shouldRun(key, 60_000), true);
    assert.equal(await coordinator.shouldRun(key, 60_000), false);
    const lock = coordinator.lockOf({ task: { name: "slow" }, date });
    assert.equal(lock?.name, `p/${key}`);
    await coordinator.onComplete(key);
    assert.equal((await refused(client, `p/${key}`)).reason, "LINGERING");
    assert.equal(await coordinator.shouldRun(key, 60_000), false);
    assert.equal(coordinator.lockOf({ task: { name: "slow" }, date }), undefined);

    const other = `lost:${date.toISOString()}`;
    assert.equal(await coordinator.shouldRun(other, 1000), true);
    const lost = coordinator.lockOf({ task: { name: "lost" }, date });
    assert.ok(lost !== undefined);
    await client.release(lost.name, lost.lockId);
    await aborted(lost.signal);
    await assert.rejects(coordinator.onComplete(other), { code: "LOST" });
  });
});

describe("examples", { concurrency: true }, () => {
  test("fencing refuses the holder that has slept", async (t) => {
    const program = new Program(t, process.execPath, [`${here}/build/examples/fencing/fencing.js`, broker.url]);
    assert.equal(await program.exited, 0, program.text);
    const writes = "the first wakes up and writes: Error: somebody else has written since";
    assert.equal(program.text, `${writes}\nthe database has: new`);
  });

  test("node-cron runs in one of two programs", async (t) => {
    const programs = [0, 1].map(() => new Program(t, process.execPath, [`${here}/build/examples/node-cron.js`, broker.url]));
    const ran = () => programs.flatMap(({ text }) => text.match(/^\S+ with the token \d+$/gm) ?? []);
    await eventually("it has run three times", () => ran().length >= 3);
    const dates = ran().map((line) => line.split(" ")[0]);
    assert.equal(new Set(dates).size, dates.length, `run twice: ${dates}`);
  });

  test("a method of NestJS runs in one instance at a time", async (t) => {
    let inside = 0;
    const tokens: (number | undefined)[] = [];

    @Injectable()
    class Reports {
      @OneAtATime("nest", { owner: "nest" })
      async nightly(month: string, lock?: Lock) {
        inside += 1;
        assert.equal(inside, 1);
        tokens.push(lock?.fencingToken);
        await sleep(200);
        inside -= 1;
        return `report of ${month}`;
      }
    }

    @Module({ providers: [Reports, provideLockbroker(broker.url, { worker: false })] })
    class Application {}

    const instances = await Promise.all(
      [0, 1].map(() => NestFactory.createApplicationContext(Application, { logger: false })),
    );
    const results = await Promise.all(instances.map((instance) => instance.get(Reports).nightly("May")));
    assert.deepEqual(results.toSorted(), ["report of May", undefined].toSorted());
    assert.equal(typeof tokens[0], "number");
    assert.equal(tokens.length, 1);
    const client = connect(t, broker.url, { worker: false });
    assert.equal(await state(client, "nest"), "FREE");
    await (await acquire(client, "nest")).release();
    await Promise.all(instances.map((instance) => instance.close()));
  });
});

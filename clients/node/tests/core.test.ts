/** What the core does that the vectors do not show, or not yet. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Core } from "../src/core/core.js";
import { Elsewhere } from "../src/core/elsewhere.js";
import type { Failure, Input, Output } from "../src/core/types.js";
import { Validity } from "../src/core/validity.js";
import { toWire } from "../src/engine/wire.js";

const unavailable: Failure = { code: "UNAVAILABLE", message: "the store is away", reason: "STORE_UNAVAILABLE" };

/** Makes a core with an open link, number 1. */
function opened(): Core {
  const core = new Core({ endpoints: ["one"], answerTimeout: 5000 }, () => 0.5, 0);
  core.handle(0, acquire(1));
  core.handle(0, { kind: "dialled", link: 1 });
  const terms = { ttl: 15_000, expiresAfter: 13_000, heartbeatInterval: 5000 } as const;
  core.handle(0, { kind: "received", link: 1, message: { kind: "opened", ...terms } });
  return core;
}

function acquire(key: number): Input {
  return { kind: "acquire", key, spec: { name: `lock ${key}`, owner: "" }, wait: {} };
}

function failed(lockRef: number): Input {
  const event = { kind: "failed", failure: unavailable } as const;
  return { kind: "received", link: 1, message: { kind: "lockEvent", lockRef, event } };
}

/** Returns the keys that are asked for. */
function begun(out: Output[]): string[] {
  return out.flatMap((each) => (each.kind === "send" && each.request.kind === "begin" ? [each.request.spec.name] : []));
}

describe("the core", () => {
  test("a stream of failures does not put off those that failed before", () => {
    const core = opened();
    core.handle(0, failed(1));
    assert.equal(core.due, 250);
    // Another waiter comes and fails every 100 ms.
    for (const [number, at] of [100, 200].entries()) {
      core.handle(at, acquire(2 + number));
      core.handle(at, failed(2 + number));
      assert.equal(core.due, 250);
    }
    assert.deepEqual(begun(core.handle(250, { kind: "timeout" })), ["lock 1", "lock 2", "lock 3"]);
  });

  test("the validity of very many locks can be looked at", () => {
    const validity = new Validity(0, 1000);
    validity.beat(1, 500);
    const refs = Array.from({ length: 200_000 }, (_, number) => number + 1);
    validity.acknowledged(1, 1000, refs);
    assert.deepEqual([validity.next, validity.until(200_000), validity.until(200_001)], [1000, 1000, 1500]);
  });
});

describe("a release elsewhere", () => {
  const chance = () => 0.5;
  const fault = (code: string): Failure => ({ code, message: "", reason: "" });

  for (const code of ["RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "UNAVAILABLE", "ABORTED"]) {
    test(`is tried again after ${code}, until the lock has run out`, () => {
      const out: Output[] = [];
      const elsewhere = new Elsewhere();
      elsewhere.begin(1, [["x", "id"]], 1000, out);
      elsewhere.ended(1, { failure: fault(code) }, 0, chance, out);
      assert.ok(elsewhere.due > 0 && elsewhere.due <= 50, `${elsewhere.due}`);
      elsewhere.keepTime(50, out);
      assert.deepEqual(
        out.map(({ kind }) => kind),
        ["releaseElsewhere", "releaseElsewhere"],
      );
      elsewhere.keepTime(1000, out);
      assert.equal(out.at(-1)?.kind, "failed");
      assert.ok(elsewhere.isEmpty);
    });
  }

  for (const code of ["INVALID_ARGUMENT", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"]) {
    test(`ends with ${code}`, () => {
      const out: Output[] = [];
      const elsewhere = new Elsewhere();
      elsewhere.begin(1, [["x", "id"]], 1000, out);
      elsewhere.ended(1, { failure: fault(code) }, 0, chance, out);
      assert.equal(out.at(-1)?.kind, "failed");
      assert.equal(elsewhere.due, Number.POSITIVE_INFINITY);
    });
  }

  test("tells a loss if somebody else has the lock", () => {
    const out: Output[] = [];
    const elsewhere = new Elsewhere();
    elsewhere.begin(1, [["x", "id"]], 1000, out);
    elsewhere.ended(1, { isHeldByAnother: true }, 0, chance, out);
    assert.deepEqual(out.at(-1), { kind: "lost", key: 1, reason: "TAKEN_OVER" });
  });

  test("tells a loss if somebody else has one of several, when all have been released", () => {
    const out: Output[] = [];
    const elsewhere = new Elsewhere();
    const grants = [
      ["x", "id-x"],
      ["y", "id-y"],
    ] as const;
    elsewhere.begin(1, [...grants], 1000, out);
    elsewhere.ended(1, { isHeldByAnother: true }, 0, chance, out);
    elsewhere.ended(1, {}, 0, chance, out);
    assert.deepEqual(out, [
      ...grants.map(([name, lockId]) => ({ kind: "releaseElsewhere", key: 1, name, lockId })),
      { kind: "lost", key: 1, reason: "TAKEN_OVER" },
    ]);
    assert.ok(elsewhere.isEmpty);
  });

  test("knows when to look at which, in the order of the keys", () => {
    const out: Output[] = [];
    const elsewhere = new Elsewhere();
    for (const [key, until] of [
      [3, 300],
      [1, 300],
      [2, 200],
    ] as const)
      elsewhere.begin(key, [["x", "id"]], until, out);
    assert.equal(elsewhere.due, 200);
    elsewhere.ended(2, {}, 0, chance, out);
    assert.equal(elsewhere.due, 300);
    out.length = 0;
    elsewhere.keepTime(300, out);
    assert.deepEqual(
      out.map((each) => each.kind === "failed" && each.key),
      [1, 3],
    );
    assert.equal(elsewhere.due, Number.POSITIVE_INFINITY);
  });
});

describe("a span on the wire", () => {
  test("is never longer than a message can have, of either sign", () => {
    const far = 2n ** 32n;
    for (const span of [Number.MAX_VALUE, 1e300, Number.POSITIVE_INFINITY]) {
      assert.deepEqual(toWire(span), { seconds: far, nanos: 0 });
      assert.deepEqual(toWire(-span), { seconds: -far, nanos: 0 });
    }
    assert.deepEqual(toWire(1500.2), { seconds: 1n, nanos: 501_000_000 });
  });
});

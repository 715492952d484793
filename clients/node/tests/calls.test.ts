import assert from "node:assert/strict";
import { test } from "node:test";
import { Calls } from "../src/core/calls.js";
import { NEVER } from "../src/core/types.js";

test("calls that end together end in no more than a moment", () => {
  const count = 100_000;
  const calls = new Calls();
  for (let key = 0; key < count; key++) calls.add(key, 1000 + (key % 2), 5000);
  const start = performance.now();
  let ended = 0;
  for (let call = calls.next(2000); call; call = calls.next(2000)) {
    if (call.key % 3 === 0) calls.postpone(call, 3000);
    else calls.remove(call.key);
    ended++;
  }
  assert.equal(ended, count);
  assert.equal(calls.due, 3000);
  for (let call = calls.next(3000); call; call = calls.next(3000)) calls.remove(call.key);
  assert.equal(calls.due, NEVER);
  assert.ok(performance.now() - start < 5000, "a second or two on a busy machine; minutes if each looks at all others");
});

test("a call is looked at when it was last said to be", () => {
  const calls = new Calls();
  calls.add(1, 10, 50);
  calls.add(2, 20, 50);
  calls.remove(1);
  assert.equal(calls.due, 20);
  assert.equal(calls.next(19), undefined);
  const call = calls.next(20);
  assert.equal(call?.key, 2);
  if (call) calls.postpone(call, 30);
  assert.equal(calls.due, 30);
});

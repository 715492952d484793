/** Runs the core against the vectors that the clients of all languages share. Their README.md has the format. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { Core } from "../src/core/core.js";
import type { Acquired, Event, Failure, Input, Message, Output, Request } from "../src/core/types.js";
import { root } from "./support/paths.js";

// biome-ignore lint/suspicious/noExplicitAny: the vectors are JSON.
type Json = any;

const folder = `${root}/clients/vectors`;
const CODES = [
  "INVALID_ARGUMENT",
  "PERMISSION_DENIED",
  "UNAUTHENTICATED",
  "UNIMPLEMENTED",
  "HANDSHAKE",
  "UNAVAILABLE",
  "RESOURCE_EXHAUSTED",
  "INTERNAL",
];
const REFUSALS = ["HELD", "LINGERING", "MAX_WAIT", "NOT_REATTACHABLE", "CANCELLED"];
const LOSSES = ["EXPIRED", "GONE", "TAKEN_OVER", "REVOKED", "RELEASED"];

let cases = 0;
for (const file of readdirSync(folder).filter((name) => name.endsWith(".jsonl"))) {
  for (const line of readFileSync(`${folder}/${file}`, "utf8").trim().split("\n")) {
    const given: Json = JSON.parse(line);
    cases += 1;
    test(`${file}: ${given.case}`, () => replay(given));
  }
}
test("there are vectors", () => assert.ok(cases >= 70, `${cases} cases`));

/** Runs a case, and compares what comes out of each step. */
function replay(given: Json): void {
  known(given, "v", "case", "settings", "chance", "steps");
  known(given.settings, "endpoints", "answer_timeout");
  assert.equal(given.v, 1);
  const endpoints = Array.from({ length: given.settings.endpoints }, (_, number) => `broker ${number}`);
  const chances: number[] = [...given.chance];
  const chance = () => chances.shift() ?? assert.fail("not enough chance");
  const core = new Core({ endpoints, answerTimeout: given.settings.answer_timeout }, chance, 0);
  const keys = new Set<number>();
  for (const [number, step] of given.steps.entries()) {
    known(step, "at", "in", "out", "due", "valid", "state");
    const [kind, of] = only(step.in);
    if (kind === "acquire") keys.add(of.key);
    const out = core.handle(step.at, readInput(kind, of)).map(shown);
    const due = Number.isFinite(core.due) ? core.due : null;
    const made = { at: step.at, in: step.in, out, due, ...looks(core, keys) };
    assert.deepEqual(JSON.parse(JSON.stringify(made)), step, `step ${number}`);
  }
}

/** Returns what can be asked of the core about each lock. */
function looks(core: Core, keys: Set<number>): Json {
  const valid: Json = {};
  const state: Json = {};
  for (const key of keys) {
    const held = core.held(key);
    if (held !== undefined) valid[key] = held.isBroken ? { bounded_by: held.until } : held.until;
    const name = core.state(key);
    if (name !== undefined) state[key] = name;
  }
  return { valid, state };
}

function readInput(kind: string, of: Json): Input {
  const message = (message: Message, ...keys: string[]): Input => {
    known(of, "link", ...keys);
    return { kind: "received", link: of.link, message };
  };
  const event = (event: Event, ...keys: string[]): Input =>
    message({ kind: "lockEvent", lockRef: of.lock_ref, event }, "lock_ref", ...keys);
  switch (kind) {
    case "acquire": {
      known(of, "key", "name", "also", "linger", "owner", "value", "shared", "wait", "adopt");
      if (of.shared) known(of.shared, "limit", "weight");
      if (of.wait) known(of.wait, "until", "poll_interval");
      const value = of.value === undefined ? undefined : Buffer.from(of.value);
      const spec = { name: of.name, linger: of.linger, owner: of.owner ?? "", shared: of.shared, also: of.also, value };
      const wait = of.wait && { until: of.wait.until, pollInterval: of.wait.poll_interval };
      return { kind: "acquire", key: of.key, spec, wait, adopt: of.adopt };
    }
    case "end":
      known(of, "key");
      return { kind: "end", key: of.key };
    case "value":
      known(of, "key", "value");
      return { kind: "value", key: of.key, value: Buffer.from(of.value) };
    case "share":
      known(of, "key", "limit");
      return { kind: "share", key: of.key, limit: of.limit };
    case "dialled":
      known(of, "link", "code", "retry_after");
      return { kind: "dialled", link: of.link, failure: of.code && failure(of) };
    case "ended":
      known(of, "link", "code", "retry_after");
      return { kind: "ended", link: of.link, failure: failure(of) };
    case "released_elsewhere":
      known(of, "key", "code", "retry_after");
      return { kind: "releasedElsewhere", key: of.key, failure: of.code && failure(of) };
    case "timeout":
      known(of);
      return { kind: "timeout" };
    case "opened": {
      const terms = { ttl: of.ttl, expiresAfter: of.expires_after, heartbeatInterval: of.heartbeat_interval };
      return message({ kind: "opened", ...terms }, "ttl", "expires_after", "heartbeat_interval");
    }
    case "heartbeat_ack": {
      const ack = { seq: of.seq, expiresAfter: of.expires_after, notRenewed: of.not_renewed };
      return message({ kind: "heartbeatAck", ...ack }, "seq", "expires_after", "not_renewed");
    }
    case "draining":
      return message({ kind: "draining" });
    case "other":
      return message({ kind: "other" });
    case "acquired": {
      const also = (of.also ?? []).map((of: Json) => {
        known(of, "lock_id", "fencing_token", "permit");
        return readGrant(of);
      });
      return event({ kind: "acquired", ...readGrant(of), also }, "lock_id", "fencing_token", "permit", "also");
    }
    case "not_acquired": {
      const reason = oneOf(REFUSALS, of.reason);
      const refusal = { reason, owner: of.owner ?? "", name: of.name ?? "" };
      return event({ kind: "notAcquired", ...refusal } as Event, "reason", "owner", "name");
    }
    case "lost":
      return event({ kind: "lost", reason: oneOf(LOSSES, of.reason) } as Event, "reason");
    case "released":
      return event({ kind: "released" });
    case "failed":
      return event({ kind: "failed", failure: failure(of) }, "code", "retry_after");
    default:
      return assert.fail(`no input ${kind}`);
  }
}

function readGrant(of: Json): Acquired {
  return { lockId: of.lock_id, fencingToken: of.fencing_token, permit: of.permit };
}

function shownGrant({ lockId, fencingToken, permit }: Acquired): Json {
  return { lock_id: lockId, fencing_token: fencingToken, permit };
}

/** Returns nothing where there is nothing, as a vector does. */
function some(list: readonly Json[]): readonly Json[] | undefined {
  return list.length > 0 ? list : undefined;
}

/** Writes an output as a vector has it. */
function shown(output: Output): Json {
  switch (output.kind) {
    case "dial":
      return { dial: { link: output.link, endpoint: output.endpoint } };
    case "hangup":
      return { hangup: { link: output.link } };
    case "granted":
      return { granted: { key: output.key, ...shownGrant(output), also: some(output.also.map(shownGrant)) } };
    case "moved": {
      const { key, lockId: lock_id, permit, also } = output;
      return { moved: { key, lock_id, permit, also: some(also) } };
    }
    case "notShared":
      return { not_shared: { key: output.key, code: oneOf(CODES, output.failure.code) } };
    case "refused": {
      const { reason, owner, name } = output.refusal;
      return { refused: { key: output.key, reason: oneOf(REFUSALS, reason), owner, name: name || undefined } };
    }
    case "failed":
      return { failed: { key: output.key, code: oneOf(CODES, output.failure.code) } };
    case "lost":
      return { lost: { key: output.key, reason: oneOf(LOSSES, output.reason) } };
    case "released":
      return { released: { key: output.key } };
    case "releaseElsewhere":
      return { release_elsewhere: { key: output.key, name: output.name, lock_id: output.lockId } };
    case "send":
      return shownRequest(output.link, output.request);
  }
}

function shownRequest(link: number, request: Request): Json {
  switch (request.kind) {
    case "open":
      return { open: { link } };
    case "heartbeat":
      return { heartbeat: { link, seq: request.seq } };
    case "endLock":
      return { end_lock: { link, lock_ref: request.lockRef } };
    case "begin": {
      const { lockRef: lock_ref, spec, wait, reattach, reattachAlso } = request;
      const told = wait && { max_wait: wait.maxWait, poll_interval: wait.pollInterval };
      const { name, also, linger } = spec;
      // A reattach names each permit.
      const shared = spec.shared && { ...spec.shared, weight: reattach === undefined ? spec.shared.weight : undefined };
      const owner = spec.owner || undefined;
      const reattach_also = some(reattachAlso);
      const value = spec.value && Buffer.from(spec.value).toString();
      return { begin: { link, lock_ref, name, also, linger, owner, value, shared, wait: told, reattach, reattach_also } };
    }
  }
}

function failure(of: Json): Failure {
  return { code: oneOf(CODES, of.code), message: "as the vector says", reason: "", retryAfter: of.retry_after };
}

/** Fails if there is another key: that case would test nothing. */
function known(of: Json, ...keys: string[]): void {
  for (const key of Object.keys(of)) assert.ok(keys.includes(key), `unknown key ${key} in ${JSON.stringify(of)}`);
}

/** Returns the one key of an object, and what it has. */
function only(of: Json): [string, Json] {
  const entries = Object.entries(of);
  assert.equal(entries.length, 1, JSON.stringify(of));
  return entries[0] ?? assert.fail();
}

function oneOf(names: string[], name: string): string {
  assert.ok(names.includes(name), `no ${name}`);
  return name;
}

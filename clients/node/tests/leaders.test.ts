/** Leaders: the value of a lock, its update, and who observes it. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { Metadata, Server, ServerCredentials, type ServerWritableStream, status as Status } from "@grpc/grpc-js";
import { unavailable } from "../src/core/types.js";
import { CallFailed, fromFailure } from "../src/engine/failures.js";
import type { UpdateOutcome } from "../src/engine/protocol.js";
import { Updates } from "../src/engine/updates.js";
import { DOMAIN } from "../src/engine/wire.js";
import { ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "../src/gen/google/rpc/status_pb.js";
import type { Observation, Observed } from "../src/index.js";
import { lockService, type ObserveRequest, type ObserveResponse, ObserveResponse_State as State } from "../src/v1/index.js";
import { type Broker, startBroker, startPair } from "./support/broker.js";
import { acquire, connect, fails, loses, thrown } from "./support/client.js";
import { eventually, fileScope, Program, type Scope, SOON } from "./support/process.js";

const scope = fileScope();
let broker: Broker;
before(async () => {
  broker = await startBroker(scope);
});

/** Waits for the next state. */
async function next(observation: Observation): Promise<Observed> {
  const { value } = await observation.next();
  return value ?? assert.fail("it has ended");
}

/** Waits until that is told. */
async function sees(observation: Observation, state: Observed["state"], value?: string): Promise<Observed> {
  for (const begun = performance.now(); performance.now() - begun < SOON; ) {
    const seen = await next(observation);
    if (seen.state === state && told(seen) === value) return seen;
  }
  return assert.fail(`not within ${SOON} ms: ${state} ${value}`);
}

function told({ value }: Observed): string | undefined {
  return value && new TextDecoder().decode(value);
}

/** Checks that nothing is told for a while. Returns what waits for it. */
async function isQuiet(observation: Observation): Promise<{ pending: ReturnType<Observation["next"]> }> {
  const pending = observation.next();
  assert.equal(await Promise.race([pending, sleep(300, "quiet")]), "quiet");
  return { pending };
}

for (const worker of [true, false]) {
  describe(`a leader, ${worker ? "with" : "without"} a thread`, { concurrency: 4 }, () => {
    test("is followed", async (t) => {
      const [one, two] = await startPair(t);
      const [client, other] = [connect(t, one.url, { worker }), connect(t, two.url, { worker })];
      const observation = other.observe("leader");
      assert.equal((await next(observation)).state, "FREE");
      const leader = await acquire(client, "leader", { value: "10.0.0.7:80", owner: "host 7" });
      const seen = await sees(observation, "HELD", "10.0.0.7:80");
      assert.deepEqual([seen.owner, seen.fencingToken], ["host 7", leader.fencingToken]);
      assert.ok((seen.expiresIn ?? 0) > 0);
      // Its own broker tells at once.
      const near = client.observe("leader");
      for (const value of ["ü".repeat(512), "", Uint8Array.of(1, 0, 2)]) {
        await leader.update(value);
        const text = typeof value === "string" ? value : "\x01\0\x02";
        assert.equal((await sees(near, "HELD", text)).fencingToken, leader.fencingToken);
      }
      await Promise.all(Array.from({ length: 20 }, (_, number) => leader.update(`${number}`)));
      await sees(observation, "HELD", "19");
      await leader.release();
      await sees(near, "FREE");
      await sees(observation, "FREE");
      await fails(leader.update("late"), "RELEASED");
      const without = await acquire(client, "leader");
      await sees(near, "HELD");
      assert.match((await fails(without.update("late"), "INVALID")).message, /asked for without a value/);
      const { pending } = await isQuiet(near);
      await near.close();
      assert.equal((await pending).done, true);
      assert.equal((await near.next()).done, true);
    });

    test("keeps its value when its lock moves", async (t) => {
      const [one, two] = await startPair(t);
      const [client, other] = [connect(t, [one.url, two.url], { worker }), connect(t, two.url, { worker })];
      const leader = await acquire(client, "moves", { value: "first", keepOnDisconnect: true });
      await leader.update("second");
      const observation = other.observe("moves");
      const { fencingToken } = await sees(observation, "HELD", "second");
      const id = leader.lockId;
      one.kill();
      // Some of these come while the lock is on its way.
      for (let number = 0; number < 50; number += 1) await leader.update(`moving ${number}`);
      await eventually("it has moved", () => leader.lockId !== id);
      assert.equal((await sees(observation, "HELD", "moving 49")).fencingToken, fencingToken);
      await leader.update("third");
      assert.equal((await sees(observation, "HELD", "third")).fencingToken, fencingToken);
      const later = connect(t, two.url, { worker }).observe("moves");
      assert.equal(told(await next(later)), "third");
      await other.release("moves", leader.lockId);
      await sees(observation, "FREE");
      await eventually("it is lost", () => leader.lost !== undefined);
      await loses(leader.update("late"), leader.lost?.reason ?? "");
    });

    test("is followed through the end of a broker, and of all", async (t) => {
      const [one, two] = await startPair(t);
      const [client, other] = [connect(t, two.url, { worker }), connect(t, [one.url, two.url], { worker })];
      const leader = await acquire(client, "goes on", { value: "one" });
      const observation = other.observe("goes on");
      await sees(observation, "HELD", "one");
      one.kill();
      await leader.update("two");
      // Nobody has been told that it is not known who leads.
      assert.deepEqual([told(await next(observation))], ["two"]);
      two.kill();
      assert.equal((await next(observation)).state, "UNKNOWN");
      const { pending } = await isQuiet(observation);
      await other.close();
      await fails(pending, "CLOSED");
      assert.equal((await observation.next()).done, true);
      await fails(other.observe("goes on").next(), "CLOSED");
    });
  });
}

describe("observing", { concurrency: true }, () => {
  test("ends with its loop, and by its signal", async (t) => {
    const client = connect(t, broker.url);
    for await (const { state } of client.observe("loop")) {
      assert.equal(state, "FREE");
      break;
    }
    const reason = new Error("as the test wants it");
    const abort = new AbortController();
    const observation = client.observe("loop", { signal: abort.signal });
    await next(observation);
    const pending = observation.next();
    abort.abort(reason);
    for (const call of [pending, observation.next(), client.observe("loop", { signal: abort.signal }).next()]) {
      assert.equal(await thrown(call), reason);
    }
    await using scoped = client.observe("loop");
    await next(scoped);
    assert.equal(String(scoped), 'observation of lock "loop"');
  });

  test("does not keep the process alive while nobody waits", async (t) => {
    for (const worker of [true, false]) {
      const script = `
        import { connect } from ${JSON.stringify(new URL("../src/index.js", import.meta.url).href)};
        const observation = connect(${JSON.stringify(broker.url)}, { worker: ${worker} }).observe("idle");
        console.log((await observation.next()).value.state);
        setTimeout(async () => {
          console.log(String(observation));
          // The engine may have closed the stream. What has been told is not told again.
          await Promise.race([observation.next(), new Promise((resolve) => setTimeout(resolve, 300, "quiet").unref())]);
        }, 1500).unref();`;
      const program = new Program(t, process.execPath, ["--input-type=module", "--eval", script]);
      assert.equal(await program.exited, 0, program.text);
      assert.equal(program.text, "FREE");
    }
  });

  test("goes on where the engine has closed its stream meanwhile", async (t) => {
    const client = connect(t, broker.url, { worker: false });
    const other = connect(t, broker.url);
    const observation = client.observe("rested");
    assert.equal((await next(observation)).state, "FREE");
    await sleep(1500);
    const { pending } = await isQuiet(observation);
    const lock = await acquire(other, "rested", { value: "x" });
    assert.equal((await pending).value?.fencingToken, lock.fencingToken);
  });

  test("is refused before anything is sent where a value does not fit", async (t) => {
    const nobody = connect(t, "127.0.0.1:9");
    const wrong: [object, RegExp][] = [
      [{ value: "x".repeat(1025) }, /value has 1025 bytes, and brokers take at most 1024/],
      [{ value: "ü".repeat(513) }, /value has 1026 bytes/],
      [{ value: "\ud800" }, /no valid Unicode/],
      [{ value: 7 }, /a string or a Uint8Array, and not 7/],
      [{ value: "", also: ["x"] }, /for one lock alone/],
      [{ value: "", shared: true }, /one holder has alone/],
      [{ value: "", limit: 3 }, /one holder has alone/],
      // All has to fit into one message.
      [{ value: "", owner: "o".repeat(513) }, /owner has 513 bytes/],
    ];
    for (const ask of ["lock", "tryLock"] as const) {
      for (const [options, why] of wrong) {
        assert.match((await fails(nobody[ask]("wrong", options), "INVALID")).message, why);
      }
    }
    await fails(() => nobody.observe("x".repeat(1025)), "INVALID");
    await fails(nobody.adopt("wrong", "i".repeat(513), { value: "" }), "INVALID");
    const client = connect(t, broker.url);
    const lock = await acquire(client, "wrong", { value: Buffer.alloc(1024) });
    await fails(lock.update(Buffer.alloc(1025)), "INVALID");
    await lock.update("");
    await fails(client.observe("\0").next(), "INVALID");
    lock.check();
    const handed = await acquire(client, "handed", { value: "mine" });
    const adopted = await connect(t, broker.url).adopt("handed", handed.lockId, { value: "theirs" });
    await adopted.update("new");
    assert.equal(told(await sees(client.observe("handed"), "HELD", "new")), "new");
  });
});

/** Something that a broker tells, or the reason by which it ends the stream; undefined for none. */
type Said = Partial<Omit<ObserveResponse, "$typeName">> | string | undefined;

/** A broker that tells those who observe what a test says. */
class Script {
  streams = 0;
  ended = 0;
  url = "";
  #waiting: Said[] = [];
  #stream: ServerWritableStream<ObserveRequest, ObserveResponse> | undefined;

  static async start(t: Scope): Promise<Script> {
    const script = new Script();
    const server = new Server();
    const observe = (stream: ServerWritableStream<ObserveRequest, ObserveResponse>) => script.#open(stream);
    server.addService({ Observe: lockService.Observe }, { Observe: observe });
    const port = await new Promise<number>((resolve, reject) => {
      const bound = (error: Error | null, port: number) => (error === null ? resolve(port) : reject(error));
      server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), bound);
    });
    t.after(() => server.forceShutdown());
    script.url = `127.0.0.1:${port}`;
    return script;
  }

  tell(said: Said): void {
    this.#waiting.push(said);
    this.#sayAll();
  }

  #open(stream: ServerWritableStream<ObserveRequest, ObserveResponse>): void {
    this.streams += 1;
    this.#stream = stream;
    stream.on("cancelled", () => {
      this.ended += 1;
    });
    if (typeof this.#waiting[0] !== "string") stream.sendMetadata(new Metadata());
    this.#sayAll();
  }

  #sayAll(): void {
    while (this.#stream !== undefined && this.#waiting.length > 0) {
      const said = this.#waiting.shift();
      if (typeof said === "object") this.#stream.write(said as ObserveResponse);
      else {
        if (said === undefined) this.#stream.end();
        else this.#stream.emit("error", refusal(said));
        this.#stream = undefined;
      }
    }
  }
}

/** Returns the status of a broker that refuses something. */
function refusal(reason: string) {
  const code = { INVALID_FIELD: Status.INVALID_ARGUMENT, POLICY_DENIED: Status.PERMISSION_DENIED }[reason];
  const details = [anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain: DOMAIN }))];
  const metadata = new Metadata();
  metadata.set("grpc-status-details-bin", Buffer.from(toBinary(StatusSchema, create(StatusSchema, { details }))));
  return { code: code ?? Status.RESOURCE_EXHAUSTED, details: "as the test says", metadata };
}

function held(token: number, value?: Uint8Array): Said {
  return { state: State.HELD, fencingToken: BigInt(token), ...(value && { value }) };
}

describe("those who observe", { concurrency: true }, () => {
  test("are told changes alone", async (t) => {
    const script = await Script.start(t);
    const observation = connect(t, script.url).observe("x");
    const value = Buffer.alloc(0);
    for (const seconds of [5n, 4n, 3n]) {
      script.tell({ state: State.HELD, owner: "me", value, fencingToken: 7n, expiresIn: { seconds, nanos: 0 } as never });
      if (seconds === 5n) {
        const expected = { state: "HELD", owner: "me", value: new Uint8Array(), fencingToken: 7, expiresIn: 5000 };
        assert.deepEqual(await next(observation), expected);
      }
    }
    const { pending } = await isQuiet(observation);
    const states: [number, Observed["state"]][] = [
      [State.LINGERING, "LINGERING"],
      [State.REVOKED, "REVOKED"],
      [State.UNKNOWN, "UNKNOWN"],
      [State.HELD, "HELD"],
      [99, "UNKNOWN"],
      [State.FREE, "FREE"],
    ];
    const waiting = [pending, ...states.slice(1).map(() => observation.next())];
    for (const [at, [state, expected]] of states.entries()) {
      script.tell({ state });
      const seen = (await waiting[at])?.value;
      assert.deepEqual([seen?.state, seen?.value, seen?.fencingToken], [expected, undefined, undefined]);
    }
  });

  test("are told no lower token", async (t) => {
    const script = await Script.start(t);
    const observation = connect(t, script.url).observe("x");
    script.tell(held(7));
    assert.equal((await next(observation)).fencingToken, 7);
    script.tell(held(5));
    assert.deepEqual([(await next(observation)).state], ["UNKNOWN"]);
    script.tell(held(6));
    const { pending } = await isQuiet(observation);
    script.tell(held(8));
    assert.equal((await pending).value?.fencingToken, 8);
    // Not by another stream either.
    script.tell(undefined);
    script.tell(held(7));
    const { state, fencingToken } = await next(observation);
    assert.deepEqual([state, fencingToken], ["UNKNOWN", undefined]);
    const later = await isQuiet(observation);
    script.tell(held(9));
    assert.deepEqual([(await later.pending).value?.fencingToken, script.streams], [9, 2]);
  });

  test("are not told of the end of a stream that has served", async (t) => {
    const script = await Script.start(t);
    const observation = connect(t, script.url).observe("x");
    script.tell(held(7));
    await next(observation);
    await sleep(1100);
    script.tell(undefined);
    script.tell(held(8));
    assert.deepEqual([(await next(observation)).fencingToken, script.streams], [8, 2]);
  });

  test("do not ask all the time where streams end at once", async (t) => {
    const script = await Script.start(t);
    const observation = connect(t, script.url).observe("x");
    for (let round = 0; round < 200; round += 1) {
      script.tell({ state: State.FREE });
      script.tell(undefined);
    }
    const states = new Set([(await next(observation)).state]);
    for (const begun = performance.now(); performance.now() - begun < 3000; ) states.add((await next(observation)).state);
    assert.deepEqual([...states].sort(), ["FREE", "UNKNOWN"]);
    assert.ok(script.streams > 2 && script.streams < 30, `${script.streams} streams`);
  });

  test("get the latest alone if they read slowly", async (t) => {
    const script = await Script.start(t);
    const observation = connect(t, script.url).observe("x");
    script.tell({ state: State.FREE });
    await next(observation);
    for (let token = 1; token < 1000; token += 1) script.tell(held(token, Buffer.alloc(1024)));
    let [count, token] = [0, 0];
    for (; token < 999; count += 1) {
      await sleep(100);
      token = (await next(observation)).fencingToken ?? assert.fail();
    }
    assert.ok(count < 100, `${count} were told`);
  });

  test("are refused for good, or until there is room", async (t) => {
    const [script, other] = [await Script.start(t), await Script.start(t)];
    const client = connect(t, script.url);
    for (const [reason, code] of [
      ["INVALID_FIELD", "INVALID"],
      ["POLICY_DENIED", "DENIED"],
    ] as const) {
      script.tell(reason);
      const observation = client.observe("x");
      assert.equal((await fails(observation.next(), code)).reason, reason);
      assert.equal((await observation.next()).done, true);
    }
    const several = connect(t, [script.url, other.url]).observe("x");
    script.tell("MAX_OBSERVERS");
    await fails(several.next(), "EXHAUSTED");
    other.tell("MAX_OBSERVERS");
    await fails(several.next(), "EXHAUSTED");
    script.tell({ state: State.FREE });
    assert.equal((await next(several)).state, "FREE");
    assert.deepEqual([script.streams, other.streams], [4, 1]);
    await several.close();
    await eventually("the stream has ended", () => script.ended > 0);
  });
});

describe("updates", () => {
  /** Updates of a lock, whose calls a test answers. */
  function start(answerTimeout = SOON) {
    const calls: [string, string, (outcome: UpdateOutcome | CallFailed) => void][] = [];
    const lock = { id: "id" as string | undefined };
    const call = (id: string, value: Uint8Array) =>
      new Promise<UpdateOutcome>((resolve, reject) => {
        const answer = (outcome: UpdateOutcome | CallFailed) =>
          outcome instanceof CallFailed ? reject(outcome) : resolve(outcome);
        calls.push([id, new TextDecoder().decode(value), answer]);
      });
    const updates = new Updates({ name: "x", lockId: () => lock.id, call }, answerTimeout);
    const answer = async (id: string, value: string, outcome: UpdateOutcome | CallFailed) => {
      await eventually("a call", () => calls.length > 0);
      const [[askedId, asked, done] = assert.fail()] = calls.splice(0, 1);
      assert.deepEqual([askedId, asked], [id, value]);
      done(outcome);
    };
    const update = (value: string) => updates.update(Buffer.from(value));
    return { updates, update, answer, lock, calls };
  }
  const updated = { kind: "updated" };

  test("are brought one at a time, and the latest last", async () => {
    const { updates, update, answer, lock, calls } = start();
    const all = ["1", "2", "3"].map(update);
    await answer("id", "1", "UPDATED");
    assert.deepEqual(await all[0], updated);
    // Those that came meanwhile are brought as one.
    await answer("id", "3", "UPDATED");
    assert.deepEqual(await Promise.all(all), [updated, updated, updated]);
    assert.equal(calls.length, 0);
    // Where it has moved it is brought again.
    const moving = update("4");
    lock.id = "new id";
    updates.moved();
    await answer("id", "4", "UPDATED");
    await answer("new id", "4", "UPDATED");
    assert.deepEqual(await moving, updated);
    updates.moved();
    await answer("new id", "4", "UPDATED");
  });

  test("are tried again, and not for ever", async () => {
    const { update, answer, lock, calls } = start(200);
    const again = update("1");
    for (const outcome of ["NOT_HELD", "HELD_BY_ANOTHER", failed("UNAVAILABLE"), "UPDATED"] as const) {
      await answer("id", "1", outcome);
    }
    assert.deepEqual(await again, updated);
    let isOver = false;
    const late = thrown(update("2")).finally(() => {
      isOver = true;
    });
    while (!isOver) {
      if (calls.length > 0) await answer("id", "2", "HELD_BY_ANOTHER");
      await sleep(5);
    }
    assert.match(String(await late), /by another id, or no more/);
    for (const [outcome, code] of [
      ["NO_VALUE", "INVALID"],
      [undefined, "UNEXPECTED"],
      [failed("PERMISSION_DENIED"), "DENIED"],
    ] as const) {
      const error = thrown(update("3"));
      await answer("id", "3", outcome);
      assert.equal(((await error) as CallFailed).data.code, code);
    }
    const lost = update("4");
    lock.id = undefined;
    await answer("id", "4", "HELD_BY_ANOTHER");
    assert.deepEqual([await lost, await update("5"), calls.length], [{ kind: "over" }, { kind: "over" }, 0]);
  });

  function failed(code: string): CallFailed {
    const failure = { ...unavailable("as the test says"), code };
    return new CallFailed(failure, fromFailure("x", failure));
  }
});

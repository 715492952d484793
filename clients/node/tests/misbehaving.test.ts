/** Brokers of a later version, and some that make no sense. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { toWire } from "../src/engine/wire.js";
import { lockService, type SessionRequest, type SessionResponse, SessionResponseSchema } from "../src/v1/index.js";
import { startBroker } from "./support/broker.js";
import { aborted, acquire, connect, loses, thrown } from "./support/client.js";
import type { Scope } from "./support/process.js";

type Stream = ServerDuplexStream<SessionRequest, SessionResponse>;
type Said = MessageInitShape<typeof SessionResponseSchema>;
/** What to say, or the kind of request to wait for before. */
type Script = readonly (Said | string)[];

/** Starts a broker that follows a script, and returns where it listens. */
async function startScripted(t: Scope, script: Script, more: (stream: Stream) => void = () => {}): Promise<string> {
  const server = new Server();
  const session = async (stream: Stream) => {
    stream.on("error", () => {}).on("end", () => stream.end());
    const requests: SessionRequest[] = [];
    let wake = () => {};
    stream.on("data", (request: SessionRequest) => {
      requests.push(request);
      wake();
    });
    more(stream);
    for (const step of script) {
      if (typeof step !== "string") {
        stream.write(create(SessionResponseSchema, step));
        continue;
      }
      let request: SessionRequest | undefined;
      // On a busy machine a heartbeat may come before what is waited for.
      while (request === undefined || (request.kind.case === "heartbeat" && step !== "heartbeat")) {
        while (requests.length === 0) {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
        request = requests.shift();
      }
      assert.equal(request.kind.case, step);
    }
    if (script.length === 0) stream.end();
  };
  server.addService({ Session: lockService.Session }, { Session: (stream: Stream) => void session(stream) });
  const port = await new Promise<number>((resolve, reject) => {
    const bound = (error: Error | null, port: number) => (error === null ? resolve(port) : reject(error));
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), bound);
  });
  t.after(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

function opened(ttl: number): Said {
  const value = { ttl: toWire(ttl), expiresAfterOpen: toWire((ttl * 13) / 15), heartbeatInterval: toWire(ttl / 3) };
  return { kind: { case: "opened", value } };
}

type Event = NonNullable<Extract<NonNullable<Said["kind"]>, { case: "event" }>["value"]["event"]>;

function event(lockRef: bigint, event: Event): Said {
  return { kind: { case: "event", value: { lockRef, event } } };
}

function acquired(lockRef: bigint, lockId: string): Said {
  return event(lockRef, { kind: { case: "acquired", value: { lockId, fencingToken: 7n } } });
}

describe("strange brokers", { concurrency: true }, () => {
  test("one of a later version is understood", async (t) => {
    const ack: Said = { kind: { case: "heartbeatAck", value: { seq: 77n, expiresAfterHeartbeat: toWire(3_600_000) } } };
    const unknown = create(SessionResponseSchema);
    unknown.$unknown = [{ no: 999, wireType: 2, data: Buffer.from("\x03new") }];
    const lost = event(99n, { kind: { case: "lost", value: { reason: 1 } } });
    const before = [opened(15_000), unknown, "begin", unknown, event(1n, {}), lost, ack];
    const url = await startScripted(t, ["open", ...before, acquired(1n, "id"), ack, opened(3_600_000)]);
    const lock = await acquire(connect(t, url, { answerTimeout: 1000, worker: false }), "later");
    assert.deepEqual([lock.fencingToken, lock.lockId, lock.ttl], [7, "id", 15_000]);
    // Nothing of an acknowledgement that was never asked for, or of a second `opened`, is believed.
    await sleep(200);
    assert.ok(lock.remaining() <= 12_000 && lock.remaining() > 0);
    assert.equal(lock.ttl, 15_000);
  });

  const senseless: Record<string, Script> = {
    "speaks before it is open": ["open", acquired(1n, "id")],
    "opens without durations": ["open", { kind: { case: "opened", value: {} } }],
    "ends at once": [],
    "never opens": ["open"],
  };
  for (const [what, script] of Object.entries(senseless)) {
    test(`one that ${what} is left`, async (t) => {
      const bad = await startScripted(t, script);
      const good = await startBroker(t);
      await thrown(connect(t, bad, { answerTimeout: 500, worker: false }).tryLock("senseless"));
      const lock = await connect(t, [bad, good.url], { worker: false }).tryLock(what);
      assert.equal(await lock?.release(), true);
    });
  }

  // One that grants and then answers no heartbeat is left when its silence has lasted for half the ttl. The reattach at the
  // other one is answered, and that answer comes too late.
  test("an answer that comes too late revives nothing", async (t) => {
    const ttl = 900;
    const silent = await startScripted(t, ["open", opened(ttl), "begin", acquired(1n, "id")]);
    const late = await startScripted(t, ["open", opened(ttl), "begin"], (stream) => {
      setTimeout(() => stream.write(create(SessionResponseSchema, acquired(1n, "late"))), ttl);
    });
    const lock = await acquire(connect(t, [silent, late], { worker: false }), "late");
    await aborted(lock.signal);
    await loses(() => lock.check(), "EXPIRED");
    await sleep(ttl);
    assert.deepEqual([lock.lockId, lock.remaining()], ["id", 0]);
  });
});

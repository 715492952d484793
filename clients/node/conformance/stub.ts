import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type ClientDuplexStream, credentials, makeClientConstructor } from "@grpc/grpc-js";
import { lockService, type SessionRequest, SessionRequestSchema, type SessionResponse } from "../src/v1/index.js";

type Kind = NonNullable<MessageInitShape<typeof SessionRequestSchema>["kind"]>;

const Stub = makeClientConstructor(lockService, "LockService");

/**
 * Acquires and releases by the generated stub alone: begins a lock on a Session and ends it, as the client does. Returns the
 * nanoseconds that it took, without those for the connection.
 */
export async function cycles(server: string, name: string, count: number): Promise<number> {
  const options = { "grpc.enable_http_proxy": 0, "grpc.use_local_subchannel_pool": 1 };
  const stub = new Stub(server.replace(/^http:\/\//, ""), credentials.createInsecure(), options);
  const stream: ClientDuplexStream<SessionRequest, SessionResponse> = stub.Session?.();
  let heed = (_response: SessionResponse) => {};
  let fail = (_error: Error) => {};
  stream.on("data", (response: SessionResponse) => heed(response)).on("error", (error) => fail(error));
  /** Sends a request, and waits for the answer of that kind. Answers to heartbeats may come before. */
  const ask = (kind: Kind, wanted: string) =>
    new Promise<void>((resolve, reject) => {
      fail = reject;
      heed = ({ kind: got }) => {
        const event = got.case === "event" ? got.value.event?.kind.case : got.case;
        if (event === wanted) resolve();
        else if (event !== "heartbeatAck") reject(new Error(`${event} instead of ${wanted}`));
      };
      stream.write(create(SessionRequestSchema, { kind }));
    });
  await ask({ case: "open", value: {} }, "opened");
  const began = process.hrtime.bigint();
  let seq = 0n;
  for (let ref = 1n; ref <= count; ref += 1n) {
    if (process.hrtime.bigint() - began > (seq + 1n) * 1_000_000_000n) {
      seq += 1n;
      stream.write(create(SessionRequestSchema, { kind: { case: "heartbeat", value: { seq } } }));
    }
    await ask({ case: "begin", value: { lockRef: ref, lock: { name } } }, "acquired");
    await ask({ case: "end", value: { lockRef: ref } }, "released");
  }
  const took = process.hrtime.bigint() - began;
  stream.end();
  stub.close();
  return Number(took);
}

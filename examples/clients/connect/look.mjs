// Looks at a lock, and takes it for a moment, by Connect (https://connectrpc.com) over the broker's HTTP door:
//
//   node look.mjs URL NAME            such as http://127.0.0.1:28554 nightly
//
// It reads the descriptors of the proto when it starts. In a project of your own, generate them: docs/http.md.
import { readFileSync } from "node:fs";
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-node";

const descriptors = new URL("../../../clients/rust/src/proto/lockbroker.v1.bin", import.meta.url);
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync(descriptors)));
const service = registry.getService("lockbroker.v1.LockService");

/** The reason of an error, for programs. */
function reasonOf(error) {
  const info = error.details.find((detail) => detail.type === "google.rpc.ErrorInfo");
  return info?.debug.reason;
}

async function look(client, name) {
  const seen = await client.getLock({ name }, { timeoutMs: 5000 });
  const states = registry.getEnum("lockbroker.v1.GetLockResponse.State");
  console.log("state", states.value[seen.state].name, seen.owner);
}

const [, , url, name] = process.argv;
for (const [httpVersion, useBinaryFormat] of [["1.1", false], ["1.1", true], ["2", false], ["2", true]]) {
  const client = createClient(service, createConnectTransport({ baseUrl: url, httpVersion, useBinaryFormat }));
  console.log("by", httpVersion, useBinaryFormat ? "proto" : "json");
  await look(client, name);
  try {
    await client.getLock({ name: "" });
  } catch (error) {
    const failed = ConnectError.from(error);
    console.log("failed", Code[failed.code], reasonOf(failed), failed.rawMessage);
  }
  // Aborting the call releases the lock. Leaving the loop alone does not end the call.
  const held = new AbortController();
  const lock = { name, owner: "connect" };
  for await (const { event } of client.waitAcquire({ lock }, { signal: held.signal })) {
    if (event.kind.case !== "acquired") continue;
    console.log("acquired", event.kind.value.fencingToken > 0n);
    await look(client, name);
    break;
  }
  held.abort();
  try {
    for await (const _ of client.waitAcquire({ lock: {} })) {
      console.log("an event without a name");
    }
  } catch (error) {
    const failed = ConnectError.from(error);
    console.log("failed", Code[failed.code], reasonOf(failed));
  }
}

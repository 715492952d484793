/**
 * A client that takes a command a line: lock NAME, adopt NAME ID, check, spin MILLISECONDS, release, exit, throw, end. It says
 * what comes of each.
 */
import { createInterface } from "node:readline";
import { connect, type Lock } from "../../src/index.js";

const server = process.argv[2] || undefined;
const { TTL, WORKER } = process.env;
const client = connect(server, { ttl: TTL ? Number(TTL) : undefined, worker: WORKER !== "false" });
let lock: Lock | undefined;

async function obey([verb, name = "", id = ""]: string[]): Promise<void> {
  switch (verb) {
    case "lock":
      lock = await client.lock(name, { wait: 10_000 });
      break;
    case "adopt":
      lock = await client.adopt(name, id);
      break;
    case "check":
      lock?.check();
      break;
    case "spin":
      for (const end = performance.now() + Number(name); performance.now() < end; );
      // Before anything else gets to run.
      lock?.check();
      break;
    case "release":
      await lock?.release();
      break;
    case "exit":
      process.exit(3);
      break;
    case "throw":
      setImmediate(() => {
        throw new Error("as the test wants it");
      });
      return;
    case "end":
      lines.close();
      process.stdin.destroy();
  }
}

const lines = createInterface(process.stdin);
lines.on("line", async (line) => {
  const words = line.split(" ");
  try {
    await obey(words);
    const held = words[0] === "lock" || words[0] === "adopt" ? ` ${lock?.fencingToken} ${lock?.lockId}` : "";
    console.log(`ok ${words[0]}${held}`);
  } catch (error) {
    console.log(`error ${words[0]} ${error}`);
  }
});

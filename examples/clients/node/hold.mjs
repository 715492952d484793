// Holds a lock while it works, and never works without it.
//
//     node hold.mjs SERVER NAME [WAIT_SECONDS [WORK_SECONDS]]
//
// SERVER is http://HOST:PORT or unix:/PATH. Exit status: 0 the work is done, 1 it was stopped half-way, 2 wrong usage,
// 69 no broker answered, 75 somebody else has the lock.
import { EventEmitter, once } from "node:events";
import { uptime } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const TTL = 15; // For how long a grant stands without renewal, in seconds.
const MARGIN = TTL / 30; // Stops this much early, as the broker does. The last step of the work has this long.
const SILENCE = 15_000; // ms. A broker repeats `queued` every 5 s. One that says nothing for this long is gone.

const proto = new URL("../../../proto", import.meta.url).pathname;
// `defaults`: a field of zero is 0 and not undefined, which would make validities NaN.
const loading = { includeDirs: [proto], keepCase: true, defaults: true, oneofs: true, longs: Number, enums: String };
const types = loadSync("lockbroker/v1/lockbroker.proto", loading);
const { LockService } = grpc.loadPackageDefinition(types).lockbroker.v1;

// Seconds of a clock that runs on while the machine is suspended, as performance.now() does not.
const now = () => uptime();
const seconds = (duration) => duration.seconds + duration.nanos / 1e9;
const say = (line) => console.log(line);

class Lock extends EventEmitter {
  lockId = "";
  token = 0;
  until = 0;
  stopped = null;

  constructor(client, name, wait) {
    super();
    Object.assign(this, { client, name });
    this.sent = now(); // Before the call: all times that the broker tells count from here.
    // No deadline: the stream would end with it, and so would the lock. A max_wait of 0 tries once.
    const spec = { max_wait: { seconds: wait } };
    this.stream = client.WaitAcquire({ lock: { name }, ttl: { seconds: TTL }, wait: spec });
    this.stream.on("data", ({ event }) => this.heed(event));
    // Without a handler for "error" Node would end the process.
    this.stream.on("error", (error) => this.stop(error.message));
    this.stream.on("end", () => this.stop("the stream has ended"));
  }

  heed(event) {
    const said = event[event.kind];
    if (event.kind === "acquired" || event.kind === "renewed") {
      // Counts from the request, not from now. So it grows with every renewal.
      this.until = this.sent + seconds(said.expires_after_request) - MARGIN;
      if (event.kind === "acquired") Object.assign(this, { lockId: said.lock_id, token: said.fencing_token });
    } else if (event.kind === "queued") {
      say(`waiting: place ${said.position}`);
    } else if (["not_acquired", "lost", "released", "draining"].includes(event.kind)) {
      // `draining`: the broker is going away. It renews for a while yet: enough to end the work.
      this.stop(event.kind);
    } // A broker may say more than this program knows: it passes over the rest.
    this.emit("change");
  }

  stop(why) {
    this.stopped ??= why;
    this.emit("change");
  }

  // Returns when the lock is held, or when it is certain that it will not be.
  async wait() {
    while (!this.lockId && !this.stopped) {
      const signal = AbortSignal.timeout(SILENCE);
      await once(this, "change", { signal }).catch(() => this.stop("no answer"));
    }
  }

  // Says whether the work may go on. Ask before every step.
  held() {
    if (!(now() < this.until)) this.stop("no renewal came in time");
    return !this.stopped;
  }

  // Gives the lock back. Call it when the work has stopped, not before.
  async release() {
    if (this.lockId) {
      const request = { name: this.name, lock_id: this.lockId };
      const options = { deadline: Date.now() + 3000 };
      await new Promise((done) =>
        this.client.Release(request, options, (error) => {
          if (error) console.error(`not released: ${error.message}`);
          done();
        }),
      );
    }
    this.stream.cancel(); // Releases too, and gives up a wait.
  }
}

// The work, in steps that are short beside MARGIN. Send `lock.token` along with every write.
// A step that keeps the event loop busy keeps the lock's messages out: no renewal is seen meanwhile.
async function work(lock, span) {
  for (const end = performance.now() + span * 1000; lock.held(); await sleep(20)) {
    if (performance.now() >= end) return true;
    say("acting");
  }
  return false;
}

async function main(server, name, wait, span) {
  const options = { "grpc.enable_http_proxy": 0 };
  const target = server.replace(/^http:\/\//, "");
  const client = new LockService(target, grpc.credentials.createInsecure(), options);
  const lock = new Lock(client, name, wait);
  for (const name of ["SIGTERM", "SIGINT"]) process.on(name, () => lock.stop(name)); // Ends the work; `finally` releases.
  try {
    await lock.wait();
    if (!lock.lockId) {
      say(`not acquired: ${lock.stopped}`);
      return lock.stopped === "not_acquired" ? 75 : 69;
    }
    say(`acquired: token ${lock.token}`);
    const done = await work(lock, span);
    say(done ? "done" : `stopped: ${lock.stopped}`);
    return done ? 0 : 1;
  } finally {
    await lock.release();
    client.close();
  }
}

const [server, name, wait = 0, span = 60, ...more] = process.argv.slice(2);
if (name === undefined || more.length || Number.isNaN(Number(wait)) || Number.isNaN(Number(span))) {
  console.error("usage: node hold.mjs SERVER NAME [WAIT_SECONDS [WORK_SECONDS]]");
  process.exitCode = 2;
} else {
  process.exitCode = await main(server, name, Number(wait), Number(span));
}

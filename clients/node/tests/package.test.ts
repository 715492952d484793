/** The package as users get it: what is in it, its types, and the samples of its page. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { promisify } from "node:util";
import { folder, startBroker } from "./support/broker.js";
import { Authority } from "./support/certificates.js";
import { here } from "./support/paths.js";
import { fileScope } from "./support/process.js";

const execute = promisify(execFile);
/** Runs a program, and ends one that hangs. */
const run = (file: string, args: string[], options: { cwd?: string; env?: NodeJS.ProcessEnv } = {}) =>
  execute(file, args, { ...options, timeout: 60_000 });
const scope = fileScope();
/** A user's program is here. Node finds what else it needs in the folders above. */
const user = `${here}/build/user`;
let tarball: string;
let files: string[];

before(async () => {
  rmSync(user, { recursive: true, force: true });
  const installed = `${user}/node_modules/lockbroker`;
  mkdirSync(installed, { recursive: true });
  const { stdout } = await run("npm", ["pack", "--json", "--silent", "--pack-destination", user], { cwd: here });
  const [packed] = JSON.parse(stdout.slice(stdout.indexOf("[")));
  tarball = `${user}/${packed.filename}`;
  files = packed.files.map(({ path }: { path: string }) => path);
  await run("tar", ["--extract", "--strip-components=1", "--file", tarball, "--directory", installed]);
  writeFileSync(`${user}/package.json`, '{ "type": "module" }');
});

async function tool(name: string, ...args: string[]): Promise<string> {
  try {
    return (await run(`${here}/node_modules/.bin/${name}`, args, { cwd: user })).stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    return assert.fail(`${name}:\n${stdout}\n${stderr}`);
  }
}

async function node(args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  try {
    return (await run(process.execPath, args, { cwd: user, env: { ...process.env, ...env, NODE_TEST_CONTEXT: undefined } }))
      .stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    return assert.fail(`node ${args}:\n${stdout}\n${stderr}`);
  }
}

describe("the package", () => {
  test("has what it needs and nothing else", () => {
    for (const file of [
      "LICENSE-MIT",
      "LICENSE-APACHE",
      "README.md",
      "dist/index.js",
      "dist/index.d.ts",
      "dist/engine/worker.js",
    ]) {
      assert.ok(files.includes(file), `no ${file}`);
    }
    const strange = files.filter((file) => !/^(dist\/.*\.(js|d\.ts)|LICENSE-\w+|README\.md|package\.json)$/.test(file));
    assert.deepEqual(strange, []);
  });

  test("is as registries and TypeScript want it", async () => {
    await tool("publint", tarball, "--strict");
    await tool("attw", tarball, "--profile", "esm-only");
  });

  test("can be required", async () => {
    const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
    if (major === 20 && minor < 19) return;
    writeFileSync(`${user}/required.cjs`, 'console.log(typeof require("lockbroker").connect);');
    assert.equal(await node(["required.cjs"]), "function\n");
  });
});

describe("the page", () => {
  test("its samples run as they stand, in a program of a user's", async () => {
    const { program, functions, statements, tests } = await samples();
    writeFileSync(`${user}/program.ts`, program);
    writeFileSync(`${user}/samples.ts`, `${SAMPLES}\n${functions}\n${statements}\n${CALLS}`);
    writeFileSync(`${user}/page.test.ts`, `${tests}\n${TESTS}`);
    // As users have it: with the types of the package looked at.
    const config = {
      compilerOptions: {
        module: "nodenext",
        target: "es2022",
        lib: ["es2022", "esnext.disposable"],
        types: ["node"],
        strict: true,
      },
      include: ["*.ts"],
    };
    writeFileSync(`${user}/tsconfig.json`, JSON.stringify(config));
    await tool("tsc");
    const broker = await startBroker(scope);
    const env = { LOCKBROKER_SERVER: broker.url };
    assert.match(await node(["program.js"], env), /^working, with the token \d+\n$/);
    assert.match(await node(["samples.js"], env), /all samples have run/);
    assert.match(await node(["--test", "page.test.js"]), /pass 1/);
  });
});

/** Returns the samples of the page, with places of brokers that are there. */
async function samples() {
  const authority = new Authority(scope);
  const { cert, key } = authority.sign("broker");
  const mine = authority.sign("client");
  const socket = `${folder(scope)}/lb.sock`;
  const tls = ["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", authority.file];
  const [plain, secure] = await Promise.all([
    startBroker(scope),
    startBroker(scope, ...tls),
    startBroker(scope, "--listen", `unix:${socket}`),
  ]);
  const places: Record<string, string> = {
    "http://10.0.0.7:28551": "http://127.0.0.1:9",
    "http://10.0.0.8:28551": plain.url,
    "https://broker.example:28551": secure.url,
    "/run/lockbroker/lb.sock": socket,
    "/etc/lockbroker/ca.pem": authority.file,
    "/etc/lockbroker/client.pem": mine.cert,
    "/etc/lockbroker/client-key.pem": mine.key,
  };
  const found = { program: "", functions: "", statements: "", tests: "" };
  const page = readFileSync(`${here}/README.md`, "utf8");
  for (const [, file, text = ""] of page.matchAll(/(?:<!-- (\S+) -->\n)?```ts\n(.*?)```/gs)) {
    if (file !== undefined) {
      assert.ok(readFileSync(`${here}/${file}`, "utf8").includes(text), `${file} has no such lines:\n${text}`);
      continue;
    }
    const code = Object.entries(places).reduce((code, [from, to]) => code.replaceAll(from, to), text);
    if (code.includes("node:test")) found.tests += code;
    else if (code.startsWith("import")) found.program += code;
    else if (code.startsWith("async function")) found.functions += code;
    else found.statements += code;
  }
  for (const [kind, code] of Object.entries(found)) assert.ok(code !== "", `no ${kind} on the page`);
  return found;
}

const SAMPLES = `
import { type Client, connect, type HeldLock, NotAcquiredError } from "lockbroker";

const pages = [1, 2];
async function writeReport(_: { signal: AbortSignal; token: number }) {}
async function writePage(_: number, __: { signal: AbortSignal }) {}
async function runJob() {}
async function readData() {}
async function writeData() {}
async function work(_: number | undefined) {}
async function load(_: readonly HeldLock[]) {}
async function fence(_: string, __: number) {}
async function lead(_: { signal: AbortSignal; token: number }) {}
`;

const CALLS = `
for (const client of [several, sidecar, secure]) {
  await report(client);
  await nightly(client, new AbortController().signal);
  await steps(client);
  await exportAll(client);
  await behindProxy(client);
  await hourly(client);
  await hourly(client);
  await severalAtATime(client);
  await transfer(client);
  const stop = new AbortController();
  const following = follow(client, stop.signal);
  await campaign(client);
  stop.abort();
  await following.catch((error) => {
    if (error.name !== "AbortError") throw error;
  });
  const lease = await client.lease("gone on with");
  await (await goOn(client, "gone on with", lease.lockId)).release();
  await client.close();
}
console.log("all samples have run");
`;

const TESTS = `
function writeReport({ signal }: { signal: AbortSignal }): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}
`;

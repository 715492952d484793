/** Starts programs for tests, and kills them when their test ends. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

/** Longer than anything takes that a test waits for, in milliseconds. */
export const SOON = 20_000;

/** Waits until something holds, and fails if that takes too long. */
export async function eventually(what: string, is: () => boolean | Promise<boolean>): Promise<void> {
  const begun = performance.now();
  while (!(await is())) {
    assert.ok(performance.now() - begun < SOON, `not within ${SOON} ms: ${what}`);
    await sleep(10);
  }
}

const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Ends something when a test ends, or all tests of a file. */
export interface Scope {
  after(end: () => void | Promise<void>): void;
}

/** Returns the scope of a file. Call it outside of tests. */
export function fileScope(): Scope {
  const ends: (() => void | Promise<void>)[] = [];
  after(async () => {
    for (const end of ends.reverse()) await end();
  });
  return { after: (end) => ends.push(end) };
}

/** A program under test. */
export class Program {
  readonly child: ChildProcess;
  readonly #ended: Promise<number | null>;
  #lines: string[] = [];
  #hasExited = false;

  constructor(t: Scope, program: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] });
    running.add(this.child);
    this.#ended = new Promise((resolve, reject) => {
      this.child.on("error", reject);
      this.child.on("close", (code) => {
        this.#hasExited = true;
        running.delete(this.child);
        resolve(code);
      });
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      let rest = "";
      stream?.setEncoding("utf8").on("data", (text: string) => {
        const lines = (rest + text).split("\n");
        rest = lines.pop() ?? "";
        this.#lines.push(...lines);
      });
    }
    // A child that was killed takes no more input.
    this.child.stdin?.on("error", () => {});
    t.after(async () => {
      this.signal("SIGCONT");
      this.kill();
      await this.exited;
    });
  }

  /** Its status, when it has ended. Fails if that takes too long, and says what the program has said. */
  get exited(): Promise<number | null> {
    const late = sleep(SOON, undefined, { ref: false }).then(() => {
      assert.fail(`${this.child.spawnargs.join(" ")} has not ended within ${SOON} ms:\n${this.text}`);
    });
    return Promise.race([this.#ended, late]);
  }

  get text(): string {
    return this.#lines.slice(-40).join("\n");
  }

  /** Waits for a line that `find` makes something of, behind the first `skip` lines. Fails if the program ends before. */
  async line<T>(find: (line: string) => T | undefined, skip = 0): Promise<T> {
    let found: T | undefined;
    await eventually("a line that is waited for", () => {
      const hasExited = this.#hasExited;
      for (const line of this.#lines.slice(skip)) found ??= find(line);
      assert.ok(found !== undefined || !hasExited, `it has ended:\n${this.text}`);
      return found !== undefined;
    });
    return found as T;
  }

  get lineCount(): number {
    return this.#lines.length;
  }

  write(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  kill(): void {
    this.signal("SIGKILL");
  }
}

/**
 * A run coordinator for node-cron: of the programs that have a task, one runs it each time.
 *
 *     setRunCoordinator(runCoordinator(client));
 *     schedule("0 3 * * *", report, { name: "report", distributed: true });
 *
 * @module
 */
import type { Client } from "./client.js";
import type { Lock } from "./lock.js";
import type { LockOptions } from "./options.js";

/** The longest linger that a broker takes, in milliseconds. */
const LONGEST_LINGER = 3_600_000;

/** The settings of a run coordinator. */
export interface RunCoordinatorOptions extends Omit<LockOptions, "signal"> {
  /** Put before the name of each lock, so that tasks of several programs may have one name. Default: `node-cron/`. */
  readonly prefix?: string | undefined;
}

/** The functions that node-cron calls, and the locks of the tasks that are running. */
export interface LockRunCoordinator {
  shouldRun(key: string, ttlMs: number): Promise<boolean>;
  onComplete(key: string): Promise<void>;
  /**
   * Returns the lock under which a task runs, by what node-cron gives the task: its name and the time that it was due at.
   * Undefined if it does not run here. Give `lock.signal` to the work, and `lock.fencingToken` to what it writes.
   */
  lockOf(context: {
    readonly task?: { readonly name?: string | undefined } | undefined;
    readonly date: Date;
  }): Lock | undefined;
}

/**
 * Makes a run coordinator that holds a lock for each run. After the run the lock lingers for the task's `distributedLease`,
 * so that a program whose clock is late does not run it again; for up to an hour.
 *
 * A broker that cannot be reached makes node-cron skip the run, and say so.
 */
export function runCoordinator(client: Client, options: RunCoordinatorOptions = {}): LockRunCoordinator {
  const { prefix = "node-cron/", owner, linger } = options;
  const locks = new Map<string, Lock>();
  return {
    async shouldRun(key, ttlMs) {
      const lock = await client.tryLock(prefix + key, { owner, linger: linger ?? Math.min(ttlMs, LONGEST_LINGER) });
      if (lock === null) return false;
      locks.set(key, lock);
      return true;
    },
    async onComplete(key) {
      const lock = locks.get(key);
      locks.delete(key);
      await lock?.release();
    },
    lockOf({ task, date }) {
      return locks.get(`${task?.name}:${date.toISOString()}`);
    },
  };
}

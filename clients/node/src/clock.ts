/**
 * Reads the clock of leases. It runs on while the machine is suspended (docs/safety.md, A2), as `process.hrtime` and timers
 * do not. All threads of a process read the same clock.
 */
import { uptime } from "node:os";
import type { Moment } from "./core/types.js";

/**
 * Reads a clock that runs on in suspend, in milliseconds. On Linux it is /proc/uptime, in steps of 10 ms, and on Windows
 * GetTickCount64. macOS tells its uptime in whole seconds. There it is the time of day: setting that forward loses locks, and
 * setting it back by so many seconds hides as many of a later suspend. That cannot be made up for here: threads that look at
 * different moments would no longer read the same clock. The README tells it.
 */
const readSuspended = ["linux", "android", "win32"].includes(process.platform) ? () => uptime() * 1000 : () => Date.now();

/** The longest time of a timer, in milliseconds. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** The greatest lead of the clock that runs on over the one that is exact: it grows by every suspend. */
let lead = Number.NEGATIVE_INFINITY;

/**
 * Returns the present moment: the exact clock, plus the greatest lead that was ever seen. So it is never slower than either
 * clock by more than a step, and never goes back.
 */
export function now(): Moment {
  // In this order: a thread that is stopped in between sees too small a lead, which does no harm.
  const suspended = readSuspended();
  const exact = Number(process.hrtime.bigint()) / 1e6;
  lead = Math.max(lead, suspended - exact);
  return exact + lead;
}

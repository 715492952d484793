/** Checks what the user has given, where a wrong value would not reach the broker as it is. */
import { LockbrokerError } from "./errors.js";

/** Returns a text. Throws an `INVALID` error for anything else. */
export function text(option: string, value: unknown, lock: string): string {
  if (typeof value !== "string") throw invalid(lock, `${option} is to be a string, and not ${show(value)}`);
  // A lone surrogate would be sent as another character, and so name another lock.
  if (/\p{Surrogate}/u.test(value)) throw invalid(lock, `${option} is no valid Unicode`);
  return value;
}

export function optionalText(option: string, value: unknown, lock: string): string | undefined {
  return value === undefined ? undefined : text(option, value, lock);
}

/** Returns a time in milliseconds. Throws an `INVALID` error for anything else. */
export function optionalTime(option: string, value: unknown, lock: string, mayBeEndless = false): number | undefined {
  if (value === undefined) return undefined;
  const isNumber = typeof value === "number" && (Number.isFinite(value) || (mayBeEndless && value === Infinity));
  if (!isNumber) throw invalid(lock, `${option} is to be a number of milliseconds, and not ${show(value)}`);
  return value;
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** Makes an `INVALID` error about a lock. */
export function invalid(lock: unknown, message: string): LockbrokerError {
  return new LockbrokerError({ code: "INVALID", lock: typeof lock === "string" ? lock : "", text: message });
}

/** Checks what the user has given, where a wrong value would not reach the broker as it is. */
import { type LockSpec, othersOf } from "./core/types.js";
import { LockbrokerError } from "./errors.js";

/**
 * The most bytes of a text that is sent. Brokers take less. But a message above 4 KiB ends the whole Session, which the locks
 * of the client share, and it would be sent again on the next one.
 */
const MOST_BYTES = 1024;
/** The same of a lock with a value, which all has to fit into one message. */
const MOST_BESIDE_VALUE = 512;

/** The most bytes of a value. */
const MOST_VALUE_BYTES = 1024;

/** The most permits of a lock. */
export const MOST_PERMITS = 4096;

/** The most locks that are asked for together with another. */
const MOST_ALSO = 15;
/** The most bytes that several may take, which one message names: the request, or that which moves them. */
const MOST_TOGETHER_BYTES = 3800;
/** The most bytes that one of several takes beside its name and its owner: its id, its times, and what frames them. */
const BESIDE_TEXTS = 100;

/** Returns a text. Throws an `INVALID` error for anything else, and for a text that no broker takes because of its length. */
export function text(option: string, value: unknown, lock: string): string {
  if (typeof value !== "string") throw invalid(lock, `${option} is to be a string, and not ${show(value)}`);
  // A lone surrogate would be sent as another character, and so name another lock.
  if (/\p{Surrogate}/u.test(value)) throw invalid(lock, `${option} is no valid Unicode`);
  const bytes = Buffer.byteLength(value);
  if (bytes > MOST_BYTES) throw tooLong(option, bytes, lock);
  return value;
}

export function optionalText(option: string, value: unknown, lock: string): string | undefined {
  return value === undefined ? undefined : text(option, value, lock);
}

/** Returns the names of locks that are asked for together with another. Throws an `INVALID` error for anything else. */
export function namesTogether(also: unknown, lock: string): readonly string[] {
  if (also === undefined) return [];
  if (!Array.isArray(also)) throw invalid(lock, `also is to be an array of names, and not ${show(also)}`);
  if (also.length > MOST_ALSO) {
    throw invalid(lock, `${also.length} other locks are asked for together with it: take at most ${MOST_ALSO}`);
  }
  return also.map((name) => text("a name in also", name, lock));
}

/** Throws an `INVALID` error for locks and permits that cannot be had together, or that one message cannot name. */
export function together(spec: LockSpec): void {
  const { name: lock, owner, also = [], shared, value } = spec;
  if (also.length > 0 && (shared?.weight ?? 1) > 1) {
    throw invalid(lock, "a weight is for one lock alone, and others are asked for together with it");
  }
  if (also.length > 0 && value !== undefined) {
    throw invalid(lock, "a value is for one lock alone, and others are asked for together with it");
  }
  if (shared !== undefined && value !== undefined) {
    throw invalid(lock, "a value is for a lock that one holder has alone, and it is asked for as a shared one");
  }
  const others = othersOf(spec);
  const bytes = [lock, ...others].reduce((sum, name) => sum + Buffer.byteLength(name + owner) + BESIDE_TEXTS, 0);
  if (others.length > 0 && bytes > MOST_TOGETHER_BYTES) {
    throw invalid(lock, "the names of the locks that are asked for together, and the owner, are too long for one message");
  }
}

/** Returns how many may share a lock. Throws an `INVALID` error for anything else that is set. */
export function permitLimit(limit: unknown, lock: string): number | undefined {
  return optionalWhole("limit", limit, lock, 1, MOST_PERMITS);
}

/** Returns how many permits to take. Throws an `INVALID` error for anything else that is set. */
export function permitWeight(weight: unknown, limit: number | undefined, lock: string): number | undefined {
  return optionalWhole("weight", weight, lock, 1, Math.min(MOST_ALSO + 1, limit ?? MOST_PERMITS));
}

/** Returns a copy of a value, and of a text its UTF-8. Throws an `INVALID` error for anything else, and for one that is too long. */
export function lockValue(value: unknown, lock: string): Uint8Array {
  if (typeof value !== "string" && !(value instanceof Uint8Array)) {
    throw invalid(lock, `value is to be a string or a Uint8Array, and not ${show(value)}`);
  }
  // A lone surrogate would be sent as another character.
  if (typeof value === "string" && /\p{Surrogate}/u.test(value)) throw invalid(lock, "value is no valid Unicode");
  const bytes = new Uint8Array(typeof value === "string" ? Buffer.from(value) : value);
  if (bytes.length > MOST_VALUE_BYTES) {
    throw invalid(lock, `value has ${bytes.length} bytes, and brokers take at most ${MOST_VALUE_BYTES}`);
  }
  return bytes;
}

/** Throws an `INVALID` error for a text that does not fit into one message with a value. */
export function besideValue(option: string, text: string, lock: string): void {
  const bytes = Buffer.byteLength(text);
  if (bytes > MOST_BESIDE_VALUE) throw tooLong(option, bytes, lock);
}

function tooLong(option: string, bytes: number, lock: string): LockbrokerError {
  return invalid(lock, `${option} has ${bytes} bytes, and brokers take names of at most 128 bytes`);
}

/** Returns a signal; undefined if there is none. Throws an `INVALID` error for anything else. */
export function optionalSignal(value: AbortSignal | null | undefined, lock: string): AbortSignal | undefined {
  if (value === undefined || value === null) return undefined;
  // By what it can do: another realm, such as a test runner's, has a class of its own.
  if (typeof value.aborted !== "boolean" || typeof value.addEventListener !== "function") {
    throw invalid(lock, `signal is to be an AbortSignal, and not ${show(value)}`);
  }
  return value;
}

/** Returns a time in milliseconds, 0 or more. Throws an `INVALID` error for anything else. */
export function optionalTime(option: string, value: unknown, lock: string, mayBeEndless = false): number | undefined {
  if (value === undefined) return undefined;
  const isNumber = typeof value === "number" && (Number.isFinite(value) || (mayBeEndless && value === Infinity));
  if (!isNumber) throw invalid(lock, `${option} is to be a number of milliseconds, and not ${show(value)}`);
  if (value < 0) throw invalid(lock, `${option} is to be 0 or more, and not ${value}`);
  return value;
}

/** Returns true or false. Throws an `INVALID` error for anything else that is set. */
export function optionalBoolean(option: string, value: unknown, lock: string): boolean | undefined {
  if (value === undefined || typeof value === "boolean") return value;
  throw invalid(lock, `${option} is to be true or false, and not ${show(value)}`);
}

/** Returns a whole number from `least` to `most`. Throws an `INVALID` error for anything else that is set. */
export function optionalWhole(
  option: string,
  value: unknown,
  lock: string,
  least: number,
  most: number,
): number | undefined {
  if (value === undefined) return undefined;
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return value as number;
  throw invalid(lock, `${option} is to be a whole number from ${least} to ${most}, and not ${show(value)}`);
}

function show(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** Makes an `INVALID` error about a lock. */
export function invalid(lock: unknown, message: string): LockbrokerError {
  return new LockbrokerError({ code: "INVALID", lock: typeof lock === "string" ? lock : "", text: message });
}

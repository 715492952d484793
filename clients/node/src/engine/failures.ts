import type { Failure } from "../core/types.js";
import type { ErrorCode, ErrorData } from "../errors.js";

const CODES: Record<string, ErrorCode> = {
  INVALID_ARGUMENT: "INVALID",
  UNAVAILABLE: "UNAVAILABLE",
  HANDSHAKE: "UNAVAILABLE",
  RESOURCE_EXHAUSTED: "EXHAUSTED",
  PERMISSION_DENIED: "DENIED",
  UNAUTHENTICATED: "DENIED",
};

const WHAT: Partial<Record<ErrorCode, string>> = {
  INVALID: "invalid request",
  UNAVAILABLE: "unavailable",
  EXHAUSTED: "no room",
  DENIED: "not allowed",
  UNEXPECTED: "unexpected answer",
};

/** Makes the error of a call, or of one lock of a Session, that failed. */
export function fromFailure(lock: string, failure: Failure): ErrorData {
  const code = CODES[failure.code] ?? "UNEXPECTED";
  // The broker names the lock in its text, and so does the error.
  const prefix = `lock "${lock}": `;
  const message = failure.message.startsWith(prefix) ? failure.message.slice(prefix.length) : failure.message;
  const status = code === "UNEXPECTED" ? `status ${failure.code}: ` : "";
  const { reason, retryAfter } = failure;
  return { code, lock, text: `${WHAT[code]}: ${status}${message}`, reason, retryAfter };
}

/** Makes the error of an answer that a broker does not give. */
export function unexpected(lock: string, what: string): ErrorData {
  return { code: "UNEXPECTED", lock, text: `unexpected answer: ${what}` };
}

/** Makes the failure of an update of a lock that has no value. */
export function noValue(lock: string): CallFailed {
  const message = "it was asked for without a value, so it can be given none";
  const failure = { code: "INVALID_ARGUMENT", message, reason: "" };
  return new CallFailed(failure, fromFailure(lock, failure));
}

/** A call that failed. */
export class CallFailed extends Error {
  constructor(
    readonly failure: Failure,
    readonly data: ErrorData,
  ) {
    super(data.text);
  }
}

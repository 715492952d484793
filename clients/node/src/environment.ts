import { type ErrorCode, LockbrokerError } from "./errors.js";
import type { TlsFiles } from "./tls.js";

/** The place where a broker listens unless it is told otherwise. */
const DEFAULT_SERVER = "http://127.0.0.1:28551";

/**
 * Reads where the brokers are, and the files for TLS. A variable that is set and empty is an error: without it, other locks
 * would be taken than the others take.
 */
export function fromEnvironment(): { server: string; files: TlsFiles } {
  const server = read("LOCKBROKER_SERVER", "ENDPOINT") ?? DEFAULT_SERVER;
  const files = {
    ca: read("LOCKBROKER_CLIENT_TLS_CA", "TLS"),
    cert: read("LOCKBROKER_CLIENT_TLS_CERT", "TLS"),
    key: read("LOCKBROKER_CLIENT_TLS_KEY", "TLS"),
  };
  return { server, files };
}

function read(name: string, code: ErrorCode): string | undefined {
  const value = process.env[name];
  if (value?.trim() === "") {
    throw new LockbrokerError({ code, lock: "", text: `${name} is empty: unset it, or give it a value` });
  }
  return value;
}

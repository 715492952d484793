import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContext } from "node:tls";
import { LockbrokerError } from "./errors.js";

/**
 * The PEM files by which a client verifies its broker, and proves its own identity. They are read again for every
 * connection, so renew them in place.
 */
export interface TlsFiles {
  /** The certificates of the authorities that the broker's certificate must come from. Default: those that Node trusts. */
  readonly ca?: string | undefined;
  /** The client's certificate. Default: none. */
  readonly cert?: string | undefined;
  /** The private key of `cert`. */
  readonly key?: string | undefined;
}

/** Makes TLS settings of what the files say now. Throws a `TLS` error. */
export function readTls({ ca, cert, key }: TlsFiles): SecureContext {
  const files = {
    ca: ca === undefined ? undefined : read(ca, "the authorities"),
    cert: cert === undefined ? undefined : read(cert, "the certificate"),
    key: key === undefined ? undefined : read(key, "the key"),
  };
  if ((cert === undefined) !== (key === undefined)) {
    throw wrong("a certificate needs its key, and a key its certificate: only one of them is set");
  }
  if (files.ca !== undefined && !files.ca.includes("-----BEGIN CERTIFICATE-----")) {
    throw wrong(`${ca} has no certificate in PEM`);
  }
  try {
    return createSecureContext({ ...files, minVersion: "TLSv1.2" });
  } catch (error) {
    throw wrong(cert === undefined ? `cannot use ${ca}: ${told(error)}` : `cannot use ${cert} with ${key}: ${told(error)}`);
  }
}

function read(file: string, what: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw wrong(`cannot read ${what}: ${told(error)}`);
  }
}

function told(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function wrong(text: string): LockbrokerError {
  return new LockbrokerError({ code: "TLS", lock: "", text: `cannot use TLS: ${text}` });
}

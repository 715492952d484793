/** Tells why the two sides of a connection cannot talk to each other, from what grpc-js says of a connection that failed. */
import { connect } from "node:net";
import type { Endpoint } from "../endpoint.js";
import type { ErrorData } from "../errors.js";

/** Returns why there is no connection, without the words that grpc-js puts around it. */
export function cause(details: string): string {
  const [, last = details] = /Last error: (.*)\. Resolution note/s.exec(details) ?? [];
  return last
    .replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)$/, "")
    .replace(/^Error(?: \[\w+\])?: /, "")
    .trim();
}

/** Returns the reason if the two sides do not agree on TLS or on the protocol; undefined if that is not why. */
export async function findDisagreement(endpoint: Endpoint, why: string, within: number): Promise<ErrorData | undefined> {
  if (endpoint.kind === "tcp" && endpoint.isTls) return ofTls(endpoint.name, why);
  // A connection that was closed at once may have had TLS at the other end. grpc-js does not say what came.
  if (!/Protocol error|Failed to connect|Connection closed/.test(why)) return undefined;
  return ofPlainText(endpoint.name, await firstByte(endpoint, Math.min(within, LONGEST_LOOK)));
}

/** The advice for each complaint of TLS, by the words of OpenSSL and Node. */
const COMPLAINTS: readonly (readonly [RegExp, string])[] = [
  [
    /unable to (verify|get)|self.signed/i,
    "no authority that this client trusts vouches for the broker; name its authority with tls.ca",
  ],
  [
    /altnames/i,
    "the broker's certificate is for other names; name the broker as one of them, or make a certificate with this one in its " +
      "subjectAltName",
  ],
  [
    /certificate has expired|certificate is not yet valid/i,
    "the broker's certificate has expired or is not valid yet, or the clock of this machine is wrong",
  ],
  [
    /alert certificate required|alert handshake failure/i,
    "the broker lets in only clients that show a certificate; give one with tls.cert and tls.key",
  ],
  [
    /alert .*(certificate|unknown ca|decrypt|access denied)/i,
    "the broker does not accept this client's certificate: it has expired, or comes from no authority of the broker's " +
      "--tls-client-ca",
  ],
  [/certificate/i, "the broker's certificate is not accepted"],
  [/SSL routines|ERR_SSL/, "the handshake of TLS failed"],
];

function ofTls(name: string, why: string): ErrorData | undefined {
  if (/wrong version number|packet length too long|http request/i.test(why)) {
    return { code: "PROTOCOL", lock: "", text: `${name} speaks no TLS; write http:// for plain text` };
  }
  const complaint = COMPLAINTS.find(([words]) => words.test(why));
  if (complaint === undefined) return undefined;
  const text = `cannot agree on TLS with the broker at ${name}: ${complaint[1]} (${why})`;
  return { code: "HANDSHAKE", lock: "", text };
}

/** The first byte of an alert of TLS, the answer to what is no TLS. */
const ALERT = 0x15;
/** The first byte of HTTP/2. A server begins with a frame of settings, and its length is below 2^16. */
const HTTP2 = 0;

function ofPlainText(name: string, first: number | undefined): ErrorData | undefined {
  if (first === undefined || first === HTTP2) return undefined;
  const text =
    first === ALERT
      ? `${name} speaks TLS; write https://`
      : `${name} does not speak HTTP/2, as brokers do; check the address, or write https:// for TLS`;
  return { code: "PROTOCOL", lock: "", text };
}

/** The longest time to look at what a server says, in milliseconds. */
const LONGEST_LOOK = 1000;
const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** Begins HTTP/2 on a connection of its own, and returns the first byte of the answer; undefined if there is none. */
function firstByte(endpoint: Endpoint, within: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const address = endpoint.kind === "unix" ? { path: endpoint.path } : { host: endpoint.host, port: endpoint.port };
    const socket = connect(address, () => socket.write(PREFACE));
    socket.setTimeout(within, () => socket.destroy());
    socket.on("data", (bytes) => {
      resolve(bytes[0]);
      socket.destroy();
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => resolve(undefined));
  });
}

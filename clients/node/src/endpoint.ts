import { type ErrorData, LockbrokerError } from "./errors.js";

/** Where a broker listens. */
export type Endpoint = {
  /** The endpoint as given, for people. */
  readonly name: string;
} & (
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "tcp"; readonly host: string; readonly port: number; readonly isTls: boolean }
);

/** Reads endpoints with commas between them, or in a list. `hasFiles` says that files for TLS are given. */
export function parseEndpoints(server: string | readonly string[], hasFiles: boolean): Endpoint[] {
  const parts = (typeof server === "string" ? [server] : server).flatMap((part) => String(part).split(","));
  if (parts.length === 0) throw noEndpoint("", "there is none");
  return parts.map((part) => {
    const endpoint = parseEndpoint(part.trim());
    if (hasFiles && endpoint.kind === "tcp" && !endpoint.name.includes("://")) {
      // Plain text would be a surprise: the files say that TLS is meant.
      const name = endpoint.name;
      throw noEndpoint(name, `with certificates it has to say if it speaks TLS: https://${name} or http://${name}`);
    }
    return endpoint;
  });
}

function parseEndpoint(text: string): Endpoint {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length).replace(/^\/\/(?=\/)/, "");
    if (path === "" || path === "//") throw noEndpoint(text, "there is no path");
    return { name: text, kind: "unix", path };
  }
  const match = /^(?:([a-z][a-z0-9+.-]*):\/\/)?([^/?#]*)(.*)$/i.exec(text);
  const [, scheme, authority = "", rest = ""] = match ?? [];
  if (scheme !== undefined && !/^https?$/i.test(scheme)) throw noEndpoint(text, `there is no scheme ${scheme}://`);
  if (authority.includes("@")) {
    throw noEndpoint(text, "there is a user in it; a broker knows clients by their certificates");
  }
  if (!/^\/?$/.test(rest)) throw noEndpoint(text, "there is something after the port");
  if (/^[^[]*:.*:/.test(authority)) throw noEndpoint(text, "an address of IPv6 needs brackets: [::1]:28551");
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(authority) ?? [];
  const host = bracketed ?? plain;
  if (!host) throw noEndpoint(text, "there is no host");
  if (/[\s%\\^`{}|<>"]/.test(host)) throw noEndpoint(text, "the host has a character that no host has");
  const isTls = scheme?.toLowerCase() === "https";
  // A URL has the port of its scheme; a host alone is a port forgotten.
  if (port === undefined && scheme === undefined) throw noEndpoint(text, "there is no port");
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) > 0 && Number(port) <= 65535)) {
    throw noEndpoint(text, "invalid port");
  }
  return { name: text, kind: "tcp", host, port: port === undefined ? (isTls ? 443 : 80) : Number(port), isTls };
}

function noEndpoint(text: string, reason: string): LockbrokerError {
  const forms = "http://HOST:PORT, https://HOST:PORT, HOST:PORT or unix:/PATH";
  const data: ErrorData = { code: "ENDPOINT", lock: "", text: `${JSON.stringify(text)}: ${reason}; write ${forms}` };
  return new LockbrokerError(data);
}

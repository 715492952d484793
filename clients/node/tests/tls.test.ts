import assert from "node:assert/strict";
import { copyFileSync } from "node:fs";
import { before, describe, test } from "node:test";
import { connect as connectTo } from "../src/index.js";
import { type Broker, folder, startBroker } from "./support/broker.js";
import { Authority } from "./support/certificates.js";
import { acquire, connect, fails, state } from "./support/client.js";
import { fileScope } from "./support/process.js";

const scope = fileScope();
let authority: Authority;
let stranger: Authority;
let mutual: Broker;
let simple: Broker;
let plain: Broker;
let misnamed: Broker;

before(async () => {
  authority = new Authority(scope);
  stranger = new Authority(scope);
  const { cert, key } = authority.sign("broker");
  const elsewhere = authority.sign("elsewhere", "10.0.0.1");
  const tls = ["--tls-cert", cert, "--tls-key", key];
  [mutual, simple, plain, misnamed] = await Promise.all([
    startBroker(scope, ...tls, "--tls-client-ca", authority.file),
    startBroker(scope, ...tls),
    startBroker(scope),
    startBroker(scope, "--tls-cert", elsewhere.cert, "--tls-key", elsewhere.key),
  ]);
});

describe("TLS", { concurrency: 4 }, () => {
  test("a broker with a certificate, and a client with one", async (t) => {
    const ca = authority.file;
    const mine = authority.sign("client");
    for (const client of [
      connect(t, mutual.url, { tls: { ca, ...mine } }),
      connect(t, simple.url.replace("127.0.0.1", "localhost"), { tls: { ca }, worker: false }),
    ]) {
      await (await acquire(client, "tls")).release();
      assert.equal(await state(client, "tls"), "FREE");
    }
  });

  const refusals: Record<string, () => [string, Parameters<typeof connectTo>[1], string, RegExp]> = {
    "no certificate": () => [mutual.url, { tls: { ca: authority.file } }, "HANDSHAKE", /tls\.cert/],
    "a stranger's certificate": () => {
      const tls = { ca: authority.file, ...stranger.sign("client") };
      return [mutual.url, { tls }, "HANDSHAKE", /--tls-client-ca/];
    },
    "no authority": () => [simple.url, {}, "HANDSHAKE", /tls\.ca/],
    "another authority": () => [simple.url, { tls: { ca: stranger.file } }, "HANDSHAKE", /tls\.ca/],
    "TLS to plain text": () => [`https://${plain.address}`, { tls: { ca: authority.file } }, "PROTOCOL", /http:\/\//],
    "plain text to TLS": () => [`http://${simple.address}`, {}, "PROTOCOL", /https:\/\//],
    "the wrong name": () => [misnamed.url, { tls: { ca: authority.file } }, "HANDSHAKE", /subjectAltName/],
  };
  for (const [what, refusal] of Object.entries(refusals)) {
    test(`${what} is refused at once, with what to do`, async (t) => {
      const [url, options, code, says] = refusal();
      const client = connect(t, url, { ...options, worker: false });
      // Later, it would be UNAVAILABLE.
      for (const ask of [() => client.tryLock("refused"), () => client.get("refused")]) {
        const error = await fails(ask, code);
        assert.match(error.message, says);
        assert.equal(error.lock, "refused");
      }
    });
  }

  test("files are read again for each connection", async (t) => {
    const files = folder(t);
    const tls = { ca: authority.file, cert: `${files}/cert.pem`, key: `${files}/key.pem` };
    const put = ({ cert, key }: { cert: string; key: string }) => {
      copyFileSync(cert, tls.cert);
      copyFileSync(key, tls.key);
    };
    put(stranger.sign("renewed"));
    const client = connect(t, mutual.url, { tls });
    await fails(client.tryLock("renewed"), "HANDSHAKE");
    put(authority.sign("renewed"));
    await (await acquire(client, "renewed")).release();
    assert.equal(await state(client, "renewed"), "FREE");
  });
});

describe("what connect is given", () => {
  const endpoints: Record<string, string> = {
    "ftp://host:1": "no scheme ftp://",
    host: "no port",
    "http://": "no host",
    "http://host:1/path": "after the port",
    "http://host:port": "invalid port",
    "host:99999": "invalid port",
    "host:0": "invalid port",
    "http://user@host:1": "certificates",
    "unix:": "no path",
    "http://a:1,,http://b:1": "no host",
    "::1:28551": "brackets",
  };
  for (const [server, says] of Object.entries(endpoints)) {
    test(`${server} is no endpoint`, async () => {
      const error = await fails(() => connectTo(server), "ENDPOINT");
      assert.ok(error.message.includes(says), error.message);
    });
  }

  test("the rest is checked, too", async () => {
    await fails(() => connectTo([]), "ENDPOINT");
    await fails(() => connectTo("host:1", { answerTimeout: 0 }), "INVALID");
    await fails(() => connectTo("host:1", { ttl: "5" as unknown as number }), "INVALID");
    await fails(() => connectTo("https://host:1", { tls: { ca: "/nowhere" } }), "TLS");
    await fails(() => connectTo("https://host:1", { tls: { cert: authority.file } }), "TLS");
    await fails(() => connectTo("https://host:1", { tls: { ca: "package.json" } }), "TLS");
    await fails(() => connectTo("host:1", { tls: { ca: authority.file } }), "ENDPOINT");
    await fails(() => connectTo("https://host:1", { tls: { cert: authority.file, key: authority.file } }), "TLS");
    for (const fine of ["http://[::1]:1", "HTTPS://a.example", "unix:///run/x.sock", "unix:rel.sock", "a:1, b:2"])
      connectTo(fine);
  });
});

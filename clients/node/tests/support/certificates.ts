import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { folder } from "./broker.js";
import type { Scope } from "./process.js";

/** Signs certificates, by the program openssl. */
export class Authority {
  readonly #folder: string;
  /** Has its own certificate. */
  readonly file: string;

  constructor(t: Scope) {
    this.#folder = folder(t);
    this.file = `${this.#folder}/ca.pem`;
    this.#openssl("req", "-x509", ...NEW, "-days", "1", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem");
  }

  /** Makes a certificate for an address and localhost, for servers and clients. Returns its file and that of its key. */
  sign(name: string, address = "127.0.0.1"): { cert: string; key: string } {
    writeFileSync(`${this.#folder}/${name}.ext`, `subjectAltName=DNS:localhost,IP:${address}`);
    this.#openssl("req", "-new", ...NEW, "-subj", `/CN=${name}`, "-keyout", `${name}.key`, "-out", `${name}.csr`);
    const by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1"];
    this.#openssl("x509", "-req", "-in", `${name}.csr`, ...by, "-extfile", `${name}.ext`, "-out", `${name}.pem`);
    return { cert: `${this.#folder}/${name}.pem`, key: `${this.#folder}/${name}.key` };
  }

  #openssl(...args: string[]): void {
    execFileSync("openssl", args, { cwd: this.#folder, stdio: "pipe" });
  }
}

const NEW = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

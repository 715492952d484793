/**
 * Makes a client that breaks a rule out of the compiled one: break.js RULE FOLDER. Fails if the client no longer has the lines
 * that are to be other ones.
 */
import { readFileSync, writeFileSync } from "node:fs";

/** The file, what it has, and what it has instead. */
const RULES: Record<string, [string, string, string][]> = {
  // Sends no heartbeats, and goes on as if they had been answered.
  heartbeat: [
    [
      "core/link.js",
      'this.#send({ kind: "heartbeat", seq: this.#lastSeq }, out);',
      "this.#heardAt = now; this.acknowledged(this.#lastSeq, (this.ttl * 13) / 15, []);",
    ],
    ["engine/session.js", 'if (input.kind === "ended" || (', "if (true || ("],
  ],
  // Never moves a lock, and says that it is held.
  reattach: [
    [
      "core/lock.js",
      'else if (state.kind === "held" && (state.home.link !== link.id || this.#wantsPermit))',
      "else if (false)",
    ],
    ["core/core.js", "isBroken: !link.isOpen", "isBroken: false"],
  ],
  // Has no validity end, and believes no broker that it has.
  clock: [
    [
      "core/lock.js",
      "    lose(reason, links, out) {\n",
      '    lose(reason, links, out) {\n        if (reason === "EXPIRED") return STAY;\n',
    ],
    ["core/validity.js", "this.#coveredUntil = sent + expiresAfter;", "this.#coveredUntil = sent + 1e12;"],
    ["core/validity.js", "this.#coveredUntil = beat.sent + expiresAfter;", "this.#coveredUntil = beat.sent + 1e12;"],
    ["lease.js", "if (this.#error === undefined && this.#until <= now())", "if (false)"],
  ],
  // Releases nothing, and says so.
  release: [
    ["lock.js", "this.#calls.giveUp();\n", "return;\n"],
    ["lease.js", "this.#error = released(name);\n", "this.#error = released(name);\n            return;\n"],
  ],
};

const [rule = "", folder = ""] = process.argv.slice(2);
for (const [file, old, made] of RULES[rule] ?? []) {
  const path = `${folder}/${file}`;
  const text = readFileSync(path, "utf8");
  if (text.split(old).length !== 2) throw new Error(`${path} does not have this once, to break ${rule}: ${old}`);
  writeFileSync(
    path,
    text.replace(old, () => made),
  );
}

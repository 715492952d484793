/**
 * Shows what the fencing token is for: a database takes writes only from the latest holder of the lock. One that has slept
 * through the end of its lock and writes when it wakes up is refused.
 *
 *     node fencing.js [http://127.0.0.1:28551]
 */
import { connect, type Lock } from "lockbroker";
import sqlite from "node-sqlite3-wasm";

const NAME = "example/fencing";

/** Writes the report, unless a later holder of the lock has written it. */
function write(database: sqlite.Database, lock: Lock, text: string): void {
  const { changes } = database.run("UPDATE reports SET text = :text, token = :token WHERE id = 1 AND token <= :token", {
    ":text": text,
    ":token": lock.fencingToken,
  });
  if (changes === 0) throw new Error("somebody else has written since");
}

const database = new sqlite.Database();
database.exec("CREATE TABLE reports (id INTEGER PRIMARY KEY, text TEXT NOT NULL, token INTEGER NOT NULL)");
database.run("INSERT INTO reports VALUES (1, '', 0)");

const client = connect(process.argv[2]);
const first = await client.lock(NAME);
// The first holder is stopped for so long that its lock ends. It does not notice.
await client.release(NAME, first.lockId);
const second = await client.lock(NAME);
write(database, second, "new");
try {
  write(database, first, "old");
} catch (error) {
  console.log("the first wakes up and writes:", String(error));
}
console.log("the database has:", database.get("SELECT text FROM reports")?.text);
await client.close();
database.close();

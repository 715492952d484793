"""A store that refuses a stale writer by the fencing token: SQLite, and two holders of one lock, one after the other.

python fencing.py [ENDPOINT]
"""

import sqlite3
import sys

import lockbroker


def write_total(database: sqlite3.Connection, token: int, total: int) -> bool:
    """Writes, unless somebody with a later grant has written. Returns whether it has."""
    with database:
        changed = database.execute("UPDATE account SET total = ?, token = ? WHERE token <= ?", (total, token, token))
    return changed.rowcount == 1


def main(*endpoints: str) -> None:
    database = sqlite3.connect(":memory:")
    with database:
        database.execute("CREATE TABLE account (total INTEGER, token INTEGER)")
        database.execute("INSERT INTO account VALUES (0, 0)")
    with lockbroker.connect(*endpoints) as client:
        with client.lock("account") as lock:
            stale = lock.fencing_token
            print("first holder writes:", write_total(database, stale, 100))
        # It has lost its lock without knowing: it was stopped here, say. Meanwhile:
        with client.lock("account") as lock:
            print("second holder writes:", write_total(database, lock.fencing_token, 200))
        print("first holder writes late:", write_total(database, stale, 101))
    print("total:", *database.execute("SELECT total FROM account").fetchone())


if __name__ == "__main__":
    main(*sys.argv[1:])

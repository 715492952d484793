//! Shows what the fencing token is for. The table takes writes only from the latest holder of the lock: one that has slept
//! through the end of its lock and writes when it wakes up is refused.
//!
//! ```sh
//! LOCKBROKER_SERVER=http://127.0.0.1:28551 cargo run --example fencing
//! ```

use std::error::Error;

use lockbroker_client::Client;
use rusqlite::{Connection, params};

/// The lock, and the table that it protects.
const NAME: &str = "example/fencing";

/// Opens the database with its one report, which nobody has written yet.
fn open() -> rusqlite::Result<Connection> {
    let database = Connection::open_in_memory()?;
    database.execute_batch(
        "CREATE TABLE report (id INTEGER PRIMARY KEY, body TEXT NOT NULL, token INTEGER NOT NULL);
         INSERT INTO report VALUES (1, '', 0);",
    )?;
    Ok(database)
}

/// Writes the report, unless a later holder of the lock has. Returns true if it was written.
fn write(database: &Connection, token: i64, body: &str) -> rusqlite::Result<bool> {
    let changed = database
        .execute("UPDATE report SET body = ?1, token = ?2 WHERE id = 1 AND token <= ?2", params![body, token])?;
    Ok(changed == 1)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::from_env()?;
    let database = open()?;

    let first = client.wait_acquire(NAME).await?.guard().expect("waits until it is granted");
    let sleeper = first.fencing_token();
    // Plays a holder that is stopped for so long that its lock ends, and does not notice.
    drop(first);

    let second = client.wait_acquire(NAME).await?.guard().expect("waits until it is granted");
    println!("the second writes: {}", write(&database, second.fencing_token(), "new")?);
    println!("the first wakes up and writes: {}", write(&database, sleeper, "old")?);
    let body: String = database.query_row("SELECT body FROM report", [], |row| row.get(0))?;
    println!("the report says {body:?}");
    second.release().await?;
    Ok(())
}

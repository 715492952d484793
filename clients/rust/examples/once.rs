//! Does something unless somebody else is doing it already: a cron job on several machines.
//!
//! ```sh
//! cargo run --example once [http://127.0.0.1:28551]
//! ```

use std::time::Duration;

use lockbroker_client::{Client, Error, Outcome};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1).unwrap_or("http://127.0.0.1:28551".into());
    let client = Client::builder(endpoint).owner("example once").connect()?;

    // The linger keeps the lock for a minute after the release, so that a machine whose clock is a little behind
    // does not do it all over again.
    let lock = match client.acquire("example/once").linger(Duration::from_secs(60)).await? {
        Outcome::Acquired(lock) => lock,
        Outcome::NotAcquired(why) => {
            println!("nothing to do: {why}");
            return Ok(());
        }
    };

    // Racing the work against the loss of the lock stops it at its next await.
    tokio::select! {
        () = work() => {
            lock.release().await?;
            println!("done");
        }
        reason = lock.lost() => println!("stopped: {reason}"),
    }
    Ok(())
}

async fn work() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

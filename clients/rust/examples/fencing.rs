//! What the fencing token is for. A store takes writes only from the latest holder of the lock: one that has slept
//! through the end of its lock and writes when it wakes up is refused.
//!
//! ```sh
//! cargo run --example fencing [http://127.0.0.1:28551]
//! ```

use lockbroker_client::{Client, Error};

/// The store that the lock protects. In a database the check is `UPDATE … WHERE token <= $token`.
#[derive(Default)]
struct Store {
    highest: i64,
    text: String,
}

impl Store {
    fn write(&mut self, token: i64, text: &str) -> Result<(), String> {
        if token < self.highest {
            return Err(format!("token {token} is stale, {} has been seen", self.highest));
        }
        self.highest = token;
        self.text = text.into();
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1).unwrap_or("http://127.0.0.1:28551".into());
    let client = Client::connect(endpoint)?;
    let mut store = Store::default();

    let first = client.wait_acquire("example/fencing").await?.guard().expect("waits until it is granted");
    let sleeper = first.fencing_token();
    // The first holder is stopped for so long that its lock ends; it does not notice.
    drop(first);

    let second = client.wait_acquire("example/fencing").await?.guard().expect("waits until it is granted");
    println!("the second writes: {:?}", store.write(second.fencing_token(), "new"));
    println!("the first wakes up and writes: {:?}", store.write(sleeper, "old"));
    println!("the store has {:?}", store.text);
    second.release().await
}

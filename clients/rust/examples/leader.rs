//! Leads for as long as it can, and stands by otherwise. Start it several times, end the leader in any way you like,
//! and see the next take over.
//!
//! ```sh
//! cargo run --example leader -- NAME [http://127.0.0.1:28551]
//! ```

use std::sync::Arc;
use std::time::Duration;

use lockbroker_client::{Client, Error, Guard};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let me = args.next().unwrap_or(format!("process {}", std::process::id()));
    let endpoint = args.next().unwrap_or("http://127.0.0.1:28551".into());
    let client = Client::builder(endpoint).owner(me.as_str()).connect()?;

    println!("{me} stands by");
    // Waits through restarts of brokers and their stores, and begins again after each loss.
    client.hold("example/leader", |leadership| lead(&me, leadership)).await
}

/// Leads. Returns only if it has had enough.
async fn lead(me: &str, leadership: Arc<Guard>) {
    loop {
        // What only the leader may do goes with the token: whoever is told to do it refuses a lower one than it has
        // seen, such as that of a leader who was stopped in its tracks and does not know yet.
        println!("{me} leads with token {}, good for {:?}", leadership.fencing_token(), leadership.remaining());
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

//! Parts of the integration tests: a real memcached, a real `lockbroker serve`, a proxy between two of them, and
//! waiting that has a condition and a deadline. Nothing here knows what a test is about, and nothing sleeps for a
//! fixed time and hopes.

// Every test binary compiles all of this and uses the part that it needs.
#![allow(dead_code, unreachable_pub, unused_imports)]

mod broker;
mod brokers;
mod certificates;
mod events;
mod history;
mod locks;
mod memcached;
mod process;
mod proxy;
mod scrape;
mod store;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use broker::{Broker, lockbroker, open, output, run, stub};
pub use brokers::Brokers;
pub use certificates::{Authority, Certificate};
pub use events::{Event, RawSession, end_of, next_event, next_message, reason};
pub use history::{History, Hold};
pub use locks::*;
pub use memcached::Memcached;
pub use process::{Process, show_logs};
pub use proxy::Proxy;
pub use scrape::{Answer, Scrape, http, http_with};
pub use store::Asked;

/// The deadline of what should happen at once: generous, because two cores may be compiling next door.
pub const SOON: Duration = Duration::from_secs(10);

/// Waits until `condition` holds, and panics with `what` when it does not within `deadline`.
pub async fn eventually(deadline: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns a TCP port of 127.0.0.1 that nobody listens on now. It lies below the range from which the kernel serves
/// outgoing connections. So a port that is given up for a moment, as in a restart, stays free.
pub fn free_port() -> u16 {
    use std::hash::{BuildHasher, RandomState};
    loop {
        let port = 10_000 + (RandomState::new().hash_one(0) % 20_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Returns the path of a program that is not ours. The environment names it, as `scripts/test` does, or the script
/// that prints its path fetches it now.
pub fn tool(variable: &str, script: &[&str]) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut fetch = Command::new(root.join(script[0]));
    let output = fetch.args(&script[1..]).current_dir(root).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}

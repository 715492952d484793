//! Changes the servers' weights, and so where names live: one `lockbroker shard adopt` after another, some of which die and are run
//! again. Only with `LOCKBROKER_FAULTS_SERVERS=1`: while servers change their names grant nothing, so there are fewer locks.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::support::lockbroker;
use crate::world::{STORES, World};

/// The longest time that a change may take with all that happens meanwhile.
const LONGEST: Duration = Duration::from_secs(180);
/// The time in which an adopter dies, if it does, in milliseconds.
const DIES: std::ops::Range<u64> = 20..20_000;

/// Returns true if the servers change in this run.
pub(crate) fn servers_change() -> bool {
    std::env::var("LOCKBROKER_FAULTS_SERVERS").is_ok()
}

/// Changes the servers again and again until `end`. What has begun is completed.
pub(super) async fn change(world: &World, mut rng: StdRng, end: Instant) {
    let (mut changes, mut deaths) = (0, 0);
    while servers_change() && Instant::now() < end {
        sleep(Duration::from_millis(rng.random_range(1_000..8_000))).await;
        let weights: [u32; STORES] = std::array::from_fn(|_| rng.random_range(1..4));
        let next = world.store(&weights);
        if next == *world.servers.lock().unwrap() {
            continue;
        }
        let begun = Instant::now();
        loop {
            let dies = rng.random_bool(0.3).then(|| Duration::from_millis(rng.random_range(DIES)));
            deaths += u32::from(dies.is_some());
            if adopt(world, &next, dies).await {
                break;
            }
            assert!(begun.elapsed() < LONGEST, "{next} has not been adopted within {LONGEST:?}");
        }
        changes += 1;
        // From now on brokers start with it.
        *world.servers.lock().unwrap() = next;
    }
    if servers_change() {
        println!("{changes} changes of the servers, {deaths} of their adopters died");
        assert!(changes > 0, "the servers have not changed once");
    }
}

/// Runs `adopt`, which may die. Returns true if it says that it has done it.
async fn adopt(world: &World, store: &str, dies: Option<Duration>) -> bool {
    let arguments = ["shard", "adopt", "--max-ttl", "5s", "--allow-unsafe-store", "--store", store];
    let lockbroker = lockbroker(&arguments);
    // The shell becomes the adopter when the proxies know of it.
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 0.1; exec \"$@\"", "sh"]).arg(lockbroker.get_program()).args(lockbroker.get_args());
    let shell = shell.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut adopter = shell.spawn().unwrap();
    world.signposts.let_through(adopter.id().unwrap_or(0));
    match timeout(dies.unwrap_or(LONGEST), adopter.wait()).await {
        Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => true,
        Ok(_) => {
            // A server was away just then.
            sleep(Duration::from_millis(100)).await;
            false
        }
        Err(_) => {
            adopter.kill().await.unwrap();
            false
        }
    }
}

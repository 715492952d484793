//! The programs of docs/recipes.md, against a real broker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use crate::support::*;
use rustix::process::Signal;
use tempfile::TempDir;

/// A broker, and a folder in which the recipes run and leave what they write.
struct Kitchen {
    broker: Broker,
    folder: TempDir,
}

impl Kitchen {
    async fn new() -> Kitchen {
        let broker = Broker::start(&[&Broker::WATCHED[..], &["--default-ttl", "5s"]].concat()).await;
        Kitchen { broker, folder: tempfile::tempdir().unwrap() }
    }

    fn recipe(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = recipe(name, arguments, self.folder.path());
        command.env("LOCKBROKER_SERVER", self.broker.url());
        command
    }

    /// Runs several of them at once, to their ends.
    fn together(&self, count: usize, recipe: impl Fn() -> Command) -> Vec<Output> {
        let running: Vec<_> = (0..count)
            .map(|_| {
                let mut command = recipe();
                thread::spawn(move || output(&mut command))
            })
            .collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn wrote(&self, file: &str, count: usize) -> Vec<String> {
        eventually(SOON, "enough is written", async || self.lines(file).len() >= count).await;
        self.lines(file)
    }
}

fn recipe(name: &str, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/recipes").join(name));
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_lockbroker"));
    let path = format!("{}:{}", programs.parent().unwrap().display(), std::env::var("PATH").unwrap());
    command.args(arguments).current_dir(folder).env("PATH", path);
    command
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_another_follows_it() {
    let kitchen = Kitchen::new().await;
    let work = ["scheduler", "sh", "-c", "echo $LOCKBROKER_FENCING_TOKEN >>terms; exec sleep 600"];
    let mut first = Process::spawn("leader.sh", &mut kitchen.recipe("leader.sh", &work));
    kitchen.wrote("terms", 1).await;
    let _second = Process::spawn("leader.sh", &mut kitchen.recipe("leader.sh", &work));
    eventually(SOON, "it stands by", async || kitchen.broker.scrape().await.sum("lockbroker_waiters", &[]) == 1.0)
        .await;
    assert_eq!(kitchen.lines("terms").len(), 1);
    first.kill();
    let terms: Vec<u64> = kitchen.wrote("terms", 2).await.iter().map(|term| term.parse().unwrap()).collect();
    assert!(terms[1] > terms[0], "{terms:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_once_a_period_and_the_others_end_well() {
    let kitchen = Kitchen::new().await;
    let job = ["report", "sh", "-c", "echo ran >>ran"];
    let ends = kitchen.together(3, || kitchen.recipe("once-a-period.sh", &job));
    let late = output(&mut kitchen.recipe("once-a-period.sh", &job));
    assert!(ends.iter().chain([&late]).all(|end| code(end) == Some(0)), "{ends:?} {late:?}");
    assert_eq!(kitchen.lines("ran"), ["ran"]);
    let fails = output(&mut kitchen.recipe("once-a-period.sh", &["fails", "sh", "-c", "exit 3"]));
    assert_eq!(code(&fails), Some(3), "{fails:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_restarted_one_at_a_time() {
    let kitchen = Kitchen::new().await;
    // Fails where another one is away.
    let ends =
        kitchen.together(3, || kitchen.recipe("one-at-a-time.sh", &["web", "mkdir away", "sleep 0.2; rmdir away"]));
    assert!(ends.iter().all(|end| code(end) == Some(0)), "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_migrates_at_a_time_and_all_serve() {
    let kitchen = Kitchen::new().await;
    let migrate = "mkdir migrating && sleep 0.2 && rmdir migrating";
    let ends = kitchen.together(3, || kitchen.recipe("migrate.sh", &["shop", migrate, "echo", "serves"]));
    assert!(ends.iter().all(|end| end.stdout == b"serves\n" && code(end) == Some(0)), "{ends:?}");
    let fails = output(&mut kitchen.recipe("migrate.sh", &["shop", "exit 3", "echo", "serves"]));
    assert!(code(&fails) == Some(3) && fails.stdout.is_empty(), "{fails:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_keep_their_distance() {
    let kitchen = Kitchen::new().await;
    let call = ["calls", "1s", "sh", "-c", "date +%s%N >>calls"];
    let ends = kitchen.together(3, || kitchen.recipe("rate-limit.sh", &call));
    assert!(ends.iter().all(|end| code(end) == Some(0)), "{ends:?}");
    let mut calls: Vec<u64> = kitchen.lines("calls").iter().map(|call| call.parse().unwrap()).collect();
    calls.sort_unstable();
    // A process takes its time from the grant to its call.
    let least = Duration::from_millis(500).as_nanos() as u64;
    assert!(calls.len() == 3 && calls.windows(2).all(|pair| pair[1] - pair[0] > least), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_worker_has_a_number_of_its_own() {
    let kitchen = Kitchen::new().await;
    let work = ["pool", "2", "sh", "-c", "echo $LOCKBROKER_PERMIT >>numbers; exec sleep 600"];
    let recipe = || kitchen.recipe("worker-number.sh", &work);
    let mut workers = [0, 1].map(|_| Process::spawn("worker-number.sh", &mut recipe()));
    let mut numbers = kitchen.wrote("numbers", 2).await;
    numbers.sort_unstable();
    assert_eq!(numbers, ["0", "1"]);
    let third = output(&mut recipe());
    assert_eq!(code(&third), Some(75), "{third:?}");
    assert_eq!(kitchen.lines("numbers").len(), 2);
    // What stops the script stops the command, and gives the number back. So does its end by force.
    let [first, second] = &mut workers;
    first.signal(Signal::TERM);
    second.kill();
    let free = async || kitchen.broker.scrape().await.sum("lockbroker_locks_held", &[]) == 0.0;
    eventually(SOON, "the numbers are free again", free).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_run_at_a_time_than_is_said() {
    let kitchen = Kitchen::new().await;
    // Fails where another one has the same number, and there are two.
    let work = [
        "pool",
        "2",
        "sh",
        "-c",
        "mkdir $LOCKBROKER_PERMIT && sleep 0.2 && rmdir $LOCKBROKER_PERMIT && echo $LOCKBROKER_PERMIT >>ran",
    ];
    let ends = kitchen.together(5, || kitchen.recipe("n-at-a-time.sh", &work));
    assert!(ends.iter().all(|end| code(end) == Some(0)), "{ends:?}");
    let ran = kitchen.lines("ran");
    assert!(ran.len() == 5 && ran.iter().all(|number| ["0", "1"].contains(&&**number)), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_filled_once_and_without_a_broker_too() {
    let kitchen = Kitchen::new().await;
    let compute = ["cached", "sh", "-c", "echo ran >>ran; sleep 0.3; echo value"];
    let ends = kitchen.together(4, || kitchen.recipe("cache.sh", &compute));
    assert!(ends.iter().all(|end| end.stdout.ends_with(b"value\n") && code(end) == Some(0)), "{ends:?}");
    assert_eq!(kitchen.lines("ran"), ["ran"]);
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let mut alone = kitchen.recipe("cache.sh", &["other", "echo", "value"]);
    let alone = output(alone.env("LOCKBROKER_SERVER", nobody));
    assert!(alone.stdout == b"value\n" && code(&alone) == Some(0), "{alone:?}");
    let fails = output(&mut kitchen.recipe("cache.sh", &["third", "sh", "-c", "exit 3"]));
    assert_eq!(code(&fails), Some(3), "{fails:?}");
}

/// The page names each of them, and no other.
#[test]
fn the_page_has_them_all() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/recipes.md")).unwrap();
    for entry in fs::read_dir(root.join("examples/recipes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(page.contains(&format!("(../examples/recipes/{name})")), "{name} is not in docs/recipes.md");
    }
}

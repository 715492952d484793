//! A memcached that cannot keep locks is not used, and whoever meets that is told what mends it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Authority, Broker, Certificate, Memcached, SOON, eventually, once, reason, run, try_acquire};
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;

#[tokio::test]
async fn one_that_evicts_is_refused() {
    refused(&Memcached::bare(&["-F"]).await, &["evict", "start it with -M", "line: -M"]).await;
}

#[tokio::test]
async fn one_that_may_be_flushed_is_refused() {
    refused(&Memcached::bare(&["-M"]).await, &["flush_all", "start it with -F", "line: -F"]).await;
}

#[tokio::test]
async fn one_without_cas_is_refused_whatever_the_operator_says() {
    let memcached = Memcached::start(&["-C"]).await;
    let words = ["CAS is off", "start it without -C", "remove the line -C"];
    refused(&memcached, &words).await;
    refused_by(&["--allow-unsafe-store"], &memcached, &words).await;
}

#[tokio::test]
async fn one_that_is_too_old_is_refused_whatever_the_operator_says() {
    let memcached = Memcached::old(&["-M", "-F"]).await;
    let words = ["1.6.18", "1.6.27 or later", "upgrade"];
    refused(&memcached, &words).await;
    refused_by(&["--allow-unsafe-store"], &memcached, &words).await;
}

/// Which setting means what for locks is decided once for each, and told.
#[tokio::test]
async fn every_setting_of_memcached_is_on_the_page_for_operators() {
    let page = include_str!("../../docs/operations.md");
    let refused = ["evictions", "flush_enabled", "slab_automove", "memory_file", "cas_enabled", "proxy_enabled"];
    let settings = Memcached::start(&[]).await.command("stats settings").await;
    for line in settings.lines().filter(|line| *line != "END") {
        let setting = line.split(' ').nth(1).unwrap();
        let told = refused.contains(&setting) || page.contains(&format!("`{setting}`"));
        assert!(told || page.contains(&format!("`-o {setting}`")), "nothing is said of {setting}");
    }
}

#[tokio::test]
async fn one_that_comes_back_with_an_old_memory_is_refused() {
    let folder = Folder::new();
    let memcached = Memcached::start(&["-e", &folder.file("memory")]).await;
    refused(&memcached, &["old memory", "start it without -e", "remove the line -e"]).await;
}

#[tokio::test]
async fn one_that_drops_single_items_is_refused() {
    let folder = Folder::new();
    let extstore = format!("ext_path={}:64m", folder.file("items"));
    for (option, word) in [("tail_repair_time=10", "without -o tail_repair_time"), (&extstore, "without -o ext_path")] {
        refused(&Memcached::start(&["-o", option]).await, &[word]).await;
    }
}

#[tokio::test]
async fn one_that_only_passes_commands_on_is_refused_whatever_the_operator_says() {
    let folder = Folder::new();
    let behind = Memcached::start(&[]).await;
    let routes = format!(
        "function mcp_config_pools() return mcp.pool({{ mcp.backend('b', '127.0.0.1', {}) }}) end
         function mcp_config_routes(p) mcp.attach(mcp.CMD_ANY_STORAGE, function(r) return p(r) end) end",
        behind.address().port()
    );
    let routes = folder.with("routes.lua", &routes);
    let proxy = Memcached::start(&["-o", &format!("proxy_config={routes}")]).await;
    refused_by(&["--allow-unsafe-store"], &proxy, &["-o proxy_config", "--store"]).await;
}

#[tokio::test]
async fn one_that_closes_resting_connections_is_used_with_a_warning() {
    let memcached = Memcached::start(&["-o", "idle_timeout=60"]).await;
    let broker = Broker::on(&memcached).await;
    let line = broker.logged("without -o idle_timeout").await;
    assert!(line.contains("WARN") && line.contains("rest for 60 s"), "{line}");
}

#[tokio::test]
async fn one_that_no_broker_can_speak_to_is_named_with_the_flag() {
    let folder = Folder::new();
    let authority = Authority::new(folder.0.path(), "authority");
    let Certificate { cert, key } = authority.server("memcached");
    for file in [&cert, &key] {
        std::fs::set_permissions(file, Permissions::from_mode(0o644)).unwrap();
    }
    let users = folder.with("users", "me:secret\n");
    let tls = format!("ssl_chain_cert={cert},ssl_key={key}");
    for (flags, words) in [
        (&["-Y", &users][..], ["start it without -Y", "remove the line -Y"]),
        (&["-Z", "-o", &tls], ["TLS (-Z)", "start it without"]),
        (&["-B", "binary"], ["-B binary", "start it without"]),
    ] {
        let memcached = Memcached::mute(&[&["-M", "-F"], flags].concat()).await;
        let broker = Broker::start_unready(&["--store", &memcached.store()]).await;
        let line = broker.logged("cannot be reached").await;
        let status = try_acquire(&mut broker.stub().await, once("refused")).await.unwrap_err();
        for word in words {
            assert!(line.contains(word), "{word:?} in the log: {line}");
            assert!(status.message().contains(word), "{word:?} in the answer: {status:?}");
        }
        // One that ends the connection without a word may just have ended.
        if status.message().contains("without an answer") {
            continue;
        }
        nobody_is_to_try_again(&broker).await;
    }
}

#[tokio::test]
async fn all_that_is_wrong_is_told_at_once() {
    refused(&Memcached::bare(&[]).await, &["start it with -M", "start it with -F", "--allow-unsafe-store"]).await;
}

#[tokio::test]
async fn one_that_may_lose_locks_is_used_with_a_warning_if_the_operator_says_so() {
    let memcached = Memcached::bare(&[]).await;
    let broker = Broker::on_store(&memcached.store(), &["--allow-unsafe-store"]).await;
    for flag in ["-M", "-F"] {
        let line = broker.logged(&format!("start it with {flag}")).await;
        assert!(line.contains("WARN") && line.contains("may lose locks"), "{line}");
    }
    assert!(try_acquire(&mut broker.stub().await, once("risky")).await.unwrap().is_some());
}

#[tokio::test]
async fn one_that_is_mended_is_used_without_a_restart_of_the_broker() {
    let mut memcached = Memcached::bare(&[]).await;
    let broker =
        Broker::start_unready(&["--store", &memcached.store(), "--default-ttl", "5s", "--max-ttl", "5s"]).await;
    broker.logged("cannot keep locks").await;
    memcached.kill();
    memcached.start_again_with(&["-M", "-F"]).await;
    eventually(2 * SOON, "the broker is ready", async || {
        broker.health("readiness").await == Some(ServingStatus::Serving)
    })
    .await;
    assert!(try_acquire(&mut broker.stub().await, once("mended")).await.unwrap().is_some());
}

async fn refused(memcached: &Memcached, words: &[&str]) {
    refused_by(&[], memcached, words).await;
}

/// A broker that is given this memcached stays up and unready, and both its log and its answers have all the
/// `words`.
async fn refused_by(arguments: &[&str], memcached: &Memcached, words: &[&str]) {
    let broker = Broker::start_unready(&[&["--store", &memcached.store()], arguments].concat()).await;
    let line = broker.logged("cannot keep locks").await;
    let status = try_acquire(&mut broker.stub().await, once("refused")).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "STORE_REFUSED"));
    for word in words {
        assert!(line.contains(word), "{word:?} in the log: {line}");
        assert!(status.message().contains(word), "{word:?} in the answer: {status:?}");
    }
    nobody_is_to_try_again(&broker).await;
    assert_eq!(broker.health("readiness").await, Some(ServingStatus::NotServing));
    assert_eq!(broker.health("liveness").await, Some(ServingStatus::Serving));
}

/// The command line says who has to do something, not that another try would help.
async fn nobody_is_to_try_again(broker: &Broker) {
    for command in [&["get", "job"][..], &["run", "job", "--", "true"]] {
        let output = run(&[&command[..1], &["--server", &broker.url()], &command[1..]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{said}");
        assert!(said.trim_end().ends_with("as soon as that is mended, without a restart"), "{said}");
    }
}

/// A folder in which memcached, which may run as nobody, can read and write.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        Self(folder)
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn with(&self, name: &str, text: &str) -> String {
        let file = self.file(name);
        std::fs::write(&file, text).unwrap();
        file
    }
}

//! Who may do what: by a user's id on a Unix socket and by a client certificate, as a file says that may change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::*;
use lockbroker::client::{Client, Error, ErrorReason};
use lockbroker::proto::lock_admin_client::LockAdminClient;
use lockbroker::proto::lock_event::Kind;
use lockbroker::proto::lock_service_client::LockServiceClient;
use lockbroker::proto::{Failed, GetLockRequest, ListLocksRequest, ListWaitersRequest, ReleaseRequest};
use rustix::process::{getegid, geteuid};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A broker with a policy, on a Unix socket and on a port.
pub(super) struct Guarded {
    pub(super) folder: TempDir,
    pub(super) policy: PathBuf,
    pub(super) socket: String,
    pub(super) broker: Broker,
}

impl Guarded {
    pub(super) async fn start(policy: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.toml");
        fs::write(&file, policy).unwrap();
        let socket = format!("unix:{}", folder.path().join("lb.sock").display());
        let guarded = ["--policy", file.to_str().unwrap(), "--listen", &socket, "--socket-mode", "0666"];
        let broker = Broker::start_unready(&[&guarded[..], arguments].concat()).await;
        // The port is listened on first.
        broker.logged(&socket).await;
        Self { folder, policy: file, socket, broker }
    }

    /// A bare stub over the socket.
    pub(super) async fn stub(&self) -> LockServiceClient<Channel> {
        let endpoint = Endpoint::from_shared(self.socket.clone()).unwrap();
        LockServiceClient::new(endpoint.connect().await.unwrap())
    }
}

/// A rule for whoever runs this test.
pub(super) fn for_us(may: &str, prefixes: &str) -> String {
    format!("[[rule]]\nwho = [\"uid:{}\"]\nmay = {may}\nprefixes = {prefixes}\n", geteuid().as_raw())
}

#[track_caller]
fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.unwrap_err().code()
}

#[tokio::test]
async fn what_a_rule_allows_is_done_and_nothing_else() {
    let rules = for_us(r#"["acquire", "look"]"#, r#"["a/"]"#) + &for_us(r#"["look"]"#, r#"["b/"]"#);
    let guarded = Guarded::start(&rules, &[]).await;
    let mut stub = guarded.stub().await;
    let (acquired, _held) = acquire(&mut stub, once("a/1")).await;
    look(&mut stub, "a/1").await;
    look(&mut stub, "b/1").await;
    assert_eq!(code(stub.acquire(once("b/1")).await), Code::PermissionDenied);
    assert_eq!(code(stub.wait_acquire(wait("b/1")).await), Code::PermissionDenied);
    assert_eq!(code(stub.acquire(reattach("b/1", &acquired.lock_id)).await), Code::PermissionDenied);
    let end = ReleaseRequest { name: "a/1".into(), lock_id: acquired.lock_id.clone() };
    assert_eq!(code(stub.release(end).await), Code::PermissionDenied);
    let of = |name: &str| GetLockRequest { name: name.into(), ..Default::default() };
    assert_eq!(code(stub.get_lock(of("c")).await), Code::PermissionDenied);
    // What is wrong with the request is told to everybody.
    assert_eq!(code(stub.acquire(once("")).await), Code::InvalidArgument);
    assert!(!guarded.broker.log().iter().any(|line| line.contains(&acquired.lock_id)));
}

/// One answer for a lock that is held and one that is not, so that nobody learns which it is.
#[tokio::test]
async fn a_refusal_does_not_say_whether_there_is_such_a_lock() {
    let guarded = Guarded::start(&for_us(r#"["acquire"]"#, r#"["held/"]"#), &[]).await;
    let mut stub = guarded.stub().await;
    let (_, _held) = acquire(&mut stub, once("held/1")).await;
    fs::write(&guarded.policy, for_us(r#"["acquire"]"#, r#"["nothing/"]"#)).unwrap();
    guarded.broker.logged("policy: reloaded").await;
    // All that a refusal says, but for the name that was asked for.
    let mut refusal = async |name: &str| {
        let status = stub.acquire(once(name)).await.unwrap_err();
        let info = status.get_details_error_info().unwrap();
        let details = status.get_error_details_vec().len();
        assert_eq!(info.metadata.get("lock").map(String::as_str), Some(name));
        (status.code(), status.message().replace(name, "NAME"), info.reason, info.metadata.len(), details)
    };
    let (held, free) = (refusal("held/1").await, refusal("free/1").await);
    assert_eq!(held.0, Code::PermissionDenied);
    assert_eq!(held, free);
}

#[tokio::test]
async fn in_a_session_a_denied_lock_fails_alone() {
    let guarded = Guarded::start(&for_us(r#"["acquire"]"#, r#"["a/"]"#), &[]).await;
    let mut session = RawSession::open(&mut guarded.stub().await, None).await;
    session.begin(begin(1, "a/1"));
    assert!(matches!(session.next_event().await, (1, Kind::Acquired(_))));
    session.begin(begin(2, "b/1"));
    session.begin(begin_wait(3, "b/2"));
    for lock_ref in [2, 3] {
        let (of, event) = session.next_event().await;
        let Kind::Failed(Failed { code, retry_after, .. }) = event else { panic!("{event:?}") };
        assert_eq!((of, Code::from(code), retry_after), (lock_ref, Code::PermissionDenied, None));
    }
    session.begin(begin(4, "a/2"));
    assert!(matches!(session.next_event().await, (4, Kind::Acquired(_))));

    let client = Client::connect(&*guarded.socket).unwrap();
    let error = client.acquire("b/1").await.unwrap_err();
    assert!(matches!(&error, Error::Denied { lock, .. } if lock == "b/1"), "{error}");
    assert_eq!(error.reason(), Some(ErrorReason::PolicyDenied));
}

/// Over TCP without TLS nobody is known by anything.
#[tokio::test]
async fn whom_no_rule_knows_may_nothing_but_ask_for_health_and_reflection() {
    let guarded = Guarded::start(&for_us(r#"["acquire", "release", "look"]"#, r#"[""]"#), &[]).await;
    guarded.broker.ready().await;
    let mut stub = guarded.broker.stub().await;
    assert_eq!(reason(&stub.acquire(once("a")).await.unwrap_err()), "UNKNOWN_CALLER");
    assert_eq!(code(stub.acquire(once("a")).await), Code::Unauthenticated);
    assert_eq!(code(stub.wait_acquire(wait("a")).await), Code::Unauthenticated);
    let look = GetLockRequest { name: "a".into(), ..Default::default() };
    assert_eq!(code(stub.get_lock(look).await), Code::Unauthenticated);
    assert_eq!(code(stub.session(tokio_stream::empty()).await), Code::Unauthenticated);
    let (acquired, _held) = acquire(&mut guarded.stub().await, once("a")).await;
    let end = ReleaseRequest { name: "a".into(), lock_id: acquired.lock_id };
    assert_eq!(code(stub.release(end).await), Code::Unauthenticated);
    let output = run(&["run", "--server", &guarded.broker.url(), "a", "--", "true"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(77) && stderr.contains("not allowed"), "{stderr}");
}

#[tokio::test]
async fn a_list_is_of_what_a_rule_covers_or_is_refused_with_what_that_is() {
    let rules = for_us(r#"["list"]"#, r#"["a/", "b/"]"#) + &for_us(r#"["acquire", "look"]"#, r#"[""]"#);
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let guarded = Guarded::start(&rules, &["--audit", audit.to_str().unwrap()]).await;
    let _held = acquire(&mut guarded.stub().await, once("a/1")).await;
    let channel = Endpoint::from_shared(guarded.socket.clone()).unwrap().connect().await.unwrap();
    let mut admin = LockAdminClient::new(channel);
    let locks = |prefix: &str| ListLocksRequest { prefix: prefix.into(), limit: 0 };
    let waiters = |name: &str, prefix: &str| ListWaitersRequest { name: name.into(), prefix: prefix.into(), limit: 0 };
    for prefix in ["a/", "a/1", "b/"] {
        admin.list_locks(locks(prefix)).await.unwrap();
        admin.list_waiters(waiters("", prefix)).await.unwrap();
        admin.list_waiters(waiters(prefix, "")).await.unwrap();
    }
    for prefix in ["", "a", "c/"] {
        for refused in [
            admin.list_locks(locks(prefix)).await.map(drop).unwrap_err(),
            admin.list_waiters(waiters("", prefix)).await.map(drop).unwrap_err(),
        ] {
            assert_eq!((refused.code(), &*reason(&refused)), (Code::PermissionDenied, "POLICY_DENIED"));
            assert!(refused.message().contains(r#""a/" or "b/""#), "{refused:?}");
        }
    }
    assert_eq!(code(admin.list_waiters(waiters("c", "")).await.map(drop)), Code::PermissionDenied);
    let denied = || fs::read_to_string(&audit).unwrap().lines().filter(|line| line.contains(r#""denied""#)).count();
    eventually(SOON, "each refusal is a line", async || denied() == 7).await;
    let output = run(&["list", "--server", &guarded.socket]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(77) && stderr.contains("a/") && stderr.contains("--policy"), "{stderr}");
    assert!(run(&["list", "a/", "--server", &guarded.socket]).status.success());
    // Who may do everything else may not list.
    let others = Guarded::start(&for_us(r#"["acquire", "release", "look", "revoke"]"#, r#"[""]"#), &[]).await;
    let output = run(&["list", "a/", "--server", &others.socket]);
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    assert_eq!(
        run(&["waiters", "a/1", "--server", &others.broker.url()]).status.code(),
        Some(77),
        "nobody knows this caller"
    );
}

#[tokio::test]
async fn users_and_groups_are_told_apart_on_the_socket() {
    const GROUP: u32 = 54_321;
    assert!(geteuid().is_root() && getegid().is_root(), "this test changes users: run it as root");
    let rules = "[[rule]]\nwho = [\"uid:12345\"]\nmay = [\"acquire\"]\nprefixes = [\"u/\"]\n\
                 [[rule]]\nwho = [\"gid:54321\"]\nmay = [\"acquire\"]\nprefixes = [\"g/\"]\n";
    let guarded = Guarded::start(rules, &[]).await;
    fs::set_permissions(guarded.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = guarded.folder.path().join("lockbroker");
    fs::copy(env!("CARGO_BIN_EXE_lockbroker"), &program).unwrap();
    let as_user = |uid: u32, gid: u32, name: &str| -> Option<i32> {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups"]);
        let run = command.arg(&program).args(["run", name, "--", "true"]).env("LOCKBROKER_SERVER", &guarded.socket);
        run.output().unwrap().status.code()
    };
    assert_eq!(as_user(12_345, 1, "u/1"), Some(0));
    assert_eq!(as_user(12_345, 1, "g/1"), Some(77));
    assert_eq!(as_user(1, GROUP, "g/1"), Some(0));
    assert_eq!(as_user(1, GROUP, "u/1"), Some(77));
    assert_eq!(as_user(12_345, GROUP, "g/1"), Some(0));
    assert_eq!(as_user(1, 1, "g/1"), Some(77));
}

#[tokio::test]
async fn a_certificates_names_are_who_its_owner_is() {
    const BILLING: &str = "spiffe://example.org/ns/billing/sa/worker";
    let folder = tempfile::tempdir().unwrap();
    let [authority, clients] = ["authority", "clients"].map(|name| Authority::new(folder.path(), name));
    let broker = authority.server("broker");
    let rules = format!(
        "[[rule]]\nwho = [\"uri:{BILLING}\"]\nmay = [\"acquire\"]\nprefixes = [\"billing/\"]\n\
         [[rule]]\nwho = [\"cn:ops\", \"dns:LOCALHOST\"]\nmay = [\"look\"]\nprefixes = [\"\"]\n"
    );
    let tls = ["--tls-cert", &broker.cert, "--tls-key", &broker.key, "--tls-client-ca", &clients.file()];
    let guarded = Guarded::start(&rules, &tls).await;
    let url = format!("https://{}", guarded.broker.address());
    let ask = |certificate: &Certificate, command: &[&str]| -> Output {
        let Certificate { cert, key } = certificate;
        let tls = ["--server", &url, "--tls-ca", &authority.file(), "--tls-cert", cert, "--tls-key", key];
        run(&[&command[..1], &tls, &command[1..]].concat())
    };
    let acquires = |certificate, name| ask(certificate, &["run", name, "--", "true"]).status.code();
    let looks = |certificate, name| ask(certificate, &["get", name]).status.code();

    let billing = clients.client("someone", &["https://example.org", BILLING]);
    assert_eq!((acquires(&billing, "billing/1"), acquires(&billing, "a")), (Some(0), Some(77)));
    assert_eq!(looks(&billing, "billing/1"), Some(77));
    let ops = clients.client("ops", &[]);
    assert_eq!((looks(&ops, "a"), acquires(&ops, "billing/1")), (Some(0), Some(77)));
    // Has the DNS name localhost.
    let named = clients.server("by-name");
    assert_eq!((looks(&named, "a"), acquires(&named, "billing/1")), (Some(0), Some(77)));
    let nobody = clients.client("nobody", &["spiffe://example.org/ns/billing"]);
    assert_eq!((acquires(&nobody, "billing/1"), looks(&nobody, "a")), (Some(77), Some(77)));
    // A common name that looks like another kind of name is still a common name.
    let liar = clients.client(BILLING.rsplit('/').next().unwrap(), &[]);
    assert_eq!(acquires(&liar, "billing/1"), Some(77));
    assert!(ask(&nobody, &["health"]).status.success());
}

#[tokio::test]
async fn a_policy_is_reloaded_and_a_broken_one_is_not_used() {
    let guarded = Guarded::start(&for_us(r#"["acquire"]"#, r#"["a/"]"#), &[]).await;
    let mut stub = guarded.stub().await;
    let (_, mut held) = acquire(&mut stub, once("a/1")).await;
    fs::write(&guarded.policy, "[[rule]]\nwho = [\"uid:x\"]\nmay = []\nprefixes = []\n").unwrap();
    let line = guarded.broker.logged("the old one stays").await;
    assert!(line.contains(&format!("{}:2: ", guarded.policy.display())) && line.contains("ERROR"), "{line}");
    let _second = acquire(&mut stub, once("a/2")).await;
    fs::write(&guarded.policy, for_us(r#"["acquire"]"#, r#"["b/"]"#)).unwrap();
    guarded.broker.logged("policy: reloaded").await;
    assert_eq!(code(stub.acquire(once("a/3")).await), Code::PermissionDenied);
    let _third = acquire(&mut stub, once("b/1")).await;
    // What was granted before stays.
    assert!(matches!(next_event(&mut held).await, Kind::Renewed(_)));
}

#[test]
fn a_wrong_policy_is_told_with_file_and_line_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let path = file.to_str().unwrap();
    let refused = |place: String| {
        let output = run(&["serve", "--listen", "127.0.0.1:0", "--policy", path]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.trim_end().lines().count() == 1 && stderr.contains(&place), "{place}: {stderr}");
    };
    refused(format!("{path}: cannot be read"));
    fs::write(&file, "# rules\n[[rule]]\nwho = [\"root\"]\n").unwrap();
    refused(format!("{path}:3: "));
}

#[tokio::test]
async fn a_reachable_broker_without_a_policy_is_warned_about_once() {
    let open = Broker::start(&["--listen", "0.0.0.0:0", "--listen", "0.0.0.0:0", "--store", "memory"]).await;
    let warned = |broker: &Broker| broker.log().iter().filter(|line| line.contains("no --policy")).count();
    assert_eq!(warned(&open), 1);
    assert_eq!(warned(&Broker::memory().await), 0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, "").unwrap();
    let guarded = ["--listen", "0.0.0.0:0", "--store", "memory", "--policy", file.to_str().unwrap()];
    assert_eq!(warned(&Broker::start(&guarded).await), 0);
}

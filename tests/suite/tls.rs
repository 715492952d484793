//! TLS: who is let in, what becomes of a connection's locks, and certificates that change under way.

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::*;
use futures_util::future::join_all;
use lockbroker::client::{Client, ClientBuilder, Guard};
use lockbroker::proto::get_lock_response::State;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const MS: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(5);
/// For how long a lock of that ttl is valid after the broker has heard of its client for the last time, at least.
const LEASE: Duration = Duration::from_secs(3);

/// A broker with a certificate, and the authority that has signed it. It listens on a Unix socket too, where the tests
/// look at its locks.
struct Secure {
    folder: TempDir,
    authority: Authority,
    /// Where clients' certificates come from.
    clients: Authority,
    certificate: Certificate,
    socket: String,
    broker: Broker,
}

impl Secure {
    /// One that asks clients for no certificate.
    async fn start(arguments: &[&str]) -> Self {
        Self::with(false, arguments).await
    }

    /// One that does.
    async fn mutual() -> Self {
        Self::with(true, &[]).await
    }

    async fn with(mutual: bool, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [authority, clients] = ["authority", "clients"].map(|name| Authority::new(folder.path(), name));
        let certificate = authority.server("broker");
        let socket = format!("unix:{}", folder.path().join("lb.sock").display());
        let tls = ["--tls-cert", &certificate.cert, "--tls-key", &certificate.key, "--listen", &socket];
        let client_ca = ["--tls-client-ca", &clients.file()];
        let client_ca = if mutual { &client_ca[..] } else { &[] };
        let broker = Broker::start_unready(&[&tls[..], client_ca, arguments].concat()).await;
        // The port is listened on first.
        broker.logged(&socket).await;
        Self { folder, authority, clients, certificate, socket, broker }
    }

    fn url(&self) -> String {
        format!("https://{}", self.broker.address())
    }

    /// The file with the authority that the broker's certificate comes from.
    fn ca(&self) -> String {
        self.authority.file()
    }

    /// Runs a client command.
    fn run(&self, command: &[&str], arguments: &[&str]) -> Output {
        run(&[command, &["--server", &self.url()], arguments].concat())
    }

    fn client(&self) -> ClientBuilder {
        Client::builder(self.url()).tls_ca(self.ca())
    }

    async fn state(&self, name: &str) -> State {
        let client = Client::connect(&*self.socket).unwrap();
        let mut seen = None;
        // The store may be away for a moment.
        eventually(SOON, "the broker can tell", async || {
            seen = client.get(name, None).await.ok();
            seen.is_some()
        })
        .await;
        match seen.unwrap().state.to_string().as_str() {
            "held" => State::Held,
            "free" => State::Free,
            _ => State::Lingering,
        }
    }

    async fn freed(&self, name: &str) {
        eventually(2 * SOON, "the lock is free", async || self.state(name).await == State::Free).await;
    }
}

async fn hold(client: &Client, name: &str) -> Guard {
    client.wait_acquire(name).await.unwrap().guard().expect("a lock that nobody has")
}

/// The certificate that a broker shows.
async fn shown(address: SocketAddr, ca: &str) -> Vec<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let io = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, io).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
async fn the_client_and_the_command_line_speak_tls() {
    let secure = Secure::start(&[]).await;
    let ca = secure.ca();
    let client = secure.client().connect().unwrap();
    let lock = hold(&client, "job").await;
    let got = secure.run(&["get", "job"], &["--tls-ca", &ca]);
    assert!(String::from_utf8_lossy(&got.stdout).contains("held"), "{got:?}");
    assert!(secure.run(&["health"], &["--tls-ca", &ca]).status.success());
    let by_name = format!("https://localhost:{}", secure.broker.address().port());
    assert!(run(&["health", "--server", &by_name, "--tls-ca", &ca]).status.success());
    let by_environment = lockbroker(&["run", "other", "--", "true"])
        .env("LOCKBROKER_SERVER", secure.url())
        .env("LOCKBROKER_CLIENT_TLS_CA", &ca)
        .status()
        .unwrap();
    assert!(by_environment.success());
    lock.release().await.unwrap();
    assert_eq!(client.get("job", None).await.unwrap().state.to_string(), "free");

    // Nobody vouches for the broker: neither another authority nor, without one, the system.
    let stranger = Authority::new(secure.folder.path(), "stranger");
    for arguments in [&["--tls-ca", &stranger.file()][..], &[]] {
        let output = secure.run(&["get", "job"], arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(77) && stderr.contains("UnknownIssuer"), "{arguments:?}: {stderr}");
        assert!(stderr.contains("--tls-ca"), "{stderr}");
    }
    let missing = secure.run(&["get", "job"], &["--tls-ca", "/nowhere.pem"]);
    let stderr = String::from_utf8_lossy(&missing.stderr);
    assert!(missing.status.code() == Some(2) && stderr.contains("/nowhere.pem: cannot be read"), "{stderr}");
}

#[tokio::test]
async fn without_a_good_certificate_nobody_comes_in_where_one_is_asked_for() {
    let secure = Secure::mutual().await;
    let ca = secure.ca();
    let stranger = Authority::new(secure.folder.path(), "stranger");
    let good = secure.clients.client("good", &[]);
    for (certificate, says) in [
        (Some(&good), None),
        (None, Some("lets in only clients that show a certificate")),
        (Some(&stranger.client("by-another", &[])), Some("does not accept this client's certificate")),
        (Some(&secure.clients.expired("expired")), Some("does not accept this client's certificate")),
    ] {
        let identity = certificate.map(|Certificate { cert, key }| ["--tls-cert", cert, "--tls-key", key]);
        let identity = identity.as_ref().map_or(&[][..], |identity| identity);
        for (command, tail) in [(&["get", "job"][..], &[][..]), (&["run", "job"], &["--", "true"])] {
            let began = Instant::now();
            let output = secure.run(command, &[&["--tls-ca", &ca], identity, tail].concat());
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(if says.is_some() { 77 } else { 0 }), "{certificate:?}: {stderr}");
            assert!(stderr.contains(says.unwrap_or_default()), "{stderr}");
            // It would be the same again, so nobody tries for as long as there is time.
            assert!(began.elapsed() < 3_000 * MS, "{:?}", began.elapsed());
        }
        let output = secure.run(&["health"], &[&["--tls-ca", &ca], identity].concat());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(says.unwrap_or_default()), "{stderr}");
    }
    let line = secure.broker.logged("TLS handshake failed").await;
    assert!(line.contains("WARN"), "{line}");

    // A key that is not the certificate's is told before anything is sent.
    let mixed = ["--tls-cert", &good.cert, "--tls-key", &secure.certificate.key];
    let output = secure.run(&["get", "job"], &[&["--tls-ca", &ca], &mixed[..]].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && stderr.contains(&format!("{}:1: ", secure.certificate.key)), "{stderr}");
}

#[tokio::test]
async fn the_bench_speaks_tls_and_shows_its_certificate() {
    let secure = Secure::mutual().await;
    let good = secure.clients.client("good", &[]);
    let tls = ["--tls-ca", &secure.ca(), "--tls-cert", &good.cert, "--tls-key", &good.key, "--duration", "200ms"];
    for mode in [&["bench", "cycle", "--warm-up", "0s"][..], &["bench", "hold", "--locks", "10"]] {
        let output = secure.run(mode, &tls);
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("failed: 0"), "{output:?}");
    }
    let output = secure.run(&["bench", "cycle"], &["--tls-ca", tls[1], "--duration", "200ms"]);
    assert!(!output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_killed_clients_lock_is_free_at_once() {
    let secure = Secure::start(&[]).await;
    let arguments = ["run", "--server", &secure.url(), "--tls-ca", &secure.ca(), "job", "--", "sleep", "600"];
    let rival = Client::connect(&*secure.socket).unwrap();
    let mut delays = Vec::new();
    for _ in 0..20 {
        let mut victim = Process::spawn("lockbroker run", &mut lockbroker(&arguments));
        eventually(SOON, "the client holds the lock", async || secure.state("job").await == State::Held).await;
        let waiting = tokio::spawn(rival.wait_acquire("job").into_future());
        // In line, or not yet: the lock is held until the kill.
        tokio::time::sleep(50 * MS).await;
        let killed = Instant::now();
        victim.kill();
        let lock = waiting.await.unwrap().unwrap().guard().unwrap();
        delays.push(killed.elapsed());
        lock.release().await.unwrap();
    }
    delays.sort_unstable();
    println!("from the kill to the next grant: {delays:?}");
    assert!(delays[10] < 50 * MS && delays[19] < 1_000 * MS, "{delays:?}");
}

#[tokio::test]
async fn a_silent_client_keeps_its_lock_while_it_may_believe() {
    let secure = Secure::start(&["--keepalive-interval", "300ms", "--keepalive-timeout", "300ms"]).await;
    let proxy = Proxy::start(secure.broker.address()).await;
    let url = format!("https://{}", proxy.address());
    let client = Client::builder(url).tls_ca(secure.ca()).ttl(TTL).connect().unwrap();
    let lock = hold(&client, "job").await;
    let lost = Instant::now();
    proxy.black_hole();
    tokio::time::sleep(LEASE - 1_000 * MS).await;
    // If not, this machine has been away for too long to tell.
    if lost.elapsed() < LEASE {
        assert_eq!(secure.state("job").await, State::Held);
    }
    secure.freed("job").await;
    assert!(lock.remaining().is_zero(), "it was free while its client believed");
}

/// Bytes that do not decrypt are no word of the client's, whoever has sent them.
#[tokio::test]
async fn a_record_that_somebody_has_tampered_with_is_silence() {
    let secure = Secure::start(&[]).await;
    let (listener, broker) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), secure.broker.address());
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (tamper, mut tampered) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let (client, _) = listener.accept().await.unwrap();
        let broker = TcpStream::connect(broker).await.unwrap();
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_broker, mut to_broker) = broker.into_split();
        tokio::spawn(async move { copy(&mut from_broker, &mut to_client).await });
        tokio::select! {
            _ = copy(&mut from_client, &mut to_broker) => {}
            _ = tampered.wait_for(|tampered| *tampered) => {}
        }
        // A record of application data, and garbage in it.
        to_broker.write_all(&[0x17, 3, 3, 0, 32]).await.unwrap();
        to_broker.write_all(&[0; 32]).await.unwrap();
        std::future::pending::<()>().await;
    });
    let client = Client::builder(url).tls_ca(secure.ca()).ttl(TTL).connect().unwrap();
    let _lock = hold(&client, "job").await;
    let sent = Instant::now();
    tamper.send(true).unwrap();
    while sent.elapsed() < LEASE - 1_000 * MS {
        assert_eq!(secure.state("job").await, State::Held, "after {:?}", sent.elapsed());
        tokio::time::sleep(20 * MS).await;
    }
    secure.freed("job").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_replaced_under_a_hundred_held_locks() {
    let secure = Secure::start(&["--store", "memory"]).await;
    let (address, ca) = (secure.broker.address(), secure.ca());
    let clients: Vec<Client> = (0..10).map(|_| secure.client().ttl(TTL).connect().unwrap()).collect();
    let names: Vec<String> = (0..100).map(|number| format!("job {number}")).collect();
    let locks = join_all(names.iter().enumerate().map(|(n, name)| hold(&clients[n % 10], name))).await;
    let ids: Vec<_> = locks.iter().map(Guard::lock_id).collect();
    let before = shown(address, &ca).await;

    // Garbage, half of a pair, and nothing at all: the old one stays.
    let renewed = secure.authority.server("renewed");
    fs::write(&secure.certificate.cert, "garbage").unwrap();
    let line = secure.broker.logged("the old one stays").await;
    assert!(line.contains(&format!("{}:1: ", secure.certificate.cert)) && line.contains("ERROR"), "{line}");
    fs::copy(&renewed.cert, &secure.certificate.cert).unwrap();
    let line = secure.broker.logged("not the key of the certificate").await;
    assert!(line.contains(&format!("{}:1: ", secure.certificate.key)), "{line}");
    fs::remove_file(&secure.certificate.key).unwrap();
    secure.broker.logged("cannot be read").await;
    assert_eq!(shown(address, &ca).await, before);
    assert!(!secure.broker.log().iter().any(|line| line.contains("certificates: reloaded")));

    fs::copy(&renewed.key, &secure.certificate.key).unwrap();
    secure.broker.logged("certificates: reloaded").await;
    let after = shown(address, &ca).await;
    assert_ne!(after, before);
    assert_eq!(after, CertificateDer::from_pem_file(&renewed.cert).unwrap().to_vec());

    // For longer than a lock lives that nobody renews.
    tokio::time::sleep(TTL + 1_000 * MS).await;
    for (lock, id) in locks.iter().zip(&ids) {
        // A lock that had to move would have another id.
        assert_eq!(&lock.lock_id(), id);
        assert!(!lock.remaining().is_zero());
    }
    join_all(locks.into_iter().map(Guard::release)).await.into_iter().for_each(Result::unwrap);
}

/// As Kubernetes does it: the files are links through a folder that is a link itself, and that one is swapped.
#[tokio::test]
async fn a_swapped_link_is_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    for version in ["one", "two"] {
        let certificate = authority.server(version);
        let into = folder.path().join(format!("..{version}"));
        fs::create_dir(&into).unwrap();
        fs::rename(certificate.cert, into.join("tls.crt")).unwrap();
        fs::rename(certificate.key, into.join("tls.key")).unwrap();
    }
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
    link("..one", "..data");
    link("..data/tls.crt", "tls.crt");
    link("..data/tls.key", "tls.key");
    let [cert, key] = ["tls.crt", "tls.key"].map(|name| folder.path().join(name).display().to_string());
    let broker = Broker::start_unready(&["--tls-cert", &cert, "--tls-key", &key]).await;
    let ca = authority.file();
    let before = shown(broker.address(), &ca).await;
    link("..two", "..new");
    fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    broker.logged("certificates: reloaded").await;
    assert_ne!(shown(broker.address(), &ca).await, before);
}

/// A client that reconnects reads its files again.
#[tokio::test]
async fn a_client_shows_its_renewed_certificate_to_the_next_connection() {
    let secure = Secure::mutual().await;
    let proxy = Proxy::start(secure.broker.address()).await;
    let mine = secure.clients.client("mine", &[]);
    let url = format!("https://{}", proxy.address());
    let client = Client::builder(url).tls_ca(secure.ca()).tls_identity(&mine.cert, &mine.key).connect().unwrap();
    let become_the_one_of = |other: &Certificate| {
        fs::copy(&other.cert, &mine.cert).unwrap();
        fs::copy(&other.key, &mine.key).unwrap();
    };
    client.get("job", None).await.unwrap();
    become_the_one_of(&secure.clients.expired("expired"));
    proxy.cut();
    eventually(SOON, "the client shows the expired one", async || client.get("job", None).await.is_err()).await;
    become_the_one_of(&secure.clients.client("renewed", &[]));
    eventually(SOON, "the client shows the renewed one", async || client.get("job", None).await.is_ok()).await;
}

#[tokio::test]
async fn the_wrong_language_is_one_line_and_disturbs_nobody() {
    let secure = Secure::start(&[]).await;
    let client = secure.client().connect().unwrap();
    let lock = hold(&client, "job").await;
    for _ in 0..20 {
        let plain = format!("http://{}", secure.broker.address());
        assert_eq!(run(&["health", "--server", &plain]).status.code(), Some(1));
    }
    let count = |broker: &Broker, text: &str| broker.log().iter().filter(|line| line.contains(text)).count();
    secure.broker.logged("does not speak TLS").await;
    assert!(count(&secure.broker, "does not speak TLS") <= 2);
    assert!(!lock.remaining().is_zero());

    let plain = Broker::memory().await;
    let mut stub = plain.stub().await;
    let (acquired, _held) = acquire(&mut stub, once("job")).await;
    for _ in 0..20 {
        let tls = format!("https://{}", plain.address());
        assert_eq!(run(&["health", "--server", &tls, "--tls-ca", &secure.ca()]).status.code(), Some(1));
    }
    plain.logged("speaks TLS").await;
    assert!(count(&plain, "speaks TLS") <= 2);
    assert_eq!(release(&mut stub, "job", &acquired.lock_id).await, Outcome::Released);
}

#[tokio::test]
async fn a_client_is_told_at_once_what_it_talks_to() {
    let (secure, plain) = (Secure::start(&[]).await, Broker::memory().await);
    let web = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = web.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut io, _) = web.accept().await.unwrap();
            io.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        }
    });
    let [as_plain, as_tls] = [("http", secure.broker.address()), ("https", plain.address())]
        .map(|(scheme, address)| format!("{scheme}://{address}"));
    let servers = [
        (as_plain.clone(), "it speaks TLS; write https://"),
        (as_tls, "it speaks no TLS; write http://"),
        (format!("http://127.0.0.1:{port}"), "it does not speak HTTP/2"),
    ];
    for (server, says) in servers {
        for (arguments, code) in [
            (&["get", "job"][..], 76),
            (&["run", "job", "--", "true"], 76),
            (&["run", "--wait", "forever", "job", "--", "true"], 76),
            (&["health"], 1),
        ] {
            let began = Instant::now();
            let mut command = lockbroker(&arguments[..1]);
            command.args(["--server", &server]).args(&arguments[1..]);
            let output = tokio::task::spawn_blocking(move || output(&mut command)).await.unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{server} {arguments:?}: {stderr}");
            assert!(stderr.contains(says) && stderr.lines().count() == 1, "{server} {arguments:?}: {stderr}");
            assert!(began.elapsed() < 3_000 * MS, "{server} {arguments:?}: {:?}", began.elapsed());
        }
    }
    // Another broker may be the right one.
    let both = format!("{as_plain},{}", plain.url());
    for arguments in [&["get", "--server", &both, "job"][..], &["run", "--server", &both, "job", "--", "true"]] {
        assert!(run(arguments).status.success(), "{arguments:?}");
    }
}

/// Whoever connects and says nothing keeps nobody else waiting, and is put out after a while.
#[tokio::test]
async fn a_slow_handshake_holds_up_nobody() {
    let secure = Secure::start(&[]).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(secure.broker.address()).await.unwrap());
    }
    let began = Instant::now();
    assert!(secure.run(&["health"], &["--tls-ca", &secure.ca()]).status.success());
    assert!(began.elapsed() < 2_000 * MS, "{:?}", began.elapsed());
    for mut stream in silent {
        let end = tokio::time::timeout(2 * SOON, stream.read_to_end(&mut Vec::new())).await;
        assert!(end.is_ok(), "the connection stays open");
    }
}

#[test]
fn what_is_wrong_at_the_start_is_told_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "authority");
    let (good, other) = (authority.server("good"), authority.server("other"));
    let expired = authority.expired("expired");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let pem = fs::read_to_string(&good.cert).unwrap();
    let broken =
        write("broken", &format!("{pem}\n# and now\n-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n"));
    let lines = pem.lines().count();
    let not_der = write("not-der", "\n\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let open_ended = write("open-ended", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let garbage = write("garbage", "garbage");
    for (cert, key, client_ca, place) in [
        (&garbage, &good.key, &authority.file(), format!("{garbage}:1: ")),
        (&broken, &good.key, &authority.file(), format!("{broken}:{}: ", lines + 3)),
        (&not_der, &good.key, &authority.file(), format!("{not_der}:3: ")),
        (&open_ended, &good.key, &authority.file(), format!("{open_ended}:1: ")),
        (&expired.cert, &expired.key, &authority.file(), format!("{}:1: the certificate has expired", expired.cert)),
        (&good.cert, &garbage, &authority.file(), format!("{garbage}:1: ")),
        (&good.cert, &other.key, &authority.file(), format!("{}:1: not the key of the certificate", other.key)),
        (&good.cert, &"/nowhere".to_owned(), &authority.file(), "/nowhere: cannot be read".to_owned()),
        (&good.cert, &good.key, &not_der, format!("{not_der}:3: ")),
        (&good.cert, &good.key, &good.key, format!("{}:1: there is no certificate", good.key)),
    ] {
        let output = run(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--tls-cert",
            cert,
            "--tls-key",
            key,
            "--tls-client-ca",
            client_ca,
        ]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{place}: {stderr}");
        assert!(stderr.trim_end().lines().count() == 1 && stderr.contains(&place), "{place}: {stderr}");
    }
}

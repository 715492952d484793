//! Ways to a broker, and what stands in the way.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Scenario;
use crate::stage::{Client, Stage};
use crate::support::*;

/// A proxy that nobody listens at. A client that heeded it would reach no broker.
const NOBODY: &str = "http://127.0.0.1:9";

pub(super) const ALL: &[Scenario] = &[
    Scenario::new("connect-unix", "It connects to a Unix socket.", |stage| Box::pin(unix(stage))),
    Scenario::new(
        "connect-environment",
        "Without a server it takes those of LOCKBROKER_SERVER, and the files of LOCKBROKER_CLIENT_TLS_CA, _CERT and _KEY.",
        |stage| Box::pin(environment(stage)),
    ),
    Scenario::new("connect-proxy", "It does not heed proxy variables.", |stage| Box::pin(proxy(stage))),
    Scenario::new(
        "connect-swallowed",
        "A first address that swallows packets does not use up the time for an answer.",
        |stage| Box::pin(swallowed(stage)),
    ),
    Scenario::new("connect-refused", "A first address where nobody listens is passed over.", |stage| {
        Box::pin(refused(stage))
    }),
    Scenario::new("connect-nobody", "Without any broker a try is UNAVAILABLE within the answer timeout.", |stage| {
        Box::pin(nobody(stage))
    }),
    Scenario::new("connect-endpoint", "A malformed endpoint is refused when the client is made.", |stage| {
        Box::pin(endpoint(stage))
    }),
    Scenario::new("connect-tls", "It connects with TLS, and refuses a broker of another authority.", |stage| {
        Box::pin(tls(stage))
    }),
    Scenario::new("connect-mtls", "It shows its certificate, and a broker that wants one refuses others.", |stage| {
        Box::pin(mutual_tls(stage))
    }),
    Scenario::new("connect-renewed", "Certificates that are replaced in place serve the next connection.", |stage| {
        Box::pin(renewed(stage))
    }),
];

async fn takes_and_releases(client: &Client, name: &str) {
    client.takes(name).await.release().await;
}

async fn unix(stage: Stage) {
    let client = stage.client_of(&[stage.brokers().await.socket()]).await;
    takes_and_releases(&client, &stage.name()).await;
}

async fn environment(stage: Stage) {
    let secure = Secure::start(true).await;
    let identity = secure.authority.client("me", &[]);
    let environment = [
        ("LOCKBROKER_SERVER", format!("https://127.0.0.1:9, {}", secure.url())),
        ("LOCKBROKER_CLIENT_TLS_CA", secure.authority.file()),
        ("LOCKBROKER_CLIENT_TLS_CERT", identity.cert),
        ("LOCKBROKER_CLIENT_TLS_KEY", identity.key),
    ];
    let testee = stage.own_testee(&environment).await;
    serves(&Client::connect(testee, &[]).await, &stage.name()).await;
}

async fn proxy(stage: Stage) {
    let names = ["http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    let testee = stage.own_testee(&names.map(|name| (name, NOBODY.to_owned()))).await;
    let brokers = stage.brokers().await;
    for (index, server) in [brokers.first.url(), brokers.socket()].into_iter().enumerate() {
        let client = Client::connect(testee.clone(), &[server]).await;
        takes_and_releases(&client, &format!("{}/{index}", stage.name())).await;
    }
}

/// A listener whose queue is full: the kernel drops what asks for a connection.
fn swallowing() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        queued.push(stream);
        assert!(queued.len() < 10, "the queue does not fill");
    }
    (listener, queued)
}

async fn swallowed(stage: Stage) {
    let (listener, _queued) = swallowing();
    let first = format!("http://{}", listener.local_addr().unwrap());
    let client = stage.client_of(&[first, stage.brokers().await.first.url()]).await;
    takes_and_releases(&client, &stage.name()).await;
}

async fn refused(stage: Stage) {
    let url = stage.brokers().await.first.url();
    // A client may start a thread, which takes its time on a busy machine. So it races with one that need not pass anything over.
    let mut behind = Duration::MAX;
    for number in 0..3 {
        let time = async |servers: &[String], which: &str| {
            let client = stage.client_of(servers).await;
            let start = Instant::now();
            takes_and_releases(&client, &format!("{}/{number}/{which}", stage.name())).await;
            start.elapsed()
        };
        let servers = [NOBODY.into(), url.clone()];
        let (with, without) = tokio::join!(time(&servers, "with"), time(&servers[1..], "without"));
        behind = behind.min(with.saturating_sub(without));
    }
    assert!(behind < Duration::from_secs(2), "{behind:?}");
}

async fn nobody(stage: Stage) {
    let client = stage.client_of(&[NOBODY.into()]).await;
    let start = Instant::now();
    let answer = client.tries(&stage.name()).await;
    assert_eq!(answer.error(), "UNAVAILABLE");
    assert!(answer.message().contains("127.0.0.1:9"), "{}", answer.message());
    assert!(start.elapsed() < Duration::from_secs(12), "{:?}", start.elapsed());
}

async fn endpoint(stage: Stage) {
    for wrong in ["ftp://127.0.0.1:1", "http://127.0.0.1:99999", "unix:", "http://127.0.0.1:1/path"] {
        let (_, answer) = Client::connecting(stage.shared.testee().await, &[wrong.into()], json!(null)).await;
        assert_eq!(answer.error(), "ENDPOINT", "{wrong}");
        assert!(answer.message().contains(wrong), "{}", answer.message());
    }
}

/// A broker with a certificate of its own authority. If `mutual`, it asks clients for one too.
struct Secure {
    folder: tempfile::TempDir,
    authority: Authority,
    broker: Broker,
}

impl Secure {
    async fn start(mutual: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "authority");
        let server = authority.server("broker");
        let file = authority.file();
        let mut arguments = vec!["--store", "memory", "--tls-cert", &server.cert, "--tls-key", &server.key];
        if mutual {
            arguments.extend(["--tls-client-ca", &file]);
        }
        let broker = Broker::start_unready(&arguments).await;
        Self { folder, authority, broker }
    }

    fn url(&self) -> String {
        format!("https://{}", self.broker.address())
    }

    async fn client(&self, stage: &Stage, tls: Value) -> Client {
        let (client, answer) = Client::connecting(stage.shared.testee().await, &[self.url()], tls).await;
        answer.get("ok");
        client
    }
}

/// Waits until a lock can be had, and has it.
async fn serves(client: &Client, name: &str) {
    eventually(SOON, "the broker grants locks", async || client.tries(name).await.has("granted")).await;
}

async fn tls(stage: Stage) {
    let secure = Secure::start(false).await;
    let client = secure.client(&stage, json!({"ca": secure.authority.file()})).await;
    serves(&client, &stage.name()).await;
    let other = Authority::new(secure.folder.path(), "other");
    let stranger = secure.client(&stage, json!({"ca": other.file()})).await;
    assert_eq!(stranger.tries("other").await.error(), "HANDSHAKE");
}

async fn mutual_tls(stage: Stage) {
    let secure = Secure::start(true).await;
    let ca = secure.authority.file();
    let known = secure.authority.client("known", &[]);
    let client = secure.client(&stage, json!({"ca": ca, "cert": known.cert, "key": known.key})).await;
    serves(&client, &stage.name()).await;
    let nameless = secure.client(&stage, json!({"ca": ca})).await;
    assert_eq!(nameless.tries("other").await.error(), "HANDSHAKE");
    let stranger = Authority::new(secure.folder.path(), "other").client("stranger", &[]);
    let stranger = secure.client(&stage, json!({"ca": ca, "cert": stranger.cert, "key": stranger.key})).await;
    assert_eq!(stranger.tries("other").await.error(), "HANDSHAKE");
}

/// The client's certificate is replaced, and then its connection is cut.
async fn renewed(stage: Stage) {
    let secure = Secure::start(true).await;
    let proxy = Proxy::start(secure.broker.address()).await;
    let identity = secure.authority.client("me", &[]);
    let tls = json!({"ca": secure.authority.file(), "cert": identity.cert, "key": identity.key});
    let url = format!("https://{}", proxy.address());
    let (client, answer) = Client::connecting(stage.shared.testee().await, &[url], tls).await;
    answer.get("ok");
    serves(&client, &stage.name()).await;
    // What a client keeps in memory would be refused now: the authority has signed another, and only the file has it.
    secure.authority.expired("me");
    proxy.cut();
    eventually(SOON, "the replaced certificate is used", async || {
        let answer = client.tries("other").await;
        answer.has("error") && answer.error() == "HANDSHAKE"
    })
    .await;
    secure.authority.client("me", &[]);
    proxy.cut();
    serves(&client, "other").await;
}

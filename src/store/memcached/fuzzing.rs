//! Entry points for the fuzzer; see `fuzz/Cargo.toml`. No release build has them.

use std::sync::LazyLock;

use lockbroker_core::command::{Cas, Reply, Shown};
use lockbroker_core::shard::protocol;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::connection::Connection;
use super::server;
use super::wire::Wire;
use crate::lock::{GrantId, LockItem, LockName};
use crate::store::ItemState;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
});

/// The name on which every command below acts.
const NAME: &str = "job";

/// Reads `bytes` as a server's answer to the questions of a new connection.
///
/// # Panics
/// Panics where the broker would.
pub fn server_facts(bytes: &[u8]) {
    let mut stream = tokio::io::join(bytes, tokio::io::sink());
    if let Ok(facts) = RUNTIME.block_on(server::ask(&mut stream)) {
        let _ =
            (facts.refusal(false), facts.refusal(true), facts.process(), facts.nuisances(), facts.clock_difference());
    }
}

/// Reads `bytes` as a server's answer to a batch, after which the server ends the connection.
///
/// # Panics
/// Panics where the broker would, and where it would take a lock for granted without an answer that says so.
pub fn answers(bytes: &[u8]) {
    let item = LockItem::from(LockName::new(NAME).expect("a name"));
    let id = GrantId::new(10_000_000_000_000_000_000).expect("in range");
    let held = ItemState::Held(id);
    let commands = [
        protocol::clock(),
        protocol::create(&item, held, 15),
        protocol::replace(&item, held, held, 15),
        protocol::look(&item),
        protocol::look_for_owner(&item),
        protocol::witness(),
    ];
    let said = RUNTIME.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.ok()?;
        let client = TcpStream::connect(listener.local_addr().ok()?).await.ok()?;
        let (mut server, _) = listener.accept().await.ok()?;
        server.write_all(bytes).await.ok()?;
        server.shutdown().await.ok()?;
        Connection::new(client).ok()?.exchange(&Wire::new("lb:"), &commands).await.ok()
    });
    let Some(said) = said else { return };
    let carries_id = matches!(said[1], Reply::Done(Shown { cas: Some(Cas(cas)), .. }) if cas == id.get());
    let expected = format!("c{}", id.get());
    let says_so = bytes.windows(expected.len()).any(|window| window == expected.as_bytes());
    assert!(!carries_id || says_so, "granted, and no answer says so");
}

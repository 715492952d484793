//! Entry points for the fuzzer; see `fuzz/Cargo.toml`. No release build has them.

use std::sync::LazyLock;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::batch::{Answer, Batch, Job, Kind, Op};
use super::commands::{CasOutcome, Keys};
use super::connection::Connection;
use super::server;
use super::state_item::Epoch;
use crate::lock::{FencingToken, GrantId, LockName, Owner};
use crate::store::ItemState;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
});

/// The name on which every job below acts.
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
    let (kind, bytes) = match bytes.split_first() {
        Some((first, rest)) if first % 2 == 0 => (Kind::Create, rest),
        Some((_, rest)) => (Kind::Change, rest),
        None => return,
    };
    let name = LockName::new(NAME).expect("a name");
    let [old, new] = [0, 1].map(|n| GrantId::new(10_000_000_000_000_000_000 + n).expect("in range"));
    let ops = match kind {
        Kind::Create => vec![
            Op::Create { state: ItemState::Held(new), ttl: 15, grant: true },
            Op::Create { state: ItemState::Held(old), ttl: 15, grant: false },
        ],
        _ => vec![
            Op::Replace {
                from: ItemState::Held(old),
                to: ItemState::Held(new),
                ttl: 15,
                grant: true,
                touch_owner: false,
            },
            Op::Replace {
                from: ItemState::Held(old),
                to: ItemState::Held(old),
                ttl: 15,
                grant: false,
                touch_owner: true,
            },
            Op::Remove { state: ItemState::Held(old), wakes: true },
            Op::Look { label: true },
            Op::Look { label: false },
        ],
    };
    let mut replies = Vec::new();
    let mut jobs = Vec::new();
    for op in ops {
        let (reply, answer) = oneshot::channel();
        replies.push(answer);
        jobs.push(Job { name: name.clone(), op, reply: Some(reply) });
    }
    let batch = Batch::new(jobs, kind);
    let commands = batch.commands(&Keys::new("lb:"), Epoch::random());
    let Some(responses) = RUNTIME.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.ok()?;
        let client = TcpStream::connect(listener.local_addr().ok()?).await.ok()?;
        let (mut server, _) = listener.accept().await.ok()?;
        server.write_all(bytes).await.ok()?;
        server.shutdown().await.ok()?;
        Connection::new(client).ok()?.exchange(&commands).await.ok()
    }) else {
        return;
    };
    let Ok(evidence) = batch.evidence(&responses) else { return };
    batch.settle(&responses, evidence.fence.flatten(), &Ok(()), &"the fuzzer");
    for mut reply in replies {
        match reply.try_recv() {
            Ok(Ok(Answer::CasOutcome { verdict: CasOutcome::Done, token, .. })) => {
                assert!(token.is_none_or(|token: FencingToken| token.get() > 0));
                assert!(bytes.windows(2).any(|code| code == b"HD"), "done, and no answer says so");
            }
            Ok(Ok(Answer::Found { found: Some((_, owner, _)), .. })) => {
                let Owner { .. } = owner;
            }
            _ => {}
        }
    }
}

//! Two brokers on one memcached.

use tempfile::TempDir;

use super::{Broker, Memcached};

/// Two brokers on one memcached. Clients speak to the first, over TCP and a socket, or to both; rivals to the second.
#[derive(Debug)]
pub struct Brokers {
    pub memcached: Memcached,
    pub first: Broker,
    pub second: Broker,
    /// Has the socket.
    folder: TempDir,
}

impl Brokers {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(arguments: &[&str]) -> Self {
        let memcached = Memcached::start(&[]).await;
        let folder = tempfile::tempdir().unwrap();
        let first =
            Broker::on_store(&memcached.store(), &[&["--listen", &socket_in(&folder)], arguments].concat()).await;
        let second = Broker::on_store(&memcached.store(), arguments).await;
        Self { memcached, first, second, folder }
    }

    /// Returns the first broker's socket.
    pub fn socket(&self) -> String {
        socket_in(&self.folder)
    }

    /// Returns both addresses, the first broker's first.
    pub fn both(&self) -> [String; 2] {
        [self.first.url(), self.second.url()]
    }
}

fn socket_in(folder: &TempDir) -> String {
    format!("unix:{}", folder.path().join("lb.sock").display())
}

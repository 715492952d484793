//! What fills a memcached's memory.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::Memcached;

/// Items that fill a memcached's memory.
pub(super) struct Junk {
    keys: Vec<String>,
}

impl Junk {
    /// The number of items that are sent at once.
    const BATCH: usize = 100;

    /// Writes large items first, until no page of memory is left. Then writes small ones, until those pages are full
    /// in which a lock's item might find room.
    pub(super) async fn fill(store: &Memcached) -> Self {
        let mut stream = BufReader::new(TcpStream::connect(store.address()).await.unwrap());
        let mut junk = Self { keys: Vec::new() };
        for length in [400_000, 4_000, 500, 300, 250, 200, 160, 130, 100, 75, 50, 30, 10, 1] {
            while junk.add(&mut stream, length).await {}
        }
        junk
    }

    /// Adds some of this length; whether all found room.
    async fn add(&mut self, stream: &mut BufReader<TcpStream>, length: usize) -> bool {
        let batch = if length > 10_000 { 1 } else { Self::BATCH };
        let value = "x".repeat(length);
        let mut commands = String::new();
        for _ in 0..batch {
            let key = format!("junk:{}", self.keys.len());
            commands += &format!("set {key} 0 0 {length}\r\n{value}\r\n");
            self.keys.push(key);
        }
        stream.write_all(commands.as_bytes()).await.unwrap();
        let mut all_stored = true;
        for _ in 0..batch {
            let mut answer = String::new();
            stream.read_line(&mut answer).await.unwrap();
            all_stored &= answer == "STORED\r\n";
        }
        all_stored
    }

    pub(super) async fn clear(self, store: &Memcached) {
        for keys in self.keys.chunks(Self::BATCH) {
            let deletes: Vec<_> = keys.iter().map(|key| format!("delete {key} noreply")).collect();
            store.command(&deletes.join("\r\n")).await;
        }
    }
}

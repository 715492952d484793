//! Reads a broker's metrics as Prometheus does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::SOON;

/// The answer to a request of HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

/// Asks for a path, on a connection of its own.
pub async fn http(address: SocketAddr, method: &str, path: &str) -> Answer {
    http_with(address, method, path, &address.to_string(), "").await
}

/// Asks for a path of this host, with more `headers`: lines with their ends.
pub async fn http_with(address: SocketAddr, method: &str, path: &str, host: &str, headers: &str) -> Answer {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(SOON, exchange).await.expect("an answer soon").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no headers: {answer:?}"));
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer { status: status.expect("a status"), headers: headers.to_ascii_lowercase(), body: body.to_owned() }
}

/// The samples of one scrape, by their names with labels, as they stand in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scrape(pub BTreeMap<String, f64>);

impl Scrape {
    pub async fn of(admin: SocketAddr) -> Self {
        let answer = http(admin, "GET", "/metrics").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        Self::read(&answer.body)
    }

    fn read(text: &str) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            (sample.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line:?}")))
        });
        Self(samples.collect())
    }

    /// Returns the sum of all samples of this name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let mut samples = self
            .0
            .iter()
            .filter(|(sample, _)| name_of(sample) == name && labels.iter().all(|label| sample.contains(label)))
            .peekable();
        assert!(samples.peek().is_some(), "no {name} with {labels:?}");
        samples.map(|(_, value)| value).sum()
    }

    /// Returns the names of all samples, without labels.
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.keys().map(|sample| name_of(sample)).collect()
    }
}

fn name_of(sample: &str) -> &str {
    sample.split('{').next().unwrap_or(sample)
}

//! Where a shard is, and how heavy.

use std::fmt;
use std::str::FromStr;

/// One memcached server: `host:port` or `host:port=weight`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardAddress {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// How many names it guards against those of weight 1.
    pub weight: u32,
}

/// As in `--store`, without the weight: the shard's identity among brokers.
impl fmt::Display for ShardAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for ShardAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<ShardAddress, String> {
        let (address, weight) = text.split_once('=').unwrap_or((text, "1"));
        let (host, port) = address.rsplit_once(':').ok_or_else(|| format!("{text}: no port"))?;
        Ok(ShardAddress {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port.parse().map_err(|_| format!("{text}: bad port"))?,
            weight: weight.parse().map_err(|_| format!("{text}: bad weight"))?,
        })
    }
}

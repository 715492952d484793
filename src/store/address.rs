//! Parses `--store`: where locks are kept.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The port of a shard that names none: memcached's own.
const DEFAULT_PORT: u16 = 11211;

/// The greatest weight of a shard; the least, and the default, is 1.
pub const MAX_WEIGHT: u32 = 1_000;

/// The place where locks are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// This process. Two brokers, each with a memory of its own, grant the same lock twice.
    Memory,
    /// One memcached server or more, in the order in which they were written. No two are equal.
    Memcached(Vec<ShardAddress>),
}

/// One memcached server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardAddress {
    /// A host name in lower case, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The share of the names that it gets, relative to the other shards: 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

/// A mistake in a `--store`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidStore {
    /// The text is neither of the two kinds.
    #[error("expected `memory` or `memcached://host:port,…`")]
    UnknownKind,
    /// A shard has no host, or there is no shard.
    #[error("a shard's host is missing; write `memcached://host:port,…`")]
    MissingHost,
    /// A host is neither a name nor an address.
    #[error("`{0}` is no host name or address")]
    BadHost(String),
    /// The address has more than one colon, and no brackets.
    #[error("an IPv6 address goes in brackets: `[{0}]`")]
    BareIpv6(String),
    /// The text behind a colon is no port.
    #[error("`{0}` is no port; expected 1 to 65535")]
    BadPort(String),
    /// The text behind an equals sign is no weight.
    #[error("`{0}` is no weight; expected 1 to {MAX_WEIGHT}")]
    BadWeight(String),
    /// A server occurs twice.
    #[error("{0} is named twice; a shard that is to hold more names has a greater weight: `{0}=2`")]
    Duplicate(String),
}

impl FromStr for Store {
    type Err = InvalidStore;

    fn from_str(text: &str) -> Result<Store, InvalidStore> {
        if text == "memory" {
            return Ok(Store::Memory);
        }
        let list = text.strip_prefix("memcached://").ok_or(InvalidStore::UnknownKind)?;
        let mut shards: Vec<ShardAddress> = Vec::new();
        for shard in list.split(',') {
            let shard: ShardAddress = shard.parse()?;
            if shards.iter().any(|other| other.host == shard.host && other.port == shard.port) {
                return Err(InvalidStore::Duplicate(shard.to_string()));
            }
            shards.push(shard);
        }
        Ok(Store::Memcached(shards))
    }
}

impl FromStr for ShardAddress {
    type Err = InvalidStore;

    fn from_str(text: &str) -> Result<ShardAddress, InvalidStore> {
        let (address, weight) = match text.split_once('=') {
            Some((address, weight)) => (address, parse_weight(weight)?),
            None => (text, 1),
        };
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or_else(|| InvalidStore::BadHost(address.into()))?;
                let host: Ipv6Addr = host.parse().map_err(|_| InvalidStore::BadHost(host.into()))?;
                let port = match behind.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if behind.is_empty() => None,
                    None => return Err(InvalidStore::BadHost(address.into())),
                };
                (host.to_string(), port)
            }
            None if address.parse::<Ipv6Addr>().is_ok() => return Err(InvalidStore::BareIpv6(address.into())),
            None => match address.split_once(':') {
                Some((host, port)) => (parse_host(host)?, Some(port)),
                None => (parse_host(address)?, None),
            },
        };
        let port = port.map_or(Ok(DEFAULT_PORT), parse_port)?;
        Ok(ShardAddress { host, port, weight })
    }
}

fn parse_host(text: &str) -> Result<String, InvalidStore> {
    if text.is_empty() {
        return Err(InvalidStore::MissingHost);
    }
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err(InvalidStore::BadHost(text.into()));
    }
    // DNS ignores case, so two spellings of one shard are one shard.
    Ok(text.to_ascii_lowercase())
}

fn parse_port(text: &str) -> Result<u16, InvalidStore> {
    digits(text).filter(|&port| port != 0).ok_or_else(|| InvalidStore::BadPort(text.into()))
}

fn parse_weight(text: &str) -> Result<u32, InvalidStore> {
    digits(text).filter(|weight| (1..=MAX_WEIGHT).contains(weight)).ok_or_else(|| InvalidStore::BadWeight(text.into()))
}

/// Parses a number in plain digits. `FromStr` of the integers would take a sign too.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Writes the address alone, as it is dialled: `host:port`, an IPv6 address in brackets.
impl fmt::Display for ShardAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Writes the store as `--store` takes it.
impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Store::Memcached(shards) = self else {
            return f.write_str("memory");
        };
        f.write_str("memcached://")?;
        for (n, shard) in shards.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{shard}")?;
            if shard.weight != 1 {
                write!(f, "={}", shard.weight)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(host: &str, port: u16, weight: u32) -> ShardAddress {
        ShardAddress { host: host.into(), port, weight }
    }

    fn shards(text: &str) -> Vec<ShardAddress> {
        match text.parse() {
            Ok(Store::Memcached(shards)) => shards,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str) -> InvalidStore {
        text.parse::<Store>().expect_err(text)
    }

    #[test]
    fn memory_is_one_word() {
        assert_eq!("memory".parse(), Ok(Store::Memory));
        for text in ["", "Memory", "memory://", "memcached", "memcached:a:11211", "redis://a:6379"] {
            assert_eq!(refused(text), InvalidStore::UnknownKind);
        }
    }

    #[test]
    fn shards_keep_their_order_and_weights() {
        assert_eq!(shards("memcached://b:11212,a:11211=3"), [shard("b", 11212, 1), shard("a", 11211, 3)]);
        assert_eq!(shards("memcached://10.0.0.7:65535=1000"), [shard("10.0.0.7", 65535, 1_000)]);
        assert_eq!(shards("memcached://lock_store-0.svc.local:1"), [shard("lock_store-0.svc.local", 1, 1)]);
    }

    #[test]
    fn a_shard_without_a_port_has_memcacheds_own() {
        assert_eq!(shards("memcached://a,b=2"), [shard("a", 11211, 1), shard("b", 11211, 2)]);
        assert_eq!(shards("memcached://[::1]"), [shard("::1", 11211, 1)]);
    }

    #[test]
    fn ipv6_goes_in_brackets() {
        assert_eq!(shards("memcached://[::1]:11211=2"), [shard("::1", 11211, 2)]);
        assert_eq!(shards("memcached://[2001:DB8:0::1]:1"), [shard("2001:db8::1", 1, 1)]);
        assert_eq!(refused("memcached://::1"), InvalidStore::BareIpv6("::1".into()));
        assert_eq!(refused("memcached://[::1"), InvalidStore::BadHost("[::1".into()));
        assert_eq!(refused("memcached://[::1]11211"), InvalidStore::BadHost("[::1]11211".into()));
        assert_eq!(refused("memcached://[a]:11211"), InvalidStore::BadHost("a".into()));
    }

    #[test]
    fn what_is_missing_is_named() {
        for text in ["memcached://", "memcached://:11211", "memcached://a:1,", "memcached://a:1,,b:1", "memcached://=3"]
        {
            assert_eq!(refused(text), InvalidStore::MissingHost);
        }
        assert_eq!(refused("memcached://a:"), InvalidStore::BadPort("".into()));
        assert_eq!(refused("memcached://a:11211="), InvalidStore::BadWeight("".into()));
    }

    #[test]
    fn numbers_are_plain_and_in_range() {
        for port in ["0", "65536", "+1", "-1", "1 ", "x", "1:2"] {
            assert_eq!(refused(&format!("memcached://a:{port}")), InvalidStore::BadPort(port.into()));
        }
        for weight in ["0", "1001", "+1", "1.5", "99999999999", "1=2"] {
            assert_eq!(refused(&format!("memcached://a:1={weight}")), InvalidStore::BadWeight(weight.into()));
        }
        for host in ["a b", "user@a", "a/b", "ä"] {
            assert_eq!(refused(&format!("memcached://{host}:1")), InvalidStore::BadHost(host.into()));
        }
    }

    #[test]
    fn the_same_shard_twice_is_refused_however_it_is_spelt() {
        for text in ["memcached://a:1,b:1,A:1=3", "memcached://a,a:11211", "memcached://[::1]:1,[0::1]:1"] {
            assert!(matches!(refused(text), InvalidStore::Duplicate(_)), "{text}");
        }
        assert_eq!(shards("memcached://a:1,a:2").len(), 2);
    }

    #[test]
    fn what_is_shown_is_what_is_read() {
        for text in ["memory", "memcached://a:1,[::1]:11211=3,b:2"] {
            assert_eq!(text.parse::<Store>().unwrap().to_string(), text);
        }
    }
}

//! The page of the admin listener, and by which names browsers may call it.

use std::str::FromStr;

use clap::Args;

/// The settings of the page on `--admin-listen`.
#[derive(Debug, Clone, Default, Args)]
pub struct PageOptions {
    /// A name by which browsers may call the page on --admin-listen, besides IP addresses and localhost; may be given
    /// several times. The page shows nothing under other names, which a web page elsewhere could have made up
    #[arg(long = "admin-host", env = "LOCKBROKER_ADMIN_HOST", value_name = "NAME", value_delimiter = ',')]
    pub hosts: Vec<HostName>,

    /// Leave out the page on --admin-listen, which shows names and owners of locks to everybody who can connect to it
    #[arg(long = "no-admin-page", env = "LOCKBROKER_NO_ADMIN_PAGE")]
    pub is_off: bool,
}

/// The name of a host, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Returns true if `host`, in any case, is this name.
    pub fn is(&self, host: &str) -> bool {
        self.0.eq_ignore_ascii_case(host)
    }
}

impl FromStr for HostName {
    type Err = String;

    fn from_str(text: &str) -> Result<HostName, String> {
        let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if text.is_empty() || text.len() > 253 || !is_name(text) {
            return Err("expected a host's name without a port, such as locks.example.org".into());
        }
        Ok(HostName(text.trim_end_matches('.').to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_alone() {
        let host: HostName = "Locks.Example.org.".parse().unwrap();
        assert!(host.is("locks.example.org") && host.is("LOCKS.example.ORG") && !host.is("example.org"));
        for text in ["", "locks:28552", "http://locks", "[::1]", "a b", "*", &"x".repeat(254)] {
            assert!(text.parse::<HostName>().is_err(), "{text}");
        }
    }
}

//! Reads from a file which callers may do what with which locks. Knows names, not locks.

mod limits;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str;

use serde::Deserialize;
use toml::Spanned;

pub use self::limits::{CallerLimits, Rate};
use self::limits::{Limits, QuotaTable};
use crate::files::{self, FileError, line_of};
use crate::lock::LockName;
use crate::reloaded::Files;

/// An identity of a caller, as the connection proves it. The caller's own words never count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Identity {
    /// A URI of the client certificate's, such as its SPIFFE id.
    Uri(String),
    /// A host name of the client certificate's.
    Dns(String),
    /// The client certificate's common name.
    CommonName(String),
    /// The user id of the process at the other end of a Unix socket.
    Uid(u32),
    /// Its group id.
    Gid(u32),
    /// The address of a TCP connection's other end. No rule can name it: it proves nothing. It is for the audit.
    Address(IpAddr),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Uri(uri) => write!(f, "uri:{uri}"),
            Identity::Dns(name) => write!(f, "dns:{name}"),
            Identity::CommonName(name) => write!(f, "cn:{name}"),
            Identity::Uid(id) => write!(f, "uid:{id}"),
            Identity::Gid(id) => write!(f, "gid:{id}"),
            Identity::Address(address) => write!(f, "address:{address}"),
        }
    }
}

/// The identities of a caller: those of its certificate, those of the process behind a Unix socket, or the address of
/// a TCP connection.
pub type Caller = Vec<Identity>;

/// An action on a lock that a policy can allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Acquire it, wait for it, reattach to it. A holder may always release what it holds.
    Acquire,
    /// Release it by its lock id.
    Release,
    /// Ask who has it.
    Look,
    /// List it with others whose names begin alike, and those who wait for it.
    List,
    /// Take it from its holder.
    Revoke,
}

/// The reason for which a caller is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No rule is about this caller.
    Unknown,
    /// None of the rules about this caller allows it.
    Denied,
}

/// The rules and quotas of a policy file. An action that no rule allows is refused. A caller that no quota names has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    #[serde(default, rename = "rule")]
    rules: Vec<Spanned<Rule>>,
    #[serde(default, rename = "quota")]
    quotas: Vec<Spanned<QuotaTable>>,
    /// What the quotas say of each identity.
    #[serde(skip)]
    limits: Limits,
}

/// Allows each caller in `who` each action in `may`, on every lock whose name begins with one of `prefixes`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    who: Vec<Identity>,
    may: Vec<Action>,
    prefixes: Vec<String>,
}

impl Policy {
    /// Returns the identity by which a caller has a quota, and its limits. If several of a caller's identities have one, the
    /// first in the file counts.
    pub fn quota(&self, caller: &[Identity]) -> Option<(&Identity, CallerLimits)> {
        let all = caller.iter().filter_map(|identity| self.limits.get_key_value(identity));
        let first = all.min_by_key(|(_, (place, _))| *place);
        first.map(|(identity, (_, limits))| (identity, *limits))
    }

    /// Returns each identity that has a quota, and its limits.
    pub fn quotas(&self) -> impl Iterator<Item = (&Identity, CallerLimits)> {
        self.limits.iter().map(|(identity, (_, limits))| (identity, *limits))
    }

    /// Checks that `caller` may do `action` with the lock `name`.
    ///
    /// # Errors
    /// Returns the reason if the policy does not allow it. The answer does not depend on whether the lock exists.
    pub fn check(&self, caller: &[Identity], action: Action, name: &LockName) -> Result<(), Refusal> {
        self.check_prefix(caller, action, name.as_str())
    }

    /// Checks that `caller` may do `action` with all locks whose names begin with `prefix`. One of the rules has to allow it for
    /// all of them.
    ///
    /// # Errors
    /// As [`Policy::check`].
    pub fn check_prefix(&self, caller: &[Identity], action: Action, prefix: &str) -> Result<(), Refusal> {
        if self.prefixes(caller, action).any(|allowed| prefix.starts_with(allowed)) {
            return Ok(());
        }
        Err(if self.knows(caller) { Refusal::Denied } else { Refusal::Unknown })
    }

    /// Returns the beginnings of the names with which `caller` may do `action`.
    pub fn prefixes(&self, caller: &[Identity], action: Action) -> impl Iterator<Item = &str> {
        let allows = move |rule: &&Rule| rule.may.contains(&action);
        self.rules_about(caller).filter(allows).flat_map(|rule| &rule.prefixes).map(String::as_str)
    }

    /// Returns true if at least one rule names `caller`.
    pub fn knows(&self, caller: &[Identity]) -> bool {
        self.rules_about(caller).next().is_some()
    }

    fn rules_about(&self, caller: &[Identity]) -> impl Iterator<Item = &Rule> {
        let is_about = |rule: &&Rule| rule.who.iter().any(|identity| caller.contains(identity));
        self.rules.iter().map(Spanned::get_ref).filter(is_about)
    }
}

/// A file with a policy.
#[derive(Debug, Clone)]
pub struct PolicyFile(pub PathBuf);

impl Files for PolicyFile {
    type Content = Vec<u8>;
    type Made = Policy;

    fn read(&self) -> Result<Vec<u8>, FileError> {
        files::read(&self.0)
    }

    fn make(&self, content: &Vec<u8>) -> Result<Policy, FileError> {
        let wrong_at = |offset, why: &str| FileError::at(&self.0, line_of(content, offset), why);
        let text = str::from_utf8(content).map_err(|error| wrong_at(error.valid_up_to(), "not UTF-8"))?;
        let mut policy: Policy = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            wrong_at(offset, &error.message().replace('\n', " "))
        })?;
        for rule in &policy.rules {
            let Rule { who, may, prefixes } = rule.get_ref();
            if who.is_empty() || may.is_empty() || prefixes.is_empty() {
                let why = "a rule in which `who`, `may` or `prefixes` is empty allows nothing (\"\" is the prefix of all names)";
                return Err(wrong_at(rule.span().start, why));
            }
        }
        policy.limits = limits::of_all(&policy.quotas, wrong_at)?;
        Ok(policy)
    }
}

impl fmt::Display for PolicyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("policy")
    }
}

impl TryFrom<String> for Identity {
    type Error = String;

    fn try_from(text: String) -> Result<Identity, String> {
        let number = |value: &str| value.parse().map_err(|_| format!("{text:?}: expected a number"));
        match text.split_once(':') {
            Some((_, "")) => Err(format!("{text:?}: nothing after the colon")),
            Some(("uri", uri)) => Ok(Identity::Uri(uri.to_owned())),
            // Host names in certificates are compared without regard to case.
            Some(("dns", name)) => Ok(Identity::Dns(name.to_ascii_lowercase())),
            Some(("cn", name)) => Ok(Identity::CommonName(name.to_owned())),
            Some(("uid", id)) => number(id).map(Identity::Uid),
            Some(("gid", id)) => number(id).map(Identity::Gid),
            _ => Err(format!("{text:?}: expected uri:…, dns:…, cn:…, uid:… or gid:…")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Result<Policy, String> {
        PolicyFile("p.toml".into()).make(&text.as_bytes().to_vec()).map_err(|error| error.to_string())
    }

    #[test]
    fn rules_add_up_and_nothing_else_is_allowed() {
        let policy = policy(
            r#"
            [[rule]]
            who = ["uri:spiffe://example.org/billing", "uid:1000"]
            may = ["acquire", "release"]
            prefixes = ["billing/", "shared/"]

            [[rule]]
            who = ["uid:1000", "gid:7", "dns:A.example.org", "cn:ops"]
            may = ["look"]
            prefixes = [""]
            "#,
        )
        .unwrap();
        let check = |caller: &[Identity], action, name| policy.check(caller, action, &LockName::new(name).unwrap());
        let billing = [Identity::Uri("spiffe://example.org/billing".into())];
        let user = [Identity::Gid(1), Identity::Uid(1000)];
        assert_eq!(check(&billing, Action::Acquire, "billing/1"), Ok(()));
        assert_eq!(check(&billing, Action::Release, "shared/1"), Ok(()));
        assert_eq!(check(&billing, Action::Look, "billing/1"), Err(Refusal::Denied));
        assert_eq!(check(&billing, Action::Acquire, "billing"), Err(Refusal::Denied));
        assert_eq!(check(&user, Action::Acquire, "billing/1"), Ok(()));
        assert_eq!(check(&user, Action::Look, "other"), Ok(()));
        assert_eq!(check(&user, Action::Acquire, "other"), Err(Refusal::Denied));
        for caller in [Identity::Gid(7), Identity::Dns("a.example.org".into()), Identity::CommonName("ops".into())] {
            assert_eq!(check(&[caller], Action::Look, "other"), Ok(()));
        }
        for stranger in [
            &[][..],
            &[Identity::Gid(1000)],
            &[Identity::CommonName("spiffe://example.org/billing".into())],
            &[Identity::Uri("spiffe://example.org/billing/".into())],
        ] {
            assert_eq!(check(stranger, Action::Acquire, "billing/1"), Err(Refusal::Unknown));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let rule = |who: &str, may: &str, prefixes: &str| {
            format!("# first\n[[rule]]\nwho = {who}\nmay = {may}\nprefixes = {prefixes}\n")
        };
        let good = rule(r#"["uid:0"]"#, r#"["look"]"#, r#"["a"]"#);
        assert!(policy(&good).is_ok() && policy("").is_ok());
        for (text, line, says) in [
            (rule(r#"["uid:x"]"#, r#"["look"]"#, r#"["a"]"#), 3, "number"),
            (rule(r#"["root"]"#, r#"["look"]"#, r#"["a"]"#), 3, "uid:"),
            (rule(r#"["cn:"]"#, r#"["look"]"#, r#"["a"]"#), 3, "nothing after"),
            (rule(r#"["uid:0"]"#, r#"["see"]"#, r#"["a"]"#), 4, "acquire"),
            (rule(r#"["uid:0"]"#, r#"["look"]"#, r#"["a"]"#) + "more = 1\n", 6, "more"),
            (rule(r#"["uid:0"]"#, r#"["look"]"#, "[]"), 2, "prefixes"),
            (rule(r#"["uid:0"]"#, r#"["look"]"#, "[1]"), 5, "string"),
            (good.clone() + "[[rule]]\nwho = [\"uid:0\"]\n", 6, "missing"),
            (good.clone() + "[[roule]]\n", 6, "roule"),
            (good + "garbage\n", 6, ""),
        ] {
            let error = policy(&text).expect_err(&text);
            assert!(error.starts_with(&format!("p.toml:{line}: ")), "{error} for\n{text}");
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
        let latin = PolicyFile("p.toml".into()).make(&b"# a\n# \xe4\n".to_vec()).unwrap_err();
        assert_eq!(latin.to_string(), "p.toml:2: not UTF-8");
    }
}

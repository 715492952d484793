//! Asks the policy, if there is one, before a request reaches the domain.

use std::sync::Arc;

use super::connection::Connection;
use crate::accounts::{Accounts, ObserverShare};
use crate::audit;
use crate::broker::{Account, Failure, LockRequest, Mode};
use crate::lock::{LockId, LockName};
use crate::policy::{Action, Identity, Policy, Refusal};
use crate::reloaded::Reloaded;

/// The most prefixes that a message names.
const MAX_SHOWN: usize = 10;

/// Holds the policy, which is read again when its file changes, and the accounts of those to whom it gives quotas.
#[derive(Debug, Clone)]
pub(super) struct Authorizer {
    policy: Option<Reloaded<Policy>>,
    accounts: Accounts,
}

impl Authorizer {
    /// Makes one that asks `policy`. Without a policy everybody may do everything.
    pub(super) fn new(policy: Option<Reloaded<Policy>>, accounts: Accounts) -> Authorizer {
        Authorizer { policy, accounts }
    }

    /// Checks that the client of `connection` may ask for this lock, and may do so now. Lets the lock count for the client's
    /// account.
    pub(super) fn admit(&self, connection: Option<&Arc<Connection>>, request: &mut LockRequest) -> Result<(), Failure> {
        self.admit_together(connection, std::slice::from_mut(request))
    }

    /// Does the same for several locks that are asked for by one request. Each counts for the account.
    pub(super) fn admit_together(
        &self,
        connection: Option<&Arc<Connection>>,
        requests: &mut [LockRequest],
    ) -> Result<(), Failure> {
        for LockRequest { name, .. } in &*requests {
            self.check(connection, Action::Acquire, name)?;
        }
        let Some(first) = requests.first() else { return Ok(()) };
        let account = self.accounts.admit(identities(connection), &first.mode)?;
        requests.iter_mut().for_each(|request| request.account = account);
        Ok(())
    }

    /// Returns the account for which a lock counts that the client of `connection` has already.
    pub(super) fn account_of(&self, connection: Option<&Arc<Connection>>, lock_id: LockId) -> Option<Account> {
        // What is held already is never refused.
        self.accounts.admit(identities(connection), &Mode::Reattach(lock_id)).ok().flatten()
    }

    /// Checks that the client of `connection` may give a lock of this name another value, and may do so now.
    pub(super) fn admit_update(&self, connection: Option<&Arc<Connection>>, name: &LockName) -> Result<(), Failure> {
        self.check(connection, Action::Acquire, name)?;
        self.accounts.ask(identities(connection))
    }

    /// Checks that the client of `connection` may observe the lock `name`, and on one more stream now. What it returns counts for its
    /// account, if it has one, until that is dropped.
    pub(super) fn admit_observer(
        &self,
        connection: Option<&Arc<Connection>>,
        name: &LockName,
    ) -> Result<Option<ObserverShare>, Failure> {
        self.check(connection, Action::Look, name)?;
        self.accounts.observe(identities(connection))
    }

    /// Checks that the client of `connection` may do `action` with the lock `name`.
    pub(super) fn check(
        &self,
        connection: Option<&Arc<Connection>>,
        action: Action,
        name: &LockName,
    ) -> Result<(), Failure> {
        let Some(policy) = &self.policy else { return Ok(()) };
        policy.now().check(identities(connection), action, name).map_err(|refusal| {
            let to = verb(action);
            audit::denied(name, audit::caller(identities(connection)).as_deref(), to);
            match refusal {
                Refusal::Unknown => unknown(),
                Refusal::Denied => Failure::Denied {
                    why: format!("the policy does not let this caller {to} locks of this name").into(),
                },
            }
        })
    }

    /// Checks that the client of `connection` may do `action` with all locks whose names begin with `prefix`. One that may do it
    /// with some is told with which: it could find out by trying.
    pub(super) fn check_prefix(
        &self,
        connection: Option<&Arc<Connection>>,
        action: Action,
        prefix: &str,
    ) -> Result<(), Failure> {
        let Some(policy) = &self.policy else { return Ok(()) };
        let (policy, caller) = (policy.now(), identities(connection));
        policy.check_prefix(caller, action, prefix).map_err(|refusal| {
            let to = verb(action);
            audit::denied_prefix(prefix, audit::caller(caller).as_deref(), to);
            let allowed: Vec<_> = policy.prefixes(caller, action).take(MAX_SHOWN + 1).collect();
            match refusal {
                Refusal::Unknown => unknown(),
                Refusal::Denied => Failure::Denied { why: only(to, &allowed).into() },
            }
        })
    }

    /// Checks that the client of `connection` may do anything at all.
    pub(super) fn check_known(&self, connection: Option<&Arc<Connection>>) -> Result<(), Failure> {
        match &self.policy {
            Some(policy) if !policy.now().knows(identities(connection)) => Err(unknown()),
            _ => Ok(()),
        }
    }
}

/// Says what an action is, behind "may".
fn verb(action: Action) -> &'static str {
    match action {
        Action::Acquire => "acquire",
        Action::Release => "release",
        Action::Look => "look at",
        Action::List => "list",
        Action::Revoke => "revoke",
    }
}

/// Says with which locks a caller may do something that it may not do with all.
fn only(to: &str, prefixes: &[&str]) -> String {
    if prefixes.is_empty() {
        return format!("the policy does not let this caller {to} locks");
    }
    let shown: Vec<_> = prefixes.iter().take(MAX_SHOWN).map(|prefix| format!("{prefix:?}")).collect();
    let others = if prefixes.len() > MAX_SHOWN { " and others" } else { "" };
    format!("the policy lets this caller {to} only locks whose names begin with {}{others}", shown.join(" or "))
}

/// Returns all by which a connection's client is known.
pub(super) fn identities(connection: Option<&Arc<Connection>>) -> &[Identity] {
    connection.map_or(&[], |connection| connection.caller())
}

fn unknown() -> Failure {
    Failure::Unknown { why: "the policy knows nobody by this connection's client certificate or user id".into() }
}

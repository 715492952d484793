//! Asks the policy, if there is one, before a request reaches the domain.

use std::sync::Arc;

use super::connection::Connection;
use crate::audit;
use crate::broker::Failure;
use crate::lock::LockName;
use crate::policy::{Action, Identity, Policy, Refusal};
use crate::reloaded::Reloaded;

/// Holds the policy, which is read again when its file changes.
#[derive(Debug, Clone)]
pub(super) struct Authorizer(Option<Reloaded<Policy>>);

impl Authorizer {
    /// Makes one that asks `policy`. Without a policy everybody may do everything.
    pub(super) fn new(policy: Option<Reloaded<Policy>>) -> Authorizer {
        Authorizer(policy)
    }

    /// Checks that the client of `connection` may do `action` with the lock `name`.
    pub(super) fn check(
        &self,
        connection: Option<&Arc<Connection>>,
        action: Action,
        name: &LockName,
    ) -> Result<(), Failure> {
        let Some(policy) = &self.0 else { return Ok(()) };
        policy.now().check(caller(connection), action, name).map_err(|refusal| {
            let to = match action {
                Action::Acquire => "acquire",
                Action::Release => "release",
                Action::Look => "look at",
            };
            audit::denied(name, audit::caller(caller(connection)).as_deref(), to);
            match refusal {
                Refusal::Unknown => unknown(),
                Refusal::Denied => Failure::Denied {
                    why: format!("the policy does not let this caller {to} locks of this name").into(),
                },
            }
        })
    }

    /// Checks that the client of `connection` may do anything at all.
    pub(super) fn check_known(&self, connection: Option<&Arc<Connection>>) -> Result<(), Failure> {
        match &self.0 {
            Some(policy) if !policy.now().knows(caller(connection)) => Err(unknown()),
            _ => Ok(()),
        }
    }
}

fn caller(connection: Option<&Arc<Connection>>) -> &[Identity] {
    connection.map_or(&[], |connection| connection.caller())
}

fn unknown() -> Failure {
    Failure::Unknown { why: "the policy knows nobody by this connection's client certificate or user id".into() }
}

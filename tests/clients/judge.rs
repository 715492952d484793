//! Judges the programs: a rival waits for each lock, at another broker.

use std::time::Instant;

use lockbroker::proto::WaitAcquireResponse;
use tonic::Streaming;

use crate::support::*;
use crate::testee::{Case, Testee};

/// Somebody else who wants the lock, and has to wait for it.
pub(crate) struct Rival {
    name: String,
    stub: Stub,
    stream: Streaming<WaitAcquireResponse>,
}

impl Rival {
    /// Gets in line at this broker. The lock must be held.
    pub(crate) async fn queue(broker: &Broker, case: Case) -> Self {
        let (name, mut stub) = (case.to_string(), broker.stub().await);
        let (_, stream) = queue(&mut stub, wait(&name)).await;
        Self { name, stub, stream }
    }

    /// Waits for the grant.
    pub(crate) async fn granted(mut self) -> Grant {
        let acquired = granted(&mut self.stream).await;
        Grant { at: Instant::now(), token: acquired.fencing_token, lock_id: acquired.lock_id, rival: self }
    }
}

/// The rival's grant: proof that the program's is over.
pub(crate) struct Grant {
    pub(crate) at: Instant,
    token: i64,
    lock_id: String,
    rival: Rival,
}

impl Grant {
    /// Judges a program that has ended: it has acted, its last act came before this grant, and its token is lower.
    pub(crate) fn judge(&self, testee: &Testee, token: i64) {
        let (name, acted) = (&self.rival.name, testee.acted_last());
        assert!(acted < self.at, "{name}: acted {:?} after the next grant", acted - self.at);
        assert!(token < self.token, "{name}: token {token} is not below {}", self.token);
    }

    /// Lets go of the lock, which must still be held.
    pub(crate) async fn release(mut self) {
        let outcome = release(&mut self.rival.stub, &self.rival.name, &self.lock_id).await;
        assert_eq!(outcome, Outcome::Released, "{}", self.rival.name);
    }
}

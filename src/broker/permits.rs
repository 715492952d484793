//! Looks at the permits of a lock that several share.

use std::time::Duration;

use futures_util::future::try_join_all;

use super::{Broker, Failure, Seen};
use crate::lock::{LockItem, LockName, MAX_PERMITS, Permit};
use crate::store::{ItemState, LockStatus};

/// The number of permits that are looked at together: the store asks for so many in one batch.
const ROW: u16 = 64;

/// What the permits of a lock are together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPermits {
    /// The number of those that are held. The others linger, or were revoked.
    pub held: usize,
    /// The state of one that is held; if none is, that of the one that is free last.
    pub state: ItemState,
    /// The longest time until all are free, if nobody renews them.
    pub expires_in: Duration,
}

impl Broker {
    /// Looks at the first `number` permits of a lock, 64 at the most. Returns those that somebody has.
    ///
    /// # Errors
    /// As [`Broker::look`].
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn look_at_first_permits(
        &self,
        name: &LockName,
        number: u16,
    ) -> Result<Vec<(Permit, LockStatus)>, Failure> {
        self.look_at_row(name, 0, number.min(ROW)).await
    }

    /// Looks at the permits of a lock from the first on, up to the first row of 64 that nobody has. None: nobody has any.
    ///
    /// # Errors
    /// As [`Broker::look`].
    ///
    /// # Cancel safety
    /// Nothing is left behind.
    pub async fn look_at_permits(&self, name: &LockName) -> Result<Option<SeenPermits>, Failure> {
        let mut all: Option<SeenPermits> = None;
        for from in (0..MAX_PERMITS).step_by(ROW.into()) {
            let row = self.look_at_row(name, from, from + ROW).await?;
            if row.is_empty() {
                break;
            }
            for (_, status) in row {
                if let LockStatus::Taken { state, expires_in, .. } = status {
                    all = Some(SeenPermits::add(all, (state, expires_in)));
                }
            }
        }
        Ok(all)
    }

    async fn look_at_row(&self, name: &LockName, from: u16, upto: u16) -> Result<Vec<(Permit, LockStatus)>, Failure> {
        let looks = (from..upto).filter_map(Permit::new).map(|permit| async move {
            let item = LockItem { name: name.clone(), permit: Some(permit) };
            self.look(item, None).await.map(|Seen { status, .. }| (permit, status))
        });
        let mut row = try_join_all(looks).await?;
        row.retain(|(_, status)| *status != LockStatus::Free);
        Ok(row)
    }
}

impl SeenPermits {
    /// Adds one that somebody has.
    fn add(all: Option<SeenPermits>, (state, expires_in): (ItemState, Duration)) -> SeenPermits {
        let is_held = matches!(state, ItemState::Held(_));
        let Some(mut all) = all else { return SeenPermits { held: usize::from(is_held), state, expires_in } };
        if is_held || (all.held == 0 && expires_in > all.expires_in) {
            all.state = state;
        }
        all.held += usize::from(is_held);
        all.expires_in = all.expires_in.max(expires_in);
        all
    }
}

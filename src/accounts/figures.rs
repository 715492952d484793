//! What callers have, may have and were refused, for Prometheus.

use std::fmt;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{Accounts, Entry, KINDS, Kind};
use crate::policy::CallerLimits;
use crate::reloaded::Reloaded;

/// A column of figures for Prometheus: one for each identity that has a quota, and each limit of it. The operator's file bounds
/// how many there are.
#[derive(Debug, Clone)]
pub(super) struct Figures(pub(super) Accounts, pub(super) Shown);

#[derive(Debug, Clone, Copy)]
pub(super) enum Shown {
    Limit,
    Used,
    Refused,
}

impl Shown {
    /// Returns a figure, where there is one: what is not limited has none, but is counted.
    fn of(self, kind: Kind, limits: &CallerLimits, entry: Option<&Entry>) -> Option<f64> {
        let count = |of: fn(&Entry) -> usize| entry.map_or(0, of) as f64;
        match (self, kind) {
            (Shown::Limit, Kind::Locks) => limits.max_locks.map(|limit| limit.get() as f64),
            (Shown::Limit, Kind::Waiters) => limits.max_waiters.map(|limit| limit as f64),
            (Shown::Limit, Kind::Observers) => limits.max_observers.map(|limit| limit as f64),
            (Shown::Limit, Kind::Rate) => limits.max_rate.map(|rate| rate.per_second),
            (Shown::Used, Kind::Locks) => Some(count(|entry| entry.locks)),
            (Shown::Used, Kind::Waiters) => Some(count(|entry| entry.waits)),
            (Shown::Used, Kind::Observers) => Some(count(|entry| entry.observers)),
            // Prometheus has the rate of all requests.
            (Shown::Used, Kind::Rate) => None,
            (Shown::Refused, kind) => Some(entry.map_or(0, |entry| entry.refused[kind as usize]) as f64),
        }
    }
}

impl EncodeMetric for Figures {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Figures(accounts, shown) = self;
        let Some(policy) = accounts.0.policy.get().map(Reloaded::now) else { return Ok(()) };
        let mut books = accounts.books();
        for (identity, limits) in policy.quotas() {
            let account = books.numbers.get(identity).copied();
            let entry = account.and_then(|account| books.entry(account).map(|entry| &*entry));
            for (kind, quota) in KINDS {
                let Some(value) = shown.of(kind, &limits, entry) else { continue };
                let labels = [("who", identity.to_string()), ("quota", quota.to_owned())];
                let mut encoder = encoder.encode_family(&labels)?;
                match shown {
                    Shown::Limit | Shown::Used => encoder.encode_gauge(&value)?,
                    Shown::Refused => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)?,
                }
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        match self.1 {
            Shown::Limit | Shown::Used => MetricType::Gauge,
            Shown::Refused => MetricType::Counter,
        }
    }
}

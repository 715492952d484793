//! How a shard is reached, and what the log says of it.

use std::net::SocketAddr;
use std::time::Duration;

use backon::BackoffBuilder;
use memcache::exp::Error;

use tokio::time::timeout;

use super::{COUNTDOWN, Cargo, Doubt, LONGEST_PAUSE, Landed, Link, Shard};
use crate::clock::Moment;
use crate::store::StoreError;
use crate::store::memcached::ShardAddress;
use crate::store::memcached::commands::{self, Keys};
use crate::store::memcached::connection::Connection;
use crate::store::memcached::server::{BOUND, Dialled, ServerFacts, Unreached, dial};
use crate::store::memcached::server_clock::ServerClock;
use crate::store::memcached::state_item::Witness;
use lockbroker_core::failure::Cause;

/// How often, on the average, a new connection is compared with the old ones while the shard is open.
const COMPARED: Duration = Duration::from_secs(20);
/// The same while it is not, so that two servers show before they grant.
const COMPARED_CLOSED: Duration = Duration::from_secs(1);

impl Shard {
    pub(super) fn dial(&mut self, address: Option<SocketAddr>) {
        self.dialling = true;
        let shard = self.settings.address.clone();
        self.flights.push(Box::pin(async move { Landed::Dialled(dial(&shard, address).await) }));
    }

    pub(super) fn may_compare(&self) -> bool {
        !self.comparing && self.doubt.is_none() && self.state.epoch().is_some()
    }

    /// Looks on a connection of its own whether the shard's address still leads to the same memory.
    pub(super) fn compare(&mut self) {
        self.comparing = true;
        let (shard, keys) = (self.settings.address.clone(), self.settings.keys.clone());
        let changes = self.state.changes();
        self.flights.push(Box::pin(async move { Landed::Compared { changes, found: look_anew(&shard, &keys).await } }));
    }

    pub(super) fn compared(&mut self, changes: u64, found: Option<(Witness, Moment)>) {
        self.comparing = false;
        let (now, pause) = (Moment::now(), if self.state.is_open() { COMPARED } else { COMPARED_CLOSED });
        // At random, so that brokers do not keep step with a balancer that goes round.
        self.next_comparison = now + pause.mul_f64(rand::random_range(0.5..1.5));
        let Some((witness, since)) = found else { return };
        let epoch = match witness {
            Witness::Shows(stamp) => Some(stamp.epoch),
            Witness::Missing | Witness::Odd => None,
        };
        if changes == self.state.changes() && epoch != self.state.epoch() {
            self.doubt = Some(Doubt { since, changes, epoch });
            self.next_check = now;
        }
    }

    pub(super) fn dialled(&mut self, dialled: Result<Dialled, Unreached>) {
        let shard = &self.settings.address;
        match dialled {
            Ok(Dialled { connection, address, facts }) => match facts.refusal(self.settings.allow_unsafe) {
                Some(why) => {
                    if !matches!(&self.link, Link::Refused(known) if **known == *why) {
                        tracing::error!(%shard, "memcached cannot keep locks, and is not used: {why}");
                    }
                    self.next_dial = Moment::now() + COUNTDOWN;
                    self.idle.clear();
                    self.process += 1;
                    self.link = Link::Refused(why.into());
                }
                None => self.connected(connection, address, &facts),
            },
            Err(Unreached { why, reason }) => {
                self.next_dial = Moment::now() + self.backoff.next().unwrap_or(BOUND);
                if matches!(self.link, Link::Up { .. }) && self.idle.len() + self.in_flight > 0 {
                    // An extra connection: the ones that there are go on.
                    return;
                }
                self.in_trouble(format!("memcached cannot be reached: {why}"));
                self.link = Link::Down(why.into(), reason);
            }
        }
    }

    /// Takes note of an answer: only now is it certain that the server is there.
    pub(super) fn answered(&mut self) {
        self.backoff = backoff();
        if let Link::Up { address } = self.link
            && !std::mem::replace(&mut self.well, true)
        {
            self.trouble.clear();
            tracing::info!(shard = %self.settings.address, %address, "connected to memcached");
        }
    }

    pub(super) fn in_trouble(&mut self, what: String) {
        self.well = false;
        if self.trouble != what {
            tracing::warn!(shard = %self.settings.address, "{what}");
            self.trouble = what;
        }
    }

    pub(super) fn connected(&mut self, connection: Connection, address: SocketAddr, facts: &ServerFacts) {
        let shard = &self.settings.address;
        let server = facts.process().map(|process| (address, process));
        let known_answers = matches!(self.link, Link::Up { .. }) && self.idle.len() + self.in_flight > 0;
        if known_answers && server.is_some() && self.server != server {
            // Either the one that is known has gone, which its connections will show, or there are two.
            let now = Moment::now();
            (self.next_comparison, self.next_dial) = (now, now + self.backoff.next().unwrap_or(BOUND));
            return;
        }
        if self.server != server || server.is_none() {
            self.process += 1;
            self.idle.clear();
            self.server = server;
            self.clock = ServerClock::default();
            let dangers = facts.dangers();
            self.settings.metrics.is_unsafe.set(!dangers.is_empty());
            for danger in dangers {
                tracing::warn!(%shard, "memcached may lose locks: {danger}");
            }
            if let Some(nuisance) = facts.nuisances() {
                tracing::warn!(%shard, "memcached is used, but {nuisance}");
            }
            if let Some(seconds) = facts.clock_difference().filter(|seconds| *seconds >= 30) {
                tracing::warn!(
                    %shard,
                    "memcached's wall clock and ours are {seconds} s apart: set them right, since fencing tokens rise \
                     over a loss of memory only while brokers' clocks differ by less than --max-ttl"
                );
            }
            self.next_check = Moment::now();
        }
        if !matches!(self.link, Link::Up { .. }) {
            self.next_check = Moment::now();
        }
        self.link = Link::Up { address };
        self.idle.push(connection);
    }

    pub(super) fn exchange_failed(&mut self, error: &Error, cargo: Cargo) {
        if let Cargo::Jobs(batch) = cargo {
            let shard = &self.settings.address;
            batch.fail(&StoreError::uncertain(format!("memcached {shard} did not answer: {error}")));
        }
        // The other connections lead to the same process, and may be as dead.
        self.idle.clear();
        self.next_dial = Moment::now() + self.backoff.next().unwrap_or(BOUND);
        if self.in_flight == 0 && !self.dialling {
            self.in_trouble(format!("the connection to memcached broke: {error}"));
            self.link = Link::Down(error.to_string().into(), Cause::StoreUnavailable);
        }
    }

    pub(super) fn probe_refused(&mut self, why: &str) {
        let now = Moment::now();
        if now >= self.next_countdown {
            self.next_countdown = now + COUNTDOWN;
            tracing::error!(shard = %self.settings.address, "memcached does not take the shard's state: {why}");
        }
    }
}

/// Resolves the shard's name anew and asks whatever answers there for S. Nothing is learned from a failure.
async fn look_anew(shard: &ShardAddress, keys: &Keys) -> Option<(Witness, Moment)> {
    let mut connection = dial(shard, None).await.ok()?.connection;
    let responses = timeout(BOUND, connection.all(&[keys.witness()])).await.ok()?.ok()?;
    let witness = commands::read_witness(responses.first()?).ok()?;
    Some((witness, Moment::now()))
}

pub(super) fn backoff() -> backon::ExponentialBackoff {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}

//! `grpc.health.v1`: readiness (at least one shard is open, and the broker is not stopping) and liveness (the process
//! answers).

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use super::{LOCK_SERVICE, MAX_REQUEST_BYTES};
use crate::metrics::Gauge;

/// The services that are SERVING while at least one shard is open and the broker is not stopping.
const READINESS: [&str; 3] = ["", LOCK_SERVICE, "readiness"];

/// The service that is SERVING for as long as the process answers.
const LIVENESS: &str = "liveness";

/// Sets what the health service answers.
pub(super) struct Health {
    reporter: HealthReporter,
    /// Shows whether the broker is ready.
    ready: Gauge,
}

impl Health {
    /// Makes the health service, NOT_SERVING at first, and the value that sets its answers. The gauge `ready` shows
    /// the same.
    pub(super) async fn new(ready: Gauge) -> (Health, HealthServer<impl health_server::Health>) {
        let (reporter, service) = health_reporter();
        let health = Health { reporter, ready };
        health.set_ready(false).await;
        health.reporter.set_service_status(LIVENESS, ServingStatus::Serving).await;
        (health, service.max_decoding_message_size(MAX_REQUEST_BYTES))
    }

    /// Sets the readiness services to what `ready` says, from now on. Never returns.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the last answer as it is.
    pub(super) async fn follow(&self, mut ready: watch::Receiver<bool>) {
        loop {
            let now = *ready.borrow_and_update();
            self.set_ready(now).await;
            if ready.changed().await.is_err() {
                // The sender is gone: nothing will change any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Sets what the readiness services say.
    pub(super) async fn set_ready(&self, ready: bool) {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.ready.set(ready);
        for service in READINESS {
            self.reporter.set_service_status(service, status).await;
        }
    }
}

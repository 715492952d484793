//! Runs the broker's network side: listeners, TLS, HTTP/2 limits, health checks, metrics, draining and shutdown.
//! [`run`] routes calls to the lock service, and sees the broker only through [`Lifecycle`] and [`Watched`].

mod accepted;
mod admin;
mod authority;
mod calls;
mod dispatch;
mod door;
mod explain;
mod health;
mod listen;
mod metrics;
pub mod open_files;
mod origin;
mod shed;
mod socket;
mod socket_file;
mod watched;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport;
use tonic_health::pb::health_server::{self, HealthServer};

use crate::broker::Broker;
use crate::config::{HttpOptions, PageOptions, TransportOptions};
use crate::metrics::Metrics;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::lock_admin_server::{self, LockAdmin, LockAdminServer};
use crate::proto::lock_service_server::{LockService, LockServiceServer, SERVICE_NAME};
use crate::quota::Quota;

use accepted::Accepted;
#[cfg(any(fuzzing, debug_assertions))]
pub use authority::fuzzing;
use calls::Calls;
use dispatch::Dispatch;
use explain::Explain;
use health::Health;
pub use listen::Listener;
use metrics::ServerMetrics;
use origin::Origins;
use shed::Shed;
pub use socket::Socket;
pub use watched::{Lock, Part, Watched};

const LOCK_SERVICE: &str = SERVICE_NAME;
const LOCK_ADMIN: &str = lock_admin_server::SERVICE_NAME;

/// The longest message that a client may send. The longest that makes sense has some 500 bytes.
pub const MAX_REQUEST_BYTES: usize = 4 * 1024;

/// The limit of open streams on one connection. `--max-locks` and `--max-waiters` bound what streams do. This bounds a
/// client that opens streams and then says nothing on them.
const MAX_STREAMS: u32 = 200_000;

/// The limit of streams that were opened and reset before the server has read them: as many as may be open. With h2's
/// default of 20, a client that cancels 21 calls in one burst would lose its connection, and every lock on it.
const MAX_PENDING_RESETS: usize = MAX_STREAMS as usize;

/// The limit of streams that the server resets because of what the client sent on them. h2 counts them over the
/// connection's whole life. An honest client adds to the count whenever what it sends crosses with the server's end of
/// the stream. So any limit would end every connection that lives long enough.
const MAX_LOCAL_RESETS: usize = usize::MAX;

/// The bytes that one stream may send before its handler has read them.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The bytes that a connection may send before handlers have read them. Half of it is also h2's budget for unread
/// small DATA frames. Each counts as 256 bytes less its own, and a connection that exceeds the budget ends. This
/// allows for some 130,000 frames: more than the connection can deliver in one turn, with room for Sessions that have
/// not read theirs yet.
const CONNECTION_WINDOW: u32 = 64 * 1024 * 1024;

/// The longest frame: HTTP/2's own default, and least.
const MAX_FRAME_BYTES: u32 = 16 * 1024;

/// The most that the headers of one request may take. Room for a token.
const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// The time after which hyper gives up a client that does not answer a ping. `service::pings` does that.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3_600);

/// The time that idle connections get to close after the last lock has gone.
const FAREWELL: Duration = Duration::from_millis(500);

/// The interface through which the server watches and drains the broker behind its service.
pub trait Lifecycle {
    /// Returns a flag that is true while at least one shard is open.
    fn ready(&self) -> watch::Receiver<bool>;

    /// Refuses new work from now on, and tells every stream to move to another broker within `grace`. Goes on renewing
    /// leases meanwhile.
    fn drain(&self, grace: Duration);

    /// Returns once nobody holds or waits for a lock here.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    fn drained(&self) -> impl Future<Output = ()> + Send;

    /// Releases nothing from now on (R9): a lock that is still held stands for its ttl, so that its client can
    /// reattach elsewhere. Called last, before the server ends connections that clients still use.
    fn abandon(&self);
}

impl Lifecycle for Broker {
    fn ready(&self) -> watch::Receiver<bool> {
        Broker::ready(self)
    }

    fn drain(&self, grace: Duration) {
        Broker::drain(self, grace);
    }

    async fn drained(&self) {
        Broker::drained(self).await;
    }

    fn abandon(&self) {
        Broker::abandon(self);
    }
}

/// The admin listener and what is served there.
#[derive(Debug)]
pub struct Admin {
    /// The listener.
    pub listener: Listener,
    /// The settings of the page.
    pub page: PageOptions,
}

/// The listeners of a server.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Those for gRPC.
    pub grpc: Vec<Listener>,
    /// Those for JSON over HTTP.
    pub http: Vec<Listener>,
    /// Who may use those.
    pub http_options: HttpOptions,
    /// That for operators.
    pub admin: Option<Admin>,
}

/// Serves `service` on `listeners` until `shutdown` is ready and the broker has been drained.
///
/// After `shutdown` the health service says NOT_SERVING and `broker` drains. Everything is still served, new
/// connections included, until the last lock has gone, at most for `options.drain`. Then the listeners close and
/// connections are told to go. A client that still holds locks then loses its connection when the runtime ends.
///
/// The admin listener, if there is one, serves health checks, `metrics` and the page to the very end.
///
/// Connections run in tasks of their own. If the future is dropped before it is ready, they go on running, and the
/// listeners are closed.
///
/// # Errors
/// Returns none that the operator could do anything about. Accepting is tried again for as long as it fails.
pub async fn run<S: LockService + LockAdmin>(
    listeners: Listeners,
    service: S,
    broker: impl Lifecycle + Watched + Clone,
    options: &TransportOptions,
    metrics: &Metrics,
    shutdown: impl Future<Output = ()>,
) -> Result<(), transport::Error> {
    let Listeners { grpc, http, http_options, admin } = listeners;
    let ServerMetrics { ready, draining, connections, shed, calls } = ServerMetrics::new(metrics);
    let may_connect = options.max_connections.unwrap_or(open_files::MAX_CONNECTIONS);
    let may_connect = Quota::new(metrics, "max_connections", may_connect);
    let streams = Quota::new(metrics, "max_streams", options.max_streams);
    let (health, health_service) = Health::new(ready.clone()).await;
    let _admin = admin.map(|Admin { listener, page: PageOptions { hosts, is_off } }| {
        let page = (!is_off).then(|| admin::Page::new(broker.clone(), hosts, metrics, ready, draining.clone()));
        admin::serve(listener, Routes::new(health_service.clone()), metrics.clone(), page)
    });
    let services = services(service, health_service);
    let calls = Calls::new(Explain(Shed::new(services, options.max_concurrent_rpcs, shed)), calls, streams);

    let accepted = Accepted { may_connect, connections, options: options.clone() };
    let (stop, interval) = (CancellationToken::new(), options.keepalive_interval);
    let by_grpc = grpc_server(interval).serve_with_incoming_shutdown(
        calls.clone(),
        accepted.clone().over_grpc(grpc).map(Ok::<_, Infallible>),
        stop.cancelled(),
    );
    let by_http = door::serve(accepted.over_http(http), calls, Origins::new(http_options), interval, stop.cancelled());
    let serving = async { tokio::try_join!(by_grpc, by_http.map(Ok)).map(drop) };
    tokio::pin!(serving);

    tokio::select! {
        ended = &mut serving => return ended,
        () = health.follow(broker.ready()) => unreachable!("follows for ever"),
        () = shutdown => {}
    }

    health.set_ready(false).await;
    draining.set(true);
    tracing::info!(grace = ?options.drain, "stopping: draining");
    broker.drain(options.drain);
    tokio::select! {
        ended = &mut serving => return ended,
        () = broker.drained() => tracing::info!("drained"),
        () = tokio::time::sleep(options.drain) => {
            tracing::warn!("the grace is over; what is still held stands for its ttl");
            broker.abandon();
        }
    }

    stop.cancel();
    tokio::time::timeout(FAREWELL, serving).await.unwrap_or(Ok(()))
}

/// Makes the settings of the gRPC listeners.
fn grpc_server(keepalive_interval: Duration) -> transport::Server {
    transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
        .http2_max_local_error_reset_streams(Some(MAX_LOCAL_RESETS))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(keepalive_interval))
        .http2_keepalive_timeout(Some(NEVER))
}

/// Makes the services that answer calls.
fn services<S: LockService + LockAdmin>(
    service: S,
    health: HealthServer<impl health_server::Health>,
) -> Dispatch<LockServiceServer<S>> {
    let service = Arc::new(service);
    // The limit holds for what is decompressed as well. Answers are shorter than gzip's own frame: they go as they are.
    let locks = LockServiceServer::from_arc(Arc::clone(&service))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .accept_compressed(CompressionEncoding::Gzip);
    let for_operators = LockAdminServer::from_arc(service)
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .accept_compressed(CompressionEncoding::Gzip);
    Dispatch { locks, rest: other_services(health).add_service(for_operators).prepare() }
}

/// Makes the services that every server has: health checks and reflection.
fn other_services(health: HealthServer<impl health_server::Health>) -> Routes {
    Routes::new(health.accept_compressed(CompressionEncoding::Gzip))
        .add_service(
            reflection()
                .build_v1()
                .expect("the descriptor is compiled in")
                .max_decoding_message_size(MAX_REQUEST_BYTES)
                .accept_compressed(CompressionEncoding::Gzip),
        )
        .add_service(
            reflection()
                .build_v1alpha()
                .expect("the descriptor is compiled in")
                .max_decoding_message_size(MAX_REQUEST_BYTES)
                .accept_compressed(CompressionEncoding::Gzip),
        )
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

//! The admin listener: health checks over HTTP/2, `GET /metrics`, and a page, for operators and probes. It speaks plain
//! text, since neither Kubernetes' probes nor most Prometheus set-ups speak TLS with client certificates. It does not
//! serve the lock service, and changes nothing.

mod cached;
mod guard;
mod json;
mod page;
mod query;

use std::convert::Infallible;
use std::future::ready;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use tokio_stream::StreamExt;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport;
use tower::{Service, service_fn};

use super::explain::Explain;
use super::watched::Watched;
use super::{Listener, MAX_FRAME_BYTES, MAX_HEADER_BYTES, listen};
use crate::metrics::{CONTENT_TYPE, Metrics};
use crate::quota::Quota;
use crate::service::connection::TrackedIo;
use crate::service::timeouts::{Idle, Timeouts};

pub(super) use page::Page;

const METRICS: &str = "/metrics";

/// The limit of streams on one connection: more than probes and scrapes need.
const MAX_STREAMS: u32 = 100;

/// The interval at which a silent connection gets a ping, and the longest time that it may leave one unanswered.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// The limit of connections at a time: a few probes and scrapers, each with a few connections.
pub(super) const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// The operator's remedy when there is no room for another connection.
const CONNECTIONS_FULL: &str = "find out who connects so often to --admin-listen, which takes 100 at a time";

/// The longest silence of a connection: longer than most intervals of scrapes, and than the pings of HTTP/2.
const IDLE: Duration = Duration::from_secs(120);

/// Serves health checks by `health`, `metrics`, and the page, if there is one, until the result is dropped.
pub(super) fn serve(
    listener: Listener,
    health: Routes,
    metrics: Metrics,
    page: Option<Page<impl Watched>>,
) -> AbortOnDropHandle<()> {
    let connections = Quota::new(&metrics, "admin_connections", MAX_CONNECTIONS);
    let incoming = listen::incoming(vec![listener], connections, CONNECTIONS_FULL).map(|(io, room)| {
        let timeouts = Timeouts::new(Idle::WithoutBytes(IDLE), 2 * KEEPALIVE);
        let transport = io.transport();
        let io = TrackedIo::new(io, transport, KEEPALIVE, Vec::new());
        Ok::<_, Infallible>(io.with_room(room).with_timeouts(timeouts))
    });
    let serving = transport::Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(MAX_STREAMS)
        .max_frame_size(MAX_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .serve_with_incoming(service(health, metrics, page.map(Arc::new)), incoming);
    AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = serving.await {
            tracing::error!(%error, "the admin listener has ended");
        }
    }))
}

fn service(
    health: Routes,
    metrics: Metrics,
    page: Option<Arc<Page<impl Watched>>>,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send {
    let mut health = Explain(health);
    service_fn(move |request: Request<Body>| {
        let is_grpc = request.version() == Version::HTTP_2 && request.method() == Method::POST;
        let response = match (request.uri().path(), &page) {
            (METRICS, _) if request.method() == Method::GET => exposition(&metrics),
            (METRICS, _) => empty(StatusCode::METHOD_NOT_ALLOWED),
            (path, Some(page)) if page::has(path) => {
                let page = Arc::clone(page);
                return Either::Right(Either::Left(async move { Ok(page.answer(request).await) }.boxed()));
            }
            _ if is_grpc => return Either::Right(Either::Right(health.call(request))),
            _ => empty(StatusCode::NOT_FOUND),
        };
        Either::Left(ready(Ok(response)))
    })
}

fn exposition(metrics: &Metrics) -> Response<Body> {
    let mut response = Response::new(Body::new(metrics.expose()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

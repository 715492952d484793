//! The HTTP door: the lock services by JSON over HTTP/1.1 and HTTP/2, for those who have no gRPC.
//!
//! Calls with one answer are Connect's unary protocol (<https://connectrpc.com/docs/protocol>). Calls with a stream answer
//! with a line of JSON for each event, so that `curl -N` holds a lock; to clients that ask for it in Connect's way, they
//! answer with Connect's streams.

mod bodies;
mod errors;
mod methods;
mod routes;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::Connected;
use tower::{Service, service_fn};

use super::origin::{Origins, Site};
use super::{
    CONNECTION_WINDOW, MAX_FRAME_BYTES, MAX_HEADER_BYTES, MAX_LOCAL_RESETS, MAX_PENDING_RESETS, MAX_STREAMS, NEVER,
    STREAM_WINDOW, Socket,
};
use crate::service::connection::TrackedIo;

/// The description of all calls, made of the proto (`tests/stubs.rs`).
const OPENAPI: &str = include_str!("openapi.json");
const OPENAPI_PATH: &str = "/openapi.json";

/// The longest time from a connection's beginning, or from the end of an answer, to the end of the next request's headers.
const UNHEADED: Duration = Duration::from_secs(30);

/// The most headers of one request.
const MAX_HEADERS: usize = 100;

/// Serves `calls` on each of the connections until `stopped`, and then until all have ended: the calls that are open go on.
pub(super) async fn serve<S, R>(
    connections: impl Stream<Item = (TrackedIo<Socket>, Site)>,
    calls: S,
    origins: Origins,
    keepalive_interval: Duration,
    stopped: impl Future<Output = ()>,
) where
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible, Future: Send> + Clone + Send + 'static,
    R: http_body::Body<Data = bytes::Bytes, Error = Status> + Send + 'static,
{
    let builder = Arc::new(builder(keepalive_interval));
    let open = GracefulShutdown::new();
    let accepting = connections.for_each(|(io, site)| {
        let (connection, calls, origins) = (io.connect_info(), calls.clone(), origins.clone());
        let service = service_fn(move |mut request: Request<_>| {
            request.extensions_mut().insert(Arc::clone(&connection));
            let (calls, origins) = (calls.clone(), origins.clone());
            async move { Ok::<_, Infallible>(routes::answer(request, site, origins, calls).await) }
        });
        let served = builder.serve_connection(TokioIo::new(io), TowerToHyperService::new(service)).into_owned();
        let served = open.watch(served);
        tokio::spawn(async move {
            if let Err(error) = served.await {
                tracing::debug!(error, "a connection over HTTP has ended");
            }
        });
        std::future::ready(())
    });
    tokio::select! {
        () = accepting => {}
        () = stopped => {}
    }
    open.shutdown().await;
}

/// Makes the settings of connections: for HTTP/2 those of the gRPC listeners.
fn builder(keepalive_interval: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(UNHEADED)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(keepalive_interval)
        .keep_alive_timeout(NEVER);
    builder
}

/// Makes an answer of a type.
fn of(status: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if !content_type.is_empty() {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    // No browser takes an answer for a page, whatever names it carries.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

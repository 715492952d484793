//! The page for operators, and the JSON that it is made of. It changes nothing.

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use serde::Serialize;
use tonic::body::Body;

use super::super::origin;
use super::super::watched::{Lock, Watched};
use super::cached::{Cached, MOST_ROWS};
use super::json::{Locks, Problem, Status, Waiters};
use super::query::Wanted;
use super::{empty, guard};
use crate::broker::Waiter;
use crate::clock::Moment;
use crate::config::HostName;
use crate::metrics::{Gauge, Metrics};
use crate::quota::{Quota, Share};
use crate::store::Listing;

/// The answers with lists that may be made or read at a time. Each may have some megabytes.
const MAX_LISTS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// The page's files: what is asked for, its type, and its text.
const FILES: [(&str, &str, &str); 5] = [
    ("/", "text/html; charset=utf-8", include_str!("../page/index.html")),
    ("/page.css", "text/css; charset=utf-8", include_str!("../page/page.css")),
    ("/page.js", "text/javascript; charset=utf-8", include_str!("../page/page.js")),
    ("/show.js", "text/javascript; charset=utf-8", include_str!("../page/show.js")),
    ("/icon.svg", "image/svg+xml", include_str!("../page/icon.svg")),
];

const STATUS: &str = "/status.json";
const LOCKS: &str = "/locks.json";
const WAITERS: &str = "/waiters.json";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The headers of every answer. Names of locks and owners are anybody's words, so a browser is to run nothing but the page's
/// own files, to keep nothing, and to show nothing in another site's frame.
const HEADERS: [(header::HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The page of one broker.
#[derive(Debug)]
pub(in crate::server) struct Page<W> {
    watched: W,
    /// The names by which browsers may call it.
    hosts: Vec<HostName>,
    began: Moment,
    /// The metrics of these names.
    ready: Gauge,
    draining: Gauge,
    /// The room for answers with lists.
    room: Quota,
    locks: Cached<Lock>,
    waiters: Cached<Waiter>,
}

impl<W: Watched> Page<W> {
    /// Makes the page of a broker that begins now, and whose metrics these are.
    pub(in crate::server) fn new(
        watched: W,
        hosts: Vec<HostName>,
        metrics: &Metrics,
        ready: Gauge,
        draining: Gauge,
    ) -> Page<W> {
        let room = Quota::new(metrics, "admin_lists", MAX_LISTS);
        let (locks, waiters) = (Cached::new(), Cached::new());
        Page { watched, hosts, began: Moment::now(), ready, draining, room, locks, waiters }
    }

    /// Answers a request for a path that it has.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Body>) -> Response<Body> {
        let request = request.into_parts().0;
        let is_head = request.method == Method::HEAD;
        let mut response = match request.method {
            Method::GET | Method::HEAD => self.get(&request).await,
            _ => {
                let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
                response
            }
        };
        for (name, value) in HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        match is_head {
            true => response.map(|_| Body::empty()),
            false => response,
        }
    }

    async fn get(&self, request: &request::Parts) -> Response<Body> {
        let host = match origin::host(request, &self.hosts, "--admin-host") {
            Ok(host) => host,
            Err(why) => return text(StatusCode::FORBIDDEN, TEXT, why),
        };
        let path = request.uri.path();
        if let Some((_, kind, file)) = FILES.iter().find(|(file, ..)| *file == path) {
            return text(StatusCode::OK, kind, (*file).to_owned());
        }
        if let Err(why) = guard::origin(&request.headers, &host) {
            return text(StatusCode::FORBIDDEN, TEXT, why);
        }
        if path == STATUS {
            return self.status();
        }
        let wanted = match Wanted::read(request.uri.query()) {
            Ok(wanted) => wanted,
            Err(error) => return problem(StatusCode::BAD_REQUEST, error),
        };
        let Some(share) = self.room.take() else {
            let error = format!("{MAX_LISTS} lists are being made or read already; try again");
            return problem(StatusCode::SERVICE_UNAVAILABLE, error);
        };
        let list = if path == LOCKS { self.locks(wanted).await } else { self.waiters(wanted).await };
        match list {
            // Room is given back when the last part has gone, or the client.
            Ok(list) => answer(StatusCode::OK, JSON, list.len(), Body::new(Parts { rest: list.into(), _share: share })),
            Err(why) => problem(StatusCode::SERVICE_UNAVAILABLE, why),
        }
    }

    fn status(&self) -> Response<Body> {
        let (ready, draining) = (self.ready.get() != 0, self.draining.get() != 0);
        json(StatusCode::OK, &Status::new(&self.watched.overview(), self.began.elapsed(), ready, draining))
    }

    /// Writes a list of locks. Fails as the listing does.
    async fn locks(&self, Wanted { prefix, limit }: Wanted) -> Result<String, String> {
        let listing = Listing { prefix: prefix.as_str().into(), limit: MOST_ROWS };
        let list = self.locks.get(&prefix, || self.watched.locks(listing)).await;
        let found = list.find(limit, |lock| lock.name.as_str().starts_with(&prefix));
        found.map(|(locks, total)| written(&Locks { locks, total, age: list.age() }))
    }

    /// Writes a list of waiters. Fails as the listing does.
    async fn waiters(&self, Wanted { prefix, limit }: Wanted) -> Result<String, String> {
        let list = self.waiters.get(&prefix, async || Ok(self.watched.waiters(&prefix, MOST_ROWS).await)).await;
        let found = list.find(limit, |waiter| waiter.name.as_str().starts_with(&prefix));
        found.map(|(waiters, total)| written(&Waiters { waiters, total, age: list.age() }))
    }
}

/// Returns true if a page answers for this path.
pub(super) fn has(path: &str) -> bool {
    matches!(path, STATUS | LOCKS | WAITERS) || FILES.iter().any(|(file, ..)| *file == path)
}

fn answer(status: StatusCode, kind: &'static str, length: usize, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // Said, so that HEAD tells it too.
    headers.insert(header::CONTENT_LENGTH, length.into());
    response
}

fn text(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    answer(status, kind, text.len(), Body::new(text))
}

fn written(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("nothing of this fails to serialize")
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    text(status, JSON, written(value))
}

fn problem(status: StatusCode, error: String) -> Response<Body> {
    json(status, &Problem { error })
}

/// A list that is being read, in parts, and the room that it takes.
struct Parts {
    rest: Data,
    _share: Share,
}

type Data = <Body as http_body::Body>::Data;

/// The size of a part: hyper takes few of them before the client has read any.
const PART_BYTES: usize = 64 * 1024;

impl http_body::Body for Parts {
    type Data = Data;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Data>, Infallible>>> {
        let length = self.rest.len().min(PART_BYTES);
        let part = self.rest.split_to(length);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

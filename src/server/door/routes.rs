//! Turns requests of HTTP and JSON into calls of gRPC, which the services that the gRPC listeners have answer: so limits,
//! policy, audit, metrics and traces are the same.

use std::convert::Infallible;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use super::bodies::{self, COMPRESSED, Format, Framing, Messages};
use super::methods::{Kind, Method, method};
use super::{OPENAPI, OPENAPI_PATH, errors, of};
use crate::client::ErrorReason;
use crate::server::origin::{Origins, Site};
use crate::service;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");
const TIMEOUT: HeaderName = HeaderName::from_static("connect-timeout-ms");
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// Tells nginx not to gather an answer before it passes it on.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The content types of calls that have one answer, and of those that have a stream.
const UNARY: &str = "application/json, application/proto";
const STREAMED: &str = "application/json, application/connect+json, application/connect+proto";

/// The form in which a client asks and is answered.
#[derive(Debug, Clone, Copy)]
struct Form {
    format: Format,
    /// The framing of a stream; none for one answer.
    framing: Option<Framing>,
}

impl Form {
    /// Returns the form for a content type.
    fn of(kind: Kind, headers: &HeaderMap) -> Option<Form> {
        // Of two it would be a guess which one counts.
        let mut all = headers.get_all(header::CONTENT_TYPE).iter();
        let content_type = all.next().filter(|_| all.next().is_none())?.to_str().ok()?;
        let name = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (format, framing) = match (kind, &*name) {
            (Kind::Unary, "application/json") => (Format::Json, None),
            (Kind::Unary, "application/proto") => (Format::Proto, None),
            (Kind::Stream, "application/json") => (Format::Json, Some(Framing::Lines)),
            (Kind::Stream, "application/connect+json") => (Format::Json, Some(Framing::Connect)),
            (Kind::Stream, "application/connect+proto") => (Format::Proto, Some(Framing::Connect)),
            _ => return None,
        };
        Some(Form { format, framing })
    }

    /// Returns the content type of the answer.
    fn answers(self) -> &'static str {
        match (self.format, self.framing) {
            (Format::Json, None) => "application/json",
            (Format::Proto, None) => "application/proto",
            (_, Some(Framing::Lines)) => "application/x-ndjson",
            (Format::Json, Some(Framing::Connect)) => "application/connect+json",
            (Format::Proto, Some(Framing::Connect)) => "application/connect+proto",
        }
    }

    /// Answers with an error. Connect's streams tell it in their last message.
    fn error(self, status: &Status) -> Response<Body> {
        match self.framing {
            Some(framing @ Framing::Connect) => {
                let end = bodies::end(Some(status), framing).unwrap_or_default();
                of(StatusCode::OK, self.answers(), Body::new(errors::full(end)))
            }
            _ => errors::answer(status),
        }
    }
}

/// Answers one request. `site` is that which the connection belongs to. `calls` is the services that the gRPC listeners have.
pub(super) async fn answer<B, S, R>(request: Request<B>, site: Site, origins: Origins, calls: S) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
    R: HttpBody<Data = Bytes, Error = Status> + Send + 'static,
{
    let (parts, body) = request.into_parts();
    let allowed = match origins.check(&parts, site) {
        Ok(allowed) => allowed,
        Err(why) => return errors::answer(&service::error(ErrorReason::OriginRefused, why)),
    };
    let mut response = match allowed {
        Some(_) if parts.method == Verb::OPTIONS => of(StatusCode::NO_CONTENT, "", Body::empty()),
        _ => route(&parts, body, calls).await,
    };
    if let Some(origin) = allowed {
        origin.allow(response.headers_mut());
    }
    response
}

async fn route<B, S, R>(parts: &Parts, body: B, calls: S) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
    R: HttpBody<Data = Bytes, Error = Status> + Send + 'static,
{
    let path = parts.uri.path();
    if path == OPENAPI_PATH {
        return match parts.method {
            // The body is left out of the answer to a HEAD.
            Verb::GET | Verb::HEAD => of(StatusCode::OK, "application/json", Body::new(OPENAPI.to_owned())),
            _ => wrong_verb("GET, HEAD"),
        };
    }
    let Some(method) = method(path) else {
        let why = format!("there is no {path:?} here; GET {OPENAPI_PATH} lists what there is");
        return errors::answer_as(StatusCode::NOT_FOUND, &service::error(ErrorReason::UnknownMethod, why));
    };
    if parts.method != Verb::POST {
        return wrong_verb("POST");
    }
    if method.kind == Kind::Bidirectional {
        let why = "this call is for gRPC alone; here hold a lock with Acquire or WaitAcquire, one on each connection";
        return errors::answer(&service::error(ErrorReason::UnknownMethod, why));
    }
    let Some(form) = Form::of(method.kind, &parts.headers) else { return wrong_type(method.kind) };
    match timeout(&parts.headers) {
        Ok(timeout) => call(parts, timeout, body, method, form, calls).await,
        Err(status) => form.error(&status),
    }
}

async fn call<B, S, R>(
    parts: &Parts,
    timeout: Option<HeaderValue>,
    body: B,
    method: &Method,
    form: Form,
    mut calls: S,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
    S: Service<Request<Body>, Response = Response<R>, Error = Infallible>,
    R: HttpBody<Data = Bytes, Error = Status> + Send + 'static,
{
    let is_framed = form.framing == Some(Framing::Connect);
    let mut request = Request::new(bodies::request(body, method.request.clone(), form.format, is_framed));
    (*request.method_mut(), *request.uri_mut()) = (Verb::POST, parts.uri.clone());
    *request.extensions_mut() = parts.extensions.clone();
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    for name in ["traceparent", "tracestate"] {
        if let Some(value) = parts.headers.get(name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    if let Some(timeout) = timeout {
        request.headers_mut().insert("grpc-timeout", timeout);
    }
    // The services are always ready, and never fail.
    let Ok(response) = calls.call(request).await;
    if let Some(status) = bodies::status_in(response.headers()) {
        return form.error(&status);
    }
    let Some(framing) = form.framing else {
        return match bodies::answer(response.into_body(), &method.answer, form.format).await {
            Ok(message) => of(StatusCode::OK, form.answers(), Body::new(errors::full(message))),
            Err(status) => form.error(&status),
        };
    };
    let messages = Messages::new(response.into_body(), method.answer.clone(), form.format, framing);
    let mut response = of(StatusCode::OK, form.answers(), Body::new(messages));
    response.headers_mut().insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// Returns Connect's deadline of a call as gRPC has it.
///
/// # Errors
/// INVALID_ARGUMENT for one that is none, or for another version of Connect's protocol; UNIMPLEMENTED for a body that is
/// compressed.
fn timeout(headers: &HeaderMap) -> Result<Option<HeaderValue>, Status> {
    if headers.get(PROTOCOL_VERSION).is_some_and(|version| version != "1") {
        return Err(service::invalid(PROTOCOL_VERSION.as_str(), "must be 1, or unset"));
    }
    let compressed = [header::CONTENT_ENCODING, HeaderName::from_static("connect-content-encoding")];
    if compressed.iter().any(|name| headers.get(name).is_some_and(|encoding| encoding != "identity")) {
        return Err(service::error(ErrorReason::UnsupportedEncoding, COMPRESSED));
    }
    let Some(timeout) = headers.get(TIMEOUT) else { return Ok(None) };
    let digits = timeout.to_str().ok().filter(|text| text.len() <= 10 && text.bytes().all(|b| b.is_ascii_digit()));
    let Some(millis) = digits.and_then(|digits| digits.parse::<u64>().ok()) else {
        return Err(service::invalid(TIMEOUT.as_str(), "must be milliseconds, in at most ten digits"));
    };
    // gRPC has eight digits.
    let text = if millis < 100_000_000 { format!("{millis}m") } else { format!("{}S", millis.div_ceil(1000)) };
    Ok(HeaderValue::try_from(text).ok())
}

fn wrong_verb(allowed: &'static str) -> Response<Body> {
    let why = format!("the method of the request must be one of {allowed}");
    let status = service::error(ErrorReason::UnknownMethod, why);
    let mut response = errors::answer_as(StatusCode::METHOD_NOT_ALLOWED, &status);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn wrong_type(kind: Kind) -> Response<Body> {
    let taken = if kind == Kind::Unary { UNARY } else { STREAMED };
    let why = format!("the content type must be one of {taken}: with curl, -H 'content-type: application/json'");
    let status = service::invalid("content-type", why);
    let mut response = errors::answer_as(StatusCode::UNSUPPORTED_MEDIA_TYPE, &status);
    response.headers_mut().insert(ACCEPT_POST, HeaderValue::from_static(taken));
    response
}

//! Turns a status into an error of Connect's: its JSON, and the status of HTTP.

use std::collections::HashMap;

use data_encoding::BASE64_NOPAD;
use http::{HeaderValue, Response, StatusCode, header};
use prost::Message;
use serde::Serialize;
use serde_json::Value;
use tonic::body::Body;
use tonic::{Code, Status};
use tonic_types::{StatusExt, pb};

use super::methods;

/// An error in Connect's form.
#[derive(Debug, Serialize)]
pub(super) struct ConnectError<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

/// A message of the package google.rpc, such as its ErrorInfo.
#[derive(Debug, Serialize)]
struct Detail {
    #[serde(rename = "type")]
    name: String,
    /// In base64.
    value: String,
    /// The same for people. Connect's clients overlook it.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Value>,
}

impl<'a> ConnectError<'a> {
    pub(super) fn of(status: &'a Status) -> ConnectError<'a> {
        // A status without details has none to read.
        let details = pb::Status::decode(status.details()).unwrap_or_default().details.into_iter();
        let details = details.map(|any| {
            let name = any.type_url.rsplit('/').next().unwrap_or_default().to_owned();
            let debug = methods::detail(&name, &any.value);
            Detail { name, value: BASE64_NOPAD.encode(&any.value), debug }
        });
        ConnectError { code: word(status.code()), message: status.message(), details: details.collect() }
    }

    /// Returns `{"error": …}`: what ends a stream that failed.
    pub(super) fn end_of_stream(&self) -> Vec<u8> {
        json(&HashMap::from([("error", self)]))
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Cannot fail: all keys are strings.
    serde_json::to_vec(value).unwrap_or_default()
}

/// Answers with `status` as Connect has it.
pub(super) fn answer(status: &Status) -> Response<Body> {
    answer_as(http_status(status.code()), status)
}

/// Answers with `status`, but with another status of HTTP than Connect has for it.
pub(super) fn answer_as(code: StatusCode, status: &Status) -> Response<Body> {
    let mut response = super::of(code, "application/json", Body::new(full(json(&ConnectError::of(status)))));
    if let Some(after) = status.get_details_retry_info().and_then(|retry| retry.retry_delay) {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

pub(super) fn full(bytes: impl Into<bytes::Bytes>) -> http_body_util::Full<bytes::Bytes> {
    http_body_util::Full::new(bytes.into())
}

/// Returns Connect's name of a code.
fn word(code: Code) -> &'static str {
    match code {
        // No error has it.
        Code::Ok | Code::Unknown => "unknown",
        Code::Cancelled => "canceled",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// Returns the status of HTTP that Connect has for a code.
fn http_status(code: Code) -> StatusCode {
    let number = match code {
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unauthenticated => 401,
        Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => 500,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::{ErrorDetails, ErrorInfo};

    use super::*;

    #[test]
    fn an_error_has_its_reason_for_programs_and_for_people() {
        let mut details = ErrorDetails::new();
        details.set_error_info("STORE_UNAVAILABLE", "lockbroker", HashMap::from([("lock".into(), "a".into())]));
        details.set_retry_info(Some(Duration::from_millis(1200)));
        let status = Status::with_error_details(Code::Unavailable, "away", details);
        let error = serde_json::to_value(ConnectError::of(&status)).unwrap();
        assert_eq!((&error["code"], &error["message"]), (&"unavailable".into(), &"away".into()));
        let details = error["details"].as_array().unwrap();
        let info = details.iter().find(|detail| detail["type"] == "google.rpc.ErrorInfo").unwrap();
        assert_eq!(info["debug"]["reason"], "STORE_UNAVAILABLE");
        assert_eq!(info["debug"]["metadata"]["lock"], "a");
        let value = BASE64_NOPAD.decode(info["value"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(pb::ErrorInfo::decode(&*value).unwrap().reason, "STORE_UNAVAILABLE");
        let retry = details.iter().find(|detail| detail["type"] == "google.rpc.RetryInfo").unwrap();
        assert_eq!(retry["debug"]["retryDelay"], "1.200s");
        let response = answer(&status);
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (503, &"2".parse().unwrap()));
        let bare = serde_json::to_string(&ConnectError::of(&Status::new(Code::Aborted, "b"))).unwrap();
        assert_eq!(bare, r#"{"code":"aborted","message":"b"}"#);
        assert!(ErrorInfo::TYPE_URL.ends_with("/google.rpc.ErrorInfo"));
    }
}

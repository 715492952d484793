//! Bodies of requests and answers: to gRPC's frames, and from them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::stream;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};
use http_body_util::{BodyExt, LengthLimitError, Limited, StreamBody};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;

use super::errors::ConnectError;
use super::methods::Type;
use crate::client::ErrorReason;
use crate::server::MAX_REQUEST_BYTES;
use crate::service;

/// What stands before each message: a flag, and the length as four bytes. gRPC and Connect have the same.
const PREFIX: usize = 5;

/// The flag of the last message of Connect's streams, which says how the stream ended.
const END_OF_STREAM: u8 = 2;

/// The form of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Proto,
}

/// The framing of an answer's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// A line each.
    Lines,
    /// Connect's, with a prefix.
    Connect,
}

/// Makes the body of a gRPC request of `body`. It is read when gRPC reads it, and so within gRPC's limits and times. If it
/// is wrong, the call ends with a status that says why.
pub(super) fn request<B>(body: B, request: Type, format: Format, is_framed: bool) -> Body
where
    B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>> + Send + 'static,
{
    let framed = async move {
        let message = read(body).await?;
        let message = if is_framed { only(message)? } else { message };
        let message = match format {
            Format::Json => request.read(&message)?.into(),
            Format::Proto => message,
        };
        Ok::<_, Status>(Frame::data(prefixed(0, &message)))
    };
    Body::new(StreamBody::new(stream::once(framed)))
}

async fn read<B: HttpBody<Data = Bytes, Error: Into<tonic::codegen::StdError>>>(body: B) -> Result<Bytes, Status> {
    match Limited::new(body, MAX_REQUEST_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let why = format!("the request's body is longer than {MAX_REQUEST_BYTES} bytes");
            Err(service::error(ErrorReason::MessageTooLarge, why))
        }
        Err(error) => {
            Err(service::error(ErrorReason::RequestIncomplete, format!("the body did not come whole: {error}")))
        }
    }
}

/// Returns the one message in a body of Connect's streams.
fn only(mut body: Bytes) -> Result<Bytes, Status> {
    let length = body.get(1..PREFIX).and_then(|length| Some(u32::from_be_bytes(length.try_into().ok()?)));
    match (body.first(), length) {
        (Some(0), Some(length)) if length as usize == body.len() - PREFIX => Ok(body.split_off(PREFIX)),
        (Some(1), _) => Err(service::error(ErrorReason::UnsupportedEncoding, COMPRESSED)),
        _ => Err(service::invalid(
            "body",
            "must have one message with its prefix of five bytes, as Connect's streams have",
        )),
    }
}

pub(super) const COMPRESSED: &str = "requests are taken uncompressed: they have a few hundred bytes";

fn prefixed(flag: u8, message: &[u8]) -> Bytes {
    // Messages have a few KiB, and parts of lists some hundred.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[flag], &length.to_be_bytes()[..], message].concat().into()
}

/// Takes the next message out of the frames that have come.
fn next_message(frames: &mut BytesMut) -> Option<Bytes> {
    let length = u32::from_be_bytes(frames.get(1..PREFIX)?.try_into().ok()?) as usize;
    if frames.len() < PREFIX + length {
        return None;
    }
    frames.advance(PREFIX);
    Some(frames.split_to(length).freeze())
}

/// Returns the status in an answer's headers or trailers; none if it is OK.
pub(super) fn status_in(headers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(headers).filter(|status| status.code() != tonic::Code::Ok)
}

/// Reads the one message of a gRPC answer, and writes it in `format`.
///
/// # Errors
/// The status with which the call ended.
pub(super) async fn answer<B>(body: B, answer: &Type, format: Format) -> Result<Bytes, Status>
where
    B: HttpBody<Data = Bytes, Error = Status>,
{
    let body = body.collect().await?;
    if let Some(status) = body.trailers().and_then(status_in) {
        return Err(status);
    }
    let mut frames = BytesMut::from(&*body.to_bytes());
    let none = || service::error(ErrorReason::BrokerFault, "the answer has no message");
    let message = next_message(&mut frames).ok_or_else(none)?;
    match format {
        Format::Proto => Ok(message),
        Format::Json => {
            let mut json = Vec::new();
            answer.write(message, &mut json)?;
            Ok(json.into())
        }
    }
}

pin_project! {
    /// The messages of a gRPC answer, each passed on as soon as it comes. The last says how the stream ended, if it failed or
    /// if the framing wants it.
    pub(super) struct Messages<B> {
        #[pin]
        body: B,
        answer: Type,
        format: Format,
        framing: Framing,
        // What has come of the next message.
        frames: BytesMut,
        is_over: bool,
    }
}

impl<B> Messages<B> {
    pub(super) fn new(body: B, answer: Type, format: Format, framing: Framing) -> Messages<B> {
        Messages { body, answer, format, framing, frames: BytesMut::new(), is_over: false }
    }
}

/// Writes all messages that have come whole.
fn drain(frames: &mut BytesMut, answer: &Type, format: Format, framing: Framing) -> Result<Vec<u8>, Status> {
    let mut out = Vec::new();
    while let Some(message) = next_message(frames) {
        match (format, framing) {
            (Format::Json, Framing::Lines) => {
                answer.write(message, &mut out)?;
                out.push(b'\n');
            }
            (Format::Json, Framing::Connect) => {
                let mut json = Vec::new();
                answer.write(message, &mut json)?;
                out.extend(prefixed(0, &json));
            }
            (Format::Proto, _) => out.extend(prefixed(0, &message)),
        }
    }
    Ok(out)
}

/// Returns what says that a stream has ended, and how.
pub(super) fn end(status: Option<&Status>, framing: Framing) -> Option<Bytes> {
    let error = status.map(|status| ConnectError::of(status).end_of_stream());
    match framing {
        Framing::Lines => error.map(|mut line| {
            line.push(b'\n');
            line.into()
        }),
        Framing::Connect => Some(prefixed(END_OF_STREAM, error.as_deref().unwrap_or(b"{}"))),
    }
}

impl<B: HttpBody<Data = Bytes, Error = Status>> HttpBody for Messages<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        while !*this.is_over {
            let ended = match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        this.frames.extend_from_slice(&data);
                        match drain(this.frames, this.answer, *this.format, *this.framing) {
                            Ok(out) if out.is_empty() => continue,
                            Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out.into())))),
                            Err(status) => Some(status),
                        }
                    }
                    Err(frame) => frame.trailers_ref().and_then(status_in),
                },
                Some(Err(status)) => Some(status),
                None => Some(service::error(ErrorReason::BrokerFault, "the answer ended before it was whole")),
            };
            *this.is_over = true;
            return Poll::Ready(end(ended.as_ref(), *this.framing).map(|end| Ok(Frame::data(end))));
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

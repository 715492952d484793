//! The methods that are served over HTTP, and their messages as JSON, by the proto's own descriptors: a method that is
//! added to the proto is served here too.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor};
use tonic::Status;
use tonic_types::pb;

use crate::client::ErrorReason;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::service;

/// A method of the proto.
#[derive(Debug, Clone)]
pub(super) struct Method {
    /// The type of the request.
    pub(super) request: Type,
    /// The type of the answer, or of its parts.
    pub(super) answer: Type,
    pub(super) kind: Kind,
}

/// The kind of a method's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One message.
    Unary,
    /// Messages, as they come.
    Stream,
    /// The client sends messages as well: for gRPC alone.
    Bidirectional,
}

/// The type of a message, which can be written as JSON.
#[derive(Debug, Clone)]
pub(super) struct Type(MessageDescriptor);

/// Returns the method that a path names.
pub(super) fn method(path: &str) -> Option<&'static Method> {
    static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(methods);
    METHODS.get(path)
}

fn methods() -> HashMap<String, Method> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptor is compiled in");
    let all = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
    all.map(|method| {
        let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
            (false, false) => Kind::Unary,
            (false, true) => Kind::Stream,
            (true, _) => Kind::Bidirectional,
        };
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        (path, Method { request: Type(method.input()), answer: Type(method.output()), kind })
    })
    .collect()
}

impl Type {
    /// Reads a message of this type from JSON, and returns it as protobuf has it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT says what is wrong, and where.
    pub(super) fn read(&self, json: &[u8]) -> Result<Vec<u8>, Status> {
        let mut from = serde_json::Deserializer::from_slice(json);
        // A name that is misspelt would otherwise be a lock without its linger, for instance.
        let options = DeserializeOptions::new().deny_unknown_fields(true);
        let read = DynamicMessage::deserialize_with_options(self.0.clone(), &mut from, &options);
        let message = read.and_then(|message| from.end().map(|()| message));
        let message =
            message.map_err(|error| service::invalid("body", format!("not the JSON of this call: {error}")))?;
        Ok(message.encode_to_vec())
    }

    /// Writes a message of this type as JSON, on one line without its end.
    ///
    /// # Errors
    /// INTERNAL if these bytes are none of this type.
    pub(super) fn write(&self, message: Bytes, into: &mut Vec<u8>) -> Result<(), Status> {
        let fault = |error: String| service::error(ErrorReason::BrokerFault, format!("an answer has no JSON: {error}"));
        let message = DynamicMessage::decode(self.0.clone(), message).map_err(|error| fault(error.to_string()))?;
        serde_json::to_writer(into, &message).map_err(|error| fault(error.to_string()))
    }
}

/// Returns a detail of an error as JSON, where its type is known.
pub(super) fn detail(name: &str, value: &[u8]) -> Option<serde_json::Value> {
    static DETAILS: LazyLock<DescriptorPool> =
        LazyLock::new(|| DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).expect("the descriptor is compiled in"));
    let message = DynamicMessage::decode(DETAILS.get_message_by_name(name)?, value).ok()?;
    serde_json::to_value(&message).ok()
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;

    use super::*;
    use crate::proto::{Acquired, LockEvent, WaitAcquireRequest, WaitAcquireResponse, lock_event};

    const WAIT: &str = "/lockbroker.v1.LockService/WaitAcquire";

    #[test]
    fn both_kinds_of_names_are_read_and_others_are_told() {
        let method = method(WAIT).unwrap();
        assert_eq!(method.kind, Kind::Stream);
        let camel = br#"{"lock": {"name": "\u00e4", "linger": "1.5s"}, "wait": {"maxWait": "2s"}}"#;
        let snake = br#"{"lock": {"name": "\u00e4", "linger": "1.500s"}, "wait": {"max_wait": "2s"}, "ttl": null}"#;
        let read = |json: &[u8]| WaitAcquireRequest::decode(&*method.request.read(json).unwrap()).unwrap();
        assert_eq!(read(camel), read(snake));
        assert_eq!(read(camel).lock.unwrap().linger, Some(Duration { seconds: 1, nanos: 500_000_000 }));
        for (json, says) in [
            (&br#"{"lock": {"nme": "a"}}"#[..], "'nme' at line 1 column 15"),
            (b"{\n\"lock\": 1}", "line 2 column 9"),
            (br#"{"ttl": "5"}"#, "line 1 column"),
            (br#"{} {}"#, "trailing characters at line 1 column 4"),
            (b"", "EOF"),
            (b"\xff", "line 1 column 1"),
            (b"[]", "line 1"),
        ] {
            let status = method.request.read(json).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(says), "{says}: {}", status.message());
        }
        let deep = "[".repeat(4000);
        assert!(method.request.read(deep.as_bytes()).is_err());
    }

    #[test]
    fn answers_are_the_json_that_protobuf_says() {
        let acquired = Acquired {
            lock_id: "id".into(),
            fencing_token: 9_007_199_254_740_991,
            expires_after_request: Some(Duration { seconds: 12, nanos: 997_000_000 }),
            // Unlike other fields that are 0, it is told.
            permit: Some(0),
            ..Default::default()
        };
        let event = LockEvent { kind: Some(lock_event::Kind::Acquired(acquired)) };
        let answer = WaitAcquireResponse { event: Some(event) };
        let mut json = Vec::new();
        method(WAIT).unwrap().answer.write(answer.encode_to_vec().into(), &mut json).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"event":{"acquired":{"lockId":"id","fencingToken":"9007199254740991","expiresAfterRequest":"12.997s","permit":0}}}"#
        );
    }
}

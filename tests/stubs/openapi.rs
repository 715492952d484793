//! Makes the description of the HTTP door of the proto and its comments.

use std::collections::BTreeMap;

use prost::Message;
use prost_reflect::{
    DescriptorPool, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor,
};
use prost_types::FileDescriptorSet;
use serde_json::{Value, json};

/// The schemas of messages and enums, by their names.
type Schemas = BTreeMap<String, Value>;

/// Returns the description, as OpenAPI 3.1 has it.
pub(crate) fn openapi(descriptors: &FileDescriptorSet) -> String {
    let pool = DescriptorPool::decode(&*descriptors.encode_to_vec()).unwrap();
    let (mut paths, mut schemas) = (BTreeMap::new(), Schemas::new());
    schemas.insert("Error".into(), error());
    schemas.insert("StreamError".into(), stream_error());
    for service in pool.services() {
        for method in service.methods().filter(|method| !method.is_client_streaming()) {
            let path = format!("/{}/{}", service.full_name(), method.name());
            paths.insert(path, json!({ "post": operation(&method) }));
            [method.input(), method.output()].iter().for_each(|message| add(message, &mut schemas));
        }
    }
    let description = "Named locks by JSON over HTTP. Calls with one answer are Connect's unary protocol \
        (https://connectrpc.com/docs/protocol). Calls with a stream answer with a line of JSON for each event; the end of the \
        connection releases the lock. Durations are written as \"1.5s\". A field that is not set is left out of answers, and so is \
        one that is 0, false or empty.";
    let all = json!({
        "openapi": "3.1.0",
        "info": { "title": "lockbroker", "version": "v1", "description": description },
        "paths": paths,
        "components": { "schemas": schemas },
    });
    serde_json::to_string_pretty(&all).unwrap() + "\n"
}

fn operation(method: &MethodDescriptor) -> Value {
    let answer = reference(method.output().name());
    let answer = match method.is_server_streaming() {
        false => json!({ "description": "The answer", "content": { "application/json": { "schema": answer } } }),
        true => json!({
            "description": "A line for each event. If the call fails later, the last line has its error",
            "content": { "application/x-ndjson": { "schema": { "oneOf": [answer, reference("StreamError")] } } },
        }),
    };
    let service = method.parent_service();
    let errors = json!({ "description": "The call failed", "content": { "application/json": { "schema": reference("Error") } } });
    json!({
        "operationId": format!("{}_{}", service.name(), method.name()),
        "tags": [service.name()],
        "description": comment(&service.parent_file(), method.path()),
        "requestBody": { "required": true, "content": { "application/json": { "schema": reference(method.input().name()) } } },
        "responses": { "200": answer, "default": errors },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// Adds the schema of a message, and those of all that its fields name.
fn add(message: &MessageDescriptor, schemas: &mut Schemas) {
    if schemas.contains_key(message.name()) {
        return;
    }
    let file = message.parent_file();
    schemas.insert(message.name().to_owned(), Value::Null);
    let properties: BTreeMap<_, _> = message
        .fields()
        .map(|field| {
            let mut schema = schema(&field, schemas);
            schema["description"] = comment(&file, field.path()).into();
            (field.json_name().to_owned(), schema)
        })
        .collect();
    let description = comment(&file, message.path());
    let schema = json!({ "type": "object", "description": description, "properties": properties });
    schemas.insert(message.name().to_owned(), schema);
}

fn schema(field: &FieldDescriptor, schemas: &mut Schemas) -> Value {
    let one = match field.kind() {
        Kind::String => json!({ "type": "string" }),
        Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int32 => json!({ "type": "integer", "format": "int32" }),
        Kind::Int64 => json!({ "type": "string", "format": "int64" }),
        Kind::Enum(names) => enumeration(&names),
        Kind::Message(message) if message.full_name() == "google.protobuf.Duration" => {
            json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$" })
        }
        Kind::Message(message) => {
            add(&message, schemas);
            reference(message.name())
        }
        other => panic!("{}: say how OpenAPI has {other:?}", field.full_name()),
    };
    if field.is_list() { json!({ "type": "array", "items": one }) } else { one }
}

fn enumeration(names: &EnumDescriptor) -> Value {
    json!({ "type": "string", "enum": names.values().map(|value| value.name().to_owned()).collect::<Vec<_>>() })
}

fn error() -> Value {
    let details = json!({ "type": "object", "properties": {
        "type": { "type": "string", "description": "Such as google.rpc.ErrorInfo, which has the reason" },
        "value": { "type": "string", "description": "The message in protobuf's format, in base64" },
        "debug": { "description": "The message as JSON" },
    } });
    json!({ "type": "object", "required": ["code"], "properties": {
        "code": { "type": "string", "description": "Connect's name of the status, such as invalid_argument" },
        "message": { "type": "string", "description": "For people; it may change" },
        "details": { "type": "array", "items": details },
    } })
}

fn stream_error() -> Value {
    json!({ "type": "object", "required": ["error"], "properties": { "error": reference("Error") } })
}

/// Returns the comment on what a path of the file names.
fn comment(file: &FileDescriptor, path: &[i32]) -> String {
    let source = file.file_descriptor_proto().source_code_info.as_ref().unwrap();
    let location = source.location.iter().find(|location| location.path == path);
    let text = location.and_then(|location| location.leading_comments.as_deref()).unwrap_or_default();
    assert!(!text.is_empty(), "no comment at {path:?}");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

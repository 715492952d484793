//! Traces: what a collector gets to see of a call, and what becomes of a broker whose collector is away.

#![cfg(feature = "otlp")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockbroker::proto::AcquireResponse;
use lockbroker::proto::lock_event::Kind;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use support::*;

/// How long the end of a broker may take that nobody holds a lock on: two seconds for its last traces, half a second
/// for its connections, and some for a busy machine.
const PROMPTLY: Duration = Duration::from_secs(5);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test]
async fn a_call_is_part_of_its_callers_trace() {
    let collector = Collector::start().await;
    let mut broker = traced(collector.address).await;
    let mut stub = broker.stub().await;

    let unsampled = format!("00-{}-{PARENT}-00", TRACE.replace('0', "1"));
    acquire_as(&mut stub, "left out", Some(&unsampled)).await;
    acquire_as(&mut stub, "untraced", None).await;
    let lock_id = acquire_as(&mut stub, "job", Some(&format!("00-{TRACE}-{PARENT}-01"))).await;
    drop(stub);
    // Long before the next batch is due: what has not been sent is sent now.
    assert!(broker.terminate(PROMPTLY).await.success());

    let resources = collector.seen();
    for resource in &resources {
        assert_eq!(text(&resource.resource.as_ref().unwrap().attributes, "service.name"), "lockbroker");
    }
    let spans: Vec<&Span> =
        resources.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans).collect();
    let of = |name: &str| {
        let mut named = spans.iter().filter(|span| text(&span.attributes, "lock") == name);
        let first = named.next().copied();
        assert_eq!(named.next(), None, "a call has one span");
        first
    };

    let job = of("job").unwrap_or_else(|| panic!("no span of the call: {spans:#?}"));
    assert_eq!((hex(&job.trace_id), hex(&job.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(job.name, "rpc");
    assert_eq!(text(&job.attributes, "method"), "/lockbroker.v1.LockService/Acquire");
    assert_eq!(text(&job.attributes, "status"), "cancelled");
    assert!(0 < job.start_time_unix_nano && job.start_time_unix_nano < job.end_time_unix_nano, "{job:?}");
    assert!(!format!("{spans:?}").contains(&lock_id), "a lock id is a secret");

    let untraced = of("untraced").unwrap_or_else(|| panic!("no span of the call: {spans:#?}"));
    assert_eq!(hex(&untraced.parent_span_id), "", "a trace of its own");
    assert_ne!(hex(&untraced.trace_id), TRACE);
    assert_eq!(of("left out"), None, "the caller decides what is sampled");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_a_log_line() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let mut broker = traced(nobody).await;
    acquire_as(&mut broker.stub().await, "job", None).await;
    assert!(broker.terminate(PROMPTLY).await.success());
    broker.logged("traces are lost").await;
    let complaints: Vec<_> = broker.log().into_iter().filter(|line| line.contains(r#""WARN""#)).collect();
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
}

#[tokio::test]
async fn a_collector_that_says_nothing_does_not_hold_up_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut broker = traced(silent.local_addr().unwrap()).await;
    acquire_as(&mut broker.stub().await, "job", None).await;
    assert!(broker.terminate(PROMPTLY).await.success());
    broker.logged("the last traces may be lost").await;
}

#[tokio::test]
async fn without_a_collector_nothing_changes() {
    let mut broker = Broker::start(&["--store", "memory"]).await;
    acquire_as(&mut broker.stub().await, "job", Some(&format!("00-{TRACE}-{PARENT}-01"))).await;
    assert!(broker.terminate(PROMPTLY).await.success());
    let log = broker.log().join("\n");
    assert!(!log.contains("WARN") && !log.contains("DEBUG") && !log.contains("trace"), "{log}");
}

#[test]
fn the_collectors_address_is_checked() {
    for url in ["https://127.0.0.1:4317", "http://collector", "127.0.0.1:4317", "http://a:1/v1/traces", "http://a:1/?b"] {
        let output = run(&["serve", "--otlp-endpoint", url]);
        assert_eq!(output.status.code(), Some(2), "{url}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("http://127.0.0.1:4317"), "{url}");
    }
}

/// A broker with a memory of its own that sends traces to `collector`.
async fn traced(collector: SocketAddr) -> Broker {
    Broker::start(&["--store", "memory", "--otlp-endpoint", &format!("http://{collector}")]).await
}

/// Acquires a lock, gives it up by leaving, and returns the id that it had.
async fn acquire_as(stub: &mut Stub, name: &str, traceparent: Option<&str>) -> String {
    let mut request = Request::new(once(name));
    if let Some(traceparent) = traceparent {
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    }
    let mut held: Streaming<AcquireResponse> = stub.acquire(request).await.unwrap().into_inner();
    let Kind::Acquired(acquired) = next_event(&mut held).await else { panic!("not acquired") };
    acquired.lock_id
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> &'a str {
    let attribute = attributes.iter().find(|attribute| attribute.key == key);
    match attribute.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text,
        _ => "",
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes whatever it is sent.
struct Collector {
    address: SocketAddr,
    seen: Seen,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<ResourceSpans>>>);

impl Collector {
    /// Runs until the test ends.
    async fn start() -> Collector {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let service = TraceServiceServer::new(seen.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        Collector { address, seen }
    }

    fn seen(&self) -> Vec<ResourceSpans> {
        self.seen.0.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl TraceService for Seen {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().extend(request.into_inner().resource_spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

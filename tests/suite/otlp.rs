//! Traces: what a collector gets to see of a call, and what becomes of a broker whose collector is away.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lockbroker::proto::AcquireResponse;
use lockbroker::proto::lock_event::Kind;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::support::*;

/// How long the end of a broker may take that nobody holds a lock on: two seconds for its last traces, half a second
/// for its connections, and some for a busy machine.
const PROMPTLY: Duration = Duration::from_secs(5);

/// What both warnings of lost traces say.
const CANNOT_SEND: &str = "cannot send them to --otlp-endpoint";

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test]
async fn a_call_is_part_of_its_callers_trace() {
    let collector = Collector::start(None).await;
    let mut broker = traced(collector.address).await;
    let mut stub = broker.stub().await;

    let unsampled = format!("00-{}-{PARENT}-00", TRACE.replace('0', "1"));
    acquire_as(&mut stub, "left out", Some(&unsampled)).await;
    acquire_as(&mut stub, "untraced", None).await;
    acquire_as(&mut stub, "misnamed", Some("the caller's")).await;
    let (lock_id, mut held) = acquire_as(&mut stub, "job", Some(&format!("00-{TRACE}-{PARENT}-01"))).await;
    let (ended, ()) = tokio::join!(broker.terminate(PROMPTLY), async {
        assert!(matches!(after_renewals(&mut held).await, Kind::Draining(_)));
        // Waiting is refused now.
        let status = stub.wait_acquire(wait("late")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        drop((held, stub));
    });
    // Long before the next batch is due: what has not been sent is sent at the end.
    assert!(ended.success());

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
    assert_eq!((job.name.as_str(), job.kind()), ("lockbroker.v1.LockService/Acquire", SpanKind::Server));
    assert_eq!(text(&job.attributes, "method"), "/lockbroker.v1.LockService/Acquire");
    assert_eq!(text(&job.attributes, "status"), "cancelled");
    let mut keys: Vec<_> = job.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["lock", "method", "status"]);
    assert!(!failed(job), "leaving is no failure");
    assert!(0 < job.start_time_unix_nano && job.start_time_unix_nano < job.end_time_unix_nano, "{job:?}");
    assert!(!format!("{spans:?}").contains(&lock_id), "a lock id is a secret");

    for name in ["untraced", "misnamed"] {
        let own = of(name).unwrap_or_else(|| panic!("no span of the call: {spans:#?}"));
        assert_eq!(hex(&own.parent_span_id), "", "a trace of its own");
        assert_ne!(hex(&own.trace_id), TRACE);
    }
    assert!(of("late").is_some_and(failed));
    assert_eq!(of("left out"), None, "the caller decides what is sampled");
}

#[tokio::test]
async fn a_collector_that_is_away_costs_a_log_line() {
    let mut broker = traced(nobody()).await;
    acquire_as(&mut broker.stub().await, "job", None).await;
    assert!(broker.terminate(PROMPTLY).await.success());
    broker.logged(CANNOT_SEND).await;
    assert_eq!(warned_of_else(&broker), [""; 0]);
}

#[tokio::test]
async fn a_collector_may_come_later() {
    let address = nobody();
    let mut broker = traced(address).await;
    acquire_as(&mut broker.stub().await, "job", None).await;
    let collector = Collector::at(address, None).await;
    assert!(broker.terminate(PROMPTLY).await.success());
    assert!(!collector.seen().is_empty());
}

#[tokio::test]
async fn a_collector_that_refuses_costs_a_log_line_now_and_then() {
    let collector = Collector::start(Some(Code::PermissionDenied)).await;
    let mut broker = traced(collector.address).await;
    let mut stub = broker.stub().await;
    // So many spans are a batch.
    for _ in 0..2 * 512 {
        look(&mut stub, "job").await;
    }
    eventually(SOON, "two batches are refused", async || collector.requests() >= 2).await;
    drop(stub);
    assert!(broker.terminate(PROMPTLY).await.success());
    let lost: Vec<_> = broker.log().into_iter().filter(|line| line.contains("traces are lost")).collect();
    assert_eq!(lost.len(), 1, "{lost:#?}");
    assert!(lost[0].contains("PermissionDenied"), "{lost:?}");
    assert_eq!(warned_of_else(&broker), [""; 0]);
}

#[tokio::test]
async fn a_collector_that_says_nothing_does_not_hold_up_the_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut broker = traced(silent.local_addr().unwrap()).await;
    acquire_as(&mut broker.stub().await, "job", None).await;
    assert!(broker.terminate(PROMPTLY).await.success());
    broker.logged("the last traces may be lost").await;
    assert_eq!(warned_of_else(&broker), [""; 0]);
}

#[tokio::test]
async fn without_a_collector_nothing_changes() {
    let mut broker = Broker::start(&["--store", "memory"]).await;
    acquire_as(&mut broker.stub().await, "job", Some(&format!("00-{TRACE}-{PARENT}-01"))).await;
    assert!(broker.terminate(PROMPTLY).await.success());
    let log = broker.log().join("\n");
    assert!(!log.contains("WARN") && !log.contains("DEBUG") && !log.contains("trace"), "{log}");
}

/// A broker with a memory of its own that sends traces to `collector`.
async fn traced(collector: SocketAddr) -> Broker {
    Broker::start(&["--store", "memory", "--otlp-endpoint", &format!("http://{collector}")]).await
}

/// Where nobody listens.
fn nobody() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// Acquires a lock that must be free, and returns its id and its stream.
async fn acquire_as(stub: &mut Stub, name: &str, traceparent: Option<&str>) -> (String, Streaming<AcquireResponse>) {
    let mut request = Request::new(once(name));
    if let Some(traceparent) = traceparent {
        request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    }
    let mut held = stub.acquire(request).await.unwrap().into_inner();
    (granted(&mut held).await.lock_id, held)
}

/// What a broker warned of that is not the collector's doing.
fn warned_of_else(broker: &Broker) -> Vec<String> {
    let of_else = |line: &String| line.contains(r#""WARN""#) && !line.contains(CANNOT_SEND);
    broker.log().into_iter().filter(of_else).collect()
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
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

/// A collector.
struct Collector {
    address: SocketAddr,
    requests: Requests,
}

/// What a collector was sent, and the code with which it refuses it, if it does.
#[derive(Clone)]
struct Requests(Arc<Mutex<Vec<ExportTraceServiceRequest>>>, Option<Code>);

impl Collector {
    async fn start(refuses: Option<Code>) -> Collector {
        Collector::at("127.0.0.1:0".parse().unwrap(), refuses).await
    }

    /// Runs until the test ends.
    async fn at(address: SocketAddr, refuses: Option<Code>) -> Collector {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Requests(Arc::default(), refuses);
        let service = TraceServiceServer::new(requests.clone());
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        Collector { address, requests }
    }

    fn requests(&self) -> usize {
        self.requests.0.lock().unwrap().len()
    }

    fn seen(&self) -> Vec<ResourceSpans> {
        self.requests.0.lock().unwrap().iter().flat_map(|request| request.resource_spans.clone()).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Requests {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().unwrap().push(request.into_inner());
        match self.1 {
            Some(code) => Err(Status::new(code, "no")),
            None => Ok(Response::new(ExportTraceServiceResponse::default())),
        }
    }
}

//! Sends the spans of calls to a collector by OTLP, as parts of the traces that callers name in W3C's `traceparent`.
//!
//! Log lines are not sent. A slow or absent collector holds up nothing: spans wait in a bounded queue, and are dropped
//! when it is full.

use std::time::Duration;

use http::{HeaderMap, HeaderName, Uri};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing::level_filters::LevelFilter;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::rate_limited::RateLimited;

/// The longest time that the end of the process waits for the last spans to be sent.
const FAREWELL: Duration = Duration::from_secs(2);

/// Sends spans in the background. [`Traces::end`] sends the rest.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Starts to send spans to the collector at `endpoint`, from a thread and on the current runtime. The collector
    /// need not be there yet.
    ///
    /// # Errors
    /// Fails if `endpoint`, or a setting of the exporter in the environment, is wrong.
    pub(crate) fn start(endpoint: &Uri) -> Result<Traces, ExporterBuildError> {
        let otlp = opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(endpoint.to_string());
        let exporter = Exporter { otlp: otlp.build()?, lost: RateLimited::new() };
        let resource = Resource::builder().with_service_name("lockbroker").build();
        Ok(Traces(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
    }

    /// Sends what has not been sent. See [`crate::telemetry::Telemetry::end`].
    pub(crate) async fn end(self) {
        // It blocks its thread until the runtime's threads have sent the spans.
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FAREWELL)).await;
        let why = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(why, "the last traces may be lost: cannot send them to --otlp-endpoint in time");
    }

    /// Returns the layer that sends this crate's spans, whatever the log level.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("lockbroker::"));
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("lockbroker"))
            // Always the same line of this crate, whichever thread came by, and for how long.
            .with_location(false)
            .with_target(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            // Nobody below asks OpenTelemetry for the present span.
            .with_context_activation(false)
            .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
    }
}

/// Makes `span` a part of the trace that a call's `headers` name. The span must not have been entered yet. Does
/// nothing if the headers name no trace, or no traces are sent.
pub(crate) fn continue_from(headers: &HeaderMap, span: &Span) {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    // Fails if there is no layer that sends traces.
    let _ = span.set_parent(context);
}

/// The codes that are the server's failures and not the client's, by OpenTelemetry's conventions for gRPC.
const FAILED: [&str; 6] = ["Unknown", "DeadlineExceeded", "Unimplemented", "Internal", "Unavailable", "DataLoss"];

/// Adds to a call's span what traces need beyond log lines: that a server made it, the method as its name, and whether
/// it failed.
fn describe(span: &mut SpanData) {
    span.span_kind = SpanKind::Server;
    for attribute in &span.attributes {
        let value = attribute.value.as_str();
        match attribute.key.as_str() {
            "method" => span.name = value.trim_start_matches('/').to_owned().into(),
            "status" if FAILED.contains(&&*value) => span.status = Status::error(""),
            _ => {}
        }
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// An exporter over OTLP that logs a failure now and then.
#[derive(Debug)]
struct Exporter {
    otlp: opentelemetry_otlp::SpanExporter,
    lost: RateLimited,
}

impl SpanExporter for Exporter {
    async fn export(&self, mut spans: Vec<SpanData>) -> OTelSdkResult {
        spans.iter_mut().for_each(describe);
        let sent = self.otlp.export(spans).await;
        if let Err(error) = &sent
            && let Some(left_out) = self.lost.pass()
        {
            tracing::warn!(%error, left_out, "traces are lost: cannot send them to --otlp-endpoint");
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.otlp.set_resource(resource);
    }
}

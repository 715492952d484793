//! Checks what is recorded of a call.
//!
//! In a process of its own: whether a span is wanted is remembered for the whole process, and tests without a
//! subscriber would have the last word.

#[path = "suite/server/pretender.rs"]
#[allow(dead_code, reason = "shared with the tests of the server")]
mod pretender;

use std::fmt;
use std::sync::{Arc, Mutex};

use lockbroker::proto::*;
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use pretender::{Server, until};

#[tokio::test]
async fn a_call_is_recorded_with_its_end() {
    let calls = watch::channel(Vec::new()).0;
    let subscriber = tracing_subscriber::registry().with(Recorder(calls.clone()));
    // The runtime has one thread: everything happens on it.
    let _default = tracing::subscriber::set_default(subscriber);
    let server = Server::start("").await;
    let mut client = server.client().await;

    client.release(ReleaseRequest::default()).await.unwrap();
    recorded(&calls, "method=/lockbroker.v1.LockService/Release lock=a name status=Ok").await;

    client.get_lock(GetLockRequest::default()).await.unwrap_err();
    recorded(&calls, "method=/lockbroker.v1.LockService/GetLock status=InvalidArgument").await;

    let mut lock = client.acquire(AcquireRequest::default()).await.unwrap().into_inner();
    lock.message().await.unwrap();
    assert_eq!(calls.borrow().len(), 2, "an open stream has not ended: {:?}", calls.borrow());
    drop(lock);
    recorded(&calls, "method=/lockbroker.v1.LockService/Acquire status=cancelled").await;
}

async fn recorded(calls: &watch::Sender<Vec<String>>, call: &str) {
    until(calls, |calls| calls.iter().any(|recorded| recorded.trim() == call)).await;
}

/// Writes down the fields of every `rpc` span that closes.
struct Recorder(watch::Sender<Vec<String>>);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() == "rpc" {
            let fields = Fields::default();
            attributes.record(&mut fields.clone());
            context.span(id).unwrap().extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(fields) = context.span(id).unwrap().extensions().get::<Fields>() {
            values.record(&mut fields.clone());
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        if let Some(fields) = context.span(&id).unwrap().extensions().get::<Fields>() {
            self.0.send_modify(|calls| calls.push(fields.0.lock().unwrap().clone()));
        }
    }
}

#[derive(Clone, Default)]
struct Fields(Arc<Mutex<String>>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.lock().unwrap().push_str(&format!("{field}={value:?} "));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.lock().unwrap().push_str(&format!("{field}={value} "));
    }
}

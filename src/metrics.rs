//! Counters, gauges and histograms, and their exposition for Prometheus. The only module that knows the metrics
//! library. It knows nothing of locks: each layer declares its metrics beside its own code.
//!
//! A layer looks up the metrics of frequent events once, when it starts. Then an event costs one atomic addition, or,
//! in a histogram, a mutex that nobody holds for long.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::metrics::{counter, family, gauge, histogram};
use prometheus_client::registry::{Metric, Registry};

/// The `Content-Type` of what [`Metrics::expose`] returns.
pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// The prefix of every metric's name, without the underscore that follows it.
const PREFIX: &str = "lockbroker";

/// The metrics of one broker. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    // Every layer has limits of its own, and they share these metrics.
    limits: Gauges,
    used: Gauges,
    refused: Counters,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let mut registry = Registry::with_prefix(PREFIX);
        let (limits, used, refused) = (family::Family::default(), family::Family::default(), family::Family::default());
        registry.register("limit", "How many there may be of what the label says", limits.clone());
        registry.register("limit_used", "How many there are of what the label says", used.clone());
        registry.register("refused", "Requests and connections refused for a limit of this broker", refused.clone());
        Metrics {
            registry: Arc::new(Mutex::new(registry)),
            limits: Gauges(limits),
            used: Gauges(used),
            refused: Counters(refused),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Declares a metric; each name once. `help` is a sentence without its full stop.
    pub(crate) fn declare<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry().register(name, help, metric.clone());
        metric
    }

    /// Declares a limit by its name. Returns the gauge of how much of it is used, and the counter of its refusals.
    pub(crate) fn limit(&self, name: &str, limit: i64) -> (Gauge, Counter) {
        let labels = [("limit", name)];
        self.limits.of(&labels).set(limit);
        (self.used.of(&labels), self.refused.of(&labels))
    }

    /// Declares a counter. Its name gets `_total` at its end.
    pub(crate) fn counter(&self, name: &str, help: &str) -> Counter {
        self.declare(name, help, Counter::default())
    }

    /// Declares a gauge.
    pub(crate) fn gauge(&self, name: &str, help: &str) -> Gauge {
        Gauge(self.declare(name, help, gauge::Gauge::default()))
    }

    /// Declares a histogram.
    pub(crate) fn histogram(&self, name: &str, help: &str, buckets: Buckets) -> Histogram {
        Histogram(self.declare(name, help, buckets.histogram()))
    }

    /// Declares counters that differ in their labels.
    pub(crate) fn counters(&self, name: &str, help: &str) -> Counters {
        Counters(self.declare(name, help, family::Family::default()))
    }

    /// Declares gauges that differ in their labels.
    pub(crate) fn gauges(&self, name: &str, help: &str) -> Gauges {
        Gauges(self.declare(name, help, family::Family::default()))
    }

    /// Declares histograms that differ in their labels.
    pub(crate) fn histograms(&self, name: &str, help: &str, buckets: Buckets) -> Histograms {
        Histograms(self.declare(name, help, family::Family::new_with_constructor(buckets)))
    }

    /// Returns the current values of all metrics, in Prometheus' text format.
    pub fn expose(&self) -> String {
        let mut text = String::new();
        prometheus_text::encode(&mut text, &self.registry()).expect("a String takes all that is written to it");
        text
    }
}

/// A number of events, which only rises.
pub(crate) type Counter = counter::Counter;

/// The current number of something.
#[derive(Debug, Clone, Default)]
pub struct Gauge(gauge::Gauge);

impl Gauge {
    /// Sets it; `true` is 1.
    pub(crate) fn set(&self, value: impl Into<i64>) {
        self.0.set(value.into());
    }

    /// Returns the current number.
    pub(crate) fn get(&self) -> i64 {
        self.0.get()
    }

    /// Counts one more, and returns how many there were before; [`Gauge::end`] follows.
    pub(crate) fn begin(&self) -> i64 {
        self.0.inc()
    }

    /// Counts one less.
    pub(crate) fn end(&self) {
        self.0.dec();
    }
}

/// The distribution of values.
#[derive(Debug, Clone)]
pub(crate) struct Histogram(histogram::Histogram);

impl Histogram {
    /// Adds a span of time, in seconds.
    pub(crate) fn observe(&self, span: Duration) {
        self.0.observe(span.as_secs_f64());
    }

    /// Adds a number.
    pub(crate) fn observe_count(&self, count: usize) {
        self.0.observe(count as f64);
    }
}

/// The upper bounds of a histogram's buckets: `count` of them, each `factor` times the one before. Keep them few,
/// since each is a time series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buckets {
    pub(crate) first: f64,
    pub(crate) factor: f64,
    pub(crate) count: u16,
}

impl Buckets {
    fn histogram(self) -> histogram::Histogram {
        histogram::Histogram::new(exponential_buckets(self.first, self.factor, self.count))
    }
}

impl family::MetricConstructor<histogram::Histogram> for Buckets {
    fn new_metric(&self) -> histogram::Histogram {
        self.histogram()
    }
}

/// Names of labels and their values. Values come from short lists: no lock's name, no client's. (`accounts` has labels with names
/// from the policy, and makes them itself.)
type Labels = Vec<(&'static str, String)>;

fn labels(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// Counters that differ in their labels.
#[derive(Debug, Clone)]
pub(crate) struct Counters(family::Family<Labels, counter::Counter>);

impl Counters {
    /// Returns the counter with these labels, and creates it at 0 if there is none.
    pub(crate) fn of(&self, of: &[(&'static str, &str)]) -> Counter {
        self.0.get_or_create_owned(&labels(of))
    }

    /// Returns a counter for each value of the label `name`, with the labels `fixed` as well.
    pub(crate) fn by<L: Label>(&self, name: &'static str, fixed: &[(&'static str, &str)]) -> By<L> {
        By(L::ALL.iter().map(|value| (*value, self.of(&[fixed, &[(name, value.label())]].concat()))).collect())
    }
}

/// Gauges that differ in their labels.
#[derive(Debug, Clone)]
pub(crate) struct Gauges(family::Family<Labels, gauge::Gauge>);

impl Gauges {
    /// Returns the gauge with these labels, and creates it at 0 if there is none.
    pub(crate) fn of(&self, of: &[(&'static str, &str)]) -> Gauge {
        Gauge(self.0.get_or_create_owned(&labels(of)))
    }
}

/// Histograms that differ in their labels.
#[derive(Debug)]
pub(crate) struct Histograms(family::Family<Labels, histogram::Histogram, Buckets>);

impl Histograms {
    /// Returns the histogram with these labels, and creates it empty if there is none.
    pub(crate) fn of(&self, of: &[(&'static str, &str)]) -> Histogram {
        Histogram(self.0.get_or_create_owned(&labels(of)))
    }
}

/// A label with few values. Each value has a counter.
pub(crate) trait Label: Copy + PartialEq + 'static {
    /// All values, the most frequent first.
    const ALL: &'static [Self];

    /// Returns the value as Prometheus shows it.
    fn label(self) -> &'static str;
}

/// A counter for each value of a label.
#[derive(Debug, Clone)]
pub(crate) struct By<L>(Box<[(L, Counter)]>);

impl<L: Label> By<L> {
    /// Counts one more with this value.
    pub(crate) fn inc(&self, value: L) {
        let counter = self.0.iter().find(|(known, _)| *known == value);
        debug_assert!(counter.is_some(), "{} is missing in ALL", value.label());
        if let Some((_, counter)) = counter {
            counter.inc();
        }
    }

    /// Returns the number of all events with values that are `counted`.
    pub(crate) fn sum(&self, counted: impl Fn(L) -> bool) -> u64 {
        self.0.iter().filter(|(value, _)| counted(*value)).map(|(_, counter)| counter.get()).sum()
    }
}

//! The page that Prometheus scrapes, as text. The only door to `prometheus`: it lends its text
//! encoder and its process metrics. The numbers live in `cells`, because its own label vectors find a
//! series by a hash over the label values run together: upstream `app` in `blue` and a plain upstream
//! `appblue` would share one.

use std::fmt;

use prometheus::TextEncoder;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::Bucket;
use prometheus::proto::Counter;
use prometheus::proto::Gauge;
use prometheus::proto::Histogram;
use prometheus::proto::LabelPair;
use prometheus::proto::Metric;
use prometheus::proto::MetricFamily;
use prometheus::proto::MetricType;

use crate::observe::metrics::cells::TimingsRead;

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a str);

/// One metric with all its series.
#[derive(Debug)]
pub(super) struct Family(MetricFamily);

/// The `process_*` metrics of this process.
pub(super) struct Process(ProcessCollector);

impl Family {
    pub(super) fn counter(name: &str, help: &str) -> Self {
        Self::new(MetricType::COUNTER, name, help)
    }

    pub(super) fn gauge(name: &str, help: &str) -> Self {
        Self::new(MetricType::GAUGE, name, help)
    }

    pub(super) fn histogram(name: &str, help: &str) -> Self {
        Self::new(MetricType::HISTOGRAM, name, help)
    }

    fn new(kind: MetricType, name: &str, help: &str) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Adds a series to a counter or a gauge.
    #[expect(clippy::cast_precision_loss, reason = "a sample is a float; exact up to 2^53")]
    pub(super) fn add(&mut self, labels: &[Label<'_>], value: u64) {
        let mut metric = with_labels(labels);
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value as f64);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value as f64);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds a series to a gauge that counts in fractions.
    pub(super) fn add_fraction(&mut self, labels: &[Label<'_>], value: f64) {
        let mut metric = with_labels(labels);
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        self.0.mut_metric().push(metric);
    }

    /// Adds a series to a histogram.
    pub(super) fn add_timings(&mut self, labels: &[Label<'_>], read: &TimingsRead) {
        let mut histogram = Histogram::default();
        histogram.set_sample_count(read.count);
        histogram.set_sample_sum(read.sum);
        let bucket = |(bound, cumulative): &(f64, u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*cumulative);
            bucket
        };
        histogram.set_bucket(read.buckets.iter().map(bucket).collect());
        let mut metric = with_labels(labels);
        metric.set_histogram(histogram);
        self.0.mut_metric().push(metric);
    }
}

impl Process {
    pub(super) fn new() -> Self {
        Self(ProcessCollector::for_self())
    }

    pub(super) fn families(&self) -> Vec<Family> {
        self.0.collect().into_iter().map(Family).collect()
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

/// The page. A metric without series (promotions, where no upstream has colours) is left out.
pub(super) fn encode(families: Vec<Family>) -> String {
    let mut page = String::new();
    let told: Vec<MetricFamily> = families
        .into_iter()
        .map(|family| family.0)
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    if let Err(error) = TextEncoder::new().encode_utf8(&told, &mut page) {
        tracing::error!(%error, "the metrics page is cut short");
    }
    page
}

fn with_labels(labels: &[Label<'_>]) -> Metric {
    let pair = |(name, value): &Label<'_>| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(labels.iter().map(pair).collect())
}

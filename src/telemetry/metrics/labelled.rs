//! Metrics whose label values are a closed list: one handle for each, made at the start, so that all are present at zero.

use prometheus::Histogram;
use prometheus::HistogramOpts;
use prometheus::HistogramVec;
use prometheus::IntCounter;
use prometheus::IntCounterVec;
use prometheus::IntGauge;
use prometheus::IntGaugeVec;
use prometheus::Opts;
use prometheus::Registry;
use prometheus::core::Collector;

/// The handles of one metric, by what the labels stand for.
#[derive(Debug)]
pub(super) struct Labelled<K, M>(Vec<(K, M)>);

impl<K: PartialEq, M> Labelled<K, M> {
    /// The handle of a key. Keys come from closed lists, so there is one; a missing one is not worth failing a session for.
    pub(super) fn of(&self, key: &K) -> Option<&M> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, handle)| handle)
    }
}

impl<K: PartialEq> Labelled<K, IntCounter> {
    /// Counts under a key.
    pub(super) fn add(&self, key: &K, count: u64) {
        if let Some(counter) = self.of(key) {
            counter.inc_by(count);
        }
    }
}

/// Makes metrics and registers them.
pub(super) struct Maker<'a>(pub(super) &'a Registry);

impl Maker<'_> {
    pub(super) fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.registered(IntCounter::new(name, help)?)
    }

    pub(super) fn counters<K>(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        keys: impl IntoIterator<Item = K>,
        values: impl Fn(&K) -> Vec<&'static str>,
    ) -> prometheus::Result<Labelled<K, IntCounter>> {
        let family = self.counter_family(name, help, labels)?;
        let handles = keys.into_iter().map(|key| {
            let handle = family.get_metric_with_label_values(&values(&key))?;
            Ok((key, handle))
        });
        Ok(Labelled(handles.collect::<prometheus::Result<_>>()?))
    }

    pub(super) fn gauges<K>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        keys: impl IntoIterator<Item = K>,
        value: impl Fn(&K) -> &'static str,
    ) -> prometheus::Result<Labelled<K, IntGauge>> {
        let family = self.gauge_family(name, help, &[label])?;
        let handles = keys.into_iter().map(|key| {
            let handle = family.get_metric_with_label_values(&[value(&key)])?;
            Ok((key, handle))
        });
        Ok(Labelled(handles.collect::<prometheus::Result<_>>()?))
    }

    pub(super) fn histograms<K>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        keys: impl IntoIterator<Item = K>,
        value: impl Fn(&K) -> &'static str,
    ) -> prometheus::Result<Labelled<K, Histogram>> {
        let family = self.histogram_family(name, help, &[label])?;
        let handles = keys.into_iter().map(|key| {
            let handle = family.get_metric_with_label_values(&[value(&key)])?;
            Ok((key, handle))
        });
        Ok(Labelled(handles.collect::<prometheus::Result<_>>()?))
    }

    pub(super) fn counter_family(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.registered(IntGauge::new(name, help)?)
    }

    pub(super) fn gauge_family(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    pub(super) fn histogram_family(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
        self.registered(HistogramVec::new(options, labels)?)
    }

    fn registered<C: Collector + Clone + 'static>(&self, metric: C) -> prometheus::Result<C> {
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

/// Bounds of the duration buckets: from a local backend's answer to the 30 s that a backend's login may take.
const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

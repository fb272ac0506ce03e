//! The metrics as text: every name, its unit and its sentence stand here.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};

use super::metrics::{Figures, StreamFigures};

/// Prometheus reads it since 2.5; for older readers it differs in comments only.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every status a run can have: one that no run has now is a zero, and no gap in a graph.
const STATUSES: [&str; 6] = ["queued", "running", "waiting", "succeeded", "partial", "failed"];

pub fn text(figures: Figures) -> String {
    let mut registry = Registry::with_prefix("adledger");
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    // Writing into a string fails only where an encoder does; what is written so far is good.
    if let Err(error) = text::encode(&mut text, &registry) {
        tracing::warn!(%error, "the metrics could not be written to their end");
    }
    text
}

type Labels<'a> = Vec<(&'static str, &'a str)>;

/// A gauge with a value for each set of labels.
fn gauge<'a, V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    unit: Option<Unit>,
    help: &str,
    values: impl IntoIterator<Item = (Labels<'a>, V)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
    for (labels, value) in values {
        one(&mut metric, &labels, |metric| metric.encode_gauge(&value))?;
    }
    Ok(())
}

fn counter(encoder: &mut DescriptorEncoder<'_>, name: &str, unit: Option<Unit>, help: &str, value: f64) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
    metric.encode_counter(&value, None::<&Exemplar<NoLabelSet, f64>>)
}

fn one(
    metric: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { write(metric) } else { write(&mut metric.encode_family(labels)?) }
}

fn unit(word: &str) -> Option<Unit> {
    Some(Unit::Other(word.to_owned()))
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let up = [("database", self.database.is_some()), ("stream", self.stream.is_some())];
        gauge(
            &mut encoder,
            "up",
            None,
            "1 when the part answered; the metrics of a part that did not are left out.",
            up.map(|(part, is_up)| (vec![("part", part)], i64::from(is_up))),
        )?;
        if let Some((runs, outbox)) = &self.database {
            database(&mut encoder, runs)?;
            let help = "Events that were written with their state and are not published yet.";
            gauge(&mut encoder, "outbox", unit("events"), help, [(vec![], outbox.events)])?;
            let help = "Age of the oldest of them; 0 when there is none.";
            gauge(&mut encoder, "outbox_lag", Some(Unit::Seconds), help, [(vec![], outbox.oldest_age_seconds)])?;
        }
        if let Some(figures) = &self.stream {
            stream(&mut encoder, figures)?;
        }
        Ok(())
    }
}

fn database(encoder: &mut DescriptorEncoder<'_>, figures: &runs::Figures) -> fmt::Result {
    let now = figures.runs.iter().map(|((status, reason), count)| {
        (vec![("status", status.as_str()), ("wait_reason", reason.as_deref().unwrap_or_default())], *count)
    });
    let none = STATUSES
        .iter()
        .filter(|status| !figures.runs.contains_key(&((**status).to_owned(), None)))
        .map(|status| (vec![("status", *status), ("wait_reason", "")], 0));
    gauge(encoder, "runs", None, "Sync runs by their status now and, where they wait, what for.", now.chain(none))?;
    durations(encoder, figures)?;
    let days = "Days that are owed: planned, or failed, or published and in no table for a while.";
    gauge(encoder, "owed", unit("days"), days, [(vec![], figures.days_owed)])?;
    let days = "Days whose last attempt failed.";
    gauge(encoder, "failed", unit("days"), days, [(vec![], figures.days_failed)])?;
    counter(encoder, "throttles", None, "How often Meta throttled a run.", figures.throttles as f64)?;
    let wait = "How long runs waited because Meta throttled them.";
    counter(encoder, "throttle_wait", Some(Unit::Seconds), wait, figures.throttle_wait_ms as f64 / 1000.0)
}

fn durations(encoder: &mut DescriptorEncoder<'_>, figures: &runs::Figures) -> fmt::Result {
    let help = "Finished sync runs by how long they took from their first start to their end.";
    let mut metric = encoder.encode_descriptor("run_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
    for ((job_type, status), durations) in &figures.durations {
        // The encoder sums the classes up.
        let bounds = runs::DURATION_BOUNDS_SECONDS.into_iter().chain([f64::INFINITY]);
        let classes: Vec<(f64, u64)> = bounds.zip(durations.counts).collect();
        let runs = durations.counts.iter().sum();
        let labels = vec![("job_type", job_type.as_str()), ("status", status.as_str())];
        metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(durations.sum_seconds, runs, &classes, None)?;
    }
    Ok(())
}

fn stream(encoder: &mut DescriptorEncoder<'_>, figures: &StreamFigures) -> fmt::Result {
    let lags = || figures.lags.iter().map(|(durable, lag)| (labels(&durable.stream, &durable.name), lag));
    let help = "Messages that wait for a consumer.";
    gauge(encoder, "consumer_gap", unit("messages"), help, lags().map(|(labels, lag)| (labels, lag.gap)))?;
    let help = "Messages that a consumer works on and has not acknowledged.";
    gauge(encoder, "consumer_in_flight", unit("messages"), help, lags().map(|(labels, lag)| (labels, lag.in_flight)))?;
    let help =
        "Age of the oldest message that a consumer has not acknowledged, since its stream stored it; 0 when none.";
    let ages = lags().filter_map(|(labels, lag)| Some((labels, lag.oldest_age?.as_secs_f64())));
    gauge(encoder, "consumer_lag", Some(Unit::Seconds), help, ages)?;
    let help = "Messages that a consumer could not use and that are kept in the dead letters.";
    let parked = figures.parked.iter().map(|((stream, consumer), count)| (labels(stream, consumer), *count));
    gauge(encoder, "parked", unit("messages"), help, parked)?;
    let log = &figures.log;
    gauge(encoder, "log", Some(Unit::Bytes), "Bytes that count towards the log's limit.", [(vec![], log.bytes)])?;
    if let (Some(max_bytes), Some(ratio)) = (log.max_bytes, log.ratio()) {
        let help = "The log's limit, left out where only the disk is one.";
        gauge(encoder, "log_max", Some(Unit::Bytes), help, [(vec![], max_bytes)])?;
        let help = "How full the log is; from 0.8 somebody should look, and a full one makes every fetch wait.";
        gauge(encoder, "log_fill", unit("ratio"), help, [(vec![], ratio)])?;
    }
    Ok(())
}

fn labels<'a>(stream: &'a str, consumer: &'a str) -> Labels<'a> {
    vec![("stream", stream), ("consumer", consumer)]
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Figures").finish_non_exhaustive()
    }
}

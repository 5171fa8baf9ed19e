//! Every metric: its name, meaning, unit and labels, from what the master says and what stands on the scoreboard.
//! `docs/monitoring.md` has the same list for those who read them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::beside;
use super::processes::Usage;
use crate::master::{FeedCondition, Status};
use crate::scoreboard::{Latency, Tally};
use crate::sys::clock;

/// Everything that one answer is made of.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) status: Status,
    pub(super) tally: Tally,
    pub(super) processes: Vec<Usage>,
    pub(super) beside: Vec<beside::Usage>,
    /// What `/readyz` says.
    pub(super) is_ready: bool,
    /// Since 1970.
    pub(super) now: Duration,
    /// When the request came, monotonic.
    pub(super) began: Duration,
}

/// What the master calls its states.
const STATES: [&str; 7] = [
    "booting",
    "serving",
    "upgrading",
    "reloading",
    "degraded",
    "paused",
    "stopping",
];

/// What it calls those of workers.
const WORKER_STATES: [&str; 7] = [
    "booting",
    "ready",
    "accepting",
    "draining",
    "failed",
    "hung",
    "killed",
];

/// What it calls those of templates.
const TEMPLATE_STATES: [&str; 4] = ["importing", "ready", "restarting", "none"];

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Labels with their values.
type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.server(&mut page)?;
        self.requests(&mut page)?;
        self.tokens(&mut page)?;
        self.workers(&mut page)?;
        self.beside(&mut page)?;
        self.spans(&mut page)?;
        self.feeds(&mut page)?;
        let took = clock::monotonic().saturating_sub(self.began);
        page.seconds(
            "scrape_duration",
            "How long it took to gather this answer",
            took.as_secs_f64(),
        )
    }
}

impl Snapshot {
    fn server(&self, page: &mut Page<'_>) -> fmt::Result {
        let status = &self.status;
        let mut build = page.metric("build", "What runs", None, MetricType::Info)?;
        build.encode_info(&[("version", status.version.as_str())])?;
        // Of a clock that is read twice the last digits differ each time.
        let started = (self.now.as_secs_f64() - status.uptime).round();
        page.seconds(
            "process_start_time",
            "When the master started, in seconds since 1970",
            started,
        )?;
        let states = STATES.map(|state| {
            let is = f64::from(u8::from(state == status.state));
            (vec![("state", state)], is)
        });
        page.gauges(
            "master_state",
            "1 for the state that the master is in",
            None,
            states,
        )?;
        page.gauge(
            "ready",
            "1 while /readyz answers 200",
            u64::from(self.is_ready),
        )?;
        page.gauge(
            "generation",
            "The number of the configuration that serves; 0 before one does",
            status.generation.unwrap_or(0),
        )?;
        page.seconds(
            "generation_age",
            "Since that configuration serves",
            status.generation_age.unwrap_or(0.0),
        )?;
        page.counters(
            "reloads",
            "Reloads that are over",
            "outcome",
            &status.reloads,
        )?;
        page.counters(
            "upgrades",
            "Upgrades of the program that are over",
            "outcome",
            &status.upgrades,
        )
    }

    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let tally = &self.tally;
        let counters = &tally.counters;
        let classes = STATUS_CLASSES.iter().zip(counters.by_status_class);
        let classes = classes.map(|(class, count)| (vec![("status", *class)], count));
        page.counts("requests", "Requests answered", None, classes)?;
        page.gauge(
            "requests_in_flight",
            "Requests that have begun and not ended",
            tally.in_flight,
        )?;
        self.latency(page)?;
        page.count(
            "connections_accepted",
            "Connections accepted",
            None,
            &counters.connections,
        )?;
        page.gauge(
            "connections_open",
            "Connections that are open",
            tally.connections,
        )?;
        let limited = tally.limited.iter();
        let limited = limited.map(|(limit, count)| (vec![("limit", limit.word())], *count));
        page.counts(
            "connections_limited",
            "How often a limit closed or cut a connection, or new ones began to wait because of it",
            None,
            limited,
        )?;
        page.count(
            "request_body",
            "Bytes of the bodies of requests that were read, after TLS and without the framing of chunks or HTTP/2",
            Some(&Unit::Bytes),
            &tally.bytes_received,
        )?;
        page.count(
            "response_body",
            "Bytes of the bodies of answers, before TLS",
            Some(&Unit::Bytes),
            &tally.bytes_sent,
        )?;
        page.count(
            "requests_overloaded",
            "Requests answered with 503 because the application had no place for them and the queue was full",
            None,
            &counters.overloaded,
        )?;
        page.gauge(
            "requests_queued",
            "Requests that wait until the application has a place for them",
            tally.queued,
        )?;
        let now = clock::monotonic();
        let oldest = tally.queued_since.map(|since| now.saturating_sub(since));
        page.seconds(
            "queue_oldest_wait",
            "How long the oldest request waits for a thread of a Python application; 0 while none does",
            oldest.unwrap_or_default().as_secs_f64(),
        )?;
        page.gauge(
            "python_threads",
            "Threads that call a Python application, of all workers",
            tally.threads.threads,
        )?;
        page.gauge(
            "python_threads_busy",
            "Of these: how many execute a request",
            tally.threads.busy,
        )?;
        page.count(
            "queue_waits",
            "Requests that waited for a place in the application and got one",
            None,
            &tally.queue_waits,
        )?;
        page.count(
            "queue_wait",
            "How long all of these waited",
            Some(&Unit::Seconds),
            &tally.queue_wait.as_secs_f64(),
        )?;
        page.count(
            "requests_blocked",
            "Requests not served because workers had died of the same request",
            None,
            &counters.blocked,
        )
    }

    fn latency(&self, page: &mut Page<'_>) -> fmt::Result {
        let Latency { buckets, sum } = &self.tally.latency;
        let bounded = buckets.iter().enumerate().map(|(bucket, count)| {
            let bound = Latency::bound(bucket).map_or(f64::INFINITY, |bound| bound.as_secs_f64());
            (bound, *count)
        });
        let bounded: Vec<(f64, u64)> = bounded.collect();
        let mut histogram = page.metric(
            "request_duration",
            "From the end of the head of a request to the end of its answer",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        let count = buckets.iter().sum();
        histogram.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), count, &bounded, None)
    }

    fn tokens(&self, page: &mut Page<'_>) -> fmt::Result {
        let tally = &self.tally;
        let reasons = tally.refused_for.iter();
        let reasons = reasons.map(|(class, count)| (vec![("reason", class.word())], *count));
        page.counts(
            "requests_refused",
            "Requests refused for their form or their token",
            None,
            reasons,
        )?;
        page.count(
            "requests_audited",
            "Requests that passed only because their rule is an audit",
            None,
            &tally.counters.audited,
        )?;
        let lookups = [("hit", tally.token_hits), ("miss", tally.token_misses)];
        let lookups = lookups.map(|(result, count)| (vec![("result", result)], count));
        page.counts(
            "token_cache_lookups",
            "Tokens that were recognised as verified before, or were not",
            None,
            lookups,
        )
    }

    fn workers(&self, page: &mut Page<'_>) -> fmt::Result {
        let status = &self.status;
        let states = WORKER_STATES.map(|state| {
            let workers = status.workers.iter();
            let count = workers.filter(|worker| worker.state == state).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            (vec![("state", state)], f64::from(count))
        });
        page.gauges("workers", "Worker processes, by state", None, states)?;
        page.gauge(
            "workers_wanted",
            "Workers that shall take connections",
            status.workers_wanted.into(),
        )?;
        if !status.templates.is_empty() {
            let states = TEMPLATE_STATES.map(|state| {
                let templates = status.templates.iter();
                let count = templates.filter(|template| template.state == state).count();
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                (vec![("state", state)], f64::from(count))
            });
            page.gauges(
                "templates",
                "Templates of Python workers, by state",
                None,
                states,
            )?;
        }
        page.counters(
            "worker_ends",
            "Workers that ended, by reason",
            "reason",
            &status.worker_ends,
        )?;
        let names: Vec<(String, String)> = self
            .processes
            .iter()
            .map(|usage| (usage.worker.to_string(), usage.slot.to_string()))
            .collect();
        let labelled = || {
            let labels = names
                .iter()
                .map(|(worker, slot)| vec![("worker", worker.as_str()), ("slot", slot.as_str())]);
            labels.zip(&self.processes)
        };
        page.gauges(
            "worker_resident_memory",
            "What a worker has in memory; what workers share counts for each of them",
            Some(&Unit::Bytes),
            labelled().filter_map(|(labels, usage)| Some((labels, usage.rss?))),
        )?;
        page.gauges(
            "worker_proportional_memory",
            "What a worker has in memory, shared pages by its share, as measured last for `workers.max_memory`",
            Some(&Unit::Bytes),
            labelled().filter_map(|(labels, usage)| Some((labels, usage.pss?))),
        )?;
        page.counts(
            "worker_cpu",
            "The time that processors have spent on a worker",
            Some(&Unit::Seconds),
            labelled().filter_map(|(labels, usage)| Some((labels, usage.cpu?.as_secs_f64()))),
        )
    }

    fn beside(&self, page: &mut Page<'_>) -> fmt::Result {
        let labelled = || {
            self.beside.iter().map(|usage| {
                let mut labels = vec![("process", usage.process)];
                let generation = usage.generation.as_deref();
                labels.extend(generation.map(|generation| ("generation", generation)));
                (labels, usage)
            })
        };
        page.gauges(
            "process_resident_memory",
            "What a process beside the workers has in memory; what processes share counts for each of them",
            Some(&Unit::Bytes),
            labelled().filter_map(|(labels, usage)| Some((labels, usage.rss?))),
        )?;
        page.gauges(
            "process_proportional_memory",
            "What a process beside the workers has in memory, shared pages by its share",
            Some(&Unit::Bytes),
            labelled().filter_map(|(labels, usage)| Some((labels, usage.pss?))),
        )?;
        page.counts(
            "process_cpu",
            "The time that processors have spent on a process beside the workers",
            Some(&Unit::Seconds),
            labelled().filter_map(|(labels, usage)| Some((labels, usage.cpu?.as_secs_f64()))),
        )
    }

    fn spans(&self, page: &mut Page<'_>) -> fmt::Result {
        let tally = &self.tally;
        let results = [
            ("exported", tally.spans_exported),
            ("lost", tally.spans_lost),
        ];
        let results = results.map(|(result, count)| (vec![("result", result)], count));
        page.counts(
            "spans",
            "Spans of requests that a collector has taken, and that were lost on their way to it",
            None,
            results,
        )
    }

    fn feeds(&self, page: &mut Page<'_>) -> fmt::Result {
        let feeds = || {
            self.status.feeds.iter().map(|feed| {
                let labels = vec![
                    ("purpose", feed.purpose.as_str()),
                    ("issuer", feed.issuer.as_deref().unwrap_or_default()),
                    ("source", feed.source.as_str()),
                ];
                (labels, feed)
            })
        };
        page.gauges(
            "feed_age",
            "Since a key set or a deny list was fetched, or confirmed by its server",
            Some(&Unit::Seconds),
            feeds().filter_map(|(labels, feed)| Some((labels, feed.age?))),
        )?;
        page.gauges(
            "certificate_expiry_timestamp",
            "When a certificate that is served ends, in seconds since 1970",
            Some(&Unit::Seconds),
            self.status.feeds.iter().filter_map(|feed| {
                let labels = vec![("certificate", feed.source.as_str())];
                Some((labels, feed.not_after?))
            }),
        )?;
        page.gauges(
            "feed_good",
            "1 while a key file, a key set or a deny list counts; 0 while it is unknown or too old",
            None,
            feeds().map(|(labels, feed)| {
                let is_good = feed.state == FeedCondition::Good;
                (labels, f64::from(u8::from(is_good)))
            }),
        )?;
        page.gauges(
            "feed_failing",
            "1 while what has come of a feed since cannot be used, so that what was before stays",
            None,
            feeds().map(|(labels, feed)| (labels, f64::from(u8::from(feed.failure.is_some())))),
        )
    }
}

/// What is written, one metric after the other.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn metric<'s>(
        &'s mut self,
        name: &'s str,
        help: &str,
        unit: Option<&'s Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.0.encode_descriptor(name, help, unit, kind)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.metric(name, help, None, MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn seconds(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let mut metric = self.metric(name, help, Some(&Unit::Seconds), MetricType::Gauge)?;
        metric.encode_gauge(&value)
    }

    fn gauges<'l, V: prometheus_client::encoding::EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in series {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn count(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: &impl prometheus_client::encoding::EncodeCounterValue,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, unit, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(value, None)
    }

    fn counts<'l, V: prometheus_client::encoding::EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, help, unit, MetricType::Counter)?;
        for (labels, value) in series {
            let mut one = metric.encode_family(&labels)?;
            one.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counts: &BTreeMap<String, u64>,
    ) -> fmt::Result {
        let series = counts
            .iter()
            .map(|(value, count)| (vec![(label, value.as_str())], *count));
        self.counts(name, help, None, series)
    }
}

//! The way of spans out of a worker: a bounded queue, and a thread that empties it. Who records a span never waits; what finds no place is
//! lost, and counted.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use opentelemetry::trace::{SpanKind, TraceId};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, ShouldSample as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::otlp::{Exporter, Teller};
use super::{Recorder, Span};
use crate::scoreboard::SeatWriter;

/// So many spans wait at most, as the SDK of OpenTelemetry has it: about a MiB.
const WAITING_MAX: usize = 2048;

/// So many are sent at once, as soon as they are there.
const BATCH: usize = 512;

/// Fewer are sent when the first of them has waited for so long.
const DELAY: Duration = Duration::from_secs(1);

/// How long the end of a worker waits for those that have not been sent.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The side of the worker.
#[derive(Debug)]
pub(super) struct Outgoing {
    spans: mpsc::Sender<Span>,
    sampler: Sampler,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seat: SeatWriter,
    /// Wakes the thread when there is enough for a batch.
    enough: Notify,
    /// Tells it to send what there is, and end.
    ending: Notify,
    /// It has ended.
    ended: Notify,
    /// Spans that were taken, and of which it is not known yet what became of them.
    open: AtomicU64,
}

/// Starts the thread.
pub(super) fn start(
    sampling_ratio: f64,
    (teller, exporter): (Teller, Exporter),
    seat: SeatWriter,
    worker: u64,
) -> Result<Outgoing, String> {
    let (spans, waiting) = mpsc::channel(WAITING_MAX);
    let shared = Arc::new(Shared {
        seat,
        enough: Notify::new(),
        ending: Notify::new(),
        ended: Notify::new(),
        open: AtomicU64::new(0),
    });
    let thread = Thread {
        waiting,
        shared: Arc::clone(&shared),
        teller,
        exporter,
        worker,
        lost: 0,
    };
    let failed = |error: io::Error| format!("cannot start the thread that exports spans: {error}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    thread::Builder::new()
        .name("otlp".to_owned())
        .spawn(move || {
            runtime.block_on(thread.run());
            // A name may still be looked up.
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    Ok(Outgoing {
        spans,
        sampler: Sampler::TraceIdRatioBased(sampling_ratio),
        shared,
    })
}

impl Recorder for Outgoing {
    fn samples(&self, trace_id: u128) -> bool {
        let trace_id = TraceId::from(trace_id);
        let kind = SpanKind::Server;
        let sampled = self
            .sampler
            .should_sample(None, trace_id, "", &kind, &[], &[]);
        sampled.decision == SamplingDecision::RecordAndSample
    }

    fn record(&self, span: Span) {
        self.shared.open.fetch_add(1, Relaxed);
        if self.spans.try_send(span).is_err() {
            self.shared.lost(1);
            return;
        }
        // One that sleeps is woken by the first; until there are many it need not be by the others.
        if self.spans.max_capacity() - self.spans.capacity() >= BATCH {
            self.shared.enough.notify_one();
        }
    }

    fn finish(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.shared.ending.notify_one();
            if timeout(FLUSH_MAX, self.shared.ended.notified())
                .await
                .is_err()
            {
                let left = self.shared.open.swap(0, Relaxed);
                self.shared.seat.spans_lost(left);
                tracing::warn!(spans = left, "the collector did not take spans in time");
            }
        })
    }
}

impl Shared {
    fn lost(&self, spans: u64) {
        self.open.fetch_sub(spans, Relaxed);
        self.seat.spans_lost(spans);
    }

    fn exported(&self, spans: u64) {
        self.open.fetch_sub(spans, Relaxed);
        self.seat.spans_exported(spans);
    }
}

/// The side of the thread.
struct Thread {
    waiting: mpsc::Receiver<Span>,
    shared: Arc<Shared>,
    teller: Teller,
    exporter: Exporter,
    worker: u64,
    /// How many were lost since the collector took some.
    lost: u64,
}

impl Thread {
    /// Until the worker ends. It sleeps while there is nothing to send.
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            let shared = Arc::clone(&self.shared);
            let count = tokio::select! {
                count = self.waiting.recv_many(&mut batch, 1) => count,
                () = shared.ending.notified() => {
                    self.waiting.close();
                    continue;
                }
            };
            if count == 0 {
                break;
            }
            if !self.waiting.is_closed() {
                tokio::select! {
                    () = tokio::time::sleep(DELAY) => {}
                    () = shared.enough.notified() => {}
                    () = shared.ending.notified() => self.waiting.close(),
                }
            }
            while batch.len() < BATCH
                && let Ok(span) = self.waiting.try_recv()
            {
                batch.push(span);
            }
            self.send(&mut batch).await;
        }
        self.shared.ended.notify_one();
    }

    async fn send(&mut self, batch: &mut Vec<Span>) {
        let spans = batch.len() as u64;
        let told = batch.drain(..).map(|span| self.teller.tell(span));
        let told = told.collect();
        let worker = self.worker;
        let (lost, reason) = match self.exporter.export(told).await {
            Ok(None) => (0, String::new()),
            Ok(Some(rejected)) => (rejected.spans.min(spans), rejected.reason),
            Err(reason) => (spans, reason),
        };
        self.shared.exported(spans - lost);
        self.shared.lost(lost);
        if lost > 0 {
            if self.lost == 0 {
                tracing::warn!(
                    worker,
                    reason,
                    "the collector does not take spans, they are lost"
                );
            }
            self.lost += lost;
        } else if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            tracing::info!(worker, lost, "the collector takes spans again");
        }
    }
}

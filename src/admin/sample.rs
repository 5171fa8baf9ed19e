//! What the page is told each second: one document, made of what the master says, what stands on the scoreboard and what the kernel knows.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::probes::Verdict;
use super::processes::Usage;
use crate::figures::{Figures, Look, Window};
use crate::master::{Status, WorkerStatus};
use crate::scoreboard::{Latency, SeatView, Tally};

/// Everything that one document is made of.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: Status,
    pub(super) readiness: Verdict,
    pub(super) tally: Tally,
    /// The seats that are taken.
    pub(super) seats: Vec<SeatView>,
    pub(super) usages: Vec<Usage>,
    /// Since 1970.
    pub(super) unix: Duration,
    pub(super) monotonic: Duration,
}

/// What it was compared with the last time.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    window: Window,
    /// When processes were looked at, and what processor time each worker had had by then.
    processors: Option<(Duration, BTreeMap<u64, Duration>)>,
}

/// The document. Times are in seconds.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    /// When it was made, since 1970.
    now: f64,
    version: String,
    master: u32,
    uptime: f64,
    state: String,
    generation: Option<u64>,
    generation_age: Option<f64>,
    workers_wanted: u16,
    /// What `/readyz` says.
    readiness: Verdict,
    #[serde(flatten)]
    figures: Figures,
    connections: u64,
    in_flight: u64,
    queued: u64,
    workers: Vec<WorkerSample>,
}

#[derive(Debug, Serialize)]
struct WorkerSample {
    worker: u64,
    slot: u16,
    pid: u32,
    generation: u64,
    state: String,
    uptime: f64,
    connections: u64,
    in_flight: u64,
    queued: u64,
    requests: u64,
    /// In bytes.
    rss: Option<u64>,
    /// How many processors it keeps busy.
    processors: Option<f64>,
    /// The oldest request in flight.
    oldest: Option<RequestSample>,
}

#[derive(Debug, Serialize)]
struct RequestSample {
    method: String,
    /// Its start, without the query.
    path: String,
    age: f64,
}

impl Sampler {
    /// The document for what was seen now.
    pub(super) fn sample(&mut self, seen: Seen) -> Sample {
        let Seen {
            status,
            readiness,
            tally,
            seats,
            usages,
            unix,
            monotonic,
        } = seen;
        let look = Look {
            at: monotonic,
            by_status_class: tally.counters.by_status_class,
            durations: tally.latency.buckets.to_vec(),
        };
        let bounds = (0..look.durations.len()).filter_map(Latency::bound);
        let bounds: Vec<f64> = bounds.map(|bound| bound.as_secs_f64()).collect();
        let figures = self.window.take_in(look, &bounds);
        let busy = self.busy(&usages, monotonic);
        let workers = status.workers.into_iter();
        let workers = workers.map(|worker| {
            let seat = seats.iter().find(|seat| seat.pid == worker.pid);
            let usage = usages.iter().find(|usage| usage.worker == worker.worker);
            let processors = busy.get(&worker.worker).copied();
            worker_sample(worker, seat, usage, processors, monotonic)
        });
        Sample {
            now: unix.as_secs_f64(),
            version: status.version,
            master: status.pid,
            uptime: status.uptime,
            state: status.state,
            generation: status.generation,
            generation_age: status.generation_age,
            workers_wanted: status.workers_wanted,
            readiness,
            figures,
            connections: tally.connections,
            in_flight: tally.in_flight,
            queued: tally.queued,
            workers: workers.collect(),
        }
    }

    /// How many processors each worker has kept busy since the last time.
    fn busy(&mut self, usages: &[Usage], now: Duration) -> BTreeMap<u64, f64> {
        let times = usages
            .iter()
            .filter_map(|usage| Some((usage.worker, usage.cpu?)));
        let times: BTreeMap<u64, Duration> = times.collect();
        let before = self.processors.replace((now, times.clone()));
        let Some((at, before)) = before else {
            return BTreeMap::new();
        };
        let elapsed = now.saturating_sub(at).as_secs_f64();
        let busy = times.into_iter().filter_map(|(worker, time)| {
            let spent = time.saturating_sub(*before.get(&worker)?);
            (elapsed > 0.0).then(|| (worker, spent.as_secs_f64() / elapsed))
        });
        busy.collect()
    }
}

fn worker_sample(
    worker: WorkerStatus,
    seat: Option<&SeatView>,
    usage: Option<&Usage>,
    processors: Option<f64>,
    now: Duration,
) -> WorkerSample {
    let oldest = seat.and_then(|seat| seat.requests.first());
    WorkerSample {
        worker: worker.worker,
        slot: worker.slot,
        pid: worker.pid,
        generation: worker.generation,
        state: worker.state,
        uptime: worker.uptime,
        connections: worker.connections,
        in_flight: worker.in_flight,
        queued: worker.queued,
        requests: worker.requests,
        rss: usage.and_then(|usage| usage.rss),
        processors,
        oldest: oldest.map(|request| RequestSample {
            method: request.method.clone(),
            path: request.path.clone(),
            age: now.saturating_sub(request.started).as_secs_f64(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(worker: u64, milliseconds: u64) -> Usage {
        Usage {
            worker,
            slot: 0,
            rss: Some(1),
            pss: None,
            cpu: Some(Duration::from_millis(milliseconds)),
        }
    }

    #[test]
    fn a_worker_keeps_as_much_of_a_processor_busy_as_its_time_grows() {
        let mut sampler = Sampler::default();
        let second = Duration::from_secs;
        assert!(sampler.busy(&[usage(1, 500)], second(10)).is_empty());
        let busy = sampler.busy(&[usage(1, 1500), usage(2, 100)], second(12));
        assert_eq!(busy, BTreeMap::from([(1, 0.5)]), "2 was not there before");
        let busy = sampler.busy(&[usage(2, 2100)], second(13));
        assert_eq!(busy, BTreeMap::from([(2, 2.0)]), "1 has gone");
    }
}

//! What `destrier top` shows: figures and rows made of what the master has said. Decides; nothing is drawn here.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::figures::{Figures, Look, Window};
use crate::master::{EventStatus, Status, WorkerStatus};

/// Looks that the plot goes back.
const HISTORY_MAX: usize = 240;

/// By what workers are sorted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Slot,
    Rate,
    Busy,
    Memory,
}

impl Sort {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Slot => Self::Rate,
            Self::Rate => Self::Busy,
            Self::Busy => Self::Memory,
            Self::Memory => Self::Slot,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Rate => "requests/s",
            Self::Busy => "in flight",
            Self::Memory => "memory",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What the master said last.
    pub(super) status: Option<Status>,
    /// When that was, in seconds since 1970.
    pub(super) unix: f64,
    pub(super) figures: Figures,
    /// Requests a second, whole ones, oldest first.
    pub(super) history: VecDeque<u64>,
    pub(super) sort: Sort,
    /// Why nothing newer is known.
    pub(super) problem: Option<String>,
    /// What came of an order.
    pub(super) message: Option<String>,
    /// Whether a reload waits to be confirmed.
    pub(super) asks_for_reload: bool,
    window: Window,
    /// When each worker was looked at, and how many requests it had answered by then.
    answered: BTreeMap<u64, (Duration, u64)>,
    rates: BTreeMap<u64, f64>,
}

/// A worker with what came between two looks.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) worker: &'a WorkerStatus,
    /// Requests a second; none until there were two looks.
    pub(super) rate: Option<f64>,
}

impl View {
    /// Takes in what the master has said at `now`, monotonic.
    pub(super) fn take_in(&mut self, status: Status, now: Duration) {
        if let Some(latency) = &status.latency {
            let look = Look {
                at: now,
                by_status_class: status.totals.by_status_class,
                durations: latency.counts.clone(),
            };
            self.figures = self.window.take_in(look, &latency.bounds);
        }
        if let Some(rate) = self.figures.requests_per_second {
            self.history.push_back(rounded(rate));
            let beyond = self.history.len().saturating_sub(HISTORY_MAX);
            self.history.drain(..beyond);
        }
        let before = std::mem::take(&mut self.answered);
        self.rates.clear();
        for worker in &status.workers {
            if let Some((at, answered)) = before.get(&worker.worker) {
                let elapsed = now.saturating_sub(*at).as_secs_f64();
                let more = worker.requests.saturating_sub(*answered);
                let more = u32::try_from(more).unwrap_or(u32::MAX);
                self.rates
                    .insert(worker.worker, f64::from(more) / elapsed.max(0.001));
            }
            self.answered.insert(worker.worker, (now, worker.requests));
        }
        self.problem = None;
        self.status = Some(status);
    }

    /// The workers in their order.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        let workers = self.status.iter().flat_map(|status| &status.workers);
        let mut rows: Vec<Row<'_>> = workers
            .map(|worker| Row {
                worker,
                rate: self.rates.get(&worker.worker).copied(),
            })
            .collect();
        rows.sort_by_key(|row| (row.worker.slot, row.worker.worker));
        let most_first = |key: fn(&Row<'_>) -> f64, rows: &mut Vec<Row<'_>>| {
            rows.sort_by(|one, other| key(other).total_cmp(&key(one)));
        };
        match self.sort {
            Sort::Slot => {}
            Sort::Rate => most_first(|row| row.rate.unwrap_or(0.0), &mut rows),
            Sort::Busy => rows.sort_by_key(|row| std::cmp::Reverse(row.worker.in_flight)),
            Sort::Memory => rows.sort_by_key(|row| {
                let memory = row.worker.memory.as_ref();
                std::cmp::Reverse(memory.map_or(0, |memory| memory.rss))
            }),
        }
        rows
    }

    /// What has happened, newest first.
    pub(super) fn events(&self) -> &[EventStatus] {
        self.status.as_ref().map_or(&[], |status| &status.events)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is no more than its counters, and never below 0"
)]
fn rounded(rate: f64) -> u64 {
    rate.round().max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(workers: &[(u64, u16, u64, u64, u64)]) -> Status {
        let total: u64 = workers.iter().map(|worker| worker.2).sum();
        let workers = workers
            .iter()
            .map(|(worker, slot, requests, in_flight, rss)| {
                json!({
                    "worker": worker, "pid": 2, "slot": slot, "generation": 1, "state": "accepting", "uptime": 1.0, "connections": 0,
                    "in_flight": in_flight, "requests": requests, "memory": {"rss": rss, "pss": null}, "requests_in_flight": []
                })
            });
        let status = json!({
            "version": "0", "pid": 1, "uptime": 1.0, "state": "serving", "stop": null, "generation": 1, "config": "",
            "control_socket": "", "workers_wanted": 2, "workers_because": "", "listeners": [], "last_reload": null,
            "totals": {"connections": 0, "requests": total, "by_status_class": [0, total, 0, 0, 0], "refused": 0},
            "latency": {"bounds": [0.001], "counts": [total, 0], "sum": 0.0},
            "workers": workers.collect::<Vec<_>>()
        });
        serde_json::from_value(status).unwrap()
    }

    fn order(view: &View) -> Vec<u64> {
        view.rows().iter().map(|row| row.worker.worker).collect()
    }

    #[test]
    fn workers_are_sorted_by_slot_or_by_who_has_the_most() {
        let mut view = View::default();
        view.take_in(
            status(&[(1, 1, 0, 0, 300), (2, 0, 0, 5, 100)]),
            Duration::ZERO,
        );
        view.take_in(
            status(&[(1, 1, 30, 0, 300), (2, 0, 10, 5, 100), (3, 2, 0, 1, 200)]),
            Duration::from_secs(2),
        );
        assert_eq!(view.figures.requests_per_second, Some(20.0));
        assert_eq!(view.history, [20]);
        let rates: Vec<Option<f64>> = view.rows().iter().map(|row| row.rate).collect();
        assert_eq!(rates, [Some(5.0), Some(15.0), None]);
        for (word, expected) in [
            ("slot", [2, 1, 3]),
            ("requests/s", [1, 2, 3]),
            ("in flight", [2, 3, 1]),
            ("memory", [1, 3, 2]),
        ] {
            assert_eq!((view.sort.word(), order(&view)), (word, expected.to_vec()));
            view.sort = view.sort.next();
        }
        assert_eq!(view.sort, Sort::Slot);
    }
}

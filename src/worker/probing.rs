//! The probe of a worker: passed once before it may serve, and again and again while it does.

use std::sync::Arc;

use super::connection::Serving;
use super::orders::Orders;
use super::{Booted, Task};
use crate::app::AppService;
use crate::channel::ToMaster;
use crate::config;
use crate::http::{Probe, Probed};

/// Asks the application whether it can answer; in a worker that has booted, before it says so.
pub(super) async fn before_serving<S: AppService>(
    task: &Task,
    serving: &Serving<S>,
    orders: &mut Orders,
) -> Booted<()> {
    let Some(config) = probe_of(task) else {
        return Booted::Ready(());
    };
    let probe = Probe::new(config);
    tokio::select! {
        probed = serving.pipeline.probe(&probe) => match probed {
            Probed::Good | Probed::Busy => Booted::Ready(()),
            Probed::Bad(reason) => Booted::Failed(reason),
        },
        order = orders.next_to_leave() => {
            tracing::debug!(worker = task.worker, ?order, "no longer wanted while it was probed");
            Booted::NotWanted
        }
    }
}

/// Goes on asking until the worker drains, and tells the master when it fails too often in a row, and when it does no more.
pub(super) fn while_serving<S: AppService>(task: &Task, serving: &Arc<Serving<S>>) {
    if let Some(config) = probe_of(task).cloned() {
        let (worker, serving) = (task.worker, Arc::clone(serving));
        drop(tokio::spawn(async move {
            let draining = serving.pipeline.draining().clone();
            tokio::select! {
                () = draining.begun() => {}
                () = ask_again_and_again(worker, &config, &serving) => {}
            }
        }));
    }
}

/// None while the application is being written: what stands in for it would not pass, and is to be seen.
fn probe_of(task: &Task) -> Option<&config::Probe> {
    let config = &task.config;
    let python = config.app.python.as_ref();
    let is_written = python.is_some_and(|python| python.reload_on_change);
    config.health.probe.as_ref().filter(|_| !is_written)
}

async fn ask_again_and_again<S: AppService>(
    worker: u64,
    config: &config::Probe,
    serving: &Serving<S>,
) {
    let Some(interval) = config.interval else {
        return;
    };
    let probe = Probe::new(config);
    let mut failures = 0_u32;
    // Workers that began together do not ask together.
    let mut wait = interval.mul_f64(fastrand::f64());
    loop {
        tokio::time::sleep(wait).await;
        wait = interval;
        match serving.pipeline.probe(&probe).await {
            Probed::Busy => tracing::debug!(worker, "not probed: no place is free"),
            Probed::Good => {
                if failures > 0 {
                    tracing::info!(worker, failures, "the probe passes again");
                }
                if failures >= config.failures {
                    // Nobody listens any more when the worker is about to exit.
                    let _leaving = serving.words.send(ToMaster::ProbePassed);
                }
                failures = 0;
            }
            Probed::Bad(reason) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(worker, reason, "a probe failed");
                } else {
                    tracing::debug!(worker, failures, reason, "a probe failed");
                }
                if failures == config.failures {
                    let _leaving = serving.words.send(ToMaster::ProbeFailed { reason });
                }
            }
        }
    }
}

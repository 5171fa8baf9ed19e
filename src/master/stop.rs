//! The order to stop: who is told of it, and how far it is.

use std::time::Duration;

use super::{Master, StopPhase, StopStatus};
use crate::supervisor::{Event, StopManner, StopView};

/// Beyond the time in which the workers end: what the promise allows the master.
const MARGIN: Duration = Duration::from_secs(1);

impl Master {
    pub(super) fn stop(&mut self, manner: StopManner) {
        // Before anything else, so that no worker calls itself ready when the order is known.
        self.scoreboard.announce_stop();
        // Somebody must serve what waits for a worker that has died, and soon there will be nobody who is told to.
        self.reap();
        let is_first = !self.supervisor.is_stopping();
        self.feed(Event::StopRequested(manner));
        let Some(stop) = self.supervisor.stop() else {
            return;
        };
        let (drains_in, ends_in) = self.left(stop);
        if is_first {
            let whole = |time: Duration| humantime::format_duration(nearest_millisecond(time));
            tracing::info!(
                drains_in = %whole(drains_in.unwrap_or_default()),
                ends_in = %whole(ends_in),
                "stopping"
            );
        }
        self.systemd.notifier.send_stopping(ends_in);
    }

    pub(super) fn stop_status(&self) -> Option<StopStatus> {
        let (drains_in, ends_in) = self.left(self.supervisor.stop()?);
        Some(StopStatus {
            phase: match drains_in {
                Some(_) => StopPhase::Delay,
                None => StopPhase::Draining,
            },
            drains_in: drains_in.map(|time| time.as_secs_f64()),
            ends_in: ends_in.as_secs_f64(),
        })
    }

    /// How soon the workers will be told to go, if they were not yet, and by when everything is over.
    fn left(&self, stop: StopView) -> (Option<Duration>, Duration) {
        let now = self.now();
        let drains_in = stop.drain_at.map(|at| at.saturating_sub(now));
        (drains_in, (stop.until + MARGIN).saturating_sub(now))
    }
}

/// The microseconds since the order would be noise.
fn nearest_millisecond(time: Duration) -> Duration {
    let milliseconds = (time + Duration::from_micros(500)).as_millis();
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

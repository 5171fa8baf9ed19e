//! What has happened (`news`), for whoever looks later: the last events with their reasons, in a bounded ring that an upgrade hands on.

use std::collections::VecDeque;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::logging;
use crate::supervisor::Generation;

/// Events that are kept: the older ones are in the log.
const EVENTS_MAX: usize = 100;

/// Something that has happened. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventStatus {
    /// Counted from 1 since the start, upgrades included; never used twice.
    pub number: u64,
    /// When, in seconds since 1970, UTC.
    pub at: f64,
    /// What: `started`, `reloaded`, `reload_failed`, `upgraded`, `upgrade_failed`, `scaled`, `paused`, `stopping`, `worker_died`,
    /// `worker_replaced`, `degraded`, `recovered` or `ordered`.
    pub kind: String,
    /// Why, in a word: of a worker, as in `worker_ends`; of a reload that failed, `refused` or `rolled_back`; of an order, which: `reload`,
    /// `scale` or `pause`.
    pub reason: Option<String>,
    /// The worker that it happened to.
    pub worker: Option<u64>,
    /// The slot that it fills.
    pub slot: Option<u16>,
    /// The generation that it happened to, or that has come of it.
    pub generation: Option<u64>,
    /// What and why, for people. It may hold the start of a path that a client has asked for; never a query.
    pub message: String,
}

/// What an event is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Started,
    Reloaded,
    ReloadFailed,
    Upgraded,
    UpgradeFailed,
    Scaled,
    Paused,
    Stopping,
    WorkerDied,
    WorkerReplaced,
    Degraded,
    Recovered,
    Ordered,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Reloaded => "reloaded",
            Self::ReloadFailed => "reload_failed",
            Self::Upgraded => "upgraded",
            Self::UpgradeFailed => "upgrade_failed",
            Self::Scaled => "scaled",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::WorkerDied => "worker_died",
            Self::WorkerReplaced => "worker_replaced",
            Self::Degraded => "degraded",
            Self::Recovered => "recovered",
            Self::Ordered => "ordered",
        }
    }
}

/// An event that is about to be noted.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) reason: Option<&'static str>,
    /// With its slot.
    pub(super) worker: Option<(u64, u16)>,
    pub(super) generation: Option<Generation>,
    pub(super) message: String,
}

impl Entry {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: None,
            worker: None,
            generation: None,
            message: message.into(),
        }
    }

    pub(super) fn because(self, reason: &'static str) -> Self {
        let reason = Some(reason);
        Self { reason, ..self }
    }

    pub(super) fn of(self, generation: Generation) -> Self {
        let generation = Some(generation);
        Self { generation, ..self }
    }

    pub(super) fn to(self, worker: u64, slot: u16) -> Self {
        let worker = Some((worker, slot));
        Self { worker, ..self }
    }
}

/// The last events, oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Timeline {
    events: VecDeque<EventStatus>,
    last: u64,
}

impl Timeline {
    /// Notes what happened at `now`, since 1970.
    pub(super) fn note(&mut self, now: Duration, entry: Entry) -> &EventStatus {
        self.last += 1;
        let Entry {
            kind,
            reason,
            worker,
            generation,
            mut message,
        } = entry;
        message.truncate(logging::cut(&message).len());
        let event = EventStatus {
            number: self.last,
            at: now.as_secs_f64(),
            kind: kind.word().to_owned(),
            reason: reason.map(str::to_owned),
            worker: worker.map(|(worker, _)| worker),
            slot: worker.map(|(_, slot)| slot),
            generation: generation.map(|generation| generation.0),
            message,
        };
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back_mut(event)
    }

    /// The last ones, oldest first.
    pub(super) fn events(&self) -> impl DoubleEndedIterator<Item = &EventStatus> {
        self.events.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_kept_and_none_has_the_number_of_another() {
        let mut timeline = Timeline::default();
        for number in 1..=EVENTS_MAX + 5 {
            let at = Duration::from_secs(number as u64);
            let noted = timeline.note(at, Entry::new(Kind::Scaled, format!("event {number}")));
            assert_eq!(noted.number, number as u64);
        }
        let numbers: Vec<u64> = timeline.events().map(|event| event.number).collect();
        assert_eq!(numbers, (6..=EVENTS_MAX as u64 + 5).collect::<Vec<_>>());
        let written = serde_json::to_string(&timeline).expect("can be written");
        let mut read: Timeline = serde_json::from_str(&written).expect("can be read");
        let next = read.note(Duration::ZERO, Entry::new(Kind::Recovered, ""));
        assert_eq!(next.number, EVENTS_MAX as u64 + 6);
    }

    #[test]
    fn a_message_is_as_long_as_a_line_of_the_log_may_be() {
        let mut timeline = Timeline::default();
        let entry = Entry::new(Kind::ReloadFailed, "é".repeat(5000)).because("refused");
        let event = timeline.note(Duration::ZERO, entry);
        assert_eq!(event.message.len(), 1024);
        assert_eq!(event.reason.as_deref(), Some("refused"));
    }
}

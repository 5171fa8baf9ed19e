//! What has happened, for whoever looks later: the last events with their reasons, in a bounded ring that an upgrade hands on. Whoever
//! watches through the agent is told at once.

use std::collections::VecDeque;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Master;
use super::death_report::{DeathReport, kill_word};
use super::ledger::WorkerEnd;
use crate::logging;
use crate::supervisor::{Action, Event, Generation, WorkerId};
use crate::sys::clock;

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
    /// `worker_replaced`, `degraded` or `recovered`.
    pub kind: String,
    /// Why, in a word: of a worker, as in `worker_ends`; of a reload that failed, `refused` or `rolled_back`.
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
        }
    }
}

/// An event that is about to be noted.
#[derive(Debug, Clone)]
pub(super) struct News {
    kind: Kind,
    reason: Option<&'static str>,
    worker: Option<(u64, u16)>,
    generation: Option<Generation>,
    message: String,
}

impl News {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: None,
            worker: None,
            generation: None,
            message: message.into(),
        }
    }

    fn because(self, reason: &'static str) -> Self {
        let reason = Some(reason);
        Self { reason, ..self }
    }

    fn of(self, generation: Generation) -> Self {
        let generation = Some(generation);
        Self { generation, ..self }
    }

    /// A worker ended, and not as it was told to; `words` say how.
    pub(super) fn death(report: &DeathReport, end: WorkerEnd, words: &str) -> Self {
        let killed = report.killed.map(kill_word);
        let killed = killed.map(|reason| format!(", by the master for {reason}"));
        let culprit = report.culprit();
        let executing =
            culprit.map(|request| format!(", executing {} {}", request.method, request.path));
        let others = report
            .seat
            .in_flight
            .saturating_sub(u64::from(culprit.is_some()));
        let in_flight = (others > 0).then(|| format!(", {others} in flight"));
        let parts = [killed, executing, in_flight].into_iter().flatten();
        let message = parts.fold(words.to_owned(), |message, part| message + &part);
        Self {
            worker: Some((report.worker, report.slot)),
            ..Self::new(Kind::WorkerDied, message)
                .because(end.word())
                .of(Generation(report.generation))
        }
    }

    /// A worker shall be replaced, for this reason.
    pub(super) fn replacement(
        worker: u64,
        slot: u16,
        generation: Generation,
        end: WorkerEnd,
        reason: &str,
    ) -> Self {
        Self {
            worker: Some((worker, slot)),
            ..Self::new(Kind::WorkerReplaced, reason)
                .because(end.word())
                .of(generation)
        }
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
    fn note(&mut self, now: Duration, news: News) -> &EventStatus {
        self.last += 1;
        let News {
            kind,
            reason,
            worker,
            generation,
            mut message,
        } = news;
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

impl Master {
    /// Notes what has happened, and tells the agent.
    pub(super) fn happened(&mut self, news: News) {
        let event = self.ledger.timeline.note(clock::unix(), news);
        // A type of ours with string keys: serialising it into memory cannot fail.
        let document = serde_json::to_string(event).unwrap_or_default();
        self.tell_agent_event(document);
    }

    /// A worker shall be replaced: tells the log, and notes it.
    pub(super) fn note_replacement(&mut self, id: WorkerId, reason: &str, end: WorkerEnd) {
        if let Some(hand) = self.crew.get(id) {
            let pid = hand.pid.number();
            tracing::info!(worker = id.0, pid, reason, "worker shall be replaced");
        }
        self.note_reason(id, reason, end);
    }

    /// A worker shall be replaced, which the log was told: notes why, where that is new.
    pub(super) fn note_reason(&mut self, id: WorkerId, reason: &str, end: WorkerEnd) {
        if let Some(hand) = self.crew.get_mut(id)
            && end.outweighs(hand.replaced_for)
        {
            hand.replaced_for = Some(end);
            let (slot, generation) = (hand.slot.0, hand.generation);
            self.happened(News::replacement(id.0, slot, generation, end, reason));
        }
    }

    /// Notes what the supervisor is about to hear, where that is something.
    pub(super) fn note_event(&mut self, event: &Event) {
        let is_stopping = self.supervisor.is_stopping();
        let news = match event {
            Event::Refused(reason) => {
                News::new(Kind::ReloadFailed, reason.as_str()).because("refused")
            }
            Event::Upgraded => {
                let version = env!("CARGO_PKG_VERSION");
                News::new(Kind::Upgraded, format!("the master is destrier {version}"))
            }
            Event::UpgradeFailed(reason) => News::new(Kind::UpgradeFailed, reason.as_str()),
            Event::ScaleRequested(scale, caller) => {
                let before = self.supervisor.wanted();
                let after = scale.apply(before);
                if is_stopping || before == after {
                    return;
                }
                let by = caller.map_or("a signal", |_| "a command");
                let message = format!("{after} workers instead of {before}, asked for by {by}");
                News::new(Kind::Scaled, message)
            }
            Event::PauseRequested
                if !is_stopping
                    && self.supervisor.serving().is_some()
                    && self.supervisor.wanted() > 0 =>
            {
                News::new(Kind::Paused, "no worker serves, until the next reload")
            }
            Event::StopRequested(_) if !is_stopping => {
                News::new(Kind::Stopping, "it was told to stop")
            }
            Event::PauseRequested
            | Event::StopRequested(_)
            | Event::DeadlinePassed
            | Event::BootBegins(_)
            | Event::ProbeFailed(..)
            | Event::ProbePassed(_)
            | Event::Ready(_)
            | Event::BootFailed(..)
            | Event::Exited(..)
            | Event::Hung(_)
            | Event::ReplacementWanted(_)
            | Event::ReloadRequested(_)
            | Event::Prepared(_)
            | Event::UpgradeRequested { .. } => return,
        };
        self.happened(news);
    }

    /// Notes what the supervisor has decided, where that is something.
    pub(super) fn note_action(&mut self, action: &Action) {
        let news = match action {
            Action::Commit(generation) => {
                // The first generation came of no reload.
                let kind = if *generation > Generation(1) {
                    Kind::Reloaded
                } else {
                    Kind::Started
                };
                let workers = self.supervisor.wanted();
                let message = format!("generation {generation} serves with {workers} workers");
                News::new(kind, message).of(*generation)
            }
            Action::RollBack(generation, reason) => News::new(Kind::ReloadFailed, reason.as_str())
                .because("rolled_back")
                .of(*generation),
            Action::Degraded { failures, reason } => {
                let message = format!("{failures} workers died in a row, the last one: {reason}");
                News::new(Kind::Degraded, message)
            }
            Action::Recovered => News::new(Kind::Recovered, "workers stopped dying"),
            Action::Prepare
            | Action::Preflight(_)
            | Action::CancelPreflight
            | Action::Spawn { .. }
            | Action::Accept(_)
            | Action::Drain { .. }
            | Action::Outlived(_)
            | Action::Quit(_)
            | Action::Abort(_)
            | Action::Kill(..)
            | Action::Forget(_)
            | Action::Answer(..)
            | Action::AnswerUpgrade(..)
            | Action::Exit(_) => return,
        };
        self.happened(news);
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
            let noted = timeline.note(at, News::new(Kind::Scaled, format!("event {number}")));
            assert_eq!(noted.number, number as u64);
        }
        let numbers: Vec<u64> = timeline.events().map(|event| event.number).collect();
        assert_eq!(numbers, (6..=EVENTS_MAX as u64 + 5).collect::<Vec<_>>());
        let written = serde_json::to_string(&timeline).expect("can be written");
        let mut read: Timeline = serde_json::from_str(&written).expect("can be read");
        let next = read.note(Duration::ZERO, News::new(Kind::Recovered, ""));
        assert_eq!(next.number, EVENTS_MAX as u64 + 6);
    }

    #[test]
    fn a_message_is_as_long_as_a_line_of_the_log_may_be() {
        let mut timeline = Timeline::default();
        let news = News::new(Kind::ReloadFailed, "é".repeat(5000)).because("refused");
        let event = timeline.note(Duration::ZERO, news);
        assert_eq!(event.message.len(), 1024);
        assert_eq!(event.reason.as_deref(), Some("refused"));
    }
}

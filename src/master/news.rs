//! What has happened, noted in this one place: the timeline (`destrier status`, the dashboard) and `hooks.on_event` (`happenings`) are both fed
//! from here. An event may be for one of them only, and where it is for both each has its own words: those of hooks are a promise to programs.

use super::Master;
use super::death_report::{DeathReport, kill_word};
use super::ledger::{ReloadEnd, WorkerEnd};
use super::timeline::{Entry, Kind};
use crate::channel::{Happening, Order, Trouble};
use crate::supervisor::{Action, Event, Generation, State, WorkerId};
use crate::sys::clock;

/// Something that has happened.
#[derive(Debug)]
struct News {
    /// As the timeline tells it; absent: it does not.
    entry: Option<Entry>,
    /// As hooks are told; absent: they are not.
    happening: Option<Happening>,
}

impl From<Entry> for News {
    fn from(entry: Entry) -> Self {
        Self {
            entry: Some(entry),
            happening: None,
        }
    }
}

impl News {
    fn with(self, happening: Option<Happening>) -> Self {
        Self { happening, ..self }
    }

    /// A worker ended, and not as it was told to; `words` say how.
    fn death(report: &DeathReport, end: WorkerEnd, words: &str) -> Self {
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
        let entry = Entry::new(Kind::WorkerDied, message)
            .because(end.word())
            .to(report.worker, report.slot)
            .of(Generation(report.generation));
        Self::from(entry).with(Some(Happening::WorkerDied {
            worker: report.worker,
            pid: report.pid,
            slot: report.slot,
            generation: report.generation,
            reason: end.word().to_owned(),
            ending: words.to_owned(),
            uptime: report.uptime().as_secs(),
            in_flight: report.seat.in_flight,
        }))
    }
}

impl Master {
    /// Whoever watches through the agent is told at once; hooks, as soon as the agent can be told.
    fn happened(&mut self, news: News) {
        let now = clock::unix();
        if let Some(entry) = news.entry {
            let event = self.ledger.timeline.note(now, entry);
            // A type of ours with string keys: serialising it into memory cannot fail.
            let document = serde_json::to_string(event).unwrap_or_default();
            self.tell_agent_event(document);
        }
        if let Some(happening) = news.happening
            && self.hooks().is_some()
        {
            self.happenings.add(now.as_secs(), happening);
        }
    }

    /// A worker ended, and not as it was told to; `words` say how.
    pub(super) fn note_death(&mut self, report: &DeathReport, end: WorkerEnd, words: &str) {
        self.happened(News::death(report, end, words));
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
            let entry = Entry::new(Kind::WorkerReplaced, reason).because(end.word());
            self.happened(entry.to(id.0, slot).of(generation).into());
        }
    }

    /// Somebody has given an order on the admin listener; `by` says who.
    pub(super) fn note_order(&mut self, order: Order, by: &str) {
        let message = format!("{order} on the admin listener, by {by}");
        let entry = Entry::new(Kind::Ordered, message).because(order.word());
        self.happened(entry.into());
    }

    /// Notes what the supervisor is about to hear, where that is something.
    pub(super) fn note_event(&mut self, event: &Event) {
        let is_stopping = self.supervisor.is_stopping();
        let news = match event {
            Event::Refused(reason) => self.failed_reload(ReloadEnd::Refused, reason),
            Event::Upgraded => {
                let version = env!("CARGO_PKG_VERSION");
                Entry::new(Kind::Upgraded, format!("the master is destrier {version}")).into()
            }
            Event::UpgradeFailed(reason) => Entry::new(Kind::UpgradeFailed, reason.as_str()).into(),
            Event::ScaleRequested(scale, caller) => {
                let before = self.supervisor.wanted();
                let after = scale.apply(before);
                if is_stopping || before == after {
                    return;
                }
                let by = match caller {
                    None => "by a signal",
                    Some(caller) if self.orders.has_given(*caller) => "on the admin listener",
                    Some(_) => "by a command",
                };
                let message = format!("{after} workers instead of {before}, asked for {by}");
                Entry::new(Kind::Scaled, message).into()
            }
            Event::PauseRequested
                if !is_stopping
                    && self.supervisor.serving().is_some()
                    && self.supervisor.wanted() > 0 =>
            {
                Entry::new(Kind::Paused, "no worker serves, until the next reload").into()
            }
            Event::StopRequested(_) if !is_stopping => {
                Entry::new(Kind::Stopping, "it was told to stop").into()
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
            | Event::StoppedAccepting(_)
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
                let is_reload = *generation > Generation(1);
                let kind = if is_reload {
                    Kind::Reloaded
                } else {
                    Kind::Started
                };
                let workers = self.supervisor.wanted();
                let message = format!("generation {generation} serves with {workers} workers");
                let happening = Happening::ReloadDone {
                    generation: generation.0,
                };
                News::from(Entry::new(kind, message).of(*generation))
                    .with(is_reload.then_some(happening))
            }
            Action::RollBack(generation, reason) => {
                let news = self.failed_reload(ReloadEnd::RolledBack, reason);
                let entry = news.entry.map(|entry| entry.of(*generation));
                News { entry, ..news }
            }
            Action::Degraded { failures, reason } => {
                let message = format!("{failures} workers died in a row, the last one: {reason}");
                News::from(Entry::new(Kind::Degraded, message))
                    .with(Some(self.degraded(Trouble::WorkersKeepDying, reason)))
            }
            Action::Recovered => News::from(Entry::new(Kind::Recovered, "workers stopped dying"))
                .with(Some(self.recovered(Trouble::WorkersKeepDying))),
            Action::Prepare
            | Action::PrepareStandIn(_)
            | Action::Preflight(_)
            | Action::CancelPreflight
            | Action::Spawn { .. }
            | Action::Accept(_)
            | Action::Drain { .. }
            | Action::Outlived(_)
            | Action::Quit(_)
            | Action::Abort(_)
            | Action::Kill(..)
            | Action::TakenOver
            | Action::Forget(_)
            | Action::Answer(..)
            | Action::AnswerUpgrade(..)
            | Action::Exit(_) => return,
        };
        self.happened(news);
    }

    /// Called in each turn of the loop: whether enough workers take connections. One that was told to pause or to stop lacks none.
    pub(super) fn note_strength(&mut self) {
        if self.supervisor.serving().is_none() || self.supervisor.is_stopping() {
            return;
        }
        let (accepting, wanted, ready_min) = self.strength();
        let is_short = wanted > 0 && accepting < ready_min;
        if is_short == self.happenings.is_short {
            return;
        }
        self.happenings.is_short = is_short;
        let happening = if is_short {
            let message = format!(
                "{accepting} of {wanted} workers take connections, fewer than `health.ready_min`, {ready_min}"
            );
            self.degraded(Trouble::TooFewWorkers, &message)
        } else {
            self.recovered(Trouble::TooFewWorkers)
        };
        // The timeline has what it comes of: deaths, scales, replacements.
        self.happened(News {
            entry: None,
            happening: Some(happening),
        });
    }

    /// What serves is what served before. Where nothing does, it is the start that has failed.
    fn failed_reload(&self, end: ReloadEnd, reason: &str) -> News {
        let happening = self.supervisor.serving().map(|_| Happening::ReloadFailed {
            outcome: end.word().to_owned(),
            message: reason.to_owned(),
        });
        News::from(Entry::new(Kind::ReloadFailed, reason).because(end.word())).with(happening)
    }

    fn degraded(&self, reason: Trouble, message: &str) -> Happening {
        let (accepting, wanted, ready_min) = self.strength();
        Happening::Degraded {
            reason,
            accepting,
            wanted,
            ready_min,
            message: message.to_owned(),
        }
    }

    fn recovered(&self, reason: Trouble) -> Happening {
        let (accepting, wanted, _) = self.strength();
        Happening::Recovered {
            reason,
            accepting,
            wanted,
        }
    }

    /// How many workers take connections, how many shall, and how many are enough.
    fn strength(&self) -> (u16, u16, u16) {
        let accepting = self
            .supervisor
            .workers()
            .filter(|worker| matches!(worker.state, State::Accepting { .. }));
        let accepting = u16::try_from(accepting.count()).unwrap_or(u16::MAX);
        let ready_min = self
            .serving()
            .map_or(1, |pinned| pinned.loaded.config.health.ready_min);
        (accepting, self.supervisor.wanted(), ready_min)
    }
}

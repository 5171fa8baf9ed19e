//! Workers between the decision to spawn them and the word of their template that they exist.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use super::{FORK_TIMEOUT, Master};
use crate::channel::{ForkOrder, LentListener, ToTemplate};
use crate::master::crew::Hand;
use crate::supervisor::{Event, Generation, KillReason, Slot, WorkerId};
use crate::sys::process::ProcessId;
use crate::sys::{adoption, socket};

/// A worker that does not exist yet.
#[derive(Debug)]
pub(super) struct Birth {
    pub(super) id: WorkerId,
    pub(super) slot: Slot,
    /// It is not wanted any more, and may exist all the same.
    pub(super) killed: Option<KillReason>,
    asked: Option<Asked>,
}

/// What was prepared for it when the template was asked.
#[derive(Debug)]
struct Asked {
    seat: usize,
    channel: UnixStream,
}

impl Birth {
    /// The template was not asked for it yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_none()
    }
}

impl Master {
    /// The worker is forked as soon as there is a template.
    pub(in crate::master) fn await_birth(
        &mut self,
        id: WorkerId,
        slot: Slot,
        generation: Generation,
        events: &mut VecDeque<Event>,
    ) {
        let template = self.templates.of.entry(generation).or_default();
        template.births.push_back(Birth {
            id,
            slot,
            killed: None,
            asked: None,
        });
        if template.process.is_none() {
            self.start_template_if_due(generation, events);
        }
        self.ask_for_births(generation, events);
    }

    /// Asks the template, once it is ready, for the workers that wait.
    pub(super) fn ask_for_births(&mut self, generation: Generation, events: &mut VecDeque<Event>) {
        while self.ask_for_birth(generation, events) {}
    }

    /// Whether another one may follow.
    fn ask_for_birth(&mut self, generation: Generation, events: &mut VecDeque<Event>) -> bool {
        let Some(template) = self.templates.of.get(&generation) else {
            return false;
        };
        let is_ready = template
            .process
            .as_ref()
            .is_some_and(super::Process::is_ready);
        let waiting = template.births.iter().find(|birth| birth.is_waiting());
        let Some((id, slot)) = waiting
            .filter(|_| is_ready)
            .map(|birth| (birth.id, birth.slot))
        else {
            return false;
        };
        match self.ask_for(id, slot, generation) {
            Ok(is_sent) => is_sent,
            Err(reason) => {
                tracing::error!(
                    worker = id.0,
                    slot = slot.0,
                    generation = generation.0,
                    reason,
                    "cannot spawn a worker"
                );
                let template = self.templates.get_mut(generation);
                if let Some(template) = template {
                    template.births.retain(|birth| birth.id != id);
                }
                events.push_back(Event::BootFailed(id, reason.clone()));
                events.push_back(Event::Exited(id, reason));
                true
            }
        }
    }

    /// Whether there was room for the question.
    fn ask_for(
        &mut self,
        id: WorkerId,
        slot: Slot,
        generation: Generation,
    ) -> Result<bool, String> {
        let pinned = self.generations.get(&generation);
        let pinned = pinned.ok_or_else(|| format!("generation {generation} is not known"))?;
        let listeners = self
            .listeners
            .lend(slot.0, &pinned.loaded.config.server)
            .map_err(|error| error.to_string())?;
        if listeners.len() >= socket::ALONG_MAX {
            return Err("too many listeners to lend them to a worker of a template".to_owned());
        }
        let (ours, theirs) = UnixStream::pair().map_err(|error| format!("socketpair: {error}"))?;
        for end in [&ours, &theirs] {
            end.set_nonblocking(true)
                .map_err(|error| format!("socketpair: {error}"))?;
        }
        let seat = self
            .crew
            .take_seat()
            .ok_or("too many workers: every seat on the scoreboard is taken")?;
        let lent = listeners.iter().map(|listener| LentListener {
            name: listener.name.clone(),
            shared: listener.shared,
            inherited: listener.inherited,
        });
        let order = ToTemplate::Fork(ForkOrder {
            worker: id.0,
            slot: slot.0,
            workers: self.supervisor.wanted_in(generation),
            seat,
            listeners: lent.collect(),
        });
        let mut along = vec![theirs.as_fd()];
        along.extend(listeners.iter().map(|listener| listener.socket.as_fd()));
        let answers_by = self.now() + FORK_TIMEOUT;
        let template = self.templates.get_mut(generation);
        let asked = template.and_then(|template| {
            let process = template.process.as_mut()?;
            let birth = template.births.iter_mut().find(|birth| birth.id == id)?;
            process.tell(&order, &along).then(|| {
                process.answers_by.get_or_insert(answers_by);
                birth.asked = Some(Asked {
                    seat,
                    channel: ours,
                });
            })
        });
        if asked.is_none() {
            self.crew.give_back(seat);
        }
        Ok(asked.is_some())
    }

    /// The template has forked this worker.
    pub(super) fn born(
        &mut self,
        generation: Generation,
        worker: u64,
        pid: i32,
        events: &mut VecDeque<Event>,
    ) {
        let Some((birth, asked)) = self.take_birth(generation, worker) else {
            return;
        };
        let (id, slot, pid) = (birth.id, birth.slot, ProcessId::from_number(pid));
        // The word of a process that runs the application: it names a child of this one that nobody else is, or no process at all.
        let is_taken = self.crew.find(pid).is_some()
            || self.agent.is(pid)
            || self.upgrade.is_asking(pid)
            || self.templates.knows(pid);
        if is_taken || !adoption::is_child(pid) {
            self.scoreboard.close_seat(asked.seat);
            self.crew.give_back(asked.seat);
            events.push_back(Event::Exited(id, "ended before it was known".to_owned()));
            return;
        }
        let now = self.now();
        let hand = Hand::new(pid, (slot, generation), asked.seat, now, asked.channel);
        self.crew.join(id, hand);
        self.hand_feeds_to(id);
        tracing::info!(
            worker = id.0,
            pid = pid.number(),
            slot = slot.0,
            generation = generation.0,
            template = self.templates.pid_of(generation),
            "worker spawned"
        );
        match birth.killed {
            Some(reason) => self.kill(id, reason, events),
            None => events.push_back(Event::BootBegins(id)),
        }
    }

    /// The template cannot fork this worker, so it cannot fork any.
    pub(super) fn not_born(
        &mut self,
        generation: Generation,
        worker: u64,
        reason: &str,
        events: &mut VecDeque<Event>,
    ) {
        let Some((birth, asked)) = self.take_birth(generation, worker) else {
            return;
        };
        self.crew.give_back(asked.seat);
        if let Some(template) = self.templates.get_mut(generation) {
            template.births.push_front(Birth {
                asked: None,
                ..birth
            });
        }
        let reason = format!("the template cannot fork: {reason}");
        self.fall_back(generation, reason, events);
    }

    /// A birth that the template was asked for, and has answered.
    fn take_birth(&mut self, generation: Generation, worker: u64) -> Option<(Birth, Asked)> {
        let template = self.templates.get_mut(generation)?;
        let mut births = template.births.iter();
        let place = births.position(|birth| birth.id.0 == worker && !birth.is_waiting())?;
        let mut birth = template.births.remove(place)?;
        let asked = birth.asked.take()?;
        let is_last = template.births.iter().all(Birth::is_waiting);
        if let Some(process) = template.process.as_mut().filter(|_| is_last) {
            process.answers_by = None;
        }
        Some((birth, asked))
    }

    /// A worker that does not exist yet is not wanted any more.
    pub(in crate::master) fn cancel_birth(
        &mut self,
        id: WorkerId,
        reason: KillReason,
        events: &mut VecDeque<Event>,
    ) {
        for template in self.templates.of.values_mut() {
            let place = template.births.iter().position(|birth| birth.id == id);
            let Some(place) = place else {
                continue;
            };
            if reason == KillReason::BootTimeout {
                tracing::error!(
                    worker = id.0,
                    "given up: its template was not ready within `workers.boot_timeout`"
                );
            }
            let waiting = template.births.get(place).is_some_and(Birth::is_waiting);
            if waiting {
                let _cancelled = template.births.remove(place);
                let words = "its template was not ready".to_owned();
                events.push_back(Event::Exited(id, words));
            } else if let Some(birth) = template.births.get_mut(place) {
                // It is killed when the template says which process it is.
                birth.killed = Some(reason);
            }
            return;
        }
    }

    /// What was prepared for it is of no use any more.
    pub(super) fn take_back(&mut self, birth: &mut Birth) {
        if let Some(asked) = birth.asked.take() {
            self.crew.give_back(asked.seat);
        }
    }

    /// It will never exist.
    pub(super) fn end_birth(&mut self, mut birth: Birth, words: &str) -> Event {
        self.take_back(&mut birth);
        Event::Exited(birth.id, words.to_owned())
    }
}

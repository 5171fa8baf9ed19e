//! What can wake the master, and what it makes of it: events for the supervisor.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::Signal;

use super::Master;
use super::control::{Answer, Request};
use super::death_report::OutOfMemory;
use super::ledger::WorkerEnd;
use crate::channel::{Order, ToAgent, ToMaster, ToWorker};
use crate::logging;
use crate::supervisor::{Caller, Event, Generation, Scale, StopManner, WorkerId};
use crate::sys::poll::Interest;
use crate::sys::process;

/// Something to wait for.
pub(super) struct Source<'a> {
    pub(super) what: What,
    pub(super) descriptor: BorrowedFd<'a>,
    pub(super) interest: Interest,
}

/// What it is. The list is complete: nothing else wakes the master but a deadline.
#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Signals,
    ControlListener,
    ControlClient(Caller),
    Worker(WorkerId),
    Preflight,
    Files,
    Agent,
    Template(Generation),
}

impl Master {
    pub(super) fn sources(&self) -> Vec<Source<'_>> {
        let read = |what, descriptor| Source {
            what,
            descriptor,
            interest: Interest::Read,
        };
        let mut sources = vec![read(What::Signals, self.signals.descriptor())];
        sources.extend(
            self.control
                .descriptor(self.now())
                .map(|descriptor| read(What::ControlListener, descriptor)),
        );
        sources.extend(
            self.control
                .clients()
                .map(|(caller, descriptor, interest)| Source {
                    what: What::ControlClient(caller),
                    descriptor,
                    interest,
                }),
        );
        sources.extend(self.crew.iter().filter_map(|(id, hand)| {
            let interest = if hand.has_unsent() {
                Interest::Both
            } else {
                Interest::Read
            };
            hand.channel.as_ref().map(|channel| Source {
                what: What::Worker(id),
                descriptor: channel.as_fd(),
                interest,
            })
        }));
        sources.extend(
            self.upgrade
                .descriptors()
                .map(|descriptor| read(What::Preflight, descriptor)),
        );
        let files = self.file_watch.descriptor();
        sources.extend(files.map(|descriptor| read(What::Files, descriptor)));
        sources.extend(self.agent.descriptor().map(|(descriptor, has_unsent)| {
            let interest = if has_unsent {
                Interest::Both
            } else {
                Interest::Read
            };
            Source {
                what: What::Agent,
                descriptor,
                interest,
            }
        }));
        let templates = self.templates.descriptors();
        sources.extend(
            templates.map(|(generation, descriptor, has_unsent)| Source {
                what: What::Template(generation),
                descriptor,
                interest: if has_unsent {
                    Interest::Both
                } else {
                    Interest::Read
                },
            }),
        );
        sources
    }

    pub(super) fn take_in(&mut self, what: What) {
        match what {
            What::Signals => self.take_in_signals(),
            What::ControlListener => self.control.accept(self.now()),
            What::ControlClient(caller) => {
                for request in self.control.serve(caller) {
                    self.obey(caller, &request);
                }
            }
            What::Worker(id) => self.hear(id),
            What::Preflight => self.upgrade.listen(),
            What::Agent => {
                self.hear_agent();
                self.take_orders();
            }
            What::Template(generation) => self.hear_template(generation),
            What::Files => {
                let now = self.now();
                self.file_watch.listen(now);
            }
        }
    }

    fn take_in_signals(&mut self) {
        while let Some(signal) = self.signals.next() {
            // Not an operator's.
            let is_silent = [Signal::SIGCHLD, Signal::SIGCONT].contains(&signal);
            if !is_silent {
                tracing::info!(signal = signal.as_str(), "received");
            }
            #[expect(
                clippy::wildcard_enum_match_arm,
                reason = "whatever else the kernel knows has no meaning here"
            )]
            match signal {
                Signal::SIGCHLD => self.reap(),
                // systemd sends it after SIGTERM, a shell when it takes a job up again: nothing is to be done.
                Signal::SIGCONT => {}
                Signal::SIGHUP => self.feed(Event::ReloadRequested(None)),
                Signal::SIGUSR2 if self.supervisor.awaits_preflight() => {
                    tracing::warn!("an upgrade is under way already");
                }
                Signal::SIGUSR2 => self.feed(Event::UpgradeRequested {
                    caller: None,
                    program: None,
                }),
                Signal::SIGTERM => self.stop(StopManner::Graceful),
                Signal::SIGINT | Signal::SIGQUIT => self.stop(StopManner::Fast),
                Signal::SIGUSR1 => drop(self.reopen_logs()),
                Signal::SIGTTIN => self.feed(Event::ScaleRequested(Scale::Up, None)),
                Signal::SIGTTOU => self.feed(Event::ScaleRequested(Scale::Down, None)),
                // A terminal sends it whenever its window changes.
                Signal::SIGWINCH if std::io::stderr().is_terminal() => {}
                Signal::SIGWINCH => self.feed(Event::PauseRequested),
                _ => tracing::warn!(signal = signal.as_str(), "no meaning here, ignored"),
            }
        }
    }

    /// Every child that has ended: one SIGCHLD may stand for many.
    pub(super) fn reap(&mut self) {
        // A worker may have ended before it was known that it was born.
        self.hear_templates();
        let mut ended = Vec::new();
        while let Some((pid, ending)) = process::reap() {
            if let Some(id) = self.crew.find(pid) {
                ended.push((id, ending));
            } else if !self.heard_of_agent(pid, ending)
                && !self.heard_of_template(pid, ending)
                && !self.heard_of_preflight(pid, ending)
            {
                // As PID 1 the master inherits every orphan of its container, and with a template those of its workers.
                tracing::debug!(pid = pid.number(), %ending, "an adopted process ended");
            }
        }
        let killed = ended
            .iter()
            .filter(|(_, ending)| ending.is_by(Signal::SIGKILL));
        let out_of_memory = self.deaths.out_of_memory(killed.count() as u64);
        let mut dead = Vec::new();
        for (id, ending) in ended {
            let out_of_memory = if ending.is_by(Signal::SIGKILL) {
                out_of_memory
            } else {
                OutOfMemory::No
            };
            // Its last words may have arrived together with its end.
            self.hear(id);
            dead.push((id, self.crew.get(id).map(|hand| hand.slot)));
            let words = self.bury(id, ending, out_of_memory);
            self.feed(Event::Exited(id, words));
        }
        // Only when all are buried is it known who lives.
        self.note_who_serves();
        self.hand_over_what_waits_for(&dead);
    }

    fn hear(&mut self, id: WorkerId) {
        let Some(hand) = self.crew.get_mut(id) else {
            return;
        };
        hand.send();
        for message in hand.receive() {
            let event = match message {
                ToMaster::Ready => Event::Ready(id),
                ToMaster::StoppedAccepting => Event::StoppedAccepting(id),
                ToMaster::ServedOut => {
                    self.note_replacement(id, "max_requests", WorkerEnd::Recycle);
                    Event::ReplacementWanted(id)
                }
                ToMaster::Stuck => {
                    self.note_replacement(id, "a request is stuck", WorkerEnd::Stuck);
                    Event::ReplacementWanted(id)
                }
                ToMaster::ProbeFailed { reason } => self.note_unwell(id, &reason),
                ToMaster::ProbePassed => self.note_well(id),
                ToMaster::StandsIn { reason } => {
                    self.note_stand_in(id, reason);
                    continue;
                }
                ToMaster::Traceback { text } => {
                    self.note_traceback_of(id, text);
                    continue;
                }
                ToMaster::Failed { reason } => {
                    tracing::error!(worker = id.0, reason, "worker cannot boot");
                    Event::BootFailed(id, reason)
                }
                ToMaster::FeedMissing { feed } => {
                    self.hand_feed_again(id, feed);
                    continue;
                }
                ToMaster::FeedWanted { feed } => {
                    self.want_feed(id, feed);
                    continue;
                }
                ToMaster::Stacks { question, stacks } => {
                    self.take_stacks(id, question, stacks);
                    continue;
                }
                ToMaster::LastWords => {
                    if let Some(hand) = self.crew.get_mut(id) {
                        hand.last_words = hand.received.pop_front().flatten().map(File::from);
                    }
                    continue;
                }
                ToMaster::Memory { pss } => {
                    self.take_memory(id, pss);
                    continue;
                }
                ToMaster::TookOver { listener, slot } => {
                    self.listeners.taken_over(&listener, slot, id);
                    self.close_unused_slots();
                    continue;
                }
                ToMaster::Emptied { listener } => {
                    self.listeners.emptied(&listener, id);
                    continue;
                }
            };
            self.feed(event);
        }
    }

    /// Does what a command asks for; the answer goes out when it is done.
    fn obey(&mut self, caller: Caller, request: &Request) {
        match *request {
            Request::Status {} => {
                let status = Answer::Status(Box::new(self.status()));
                self.control.send(caller, &status);
            }
            Request::Stacks {} => self.ask_for_stacks(caller),
            Request::Plan {} => {
                let answer = self
                    .plan()
                    .map_or_else(Answer::Failed, |plan| Answer::Plan(Box::new(plan)));
                self.control.send(caller, &answer);
            }
            Request::Reload {} => {
                tracing::info!("reload asked for by command");
                self.carry_out(caller, Order::Reload);
            }
            Request::Upgrade {
                program: Some(ref program),
            } if program.is_relative() => {
                let reason = format!("`{}` does not begin at the root", program.display());
                self.control.answer(caller, Err(reason));
            }
            Request::Upgrade { ref program } => {
                tracing::info!("upgrade asked for by command");
                self.feed(Event::UpgradeRequested {
                    caller: Some(caller),
                    program: program.clone(),
                });
            }
            Request::Scale { workers } => {
                tracing::info!(workers, "scale asked for by command");
                self.carry_out(caller, Order::ScaleTo(workers));
            }
            Request::Stop { fast } => {
                tracing::info!(fast, "stop asked for by command");
                self.stop_callers.push(caller);
                self.stop(if fast {
                    StopManner::Fast
                } else {
                    StopManner::Graceful
                });
            }
            Request::Reopen {} => {
                let outcome = self.reopen_logs();
                self.control.answer(caller, outcome);
            }
        }
    }

    fn reopen_logs(&mut self) -> Result<String, String> {
        let result = logging::reopen().and_then(|()| self.hand_over_log_file());
        self.crew.tell_all(&ToWorker::ReopenLogs);
        self.agent.tell(&ToAgent::ReopenLogs);
        self.tell_templates_to_reopen_logs();
        match result {
            Ok(()) => {
                tracing::info!("log files opened anew");
                Ok("log files opened anew".to_owned())
            }
            Err(error) => {
                let reason =
                    format!("cannot open the log file anew, the old one stays in use: {error}");
                tracing::error!("{reason}");
                Err(reason)
            }
        }
    }
}

//! The upgrade in place: the master asks another program whether it can take over, and becomes it (execve(2)) with its
//! process id, its children and its descriptors. Until that moment nothing has changed, so whatever fails leaves
//! everything as it is.

mod adopt;
mod adopt_sockets;
mod offer;
mod pack;
mod preflight;
mod program;
mod state;

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

pub use adopt::{KnownGenerations, Takeover};
pub use offer::{Offer, OfferError};
use preflight::{Preflight, Reason, Stamp, UpgradeError, judge};
pub use program::Program;
pub use state::{STATE_VERSION, StateError};

use super::Master;
use super::ledger::UpgradeEnd;
use crate::logging;
use crate::supervisor::{Event, Now};
use crate::sys::child::Child;
use crate::sys::process::{Ending, ProcessId};
use crate::sys::systemd;

/// How far an upgrade has got.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// What runs.
    program: Program,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// There is none.
    None,
    /// A program is being asked.
    Asked(Preflight),
    /// It can take over.
    Passed(Program, Stamp),
}

impl Upgrade {
    pub(super) fn new(program: Program) -> Self {
        Self {
            program,
            stage: Stage::None,
        }
    }

    fn next_program(&self) -> Program {
        match &self.stage {
            Stage::Passed(program, _) => program.clone(),
            Stage::None | Stage::Asked(_) => self.program.clone(),
        }
    }

    fn asked(&self) -> Option<&Preflight> {
        match &self.stage {
            Stage::Asked(preflight) => Some(preflight),
            Stage::None | Stage::Passed(..) => None,
        }
    }

    /// Whether it is the program that is asked.
    pub(super) fn is_asking(&self, pid: ProcessId) -> bool {
        self.asked()
            .is_some_and(|preflight| preflight.child.pid() == pid)
    }

    /// When a program that does not answer is given up.
    pub(super) fn deadline(&self) -> Option<Now> {
        self.asked().map(|preflight| preflight.until)
    }

    /// Readable when the program that is asked says something.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.asked()
            .into_iter()
            .flat_map(|preflight| preflight.child.descriptors())
    }

    pub(super) fn listen(&mut self) {
        if let Stage::Asked(preflight) = &mut self.stage {
            preflight.child.listen();
        }
    }
}

impl Master {
    /// What runs, for answers and logs.
    pub(super) fn program(&self) -> &Program {
        &self.upgrade.program
    }

    /// Asks the program `named`, or the one that runs, whether it can go on with the state of this moment.
    pub(super) fn begin_preflight(&mut self, named: Option<PathBuf>, events: &mut VecDeque<Event>) {
        let program = self.upgrade.program.or(named);
        tracing::info!(program = %program.path().display(), "upgrade begins");
        match self.ask(program) {
            Ok(preflight) => self.upgrade.stage = Stage::Asked(preflight),
            Err(error) => events.push_back(self.upgrade_failed(&error)),
        }
    }

    fn ask(&self, program: Program) -> Result<Preflight, UpgradeError> {
        let failed = |reason| UpgradeError::of(&program, reason);
        let started = |error| failed(Reason::Start(error));
        let (state, _) = self.pack();
        let state = state.written_down("destrier-preflight");
        let state = state.map_err(|error| failed(Reason::State(error)))?;
        let file = Stamp::of(program.path()).map_err(started)?;
        let arguments = program.call(&["--preflight"]).into_iter().skip(1);
        let child =
            Child::start(program.path(), arguments, state, &systemd::VARIABLES).map_err(started)?;
        let until = self.now() + self.boot_timeout();
        Ok(Preflight {
            program,
            child,
            file,
            until,
        })
    }

    fn boot_timeout(&self) -> Now {
        self.serving().map_or(Now::ZERO, |pinned| {
            pinned.loaded.config.workers.boot_timeout
        })
    }

    /// Says why the program that runs stays; what the supervisor hears of it.
    fn upgrade_failed(&mut self, error: &UpgradeError) -> Event {
        self.upgrade.stage = Stage::None;
        self.ledger.upgrade_ended(UpgradeEnd::Refused);
        let reason = error.to_string();
        tracing::error!(reason, "upgrade refused, everything stays as it is");
        self.systemd.notifier.send(&format!(
            "STATUS=The last upgrade failed: {}",
            reason.replace('\n', " ")
        ));
        Event::UpgradeFailed(reason)
    }

    pub(super) fn cancel_preflight(&mut self) {
        if let Some(preflight) = self.upgrade.asked() {
            preflight.child.kill();
        }
        self.upgrade.stage = Stage::None;
    }

    /// A process has ended that is no worker; whether it was the program that is asked.
    pub(super) fn heard_of_preflight(&mut self, pid: ProcessId, ending: Ending) -> bool {
        let Stage::Asked(preflight) = &mut self.upgrade.stage else {
            return false;
        };
        if preflight.child.pid() != pid {
            return false;
        }
        // Its last words may have arrived together with its end.
        preflight.child.listen();
        let verdict = judge(ending, preflight.child.output(), &preflight.child.errors());
        let program = preflight.program.clone();
        match verdict {
            Ok(readiness) => {
                tracing::info!(
                    program = %program.path().display(),
                    version = readiness.destrier,
                    "pre-flight passed"
                );
                self.upgrade.stage = Stage::Passed(program, preflight.file);
            }
            Err(reason) => {
                let event = self.upgrade_failed(&UpgradeError::of(&program, reason));
                self.feed(event);
            }
        }
        true
    }

    /// At the end of a turn of the loop, when everything that was decided is done: gives up a program that does not
    /// answer, or becomes the one that does.
    pub(super) fn go_on_with_upgrade(&mut self) {
        let now = self.now();
        let (program, reason) = match &self.upgrade.stage {
            Stage::Asked(preflight) if preflight.until <= now => {
                preflight.child.kill();
                (
                    preflight.program.clone(),
                    Reason::TimedOut(self.boot_timeout()),
                )
            }
            Stage::Passed(program, file)
                if self.exit.is_none() && self.supervisor.awaits_preflight() =>
            {
                let (program, file) = (program.clone(), *file);
                self.end_all_questions();
                let reason = self.become_another(&program, file);
                (program, reason)
            }
            Stage::None | Stage::Asked(_) | Stage::Passed(..) => return,
        };
        let event = self.upgrade_failed(&UpgradeError::of(&program, reason));
        self.feed(event);
    }

    /// Does not return where it succeeds.
    fn become_another(&self, program: &Program, asked: Stamp) -> Reason {
        match Stamp::of(program.path()) {
            Ok(file) if file == asked => {}
            Ok(_) => return Reason::Changed,
            Err(error) => return Reason::Start(error),
        }
        logging::flush();
        let (state, mut luggage) = self.pack();
        let state = match state.written_down("destrier-upgrade") {
            Ok(state) => state,
            Err(error) => return Reason::State(error),
        };
        let number = luggage.pack(state.as_fd()).to_string();
        let arguments = program.call(&["--resume", &number]);
        self.systemd.notifier.send_reloading();
        let error = luggage.exec(program.path().as_os_str(), &arguments);
        self.tell_systemd_that_it_serves();
        Reason::Exec(error)
    }
}

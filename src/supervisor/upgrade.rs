//! Going on as another program in the same process: when that may begin, and who is told how it ended.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Supervisor;
use super::event::{Action, Caller};
use super::reload::answer;

/// An upgrade that was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Upgrade {
    /// A generation is on its way, which comes first.
    Waiting {
        callers: Vec<Caller>,
        program: Option<PathBuf>,
    },
    /// The program is being asked whether it can take over.
    Preflight { callers: Vec<Caller> },
}

impl Supervisor {
    /// Whether the master may go on as the program that [`Action::Preflight`] named.
    pub fn awaits_preflight(&self) -> bool {
        matches!(self.upgrade, Some(Upgrade::Preflight { .. }))
    }

    /// One at a time: whoever asks for the same that waits already shares its outcome.
    pub(super) fn on_upgrade_requested(
        &mut self,
        caller: Option<Caller>,
        program: Option<PathBuf>,
        actions: &mut Vec<Action>,
    ) {
        let busy = match &mut self.upgrade {
            None => {
                self.upgrade = Some(Upgrade::Waiting {
                    callers: caller.into_iter().collect(),
                    program,
                });
                return;
            }
            Some(Upgrade::Waiting {
                callers,
                program: waiting,
            }) if *waiting == program => return callers.extend(caller),
            Some(Upgrade::Waiting { .. }) => "an upgrade to another program waits already",
            Some(Upgrade::Preflight { .. }) => "an upgrade is under way already",
        };
        let callers = caller.into_iter().collect();
        answer(callers, &Err(busy.to_owned()), actions);
    }

    /// A candidate comes first, for the new program would not know how to go on with it.
    pub(super) fn begin_waiting_upgrade(&mut self, actions: &mut Vec<Action>) {
        if self.is_settled()
            && let Some(Upgrade::Waiting { callers, program }) = &mut self.upgrade
        {
            actions.push(Action::Preflight(program.take()));
            let callers = std::mem::take(callers);
            self.upgrade = Some(Upgrade::Preflight { callers });
        }
    }

    pub(super) fn on_upgrade_failed(&mut self, reason: &str, actions: &mut Vec<Action>) {
        let callers = self.take_callers_of_upgrade();
        answer(callers, &Err(reason.to_owned()), actions);
    }

    /// The workers of before go on under the new program; a reload replaces them by workers of its own. Whoever waits for
    /// a reload waits for this one.
    pub(super) fn on_upgraded(&mut self, actions: &mut Vec<Action>) {
        let of_upgrade = self.take_callers_of_upgrade();
        let of_reload = self.reload_waiting.take().unwrap_or_default();
        self.prepare(of_reload, of_upgrade, actions);
    }

    pub(super) fn cancel_upgrade(&mut self, reason: &str, actions: &mut Vec<Action>) {
        if self.awaits_preflight() {
            actions.push(Action::CancelPreflight);
        }
        self.on_upgrade_failed(reason, actions);
    }

    fn take_callers_of_upgrade(&mut self) -> Vec<Caller> {
        match self.upgrade.take() {
            Some(Upgrade::Waiting { callers, .. } | Upgrade::Preflight { callers }) => callers,
            None => Vec::new(),
        }
    }
}

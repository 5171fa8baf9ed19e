//! Has told what the master says has happened, and what it sees for itself: now and then it looks at the master's status.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::alarms::Alarms;
use super::hooks::{Hooks, Setting};
use crate::admin::Question;
use crate::channel::Happening;
use crate::master::Status;
use crate::sys::clock;
use crate::sys::process::ProcessId;

/// So often: the dates of certificates are days away.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The first time soon, when the first generation has been committed.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    hooks: Hooks,
    alarms: Alarms,
    next_look: Instant,
    /// Where the status comes that was asked for.
    answer: Option<oneshot::Receiver<Arc<str>>>,
}

impl Watch {
    /// Within a runtime of tokio. Without a setting nobody is told, and nothing is looked at.
    pub(super) fn new(setting: Option<Setting>, master: ProcessId) -> Self {
        Self {
            hooks: Hooks::new(setting, master),
            alarms: Alarms::default(),
            next_look: Instant::now() + FIRST_LOOK,
            answer: None,
        }
    }

    /// Has it told; `at` is in seconds since 1970.
    pub(super) fn happened(&mut self, at: u64, happening: &Happening) {
        self.hooks.happened(at, happening);
    }

    /// Goes on with what is to be done, and returns a question for the master when it is time for one. Can be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<Question> {
        if !self.hooks.are_set() {
            return std::future::pending().await;
        }
        tokio::select! {
            () = self.hooks.go_on() => None,
            () = sleep_until(self.next_look), if self.answer.is_none() => {
                self.next_look = Instant::now() + LOOK_EVERY;
                let (question, answer) = oneshot::channel();
                self.answer = Some(answer);
                Some(question)
            }
            document = answered(&mut self.answer), if self.answer.is_some() => {
                self.answer = None;
                if let Some(document) = document {
                    self.look(&document);
                }
                None
            }
        }
    }

    fn look(&mut self, document: &str) {
        let status = match serde_json::from_str::<Status>(document) {
            Ok(status) => status,
            Err(error) => {
                tracing::error!(%error, "the master's status is not understood");
                return;
            }
        };
        let now = clock::unix().as_secs();
        for happening in self.alarms.look(&status, now) {
            self.hooks.happened(now, &happening);
        }
    }

    /// Returns when everything that waits was told.
    pub(super) async fn finish(self) {
        self.hooks.finish().await;
    }
}

async fn answered(answer: &mut Option<oneshot::Receiver<Arc<str>>>) -> Option<Arc<str>> {
    answer.as_mut()?.await.ok()
}

//! Answers on their way from the Python threads to the I/O thread, in groups: one wake-up for many.

use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use super::service::Outcome;

/// A group of so many is announced at once.
const GROUP: usize = 16;

/// Answers that the I/O thread has not taken yet. They are in a place that all threads share: a call that takes long would
/// otherwise hold back those before it.
#[derive(Debug, Default)]
pub(super) struct Completions {
    waiting: Mutex<Vec<Completion>>,
    announced: Notify,
}

#[derive(Debug)]
struct Completion {
    answer: Outcome,
    to: oneshot::Sender<Outcome>,
}

impl Completions {
    /// Puts in an answer; the I/O thread learns of it with the group, or at [`Self::announce`].
    pub(super) fn push(&self, to: oneshot::Sender<Outcome>, answer: Outcome) {
        let waiting = {
            let mut waiting = self.waiting();
            waiting.push(Completion { answer, to });
            waiting.len()
        };
        if waiting >= GROUP {
            self.announced.notify_one();
        }
    }

    /// Tells the I/O thread, if an answer waits.
    pub(super) fn announce(&self) {
        if !self.waiting().is_empty() {
            self.announced.notify_one();
        }
    }

    /// Hands on what waits; in the runtime, where waking a task costs no system call.
    pub(super) fn deliver(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        for Completion { answer, to } in waiting {
            // Whoever waited for it is gone: its client, or its time was over.
            drop(to.send(answer));
        }
    }

    /// Does so each time, for ever.
    pub(super) async fn deliver_all(&self) {
        loop {
            self.announced.notified().await;
            self.deliver();
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Completion>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

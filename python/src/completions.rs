//! What the I/O thread is to go on with, from the threads of Python, in groups: one wake-up for many.

use std::sync::{Mutex, MutexGuard, PoisonError};

use destrier::app::Loan;
use tokio::sync::Notify;

/// A group of so many is announced at once.
const GROUP: usize = 16;

/// Something that the I/O thread waits for.
pub(crate) trait Completion {
    /// Hands it to the task that waits for it; in the runtime, where waking a task costs no system call.
    fn complete(self);
}

/// Those that the I/O thread has not taken yet. They are in a place that all threads share: a call that takes long would
/// otherwise hold back those before it.
#[derive(Debug)]
pub(crate) struct Completions<T> {
    waiting: Mutex<Vec<T>>,
    announced: Notify,
    /// Where the thread of the application may have the event loop, which delivers them itself then.
    loan: Option<Loan>,
}

impl<T: Completion> Completions<T> {
    pub(crate) fn new(loan: Option<Loan>) -> Self {
        Self {
            waiting: Mutex::default(),
            announced: Notify::new(),
            loan,
        }
    }

    /// Puts one in; the I/O thread learns of it with its group, or at [`Self::announce`].
    pub(crate) fn push(&self, completion: T) {
        let waiting = {
            let mut waiting = self.waiting();
            waiting.push(completion);
            waiting.len()
        };
        if waiting >= GROUP {
            self.tell();
        }
    }

    /// Tells the I/O thread, if any waits.
    pub(crate) fn announce(&self) {
        if !self.waiting().is_empty() {
            self.tell();
        }
    }

    fn tell(&self) {
        if !self.loan.as_ref().is_some_and(Loan::is_held_here) {
            self.announced.notify_one();
        }
    }

    /// Hands on what waits.
    pub(crate) fn deliver(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        for completion in waiting {
            completion.complete();
        }
    }

    /// Does so each time, for ever.
    pub(crate) async fn deliver_all(&self) {
        loop {
            self.announced.notified().await;
            self.deliver();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

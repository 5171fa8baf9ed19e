//! Tasks of the I/O thread that can go on, in groups: one wake-up for many.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

/// A group of so many is announced at once.
const GROUP: usize = 16;

/// Tasks that can go on and were not told yet.
#[derive(Debug, Default)]
pub(super) struct Completions {
    waiting: Mutex<Vec<Waker>>,
    announced: Notify,
}

impl Completions {
    /// Puts in a task; it learns of it with its group, or at [`Self::announce`].
    pub(super) fn push(&self, task: Waker) {
        let waiting = {
            let mut waiting = self.waiting();
            waiting.push(task);
            waiting.len()
        };
        if waiting >= GROUP {
            self.announced.notify_one();
        }
    }

    /// Tells the I/O thread, if a task waits.
    pub(super) fn announce(&self) {
        if !self.waiting().is_empty() {
            self.announced.notify_one();
        }
    }

    /// Wakes them; in the runtime, where that costs no system call.
    pub(super) fn deliver(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        for task in waiting {
            task.wake();
        }
    }

    /// Does so each time, for ever.
    pub(super) async fn deliver_all(&self) {
        loop {
            self.announced.notified().await;
            self.deliver();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

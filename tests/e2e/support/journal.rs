//! What has arrived, in order; whoever waits for something is woken by each arrival.

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use destrier::sys::clock;

/// Filled by one thread, read by another.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    entries: Mutex<Vec<T>>,
    arrived: Condvar,
}

/// A place in a journal: what came before does not count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark(usize);

impl Mark {
    pub(crate) const START: Self = Self(0);
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self {
            entries: Mutex::new(Vec::new()),
            arrived: Condvar::new(),
        }
    }
}

impl<T: Clone> Journal<T> {
    pub(crate) fn push(&self, entry: T) {
        self.entries.lock().unwrap().push(entry);
        self.arrived.notify_all();
    }

    /// Here: what comes from now on.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.entries.lock().unwrap().len())
    }

    /// Everything after `mark`.
    pub(crate) fn since(&self, mark: Mark) -> Vec<T> {
        self.entries.lock().unwrap()[mark.0..].to_vec()
    }

    /// The first entry after `mark` that `wanted` accepts, as soon as it is there.
    pub(crate) fn wait_for(
        &self,
        mark: Mark,
        patience: Duration,
        wanted: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let give_up = clock::monotonic() + patience;
        let mut seen = mark.0;
        let mut entries = self.entries.lock().unwrap();
        loop {
            if let Some(found) = entries[seen..].iter().find(|entry| wanted(entry)) {
                return Some(found.clone());
            }
            seen = entries.len();
            let left = give_up.checked_sub(clock::monotonic())?;
            entries = self.arrived.wait_timeout(entries, left).unwrap().0;
        }
    }
}

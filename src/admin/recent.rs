//! What the kernel knows, looked up once a second at most, however often somebody asks.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::sys::clock;

/// How old it may be.
const AGE_MAX: Duration = Duration::from_secs(1);

/// What was looked up, and when.
#[derive(Debug)]
pub(super) struct Recent<T>(Mutex<Option<(Duration, Vec<T>)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Recent<T> {
    /// What `look_up` finds, or what it found less than a second ago.
    pub(super) fn or(&self, look_up: impl FnOnce() -> Vec<T>) -> Vec<T> {
        let now = clock::monotonic();
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, found)) = &*known
            && now.saturating_sub(*at) < AGE_MAX
        {
            return found.clone();
        }
        let found = look_up();
        *known = Some((now, found.clone()));
        found
    }
}

//! How close to each other events come: where they do, an event loop of the application does better to turn that of the worker too.

use std::time::Duration;

/// Within so long must come
const SPAN: Duration = Duration::from_millis(10);

/// so many of them.
const EVENTS: usize = 16;

/// From one time that it was begun to the next it is at least so long, where it was in the way.
const HINDRANCE: Duration = Duration::from_secs(1);

/// What is known of them. All times are monotonic.
#[derive(Debug, Default)]
pub struct Density {
    since: Duration,
    events: usize,
    began: Duration,
    not_before: Duration,
}

impl Density {
    /// So many have come.
    pub fn note(&mut self, events: usize, now: Duration) {
        if now.saturating_sub(self.since) > SPAN {
            self.since = now;
            self.events = 0;
        }
        self.events = self.events.saturating_add(events);
    }

    /// Whether those that came last came close to each other.
    #[must_use]
    pub fn is_close(&self, now: Duration) -> bool {
        self.events >= EVENTS && now >= self.not_before
    }

    /// The application begins to turn the event loop of the worker.
    pub fn note_begin(&mut self, now: Duration) {
        self.began = now;
    }

    /// The event loop of the worker has waited for the application. Where it went well for long before, that will have been an accident.
    pub fn note_hindrance(&mut self) {
        self.not_before = self.began + HINDRANCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn is_close_after(density: &mut Density, events: usize, now: Duration) -> bool {
        density.note(events, now);
        density.is_close(now)
    }

    #[test]
    fn so_many_within_a_span_are_close() {
        let mut density = Density::default();
        let all = (100..).map(|time| is_close_after(&mut density, 1, time * MILLISECOND / 2));
        assert_eq!(
            Some(EVENTS - 1),
            all.take(100).position(|is_close| is_close)
        );
        let mut density = Density::default();
        assert!((100..200).all(|time| !is_close_after(&mut density, 1, time * MILLISECOND)));
    }

    #[test]
    fn what_was_in_the_way_is_not_tried_again_soon() {
        let mut density = Density::default();
        density.note_begin(MILLISECOND);
        density.note_hindrance();
        assert!(!is_close_after(&mut density, EVENTS, 4 * MILLISECOND));
        assert!(!is_close_after(&mut density, EVENTS, HINDRANCE));
        assert!(is_close_after(
            &mut density,
            EVENTS,
            HINDRANCE + MILLISECOND
        ));
    }

    #[test]
    fn what_was_in_the_way_after_a_long_time_is_tried_again_at_once() {
        let mut density = Density::default();
        density.note_begin(MILLISECOND);
        density.note_hindrance();
        assert!(is_close_after(&mut density, EVENTS, 2 * HINDRANCE));
    }
}

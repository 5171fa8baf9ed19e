//! How close to each other events come: where they do, an event loop of the application does better to turn that of the worker too.

use std::time::Duration;

/// Within so long must come
const SPAN: Duration = Duration::from_millis(10);

/// so many of them.
const EVENTS: usize = 16;

/// So long it is not tried again where it was in the way.
const HINDRANCE: Duration = Duration::from_secs(1);

/// What is known of them. All times are monotonic.
#[derive(Debug, Default)]
pub struct Density {
    since: Duration,
    events: usize,
    not_before: Duration,
}

impl Density {
    /// So many have come. Returns whether they are close.
    pub fn note(&mut self, events: usize, now: Duration) -> bool {
        if now.saturating_sub(self.since) > SPAN {
            self.since = now;
            self.events = 0;
        }
        self.events = self.events.saturating_add(events);
        self.events >= EVENTS && now >= self.not_before
    }

    /// The event loop of the worker has waited for the application.
    pub fn note_hindrance(&mut self, now: Duration) {
        self.not_before = now + HINDRANCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn so_many_within_a_span_are_close() {
        let mut density = Density::default();
        let all = (100..).map(|time| density.note(1, time * MILLISECOND / 2));
        assert_eq!(
            Some(EVENTS - 1),
            all.take(100).position(|is_close| is_close)
        );
        let mut density = Density::default();
        assert!((100..200).all(|time| !density.note(1, time * MILLISECOND)));
    }

    #[test]
    fn what_was_in_the_way_is_not_tried_again_soon() {
        let mut density = Density::default();
        density.note_hindrance(MILLISECOND);
        assert!(!density.note(EVENTS, 2 * MILLISECOND));
        assert!(!density.note(EVENTS, HINDRANCE));
        assert!(density.note(EVENTS, HINDRANCE + MILLISECOND));
    }
}

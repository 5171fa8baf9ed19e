//! Requests that workers died of, and which of them are blocked for it: a count of deaths, and the time.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::scoreboard::BLOCKED_MAX;
use crate::supervisor::Now;

/// So many deaths within the window block a request.
const DEATHS: usize = 3;

/// Requests that are remembered. Workers that keep dying are replaced ever more slowly, so this is far away.
const SUSPECTS_MAX: usize = 1024;

/// By what a request is known.
pub(super) type Fingerprint = u64;

/// Requests that workers died of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Suspects(BTreeMap<Fingerprint, Suspect>);

/// What an operator knows a request by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    pub(super) method: String,
    /// The start of its path.
    pub(super) path: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspect {
    name: Named,
    /// The last deaths, oldest first.
    deaths: Vec<Now>,
    /// From the last of them.
    forgotten: Now,
    is_blocked: bool,
}

impl Suspects {
    /// A worker died of a request. Whether that blocks it, which it did not before.
    pub(super) fn death(
        &mut self,
        now: Now,
        window: Duration,
        fingerprint: Fingerprint,
        name: Named,
    ) -> bool {
        self.0
            .retain(|_, suspect| suspect.is_blocked || suspect.forgotten > now);
        let suspect = self.0.entry(fingerprint).or_insert_with(|| Suspect {
            name,
            deaths: Vec::new(),
            forgotten: now,
            is_blocked: false,
        });
        suspect.deaths.retain(|death| *death + window > now);
        suspect.deaths.push(now);
        suspect.forgotten = now + window;
        let is_new = !suspect.is_blocked && suspect.deaths.len() >= DEATHS;
        suspect.is_blocked |= is_new;
        self.give_up_oldest(SUSPECTS_MAX, |_| true);
        self.give_up_oldest(BLOCKED_MAX, |suspect| suspect.is_blocked);
        is_new
    }

    /// Forgets those blocked requests whose time is over; what they were called.
    pub(super) fn lift(&mut self, now: Now) -> Vec<Named> {
        let over = |suspect: &mut Suspect| suspect.is_blocked && suspect.forgotten <= now;
        let lifted = self.0.extract_if(.., |_, suspect| over(suspect));
        lifted.map(|(_, suspect)| suspect.name).collect()
    }

    /// When [`Self::lift`] has something to do.
    pub(super) fn next_deadline(&self) -> Option<Now> {
        self.blocked().map(|(_, until)| until).min()
    }

    /// The requests that are blocked, each with its end.
    pub(super) fn blocked(&self) -> impl Iterator<Item = (Fingerprint, Now)> {
        let blocked = self.0.iter().filter(|(_, suspect)| suspect.is_blocked);
        blocked.map(|(fingerprint, suspect)| (*fingerprint, suspect.forgotten))
    }

    /// Of those that are `counted`, `most` stay: the ones that workers died of last.
    fn give_up_oldest(&mut self, most: usize, counted: impl Fn(&Suspect) -> bool) {
        while self.0.values().filter(|suspect| counted(suspect)).count() > most {
            let counted = self.0.iter().filter(|(_, suspect)| counted(suspect));
            let oldest = counted.min_by_key(|(_, suspect)| suspect.deaths.last().copied());
            let Some((fingerprint, _)) = oldest else {
                return;
            };
            let fingerprint = *fingerprint;
            self.0.remove(&fingerprint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(100);

    fn at(seconds: u64) -> Now {
        Now::from_secs(seconds)
    }

    /// A worker dies of the request `fingerprint` at `seconds`.
    fn death(suspects: &mut Suspects, seconds: u64, fingerprint: Fingerprint) -> bool {
        suspects.death(at(seconds), WINDOW, fingerprint, name(fingerprint))
    }

    fn name(fingerprint: Fingerprint) -> Named {
        Named {
            method: "GET".to_owned(),
            path: format!("/{fingerprint}"),
        }
    }

    fn blocked(suspects: &Suspects) -> Vec<(Fingerprint, u64)> {
        let blocked = suspects.blocked();
        blocked.map(|(of, until)| (of, until.as_secs())).collect()
    }

    #[test]
    fn the_third_death_within_the_window_blocks_a_request() {
        let mut suspects = Suspects::default();
        assert!(!death(&mut suspects, 1, 7));
        assert!(!death(&mut suspects, 2, 7));
        assert_eq!(blocked(&suspects), []);
        assert!(death(&mut suspects, 100, 7));
        assert_eq!(blocked(&suspects), [(7, 200)]);
    }

    #[test]
    fn deaths_of_other_requests_do_not_count() {
        let mut suspects = Suspects::default();
        for (second, request) in [(1, 7), (2, 8), (3, 7), (4, 8), (5, 9)] {
            assert!(!death(&mut suspects, second, request));
        }
        assert!(death(&mut suspects, 6, 7));
        assert_eq!(blocked(&suspects), [(7, 106)]);
    }

    #[test]
    fn deaths_that_are_too_far_apart_block_nothing() {
        let mut suspects = Suspects::default();
        for second in [1, 51, 101, 151, 201] {
            assert!(!death(&mut suspects, second, 7), "{second}");
        }
        assert!(death(&mut suspects, 202, 7), "151, 201 and 202 are near");
    }

    #[test]
    fn a_request_is_blocked_until_the_window_has_passed_since_the_last_death() {
        let mut suspects = Suspects::default();
        for second in [1, 2, 3] {
            death(&mut suspects, second, 7);
        }
        // It was in flight in other workers when it was blocked.
        assert!(!death(&mut suspects, 50, 7), "it is blocked already");
        assert_eq!(blocked(&suspects), [(7, 150)]);
        assert_eq!(suspects.next_deadline(), Some(at(150)));
        assert_eq!(suspects.lift(at(149)), []);
        assert_eq!(suspects.lift(at(150)), [name(7)]);
        assert_eq!(blocked(&suspects), []);
        assert_eq!(suspects.next_deadline(), None);
        assert!(!death(&mut suspects, 151, 7), "it starts anew");
    }

    #[test]
    fn who_is_not_blocked_wakes_nobody_and_is_forgotten() {
        let mut suspects = Suspects::default();
        death(&mut suspects, 1, 7);
        assert_eq!(suspects.next_deadline(), None);
        death(&mut suspects, 101, 8);
        assert_eq!(suspects.0.len(), 1);
    }

    #[test]
    fn beyond_what_can_be_blocked_the_oldest_are_given_up() {
        let mut suspects = Suspects::default();
        let most = BLOCKED_MAX as u64;
        for request in 1..=most + 1 {
            // Blocked in this order, known by numbers in the other.
            for _ in 0..DEATHS {
                death(&mut suspects, request, 1000 - request);
            }
        }
        let blocked: Vec<_> = blocked(&suspects).iter().map(|(of, _)| *of).collect();
        assert_eq!(blocked.len(), BLOCKED_MAX);
        assert!(!blocked.contains(&999), "the first");
        assert!(blocked.contains(&(1000 - most - 1)), "the last");
    }

    #[test]
    fn memory_is_bounded() {
        let mut suspects = Suspects::default();
        for request in 0..2000 {
            death(&mut suspects, 1, request);
        }
        assert_eq!(suspects.0.len(), SUSPECTS_MAX);
    }
}

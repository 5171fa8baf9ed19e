//! Which event loops hang: decided from what workers note on the scoreboard and from the time.
//!
//! A worker that waits for something to do notes that, so it need not wake up to say that it lives. One that always has
//! something to do notes nothing for a long time though it lives; so a worker is asked to show that its event loop turns
//! before it is given up.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::supervisor::{Now, WorkerId};

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) worker: WorkerId,
    /// For how long its event loop may not turn.
    pub(super) timeout: Duration,
    /// Since when it has not been seen to; `None` while it waits for something to do.
    pub(super) busy_since: Option<Now>,
    /// Whether somebody has stopped it: it does not look whether there is something to do.
    pub(super) is_stopped: bool,
}

/// What shall be done about a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finding {
    /// Ask it to show that its event loop turns.
    Suspect(WorkerId),
    /// Its event loop has not turned for the whole time-out, though it was asked to.
    Hangs(WorkerId),
}

/// What was found before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HangWatch {
    /// When workers were looked at last.
    looked: Now,
    suspects: BTreeMap<WorkerId, Suspect>,
    /// Since when workers were seen stopped. Another program looks anew.
    #[serde(skip)]
    stopped: BTreeMap<WorkerId, Now>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Suspect {
    /// The stamp that it must not leave as it is.
    busy_since: Now,
    /// Then it hangs.
    until: Now,
}

/// So often a time-out is looked at: a hang is found at its end, or later by as much at most.
const LOOKS: u32 = 4;

impl HangWatch {
    /// When to look again, where workers have these time-outs. Multiples of a quarter of each, so that all workers are
    /// looked at together.
    pub(super) fn next_look(&self, timeouts: impl Iterator<Item = Duration>) -> Option<Now> {
        let looks = timeouts.map(|timeout| next_multiple(self.looked, timeout / LOOKS));
        let ends = self.suspects.values().map(|suspect| suspect.until);
        looks.chain(ends).min()
    }

    /// Looks at all workers whose event loops should turn.
    pub(super) fn look(&mut self, now: Now, workers: &[Seen]) -> Vec<Finding> {
        let before = std::mem::take(&mut self.suspects);
        let looked = std::mem::replace(&mut self.looked, now);
        let were_stopped = std::mem::take(&mut self.stopped);
        let mut findings = Vec::new();
        for seen in workers {
            let stopped_since = seen.is_stopped.then(|| {
                let since = were_stopped.get(&seen.worker).copied().unwrap_or(now);
                self.stopped.insert(seen.worker, since);
                since
            });
            let Some(busy_since) = seen.busy_since.or(stopped_since) else {
                continue;
            };
            let quarter = seen.timeout / LOOKS;
            // Whoever looks so late was held up, and so may the worker have been: by a machine that was suspended, a
            // container that was frozen. What it was asked before, it had no time to answer.
            let was_held_up = now > next_multiple(looked, quarter) + quarter;
            let suspect = before
                .get(&seen.worker)
                .filter(|suspect| suspect.busy_since == busy_since && !was_held_up);
            match suspect {
                Some(suspect) if suspect.until <= now => {
                    findings.push(Finding::Hangs(seen.worker));
                }
                Some(suspect) => {
                    self.suspects.insert(seen.worker, *suspect);
                }
                None if seen.is_stopped || now.saturating_sub(busy_since) > seen.timeout / 2 => {
                    let until = (busy_since + seen.timeout).max(now + quarter);
                    self.suspects
                        .insert(seen.worker, Suspect { busy_since, until });
                    findings.push(Finding::Suspect(seen.worker));
                }
                None => {}
            }
        }
        findings
    }
}

/// The first multiple of `step` after `time`.
pub(super) fn next_multiple(time: Now, step: Duration) -> Now {
    let step = step.max(Duration::from_millis(1));
    let done = time.as_nanos() / step.as_nanos();
    let nanoseconds = (done + 1) * step.as_nanos();
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Finding, HangWatch, Seen};
    use crate::supervisor::{Now, WorkerId};

    const ONE: WorkerId = WorkerId(1);
    const TIMEOUT: Duration = Duration::from_mins(1);

    fn at(seconds: u64) -> Now {
        Duration::from_secs(seconds)
    }

    fn busy(worker: WorkerId, since: Now) -> Seen {
        Seen {
            worker,
            timeout: TIMEOUT,
            busy_since: Some(since),
            is_stopped: false,
        }
    }

    fn waiting(worker: WorkerId) -> Seen {
        Seen {
            busy_since: None,
            ..busy(worker, Now::ZERO)
        }
    }

    /// Looks whenever it wants to until `end`; what it found, and when.
    fn watch(
        watch: &mut HangWatch,
        end: Now,
        mut seen: impl FnMut(Now) -> Vec<Seen>,
    ) -> Vec<(Now, Finding)> {
        let mut findings = Vec::new();
        while let Some(now) = watch.next_look([TIMEOUT].into_iter())
            && now <= end
        {
            assert!(now > watch.looked, "it looks twice at {now:?}");
            let found = watch.look(now, &seen(now));
            findings.extend(found.into_iter().map(|finding| (now, finding)));
        }
        findings
    }

    #[test]
    fn a_worker_that_waits_is_never_suspected() {
        let findings = watch(&mut HangWatch::default(), at(3600), |_| vec![waiting(ONE)]);
        assert_eq!(findings, []);
    }

    #[test]
    fn a_hang_is_found_exactly_when_its_time_is_over() {
        for since in [at(1), at(7), at(14), at(15), at(16), at(29)] {
            let findings = watch(&mut HangWatch::default(), at(100), |now| {
                let hangs = now >= since && now <= since + TIMEOUT;
                if hangs {
                    vec![busy(ONE, since)]
                } else {
                    vec![]
                }
            });
            let (asked, finding) = findings[0];
            assert_eq!(finding, Finding::Suspect(ONE));
            let age = asked.saturating_sub(since);
            assert!(
                age > TIMEOUT / 2 && age <= TIMEOUT * 3 / 4,
                "{since:?}: {asked:?}"
            );
            assert_eq!(findings[1..], [(since + TIMEOUT, Finding::Hangs(ONE))]);
        }
    }

    #[test]
    fn a_suspect_whose_event_loop_turns_is_asked_again_after_half_a_time_out_at_most() {
        let mut since = at(3);
        let mut asked = Vec::new();
        let mut hangs = HangWatch::default();
        while let Some(now) = hangs.next_look([TIMEOUT].into_iter())
            && now < at(3600)
        {
            match hangs.look(now, &[busy(ONE, since)])[..] {
                [] => {}
                [Finding::Suspect(ONE)] => {
                    asked.push(now);
                    since = now + Duration::from_millis(1);
                }
                ref other => panic!("{other:?} at {now:?}"),
            }
        }
        assert!(asked.len() > 50);
        assert!(
            asked
                .windows(2)
                .all(|times| times[1].saturating_sub(times[0]) >= TIMEOUT / 2)
        );
    }

    #[test]
    fn one_that_waits_in_between_is_busy_anew() {
        let findings = watch(&mut HangWatch::default(), at(3600), |now| {
            // Busy for 50 seconds of each minute.
            let minute = now.as_secs() / 60 * 60;
            if now.as_secs() - minute < 50 {
                vec![busy(ONE, at(minute))]
            } else {
                vec![waiting(ONE)]
            }
        });
        let hung = findings
            .iter()
            .any(|(_, found)| *found == Finding::Hangs(ONE));
        assert!(!findings.is_empty() && !hung, "{findings:?}");
    }

    #[test]
    fn one_that_somebody_has_stopped_hangs_although_it_waited_and_one_that_goes_on_does_not() {
        let stopped_until = |end: Now| {
            watch(&mut HangWatch::default(), at(300), |now| {
                let is_stopped = now >= at(40) && now < end;
                vec![Seen {
                    is_stopped,
                    ..waiting(ONE)
                }]
            })
        };
        let findings = stopped_until(at(1000));
        let hangs = (at(45) + TIMEOUT, Finding::Hangs(ONE));
        assert_eq!(findings[..2], [(at(45), Finding::Suspect(ONE)), hangs]);
        assert_eq!(stopped_until(at(100)), findings[..1]);
    }

    #[test]
    fn what_one_was_suspected_of_before_is_not_held_against_it_when_it_is_stopped() {
        let findings = watch(&mut HangWatch::default(), at(300), |now| {
            let stopped = Seen {
                is_stopped: true,
                ..waiting(ONE)
            };
            vec![if now <= at(45) {
                busy(ONE, at(1))
            } else {
                stopped
            }]
        });
        // The end of the first suspicion is when it is looked at again.
        let expected = [
            (at(45), Finding::Suspect(ONE)),
            (at(60), Finding::Suspect(ONE)),
            (at(60) + TIMEOUT, Finding::Hangs(ONE)),
        ];
        assert_eq!(findings[..3], expected);
    }

    #[test]
    fn what_a_frozen_machine_made_late_is_not_held_against_a_worker() {
        for before in [at(15), at(45)] {
            let mut hangs = HangWatch::default();
            let seen = [busy(ONE, at(1))];
            let _asked = watch(&mut hangs, before, |_| seen.to_vec());
            // Everybody was frozen for an hour; the master is the first to run again.
            assert_eq!(
                hangs.look(at(3600), &seen),
                [Finding::Suspect(ONE)],
                "{before:?}"
            );
            let findings = watch(&mut hangs, at(3700), |_| seen.to_vec());
            assert_eq!(findings[0], (at(3615), Finding::Hangs(ONE)), "{before:?}");
        }
    }

    #[test]
    fn all_workers_are_looked_at_together() {
        let mut hangs = HangWatch::default();
        let workers: Vec<WorkerId> = (1..=100).map(WorkerId).collect();
        let mut looks = 0;
        let seen = |_| {
            looks += 1;
            workers.iter().map(|worker| waiting(*worker)).collect()
        };
        let _findings = watch(&mut hangs, at(600), seen);
        assert_eq!(looks, 40);
        assert_eq!(hangs.next_look(std::iter::empty()), None);
    }
}

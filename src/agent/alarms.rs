//! What of the master's status is worth an event: certificates that end, and what is fetched and has become too old. Decides only.

use std::collections::{BTreeMap, BTreeSet};

use crate::channel::Happening;
use crate::master::{FeedCondition, Status};

/// Days before its end at which a certificate is told of, and its end.
const DAYS: [u32; 4] = [0, 1, 7, 30];

const DAY: u64 = 24 * 60 * 60;

/// What was told already.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// Of each certificate, with its end: the days that it was told of last.
    expiring: BTreeMap<(String, u64), u32>,
    /// Purpose and source of what is too old.
    stale: BTreeSet<(String, String)>,
}

impl Alarms {
    /// What is new; `now` is in seconds since 1970.
    pub(super) fn look(&mut self, status: &Status, now: u64) -> Vec<Happening> {
        let mut happenings = Vec::new();
        let mut there = Vec::new();
        for feed in &status.feeds {
            if let Some(not_after) = feed.not_after {
                let key = (feed.source.clone(), not_after);
                there.push(key.clone());
                let left = not_after.saturating_sub(now);
                let due = DAYS.into_iter().find(|days| left <= u64::from(*days) * DAY);
                if let Some(days) = due
                    && self.expiring.insert(key, days) != Some(days)
                {
                    happenings.push(Happening::CertificateExpiring {
                        certificate: feed.source.clone(),
                        not_after,
                        within_days: days,
                    });
                }
            }
            let key = (feed.purpose.clone(), feed.source.clone());
            if feed.state != FeedCondition::Stale {
                self.stale.remove(&key);
            } else if self.stale.insert(key) {
                happenings.push(Happening::KeysStale {
                    purpose: feed.purpose.clone(),
                    issuer: feed.issuer.clone(),
                    source: feed.source.clone(),
                    message: feed.failure.as_ref().map(|failure| failure.reason.clone()),
                });
            }
        }
        // One that was renewed is another one.
        self.expiring.retain(|key, _| there.contains(key));
        happenings
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(not_after: u64, state: &str) -> Status {
        let feed = |purpose: &str, state: &str, not_after: Option<u64>| {
            json!({
                "purpose": purpose, "issuer": null, "source": format!("/etc/{purpose}"), "is_fetched": true, "state": state,
                "entries": null, "age": null, "next_in": null, "stale_in": null, "failure": null, "not_after": not_after,
            })
        };
        let status = json!({
            "version": "0", "pid": 1, "uptime": 0.0, "state": "serving", "stop": null, "generation": 1, "config": "", "control_socket": "",
            "workers_wanted": 1, "workers_because": "", "listeners": [], "last_reload": null, "workers": [],
            "totals": {"connections": 0, "requests": 0, "by_status_class": [0, 0, 0, 0, 0], "refused": 0},
            "feeds": [feed("certificate", "good", Some(not_after)), feed("keys", state, None)],
        });
        serde_json::from_value(status).expect("a status")
    }

    fn days(happenings: &[Happening]) -> Vec<u32> {
        let days = happenings.iter().filter_map(|happening| match happening {
            Happening::CertificateExpiring { within_days, .. } => Some(*within_days),
            Happening::WorkerDied { .. }
            | Happening::Degraded { .. }
            | Happening::Recovered { .. }
            | Happening::ReloadDone { .. }
            | Happening::ReloadFailed { .. }
            | Happening::KeysStale { .. } => None,
        });
        days.collect()
    }

    #[test]
    fn a_certificate_is_told_of_once_at_each_number_of_days_and_when_it_has_ended() {
        let mut alarms = Alarms::default();
        let end = 100 * DAY;
        let mut at = |day: u64| days(&alarms.look(&status(end, "good"), day * DAY));
        assert_eq!(at(60), [0; 0]);
        assert_eq!(at(70), [30]);
        assert_eq!(at(71), [0; 0]);
        assert_eq!(at(95), [7]);
        assert_eq!(at(99), [1]);
        assert_eq!(at(100), [0]);
        assert_eq!(at(101), [0; 0]);
        // Renewed.
        assert_eq!(
            days(&alarms.look(&status(end + 90 * DAY, "good"), end)),
            [0; 0]
        );
    }

    #[test]
    fn what_is_too_old_is_told_once_until_it_was_good_again() {
        let mut alarms = Alarms::default();
        let mut look = |state| alarms.look(&status(u64::MAX, state), 0).len();
        assert_eq!(
            ["stale", "stale", "good", "stale"].map(&mut look),
            [1, 0, 0, 1]
        );
    }
}

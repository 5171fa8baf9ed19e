//! What a probe finds, from what the master says of itself: a function, without a clock and a socket.

use std::fmt;

use serde::Serialize;

use crate::master::{Status, StopPhase};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Probe {
    /// Whether the master turns its loop: else it must be started anew.
    Live,
    /// Whether the server wants requests.
    Ready,
    /// Whether it has ever served.
    Started,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    probe: Probe,
    status: Outcome,
    /// Why not; empty where it is well.
    reasons: Vec<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workers: Option<Workers>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Failed,
}

/// One reason: a word for programs, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Reason {
    code: &'static str,
    message: String,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Workers {
    accepting: usize,
    wanted: u16,
    ready_min: u16,
}

impl Verdict {
    fn new(probe: Probe, reasons: Vec<Reason>, workers: Option<Workers>) -> Self {
        let status = if reasons.is_empty() {
            Outcome::Ok
        } else {
            Outcome::Failed
        };
        Self {
            probe,
            status,
            reasons,
            workers,
        }
    }

    /// The master has not answered.
    pub(super) fn silent(probe: Probe) -> Self {
        let message = "the master has not answered within a second".to_owned();
        let reason = Reason {
            code: "master_silent",
            message,
        };
        Self::new(probe, vec![reason], None)
    }

    pub(super) fn is_good(&self) -> bool {
        self.status == Outcome::Ok
    }
}

/// As Kubernetes shows its own: a line for each thing that was looked at.
impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Reason { code, message } in &self.reasons {
            writeln!(formatter, "[-]{code} failed: {message}")?;
        }
        if self.reasons.is_empty() {
            writeln!(formatter, "[+]master ok")?;
        }
        if let Some(workers) = &self.workers {
            let Workers {
                accepting,
                wanted,
                ready_min,
            } = workers;
            let sign = if *accepting >= usize::from(*ready_min) {
                "[+]workers ok"
            } else {
                "[-]workers failed"
            };
            writeln!(
                formatter,
                "{sign}: {accepting} of {wanted} take connections, `health.ready_min` is {ready_min}"
            )?;
        }
        let name = match self.probe {
            Probe::Live => "livez",
            Probe::Ready => "readyz",
            Probe::Started => "startupz",
        };
        match self.status {
            Outcome::Ok => writeln!(formatter, "{name} check passed"),
            Outcome::Failed => writeln!(formatter, "{name} check failed"),
        }
    }
}

/// Whether the master turns its loop; `status` is what it has just said.
pub(super) fn live(status: Option<&Status>) -> Verdict {
    match status {
        Some(_) => Verdict::new(Probe::Live, Vec::new(), None),
        None => Verdict::silent(Probe::Live),
    }
}

/// Whether a generation has ever served.
pub(super) fn started(status: Option<&Status>) -> Verdict {
    let Some(status) = status else {
        return Verdict::silent(Probe::Started);
    };
    let reasons = booting(status).into_iter().collect();
    Verdict::new(Probe::Started, reasons, None)
}

/// Whether the server wants requests: enough workers take them, and it is not about to stop.
pub(super) fn ready(status: Option<&Status>, ready_min: u16) -> Verdict {
    let Some(status) = status else {
        return Verdict::silent(Probe::Ready);
    };
    let accepting = status.workers.iter();
    let accepting = accepting
        .filter(|worker| worker.state == "accepting")
        .count();
    let workers = Workers {
        accepting,
        wanted: status.workers_wanted,
        ready_min,
    };
    let stop = status.stop.as_ref().map(|stop| match stop.phase {
        StopPhase::Delay => reason("stopping", "it was told to stop, and serves on for a while"),
        StopPhase::Draining => reason("draining", "it was told to stop, and finishes its requests"),
    });
    let why = stop.or_else(|| booting(status)).or_else(|| {
        if status.generation.is_some() && status.workers_wanted == 0 {
            return Some(reason("paused", "the workers were told to pause"));
        }
        (accepting < usize::from(ready_min)).then(|| Reason {
            code: "degraded",
            message: format!(
                "{accepting} of {} workers take connections, fewer than `health.ready_min`, {ready_min}",
                status.workers_wanted
            ),
        })
    });
    Verdict::new(Probe::Ready, why.into_iter().collect(), Some(workers))
}

fn booting(status: &Status) -> Option<Reason> {
    let has_served = status.generation.is_some();
    (!has_served).then(|| reason("booting", "no worker has been ready yet"))
}

fn reason(code: &'static str, message: &str) -> Reason {
    Reason {
        code,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A server that serves with these workers, and is as `changes` says.
    fn status(states: &[&str], changes: &Value) -> Status {
        let worker = |state: &&str| {
            json!({
                "worker": 1, "pid": 2, "slot": 0, "generation": 1, "state": state, "uptime": 1.0, "connections": 0,
                "in_flight": 0, "requests": 0, "memory": null, "requests_in_flight": []
            })
        };
        let mut status = json!({
            "version": "0", "pid": 1, "uptime": 1.0, "state": "serving", "stop": null, "generation": 1, "config": "",
            "control_socket": "", "workers_wanted": states.len(), "workers_because": "", "listeners": [],
            "last_reload": null,
            "totals": {"connections": 0, "requests": 0, "by_status_class": [0, 0, 0, 0, 0], "refused": 0},
            "workers": states.iter().map(worker).collect::<Vec<_>>()
        });
        for (key, value) in changes.as_object().unwrap() {
            status[key] = value.clone();
        }
        serde_json::from_value(status).unwrap()
    }

    fn reasons(verdict: &Verdict) -> Vec<&str> {
        verdict.reasons.iter().map(|reason| reason.code).collect()
    }

    #[test]
    fn the_server_is_ready_while_enough_workers_take_connections_and_no_stop_has_begun() {
        let both = ["accepting", "accepting"];
        for (states, changes, ready_min, expected) in [
            (&both[..], json!({}), 2, vec![]),
            (&["accepting", "booting"], json!({}), 1, vec![]),
            (&["accepting", "booting"], json!({}), 2, vec!["degraded"]),
            (&["accepting", "draining"], json!({}), 2, vec!["degraded"]),
            (
                &["booting"],
                json!({"generation": null}),
                1,
                vec!["booting"],
            ),
            (&[], json!({}), 1, vec!["paused"]),
            (&both, json!({"state": "reloading"}), 2, vec![]),
            (
                &both,
                json!({"stop": {"phase": "delay", "drains_in": 1.0, "ends_in": 9.0}}),
                1,
                vec!["stopping"],
            ),
            (
                &["draining"],
                json!({"stop": {"phase": "draining", "drains_in": null, "ends_in": 9.0}}),
                1,
                vec!["draining"],
            ),
        ] {
            let verdict = ready(Some(&status(states, &changes)), ready_min);
            assert_eq!(reasons(&verdict), expected, "{states:?} {changes}");
            assert_eq!(verdict.is_good(), expected.is_empty());
        }
        assert_eq!(reasons(&ready(None, 1)), ["master_silent"]);
    }

    #[test]
    fn a_server_has_started_once_a_generation_has_served_whatever_becomes_of_it() {
        let booting = status(&["booting"], &json!({"generation": null}));
        assert_eq!(reasons(&started(Some(&booting))), ["booting"]);
        assert!(started(Some(&status(&[], &json!({})))).is_good());
        assert!(!started(None).is_good());
        assert!(live(Some(&booting)).is_good() && !live(None).is_good());
    }

    #[test]
    fn a_verdict_is_told_to_programs_and_to_people() {
        let verdict = ready(Some(&status(&["accepting", "booting"], &json!({}))), 2);
        let told = serde_json::to_value(&verdict).unwrap();
        assert_eq!(told["status"], "failed");
        assert_eq!(told["workers"]["accepting"], 1);
        assert_eq!(told["reasons"][0]["code"], "degraded");
        assert_eq!(
            verdict.to_string(),
            "[-]degraded failed: 1 of 2 workers take connections, fewer than `health.ready_min`, 2\n\
             [-]workers failed: 1 of 2 take connections, `health.ready_min` is 2\nreadyz check failed\n"
        );
        let good = ready(Some(&status(&["accepting"], &json!({}))), 1);
        assert_eq!(
            good.to_string(),
            "[+]master ok\n[+]workers ok: 1 of 1 take connections, `health.ready_min` is 1\nreadyz check passed\n"
        );
    }
}

//! What is known of one death: data, and its words for the log and for `destrier status`.

use std::time::Duration;

use nix::sys::signal::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::RequestStatus;
use crate::scoreboard::{Cause, RequestInFlight, SeatView};
use crate::supervisor::{KillReason, Now};
use crate::sys::process::Ending;

/// Requests that a line of the log names; it shall go into a pipe whole (`PIPE_BUF`, pipe(7)).
const NAMED_MAX: usize = 16;

/// A worker that died, as `destrier status` tells it. Fields are only ever added; times are in seconds.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DeathStatus {
    /// Since it died.
    pub ago: f64,
    /// When it died, since 1970, UTC.
    pub at: f64,
    /// Its number; never used twice.
    pub worker: u64,
    /// Its process.
    pub pid: u32,
    /// The slot it filled.
    pub slot: u16,
    /// The generation it ran.
    pub generation: u64,
    /// From its spawn to its death.
    pub uptime: f64,
    /// How it ended, in words.
    pub ending: String,
    /// The code it exited with.
    pub exit_code: Option<i32>,
    /// The signal that ended it; a real-time signal has no name but its number.
    pub signal: Option<String>,
    /// Whether the kernel wrote a core.
    pub core_dumped: bool,
    /// Whether the kernel killed it for want of memory: `yes`, `no` or `unknown`.
    pub out_of_memory: String,
    /// Why the master killed it: `boot_timeout`, `graceful_timeout`, `hang`, `boot_failed`, `unwanted` or `stop`.
    pub killed_for: Option<String>,
    /// For how long its event loop had not turned when it was found to hang.
    pub hung_for: Option<f64>,
    /// Connections that were open.
    pub connections: u64,
    /// Requests that were in flight.
    pub in_flight: u64,
    /// What is proven about the cause: `request`, `unnamed_request`, `no_request`, `another_thread`, `signal_from_outside` or
    /// `unknown`.
    pub cause: String,
    /// The process that sent the signal; 0: one that cannot be seen from here.
    pub sent_by: Option<u32>,
    /// The request that the dying thread was executing, where that is proven.
    pub executing: Option<RequestStatus>,
    /// The oldest of the others, which were merely in flight.
    pub others_in_flight: Vec<RequestStatus>,
}

/// A worker that died, not as it was told to.
#[derive(Debug, Clone)]
pub(super) struct DeathReport {
    pub(super) worker: u64,
    pub(super) pid: u32,
    pub(super) slot: u16,
    pub(super) generation: u64,
    /// When it was spawned, and when its end was noticed.
    pub(super) spawned: Now,
    pub(super) died: Now,
    /// The same moment, since 1970 and as the scoreboard counts.
    pub(super) died_unix: Duration,
    pub(super) died_monotonic: Duration,
    pub(super) ending: Ending,
    pub(super) out_of_memory: OutOfMemory,
    /// Why the master sent the signal that ended it.
    pub(super) killed: Option<KillReason>,
    /// For how long its event loop had not turned when the master found that it hangs.
    pub(super) hung_for: Option<Duration>,
    /// Its seat, as it left it.
    pub(super) seat: SeatView,
}

/// A death as it is kept: also by a program that takes over from this one.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptDeath {
    died: Now,
    /// As it was told when it died.
    told: DeathStatus,
}

impl KeptDeath {
    pub(super) fn new(report: &DeathReport) -> Self {
        Self {
            died: report.died,
            told: report.status(report.died),
        }
    }

    pub(super) fn status(&self, now: Now) -> DeathStatus {
        DeathStatus {
            ago: now.saturating_sub(self.died).as_secs_f64(),
            ..self.told.clone()
        }
    }
}

/// Who ended a worker that SIGKILL ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutOfMemory {
    Yes,
    No,
    Unknown,
}

impl OutOfMemory {
    /// The kernel counts the processes that it killed for want of memory, not which: proof where it killed at least as many
    /// as have died.
    pub(super) fn judge(kills: Option<u64>, killed: u64) -> Self {
        match kills {
            Some(0) => Self::No,
            Some(kills) if kills >= killed => Self::Yes,
            Some(_) | None => Self::Unknown,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

impl DeathReport {
    /// How it ended: signal or exit code, and who is behind it where that is proven.
    pub(super) fn ending_in_words(&self) -> String {
        let out_of_memory = match self.out_of_memory {
            OutOfMemory::Yes => ", out of memory",
            OutOfMemory::No | OutOfMemory::Unknown => "",
        };
        let sender = match self.sent_by() {
            Some(0) => ", sent from outside".to_owned(),
            Some(pid) => format!(", sent by process {pid}"),
            None => String::new(),
        };
        format!("{}{out_of_memory}{sender}", self.ending)
    }

    fn sent_by(&self) -> Option<u32> {
        match self.seat.cause {
            Some(Cause::SentBy(pid)) => Some(pid),
            Some(
                Cause::Request(_) | Cause::UnnamedRequest | Cause::NoRequest | Cause::AnotherThread,
            )
            | None => None,
        }
    }

    pub(super) fn uptime(&self) -> Duration {
        self.died.saturating_sub(self.spawned)
    }

    /// What the dying thread was executing.
    pub(super) fn executing_in_words(&self) -> String {
        match &self.seat.cause {
            Some(Cause::Request(request)) => self.request_in_words(request),
            Some(Cause::UnnamedRequest) => "a request that is not named".to_owned(),
            Some(Cause::NoRequest) => "no request".to_owned(),
            Some(Cause::AnotherThread) => "unknown: another thread died".to_owned(),
            Some(Cause::SentBy(_)) | None => "unknown".to_owned(),
        }
    }

    /// The oldest of the requests that were merely in flight: method, path, age, id.
    pub(super) fn others_in_words(&self) -> String {
        let others = self.others().take(NAMED_MAX);
        let words = others.map(|request| self.request_in_words(request));
        words.collect::<Vec<_>>().join("; ")
    }

    /// The request that the worker died of, where that is proven.
    pub(super) fn culprit(&self) -> Option<&RequestInFlight> {
        match &self.seat.cause {
            Some(Cause::Request(request)) => Some(request),
            Some(
                Cause::UnnamedRequest | Cause::NoRequest | Cause::AnotherThread | Cause::SentBy(_),
            )
            | None => None,
        }
    }

    fn others(&self) -> impl Iterator<Item = &RequestInFlight> {
        let culprit = self.culprit().map(|request| request.id);
        let requests = self.seat.requests.iter();
        requests.filter(move |request| Some(request.id) != culprit)
    }

    fn request_in_words(&self, request: &RequestInFlight) -> String {
        let age = self.age(request).as_millis();
        let RequestInFlight {
            id, method, path, ..
        } = request;
        match id.trace_id() {
            Some(trace) => format!("{method} {path} {age}ms {id} trace {trace}"),
            None => format!("{method} {path} {age}ms {id}"),
        }
    }

    fn age(&self, request: &RequestInFlight) -> Duration {
        self.died_monotonic.saturating_sub(request.started)
    }

    pub(super) fn status(&self, now: Now) -> DeathStatus {
        let (exit_code, signal, core_dumped) = match self.ending {
            Ending::Exited(code) => (Some(code), None, false),
            Ending::Killed { signal, core } => (None, Some(signal_name(signal)), core),
        };
        let request = |request| RequestStatus::new(request, self.died_monotonic);
        DeathStatus {
            ago: now.saturating_sub(self.died).as_secs_f64(),
            at: self.died_unix.as_secs_f64(),
            worker: self.worker,
            pid: self.pid,
            slot: self.slot,
            generation: self.generation,
            uptime: self.uptime().as_secs_f64(),
            ending: self.ending_in_words(),
            exit_code,
            signal,
            core_dumped,
            out_of_memory: self.out_of_memory.word().to_owned(),
            killed_for: self.killed.map(|reason| kill_word(reason).to_owned()),
            hung_for: self.hung_for.map(|time| time.as_secs_f64()),
            connections: self.seat.connections,
            in_flight: self.seat.in_flight,
            cause: cause_word(self.seat.cause.as_ref()).to_owned(),
            sent_by: self.sent_by(),
            executing: self.culprit().map(request),
            others_in_flight: self.others().map(request).collect(),
        }
    }
}

fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| number.to_string(), |signal| signal.to_string())
}

/// Why the master killed a worker.
pub(super) fn kill_word(reason: KillReason) -> &'static str {
    match reason {
        KillReason::BootTimeout => "boot_timeout",
        KillReason::GracefulTimeout => "graceful_timeout",
        KillReason::Hung => "hang",
        KillReason::BootFailed => "boot_failed",
        KillReason::Unwanted => "unwanted",
        KillReason::Stop => "stop",
    }
}

fn cause_word(cause: Option<&Cause>) -> &'static str {
    match cause {
        Some(Cause::Request(_)) => "request",
        Some(Cause::UnnamedRequest) => "unnamed_request",
        Some(Cause::NoRequest) => "no_request",
        Some(Cause::AnotherThread) => "another_thread",
        Some(Cause::SentBy(_)) => "signal_from_outside",
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scoreboard::{Counters, RequestId};

    fn request(number: u64) -> RequestInFlight {
        RequestInFlight {
            id: RequestId::new(0, number),
            method: "GET".to_owned(),
            path: format!("/{number}"),
            started: Duration::from_secs(100 + number),
            fingerprint: None,
        }
    }

    /// Of a worker that died at 110 s of the scoreboard's time.
    fn report(ending: Ending, cause: Option<Cause>, requests: &[u64]) -> DeathReport {
        DeathReport {
            worker: 3,
            pid: 42,
            slot: 1,
            generation: 2,
            spawned: Now::from_secs(5),
            died: Now::from_secs(65),
            died_unix: Duration::from_secs(1_700_000_000),
            died_monotonic: Duration::from_secs(110),
            ending,
            out_of_memory: OutOfMemory::No,
            killed: None,
            hung_for: None,
            seat: SeatView {
                pid: 42,
                slot: 1,
                generation: 2,
                connections: 7,
                connections_wait: None,
                in_flight: requests.len() as u64,
                queued: 0,
                queued_since: None,
                threads: None,
                counters: Counters::default(),
                requests: requests.iter().copied().map(request).collect(),
                cause,
            },
        }
    }

    const SEGV: Ending = Ending::Killed {
        signal: Signal::SIGSEGV as i32,
        core: true,
    };

    const KILL: Ending = Ending::Killed {
        signal: Signal::SIGKILL as i32,
        core: false,
    };

    #[test]
    fn the_request_that_was_executed_is_told_from_those_in_flight() {
        let report = report(SEGV, Some(Cause::Request(request(2))), &[1, 2, 3]);
        let id = |number| format!("{number:032x}");
        assert_eq!(
            report.executing_in_words(),
            format!("GET /2 8000ms {}", id(2))
        );
        assert_eq!(
            report.others_in_words(),
            format!("GET /1 9000ms {}; GET /3 7000ms {}", id(1), id(3))
        );
        let status = report.status(Now::from_secs(70));
        assert_eq!((status.ago.round(), status.uptime.round()), (5.0, 60.0));
        let executing = status.executing.unwrap();
        assert_eq!((executing.id, executing.path.as_str()), (id(2), "/2"));
        assert_eq!((status.in_flight, status.others_in_flight.len()), (3, 2));
        assert_eq!(status.cause, "request");
        assert_eq!(status.signal.as_deref(), Some("SIGSEGV"));
        assert!(status.core_dumped && status.exit_code.is_none());
    }

    #[test]
    fn where_nothing_is_proven_nothing_is_claimed() {
        for (cause, words, executing) in [
            (None, "unknown", "unknown"),
            (Some(Cause::NoRequest), "no_request", "no request"),
            (
                Some(Cause::UnnamedRequest),
                "unnamed_request",
                "a request that is not named",
            ),
            (
                Some(Cause::AnotherThread),
                "another_thread",
                "unknown: another thread died",
            ),
            (Some(Cause::SentBy(9)), "signal_from_outside", "unknown"),
        ] {
            let report = report(KILL, cause, &[1, 2]);
            let status = report.status(Now::from_secs(65));
            assert_eq!(status.cause, words);
            assert_eq!(report.executing_in_words(), executing);
            assert!(status.executing.is_none() && report.culprit().is_none());
            assert_eq!(status.others_in_flight.len(), 2, "{words}");
        }
    }

    #[test]
    fn an_ending_names_who_is_behind_it_where_that_is_known() {
        let words = |cause| report(SEGV, cause, &[]).ending_in_words();
        assert_eq!(words(None), "killed by SIGSEGV, core dumped");
        assert_eq!(
            words(Some(Cause::SentBy(9))),
            "killed by SIGSEGV, core dumped, sent by process 9"
        );
        assert_eq!(
            words(Some(Cause::SentBy(0))),
            "killed by SIGSEGV, core dumped, sent from outside"
        );
        let mut killed = report(KILL, None, &[]);
        killed.out_of_memory = OutOfMemory::Yes;
        killed.killed = Some(KillReason::BootTimeout);
        assert_eq!(killed.ending_in_words(), "killed by SIGKILL, out of memory");
        let status = killed.status(Now::from_secs(65));
        assert_eq!(status.killed_for.as_deref(), Some("boot_timeout"));
        assert_eq!(status.out_of_memory, "yes");
        let exited = report(Ending::Exited(9), None, &[]).status(Now::from_secs(65));
        assert_eq!((exited.exit_code, exited.signal), (Some(9), None));
        let real_time = Ending::Killed {
            signal: 36,
            core: false,
        };
        let status = report(real_time, None, &[]).status(Now::from_secs(65));
        assert_eq!(status.signal.as_deref(), Some("36"));
    }

    #[test]
    fn a_line_of_the_log_is_not_longer_than_a_pipe_takes_whole() {
        let numbers: Vec<u64> = (1..=32).collect();
        let mut report = report(SEGV, Some(Cause::Request(request(2))), &numbers);
        for request in &mut report.seat.requests {
            request.path = "/".repeat(crate::scoreboard::PATH_MAX);
            request.started = Duration::ZERO;
        }
        let words = report.executing_in_words() + &report.others_in_words();
        assert!(words.len() < 3072, "{}", words.len());
    }

    #[test]
    fn a_kill_for_want_of_memory_is_told_where_it_is_certain() {
        assert_eq!(OutOfMemory::judge(Some(0), 1), OutOfMemory::No);
        assert_eq!(OutOfMemory::judge(Some(1), 1), OutOfMemory::Yes);
        assert_eq!(OutOfMemory::judge(Some(3), 2), OutOfMemory::Yes);
        assert_eq!(OutOfMemory::judge(Some(1), 2), OutOfMemory::Unknown);
        assert_eq!(OutOfMemory::judge(None, 1), OutOfMemory::Unknown);
    }
}

//! What is said when a worker ends: how, after how long, and which requests it took with it.

use std::time::Duration;

use super::Master;
use super::crew::Hand;
use crate::scoreboard::SeatView;
use crate::supervisor::{Now, WorkerId};
use crate::sys::clock;
use crate::sys::machine::MemoryKills;
use crate::sys::process::Ending;

/// How often deaths are summed up while they are too many to tell one by one.
const SUMMARY_EVERY: Duration = Duration::from_mins(1);

/// Requests that a death report names; a line of the log shall go into a pipe whole (`PIPE_BUF`, pipe(7)).
const NAMED_MAX: usize = 16;

/// What the master remembers of workers that died.
#[derive(Debug)]
pub(super) struct Deaths {
    pub(super) memory_kills: MemoryKills,
    /// Since the last summary; told one by one at debug level only.
    pub(super) untold: u64,
    pub(super) next_summary: Now,
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
    fn judge(kills: Option<u64>, killed: u64) -> Self {
        match kills {
            Some(0) => Self::No,
            Some(kills) if kills >= killed => Self::Yes,
            Some(_) | None => Self::Unknown,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}

impl Deaths {
    pub(super) fn new() -> Self {
        Self {
            memory_kills: MemoryKills::watch(),
            untold: 0,
            next_summary: Now::ZERO,
        }
    }

    /// From now on each death is told again.
    pub(super) fn end_of_silence(&mut self) {
        if self.untold > 0 {
            tracing::info!(deaths = self.untold, "deaths that were not told one by one");
        }
        self.untold = 0;
    }

    /// What is known of `killed` workers that SIGKILL has ended since the last call.
    pub(super) fn out_of_memory(&mut self, killed: u64) -> OutOfMemory {
        OutOfMemory::judge(self.memory_kills.since_last(), killed)
    }

    fn count_untold(&mut self, now: Now, words: &str) {
        self.untold += 1;
        if now >= self.next_summary {
            tracing::warn!(deaths = self.untold, last = words, "workers keep dying");
            self.untold = 0;
            self.next_summary = now + SUMMARY_EVERY;
        }
    }
}

impl Master {
    /// Takes a dead worker off the lists and reports its end. Returns how it ended, in words.
    pub(super) fn bury(
        &mut self,
        id: WorkerId,
        ending: Ending,
        out_of_memory: OutOfMemory,
    ) -> String {
        let Some(hand) = self.crew.leave(id) else {
            return ending.to_string();
        };
        let seat = self.scoreboard.view(hand.seat);
        self.scoreboard.close_seat(hand.seat);
        self.crew.give_back(hand.seat);
        self.memory.forget(id);
        let words = match out_of_memory {
            OutOfMemory::Yes => format!("{ending}, out of memory"),
            OutOfMemory::No | OutOfMemory::Unknown => ending.to_string(),
        };
        self.report(id, &hand, &seat, &words, out_of_memory, ending);
        words
    }

    fn report(
        &mut self,
        id: WorkerId,
        hand: &Hand,
        seat: &SeatView,
        words: &str,
        out_of_memory: OutOfMemory,
        ending: Ending,
    ) {
        let now = self.now();
        let uptime = in_words(now.saturating_sub(hand.spawned));
        let hung_for = hand.hung_for.map(in_words);
        let as_ordered = hand.told_to_go && hung_for.is_none();
        let (worker, pid, slot, generation) =
            (id.0, hand.pid.number(), hand.slot.0, hand.generation.0);
        let requests = requests_in_words(seat);
        if as_ordered && ending == Ending::Exited(0) {
            tracing::info!(worker, pid, slot, generation, uptime, "worker finished");
        } else if as_ordered && seat.in_flight == 0 {
            tracing::debug!(
                worker,
                pid,
                slot,
                generation,
                uptime,
                ending = words,
                "worker ended as ordered"
            );
        } else if self.supervisor.is_degraded() {
            tracing::debug!(
                worker,
                pid,
                slot,
                generation,
                uptime,
                ending = words,
                hung_for,
                connections = seat.connections,
                requests,
                "worker died"
            );
            self.deaths.count_untold(now, words);
        } else {
            tracing::error!(
                worker,
                pid,
                slot,
                generation,
                uptime,
                ending = words,
                hung_for,
                out_of_memory = out_of_memory.word(),
                connections = seat.connections,
                in_flight = seat.in_flight,
                requests,
                "worker died"
            );
        }
    }
}

/// To the millisecond.
pub(super) fn in_words(time: Duration) -> String {
    let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(milliseconds)).to_string()
}

/// The oldest requests that were in flight: method, path, age, id.
fn requests_in_words(seat: &SeatView) -> String {
    let now = clock::monotonic();
    let words = seat.requests.iter().take(NAMED_MAX).map(|request| {
        let age = now.saturating_sub(request.started).as_millis();
        format!("{} {} {age}ms {}", request.method, request.path, request.id)
    });
    words.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::OutOfMemory;

    #[test]
    fn a_kill_for_want_of_memory_is_told_where_it_is_certain() {
        assert_eq!(OutOfMemory::judge(Some(0), 1), OutOfMemory::No);
        assert_eq!(OutOfMemory::judge(Some(1), 1), OutOfMemory::Yes);
        assert_eq!(OutOfMemory::judge(Some(3), 2), OutOfMemory::Yes);
        assert_eq!(OutOfMemory::judge(Some(1), 2), OutOfMemory::Unknown);
        assert_eq!(OutOfMemory::judge(None, 1), OutOfMemory::Unknown);
    }
}

//! The master's rounds among its workers: what they note without being asked, and what must be asked or done about it.

use super::Master;
use super::hangs::{Finding, Seen};
use crate::channel::ToWorker;
use crate::supervisor::{Event, Now, WorkerId};
use crate::sys::{clock, process};

impl Master {
    /// When the next round is due; `None` while nobody shall be watched.
    pub(super) fn next_round(&self) -> Option<Now> {
        let generations = self.generations.values();
        let timeouts = generations.filter_map(|pinned| pinned.loaded.config.workers.hang_timeout);
        self.hangs.next_look(timeouts)
    }

    /// Makes the round that is due.
    pub(super) fn make_rounds(&mut self) {
        let now = self.now();
        if self.next_round().is_none_or(|due| now < due) {
            return;
        }
        let seen: Vec<Seen> = self
            .supervisor
            .workers()
            .filter(|worker| worker.state.is_alive())
            .filter_map(|worker| self.see(worker.id))
            .collect();
        for finding in self.hangs.look(now, &seen) {
            match finding {
                Finding::Suspect(worker) => {
                    tracing::debug!(worker = worker.0, "asked for a sign of life");
                    self.tell(worker, &ToWorker::ShowLife);
                }
                Finding::Hangs(worker) => self.feed(Event::Hung(worker)),
            }
        }
    }

    fn see(&self, id: WorkerId) -> Option<Seen> {
        let hand = self.crew.get(id)?;
        let generation = self.generations.get(&hand.generation)?;
        let busy_since = self.scoreboard.busy_since(hand.seat);
        Some(Seen {
            worker: id,
            timeout: generation.loaded.config.workers.hang_timeout?,
            busy_since: busy_since.map(|time| time.saturating_sub(self.started)),
        })
    }

    /// Ends a worker that hangs so that it leaves a core where cores are kept.
    pub(super) fn abort(&mut self, id: WorkerId) {
        let Some(hand) = self.crew.get_mut(id) else {
            return;
        };
        let (pid, since) = (hand.pid, self.scoreboard.busy_since(hand.seat));
        let hung_for = since.map(|since| clock::monotonic().saturating_sub(since));
        hand.hung_for = Some(hung_for.unwrap_or_default());
        tracing::error!(
            worker = id.0,
            pid = pid.number(),
            hung_for = super::deaths::in_words(hung_for.unwrap_or_default()),
            "its event loop hangs, aborted"
        );
        if let Err(error) = process::abort(pid) {
            tracing::error!(worker = id.0, pid = pid.number(), %error, "cannot abort");
        }
        // Nothing new shall wait where nobody looks.
        self.note_who_serves();
    }
}

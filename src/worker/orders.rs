//! The worker's end of the control channel.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::WorkerExit;
use super::feeds::Feeds;
use super::stacks;
use crate::app::Witness;
use crate::channel::{FeedNews, ToMaster, ToWorker};
use crate::master_end::MasterEnd;
use crate::scoreboard::SeatWriter;
use crate::sys::clock;

/// What the master says, and a way to answer.
#[derive(Debug)]
pub(super) struct Orders {
    master: MasterEnd<ToWorker>,
    seat: SeatWriter,
    feeds: Arc<Feeds>,
    witness: Option<Arc<dyn Witness>>,
}

impl Orders {
    /// `channel` is non-blocking.
    pub(super) fn listen_on(
        channel: UnixStream,
        seat: SeatWriter,
        feeds: Arc<Feeds>,
    ) -> io::Result<Self> {
        Ok(Self {
            master: MasterEnd::new(channel)?,
            seat,
            feeds,
            witness: None,
        })
    }

    /// Who knows what the threads of the application do, where it has some.
    pub(super) fn set_witness(&mut self, witness: Option<Arc<dyn Witness>>) {
        self.witness = witness;
    }

    /// The same.
    pub(super) fn witness(&self) -> Option<&Arc<dyn Witness>> {
        self.witness.as_ref()
    }

    /// Takes in what is new, whatever else the worker is about: also one that drains judges tokens.
    pub(super) fn take_in(&mut self, news: &FeedNews) {
        let content = match news {
            FeedNews::Changed { .. } => self.take_descriptor(),
            FeedNews::Confirmed { .. } | FeedNews::Failed { .. } => None,
        };
        self.feeds.take(news, content);
    }

    /// Returns when every deny list that came is in force.
    pub(super) async fn lists_taken(&self) {
        self.feeds.lists_taken().await;
    }

    /// The descriptor that came along with the order of [`Self::next`].
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.master.take_descriptor()
    }

    /// The next order; `None` when the master is gone. Can be dropped while it waits. An event loop that never waits for
    /// anything to do, because there is always something, is seen to turn by taking an order in.
    pub(super) async fn next(&mut self) -> Option<ToWorker> {
        let order = self.master.next().await;
        if order.is_some() {
            self.seat.turns(clock::monotonic_coarse());
        }
        order
    }

    /// The next order that ends a worker which does not serve yet.
    pub(super) async fn next_to_leave(&mut self) -> Option<ToWorker> {
        loop {
            match self.next().await {
                Some(ToWorker::ReopenLogs) => super::reopen_logs(),
                Some(ToWorker::Feed(news)) => self.take_in(&news),
                // An import that hangs is what one wants to see most.
                Some(ToWorker::TellStacks { question }) => {
                    let answer = stacks::answer(self.witness(), question).await;
                    self.say(&answer).await;
                }
                // Nobody is told to accept before it is ready, or to take over before it accepts.
                Some(
                    ToWorker::Accept
                    | ToWorker::TakeOver { .. }
                    | ToWorker::Adopt
                    | ToWorker::ShowLife
                    | ToWorker::TellMemory,
                ) => {}
                order @ (Some(ToWorker::Drain { .. } | ToWorker::Quit) | None) => return order,
            }
        }
    }

    /// Tells the master. One that is gone is noticed by [`Self::next`].
    pub(super) async fn say(&mut self, message: &ToMaster) {
        self.master.say(message, None).await;
    }

    /// The same, and `file` comes along.
    pub(super) async fn say_with(&mut self, message: &ToMaster, file: OwnedFd) {
        self.master.say(message, Some(file)).await;
    }

    /// Tells the master why this worker cannot boot. Returns what it exits with.
    pub(super) async fn say_failed(
        &mut self,
        reason: String,
        traceback: Option<String>,
    ) -> WorkerExit {
        if let Some(text) = traceback {
            self.say(&ToMaster::Traceback { text }).await;
        }
        self.say(&ToMaster::Failed { reason }).await;
        WorkerExit::BootFailed
    }
}

//! The worker's end of the control channel.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UnixStream;

use super::feeds::Feeds;
use crate::channel::{self, Decoder, FeedNews, ToMaster, ToWorker};
use crate::scoreboard::SeatWriter;
use crate::sys::clock;
use crate::sys::socket;

/// What the master says, and a way to answer.
#[derive(Debug)]
pub(super) struct Orders {
    channel: UnixStream,
    incoming: Decoder<ToWorker>,
    seat: SeatWriter,
    /// What came along with orders, in their order.
    descriptors: VecDeque<OwnedFd>,
    feeds: Arc<Feeds>,
}

impl Orders {
    /// `channel` is non-blocking.
    pub(super) fn listen_on(
        channel: StdUnixStream,
        seat: SeatWriter,
        feeds: Arc<Feeds>,
    ) -> io::Result<Self> {
        Ok(Self {
            channel: UnixStream::from_std(channel)?,
            incoming: Decoder::default(),
            seat,
            descriptors: VecDeque::new(),
            feeds,
        })
    }

    /// Takes in what is new, whatever else the worker is about: also one that drains judges tokens.
    pub(super) fn take_in(&mut self, news: &FeedNews) {
        let content = match news {
            FeedNews::Changed { .. } => self.take_descriptor(),
            FeedNews::Confirmed { .. } | FeedNews::Failed { .. } => None,
        };
        self.feeds.take(news, content);
    }

    /// The descriptor that came along with the order of [`Self::next`].
    pub(super) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// The next order; `None` when the master is gone. Can be dropped while it waits. An event loop that never waits for
    /// anything to do, because there is always something, is seen to turn by taking an order in.
    pub(super) async fn next(&mut self) -> Option<ToWorker> {
        loop {
            match self.incoming.next_message() {
                Some(Ok(order)) => {
                    self.seat.turns(clock::monotonic_coarse());
                    return Some(order);
                }
                Some(Err(error)) => {
                    // A master that cannot be understood cannot be obeyed.
                    tracing::error!(%error, "the master says what no master says");
                    return None;
                }
                None => {}
            }
            self.channel.readable().await.ok()?;
            let mut bytes = [0; 1024];
            let receive = || socket::receive_with(&self.channel, &mut bytes);
            match self.channel.try_io(Interest::READABLE, receive) {
                Ok((0, _)) => return None,
                Ok((count, descriptors)) => {
                    self.descriptors.extend(descriptors);
                    self.incoming.push(bytes.get(..count)?);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// The next order that ends a worker which does not serve yet.
    pub(super) async fn next_to_leave(&mut self) -> Option<ToWorker> {
        loop {
            match self.next().await {
                Some(ToWorker::ReopenLogs) => super::reopen_logs(),
                Some(ToWorker::Feed(news)) => self.take_in(&news),
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
        let line = channel::encode(message);
        let mut rest = line.as_slice();
        while !rest.is_empty() && self.channel.writable().await.is_ok() {
            match self.channel.try_write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

//! The end of the channel to the master that a worker or the agent holds.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::channel::{self, Decoder};
use crate::sys::socket;

/// What the master says, orders of the type `T`, and a way to tell it something.
#[derive(Debug)]
pub(crate) struct MasterEnd<T> {
    channel: UnixStream,
    incoming: Decoder<T>,
    /// What came along with orders, in their order; none for what was lost.
    descriptors: VecDeque<Option<OwnedFd>>,
}

impl<T: DeserializeOwned> MasterEnd<T> {
    /// `channel` is non-blocking. Within a runtime of tokio.
    pub(crate) fn new(channel: StdUnixStream) -> io::Result<Self> {
        Ok(Self {
            channel: UnixStream::from_std(channel)?,
            incoming: Decoder::default(),
            descriptors: VecDeque::new(),
        })
    }

    /// The descriptor that came along with the order of [`Self::next`]; none where this process had no room for it.
    pub(crate) fn take_descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front().flatten()
    }

    /// The next order; `None` when the master is gone, or cannot be understood and so cannot be obeyed. Can be dropped while it
    /// waits.
    pub(crate) async fn next(&mut self) -> Option<T> {
        loop {
            match self.incoming.next_message() {
                Some(Ok(order)) => return Some(order),
                Some(Err(error)) => {
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
                Ok((count, along)) => {
                    self.descriptors.extend(along.received());
                    self.incoming.push(bytes.get(..count)?);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// Tells the master, with what comes along. One that is gone is noticed by [`Self::next`].
    pub(crate) async fn say(&mut self, message: &impl Serialize, mut file: Option<OwnedFd>) {
        let line = channel::encode(message);
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            let write = || match &file {
                Some(file) => socket::send_with(&self.channel, rest, file),
                None => self.channel.try_write(rest),
            };
            match self.channel.async_io(Interest::WRITABLE, write).await {
                Ok(written) => {
                    // It went with the first byte.
                    file = None;
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

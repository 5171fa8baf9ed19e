//! The agent's end of its channel to the master.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::channel::{self, Decoder, FromAgent, ToAgent};
use crate::sys::socket;

/// What the master says, and a way to tell it something.
#[derive(Debug)]
pub(super) struct Orders {
    channel: UnixStream,
    incoming: Decoder<ToAgent>,
}

impl Orders {
    /// `channel` is non-blocking.
    pub(super) fn listen_on(channel: StdUnixStream) -> io::Result<Self> {
        Ok(Self {
            channel: UnixStream::from_std(channel)?,
            incoming: Decoder::default(),
        })
    }

    /// The next order; `None` when the master is gone, or cannot be understood. Can be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<ToAgent> {
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
            match self.channel.try_read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.incoming.push(bytes.get(..count)?),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// Tells the master, with what comes along. One that is gone is noticed by [`Self::next`].
    pub(super) async fn say(&mut self, message: &FromAgent, mut file: Option<OwnedFd>) {
        let line = channel::encode(message);
        let mut rest = line.as_slice();
        while !rest.is_empty() {
            let write = || match &file {
                Some(file) => socket::send_with(&self.channel, rest, file),
                None => self.channel.try_write(rest),
            };
            let written = self.channel.async_io(Interest::WRITABLE, write).await;
            match written {
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

//! Listening to a client that still sends when all was said: to close a socket with unread bytes resets the connection, and the reset
//! may overtake what was said last (RFC 9112 section 9.6).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Sleep;

/// For how long, and for how many bytes more, a client is listened to.
#[derive(Debug)]
pub(super) struct Linger {
    timer: Pin<Box<Sleep>>,
    left: usize,
}

impl Linger {
    /// For `time`, and `bytes`.
    pub(super) fn new(time: Duration, bytes: usize) -> Self {
        Self {
            timer: Box::pin(tokio::time::sleep(time)),
            left: bytes,
        }
    }

    /// Takes in what `read` brings, until the client has nothing more to say or this is over.
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut read: impl FnMut(&mut Context<'_>, &mut ReadBuf<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<()> {
        let mut scratch = [0; 8 << 10];
        while self.left > 0 && self.timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut scratch);
            match read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.left = self.left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    }
}

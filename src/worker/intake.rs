//! What stands between a connection and hyper: nothing of a request passes that is not in order, and none before its turn.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::http::activity::Activity;
use crate::http::wire::{Bounds, Malformed, Screen};

/// A client that closes its side behind its last request may wait for the answer (RFC 9112 section 9.6) or be gone, and nobody can tell before
/// something is sent to it. It is held to be gone when so long nothing was.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// The bytes of one connection on their way to hyper.
#[derive(Debug)]
pub(super) struct Intake {
    screen: Screen,
    /// Read, but not passed on.
    held: BytesMut,
    /// So many of them may be.
    cleared: usize,
    has_ended: bool,
    /// It has ended before the answer to the last request, which hyper would give up if it saw that.
    half_closed: Option<HalfClosed>,
}

/// A client that says nothing more, and may still listen.
#[derive(Debug)]
struct HalfClosed {
    until: Pin<Box<Sleep>>,
    /// Something was sent to it meanwhile, to which the system of one that is gone answers by itself.
    was_written_to: bool,
}

impl Intake {
    /// Of a connection on which a request comes next.
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            screen: Screen::new(bounds),
            held: BytesMut::new(),
            cleared: 0,
            has_ended: false,
            half_closed: None,
        }
    }

    /// Takes what was read already, and comes next.
    pub(super) fn hold(&mut self, read_before: &[u8]) {
        self.held.extend_from_slice(read_before);
    }

    /// What was read and not passed on.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Whether some of that belongs to a request. An empty line does not: clients sent one behind a body (RFC 9112 section 2.2), and a
    /// connection on which nothing else has come is idle.
    pub(super) fn holds_request(&self) -> bool {
        let is_idle = self.screen.is_between() && is_empty_line(&self.held);
        !self.held.is_empty() && !is_idle
    }

    /// Whether its client may still be sending something that nobody reads.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.has_ended && (self.holds_request() || !self.screen.is_between())
    }

    /// Reads what may be passed on. A request comes when the one before is answered, for until then hyper only asks whether
    /// its client is still there. What is wrong is noted in `activity`: in a head, whoever serves the connection answers for
    /// hyper, which has seen nothing of it; in a body it is an error of the body too.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        activity: &Activity,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if self.cleared > 0 {
                self.cleared -= self.pass_on(self.cleared, buffer);
                return Poll::Ready(Ok(()));
            }
            if activity.malformed().is_some() {
                return Poll::Pending;
            }
            let is_between = self.screen.is_between();
            // An answer that hyper was given whole may still wait for its client.
            let is_answering =
                activity.answered() < self.screen.requests() || activity.blocked_since().is_some();
            if is_between && is_answering {
                if self.held.is_empty() && !ready!(self.read_aside(stream, context, buffer))? {
                    // When it is answered hyper is to see the end, of which nothing else tells it any more.
                    activity.hold();
                    return self.poll_gone(activity, context).map(Ok);
                }
                activity.hold();
                return Poll::Pending;
            }
            if self.held.is_empty() {
                let start = buffer.filled().len();
                ready!(Pin::new(&mut *stream).poll_read(context, buffer))?;
                let Some(new) = buffer.filled().get(start..).filter(|new| !new.is_empty()) else {
                    self.has_ended = true;
                    return Poll::Ready(Ok(()));
                };
                if is_between && !is_empty_line(new) {
                    activity.read_some();
                }
                // Nearly always all of it: it stays where it is.
                let passed = match self.screen.look(new) {
                    Ok(passed) => passed,
                    Err(malformed) => {
                        // For the log.
                        self.held.extend_from_slice(new);
                        buffer.set_filled(start);
                        return self.refuse(malformed, activity);
                    }
                };
                self.held
                    .extend_from_slice(new.get(passed..).unwrap_or_default());
                buffer.set_filled(start + passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                if is_between && self.holds_request() {
                    activity.read_some();
                }
                match self.screen.look(&self.held) {
                    Ok(passed) => self.cleared = passed,
                    Err(malformed) => return self.refuse(malformed, activity),
                }
            }
            if self.cleared == 0
                && !self.held.is_empty()
                && !ready!(self.read_aside(stream, context, buffer))?
            {
                if self.screen.is_between() && self.holds_request() {
                    return self.refuse(Malformed::BrokeOff, activity);
                }
                // hyper sees the end, and of a body that it is not whole.
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Something was sent to the client.
    pub(super) fn note_write(&mut self) {
        if let Some(half_closed) = &mut self.half_closed {
            half_closed.was_written_to = true;
        }
    }

    /// Of a client that has closed its side behind its last request: ready when it is held to be gone.
    fn poll_gone(&mut self, activity: &Activity, context: &mut Context<'_>) -> Poll<()> {
        let half_closed = self.half_closed.get_or_insert_with(|| HalfClosed {
            until: Box::pin(sleep(HALF_CLOSED)),
            was_written_to: false,
        });
        while half_closed.until.as_mut().poll(context).is_ready() {
            // Whether one that takes nothing has had time enough is decided elsewhere.
            let may_listen = std::mem::take(&mut half_closed.was_written_to)
                || activity.blocked_since().is_some();
            if !may_listen {
                return Poll::Ready(());
            }
            let until = Instant::now() + HALF_CLOSED;
            half_closed.until.as_mut().reset(until);
        }
        Poll::Pending
    }

    /// Reads whatever comes, first what was held, of a client that does not speak HTTP/1.1 any more, or never did.
    pub(super) fn poll_bytes(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        self.pass_on(self.held.len(), buffer);
        Poll::Ready(Ok(()))
    }

    /// Passes on what there is room for of the first `count` bytes that are held, and says of how many.
    fn pass_on(&mut self, count: usize, buffer: &mut ReadBuf<'_>) -> usize {
        let count = buffer.remaining().min(count);
        buffer.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        if self.held.is_empty() {
            // An idle connection holds no memory for what has passed.
            self.held = BytesMut::new();
        }
        count
    }

    /// Reads something to hold; false at the end.
    pub(super) fn read_aside(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let start = buffer.filled().len();
        ready!(Pin::new(stream).poll_read(context, buffer))?;
        let new = buffer.filled().get(start..).unwrap_or_default();
        self.held.extend_from_slice(new);
        self.has_ended = new.is_empty();
        buffer.set_filled(start);
        Poll::Ready(Ok(!self.has_ended))
    }

    fn refuse(&self, malformed: Malformed, activity: &Activity) -> Poll<io::Result<()>> {
        activity.set_malformed(malformed);
        if self.screen.is_between() {
            return Poll::Pending;
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, malformed)))
    }
}

/// Whether these are nothing but an empty line, or the beginning of one.
fn is_empty_line(bytes: &[u8]) -> bool {
    b"\r\n".starts_with(bytes)
}

//! Who reads on a connection: hyper, or nobody but the one who looks whether its client begins a request.
//!
//! hyper has two buffers of 8 KiB for each connection, and room for a request and its answer, for as long as it serves it. A client keeps a
//! connection for minutes that it used for milliseconds. So one on which nothing is under way is parked: it costs what tells its
//! client apart, and a timer.

use std::future::Future;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1::UpgradeableConnection;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::ReadBuf;

use super::watched::{ClientStream, Watched};
use super::websocket::Upgradable;
use crate::app::BoxError;
use crate::http::http2::Opening;

/// As many bytes are read of a request that ends the waiting. What is left comes when hyper reads.
const FIRST_READ: usize = 4096;

/// hyper, serving a stream.
pub(super) type Http<T, S> = UpgradeableConnection<TokioIo<Upgradable<T>>, S>;

/// A connection and who reads on it.
pub(super) enum Served<T: ClientStream, S: HttpService<Incoming>> {
    /// Nothing is under way, and it waits for a request.
    Parked(Watched<T>),
    /// hyper has it. Boxed, so that a parked connection has no room for it.
    Http(Box<Http<T, S>>),
}

/// What happened on it.
pub(super) enum Turn {
    /// The client of a parked connection has begun a request.
    Begins,
    /// That of a parked connection is gone.
    Gone,
    /// hyper is done with it.
    Ended(hyper::Result<()>),
}

impl<T: ClientStream, S: HttpService<Incoming>> Served<T, S>
where
    S::ResBody: 'static,
    S::Error: Into<BoxError>,
    <S::ResBody as Body>::Error: Into<BoxError>,
{
    /// Of a stream on which a request comes next; `connect` gives it to hyper, where a part of that request has arrived.
    pub(super) fn new(stream: Watched<T>, connect: impl FnOnce(Watched<T>) -> Http<T, S>) -> Self {
        let is_parked = !stream.intake.holds_request();
        stream.activity.set_parked(is_parked);
        if is_parked {
            Self::Parked(stream)
        } else {
            Self::Http(Box::new(connect(stream)))
        }
    }

    /// The stream, where it is not on its way to a WebSocket. hyper holds nothing of it back: it gets one request at a time, and
    /// its head whole.
    pub(super) fn take_back(self) -> Option<Watched<T>> {
        match self {
            Self::Parked(stream) => Some(stream),
            Self::Http(connection) => connection.into_parts()?.io.into_inner().into_http(),
        }
    }
}

impl<T: ClientStream, S: HttpService<Incoming>> Future for Served<T, S>
where
    S::ResBody: 'static,
    S::Error: Into<BoxError>,
    <S::ResBody as Body>::Error: Into<BoxError>,
    Http<T, S>: Future<Output = hyper::Result<()>> + Unpin,
{
    type Output = Turn;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Turn> {
        match self.get_mut() {
            Self::Http(connection) => Pin::new(connection).poll(context).map(Turn::Ended),
            Self::Parked(stream) => match ready!(poll_begins(stream, context)) {
                // Whoever serves the connection looks at this.
                true if stream.opening == Opening::Http2 => {
                    stream.activity.set_http2();
                    Poll::Pending
                }
                true => Poll::Ready(Turn::Begins),
                false => Poll::Ready(Turn::Gone),
            },
        }
    }
}

/// Ready when its client has sent something, which is held back, or will not any more.
fn poll_begins<T: ClientStream>(stream: &mut Watched<T>, context: &mut Context<'_>) -> Poll<bool> {
    let mut space = [MaybeUninit::uninit(); FIRST_READ];
    let mut buffer = ReadBuf::uninit(&mut space);
    // An empty line begins none.
    while !stream.intake.holds_request() {
        let before = stream.intake.held().len();
        let polled = if stream.opening == Opening::Unknown {
            ready!(stream.poll_opening(context, &mut buffer))
        } else {
            let intake = &mut stream.intake;
            ready!(intake.read_aside(&mut stream.stream, context, &mut buffer)).map(drop)
        };
        if let Err(error) = polled {
            tracing::debug!(%error, "a connection ended between requests");
            return Poll::Ready(false);
        }
        if stream.intake.held().len() == before {
            return Poll::Ready(false);
        }
    }
    stream.activity.read_some();
    Poll::Ready(true)
}

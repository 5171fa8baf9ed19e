//! The codec of a connection: h2's, from its handshake on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::server::{Builder, Connection, Handshake, SendResponse};
use h2::{Error, RecvStream};
use http::Request;

use super::super::watched::{ClientStream, Watched};
use super::framed::{Framed, Told};

/// A request, and where its answer goes.
pub(super) type Accepted = (Request<RecvStream>, SendResponse<Bytes>);

/// What a connection says.
pub(super) struct Codec<T: ClientStream> {
    state: State<T>,
    told: Arc<Told<T>>,
    /// The client was told of its offence.
    has_said_why: bool,
    /// So many requests may still come, where there is a bound.
    left: Option<u32>,
}

enum State<T: ClientStream> {
    Begins {
        handshake: Handshake<Framed<T>, Bytes>,
        /// Whether the client is to be told to go as soon as that can be said.
        is_going: bool,
    },
    Speaks(Connection<Framed<T>, Bytes>),
}

impl<T: ClientStream> Codec<T> {
    /// Of a connection on which its client says the preface. After `requests` it is told to go.
    pub(super) fn new(builder: &Builder, watched: Watched<T>, requests: Option<u32>) -> Self {
        let told = Arc::default();
        let framed = Framed::new(watched, Arc::clone(&told));
        Self {
            state: State::Begins {
                handshake: builder.handshake(framed),
                is_going: false,
            },
            told,
            has_said_why: false,
            left: requests,
        }
    }

    /// Says GOAWAY, once with the highest stream there can be and, when the client has taken note, with the last one that is answered
    /// (RFC 9113 section 6.8). What was asked is answered.
    pub(super) fn go_away(&mut self) {
        match &mut self.state {
            State::Begins { is_going, .. } => *is_going = true,
            State::Speaks(connection) => connection.graceful_shutdown(),
        }
    }

    /// The stream, where the client was not told that nothing more comes.
    pub(super) fn into_left(self) -> Option<Watched<T>> {
        let Self { state, told, .. } = self;
        drop(state);
        told.take_left()
    }

    /// The next request; none when the connection has ended.
    ///
    /// # Errors
    /// Why it ended early.
    pub(super) fn poll_accept(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Accepted, Error>>> {
        loop {
            match &mut self.state {
                State::Begins {
                    handshake,
                    is_going,
                } => {
                    let mut connection = ready!(Pin::new(handshake).poll(context))?;
                    if *is_going {
                        connection.graceful_shutdown();
                    }
                    self.state = State::Speaks(connection);
                }
                State::Speaks(connection) => {
                    let polled = connection.poll_accept(context);
                    match self.told.offence() {
                        Some(offence) if polled.is_pending() && !self.has_said_why => {
                            self.has_said_why = true;
                            connection.abrupt_shutdown(offence.reason());
                            continue;
                        }
                        Some(_) | None => {}
                    }
                    if let Poll::Ready(Some(Ok(_))) = &polled
                        && let Some(left) = &mut self.left
                    {
                        *left = left.saturating_sub(1);
                        if *left == 0 {
                            self.left = None;
                            connection.graceful_shutdown();
                        }
                    }
                    return polled;
                }
            }
        }
    }
}

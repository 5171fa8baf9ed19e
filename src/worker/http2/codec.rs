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
    is_ended: bool,
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
    /// Of a connection on which its client says the preface.
    pub(super) fn new(builder: &Builder, watched: Watched<T>) -> Self {
        let told = Arc::default();
        let framed = Framed::new(watched, Arc::clone(&told));
        Self {
            state: State::Begins {
                handshake: builder.handshake(framed),
                is_going: false,
            },
            told,
            is_ended: false,
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
                        Some(offence) if polled.is_pending() && !self.is_ended => {
                            self.is_ended = true;
                            connection.abrupt_shutdown(offence.reason());
                        }
                        Some(_) | None => return polled,
                    }
                }
            }
        }
    }
}

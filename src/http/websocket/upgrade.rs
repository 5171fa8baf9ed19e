//! How far a connection of HTTP/1.1 is on its way to a WebSocket, and what its request leaves for whoever serves that.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::handshake::Handshake;
use crate::app::{Draining, InHand};
use crate::scoreboard::RequestId;

/// Written by the request, then by the stream, then by whoever serves the connection: all on one thread, one after the other.
#[derive(Debug, Default)]
pub struct Upgrade {
    stage: AtomicU8,
    content: Mutex<Content>,
}

const NONE: u8 = 0;
const ASKED: u8 = 1;
const ACCEPTED: u8 = 2;
const OPEN: u8 = 3;

#[derive(Debug, Default)]
enum Content {
    #[default]
    Nothing,
    Asked(Box<Handshake>),
    Accepted(Box<Terms>),
    Rest(Rest),
}

/// What holds for one WebSocket.
#[derive(Debug)]
pub struct Terms {
    /// Its request.
    pub id: RequestId,
    /// `websocket.max_message`.
    pub max_message: u64,
    /// Whether `permessage-deflate` was agreed upon.
    pub may_compress: bool,
    /// Whether its worker drains.
    pub draining: Draining,
    /// How long it may go on then.
    pub grace: Duration,
    /// What the application has not dealt with.
    pub in_hand: InHand,
}

/// What is left to be done on a connection that became a WebSocket. In the end it is known whether its client was cut off, for it took
/// nothing within `http.write_timeout`.
pub struct Rest(pub Pin<Box<dyn Future<Output = bool> + Send>>);

impl fmt::Debug for Rest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Rest")
    }
}

impl Upgrade {
    /// A request asks for it.
    pub(super) fn ask(&self, handshake: Handshake) {
        self.set(ASKED, Content::Asked(Box::new(handshake)));
    }

    /// What was asked for; from now on nothing is.
    pub(super) fn take_asked(&self) -> Option<Box<Handshake>> {
        if self.stage.load(Relaxed) != ASKED {
            return None;
        }
        match self.set(NONE, Content::Nothing) {
            Content::Asked(handshake) => Some(handshake),
            Content::Nothing | Content::Accepted(_) | Content::Rest(_) => None,
        }
    }

    /// The answer opens it.
    pub(super) fn accept(&self, terms: Terms) {
        self.set(ACCEPTED, Content::Accepted(Box::new(terms)));
    }

    /// Whether the answer opens it.
    pub fn is_accepted(&self) -> bool {
        self.stage.load(Relaxed) == ACCEPTED
    }

    /// For the stream, once, when the answer opens it.
    pub fn take_terms(&self) -> Option<Box<Terms>> {
        match self.set(ACCEPTED, Content::Nothing) {
            Content::Accepted(terms) => Some(terms),
            Content::Nothing | Content::Asked(_) | Content::Rest(_) => None,
        }
    }

    /// The stream leaves what is to be done later.
    pub fn leave(&self, rest: Rest) {
        self.set(ACCEPTED, Content::Rest(rest));
    }

    /// HTTP is over: what is read and written from now on are frames. What is left to be done, where it became a WebSocket.
    pub fn open(&self) -> Option<Rest> {
        if !self.is_accepted() {
            return None;
        }
        match self.set(OPEN, Content::Nothing) {
            Content::Rest(rest) => Some(rest),
            Content::Nothing | Content::Asked(_) | Content::Accepted(_) => None,
        }
    }

    /// The stream is gone before that: nothing is left to be done.
    pub fn abandon(&self) {
        if !self.is_open() {
            self.set(NONE, Content::Nothing);
        }
    }

    /// Whether that is so.
    pub fn is_open(&self) -> bool {
        self.stage.load(Relaxed) == OPEN
    }

    fn set(&self, stage: u8, content: Content) -> Content {
        self.stage.store(stage, Relaxed);
        let mut place = self.content.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut place, content)
    }
}

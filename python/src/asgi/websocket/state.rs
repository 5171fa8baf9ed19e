//! One WebSocket, as far as it is decided here: what may follow what.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use crate::failure::Failure;
use crate::head::Head;

/// So many bytes wait for the application, about; and so many for the client.
const BUFFER: usize = 64 << 10;

/// What a WebSocket is ended with where nobody says (RFC 6455 section 7.4.1).
const NORMAL: u16 = 1000;
const ABNORMAL: u16 = 1006;
const INTERNAL_ERROR: u16 = 1011;

/// A message, whoever sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    Text(String),
    Binary(Bytes),
    /// The code, and a reason.
    Close(u16, String),
}

impl Frame {
    fn length(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Close(..) => 0,
        }
    }
}

/// What the application says.
#[derive(Debug)]
pub(super) enum Said {
    Accept(Accept),
    Frame(Frame),
    /// In the place of the WebSocket: the head of an answer.
    Start(Head),
    /// And content, and whether more follows.
    Body(Bytes, bool),
}

/// The application opens it.
#[derive(Debug)]
pub(super) struct Accept {
    pub(super) subprotocol: Option<String>,
    /// Fields of the answer.
    pub(super) head: Head,
}

/// What the handshake is answered with.
#[derive(Debug)]
pub(super) enum Answer {
    Accept(Accept),
    Deny(Head, Bytes),
    Failed(Failure),
}

/// What the application gets when it asks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    Connect,
    Frame(Frame),
}

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    NotAccepted,
    AcceptedTwice,
    Closed,
    /// The client is gone.
    Gone,
    NotOffered(String),
    NotStarted,
}

/// A WebSocket.
#[derive(Debug)]
pub(super) struct State {
    phase: Phase,
    offered: Vec<String>,
    /// The application knows that somebody asks for it.
    is_told: bool,
    answer: Option<Answer>,
    arrived: Traffic,
    leaving: Traffic,
    /// There is a message that the application has not dealt with: it has not asked for the next one.
    is_in_hand: bool,
    /// What the application has closed it with.
    closed_with: Option<(u16, String)>,
    /// How it ended: the code, and a reason.
    end: Option<(u16, String)>,
}

/// Messages in one direction.
#[derive(Debug, Default)]
struct Traffic {
    frames: VecDeque<Frame>,
    length: usize,
}

#[derive(Debug)]
enum Phase {
    /// The application has not decided.
    Asked,
    /// It answers with something else.
    Denying(Head, BytesMut),
    Open,
    /// The application has ended it.
    Closed,
}

const NOT_ANSWERED: &str = "the application returned without websocket.accept or websocket.close";

impl State {
    pub(super) fn new(offered: Vec<String>) -> Self {
        Self {
            phase: Phase::Asked,
            offered,
            is_told: false,
            answer: None,
            arrived: Traffic::default(),
            leaving: Traffic::default(),
            is_in_hand: false,
            closed_with: None,
            end: None,
        }
    }

    /// What the application gets; none: it waits.
    pub(super) fn receive(&mut self) -> Option<Received> {
        if !std::mem::replace(&mut self.is_told, true) {
            return Some(Received::Connect);
        }
        if let Some(frame) = self.arrived.pop() {
            return Some(Received::Frame(frame));
        }
        self.is_in_hand = false;
        let (code, reason) = self.end.clone()?;
        Some(Received::Frame(Frame::Close(code, reason)))
    }

    /// What the application says. What is not taken for want of room comes back.
    pub(super) fn send(&mut self, said: Said) -> Result<Option<Frame>, Refused> {
        match said {
            Said::Accept(accept) => self.accept(accept)?,
            Said::Start(head) => match self.phase {
                Phase::Asked if self.end.is_some() => return Err(Refused::Gone),
                Phase::Asked => self.phase = Phase::Denying(head, BytesMut::new()),
                Phase::Denying(..) | Phase::Open => return Err(Refused::AcceptedTwice),
                Phase::Closed => return Err(self.closed()),
            },
            Said::Body(content, more) => self.deny(&content, more)?,
            Said::Frame(Frame::Close(code, reason)) => self.close(code, reason)?,
            Said::Frame(frame) => match self.phase {
                _ if self.end.is_some() => return Err(Refused::Gone),
                Phase::Asked | Phase::Denying(..) => return Err(Refused::NotAccepted),
                Phase::Closed => return Err(self.closed()),
                Phase::Open if self.leaving.is_full() => return Ok(Some(frame)),
                Phase::Open => self.leaving.push(frame),
            },
        }
        Ok(None)
    }

    fn accept(&mut self, accept: Accept) -> Result<(), Refused> {
        match self.phase {
            _ if self.end.is_some() => Err(Refused::Gone),
            Phase::Asked => {
                if let Some(chosen) = &accept.subprotocol
                    && !self.offered.contains(chosen)
                {
                    return Err(Refused::NotOffered(chosen.clone()));
                }
                self.answer = Some(Answer::Accept(accept));
                self.phase = Phase::Open;
                Ok(())
            }
            Phase::Denying(..) | Phase::Open => Err(Refused::AcceptedTwice),
            Phase::Closed => Err(self.closed()),
        }
    }

    fn deny(&mut self, content: &Bytes, more: bool) -> Result<(), Refused> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Denying(head, mut all) => {
                all.extend_from_slice(content);
                if more {
                    self.phase = Phase::Denying(head, all);
                } else {
                    self.answer = Some(Answer::Deny(head, all.freeze()));
                    self.end.get_or_insert((ABNORMAL, String::new()));
                }
                Ok(())
            }
            Phase::Closed => Err(self.closed()),
            other @ (Phase::Asked | Phase::Open) => {
                self.phase = other;
                Err(Refused::NotStarted)
            }
        }
    }

    fn close(&mut self, code: u16, reason: String) -> Result<(), Refused> {
        match self.phase {
            // Whoever closes what is closed wants nothing else.
            _ if self.end.is_some() => Ok(()),
            Phase::Asked => {
                let head = Head::of_code(i64::from(StatusCode::FORBIDDEN.as_u16()));
                let answer = head.map(|head| Answer::Deny(head, Bytes::new()));
                let failed =
                    |error: crate::head::HeadError| Answer::Failed(Failure::new(error.to_string()));
                self.answer = Some(answer.unwrap_or_else(failed));
                self.phase = Phase::Closed;
                self.end = Some((ABNORMAL, String::new()));
                Ok(())
            }
            Phase::Denying(..) => Err(Refused::AcceptedTwice),
            Phase::Open => {
                self.closed_with = Some((code, reason.clone()));
                self.leaving.push(Frame::Close(code, reason));
                self.phase = Phase::Closed;
                Ok(())
            }
            Phase::Closed => Err(self.closed()),
        }
    }

    fn closed(&self) -> Refused {
        if self.end.is_some() {
            Refused::Gone
        } else {
            Refused::Closed
        }
    }

    /// The application has returned.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        match self.phase {
            _ if self.end.is_some() => Ok(()),
            Phase::Asked | Phase::Denying(..) => Err(Failure::new(NOT_ANSWERED)),
            Phase::Open => {
                self.leaving.push(Frame::Close(NORMAL, String::new()));
                self.phase = Phase::Closed;
                Ok(())
            }
            Phase::Closed => Ok(()),
        }
    }

    /// It has failed. Whether the answer to the handshake says so, and whether anybody is there to see the failure.
    pub(super) fn fail(&mut self, failure: &Failure) -> (bool, bool) {
        let is_seen = self.end.is_none();
        match self.phase {
            Phase::Asked | Phase::Denying(..) => {
                self.answer = Some(Answer::Failed(failure.clone()));
                self.phase = Phase::Closed;
                (true, is_seen)
            }
            Phase::Open => {
                self.leaving
                    .push(Frame::Close(INTERNAL_ERROR, String::new()));
                self.phase = Phase::Closed;
                (false, is_seen)
            }
            Phase::Closed => (false, is_seen),
        }
    }

    /// What the handshake is answered with, once.
    pub(super) fn take_answer(&mut self) -> Option<Answer> {
        self.answer.take()
    }

    /// What goes to the client next, and whether there is room for more again.
    pub(super) fn next_leaving(&mut self) -> (Option<Frame>, bool) {
        let frame = self.leaving.pop();
        (frame, !self.leaving.is_full())
    }

    /// Whether the application has ended it, and the client is sent all.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Closed) && self.leaving.frames.is_empty()
    }

    /// Whether the application may still answer a message.
    pub(super) fn is_in_hand(&self) -> bool {
        self.is_in_hand && !matches!(self.phase, Phase::Closed)
    }

    /// Whether more of the client is to be read.
    pub(super) fn has_room(&self) -> bool {
        !self.arrived.is_full()
    }

    /// The client says something.
    pub(super) fn arrive(&mut self, frame: Frame) {
        match frame {
            Frame::Close(code, reason) => {
                self.end.get_or_insert((code, reason));
            }
            Frame::Text(_) | Frame::Binary(_) => {
                self.is_in_hand = true;
                self.arrived.push(frame);
            }
        }
    }

    /// Nothing comes any more. Where the application has closed it, and its client has been told, that is how it ended.
    pub(super) fn leave(&mut self) {
        let closed_with = self.closed_with.take().filter(|_| self.is_done());
        let end = closed_with.unwrap_or((ABNORMAL, String::new()));
        self.end.get_or_insert(end);
    }
}

impl Traffic {
    fn is_full(&self) -> bool {
        self.length >= BUFFER
    }

    fn push(&mut self, frame: Frame) {
        // Also of what is empty there are only so many.
        self.length += frame.length() + size_of::<Frame>();
        self.frames.push_back(frame);
    }

    fn pop(&mut self) -> Option<Frame> {
        let frame = self.frames.pop_front()?;
        self.length -= frame.length() + size_of::<Frame>();
        Some(frame)
    }
}

//! One request and its answer, as far as it is decided here: what may follow what.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::failure::Failure;
use crate::head::Head;

/// So many bytes of a request's content wait for the application, about; and so many of its answer for the client.
const BUFFER: usize = 64 << 10;

/// A request that the application is called for.
#[derive(Debug)]
pub(super) struct State {
    /// To a HEAD request: no content goes out.
    is_head: bool,
    content: Content,
    phase: Phase,
    /// For whoever waits for the answer.
    answer: Option<Answer>,
    /// The client is gone, or nobody waits for the answer any more.
    is_gone: bool,
}

/// The content of a request on its way to the application.
#[derive(Debug, Default)]
struct Content {
    pieces: VecDeque<Bytes>,
    length: usize,
    /// All of it has arrived.
    is_complete: bool,
    /// The application has all of it.
    is_received: bool,
    /// The application has asked for it.
    is_wanted: bool,
}

#[derive(Debug)]
enum Phase {
    /// The application has said nothing.
    Called,
    /// It has given the head, which goes out with the first content.
    Started(Head),
    /// The head is on its way, and content follows.
    Streaming(Pieces),
    /// Of what follows nothing is for the client. Whoever goes on nevertheless is told that the client is gone: it might never end.
    Silent,
    /// The application has said all.
    Complete,
}

/// Content of an answer that waits for the client.
#[derive(Debug)]
struct Pieces {
    queue: VecDeque<Bytes>,
    length: usize,
    /// So many bytes are missing, where the head says how many there are.
    left: Option<u64>,
    /// More came than the head says.
    is_too_long: bool,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The application has said all.
    Complete,
    /// What is missing will not come; the client shall see that.
    Cut,
}

/// The answer of the application.
#[derive(Debug)]
pub(super) enum Answer {
    Whole(Head, Bytes),
    /// The content is what [`State::next_piece`] gives.
    Streamed(Head),
    Failed(Failure),
}

/// What the application gets when it asks.
#[derive(Debug)]
pub(super) enum Received {
    /// Content, and whether there is more.
    Content(Bytes, bool),
    Disconnect,
}

/// Why a message is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    NotStarted,
    StartedTwice,
    AfterTheEnd,
    /// The client is gone.
    Gone,
}

/// Whether content was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was.
    All,
    /// There is no room.
    Later,
    /// More came than the head says; the rest was left out.
    TooLong,
    /// All came, and so many bytes are missing.
    TooShort(u64),
}

/// What the client gets next.
#[derive(Debug)]
pub(super) enum Next {
    Piece(Bytes),
    Wait,
    Complete,
    Cut,
}

/// What a failure of the application costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// The answer: it is the failure.
    Answer,
    /// The rest of it.
    Rest,
    /// Nothing, for the client has all of it.
    Nothing,
    /// Nothing, for there is no client.
    NobodyWaited,
}

const NOT_ANSWERED: &str =
    "the application returned without an answer: it sent no http.response.start";
const NO_CONTENT: &str = "the application returned without an answer: no http.response.body followed its http.response.start";
const NOT_COMPLETE: &str = "the application returned in the middle of its answer: the last http.response.body it sent has more_body=True";

impl State {
    pub(super) fn new(is_head: bool, has_content: bool) -> Self {
        Self {
            is_head,
            content: Content {
                is_complete: !has_content,
                ..Content::default()
            },
            phase: Phase::Called,
            answer: None,
            is_gone: false,
        }
    }

    /// What the application gets; none: it waits.
    pub(super) fn receive(&mut self) -> Option<Received> {
        if self.is_gone || self.is_answered() {
            return Some(Received::Disconnect);
        }
        let content = &mut self.content;
        if content.is_received {
            return None;
        }
        content.is_wanted = true;
        if content.pieces.is_empty() && !content.is_complete {
            return None;
        }
        content.is_received = content.is_complete;
        content.length = 0;
        let first = content.pieces.pop_front().unwrap_or_default();
        let bytes = if content.pieces.is_empty() {
            first
        } else {
            let mut all = BytesMut::from(first);
            for piece in content.pieces.drain(..) {
                all.extend_from_slice(&piece);
            }
            all.freeze()
        };
        Some(Received::Content(bytes, !content.is_complete))
    }

    /// Whether more of the request's content is to be read: `is_optional`: only when the application asks for it.
    pub(super) fn wants_content(&self, is_optional: bool) -> bool {
        let content = &self.content;
        let has_room = content.length < BUFFER && !content.is_complete;
        has_room && (content.is_wanted || !is_optional)
    }

    /// Whether the application has asked for the request's content.
    pub(super) fn has_asked(&self) -> bool {
        self.content.is_wanted
    }

    /// Nobody will ask for more of the request's content.
    pub(super) fn is_over(&self) -> bool {
        self.is_gone || self.is_answered()
    }

    /// More of the request's content.
    pub(super) fn arrive(&mut self, piece: Bytes) {
        self.content.length += piece.len();
        self.content.pieces.push_back(piece);
    }

    /// There is no more.
    pub(super) fn arrive_end(&mut self) {
        self.content.is_complete = true;
    }

    /// The client is gone. Whether that was news.
    pub(super) fn leave(&mut self) -> bool {
        // It may have all that the head has promised, and go before the application has said so.
        if let Phase::Streaming(pieces) = &self.phase
            && pieces.left == Some(0)
            && pieces.queue.is_empty()
        {
            if pieces.end == End::Open {
                self.phase = Phase::Silent;
            }
            return false;
        }
        !std::mem::replace(&mut self.is_gone, true)
    }

    /// The head of the answer.
    pub(super) fn start(&mut self, head: Head) -> Result<(), Refused> {
        match self.phase {
            Phase::Called => {
                self.phase = Phase::Started(head);
                Ok(())
            }
            Phase::Started(_) => Err(Refused::StartedTwice),
            Phase::Streaming(_) | Phase::Silent if self.is_gone => Err(Refused::Gone),
            Phase::Streaming(_) | Phase::Silent | Phase::Complete => Err(Refused::StartedTwice),
        }
    }

    /// The head that was given, for an answer whose content comes from elsewhere; none where no content shall go out.
    pub(super) fn take_head(&mut self) -> Result<Option<Head>, Refused> {
        match std::mem::replace(&mut self.phase, Phase::Complete) {
            Phase::Started(head) if self.is_head || head.is_without_content() => {
                self.answer = Some(Answer::Whole(head, Bytes::new()));
                Ok(None)
            }
            Phase::Started(head) => Ok(Some(head)),
            Phase::Called => {
                self.phase = Phase::Called;
                Err(Refused::NotStarted)
            }
            other @ (Phase::Streaming(_) | Phase::Silent | Phase::Complete) => {
                self.phase = other;
                Err(Refused::AfterTheEnd)
            }
        }
    }

    /// Content of the answer, and whether more follows.
    pub(super) fn send(&mut self, content: &Bytes, more: bool) -> Result<Sent, Refused> {
        match std::mem::replace(&mut self.phase, Phase::Complete) {
            Phase::Called => {
                self.phase = Phase::Called;
                Err(Refused::NotStarted)
            }
            Phase::Started(head) => self.begin(head, content.clone(), more),
            Phase::Streaming(mut pieces) => {
                // It has all that it can get, and who sends on does not end by itself.
                self.is_gone |= pieces.is_too_long && more;
                let sent = if self.is_gone {
                    Err(Refused::Gone)
                } else {
                    pieces.send(content, more)
                };
                self.phase = Phase::Streaming(pieces);
                sent
            }
            Phase::Silent => {
                if !more {
                    return Ok(Sent::All);
                }
                self.phase = Phase::Silent;
                self.is_gone = true;
                Err(Refused::Gone)
            }
            Phase::Complete if self.is_gone => Err(Refused::Gone),
            Phase::Complete => Err(Refused::AfterTheEnd),
        }
    }

    fn begin(&mut self, mut head: Head, mut content: Bytes, more: bool) -> Result<Sent, Refused> {
        if self.is_gone {
            // One who would go on is told; one who has said all has nothing to do with it.
            return if more {
                self.phase = Phase::Silent;
                Err(Refused::Gone)
            } else {
                Ok(Sent::All)
            };
        }
        let length = content.len() as u64;
        if self.is_head || head.is_without_content() {
            if self.is_head && !more {
                head.set_default_length(length);
            }
            if more {
                self.phase = Phase::Silent;
            }
            self.answer = Some(Answer::Whole(head, Bytes::new()));
            return Ok(Sent::All);
        }
        let said = head.length();
        if !more && said.is_none_or(|said| said <= length) {
            let taken = if said.is_some_and(|said| said < length) {
                content.truncate(usize::try_from(said.unwrap_or_default()).unwrap_or_default());
                Sent::TooLong
            } else {
                Sent::All
            };
            self.answer = Some(Answer::Whole(head, content));
            return Ok(taken);
        }
        let mut pieces = Pieces {
            queue: VecDeque::new(),
            length: 0,
            left: said,
            is_too_long: false,
            end: End::Open,
        };
        let taken = pieces.send(&content, more);
        self.answer = Some(Answer::Streamed(head));
        self.phase = Phase::Streaming(pieces);
        taken
    }

    /// The application has returned.
    pub(super) fn finish(&self) -> Result<(), Failure> {
        match &self.phase {
            Phase::Called => Err(Failure::new(NOT_ANSWERED)),
            Phase::Started(_) => Err(Failure::new(NO_CONTENT)),
            Phase::Streaming(pieces) if pieces.end == End::Open => Err(Failure::new(NOT_COMPLETE)),
            Phase::Streaming(_) | Phase::Silent | Phase::Complete => Ok(()),
        }
    }

    /// It has failed.
    pub(super) fn fail(&mut self, failure: &Failure) -> Failed {
        match &mut self.phase {
            Phase::Called | Phase::Started(_) if self.is_gone => {
                self.phase = Phase::Complete;
                Failed::NobodyWaited
            }
            Phase::Called | Phase::Started(_) => {
                self.answer = Some(Answer::Failed(failure.clone()));
                self.phase = Phase::Complete;
                Failed::Answer
            }
            Phase::Streaming(pieces) if pieces.end == End::Open && pieces.left == Some(0) => {
                pieces.end = End::Complete;
                if self.is_gone {
                    Failed::NobodyWaited
                } else {
                    Failed::Nothing
                }
            }
            Phase::Streaming(pieces) if pieces.end == End::Open => {
                pieces.end = End::Cut;
                if self.is_gone {
                    Failed::NobodyWaited
                } else {
                    Failed::Rest
                }
            }
            Phase::Streaming(_) | Phase::Silent | Phase::Complete if self.is_gone => {
                Failed::NobodyWaited
            }
            Phase::Streaming(_) | Phase::Silent | Phase::Complete => Failed::Nothing,
        }
    }

    /// The answer, once.
    pub(super) fn take_answer(&mut self) -> Option<Answer> {
        self.answer.take()
    }

    /// What the client gets next of an answer that is streamed, and whether there is room for more again.
    pub(super) fn next_piece(&mut self) -> (Next, bool) {
        let Phase::Streaming(pieces) = &mut self.phase else {
            return (Next::Complete, false);
        };
        if let Some(piece) = pieces.queue.pop_front() {
            pieces.length -= piece.len();
            return (Next::Piece(piece), pieces.length < BUFFER);
        }
        let next = match pieces.end {
            End::Open => Next::Wait,
            End::Complete => Next::Complete,
            End::Cut => Next::Cut,
        };
        (next, false)
    }

    /// Whether the application has said all of its answer.
    pub(super) fn is_answered(&self) -> bool {
        match &self.phase {
            Phase::Streaming(pieces) => pieces.end != End::Open,
            Phase::Complete => true,
            Phase::Called | Phase::Started(_) | Phase::Silent => false,
        }
    }
}

impl Pieces {
    fn send(&mut self, content: &Bytes, more: bool) -> Result<Sent, Refused> {
        if self.end != End::Open {
            return Err(Refused::AfterTheEnd);
        }
        if self.length >= BUFFER {
            return Ok(Sent::Later);
        }
        let length = content.len() as u64;
        let allowed = self.left.unwrap_or(length).min(length);
        self.left = self.left.map(|left| left.saturating_sub(allowed));
        if allowed > 0 {
            let piece = content.slice(..usize::try_from(allowed).unwrap_or(content.len()));
            self.length += piece.len();
            self.queue.push_back(piece);
        }
        if !more {
            if let Some(missing) = self.left.filter(|left| *left > 0) {
                self.end = End::Cut;
                return Ok(Sent::TooShort(missing));
            }
            self.end = End::Complete;
        }
        Ok(if allowed < length {
            self.is_too_long = true;
            Sent::TooLong
        } else {
            Sent::All
        })
    }
}

//! The bytes of HTTP/1.1 before hyper reads them: every head whole and strictly as RFC 9112 has it, every body to its end.
//!
//! hyper's parser forgives what RFC 9112 lets a recipient forgive, and repairs some of it. Another program before destrier may
//! repair it otherwise, and then one of them takes for the body what the other takes for a request. So a [`Screen`] looks at
//! the bytes first: hyper sees nothing of a head that is not complete and in order, and of a body nothing after its first
//! mistake. It reads a head with hyper's own parser, so that both find the same fields in it.

mod chunks;
mod extension;
mod head;

use chunks::Chunks;
use head::{Body, Partial};
pub(super) use head::{METHOD_MAX, is_target};

pub use super::malformed::Malformed;
use crate::config::Config;

/// How large a request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of its target.
    pub target: usize,
    /// Header fields of its head, and of its trailer section.
    pub headers: usize,
    /// Bytes of its head from the first of the request line to the last of the empty line.
    pub head: usize,
    /// Bytes of its body, whichever rule decides: no chunk can be larger.
    pub body: u64,
}

impl Bounds {
    /// As the configuration has them.
    pub fn new(config: &Config) -> Self {
        let bodies = config.auth.rules.iter().map(|rule| rule.max_body);
        Self {
            target: config.http.max_target,
            headers: config.http.max_headers,
            head: config.http.max_head,
            body: bodies.max().unwrap_or(0).max(config.http.max_body),
        }
    }
}

/// Follows the requests of one connection, byte by byte.
#[derive(Debug)]
pub struct Screen {
    bounds: Bounds,
    state: State,
    requests: u64,
}

#[derive(Debug)]
enum State {
    /// A head, or nothing yet.
    Head(Partial),
    /// A body of which so many bytes are still to come.
    Length(u64),
    Chunked(Chunks),
    /// It went wrong after bytes that were good.
    Failed(Malformed),
}

impl Screen {
    /// Of a connection on which a request comes next.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: State::Head(Partial::default()),
            requests: 0,
        }
    }

    /// How many requests have had a head that was in order.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether no request is under way. One whose head has begun is none before that is complete.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// How many of `bytes`, which are all that were not passed on yet, may be passed on now: up to the end of one request at
    /// most, and of a head or a trailer section all or nothing. Those that may not are to be shown again with what follows them.
    ///
    /// # Errors
    /// What is wrong. Nothing may be passed on any more.
    pub fn look(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(passed);
            }
            match self.step(rest) {
                Ok((count, true)) => return Ok(passed + count),
                Ok((count, false)) => passed += count,
                // What is good before it is passed on first, so that it makes no difference how the bytes arrived.
                Err(malformed) if passed > 0 => {
                    self.state = State::Failed(malformed);
                    return Ok(passed);
                }
                Err(malformed) => return Err(malformed),
            }
        }
    }

    /// How many of `bytes` may be passed on, and whether nothing else may be for now.
    fn step(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let (count, has_ended) = match &mut self.state {
            State::Failed(malformed) => return Err(*malformed),
            State::Head(partial) => {
                let Some((length, body)) = partial.read(bytes, &self.bounds)? else {
                    return Ok((0, true));
                };
                self.requests += 1;
                match body {
                    Body::None => (length, true),
                    Body::Length(left) => {
                        self.state = State::Length(left);
                        return Ok((length, false));
                    }
                    Body::Chunked => {
                        self.state = State::Chunked(Chunks::default());
                        return Ok((length, false));
                    }
                }
            }
            State::Length(left) => {
                let count = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= count as u64;
                (count, *left == 0)
            }
            State::Chunked(chunks) => chunks.look(bytes, &self.bounds)?,
        };
        if has_ended {
            self.state = State::Head(Partial::default());
        }
        Ok((count, true))
    }
}

#[cfg(test)]
mod tests;

//! The agent's process: what is said to it and heard of it, and what it is expected to tell.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::channel::{Decoder, FromAgent};
use crate::config::{Fetch, FetchKind, Log, Tokens};
use crate::supervisor::Now;
use crate::sys::identity::Identity;
use crate::sys::process::ProcessId;
use crate::sys::socket;

/// Within this time something is told of what was asked for: an attempt begins within a second and takes 10 at most.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(20);
/// So often the channel of the agent is read in one turn of the loop.
pub(super) const READS_MAX: usize = 16;

/// The process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: ProcessId,
    pub(super) started: Now,
    pub(super) channel: UnixStream,
    pub(super) incoming: Decoder<FromAgent>,
    /// What came along with messages, in their order; none for what was lost.
    pub(super) descriptors: VecDeque<Option<OwnedFd>>,
    pub(super) outgoing: Vec<u8>,
    /// What it fetches, as messages number it.
    pub(super) feeds: Vec<Watched>,
    /// The token service whose database it knows.
    pub(super) tokens: Option<Tokens>,
    pub(super) identity: Identity,
    pub(super) log: Log,
}

/// Something that it fetches, and what is heard of it.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) fetch: Fetch,
    /// Something was told of it.
    pub(super) is_told: bool,
    /// Somebody waits for an answer.
    pub(super) is_asked: bool,
    /// Until then an agent that is well has told something of it.
    pub(super) expected_by: Option<Now>,
}

impl Watched {
    /// Of an agent that begins now.
    pub(super) fn new(fetch: Fetch, is_known: bool, now: Now) -> Self {
        let mut watched = Self {
            fetch,
            is_told: false,
            is_asked: false,
            expected_by: None,
        };
        watched.expect_next(now);
        if !is_known {
            watched.is_expected_within(SILENCE_MAX, now);
        }
        watched
    }

    /// Something was told of it.
    pub(super) fn heard(&mut self, now: Now) {
        self.is_told = true;
        self.is_asked = false;
        self.expected_by = None;
        self.expect_next(now);
    }

    /// A list is polled, so that something is told of it each time; how long keys are fresh their server says.
    pub(super) fn expect_next(&mut self, now: Now) {
        match self.fetch.kind {
            FetchKind::DenyList | FetchKind::TokenDatabase => {
                self.is_expected_within(self.fetch.refresh + SILENCE_MAX, now);
            }
            FetchKind::Jwks | FetchKind::Discovery { .. } => {}
        }
    }

    pub(super) fn is_expected_within(&mut self, time: Duration, now: Now) {
        let by = now + time;
        self.expected_by = Some(self.expected_by.map_or(by, |earlier| earlier.min(by)));
    }
}

impl Process {
    /// Sends what there is room for.
    pub(super) fn send(&mut self) {
        while !self.outgoing.is_empty() {
            match self.channel.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It has gone; the kernel will report its end.
                Err(_) => self.outgoing.clear(),
            }
        }
    }

    /// What it has said since the last time; `false` when it says no more, or what no agent says.
    pub(super) fn receive(&mut self) -> (Vec<FromAgent>, bool) {
        let mut bytes = [0; 4096];
        let mut goes_on = true;
        // The rest waits for the next turn of the loop.
        for _ in 0..READS_MAX {
            match socket::receive_with(&self.channel, &mut bytes) {
                Ok((0, _)) => goes_on = false,
                Ok((count, along)) => {
                    self.descriptors.extend(along.received());
                    self.incoming.push(bytes.get(..count).unwrap_or_default());
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => goes_on = false,
            }
            break;
        }
        let mut messages = Vec::new();
        while let Some(message) = self.incoming.next_message() {
            match message {
                Ok(message) => messages.push(message),
                Err(error) => {
                    tracing::error!(pid = self.pid.number(), %error, "the agent says what no agent says");
                    return (messages, false);
                }
            }
        }
        (messages, goes_on)
    }
}

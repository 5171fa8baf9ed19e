//! The agent's process: what is said to it and heard of it, and what it is expected to tell.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::channel::{Decoder, FromAgent};
use crate::config::{Admin, Bind, Fetch, FetchKind, Hooks, Log, SourceFiles, Tokens};
use crate::supervisor::{Generation, Now};
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
    /// How it answers monitoring.
    pub(super) admin: Option<AdminSetting>,
    /// What it runs when something happens.
    pub(super) hooks: Option<Hooks>,
    /// What it watches for changes.
    pub(super) sources: Option<SourceFiles>,
}

/// What decides how monitoring is answered: an agent that was given something else is replaced.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AdminSetting {
    pub(super) admin: Admin,
    /// The addresses that are open.
    pub(super) binds: Vec<Bind>,
    pub(super) ready_min: u16,
    /// Which generation has read what a token for the metrics is judged by, and what the keys are by now; none: no token is needed.
    pub(super) keys: Option<(Generation, Option<[u8; 32]>)>,
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
    pub(super) progress: Progress,
}

/// What it has told of its attempts.
#[derive(Debug, Default)]
pub(in crate::master) struct Progress {
    /// When it makes its next attempt, in seconds since 1970.
    pub(in crate::master) next: Option<u64>,
    /// Since an attempt failed, until one does not.
    pub(in crate::master) failure: Option<Failure>,
}

/// Attempts that failed, one after the other.
#[derive(Debug)]
pub(in crate::master) struct Failure {
    /// Of the last one.
    pub(in crate::master) reason: String,
    /// When the first one failed, in seconds since 1970.
    pub(in crate::master) since: u64,
    /// When the last one did.
    pub(in crate::master) at: u64,
}

impl Progress {
    fn take_in(&mut self, message: &FromAgent, now: u64) {
        match message {
            FromAgent::Fetched { next, .. } | FromAgent::Confirmed { next, .. } => {
                self.next = Some(*next);
                self.failure = None;
            }
            FromAgent::StatusWanted
            | FromAgent::SourceChanged { .. }
            | FromAgent::Ordered { .. } => {}
            FromAgent::Failed { reason, next, .. } => {
                // Else no attempt was made.
                if let Some(next) = *next {
                    self.next = Some(next);
                    self.failure = Some(Failure {
                        reason: reason.clone(),
                        since: self.failure.as_ref().map_or(now, |failure| failure.since),
                        at: now,
                    });
                }
            }
        }
    }
}

impl Watched {
    /// Of an agent that begins now.
    pub(super) fn new(fetch: Fetch, is_known: bool, now: Now) -> Self {
        let mut watched = Self {
            fetch,
            is_told: false,
            is_asked: false,
            expected_by: None,
            progress: Progress::default(),
        };
        watched.expect_next(now);
        if !is_known {
            watched.is_expected_within(SILENCE_MAX, now);
        }
        watched
    }

    /// This was told of it, at `unix` in seconds since 1970.
    pub(super) fn heard(&mut self, message: &FromAgent, now: Now, unix: u64) {
        self.progress.take_in(message, unix);
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

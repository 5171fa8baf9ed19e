//! The workers as the master holds them: process, channel, seat on the scoreboard.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::ledger::WorkerEnd;
use crate::channel::{self, Decoder, FeedNews, ToMaster, ToWorker};
use crate::supervisor::{Generation, KillReason, Now, Slot, WorkerId};
use crate::sys::process::ProcessId;
use crate::sys::socket;

/// One worker process.
#[derive(Debug)]
pub(super) struct Hand {
    pub(super) pid: ProcessId,
    pub(super) slot: Slot,
    pub(super) generation: Generation,
    pub(super) seat: usize,
    pub(super) spawned: Now,
    /// The master ordered its end, so the end is no surprise.
    pub(super) told_to_go: bool,
    /// It was aborted because its event loop had not turned for so long.
    pub(super) hung_for: Option<Duration>,
    /// Why the master sent it a signal to end it, and which.
    pub(super) killed: Option<(KillReason, Signal)>,
    /// Why another one shall take its place.
    pub(super) replaced_for: Option<WorkerEnd>,
    /// How its probe failed, since it fails too often.
    pub(super) unwell: Option<String>,
    pub(super) channel: Option<UnixStream>,
    pub(super) incoming: Decoder<ToMaster>,
    /// What came along with what it said, for the messages that are still to be taken in; none for what was lost.
    pub(super) received: VecDeque<Option<OwnedFd>>,
    /// Where it writes what its threads did when it dies of a fault.
    pub(super) last_words: Option<File>,
    pub(super) outgoing: Vec<u8>,
    /// Descriptors that pass along, and how much of `outgoing` is written before each.
    pub(super) passing: VecDeque<(usize, OwnedFd)>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Crew {
    hands: BTreeMap<WorkerId, Hand>,
    free_seats: BTreeSet<usize>,
}

impl Crew {
    pub(super) fn new(seats: usize) -> Self {
        Self {
            hands: BTreeMap::new(),
            free_seats: (0..seats).collect(),
        }
    }

    /// A seat for one more worker.
    pub(super) fn take_seat(&mut self) -> Option<usize> {
        self.free_seats.pop_first()
    }

    /// The seat on which a worker sits already.
    pub(super) fn take_this_seat(&mut self, seat: usize) -> Option<usize> {
        self.free_seats.take(&seat)
    }

    /// A seat whose worker was never born, or has died.
    pub(super) fn give_back(&mut self, seat: usize) {
        self.free_seats.insert(seat);
    }

    pub(super) fn join(&mut self, id: WorkerId, hand: Hand) {
        self.hands.insert(id, hand);
    }

    pub(super) fn get(&self, id: WorkerId) -> Option<&Hand> {
        self.hands.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: WorkerId) -> Option<&mut Hand> {
        self.hands.get_mut(&id)
    }

    pub(super) fn find(&self, pid: ProcessId) -> Option<WorkerId> {
        self.hands
            .iter()
            .find(|(_, hand)| hand.pid == pid)
            .map(|(id, _)| *id)
    }

    pub(super) fn leave(&mut self, id: WorkerId) -> Option<Hand> {
        self.hands.remove(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkerId, &Hand)> {
        self.hands.iter().map(|(id, hand)| (*id, hand))
    }

    /// Tells every worker of a generation what is new.
    pub(super) fn tell_generation(&mut self, generation: Generation, news: &FeedNews) {
        let hands = self.hands.values_mut();
        for hand in hands.filter(|hand| hand.generation == generation) {
            hand.tell(&ToWorker::Feed(news.clone()));
        }
    }

    /// Tells every worker.
    pub(super) fn tell_all(&mut self, message: &ToWorker) {
        self.hands.values_mut().for_each(|hand| hand.tell(message));
    }
}

impl Hand {
    pub(super) fn new(
        pid: ProcessId,
        (slot, generation): (Slot, Generation),
        seat: usize,
        spawned: Now,
        channel: UnixStream,
    ) -> Self {
        Self {
            pid,
            slot,
            generation,
            seat,
            spawned,
            told_to_go: false,
            hung_for: None,
            killed: None,
            replaced_for: None,
            unwell: None,
            channel: Some(channel),
            incoming: Decoder::default(),
            received: VecDeque::new(),
            last_words: None,
            outgoing: Vec::new(),
            passing: VecDeque::new(),
        }
    }

    /// Sends `message`, now or when there is room.
    pub(super) fn tell(&mut self, message: &ToWorker) {
        self.outgoing.extend(channel::encode(message));
        self.send();
    }

    /// The same, and passes `descriptor` along.
    pub(super) fn tell_with(&mut self, message: &ToWorker, descriptor: OwnedFd) {
        self.passing.push_back((self.outgoing.len(), descriptor));
        self.tell(message);
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.outgoing.is_empty() && self.channel.is_some()
    }

    /// Sends what there is room for.
    pub(super) fn send(&mut self) {
        let Some(channel) = &mut self.channel else {
            return;
        };
        while !self.outgoing.is_empty() {
            // No byte beyond the next descriptor goes before it.
            let is_due = self.passing.front().is_some_and(|(before, _)| *before == 0);
            let next = self.passing.get(usize::from(is_due));
            let end = next.map_or(self.outgoing.len(), |(before, _)| *before);
            let bytes = self.outgoing.get(..end).unwrap_or_default();
            let written = match self.passing.front() {
                Some((0, descriptor)) => socket::send_with(&*channel, bytes, descriptor),
                Some(_) | None => channel.write(bytes),
            };
            match written {
                Ok(written) => {
                    drop(self.outgoing.drain(..written));
                    if is_due {
                        drop(self.passing.pop_front());
                    }
                    for (before, _) in &mut self.passing {
                        *before = before.saturating_sub(written);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // It has gone; the kernel will report its end.
                Err(_) => {
                    self.outgoing.clear();
                    self.passing.clear();
                }
            }
        }
    }

    /// What the worker has said since the last time.
    pub(super) fn receive(&mut self) -> Vec<ToMaster> {
        let Some(channel) = &mut self.channel else {
            return Vec::new();
        };
        let mut bytes = [0; 4096];
        loop {
            match socket::receive_with(&*channel, &mut bytes) {
                Ok((0, _)) => break self.channel = None,
                Ok((count, along)) => {
                    self.received.extend(along.received());
                    self.incoming.push(bytes.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => break self.channel = None,
            }
        }
        let mut messages = Vec::new();
        while let Some(message) = self.incoming.next_message() {
            match message {
                Ok(message) => messages.push(message),
                Err(error) => {
                    tracing::error!(pid = self.pid.number(), %error, "a worker says what no worker says");
                    // Not to be understood any more; without a channel the worker leaves, and is replaced.
                    self.channel = None;
                    break;
                }
            }
        }
        messages
    }
}

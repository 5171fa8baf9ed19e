//! The process of a template: what is said to it and heard of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::channel::{self, FromTemplate, TEMPLATE_PACKET_MAX, ToTemplate};
use crate::logging::Outputs;
use crate::supervisor::Now;
use crate::sys::process::ProcessId;
use crate::sys::socket;

/// The process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: ProcessId,
    pub(super) started: Now,
    /// None when nothing more comes.
    channel: Option<OwnedFd>,
    /// By then it has said what it was asked last: that it is ready, or what came of a fork.
    pub(super) answers_by: Option<Now>,
    /// When it was ready.
    pub(super) ready: Option<Now>,
}

impl Process {
    /// One that was started just now.
    pub(super) fn new(pid: ProcessId, channel: OwnedFd, started: Now, ready_by: Now) -> Self {
        Self {
            pid,
            started,
            channel: Some(channel),
            answers_by: Some(ready_by),
            ready: None,
        }
    }

    /// Readable when it has said something.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(AsFd::as_fd)
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready.is_some()
    }

    /// How long it took.
    pub(super) fn is_ready_now(&mut self, now: Now) -> Now {
        self.answers_by = None;
        let ready = *self.ready.get_or_insert(now);
        ready.saturating_sub(self.started)
    }

    /// None: never.
    pub(super) fn was_ready_for(&self, now: Now) -> Option<Now> {
        self.ready.map(|ready| now.saturating_sub(ready))
    }

    /// Sends a message, with descriptors along. Returns whether there was room; to one that is gone there is: the kernel will report
    /// its end.
    pub(super) fn tell(&self, message: &ToTemplate, along: &[BorrowedFd<'_>]) -> bool {
        let Some(channel) = &self.channel else {
            return true;
        };
        let packet = channel::packet(message);
        match socket::send_packet(channel, &packet, along) {
            Err(error) => !must_wait(&error),
            Ok(()) => true,
        }
    }

    /// Where lines go from now on; with nothing it opens the files itself.
    pub(super) fn reopen_logs(&self, outputs: &Outputs) {
        let order = ToTemplate::ReopenLogs {
            log: outputs.log.is_some(),
            access_log: outputs.access_log.is_some(),
        };
        let along = outputs.log.iter().chain(&outputs.access_log);
        let along: Vec<_> = along.map(AsFd::as_fd).collect();
        if !self.tell(&order, &along) {
            let pid = self.pid.number();
            tracing::warn!(
                pid,
                "the template was not told that the log files were opened anew"
            );
        }
    }

    /// What it has said, if it has said something. After its end nothing is heard of it.
    pub(super) fn receive(&mut self) -> Heard {
        let Some(channel) = &self.channel else {
            return Heard::Nothing;
        };
        let mut bytes = vec![0; TEMPLATE_PACKET_MAX];
        let heard = match socket::receive_packet(channel, &mut bytes) {
            Ok(Some((count, _))) => {
                match serde_json::from_slice(bytes.get(..count).unwrap_or_default()) {
                    Ok(message) => Heard::Message(message),
                    Err(error) => Heard::End(Some(error.to_string())),
                }
            }
            Ok(None) => Heard::End(None),
            Err(error) if must_wait(&error) => Heard::Nothing,
            // It left without having read everything.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Heard::End(None),
            Err(error) => Heard::End(Some(error.to_string())),
        };
        if matches!(heard, Heard::End(_)) {
            self.channel = None;
        }
        heard
    }
}

/// What is heard of a template.
#[derive(Debug)]
pub(super) enum Heard {
    /// This.
    Message(FromTemplate),
    /// Nothing new.
    Nothing,
    /// It says no more; or it has said what no template says, and then why.
    End(Option<String>),
}

fn must_wait(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
    kinds.contains(&error.kind())
}

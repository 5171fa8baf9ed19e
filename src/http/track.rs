//! One request from its head to the last byte of its answer: seen on the scoreboard, timed, written to the access log.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Method, StatusCode};

use super::activity::Activity;
use super::asked::Asked;
use super::in_progress::InProgress;
use super::places::Place;
use super::websocket::Upgrade;
use crate::app::{BoxError, Client};
use crate::logging::cut;
use crate::scoreboard::{Executing, InFlight, RequestId};
use crate::sys::clock;

/// A request that is being answered; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Track {
    id: RequestId,
    /// When its head was complete, monotonic.
    started: Duration,
    activity: Arc<Activity>,
    /// In flight until this is gone; none once it was given up.
    in_progress: Option<InProgress>,
    access: Option<Box<Access>>,
    /// Among those that the application works on, and how long it was waited for.
    place: Option<Place>,
    queued: Duration,
    /// What its answer depends on.
    pub(super) asked: Asked,
}

/// What the access log wants to know.
#[derive(Debug)]
pub(super) struct Access {
    pub(super) client: Client,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) subject: Option<String>,
    pub(super) status: StatusCode,
    pub(super) bytes: usize,
}

impl Track {
    pub(super) fn begin(
        id: RequestId,
        started: Duration,
        activity: Arc<Activity>,
        in_flight: InFlight,
        access: Option<Box<Access>>,
        asked: Asked,
    ) -> Self {
        Self {
            id,
            started,
            activity,
            in_progress: Some(InProgress::new(in_flight)),
            access,
            place: None,
            queued: Duration::ZERO,
            asked,
        }
    }

    /// The application works on it from now on.
    pub(super) fn enter(&mut self, place: Place, queued: Duration) {
        self.place = Some(place);
        self.queued = queued;
    }

    /// What is left of its answer costs the application nothing.
    pub(super) fn leave_place(&mut self) {
        self.place = None;
    }

    /// For the application, which may hold it longer than this.
    pub(super) fn in_progress(&self) -> Option<InProgress> {
        self.in_progress.clone()
    }

    /// Its client is answered: when it began, and a way to see whether the application still works on it.
    pub(super) fn give_up(&mut self) -> (Duration, Weak<InFlight>) {
        let in_progress = self.in_progress.take();
        (
            self.started,
            in_progress.map(InProgress::let_go).unwrap_or_default(),
        )
    }

    /// Code of the application runs for it, on the thread of the event loop, until what is returned is dropped.
    pub(super) fn executing(&self) -> Option<Executing<'_>> {
        let in_progress = self.in_progress.as_ref()?;
        Some(in_progress.in_flight().executing())
    }

    /// By what it is known when it comes again.
    pub(super) fn set_fingerprint(&self, fingerprint: u64) {
        if let Some(in_progress) = &self.in_progress {
            in_progress.in_flight().set_fingerprint(fingerprint);
        }
    }

    /// The token named this subject.
    pub(super) fn subject(&mut self, subject: impl FnOnce() -> Option<String>) {
        if let Some(access) = &mut self.access {
            access.subject = subject();
        }
    }

    /// Whether its connection has carried `limit` requests, this one among them.
    pub(super) fn connection_has_carried(&self, limit: Option<u32>) -> bool {
        self.activity.has_carried(limit)
    }

    /// Whether another worker goes on with its connection.
    pub(super) fn connection_goes_on(&self) -> bool {
        self.activity.goes_on()
    }

    /// How far its connection is on its way to a WebSocket.
    pub(super) fn upgrade(&self) -> &Upgrade {
        &self.activity.upgrade
    }

    /// The head of the answer is known.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.activity.answer_begins();
        if let Some(access) = &mut self.access {
            access.status = status;
        }
    }

    /// So many bytes of the answer were handed on.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(access) = &mut self.access {
            access.bytes += bytes;
        }
    }

    /// The application failed in the middle of its answer, which the client sees as a cut.
    pub(super) fn broke_off(&self, error: &BoxError) {
        tracing::error!(request = %self.id, %error, "the application broke off its answer");
    }

    /// A file could not be read to its end, or not be compressed, which the client sees as a cut.
    pub(super) fn file_broke_off(&self, error: &BoxError) {
        tracing::error!(request = %self.id, %error, "an answer that is a file broke off");
    }
}

/// What one line of the access log says.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) id: RequestId,
    pub(super) client: Client,
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) subject: Option<&'a str>,
    pub(super) status: StatusCode,
    pub(super) bytes: usize,
    pub(super) took: Duration,
    /// How much of that it waited for the application to have a place for it.
    pub(super) queued: Duration,
}

/// Writes it.
pub(super) fn log_access(line: &Line<'_>) {
    tracing::info!(
        target: "access",
        request = %line.id,
        client = line.client.shown().map(tracing::field::display),
        method = cut(line.method),
        path = line.path,
        status = line.status.as_u16(),
        bytes = line.bytes,
        microseconds = u64::try_from(line.took.as_micros()).unwrap_or(u64::MAX),
        queued = u64::try_from(line.queued.as_micros()).unwrap_or(u64::MAX),
        subject = line.subject,
        "request",
    );
}

impl Drop for Track {
    fn drop(&mut self) {
        self.activity.end_request();
        if let Some(access) = &self.access {
            log_access(&Line {
                id: self.id,
                client: access.client,
                method: access.method.as_str(),
                path: &access.path,
                subject: access.subject.as_deref(),
                status: access.status,
                bytes: access.bytes,
                took: clock::monotonic().saturating_sub(self.started),
                queued: self.queued,
            });
        }
    }
}

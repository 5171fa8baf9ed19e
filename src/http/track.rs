//! One request from its head to the last byte of its answer: seen on the scoreboard, timed, written to the access log.

use std::sync::{Arc, Weak};
use std::time::Duration;

use http::Response;

use super::access::Access;
use super::activity::Activity;
use super::asked::Asked;
use super::in_progress::{InProgress, Work};
use super::places::Place;
use super::span::OpenSpan;
use super::websocket::Upgrade;
use crate::app::BoxError;
use crate::auth::Claims;
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
    /// Bytes of the body of the answer.
    sent: u64,
    access: Option<Box<Access>>,
    span: Option<Box<OpenSpan>>,
    /// Among those that the application works on, and how long it was waited for.
    place: Option<Place>,
    queued: Duration,
    /// What its answer depends on.
    pub(super) asked: Asked,
}

impl Track {
    pub(super) fn begin(
        id: RequestId,
        started: Duration,
        activity: Arc<Activity>,
        in_flight: InFlight,
        (access, span): (Option<Box<Access>>, Option<Box<OpenSpan>>),
        asked: Asked,
    ) -> Self {
        Self {
            id,
            started,
            in_progress: Some(InProgress::new(in_flight, Arc::clone(&activity))),
            activity,
            sent: 0,
            access,
            span,
            place: None,
            queued: Duration::ZERO,
            asked,
        }
    }

    /// The application works on it from now on.
    pub(super) fn enter(&mut self, place: Place, queued: Duration) {
        self.place = Some(place);
        self.queued = queued;
        if !queued.is_zero()
            && let Some(in_progress) = &self.in_progress
        {
            in_progress.in_flight().waited(queued);
        }
    }

    /// What is left of its answer costs the application nothing.
    pub(super) fn leave_place(&mut self) {
        self.place = None;
    }

    /// For the application, which may hold it longer than this.
    pub(super) fn in_progress(&self) -> Option<InProgress> {
        self.in_progress.clone()
    }

    /// Its time is over; its future is dropped next.
    pub(super) fn set_overdue(&self) {
        if let Some(in_progress) = &self.in_progress {
            in_progress.set_overdue();
        }
    }

    /// Its client is answered: when it began, and a way to see whether the application still works on it.
    pub(super) fn give_up(&mut self) -> (Duration, Weak<Work>) {
        self.note_end();
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

    /// The rule at this place of the configuration decided about it; none did where none is for it.
    pub(super) fn decided_by(&mut self, rule: Option<usize>) {
        if let Some(access) = &mut self.access {
            access.decided_by(rule);
        }
        if let Some(span) = &mut self.span {
            span.decided_by(rule);
        }
    }

    /// What its token says.
    pub(super) fn claims(&mut self, claims: &Arc<Claims>) {
        if let Some(access) = &mut self.access {
            access.claims(claims);
        }
    }

    /// The application is called.
    pub(super) fn app_begins(&mut self) {
        if let Some(access) = &mut self.access {
            access.app_begins();
        }
    }

    /// It has begun its answer, or has not in time.
    pub(super) fn app_ends(&mut self) {
        if let Some(access) = &mut self.access {
            access.app_ends();
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
    pub(super) fn answered<B>(&mut self, response: &Response<B>) {
        self.activity.answer_begins();
        if let Some(access) = &mut self.access {
            access.answered(response);
        }
        if let Some(span) = &mut self.span {
            span.answered(response);
        }
    }

    /// Whether it gets a line in the access log.
    pub(super) fn is_written_down(&self) -> bool {
        self.access.is_some()
    }

    /// How many bytes the answer has is not known any more.
    pub(super) fn compresses(&mut self) {
        if let Some(access) = &mut self.access {
            access.compresses();
        }
    }

    /// So many bytes the answer has, where that is known.
    pub(super) fn will_send(&mut self, bytes: Option<u64>) {
        if let Some(access) = &mut self.access {
            access.will_send(bytes);
        }
    }

    /// So many bytes of the answer were handed on.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
        if let Some(access) = &mut self.access {
            access.sent(bytes);
        }
    }

    /// Nothing is left of the answer.
    pub(super) fn whole(&mut self) {
        if let Some(access) = &mut self.access {
            access.whole();
        }
    }

    /// On the scoreboard, once: of one that was given up, when it was.
    fn note_end(&self) {
        if let Some(in_progress) = &self.in_progress {
            let took = clock::monotonic().saturating_sub(self.started);
            in_progress.in_flight().answered_within(took, self.sent);
        }
    }

    /// The application failed in the middle of its answer, which the client sees as a cut.
    pub(super) fn broke_off(&mut self, error: &BoxError) {
        if let Some(span) = &mut self.span {
            span.broke_off();
        }
        let trace_id = self.id.trace_id();
        tracing::error!(request = %self.id, trace_id, %error, "the application broke off its answer");
    }

    /// A file could not be read to its end, or not be compressed, which the client sees as a cut.
    pub(super) fn file_broke_off(&mut self, error: &BoxError) {
        if let Some(span) = &mut self.span {
            span.broke_off();
        }
        let trace_id = self.id.trace_id();
        tracing::error!(request = %self.id, trace_id, %error, "an answer that is a file broke off");
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.note_end();
        self.activity.end_request();
        if let Some(access) = &self.access {
            let in_progress = self.in_progress.as_ref();
            let queued = in_progress.map_or(self.queued, |it| it.in_flight().waited_in_all());
            access.write(self.id, self.started, queued);
        }
        if let Some(span) = self.span.take() {
            span.end(clock::monotonic().saturating_sub(self.started));
        }
    }
}

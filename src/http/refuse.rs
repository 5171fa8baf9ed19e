//! What is not served, and why: each refusal is answered, logged and counted here.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::Response;
use http::request::Parts;

use super::access::{Refused, Unread};
use super::malformed::Malformed;
use super::track::Track;
use super::{Origin, Pipeline, fingerprint, reply};
use crate::app::AppService;
use crate::auth::{Claims, Refusal};
use crate::logging::cut;
use crate::scoreboard::RequestId;
use crate::sys::clock;

impl<S: AppService> Pipeline<S> {
    /// Of a request that has begun.
    pub(super) fn next_id(&self) -> RequestId {
        let id = RequestId::new(self.id_high, self.id_low.fetch_add(1, Relaxed));
        if Some(id.low) == self.settings.max_requests {
            self.served_out.notify_one();
        }
        id
    }

    /// The answer to a request that may not pass.
    pub(super) fn refuse(
        &self,
        refusal: &Refusal,
        method: &str,
        path: &str,
        id: &RequestId,
    ) -> Response<Bytes> {
        self.refuse_with(reply::refusal(refusal), refusal, (method, path), id)
    }

    /// As [`Self::refuse`], where the client is told more than the refusal says.
    pub(super) fn refuse_with(
        &self,
        answer: Response<Bytes>,
        refusal: &Refusal,
        (method, path): (&str, &str),
        id: &RequestId,
    ) -> Response<Bytes> {
        self.seat.refused(refusal.class);
        self.unserved.refused(refusal, (method, path), id);
        self.with_reason(answer, || Refused::new(refusal))
    }

    /// The answer to a request that is not served; where there is an access log, its line says why.
    pub(super) fn with_reason(
        &self,
        mut answer: Response<Bytes>,
        reason: impl FnOnce() -> Refused,
    ) -> Response<Bytes> {
        if self.settings.access_log.is_some() {
            answer.extensions_mut().insert(reason());
        }
        answer
    }

    /// The answer to a request that is none; it ends the connection.
    pub(super) fn refuse_malformed(
        &self,
        malformed: Malformed,
        method: &str,
        path: &str,
        id: &RequestId,
    ) -> Response<Bytes> {
        reply::closing(self.refuse(&malformed.into(), method, path, id))
    }

    /// The whole answer, as it goes over the wire, to a request whose head hyper has not seen, for it is malformed or did not come to its
    /// end. `head` is what has arrived of it.
    pub fn refuse_unread(&self, malformed: Malformed, head: &[u8], origin: &Origin) -> Vec<u8> {
        let (id, started) = (self.next_id(), clock::monotonic());
        let (method, path) = &named(head);
        let answer = self.refuse_malformed(malformed, method, path, &id);
        self.seat.answered(answer.status().as_u16());
        if let Some(log) = &self.settings.access_log {
            Unread {
                id,
                started,
                origin,
                method,
                path,
                version: None,
            }
            .write(log, &answer);
        }
        reply::on_the_wire(answer, Some(id), method == "HEAD")
    }

    /// What a rule would have refused, were it not an audit.
    pub(super) fn note_audit(&self, refusal: &Refusal, head: &Parts, id: &RequestId) {
        self.seat.audited();
        self.unserved.audited(refusal, head, id);
    }

    /// The answer to a request that ended workers again and again; none when it may be tried.
    pub(super) fn blocked(
        &self,
        head: &Parts,
        claims: Option<&Claims>,
        track: &Track,
        id: &RequestId,
    ) -> Option<Response<Bytes>> {
        if !self.settings.poison_guard {
            return None;
        }
        let fingerprint = fingerprint::of(head, claims);
        track.set_fingerprint(fingerprint);
        let until = self.seat.blocked_until(fingerprint)?;
        // The master takes it off the list when it wakes up for that.
        let left = until.checked_sub(clock::monotonic())?;
        self.seat.blocked();
        self.unserved.blocked(fingerprint, head, id);
        Some(self.with_reason(reply::blocked(left), || {
            Refused::for_reason("poison_guard", "workers died of it")
        }))
    }
}

/// Method and path of a head that is malformed, as far as they can be told; without a query, which may hold secrets.
fn named(head: &[u8]) -> (String, String) {
    let head = head.trim_ascii_start();
    let end = head.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let line = head.get(..end.unwrap_or(head.len())).unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let mut word = |end: u8| {
        let word = words.next().unwrap_or_default();
        let word = word.split(|byte| *byte == end).next().unwrap_or_default();
        cut(&String::from_utf8_lossy(word)).to_owned()
    };
    (word(b' '), word(b'?'))
}

//! Event streams, which last until somebody ends them: in a drain the server does.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use crate::app::Draining;
use crate::sys::clock;

/// The time at which a stream is ended: a while after the drain of its worker began.
pub(super) struct StreamEnd(Pin<Box<dyn Future<Output = ()> + Send>>);

impl StreamEnd {
    /// Of a stream that may go on for `grace` once the worker drains.
    pub(super) fn new(draining: &Draining, grace: Duration) -> Self {
        let draining = draining.clone();
        Self(Box::pin(async move {
            draining.begun().await;
            let until = draining.since().unwrap_or_default() + grace;
            tokio::time::sleep(until.saturating_sub(clock::monotonic())).await;
        }))
    }

    /// Whether it has come; whoever asks is woken when it does.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for StreamEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StreamEnd")
    }
}

/// Whether an answer has begun when its head is out: it may last for ever, and costs the application next to nothing.
pub(super) fn is_lasting(status: StatusCode, is_event_stream: bool) -> bool {
    is_event_stream || status == StatusCode::SWITCHING_PROTOCOLS
}

/// Whether an answer is an event stream, by its content type (HTML Standard, section 9.2).
pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        const EVENT_STREAM: &[u8] = b"text/event-stream";
        let value = value.as_bytes().trim_ascii_start();
        let parts = value.split_at_checked(EVENT_STREAM.len());
        parts.is_some_and(|(media_type, rest)| {
            let is_its_end = || matches!(rest.trim_ascii_start(), [] | [b';', ..]);
            media_type.eq_ignore_ascii_case(EVENT_STREAM) && is_its_end()
        })
    })
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;
    use http::{HeaderMap, HeaderValue};

    use super::is_event_stream;

    #[test]
    fn an_event_stream_is_known_by_its_content_type() {
        let is = |value| {
            let value = HeaderValue::from_static(value);
            is_event_stream(&HeaderMap::from_iter([(CONTENT_TYPE, value)]))
        };
        assert!(is("text/event-stream"));
        assert!(is("Text/Event-Stream ; charset=utf-8"));
        assert!(!is("text/event-streams"));
        assert!(!is("text/plain; as=text/event-stream"));
        assert!(!is_event_stream(&HeaderMap::new()));
    }
}

//! What a collector of traces is told of one request, gathered on its way.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, Request, Response};

use super::trace_context::TraceContext;
use crate::app::Client;
use crate::sys::clock;
use crate::telemetry::{Recorder, Span};

/// Of a request that is being answered.
#[derive(Debug)]
pub(super) struct OpenSpan {
    recorder: Arc<dyn Recorder>,
    span: Span,
}

impl OpenSpan {
    /// Of a request that has just begun; none where nobody records it, or its trace.
    pub(super) fn begin<B>(
        recorder: Option<&Arc<dyn Recorder>>,
        request: &Request<B>,
        client: Client,
    ) -> Option<Box<Self>> {
        let recorder = recorder?;
        let context: &TraceContext = request.extensions().get()?;
        if !context.is_sampled() {
            return None;
        }
        let (uri, fields) = (request.uri(), request.headers());
        // A request of HTTP/2 need not have the field.
        let authority = || uri.authority().map(ToString::to_string);
        let mut span = Span {
            trace_id: 0,
            span_id: 0,
            parent_id: None,
            flags: 0,
            began: clock::unix(),
            took: Duration::ZERO,
            method: request.method().clone(),
            path: uri.path().to_owned(),
            version: request.version(),
            is_https: client.is_https,
            host: text(fields, HOST).or_else(authority),
            client: client.address,
            user_agent: text(fields, USER_AGENT),
            rule: None,
            status: None,
            error: None,
        };
        context.name(&mut span);
        Some(Box::new(Self {
            recorder: Arc::clone(recorder),
            span,
        }))
    }

    /// The rule at this place of the configuration decided about it.
    pub(super) fn decided_by(&mut self, rule: Option<usize>) {
        self.span.rule = rule;
    }

    /// The head of the answer is known.
    pub(super) fn answered<B>(&mut self, response: &Response<B>) {
        self.span.status = Some(response.status().as_u16());
    }

    /// The answer broke off in its midst.
    pub(super) fn broke_off(&mut self) {
        self.span.error = Some("broke_off");
    }

    /// Nothing is left of it; it took so long.
    pub(super) fn end(mut self, took: Duration) {
        if self.span.status.is_none() {
            self.span.error = Some("client_gone");
        }
        self.span.took = took;
        self.recorder.record(self.span);
    }
}

fn text(fields: &HeaderMap, name: HeaderName) -> Option<String> {
    let value = fields.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

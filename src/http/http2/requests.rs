//! A request that came over HTTP/2, before and after it goes the way of all.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;

use super::super::access::Unread;
use super::super::dress::stated_length;
use super::super::{Origin, Pipeline, ResponseBody};
use super::head::{self, Malformed};
use super::sending::{Unsent, ended_by, send};
use crate::app::{AppService, Arriving, EarlyHints, Http2Body, Interim};
use crate::refusal_class::RefusalClass;
use crate::sys::clock;

impl<S: AppService> Pipeline<S> {
    /// Answers a request that came over HTTP/2, unless its client takes it back. The stream of one that is malformed is reset (RFC 9113
    /// section 8.1.1). Its client may take `limit` for each 16 KiB of the answer.
    ///
    /// # Errors
    /// Why the answer was not sent whole.
    pub async fn handle_http2(
        &self,
        request: Request<RecvStream>,
        respond: &mut SendResponse<Bytes>,
        origin: &Origin,
        limit: Duration,
    ) -> Result<(), Unsent> {
        let (mut head, body) = request.into_parts();
        if let Err(malformed) = head::take(&mut head) {
            self.note_malformed(malformed, &head, origin);
            respond.send_reset(Reason::PROTOCOL_ERROR);
            return Ok(());
        }
        let is_head = head.method == Method::HEAD;
        let interim = Arc::default();
        let mut body = Http2Body::new(body, stated_length(&head.headers));
        if head.headers.contains_key(EXPECT) {
            body = body.awaited_through(&interim);
        }
        head.extensions.insert(EarlyHints::on_stream(&interim));
        let request = Request::from_parts(head, Arriving::Stream(body));
        let answer = unless_taken_back(self.handle(request, origin), respond, &interim).await?;
        let Ok(answer) = answer;
        send(as_sent(answer, is_head), respond, limit).await
    }

    /// One whose stream is reset leaves a trace all the same.
    fn note_malformed(&self, malformed: Malformed, head: &Parts, origin: &Origin) {
        self.seat.refused(RefusalClass::Request);
        let reason = malformed.to_string();
        self.unserved.reset(&reason, head);
        if let Some(log) = &self.settings.access_log {
            Unread {
                id: self.next_id(),
                started: clock::monotonic(),
                origin,
                method: head.method.as_str(),
                path: head.uri.path(),
                version: Some(Version::HTTP_2),
            }
            .write_reset(log, &reason);
        }
    }
}

/// What `answering` comes to. Meanwhile what is to go out ahead of it does.
///
/// # Errors
/// The client has taken the request back before, or is gone.
async fn unless_taken_back<T>(
    answering: impl Future<Output = T>,
    respond: &mut SendResponse<Bytes>,
    interim: &Interim,
) -> Result<T, h2::Error> {
    let mut answering = pin!(answering);
    poll_fn(|context| {
        interim.register(context.waker());
        let answer = answering.as_mut().poll(context);
        if answer.is_ready() {
            interim.close();
        }
        let mut ahead = interim.next();
        if (answer.is_pending() || ahead.is_some())
            && let Poll::Ready(reset) = respond.poll_reset(context)
        {
            return Poll::Ready(Err(ended_by(reset)));
        }
        while let Some(answer) = ahead {
            // Nobody misses it: the answer comes all the same.
            let _malformed = respond.send_informational(answer);
            ahead = interim.next();
        }
        answer.map(Ok)
    })
    .await
}

/// What hyper does to answers of HTTP/1.1: those to HEAD have no content, and neither have 204 and 304 (RFC 9110 section 6.4.1).
fn as_sent<B>(mut response: Response<ResponseBody<B>>, is_head: bool) -> Response<ResponseBody<B>>
where
    ResponseBody<B>: Body,
{
    let is_empty = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&response.status());
    let length = response.body().size_hint().exact();
    if !is_head && !is_empty {
        return response;
    }
    if !is_empty && let Some(length) = length {
        let headers = response.headers_mut();
        headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    response.map(ResponseBody::emptied)
}

//! A request that came over HTTP/2, before and after it goes the way of all.

use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body, Incoming};

use super::super::access::Unread;
use super::super::{Origin, Pipeline, ResponseBody};
use super::head;
use crate::app::AppService;
use crate::refusal_class::RefusalClass;
use crate::sys::clock;

impl<S: AppService> Pipeline<S> {
    /// Answers a request that came over HTTP/2.
    ///
    /// # Errors
    /// The request is malformed: the reason with which its stream is reset (RFC 9113 section 8.1.1).
    pub async fn handle_http2(
        &self,
        request: Request<Incoming>,
        origin: &Origin,
    ) -> Result<Response<ResponseBody<S::Body>>, h2::Error> {
        let (mut parts, body) = request.into_parts();
        if let Err(malformed) = head::take(&mut parts) {
            self.seat.refused(RefusalClass::Request);
            let reason = malformed.to_string();
            self.unserved.reset(&reason, &parts);
            if let Some(log) = &self.settings.access_log {
                Unread {
                    id: self.next_id(),
                    started: clock::monotonic(),
                    origin,
                    method: parts.method.as_str(),
                    path: parts.uri.path(),
                    version: Some(Version::HTTP_2),
                }
                .write_reset(log, &reason);
            }
            return Err(h2::Reason::PROTOCOL_ERROR.into());
        }
        let is_head = parts.method == Method::HEAD;
        let Ok(response) = self.handle(Request::from_parts(parts, body), origin).await;
        Ok(as_sent(response, is_head))
    }
}

/// What hyper does to answers of HTTP/1.1 alone: those to HEAD have no content, and neither have 204 and 304 (RFC 9110 section
/// 6.4.1).
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

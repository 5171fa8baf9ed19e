//! The last that is done to an answer: its content is compressed, and it gets the fields of `[headers]`.

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Response};
use http_body::Body as _;

use super::Settings;
use super::asked::Asked;
use super::body::ResponseBody;
use super::compression::{self, Decision, Subject};
use crate::app::BoxError;
use crate::config::Headers;

/// The answer as its client wants it.
pub(super) fn dressed<B>(
    mut response: Response<ResponseBody<B>>,
    asked: Asked,
    settings: &Settings,
) -> Response<ResponseBody<B>>
where
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: Into<BoxError>,
{
    if settings.compression.is_on() {
        response = compressed(response, asked, settings);
    }
    add_fields(response.headers_mut(), &settings.headers, asked.is_https);
    response
}

fn compressed<B>(
    mut response: Response<ResponseBody<B>>,
    asked: Asked,
    settings: &Settings,
) -> Response<ResponseBody<B>>
where
    B: http_body::Body<Data = bytes::Bytes>,
    B::Error: Into<BoxError>,
{
    let body = response.body();
    let subject = if body.is_of_file() {
        Subject::File
    } else {
        Subject::Application
    };
    let size = stated_length(response.headers()).or_else(|| {
        let known = body.size_hint().exact();
        known.filter(|_| !asked.is_head)
    });
    let head = (response.status(), response.headers());
    let decision = settings.compression.decide(asked, subject, head, size);
    compression::dress(response.headers_mut(), decision);
    match decision {
        // What has no content must not get any.
        Decision::Compress(algorithm) if !asked.is_head => {
            response.map(|body| body.compressed(algorithm))
        }
        Decision::Compress(_) | Decision::Vary | Decision::Leave => response,
    }
}

/// The length of the content, as the head of its answer says it.
pub(super) fn stated_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether its client can tell where the content ends without the end of the connection.
pub(super) fn has_length<B>(response: &Response<B>) -> bool
where
    B: http_body::Body,
{
    response.headers().contains_key(CONTENT_LENGTH)
        || response.body().size_hint().exact().is_some()
        || response.body().is_end_stream()
}

/// Adds those that the answer does not have.
fn add_fields(headers: &mut HeaderMap, fields: &Headers, is_https: bool) {
    let over_https = is_https.then_some(&fields.over_https);
    for (name, value) in fields.always.iter().chain(over_https.into_iter().flatten()) {
        if !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{SERVER, STRICT_TRANSPORT_SECURITY, X_FRAME_OPTIONS};

    use super::*;

    #[test]
    fn a_field_is_added_unless_the_answer_has_it_and_some_only_over_https() {
        let value = HeaderValue::from_static;
        let fields = Headers {
            always: vec![(SERVER, value("a")), (X_FRAME_OPTIONS, value("DENY"))],
            over_https: vec![(STRICT_TRANSPORT_SECURITY, value("max-age=1"))],
        };
        let mut headers = HeaderMap::from_iter([(SERVER, value("own"))]);
        add_fields(&mut headers, &fields, false);
        assert_eq!(headers.len(), 2);
        assert_eq!(
            (&headers[SERVER], &headers[X_FRAME_OPTIONS]),
            (&value("own"), &value("DENY"))
        );
        add_fields(&mut headers, &fields, true);
        assert_eq!(headers[STRICT_TRANSPORT_SECURITY], "max-age=1");
    }
}

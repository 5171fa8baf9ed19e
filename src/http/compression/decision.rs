//! Whether an answer is compressed: a function of what its request says, of its head and of the settings.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, SET_COOKIE, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::negotiation::name_of;
use crate::config::{self, CompressionAlgorithm};
use crate::http::asked::Asked;
use crate::http::stream::is_event_stream;

/// Digests of the content as it was before (RFC 9530), which a compressed one would not have.
const DIGESTS: [&str; 4] = ["content-digest", "repr-digest", "digest", "content-md5"];

/// What is compressed.
#[derive(Debug, Clone)]
pub struct Policy(config::Compression);

/// Whose an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Subject {
    /// The application's, or one in its place: it may repeat what a stranger made the browser send, beside a secret.
    Application,
    /// A file: nothing of a request is in it.
    File,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Decision {
    /// It goes out as it is, and would to everybody.
    Leave,
    /// It goes out as it is, for this client wants nothing else.
    Vary,
    Compress(CompressionAlgorithm),
}

impl Policy {
    /// Of the configuration.
    pub fn new(settings: config::Compression) -> Self {
        Self(settings)
    }

    /// Whether anything is ever compressed.
    pub(in crate::http) fn is_on(&self) -> bool {
        !self.0.algorithms.is_empty()
    }

    /// In the order of preference.
    pub(in crate::http) fn algorithms(&self) -> &[CompressionAlgorithm] {
        &self.0.algorithms
    }

    /// Of an answer with this head, whose content has `size` bytes, where that is known.
    pub(in crate::http) fn decide(
        &self,
        asked: Asked,
        subject: Subject,
        (status, headers): (StatusCode, &HeaderMap),
        size: Option<u64>,
    ) -> Decision {
        let holds_secret = subject == Subject::Application
            && !self.0.authenticated
            && (asked.is_authenticated || headers.contains_key(SET_COOKIE));
        let is_fit = self.is_on()
            && has_whole_content(status)
            && !headers.contains_key(CONTENT_ENCODING)
            && !headers.contains_key(CONTENT_RANGE)
            && !DIGESTS.iter().any(|name| headers.contains_key(*name))
            && !holds_secret
            && size.is_none_or(|size| size >= self.0.min_size)
            && self.is_type_fit(headers)
            && !must_stay(headers);
        match asked.accepted {
            _ if !is_fit => Decision::Leave,
            // What the length of the content would be is not known, nor whether it would be large enough.
            Some(_) if asked.is_head && size.is_none() => Decision::Vary,
            Some(algorithm) => Decision::Compress(algorithm),
            None => Decision::Vary,
        }
    }

    fn is_type_fit(&self, headers: &HeaderMap) -> bool {
        let value = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let Some(essence) = value.and_then(|value| value.split(';').next()) else {
            return false;
        };
        let essence = essence.trim();
        let fits = |pattern: &String| match pattern.strip_suffix("/*") {
            Some(kind) => essence
                .split_once('/')
                .is_some_and(|(own, _)| own.eq_ignore_ascii_case(kind)),
            None => essence.eq_ignore_ascii_case(pattern),
        };
        // A stream lasts for hours, and so would the memory that compressing it takes.
        self.0.types.iter().any(fits) && !is_event_stream(headers)
    }
}

/// Whether an answer with this status has all of its content (RFC 9110 section 15).
fn has_whole_content(status: StatusCode) -> bool {
    !status.is_informational()
        && ![
            StatusCode::NO_CONTENT,
            StatusCode::RESET_CONTENT,
            StatusCode::PARTIAL_CONTENT,
            StatusCode::NOT_MODIFIED,
        ]
        .contains(&status)
}

/// Whether nobody may change the content on its way (RFC 9111 section 5.2.2.6).
fn must_stay(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CACHE_CONTROL).into_iter();
    let directives = lines.filter_map(|line| line.to_str().ok());
    directives
        .flat_map(|line| line.split(','))
        .any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

/// Makes the head say what was decided.
pub(in crate::http) fn dress(headers: &mut HeaderMap, decision: Decision) {
    match decision {
        Decision::Leave => {}
        Decision::Vary => vary(headers),
        Decision::Compress(algorithm) => {
            vary(headers);
            headers.insert(
                CONTENT_ENCODING,
                HeaderValue::from_static(name_of(algorithm)),
            );
            headers.remove(CONTENT_LENGTH);
            // They would be ranges of what is compressed, and that is made anew each time.
            headers.remove(ACCEPT_RANGES);
            weaken(headers);
        }
    }
}

/// Another client may get something else (RFC 9110 section 12.5.5).
fn vary(headers: &mut HeaderMap) {
    let lines = headers.get_all(VARY).into_iter();
    let mut names = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim);
    if !names.any(|name| name == "*" || name.eq_ignore_ascii_case(ACCEPT_ENCODING.as_str())) {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

/// The bytes are others, but they mean the same (RFC 9110 section 8.8.1).
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers
        .get(ETAG)
        .filter(|tag| tag.as_bytes().starts_with(b"\""))
    else {
        return;
    };
    match HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        Ok(weak) => drop(headers.insert(ETAG, weak)),
        Err(_) => drop(headers.remove(ETAG)),
    }
}

#[cfg(test)]
mod tests {
    use CompressionAlgorithm::Gzip;

    use super::*;

    fn policy(authenticated: bool) -> Policy {
        Policy::new(config::Compression {
            algorithms: vec![Gzip],
            min_size: 1000,
            types: vec!["text/*".to_owned(), "application/json".to_owned()],
            authenticated,
        })
    }

    const WANTS: Asked = Asked {
        accepted: Some(Gzip),
        is_authenticated: false,
        is_head: false,
        version: http::Version::HTTP_11,
        is_https: false,
    };

    fn head(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), HeaderValue::from_static(value))
        };
        fields.iter().map(pair).collect()
    }

    const JSON: (&str, &str) = ("content-type", "application/json");
    const COMPRESS: Decision = Decision::Compress(Gzip);

    #[test]
    fn only_whole_plain_content_of_a_fit_type_and_size_is_compressed() {
        let ok = StatusCode::OK;
        for (status, fields, size, expected) in [
            (ok, vec![JSON], Some(1000), COMPRESS),
            (ok, vec![JSON], Some(999), Decision::Leave),
            (ok, vec![JSON], None, COMPRESS),
            (StatusCode::NOT_FOUND, vec![JSON], None, COMPRESS),
            (StatusCode::NO_CONTENT, vec![JSON], None, Decision::Leave),
            (StatusCode::RESET_CONTENT, vec![JSON], None, Decision::Leave),
            (
                StatusCode::PARTIAL_CONTENT,
                vec![JSON],
                None,
                Decision::Leave,
            ),
            (StatusCode::NOT_MODIFIED, vec![JSON], None, Decision::Leave),
            (
                StatusCode::SWITCHING_PROTOCOLS,
                vec![JSON],
                None,
                Decision::Leave,
            ),
            (ok, vec![], None, Decision::Leave),
            (
                ok,
                vec![("content-type", "Text/HTML; charset=utf-8")],
                None,
                COMPRESS,
            ),
            (
                ok,
                vec![("content-type", "application/jsonp")],
                None,
                Decision::Leave,
            ),
            (
                ok,
                vec![("content-type", "textual/html")],
                None,
                Decision::Leave,
            ),
            (
                ok,
                vec![("content-type", "image/png")],
                None,
                Decision::Leave,
            ),
            (
                ok,
                vec![("content-type", "text/event-stream")],
                None,
                Decision::Leave,
            ),
            (
                ok,
                vec![JSON, ("content-encoding", "br")],
                None,
                Decision::Leave,
            ),
            (
                ok,
                vec![JSON, ("content-range", "bytes 0-1/2")],
                None,
                Decision::Leave,
            ),
            (
                ok,
                vec![JSON, ("repr-digest", "sha-256=:AA==:")],
                None,
                Decision::Leave,
            ),
            (
                ok,
                vec![JSON, ("cache-control", "no-transform")],
                None,
                Decision::Leave,
            ),
            (
                ok,
                vec![JSON, ("cache-control", "private, No-Transform")],
                None,
                Decision::Leave,
            ),
            (ok, vec![JSON, ("cache-control", "private")], None, COMPRESS),
            (ok, vec![JSON, ("set-cookie", "a=b")], None, Decision::Leave),
        ] {
            let headers = head(&fields);
            let decided =
                policy(false).decide(WANTS, Subject::Application, (status, &headers), size);
            assert_eq!(decided, expected, "{status} {fields:?} {size:?}");
        }
    }

    #[test]
    fn what_may_hold_a_secret_of_one_client_is_compressed_only_where_that_is_asked_for() {
        let ok = StatusCode::OK;
        let known = Asked {
            is_authenticated: true,
            ..WANTS
        };
        let (plain, cookie) = (head(&[JSON]), head(&[JSON, ("set-cookie", "a=b")]));
        for (is_allowed, asked, headers, subject, expected) in [
            (false, known, &plain, Subject::Application, Decision::Leave),
            (false, WANTS, &cookie, Subject::Application, Decision::Leave),
            (false, known, &plain, Subject::File, COMPRESS),
            (true, known, &plain, Subject::Application, COMPRESS),
            (true, WANTS, &cookie, Subject::Application, COMPRESS),
        ] {
            let decided = policy(is_allowed).decide(asked, subject, (ok, headers), None);
            assert_eq!(decided, expected, "{is_allowed} {asked:?} {headers:?}");
        }
    }

    #[test]
    fn who_wants_no_compression_and_who_wants_the_head_alone_learn_that_others_may() {
        let headers = head(&[JSON]);
        let decide = |asked, size| {
            policy(false).decide(
                asked,
                Subject::Application,
                (StatusCode::OK, &headers),
                size,
            )
        };
        let plain = Asked {
            accepted: None,
            ..WANTS
        };
        let head_alone = Asked {
            is_head: true,
            ..WANTS
        };
        assert_eq!(decide(plain, Some(5000)), Decision::Vary);
        assert_eq!(decide(plain, Some(5)), Decision::Leave);
        assert_eq!(decide(head_alone, Some(5000)), COMPRESS);
        assert_eq!(decide(head_alone, None), Decision::Vary);
    }

    #[test]
    fn the_head_says_what_was_done() {
        let mut headers = head(&[
            JSON,
            ("etag", "\"a\""),
            ("content-length", "5"),
            ("accept-ranges", "bytes"),
            ("vary", "origin"),
        ]);
        dress(&mut headers, COMPRESS);
        let expected = head(&[
            JSON,
            ("etag", "W/\"a\""),
            ("vary", "origin"),
            ("vary", "accept-encoding"),
            ("content-encoding", "gzip"),
        ]);
        assert_eq!(headers.len(), expected.len());
        for name in expected.keys() {
            let of = |headers: &HeaderMap| {
                let values = headers.get_all(name).into_iter().cloned();
                values.collect::<Vec<_>>()
            };
            assert_eq!(of(&headers).len(), of(&expected).len(), "{name}");
        }
        assert_eq!(headers["etag"], "W/\"a\"");
        for (before, after) in [
            (vec![], 1),
            (vec![("vary", "*")], 1),
            (vec![("vary", "Accept-Encoding, origin")], 1),
            (vec![("vary", "origin")], 2),
        ] {
            let mut headers = head(&before);
            dress(&mut headers, Decision::Vary);
            assert_eq!(headers.get_all("vary").iter().count(), after, "{before:?}");
        }
        let mut weak = head(&[("etag", "W/\"a\"")]);
        dress(&mut weak, COMPRESS);
        assert_eq!(weak["etag"], "W/\"a\"");
    }
}

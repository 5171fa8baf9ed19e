//! What may stand behind a body (RFC 9110 section 6.5.1).

use http::header::{CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};

/// Whether a request is framed, routed or authorised by a field of this name: whoever merges a trailer section into the head would take
/// it for the word of the head. A name that gateways of the CGI kind take for such a one is one too.
pub(crate) fn is_of_the_head(name: &str) -> bool {
    const OF_THE_HEAD: [&str; 12] = [
        "content-length",
        "transfer-encoding",
        "host",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "expect",
        "authorization",
        "proxy-authorization",
        "cookie",
        "forwarded",
    ];
    let plain = |byte: u8| {
        if byte == b'_' {
            b'-'
        } else {
            byte.to_ascii_lowercase()
        }
    };
    let is = |other: &&str| name.bytes().map(plain).eq(other.bytes());
    OF_THE_HEAD.iter().any(is)
}

/// Whether a value begins or ends with a blank, as none can in HTTP/1.1 (RFC 9113 section 8.2.1).
pub(crate) fn has_blanks(value: &HeaderValue) -> bool {
    let is_blank = |byte: Option<&u8>| byte.is_some_and(|byte| matches!(byte, b' ' | b'\t'));
    let value = value.as_bytes();
    is_blank(value.first()) || is_blank(value.last())
}

/// How the content is to be read stands before it, and not after.
pub(super) fn without_content(mut trailers: HeaderMap) -> HeaderMap {
    for name in [CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE] {
        trailers.remove(name);
    }
    trailers
}

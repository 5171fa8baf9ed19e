//! The head of a request: request line and fields (RFC 9112 sections 2 to 6), as hyper's parser reads them and stricter.

use std::mem::MaybeUninit;

use http::Uri;
use http::uri::Scheme;
use httparse::{Error, Header, Request, Status};

use super::{Bounds, Malformed};
use crate::app;

/// So many fields are read without memory of their own; hyper does the same.
const FEW: usize = 100;

/// The longest method of IANA's registry has 17 characters.
pub(in crate::http) const METHOD_MAX: usize = 32;

/// A version that is wrong is judged by the whole word, or so much of it.
const VERSION_MAX: usize = 16;

/// What a head says of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// So many bytes, at least one.
    Length(u64),
    Chunked,
}

/// A head that has not arrived in full: what need not be looked at again.
#[derive(Debug, Default)]
pub(super) struct Partial {
    seen: usize,
    has_line: bool,
}

impl Partial {
    /// The length of the head that `bytes` begin with and what follows it; `None` while it is not complete.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        bounds: &Bounds,
    ) -> Result<Option<(usize, Body)>, Malformed> {
        let start = empty_line(bytes)?;
        let head = bytes.get(start..).unwrap_or_default();
        let new = bytes.get(self.seen.max(start)..).unwrap_or_default();
        let is_full = head.len() >= bounds.head;
        // Whoever sends a head byte by byte has each line of it read with every byte, but not those before it.
        if self.has_line && !is_full && memchr::memchr(b'\n', new).is_none() {
            self.seen = bytes.len();
            return last_line(head).map(|()| None);
        }
        // Nothing after the bound is looked at: the same is wrong however the bytes arrive.
        let head = head.get(..bounds.head).unwrap_or(head);
        let mut few = [const { MaybeUninit::uninit() }; FEW];
        let mut many = Vec::new();
        let fields = if let Some(few) = few.get_mut(..bounds.headers) {
            few
        } else {
            many.resize(bounds.headers, MaybeUninit::uninit());
            many.as_mut_slice()
        };
        let mut request = Request::new(&mut []);
        let parsed = request.parse_with_uninit_headers(head, fields);
        request_line(&request, head, bounds)?;
        match parsed {
            Ok(Status::Complete(length)) => {
                lines(head.get(..length).unwrap_or_default())?;
                let body = body(request.headers, request.version == Some(0))?;
                Ok(Some((start + length, body)))
            }
            Ok(Status::Partial) if is_full => Err(Malformed::HeadTooLarge),
            Ok(Status::Partial) => {
                self.seen = bytes.len();
                self.has_line = memchr::memchr(b'\n', head).is_some();
                Ok(None)
            }
            Err(Error::Version) => match version(&request, head) {
                Some(malformed) => Err(malformed),
                None if is_full => Err(Malformed::HeadTooLarge),
                None => Ok(None),
            },
            Err(error) => Err(malformed(error)),
        }
    }
}

fn malformed(error: Error) -> Malformed {
    match error {
        Error::HeaderName => Malformed::FieldName,
        Error::HeaderValue => Malformed::FieldValue,
        Error::NewLine => Malformed::LineEnd,
        Error::TooManyHeaders => Malformed::TooManyFields,
        Error::Token | Error::Status | Error::Version => Malformed::RequestLine,
    }
}

/// Whether the last line of fields, which is incomplete, may become one.
fn last_line(section: &[u8]) -> Result<(), Malformed> {
    let start = memchr::memrchr(b'\n', section).map_or(0, |end| end + 1);
    let line = section.get(start..).unwrap_or_default();
    match httparse::parse_headers(line, &mut [httparse::EMPTY_HEADER]) {
        Ok(_) => Ok(()),
        Err(error) => Err(malformed(error)),
    }
}

/// Where the request begins: one empty line before it is forgiven (RFC 9112 section 2.2).
fn empty_line(bytes: &[u8]) -> Result<usize, Malformed> {
    match bytes {
        [b'\n', ..] => Err(Malformed::LineEnd),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(Malformed::EmptyLines),
        [b'\r', b'\n', ..] => Ok(2),
        _ => Ok(0),
    }
}

/// Every line ends with CR LF: a recipient may take LF alone for it (RFC 9112 section 2.2), so others may not.
fn lines(section: &[u8]) -> Result<(), Malformed> {
    // Looked through to its end, which the compiler does for many bytes at once: lines are short, and one without CR is rare.
    let rest = section.get(1..).unwrap_or_default();
    let has_bare = |found, (before, byte): (&u8, &u8)| {
        let is_bare = *byte == b'\n' && *before != b'\r';
        found | is_bare
    };
    if section.first() == Some(&b'\n') || section.iter().zip(rest).fold(false, has_bare) {
        Err(Malformed::LineEnd)
    } else {
        Ok(())
    }
}

/// What is known of the request line, which may be incomplete or wrong.
fn request_line(request: &Request<'_, '_>, head: &[u8], bounds: &Bounds) -> Result<(), Malformed> {
    let Some(method) = request.method else {
        return if length_until(head, |byte| !is_in_token(byte)) > METHOD_MAX {
            Err(Malformed::MethodTooLong)
        } else {
            Ok(())
        };
    };
    if method.len() > METHOD_MAX {
        return Err(Malformed::MethodTooLong);
    }
    let Some(target) = request.path else {
        let rest = head.get(method.len() + 1..).unwrap_or_default();
        return if length_until(rest, |byte| byte <= b' ' || byte == 0x7f) > bounds.target {
            Err(Malformed::TargetTooLong)
        } else {
            Ok(())
        };
    };
    if target.len() > bounds.target {
        return Err(Malformed::TargetTooLong);
    }
    if request.version.is_none() {
        return Ok(());
    }
    if !is_target(target) {
        return Err(Malformed::TargetCharacter);
    }
    form(method, target)
}

fn length_until(bytes: &[u8], is_end: impl Fn(u8) -> bool) -> usize {
    let end = bytes.iter().position(|byte| is_end(*byte));
    end.unwrap_or(bytes.len())
}

/// `tchar` (RFC 9110 section 5.6.2).
pub(super) fn is_in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a target has only characters that may stand in one.
pub(in crate::http) fn is_target(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    path.bytes().all(is_in_path) && query.bytes().all(is_in_query)
}

/// What may stand in a path: `pchar` and `/` (RFC 3986 section 3.3), and what clients leave as it is although it should be
/// encoded. `#` begins a fragment, which is not for servers, and hyper would cut it off.
fn is_in_path(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'@'..=b'_' | b'a'..=b'~')
}

/// What may stand in a query, as browsers write it (URL Standard, section 1.3).
fn is_in_query(byte: u8) -> bool {
    is_in_path(byte) || matches!(byte, b'?' | b'`')
}

/// The four forms of a target (RFC 9112 section 3.2).
fn form(method: &str, target: &str) -> Result<(), Malformed> {
    if method == "CONNECT" {
        return Err(Malformed::Connect);
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(());
    }
    let is_absolute = Uri::try_from(target).is_ok_and(|uri| {
        let is_http = [Some(&Scheme::HTTP), Some(&Scheme::HTTPS)].contains(&uri.scheme());
        // A name and password before the host are an error (RFC 9110 section 4.2.4).
        let is_host = |authority: &http::uri::Authority| !authority.as_str().contains('@');
        is_http && uri.authority().is_some_and(is_host)
    });
    if is_absolute {
        Ok(())
    } else {
        Err(Malformed::TargetForm)
    }
}

/// What is wrong with a version that is neither HTTP/1.1 nor HTTP/1.0; `None` while it may still arrive.
fn version(request: &Request<'_, '_>, head: &[u8]) -> Option<Malformed> {
    let before = request.method.map_or(0, str::len) + request.path.map_or(0, str::len) + 2;
    let rest = head.get(before..).unwrap_or_default();
    let word = match memchr::memchr(b'\n', rest) {
        Some(end) => rest.get(..end).unwrap_or_default(),
        None if rest.len() <= VERSION_MAX => return None,
        None => rest,
    };
    match word.strip_suffix(b"\r").unwrap_or(word) {
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Some(Malformed::Version)
        }
        _ => Some(Malformed::VersionSyntax),
    }
}

/// Where the body ends (RFC 9112 section 6.3), where only one reading is possible.
fn body(fields: &[Header<'_>], is_http_10: bool) -> Result<Body, Malformed> {
    let (mut length, mut codings) = (None, None::<Codings>);
    for Header { name, value } in fields {
        if name.eq_ignore_ascii_case("content-length") {
            // RFC 9110 section 8.6 lets a recipient take the same length twice for one, or refuse.
            if length.replace(content_length(value)?).is_some() {
                return Err(Malformed::SeveralContentLengths);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            codings.get_or_insert_default().add(value);
        }
    }
    match (codings, length) {
        (None, None | Some(0)) => Ok(Body::None),
        (None, Some(length)) => Ok(Body::Length(length)),
        // RFC 9112 section 6.1: the framing is faulty.
        (Some(_), _) if is_http_10 => Err(Malformed::CodingInHttp10),
        (Some(_), Some(_)) => Err(Malformed::TwoFramings),
        (Some(codings), None) => codings.end(),
    }
}

/// Digits, and no more of them than a length can have that anybody calculates with.
fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
    let length = text.and_then(|text| text.parse::<i64>().ok());
    let length = length.and_then(|length| u64::try_from(length).ok());
    length.ok_or(Malformed::ContentLength)
}

/// The list of transfer codings, over all its fields.
#[derive(Debug, Default)]
struct Codings {
    chunked: usize,
    ends_with_chunked: bool,
    has_other: bool,
    is_faulty: bool,
}

impl Codings {
    fn add(&mut self, value: &[u8]) {
        for coding in value.split(|byte| *byte == b',') {
            let coding = coding.trim_ascii();
            let name = coding
                .split(|byte| *byte == b';')
                .next()
                .unwrap_or_default();
            let is_chunked = name.trim_ascii().eq_ignore_ascii_case(b"chunked");
            // `chunked` has no parameters (RFC 9112 section 7.1).
            self.is_faulty |= coding.is_empty() || (is_chunked && name.len() != coding.len());
            self.ends_with_chunked = is_chunked;
            self.chunked += usize::from(is_chunked);
            self.has_other |= !is_chunked;
        }
    }

    /// RFC 9112 sections 6.1 and 6.3: without `chunked` at its end a request has none, and `chunked` occurs once.
    fn end(self) -> Result<Body, Malformed> {
        if self.is_faulty || !self.ends_with_chunked || self.chunked != 1 {
            Err(Malformed::Coding)
        } else if self.has_other {
            Err(Malformed::UnknownCoding)
        } else {
            Ok(Body::Chunked)
        }
    }
}

/// The trailer section that `bytes` begin with, its length; `None` while it is not complete. `seen` bytes of it were looked at
/// before.
pub(super) fn trailers(
    bytes: &[u8],
    seen: usize,
    bounds: &Bounds,
) -> Result<Option<usize>, Malformed> {
    match bytes {
        [b'\r', b'\n', ..] => return Ok(Some(2)),
        [] | [b'\r'] => return Ok(None),
        _ => {}
    }
    // hyper reads no longer one.
    let bound = bounds.head.min(TRAILERS_MAX);
    let is_full = bytes.len() >= bound;
    let new = bytes.get(seen..).unwrap_or_default();
    if !is_full && memchr::memchr(b'\n', new).is_none() {
        return last_line(bytes).map(|()| None);
    }
    let section = bytes.get(..bound).unwrap_or(bytes);
    let mut fields = vec![httparse::EMPTY_HEADER; bounds.headers];
    match httparse::parse_headers(section, &mut fields) {
        Ok(Status::Complete((length, fields))) => {
            lines(section.get(..length).unwrap_or_default())?;
            if fields.iter().any(|field| app::is_of_the_head(field.name)) {
                return Err(Malformed::TrailerField);
            }
            Ok(Some(length))
        }
        Ok(Status::Partial) if is_full => Err(Malformed::HeadTooLarge),
        Ok(Status::Partial) => Ok(None),
        Err(error) => Err(malformed(error)),
    }
}

const TRAILERS_MAX: usize = 16 << 10;

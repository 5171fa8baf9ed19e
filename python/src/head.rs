//! Status line and fields as an application gives them: what is refused, what is left out.

use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;

use crate::text;

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    status: StatusCode,
    /// Where it is not the usual one.
    reason: Option<ReasonPhrase>,
    fields: HeaderMap,
    /// `Content-Length`.
    length: Option<u64>,
}

/// What is wrong with the head of an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error(
        "the status must be three digits from 200 to 999, a space and a reason, as in '200 OK', not {0:?}"
    )]
    Status(String),
    #[error("the status must be a number from 200 to 999, not {0}")]
    Code(i64),
    #[error("{0:?} cannot be the name of a header")]
    Name(String),
    #[error("the value of header {0:?} has a line break or another control character")]
    Control(String),
    #[error("the value of header {0:?} has characters that are not in ISO-8859-1")]
    NotLatin1(String),
    #[error("header 'Content-Length' must be one number, not {0:?}")]
    Length(String),
}

impl Head {
    /// Of a status line without fields.
    pub(crate) fn new(status: &str) -> Result<Self, HeadError> {
        let wrong = || HeadError::Status(status.to_owned());
        let (code, reason) = status.split_once(' ').unwrap_or((status, ""));
        let code = StatusCode::from_bytes(code.as_bytes()).map_err(|_| wrong())?;
        // An answer before the answer is not for an application to give here.
        if code.is_informational() {
            return Err(wrong());
        }
        let reason = if reason.is_empty() || code.canonical_reason() == Some(reason) {
            None
        } else {
            let bytes = text::to_bytes(reason).ok_or_else(wrong)?;
            Some(ReasonPhrase::try_from(&*bytes).map_err(|_| wrong())?)
        };
        Ok(Self {
            status: code,
            reason,
            fields: HeaderMap::new(),
            length: None,
        })
    }

    /// Of a status code without fields.
    pub(crate) fn of_code(code: i64) -> Result<Self, HeadError> {
        let status = u16::try_from(code)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.filter(|status| !status.is_informational());
        Ok(Self {
            status: status.ok_or(HeadError::Code(code))?,
            reason: None,
            fields: HeaderMap::new(),
            length: None,
        })
    }

    /// Adds a field. One that concerns the connection only is the server's to say (RFC 9110 section 7.6.1), and left out;
    /// then this returns false.
    pub(crate) fn add(&mut self, name: &str, value: &str) -> Result<bool, HeadError> {
        let bytes = text::to_bytes(value).ok_or_else(|| HeadError::NotLatin1(name.to_owned()))?;
        self.add_bytes(name.as_bytes(), &bytes)
    }

    /// The same of a field in bytes.
    pub(crate) fn add_bytes(&mut self, name: &[u8], value: &[u8]) -> Result<bool, HeadError> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let field = HeaderName::from_bytes(name).map_err(|_| HeadError::Name(shown()))?;
        // Blanks around it are no part of a value (RFC 9110 section 5.5), and malformed in HTTP/2 (RFC 9113 section 8.2.1).
        let value = without_blanks(value);
        let content = HeaderValue::from_bytes(value).map_err(|_| HeadError::Control(shown()))?;
        if is_of_connection(&field) {
            return Ok(false);
        }
        if field == CONTENT_LENGTH {
            let wrong = || HeadError::Length(String::from_utf8_lossy(value).into_owned());
            let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(value).ok().filter(|_| is_number);
            let length = length
                .and_then(|digits| digits.parse().ok())
                .ok_or_else(wrong)?;
            if self.length.is_some_and(|other| other != length) {
                return Err(wrong());
            }
            self.set_length(length);
            return Ok(true);
        }
        // There is one (RFC 9110 section 6.6.1), and where the application gives none it is the server's.
        if field == DATE {
            self.fields.insert(field, content);
        } else {
            self.fields.append(field, content);
        }
        Ok(true)
    }

    /// How long the body shall be, where the application says so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Says how long the content would be, where the application does not and there could be any.
    pub(crate) fn set_default_length(&mut self, length: u64) {
        if self.length.is_none() && !self.is_without_content() {
            self.set_length(length);
        }
    }

    fn set_length(&mut self, length: u64) {
        self.length = Some(length);
        self.fields
            .insert(CONTENT_LENGTH, HeaderValue::from(length));
    }

    /// Whether an answer with this status has no content, whatever the application yields (RFC 9110 section 6.4.1).
    pub(crate) fn is_without_content(&self) -> bool {
        matches!(
            self.status,
            StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
        )
    }

    /// The answer with this head.
    pub(crate) fn with<B>(self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.fields;
        // hyper would say `<none>`.
        let has_reason = self.status.canonical_reason().is_some();
        let none = || (!has_reason).then_some(ReasonPhrase::from_static(b""));
        if let Some(reason) = self.reason.or_else(none) {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

fn without_blanks(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_of_connection(name: &HeaderName) -> bool {
    const OTHERS: [&str; 4] = [
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
    ];
    [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE].contains(name)
        || OTHERS.contains(&name.as_str())
}

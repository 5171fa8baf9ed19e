//! Why a request is not one that is served, and what its client is told.

use super::websocket::BadHandshake;
use crate::auth::Refusal;
use crate::refusal_class::RefusalClass;

/// Why a request is refused for its form. Two programs could take it for two different requests, or its end is not known,
/// so its connection ends too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says in its message what it is")]
pub enum Malformed {
    // The request line (RFC 9112 sections 2.2, 2.3 and 3).
    #[error("more than one empty line before the request")]
    EmptyLines,
    #[error("a line does not end with CR LF")]
    LineEnd,
    #[error("the request line is not a method, a target and a version with one space between them")]
    RequestLine,
    #[error("the method is longer than any that is known")]
    MethodTooLong,
    #[error("the target is longer than `http.max_target`")]
    TargetTooLong,
    #[error("the target has a character that must be percent-encoded, or a fragment")]
    TargetCharacter,
    #[error("the target is neither a path nor an http address")]
    TargetForm,
    // RFC 9110 section 7.4.
    #[error("an https address as target, on a connection that is not encrypted")]
    TargetNotSecure,
    #[error("the version is not written as HTTP/1.1 is")]
    VersionSyntax,
    #[error("the version is neither HTTP/1.1 nor HTTP/1.0")]
    Version,
    #[error("this is no proxy: CONNECT is not served")]
    Connect,
    #[error("TRACE is not served")]
    Trace,
    // Fields (RFC 9112 section 5).
    #[error(
        "a field name is not a token with a colon right after it, or a field goes on in a second line"
    )]
    FieldName,
    #[error("a field value has a control character")]
    FieldValue,
    #[error("more fields than `http.max_headers`")]
    TooManyFields,
    #[error("the head is longer than `http.max_head`")]
    HeadTooLarge,
    #[error("the request broke off")]
    BrokeOff,
    #[error("the head did not come to its end within `http.header_timeout`")]
    HeadTimeout,
    // Where the body ends (RFC 9112 section 6).
    #[error("Content-Length is not a number")]
    ContentLength,
    #[error("more than one Content-Length")]
    SeveralContentLengths,
    #[error("both Content-Length and Transfer-Encoding")]
    TwoFramings,
    #[error("Transfer-Encoding, which HTTP/1.0 does not have")]
    CodingInHttp10,
    #[error("Transfer-Encoding is not a list that ends with its only `chunked`")]
    Coding,
    #[error("Transfer-Encoding names a coding that is not understood")]
    UnknownCoding,
    // Chunks (RFC 9112 section 7.1).
    #[error("a chunk does not begin with its size in hexadecimal digits")]
    ChunkSize,
    #[error("a chunk is larger than any body may be")]
    ChunkTooLarge,
    #[error(
        "a chunk extension is not a name with or without a value, or the extensions are too long"
    )]
    ChunkExtension,
    #[error("a chunk is not as long as it said")]
    ChunkEnd,
    #[error(
        "a trailer field that only the head may have, or whose value begins or ends with a blank"
    )]
    TrailerField,
    // What the head says (RFC 9110 sections 7.2 and 10.1.1).
    #[error("no Host field, though HTTP/1.1 or a target with a host needs one")]
    NoHost,
    #[error("more than one Host field")]
    SeveralHosts,
    #[error("the Host field is not a host with or without a port")]
    Host,
    #[error("the Host field is not the host of the target")]
    OtherHost,
    #[error("the Connection field is not a list of names")]
    Connection,
    #[error("more than one Content-Type")]
    SeveralContentTypes,
    #[error("an expectation other than `100-continue`")]
    Expectation,
    #[error("the body is larger than `http.max_body`, or the `max_body` of its rule")]
    BodyTooLarge,
    #[error("no byte of its body came within `http.body_timeout`")]
    BodyTimeout,
    #[error("its body came more slowly than `http.body_min_rate`")]
    BodyTooSlow,
    // The handshake of a WebSocket (RFC 6455 section 4.2.1).
    #[error(transparent)]
    Handshake(#[from] BadHandshake),
}

impl Malformed {
    /// The status, what the client is told, and the same as a word for programs.
    fn answer(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::TargetTooLong => (
                414,
                "The target of the request is too long.",
                "uri_too_long",
            ),
            Self::TooManyFields | Self::HeadTooLarge => (
                431,
                "The header fields of the request are too large.",
                "headers_too_large",
            ),
            Self::BodyTooLarge | Self::ChunkTooLarge => (
                413,
                "The body of the request is too large.",
                "body_too_large",
            ),
            Self::HeadTimeout | Self::BodyTimeout | Self::BodyTooSlow => (
                408,
                "The request did not arrive in time.",
                "request_timeout",
            ),
            Self::TargetNotSecure => (
                421,
                "The request needs an encrypted connection.",
                "misdirected_request",
            ),
            Self::Expectation => (417, "The expectation cannot be met.", "expectation_failed"),
            // RFC 9112 section 3 and section 6.1; RFC 9110 section 9.1.
            Self::MethodTooLong | Self::UnknownCoding | Self::Connect | Self::Trace => {
                (501, "The request is not implemented.", "not_implemented")
            }
            Self::Handshake(BadHandshake::Version) => (
                426,
                "The version of the WebSocket protocol is not supported.",
                "upgrade_required",
            ),
            Self::Version => (
                505,
                "The version of HTTP is not supported.",
                "version_not_supported",
            ),
            Self::EmptyLines
            | Self::LineEnd
            | Self::RequestLine
            | Self::TargetCharacter
            | Self::TargetForm
            | Self::VersionSyntax
            | Self::FieldName
            | Self::FieldValue
            | Self::BrokeOff
            | Self::ContentLength
            | Self::SeveralContentLengths
            | Self::TwoFramings
            | Self::CodingInHttp10
            | Self::Coding
            | Self::ChunkSize
            | Self::ChunkExtension
            | Self::ChunkEnd
            | Self::TrailerField
            | Self::NoHost
            | Self::SeveralHosts
            | Self::Host
            | Self::OtherHost
            | Self::Connection
            | Self::SeveralContentTypes
            | Self::Handshake(_) => (400, "The request is malformed.", "invalid_request"),
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        let (status, detail, code) = malformed.answer();
        Self {
            status,
            challenge: None,
            detail,
            code,
            class: RefusalClass::Request,
            reason: malformed.to_string(),
        }
    }
}

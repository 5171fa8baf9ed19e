//! What is known of a request when its line is written.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use http::Version;

use super::bounds::fit;
use crate::config::AccessField;

/// What a request is called.
pub trait Shown: fmt::Display + fmt::Debug {}
impl<T: fmt::Display + fmt::Debug> Shown for T {}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// When its head was complete, since 1970.
    pub time: Duration,
    /// As the client was told it.
    pub request_id: &'a dyn Shown,
    /// Who has asked; nobody has an address on a Unix socket.
    pub client: Option<IpAddr>,
    /// As received.
    pub method: &'a [u8],
    /// As received.
    pub host: Option<&'a [u8]>,
    /// As received, without the query.
    pub path: &'a [u8],
    /// What may be written of it.
    pub query: Option<&'a [u8]>,
    /// Absent where the request was too malformed to have one.
    pub version: Option<Version>,
    /// What it was answered with; 499 where its client was gone before.
    pub status: u16,
    /// Of the body that were sent.
    pub bytes: u64,
    /// Until the last byte was handed on.
    pub duration: Duration,
    /// Until the application began its answer.
    pub app: Duration,
    /// Until it was its turn.
    pub queued: Duration,
    /// Of its token.
    pub subject: Option<&'a str>,
    /// Of its token.
    pub issuer: Option<&'a str>,
    /// What decided about it.
    pub rule: Option<&'a str>,
    /// Why it was refused, as a word for programs.
    pub refusal: Option<&'a str>,
    /// Why it was refused.
    pub reason: Option<&'a str>,
    /// What it was asked with.
    pub user_agent: Option<&'a [u8]>,
    /// What may be written of where it comes from.
    pub referer: Option<&'a [u8]>,
    /// The version of TLS; absent where the connection is plain.
    pub tls: Option<&'a str>,
    /// The trace that it belongs to, and what it is called in it, where that is known.
    pub trace_id: Option<&'a str>,
    /// See there.
    pub span_id: Option<&'a str>,
    /// The answer did not go out whole.
    pub aborted: bool,
}

/// What a field says.
#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Absent,
    Number(u64),
    Flag(bool),
    /// From outside: it may hold anything.
    Text(&'a [u8]),
    /// Made here of digits and letters.
    Safe(&'a dyn fmt::Display),
    Time(Duration),
    TimeLocal(Duration),
    RequestLine,
}

impl<'a> Entry<'a> {
    /// What one of its fields says. `whose` are worker and generation.
    pub(super) fn value(&'a self, field: AccessField, whose: (u64, u64)) -> Value<'a> {
        let text = |text: Option<&'a [u8]>| {
            text.map_or(Value::Absent, |text| Value::Text(fit(field, text)))
        };
        match field {
            AccessField::Time => Value::Time(self.time),
            AccessField::RequestId => Value::Safe(&self.request_id),
            AccessField::Client => self
                .client
                .as_ref()
                .map_or(Value::Absent, |client| Value::Safe(client)),
            AccessField::Method => text(Some(self.method)),
            AccessField::Host => text(self.host),
            AccessField::Path => text(Some(self.path)),
            AccessField::Query => text(self.query),
            AccessField::Protocol => self
                .protocol()
                .map_or(Value::Absent, |name| Value::Text(name.as_bytes())),
            AccessField::Status => Value::Number(self.status.into()),
            AccessField::Bytes => Value::Number(self.bytes),
            AccessField::DurationUs => microseconds(self.duration),
            AccessField::AppUs => microseconds(self.app),
            AccessField::QueueUs => microseconds(self.queued),
            AccessField::Worker => Value::Number(whose.0),
            AccessField::Generation => Value::Number(whose.1),
            AccessField::Subject => text(self.subject.map(str::as_bytes)),
            AccessField::Issuer => text(self.issuer.map(str::as_bytes)),
            AccessField::Rule => text(self.rule.map(str::as_bytes)),
            AccessField::Refusal => text(self.refusal.map(str::as_bytes)),
            AccessField::Reason => text(self.reason.map(str::as_bytes)),
            AccessField::UserAgent => text(self.user_agent),
            AccessField::Referer => text(self.referer),
            AccessField::Tls => text(self.tls.map(str::as_bytes)),
            AccessField::TraceId => text(self.trace_id.map(str::as_bytes)),
            AccessField::SpanId => text(self.span_id.map(str::as_bytes)),
            AccessField::Aborted => Value::Flag(self.aborted),
            AccessField::TimeLocal => Value::TimeLocal(self.time),
            AccessField::RequestLine => Value::RequestLine,
        }
    }

    fn protocol(&self) -> Option<&'static str> {
        Some(match self.version? {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            _ => "HTTP/1.1",
        })
    }

    /// As Apache and nginx write it in a request line.
    pub(super) fn protocol_of_line(&self) -> Option<&'static str> {
        self.protocol().map(|name| match name {
            "HTTP/2" => "HTTP/2.0",
            name => name,
        })
    }
}

/// RFC 3339 in UTC, with milliseconds.
pub(super) fn rfc3339(time: Duration) -> impl fmt::Display {
    humantime::format_rfc3339_millis(UNIX_EPOCH + time)
}

/// As Apache writes `%t`, without its brackets.
pub(super) fn local(time: Duration) -> impl fmt::Display {
    let time = chrono::DateTime::<chrono::Local>::from(UNIX_EPOCH + time);
    // Its names of months are English, as Apache's are.
    time.format("%d/%b/%Y:%H:%M:%S %z")
}

fn microseconds(time: Duration) -> Value<'static> {
    Value::Number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

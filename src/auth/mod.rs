//! Who may pass: token + keys + rules + the time -> claims or a refusal. Reads no clock, no file and no socket.

use std::sync::Arc;

/// Seconds since 1970, UTC (the `NumericDate` of RFC 7519 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

/// What of a request is judged.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The method, as received.
    pub method: &'a str,
    /// The path of the request target, as received (percent-encoded), without the query.
    pub path: &'a str,
    /// The values of every `Authorization` field.
    pub authorization: &'a [&'a [u8]],
}

/// What came of a request.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// It may pass; with the claims when a token was looked at.
    Pass(Option<Arc<Claims>>),
    /// It may not.
    Refuse(Refusal),
}

/// The verified payload of a token.
#[derive(Debug, Clone, PartialEq)]
pub struct Claims(serde_json::Map<String, serde_json::Value>);

/// Why a request may not pass: what its client is told and what the log is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 401 or 403.
    pub status: u16,
    /// The value of `WWW-Authenticate` (RFC 6750 section 3); not for 400.
    pub challenge: Option<String>,
    /// `detail` of the JSON body.
    pub detail: &'static str,
    /// `code` of the JSON body.
    pub code: &'static str,
    /// For the log only.
    pub reason: String,
}

/// Keys and rules of one generation.
#[derive(Debug)]
pub struct Guard(());

impl Guard {
    pub fn open() -> Self {
        Self(())
    }
    pub fn warnings(&self) -> &[String] {
        &[]
    }
    /// Judges one request.
    pub fn judge(&self, _request: &RequestView<'_>, _now: UnixTime) -> Verdict {
        Verdict::Pass(None)
    }
}

impl Claims {
    pub fn subject(&self) -> Option<&str> {
        None
    }
    pub fn as_map(&self) -> &serde_json::Map<String, serde_json::Value> {
        &self.0
    }
}

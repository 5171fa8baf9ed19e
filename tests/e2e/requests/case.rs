//! A case: the bytes that a client sends, and what has to come of them.

use crate::support::kit::Kit;

/// What comes of a request.
#[derive(Debug, Clone)]
pub(super) enum Want {
    /// It is answered with one of these, and the connection goes on.
    Served(Vec<u16>),
    /// It is answered with one of these, and the connection ends after that.
    Last(Vec<u16>),
    /// It is refused with one of these, as destrier refuses: one answer, JSON, and the connection ends.
    Refused(Vec<u16>),
}

/// One request, or several that are one attempt.
#[derive(Debug, Clone)]
pub(super) struct Case {
    /// Where it is written: a section of RFC 9110 or 9112.
    pub(super) rule: &'static str,
    pub(super) name: String,
    pub(super) sent: Vec<u8>,
    pub(super) want: Want,
    /// What the last answer says.
    pub(super) says: Vec<String>,
    /// What no answer says.
    pub(super) never_says: Vec<String>,
    /// Interim and final answers before the last one.
    pub(super) before: Vec<u16>,
    /// With whom it is another case.
    pub(super) not_with: Vec<Kit>,
}

impl Case {
    fn new(
        rule: &'static str,
        name: impl Into<String>,
        sent: impl Into<Vec<u8>>,
        want: Want,
    ) -> Self {
        Self {
            rule,
            name: name.into(),
            sent: sent.into(),
            want,
            says: Vec::new(),
            never_says: Vec::new(),
            before: Vec::new(),
            not_with: Vec::new(),
        }
    }

    pub(super) fn not_with(mut self, kits: &[Kit]) -> Self {
        self.not_with = kits.to_vec();
        self
    }

    pub(super) fn says(mut self, text: &str) -> Self {
        self.says.push(text.to_owned());
        self
    }

    pub(super) fn never_says(mut self, text: &str) -> Self {
        self.never_says.push(text.to_owned());
        self
    }

    pub(super) fn after(mut self, statuses: &[u16]) -> Self {
        self.before = statuses.to_vec();
        self
    }
}

pub(super) fn served(
    rule: &'static str,
    name: impl Into<String>,
    sent: impl Into<Vec<u8>>,
) -> Case {
    answered(rule, 200, name, sent)
}

pub(super) fn answered(
    rule: &'static str,
    status: u16,
    name: impl Into<String>,
    sent: impl Into<Vec<u8>>,
) -> Case {
    Case::new(rule, name, sent, Want::Served(vec![status]))
}

pub(super) fn last(
    rule: &'static str,
    status: u16,
    name: impl Into<String>,
    sent: impl Into<Vec<u8>>,
) -> Case {
    Case::new(rule, name, sent, Want::Last(vec![status]))
}

pub(super) fn refused(
    rule: &'static str,
    status: u16,
    name: impl Into<String>,
    sent: impl Into<Vec<u8>>,
) -> Case {
    Case::new(rule, name, sent, Want::Refused(vec![status]))
}

/// A GET with these lines after the request line and Host.
pub(super) fn get(lines: &str) -> Vec<u8> {
    format!("GET /headers HTTP/1.1\r\nhost: a\r\n{lines}\r\n").into_bytes()
}

/// A POST to `/echo` with these fields and this body.
pub(super) fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /echo HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}").into_bytes()
}

/// A POST to `/echo` with a chunked body.
pub(super) fn chunked(body: &str) -> Vec<u8> {
    post("transfer-encoding: chunked\r\n", body)
}

/// The same with bytes that are no text.
pub(super) fn chunked_bytes(body: &[u8]) -> Vec<u8> {
    [chunked("").as_slice(), body].concat()
}

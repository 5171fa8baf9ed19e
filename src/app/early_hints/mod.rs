//! 103 Early Hints (RFC 8297): what an application says ahead of its answer.

mod ahead;

use std::sync::Arc;

use http::HeaderMap;

use super::interim::Interim;
pub(crate) use ahead::Ahead;

/// So many bytes may wait to go out ahead of one answer; over HTTP/2 no more go out.
pub(super) const PENDING_MAX: usize = 16 << 10;

/// Fields that frame a message or belong to a connection (RFC 9110 section 7.6.1), and a date that hints do not have.
const REFUSED: [&str; 10] = [
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

/// A request extension: says ahead of the answer what its client may do meanwhile, such as load what a `Link` names (103, RFC 8297).
/// Requests have it that came with HTTP/1.1 or HTTP/2: clients of HTTP/1.0 know no such answers.
#[derive(Debug, Clone)]
pub struct EarlyHints(Way);

/// How they reach the client.
#[derive(Debug, Clone)]
enum Way {
    /// As bytes, between two messages of a connection.
    Connection {
        ahead: Arc<Ahead>,
        /// The number of their request on it, from 1.
        request: u64,
    },
    /// As an answer on the stream of their request.
    Stream(Arc<Interim>),
}

/// Why hints are not sent. The answer is not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EarlyHintsError {
    /// The answer has begun.
    #[error("the answer has begun")]
    TooLate,
    /// More than 16 KiB would wait.
    #[error("the hints are too large")]
    TooLarge,
    /// The field frames a message or belongs to a connection.
    #[error("the field `{0}` is none for hints")]
    Field(String),
}

impl EarlyHints {
    /// For this request of a connection of HTTP/1.1.
    pub(crate) fn on_connection(ahead: &Arc<Ahead>, request: u64) -> Self {
        let ahead = Arc::clone(ahead);
        Self(Way::Connection { ahead, request })
    }

    /// For the request of a stream of HTTP/2.
    pub(crate) fn on_stream(interim: &Arc<Interim>) -> Self {
        Self(Way::Stream(Arc::clone(interim)))
    }

    /// Sends these fields at once; more may follow in another answer of this kind. They are dropped where the client is still
    /// taking the answer before and this one's comes first.
    ///
    /// # Errors
    /// When they cannot go out before the answer, or should not.
    pub fn send(&self, fields: &HeaderMap) -> Result<(), EarlyHintsError> {
        let refused = fields.keys().find(|name| REFUSED.contains(&name.as_str()));
        if let Some(name) = refused {
            return Err(EarlyHintsError::Field(name.to_string()));
        }
        match &self.0 {
            Way::Connection { ahead, request } => ahead.push(*request, fields),
            Way::Stream(interim) => interim.push(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{CONTENT_LENGTH, LINK};

    use super::*;

    pub(super) fn link() -> HeaderMap {
        HeaderMap::from_iter([(LINK, HeaderValue::from_static("</a.css>; rel=preload"))])
    }

    #[test]
    fn hints_are_bounded_and_say_nothing_of_the_connection() {
        for hints in [
            EarlyHints::on_connection(&Arc::default(), 1),
            EarlyHints::on_stream(&Arc::default()),
        ] {
            let framing = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(1))]);
            let refused = EarlyHintsError::Field("content-length".to_owned());
            assert_eq!(hints.send(&framing), Err(refused));
            let sent = std::iter::repeat_with(|| hints.send(&link())).take_while(Result::is_ok);
            assert!((100..1000).contains(&sent.count()));
            assert_eq!(hints.send(&link()), Err(EarlyHintsError::TooLarge));
        }
    }
}

//! What a request says that its answer depends on, whoever gives it.

use http::header::{AUTHORIZATION, COOKIE};
use http::{Method, Request, Version};

use super::compression::{self, Policy};
use super::origin::Origin;
use crate::app::Client;
use crate::config::CompressionAlgorithm;

/// What is remembered of a request until it is answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// How its client wants the answer compressed; none where nothing is compressed.
    pub(super) accepted: Option<CompressionAlgorithm>,
    /// Whether it says who its client is, so that the answer may hold a secret of that one.
    pub(super) is_authenticated: bool,
    /// Whether only the head of the answer is wanted.
    pub(super) is_head: bool,
    /// Of HTTP. In 1.0 an answer that does not say how long it is ends with its connection.
    pub(super) version: Version,
    /// Whether the scheme of the request is `https`, here or at a proxy's.
    pub(super) is_https: bool,
}

impl Asked {
    pub(super) fn of<B>(
        request: &Request<B>,
        (origin, client): (&Origin, Client),
        policy: &Policy,
    ) -> Self {
        let mut asked = Self {
            version: request.version(),
            is_https: client.is_https,
            ..Self::default()
        };
        if policy.is_on() {
            let headers = request.headers();
            asked.is_head = request.method() == Method::HEAD;
            asked.is_authenticated = origin.certificate.is_some()
                || headers.contains_key(AUTHORIZATION)
                || headers.contains_key(COOKIE);
            asked.accepted = compression::accepted(headers, policy.algorithms());
        }
        asked
    }
}

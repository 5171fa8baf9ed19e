//! The opening handshake of a WebSocket (RFC 6455 section 4.2): what a request must be that asks for one, and what the
//! application must answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, Method, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The one extension that the frames are understood with (RFC 7692).
const DEFLATE: &str = "permessage-deflate";

/// Why a request that asks for a WebSocket, or half asks for one, gets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says in its message what it is")]
pub enum BadHandshake {
    #[error(
        "it has fields of a WebSocket's handshake, but not `Upgrade: websocket` and `Connection: upgrade`"
    )]
    Half,
    #[error("a WebSocket is asked for with GET")]
    Method,
    #[error("a WebSocket needs HTTP/1.1")]
    HttpVersion,
    #[error("the handshake of a WebSocket has no body")]
    Body,
    #[error("Sec-WebSocket-Key is not the base64 of 16 bytes, once")]
    Key,
    #[error("more than one Sec-WebSocket-Version field")]
    SeveralVersions,
    #[error("Sec-WebSocket-Version is not 13")]
    Version,
    #[error("Sec-WebSocket-Protocol is not a list of tokens")]
    Protocol,
    #[error("Sec-WebSocket-Extensions is not a list of extensions")]
    Extensions,
    #[error("more than one Origin field")]
    SeveralOrigins,
}

/// Why the WebSocket that an application answers with is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnswer {
    #[error("the application answered with 101, which nobody asked for")]
    NotAsked,
    #[error(
        "the answer to a WebSocket's handshake has no `Upgrade: websocket` and `Connection: upgrade`"
    )]
    Upgrade,
    #[error("Sec-WebSocket-Accept of the answer is not that of the request's key")]
    Accept,
    #[error(
        "Sec-WebSocket-Protocol of the answer is not one that the client offered, or its token"
    )]
    Protocol,
    #[error(
        "Sec-WebSocket-Extensions of the answer is not `permessage-deflate`, offered by the client"
    )]
    Extensions,
}

/// What a client asked for, as far as the answer must fit it.
#[derive(Debug)]
pub(super) struct Handshake {
    accept: String,
    protocols: Vec<String>,
    offers_deflate: bool,
}

/// Whether a request with a field of this name is to be judged as one that asks for a WebSocket, or half asks for one.
pub(in super::super) fn is_of_it(name: &HeaderName) -> bool {
    [UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION].contains(name)
}

/// Judges a request that asks for a WebSocket, or half asks for one.
pub(in super::super) fn check(head: &Parts) -> Result<(), BadHandshake> {
    let fields = &head.headers;
    let is_asked = is_for_websocket(fields);
    let is_begun = is_asked
        || fields.contains_key(SEC_WEBSOCKET_KEY)
        || fields.contains_key(SEC_WEBSOCKET_VERSION);
    if !is_begun {
        return Ok(());
    }
    if !is_asked {
        return Err(BadHandshake::Half);
    }
    if head.version != Version::HTTP_11 {
        return Err(BadHandshake::HttpVersion);
    }
    if head.method != Method::GET {
        return Err(BadHandshake::Method);
    }
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    if fields.contains_key(TRANSFER_ENCODING) || lengths.any(|length| length != "0") {
        return Err(BadHandshake::Body);
    }
    let mut versions = fields.get_all(SEC_WEBSOCKET_VERSION).iter();
    match (versions.next(), versions.next()) {
        (_, Some(_)) => return Err(BadHandshake::SeveralVersions),
        (Some(version), None) if version == "13" => {}
        (Some(_) | None, None) => return Err(BadHandshake::Version),
    }
    let key = single(fields, &SEC_WEBSOCKET_KEY);
    let key = key.and_then(|key| STANDARD.decode(key).ok());
    if key.is_none_or(|key| key.len() != 16) {
        return Err(BadHandshake::Key);
    }
    if fields.get_all(ORIGIN).iter().count() > 1 {
        return Err(BadHandshake::SeveralOrigins);
    }
    let is_list = |name: HeaderName, is_element: fn(&str) -> bool| {
        let elements: Option<Vec<_>> = elements(fields, &name).collect();
        !fields.contains_key(&name)
            || elements.is_some_and(|all| !all.is_empty() && all.into_iter().all(is_element))
    };
    if !is_list(SEC_WEBSOCKET_PROTOCOL, is_token) {
        return Err(BadHandshake::Protocol);
    }
    if !is_list(SEC_WEBSOCKET_EXTENSIONS, is_extension) {
        return Err(BadHandshake::Extensions);
    }
    Ok(())
}

/// A request extension: the subprotocols that a client offers for its WebSocket (RFC 6455 section 1.9), in its order. Its token, where
/// that stands among them, is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subprotocols(pub Vec<String>);

impl Handshake {
    /// What the client offers.
    pub(super) fn subprotocols(&self) -> Subprotocols {
        Subprotocols(self.protocols.clone())
    }

    /// Of a request that was checked; none where it asks for no WebSocket. The client's token is none of the protocols that it
    /// offers, although it stands among them: `is_token` knows it.
    pub(super) fn of(head: &Parts, is_token: impl Fn(&str) -> bool) -> Option<Self> {
        let fields = &head.headers;
        if !is_for_websocket(fields) {
            return None;
        }
        let key = single(fields, &SEC_WEBSOCKET_KEY)?;
        let protocols = elements(fields, &SEC_WEBSOCKET_PROTOCOL).flatten();
        let mut extensions = elements(fields, &SEC_WEBSOCKET_EXTENSIONS).flatten();
        Some(Self {
            accept: derive_accept_key(key.as_bytes()),
            protocols: protocols
                .filter(|protocol| !is_token(protocol))
                .map(str::to_owned)
                .collect(),
            offers_deflate: extensions.any(|extension| name_of(extension) == DEFLATE),
        })
    }

    /// Judges the fields of an answer with 101 (RFC 6455 section 4.2.2), as a client would. Says whether messages may be
    /// compressed.
    pub(super) fn judge(&self, answer: &HeaderMap) -> Result<bool, BadAnswer> {
        if !is_for_websocket(answer) {
            return Err(BadAnswer::Upgrade);
        }
        if single(answer, &SEC_WEBSOCKET_ACCEPT) != Some(&self.accept) {
            return Err(BadAnswer::Accept);
        }
        if answer.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            let chosen = single(answer, &SEC_WEBSOCKET_PROTOCOL);
            if !chosen.is_some_and(|chosen| self.protocols.iter().any(|offered| offered == chosen))
            {
                return Err(BadAnswer::Protocol);
            }
        }
        let extensions: Option<Vec<_>> = elements(answer, &SEC_WEBSOCKET_EXTENSIONS).collect();
        match extensions.as_deref() {
            Some([]) => Ok(false),
            Some([one]) if self.offers_deflate && is_extension(one) && name_of(one) == DEFLATE => {
                Ok(true)
            }
            Some(_) | None => Err(BadAnswer::Extensions),
        }
    }
}

/// Whether the fields ask for a WebSocket, or agree. `Upgrade` alone may be a leftover of a connection before this one, and counts
/// for nothing (RFC 9110 section 7.8).
fn is_for_websocket(fields: &HeaderMap) -> bool {
    // Almost every request has no such field.
    fields.contains_key(UPGRADE)
        && has_token(fields, &UPGRADE, "websocket")
        && has_token(fields, &CONNECTION, "upgrade")
}

/// Whether a field that is a list of tokens, in any case, has this one.
fn has_token(fields: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    elements(fields, name)
        .flatten()
        .any(|element| element.eq_ignore_ascii_case(token))
}

/// The value of a field that is there once, where it is text.
fn single<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = fields.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// The elements of a list (RFC 9110 section 5.6.1): empty ones do not count. `None` in the place of a field that is no text.
fn elements<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = Option<&'a str>> + use<'a> {
    let values = fields.get_all(name).into_iter();
    values
        .flat_map(|value| {
            let text = value.to_str().ok();
            let bad = text.is_none().then_some(None);
            let elements = text.into_iter().flat_map(|text| text.split(','));
            bad.into_iter()
                .chain(elements.map(|element| Some(element.trim())))
        })
        .filter(|element| *element != Some(""))
}

/// RFC 9110 section 5.6.2: the names of methods are tokens, and http knows what may stand in them.
fn is_token(text: &str) -> bool {
    Method::from_bytes(text.as_bytes()).is_ok()
}

/// A name with parameters (RFC 6455 section 9.1). What is quoted must be a token too, so commas and semicolons only separate.
fn is_extension(element: &str) -> bool {
    let mut parts = element.split(';').map(str::trim);
    let is_parameter = |parameter: &str| match parameter.split_once('=') {
        None => is_token(parameter),
        Some((name, value)) => {
            let quoted = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            is_token(name) && is_token(quoted.unwrap_or(value))
        }
    };
    parts.next().is_some_and(is_token) && parts.all(is_parameter)
}

fn name_of(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    /// Of that key (RFC 6455 section 1.3).
    const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

    fn head(method: &str, version: Version, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri("/").version(version);
        for (name, value) in fields {
            request = request.header(*name, value.as_bytes());
        }
        request.body(()).unwrap().into_parts().0
    }

    /// A good handshake without the fields of these names, and with these.
    fn with(changes: &[(&str, &str)]) -> Parts {
        let good = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-version", "13"),
        ];
        let is_kept =
            |(name, _): &&(&str, &str)| !changes.iter().any(|(changed, _)| changed == name);
        let kept = good.iter().filter(is_kept).copied();
        let added = changes.iter().filter(|(_, value)| *value != "-").copied();
        head(
            "GET",
            Version::HTTP_11,
            &kept.chain(added).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn a_request_that_asks_for_nothing_is_no_handshake() {
        for fields in [
            &[][..],
            &[("upgrade", "h2c"), ("connection", "upgrade")],
            &[("connection", "keep-alive")],
            &[("upgrade", "websocket")],
        ] {
            let head = head("POST", Version::HTTP_10, fields);
            assert_eq!(check(&head), Ok(()));
            assert!(Handshake::of(&head, |_| false).is_none());
        }
    }

    #[test]
    fn a_handshake_may_say_more_than_it_must() {
        for changes in [
            &[][..],
            &[("upgrade", "WebSocket")],
            &[("upgrade", "h2c, websocket")],
            &[("connection", "keep-alive, Upgrade")],
            &[("connection", "keep-alive"), ("connection", "upgrade")],
            &[("content-length", "0")],
            &[("origin", "https://a.example")],
            &[("sec-websocket-protocol", "chat, superchat,v1.x")],
            &[
                ("sec-websocket-protocol", "chat"),
                ("sec-websocket-protocol", "b"),
            ],
            &[(
                "sec-websocket-extensions",
                "permessage-deflate; client_max_window_bits",
            )],
            &[("sec-websocket-extensions", "a; b=1; c=\"d\", e")],
        ] {
            let head = with(changes);
            assert_eq!(check(&head), Ok(()), "{changes:?}");
            assert!(Handshake::of(&head, |_| false).is_some());
        }
    }

    #[test]
    fn a_handshake_that_is_not_whole_or_not_right_is_refused() {
        for (changes, why) in [
            (&[("upgrade", "-")][..], BadHandshake::Half),
            (&[("upgrade", "websockets")], BadHandshake::Half),
            (&[("connection", "-")], BadHandshake::Half),
            (&[("connection", "close")], BadHandshake::Half),
            (&[("content-length", "1")], BadHandshake::Body),
            (&[("transfer-encoding", "chunked")], BadHandshake::Body),
            (&[("sec-websocket-key", "-")], BadHandshake::Key),
            (&[("sec-websocket-key", "")], BadHandshake::Key),
            (
                &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25j")],
                BadHandshake::Key,
            ),
            (
                &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ")],
                BadHandshake::Key,
            ),
            (
                &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZR==")],
                BadHandshake::Key,
            ),
            (
                &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZWVl")],
                BadHandshake::Key,
            ),
            (
                &[("sec-websocket-key", "dGhlIHNhbXBsZSBub25-ZQ==")],
                BadHandshake::Key,
            ),
            (
                &[("sec-websocket-key", KEY), ("sec-websocket-key", KEY)],
                BadHandshake::Key,
            ),
            (&[("sec-websocket-version", "-")], BadHandshake::Version),
            (&[("sec-websocket-version", "12")], BadHandshake::Version),
            (&[("sec-websocket-version", "013")], BadHandshake::Version),
            (&[("sec-websocket-version", "13, 8")], BadHandshake::Version),
            (
                &[
                    ("sec-websocket-version", "13"),
                    ("sec-websocket-version", "13"),
                ],
                BadHandshake::SeveralVersions,
            ),
            (
                &[("origin", "https://a"), ("origin", "https://a")],
                BadHandshake::SeveralOrigins,
            ),
            (&[("sec-websocket-protocol", "")], BadHandshake::Protocol),
            (&[("sec-websocket-protocol", "a b")], BadHandshake::Protocol),
            (
                &[("sec-websocket-protocol", "a, b/c")],
                BadHandshake::Protocol,
            ),
            (&[("sec-websocket-protocol", "é")], BadHandshake::Protocol),
            (
                &[("sec-websocket-extensions", " , ")],
                BadHandshake::Extensions,
            ),
            (
                &[("sec-websocket-extensions", "a;")],
                BadHandshake::Extensions,
            ),
            (
                &[("sec-websocket-extensions", "a; =b")],
                BadHandshake::Extensions,
            ),
            (
                &[("sec-websocket-extensions", "a; b=\"c d\"")],
                BadHandshake::Extensions,
            ),
            (
                &[("sec-websocket-extensions", "a; b=\"c")],
                BadHandshake::Extensions,
            ),
        ] {
            assert_eq!(check(&with(changes)), Err(why), "{changes:?}");
        }
        let fields: Vec<_> = [("upgrade", "websocket"), ("connection", "upgrade")].to_vec();
        let old = head("GET", Version::HTTP_10, &fields);
        assert_eq!(check(&old), Err(BadHandshake::HttpVersion));
        let post = head("POST", Version::HTTP_11, &fields);
        assert_eq!(check(&post), Err(BadHandshake::Method));
    }

    fn answer(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut answer = HeaderMap::new();
        for (name, value) in fields {
            answer.append(*name, value.parse().unwrap());
        }
        answer
    }

    fn judged(extra: &[(&'static str, &'static str)]) -> Result<bool, BadAnswer> {
        let head = with(&[
            ("sec-websocket-protocol", "bearer, a.b.c, chat"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ]);
        let handshake = Handshake::of(&head, |protocol| protocol == "a.b.c").unwrap();
        let good = [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-accept", ACCEPT),
        ];
        handshake.judge(&answer(&[&good, extra].concat()))
    }

    #[test]
    fn an_answer_fits_what_was_asked() {
        assert_eq!(judged(&[]), Ok(false));
        assert_eq!(judged(&[("sec-websocket-protocol", "bearer")]), Ok(false));
        assert_eq!(
            judged(&[(
                "sec-websocket-extensions",
                "permessage-deflate; server_no_context_takeover"
            )]),
            Ok(true)
        );
        for protocol in ["superchat", "a.b.c", "Chat", "bearer, chat", ""] {
            assert_eq!(
                judged(&[("sec-websocket-protocol", protocol)]),
                Err(BadAnswer::Protocol),
                "{protocol}"
            );
        }
        let two = [
            ("sec-websocket-protocol", "bearer"),
            ("sec-websocket-protocol", "chat"),
        ];
        assert_eq!(judged(&two), Err(BadAnswer::Protocol));
        for extension in ["x", "permessage-deflate, x"] {
            assert_eq!(
                judged(&[("sec-websocket-extensions", extension)]),
                Err(BadAnswer::Extensions)
            );
        }
        assert_eq!(
            judged(&[("sec-websocket-accept", ACCEPT)]),
            Err(BadAnswer::Accept)
        );
        let handshake = Handshake::of(&with(&[]), |_| false).unwrap();
        assert_eq!(handshake.judge(&answer(&[])), Err(BadAnswer::Upgrade));
        let deflate = [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-accept", ACCEPT),
            ("sec-websocket-extensions", "permessage-deflate"),
        ];
        assert_eq!(
            handshake.judge(&answer(&deflate)),
            Err(BadAnswer::Extensions)
        );
    }

    proptest! {
        #[test]
        fn no_field_makes_it_panic(value in "\\PC{0,30}", list in "[a;=\", ]{0,20}") {
            for name in ["upgrade", "connection", "sec-websocket-key", "sec-websocket-version", "sec-websocket-protocol", "sec-websocket-extensions"] {
                let _judged = check(&with(&[(name, &value)]));
                let _judged = check(&with(&[(name, &list)]));
            }
        }
    }
}

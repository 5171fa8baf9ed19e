//! `auth.token_from`, `auth.trusted_origins`, `auth.resource`: places and addresses as they are written.

use super::TokenSource;

/// What an entry of `auth.token_from` names, or why it names nothing.
pub(super) fn parse(text: &str) -> Result<TokenSource, &'static str> {
    if text == "authorization" {
        return Ok(TokenSource::Authorization);
    }
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    let source = match kind {
        "cookie" => TokenSource::Cookie(name.to_owned()),
        "header" => TokenSource::Header(name.to_ascii_lowercase()),
        "protocol" => TokenSource::Protocol(name.to_owned()),
        _ => {
            return Err("must be `authorization`, `cookie:NAME`, `header:NAME` or `protocol:NAME`");
        }
    };
    if !is_name(name) {
        return Err("must have a name of letters, digits and `-`, `_`, `.` after the colon");
    }
    match &source {
        TokenSource::Header(name) if !is_field_of_its_own(name) => {
            Err("must not be a field that has a meaning of its own")
        }
        TokenSource::Authorization
        | TokenSource::Cookie(_)
        | TokenSource::Header(_)
        | TokenSource::Protocol(_) => Ok(source),
    }
}

/// A name that cookies, fields and subprotocols can have (RFC 9110 section 5.6.2), without the characters that nobody uses.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Whether a field of this name has no other meaning.
pub(super) fn is_field_of_its_own(name: &str) -> bool {
    is_name(name) && !TAKEN.contains(&name.to_ascii_lowercase().as_str())
}

/// Fields that are no place for a token.
const TAKEN: [&str; 11] = [
    "authorization",
    "client-cert",
    "client-cert-chain",
    "connection",
    "content-length",
    "cookie",
    "dpop",
    "host",
    "origin",
    "sec-websocket-protocol",
    "transfer-encoding",
];

/// The origin in lower case: `https://host` or `https://host:port`, nothing behind it (RFC 6454 section 6.2). `None` when it
/// is none.
pub(super) fn origin(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (scheme, host) = text.split_once("://")?;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        Some(_) | None => (host, None),
    };
    let is_host = super::rules::host(name).is_some_and(|host| !host.starts_with('*'));
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    (["http", "https"].contains(&scheme) && is_host && is_port).then_some(text)
}

/// Whether the text is an address of the web without query and fragment: `https://host`, `https://host:port/path`.
pub(super) fn is_address(text: &str) -> bool {
    let scheme_end = text.find("://").map_or(0, |colon| colon + 3);
    let path = text.get(scheme_end..).and_then(|rest| rest.find('/'));
    let (place, path) = text.split_at(path.map_or(text.len(), |slash| scheme_end + slash));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#\"\\<>".contains(&byte);
    origin(place).is_some() && path.bytes().all(is_plain)
}

//! Fields that only destrier or a trusted proxy may set: those that a client sends are removed.

use http::HeaderMap;

/// Removes the fields whose name `is_reserved`. Names are in lower case here.
pub(super) fn remove(fields: &mut HeaderMap, is_reserved: impl Fn(&str) -> bool) {
    // Almost every request has none of these, and then nothing is allocated.
    let forged: Vec<_> = fields
        .keys()
        .filter(|name| is_reserved(name.as_str()))
        .cloned()
        .collect();
    for name in forged {
        fields.remove(name);
    }
}

/// Whether two names are the same to gateways of the CGI kind, which cannot tell `_` from `-` (RFC 3875 section 4.1.18).
pub(super) fn is_same(name: &str, other: &str) -> bool {
    name.len() == other.len() && begins(name, other)
}

/// Whether a name begins with the other one, to such a gateway.
pub(super) fn begins(name: &str, other: &str) -> bool {
    let plain = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    let start = name.as_bytes().get(..other.len());
    start.is_some_and(|start| {
        start
            .iter()
            .map(plain)
            .eq(other.as_bytes().iter().map(plain))
    })
}

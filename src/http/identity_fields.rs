//! Fields that speak of a verified identity: only destrier may set them, so those that a client sends are removed.

use http::header::HeaderMap;

/// Removes every field that an application could take for the word of destrier: `X-Auth-*` and `Remote-User`, also
/// when spelled with `_`, which gateways of the CGI kind cannot tell from `-` (RFC 3875 section 4.1.18).
pub(super) fn remove_forged(fields: &mut HeaderMap) {
    // Header names are lower-case here; almost every request has none of these, and then nothing is allocated.
    let forged: Vec<_> = fields
        .keys()
        .filter(|name| is_reserved(name.as_str()))
        .cloned()
        .collect();
    for name in forged {
        fields.remove(name);
    }
}

fn is_reserved(name: &str) -> bool {
    let bytes = name.as_bytes();
    let same = |(byte, wanted): (&u8, &u8)| byte == wanted || (*wanted == b'-' && *byte == b'_');
    let begins = |prefix: &[u8]| bytes.len() >= prefix.len() && bytes.iter().zip(prefix).all(same);
    begins(b"x-auth-") || (bytes.len() == b"remote-user".len() && begins(b"remote-user"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::remove_forged;

    #[test]
    fn fields_that_claim_an_identity_are_removed_however_they_are_spelled() {
        let mut fields = HeaderMap::new();
        let forged = [
            "X-Auth-Subject",
            "x_auth_roles",
            "x-auth_scope",
            "Remote-User",
            "REMOTE_USER",
        ];
        for name in forged
            .into_iter()
            .chain(["x-author", "remote-username", "authorization"])
        {
            fields.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_static("evil"),
            );
        }
        remove_forged(&mut fields);
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["authorization", "remote-username", "x-author"]);
    }
}

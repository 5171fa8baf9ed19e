//! Fields that speak of a verified identity: only destrier may set them, so those that a client sends are removed.

use http::HeaderName;
use http::header::HeaderMap;

use super::forged;
use crate::auth::Claims;

/// Removes every field that an application could take for the word of destrier: `X-Auth-*`, `Remote-User` and those that
/// the configuration names, in every spelling that a gateway could take for them. Then sets what the claims say.
pub(super) fn replace(fields: &mut HeaderMap, named: &[HeaderName], claims: Option<&Claims>) {
    forged::remove(fields, |name| {
        // The first letter tells of almost every field that it is none of the first two.
        let is_reserved = match name.as_bytes().first() {
            Some(b'x') => forged::begins(name, "x-auth-"),
            Some(b'r') => forged::is_same(name, "remote-user"),
            _ => false,
        };
        is_reserved
            || is_look_alike(name)
            || named
                .iter()
                .any(|other| forged::is_same(name, other.as_str()))
    });
    // Claims that cannot be written were refused, but for a rule that is an audit: then the application gets none.
    for (name, value) in claims
        .and_then(|claims| claims.fields().ok())
        .into_iter()
        .flatten()
    {
        fields.insert(name, value.clone());
    }
}

/// Fields that frame, route or authorise a request. What proxies say of its client: see `forwarded`.
const WEIGHTY: [&str; 11] = [
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "proxy-authorization",
    "transfer-encoding",
    "dpop",
    "expect",
];

/// Whether a gateway of the CGI kind would take the field for a weighty one that it is not: no such field was looked at here.
fn is_look_alike(name: &str) -> bool {
    let is = |other: &&str| name != *other && forged::is_same(name, other);
    name.as_bytes().contains(&b'_') && WEIGHTY.iter().any(is)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::replace;

    #[test]
    fn fields_that_claim_an_identity_are_removed_however_they_are_spelled() {
        let mut fields = HeaderMap::new();
        let forged = [
            "X-Auth-Subject",
            "x_auth_roles",
            "x-auth_scope",
            "Remote-User",
            "REMOTE_USER",
            "X.Auth.Subject",
            "remote.user",
            "Tenant_Id",
            "tenant-id",
            "X-My-Team",
            "Content_Length",
            "transfer_encoding",
            "x-my_team",
        ];
        for name in forged.into_iter().chain([
            "x-author",
            "remote-username",
            "remoteuser",
            "authorization",
            "tenant-id2",
            "tenant",
            "content-length",
            "x_y",
        ]) {
            fields.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a name"),
                HeaderValue::from_static("evil"),
            );
        }
        let named = ["tenant_id", "x-my-team"].map(HeaderName::from_static);
        replace(&mut fields, &named, None);
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let others = [
            "authorization",
            "content-length",
            "remote-username",
            "remoteuser",
            "tenant",
            "tenant-id2",
            "x-author",
            "x_y",
        ];
        assert_eq!(left, others);
    }
}

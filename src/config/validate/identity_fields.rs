//! `[auth.headers]` and `auth.payload_header`: fields of the request that only destrier may set.

use http::HeaderName;
use serde::Deserialize;

use super::Check;
use crate::config::key::KeyPath;
use crate::config::notation::Text;
use crate::config::origin::Origin;
use crate::config::{ClaimField, FieldFormat, file, token_source};

const FORMS: &str = "must be the name of a claim, or `{ claim = \"…\", format = \"…\" }` with the format `comma` or `json`";

/// An entry that says more than the claim.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    claim: Text,
    #[serde(default)]
    format: FieldFormat,
}

impl Check<'_> {
    /// Claims in fields of their own, and the field of the payload.
    pub(super) fn identity_fields(
        &mut self,
        auth: &file::Auth,
    ) -> (Vec<ClaimField>, Option<HeaderName>) {
        let mut names = Vec::new();
        let mut fields = Vec::new();
        for (written, value) in &auth.headers {
            let key = KeyPath::from("auth.headers").child(written);
            let claim_alone = |claim| Entry {
                claim,
                format: FieldFormat::default(),
            };
            let entry = if value.is_str() {
                Text::deserialize(value.clone()).map(claim_alone)
            } else {
                Entry::deserialize(value.clone())
            };
            if entry.is_err() {
                self.refuse(&key, FORMS, None);
            }
            let name =
                self.identity_field(&key, self.document.origin_of_key(&key), written, &mut names);
            if let (Some(name), Ok(Entry { claim, format })) = (name, entry) {
                let Text(claim) = claim;
                fields.push(ClaimField {
                    name,
                    claim,
                    format,
                });
            }
        }
        let key = KeyPath::from("auth.payload_header");
        let payload = auth.payload_header.as_ref();
        let payload = payload.and_then(|Text(written)| {
            self.identity_field(&key, self.document.origin(&key), written, &mut names)
        });
        (fields, payload)
    }

    /// The field, unless destrier must leave it alone or sets it already. `names` are those it sets, with `-` for `_`.
    fn identity_field(
        &mut self,
        key: &KeyPath,
        place: Origin,
        written: &str,
        names: &mut Vec<String>,
    ) -> Option<HeaderName> {
        let plain = written.to_ascii_lowercase().replace('_', "-");
        let reason = if !token_source::is_name(written) {
            "must be a field with a name of letters, digits and `-`, `_`, `.`"
        } else if has_meaning(&plain) {
            "must not be a field that has a meaning of its own"
        } else if names.contains(&plain) {
            "is the same field as another one: applications may not tell `_` from `-`"
        } else {
            names.push(plain);
            return HeaderName::from_bytes(written.as_bytes()).ok();
        };
        let message = format!("`{key}` {reason}, found `{written}`");
        self.problems.note_at(key, place, message, None);
        None
    }
}

/// Fields that say what a request is, how it is framed, where it came from or what its client can do (RFC 9110, RFC 9112,
/// RFC 7239). The name is in lower case, with `-` for `_`, for an application that sees `HTTP_CONTENT_LENGTH` sees both.
fn has_meaning(name: &str) -> bool {
    const NAMES: [&str; 24] = [
        "authorization",
        "cache-control",
        "connection",
        "cookie",
        "date",
        "dpop",
        "expect",
        "forwarded",
        "from",
        "host",
        "keep-alive",
        "max-forwards",
        "origin",
        "pragma",
        "proxy",
        "range",
        "referer",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "via",
        "x-real-ip",
    ];
    const PREFIXES: [&str; 9] = [
        "accept-",
        "access-control-",
        "content-",
        "http2-",
        "if-",
        "proxy-",
        "sec-",
        "x-forwarded-",
        "x-http-method",
    ];
    name == "accept"
        || NAMES.contains(&name)
        || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

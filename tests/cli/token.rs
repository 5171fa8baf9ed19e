//! `destrier token`: issue, verify and inspect, by the issuers of a configuration or by key files.

mod inspect;
mod issue;
mod revoke;
mod verify;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::place::Place;

/// 64 bytes, which every HS algorithm accepts.
const SECRET: &str = "a-secret-of-the-tests-that-is-long-enough-for-every-hs-algorithm";

/// Patterns of what differs from token to token.
const TIMES: [(&str, &str); 4] = [
    (r#""(iat|exp)":1\d{9}"#, r#""$1":[time]"#),
    (r#""jti":"[\w-]{22}""#, r#""jti":"[random]""#),
    (r"it is 1\d{9}", "it is [now]"),
    (r"eyJ[\w-]+\.eyJ[\w-]+\.[\w-]{20,}", "[token]"),
];

/// A configuration with an issuer `own` that has a secret, one `partner` that has a public key, and that key's private
/// half `partner.pem`.
fn place() -> Place {
    let place = Place::new();
    place.write(
        "app.toml",
        r#"[[auth.issuer]]
name = "partner"
public_key_file = "partner.pem.pub"
issuer = "https://partner.example"
algorithms = "ES256"
typ = "at+jwt"
[[auth.issuer]]
name = "own"
secret_file = "own.secret"
issuer = "https://own.example"
audience = ["api", "admin"]
require = ["tenant"]
[[auth.rule]]
path = "/**"
"#,
    );
    place.write_as(0o600, "own.secret", SECRET);
    place.run("key generate ES256 --out partner.pem");
    place
}

/// A token of any header and payload; `signature` is not computed.
fn forged(header: &str, payload: &str, signature: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{signature}", part(header), part(payload))
}

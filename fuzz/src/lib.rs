//! What the fuzz targets share: a guard of the real configuration, its secret, its time, and a token that it accepts.
//!
//! All of it goes through the public interface: what a target reaches, a request reaches.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use destrier::auth::{Guard, IssuerKeys, RequestView, UnixTime, Verdict};
use destrier::config::{self, Sources, Text};
use http::HeaderMap;
use jsonwebtoken::{Algorithm, EncodingKey};

/// When everything is judged.
pub const NOW: UnixTime = UnixTime(1_800_000_000);

/// What signs.
pub const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// A token that is valid at [`NOW`], and not for ever: `{"alg":"HS256"}`, `{"sub":"u","exp":1900000000}`.
pub fn valid_token() -> String {
    signed(br#"{"alg":"HS256"}"#, br#"{"sub":"u","exp":1900000000}"#)
}

/// Any header and payload, signed with [`SECRET`] for HS256, whatever the header says.
pub fn signed(header: &[u8], payload: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let message = format!("{}.{}", part(header), part(payload));
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.expect("HS256 signs any message"))
}

/// The configuration of a file that says this.
pub fn configuration(text: &str) -> config::Auth {
    let text = Text {
        file: "fuzz.toml".into(),
        text: text.to_owned(),
    };
    let loaded = config::read_again(text, &Sources::default());
    loaded
        .expect("the configuration of a target is right")
        .config
        .auth
}

/// The guard of this configuration, each of whose issuers signs with [`SECRET`].
pub fn guard(auth: &config::Auth) -> Guard {
    let keys = |_: &config::Issuer| IssuerKeys::from_secret(SECRET, &[]).expect("a good secret");
    let keys = auth.issuers.iter().map(keys).collect();
    Guard::new(auth, keys).expect("the rules of a target are right")
}

/// A request without query, body and certificate.
pub fn request<'a>(method: &'a str, path: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method,
        path,
        query: None,
        headers,
        client_certificate: None,
        client_names: &[],
        is_https: false,
    }
}

/// The status of the refusal of a request, or that it may pass.
pub fn refused(guard: &Guard, method: &str, path: &str, headers: &HeaderMap) -> Option<u16> {
    match guard.judge(&request(method, path, headers), NOW) {
        Verdict::Pass(_) => None,
        Verdict::Refuse(refusal) => Some(refusal.status),
    }
}

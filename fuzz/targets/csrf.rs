//! A request that changes something, with its token in a cookie: it passes only when its own site or a trusted one made it.
//!
//! Lines of the input: Host, Origin, Referer, the field that is submitted twice, the Cookie field after the token. An empty line
//! leaves the field out.
#![no_main]

use std::sync::LazyLock;

use destrier::auth::Guard;
use destrier_fuzz::{configuration, guard, refused, valid_token};
use http::header::{COOKIE, HOST, ORIGIN, REFERER};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use url::Url;

const TRUSTED: &str = "https://app.example:8443";

static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    guard(&configuration(&format!(
        "[auth]\ntoken_from = 'cookie:at'\ntrusted_origins = '{TRUSTED}'\ncsrf_cookie = 'double'\ncsrf_header = 'x-double'\n[[auth.issuer]]\nsecret_file = 'unused'\n[[auth.rule]]\npath = '/'\n",
    )))
});
static TOKEN: LazyLock<String> = LazyLock::new(valid_token);

fuzz_target!(|input: &[u8]| {
    let mut lines = input.split(|byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    let double = HeaderName::from_static("x-double");
    for name in [HOST, ORIGIN, REFERER, double.clone()] {
        let line = lines.next().unwrap_or_default();
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return;
        };
        if !line.is_empty() {
            headers.insert(name, value);
        }
    }
    let more = lines.next().unwrap_or_default();
    let cookie = [b"at=", TOKEN.as_bytes(), b"; ", more].concat();
    let Ok(cookie) = HeaderValue::from_bytes(&cookie) else {
        return;
    };
    headers.insert(COOKIE, cookie);
    match refused(&GUARD, "POST", "/", &headers) {
        Some(status) => assert!(matches!(status, 400 | 401 | 403), "{status}"),
        None => {
            let host = headers.get(HOST);
            match (headers.get(ORIGIN), headers.get(REFERER)) {
                (Some(made_by), _) | (None, Some(made_by)) => assert_ours(made_by, host),
                (None, None) => {
                    let submitted = headers.get(&double).expect("it was submitted twice");
                    let is_it = |pair: &[u8]| {
                        let at = pair.iter().position(|byte| *byte == b'=');
                        let (name, value) = pair.split_at(at.unwrap_or(pair.len()));
                        let value = value.get(1..).unwrap_or_default().trim_ascii();
                        name.trim_ascii() == b"double" && value == submitted.as_bytes()
                    };
                    assert!(more.split(|byte| *byte == b';').any(is_it));
                }
            }
        }
    }
});

/// Whether a browser takes the two for one site: what it does not take for an address it never sends.
fn assert_ours(made_by: &HeaderValue, host: Option<&HeaderValue>) {
    let Some(made_by) = made_by.to_str().ok().and_then(|text| Url::parse(text).ok()) else {
        return;
    };
    let place = |address: &Url| {
        let host = address.host_str().map(str::to_owned);
        (host, address.port_or_known_default())
    };
    let trusted = Url::parse(TRUSTED).expect("an address");
    if place(&made_by) == place(&trusted) && made_by.scheme() == trusted.scheme() {
        return;
    }
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if let Ok(asked) = Url::parse(&format!("{}://{host}", made_by.scheme())) {
        assert_eq!(place(&made_by), place(&asked));
    }
}

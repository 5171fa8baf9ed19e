//! The Authorization field: who passes showed `Bearer` and the one token that is valid, in one field.
//!
//! A line of the input is a field.
#![no_main]

use std::sync::LazyLock;

use destrier::auth::Guard;
use destrier_fuzz::{configuration, guard, refused, valid_token};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    guard(&configuration(
        "[[auth.issuer]]\nsecret_file = 'unused'\n[[auth.rule]]\npath = '/'\n",
    ))
});
static TOKEN: LazyLock<String> = LazyLock::new(valid_token);

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    let lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    for line in &lines {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return;
        };
        headers.append(AUTHORIZATION, value);
    }
    let is_good = |line: &[u8]| {
        let text = str::from_utf8(line).ok()?;
        let (scheme, token) = text.trim_ascii().split_once(' ')?;
        let token = token.trim_start_matches(' ');
        Some(scheme.eq_ignore_ascii_case("bearer") && token == *TOKEN)
    };
    match (refused(&GUARD, "GET", "/", &headers), lines.as_slice()) {
        (status, [line]) if is_good(line) == Some(true) => assert_eq!(status, None),
        (status, [_]) => assert!(matches!(status, Some(400 | 401)), "{status:?}"),
        (status, _) => assert_eq!(status, Some(400)),
    }
});

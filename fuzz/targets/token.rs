//! A token: bytes as they come, and header and payload of any text with a good signature.
//!
//! After a first byte `s` the input is a header and, after a NUL, a payload, which are signed; else it is a token.
#![no_main]

use std::sync::LazyLock;

use destrier::auth::{Guard, inspect};
use destrier_fuzz::{NOW, SECRET, configuration, guard, signed};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};

static GUARD: LazyLock<Guard> = LazyLock::new(|| {
    guard(&configuration(
        "[[auth.issuer]]\nsecret_file = 'unused'\naudience = 'api'\nissuer = 'us'\ntyp = 'at+jwt'\nrequire = 'tenant'\nclaims.tier = { one_of = ['gold', 1] }\nleeway = '5s'\n[[auth.issuer]]\nsecret_file = 'unused'\nname = 'any'\n",
    ))
});

fuzz_target!(|input: &[u8]| {
    let token = match input.strip_prefix(b"s") {
        Some(texts) => {
            let mut texts = texts.splitn(2, |byte| *byte == 0);
            let header = texts.next().unwrap_or_default();
            signed(header, texts.next().unwrap_or_default()).into_bytes()
        }
        None => input.to_vec(),
    };
    let said = inspect(&token);
    let Ok(claims) = GUARD.verify(&token, NOW) else {
        return;
    };
    let said = said.expect("what was verified can be read");
    assert_eq!(&said.payload, claims.as_map());
    second_opinion(&token, &said.payload);
    assert_eq!(said.header["alg"], "HS256");
    for name in ["crit", "b64"] {
        assert_eq!(said.header.get(name), None);
    }
    let now = 1_800_000_000_f64;
    let is_ours = said.payload.get("iss").is_some_and(|iss| iss == "us");
    let leeway = if is_ours { 5.0 } else { 0.0 };
    let time = |name: &str| {
        said.payload
            .get(name)
            .map(|time| time.as_f64().expect("a number"))
    };
    assert!(time("exp").expect("exp") + leeway > now);
    assert!(time("nbf").is_none_or(|start| start <= now + leeway));
    assert!(time("iat").is_none_or(|issued| issued <= now + leeway));
    for name in ["iss", "sub", "jti"] {
        assert!(said.payload.get(name).is_none_or(Value::is_string));
    }
    let aud = said.payload.get("aud");
    if is_ours {
        let holds = |aud: &Value| {
            aud == "api"
                || aud
                    .as_array()
                    .is_some_and(|all| all.contains(&"api".into()))
        };
        assert!(aud.is_some_and(holds));
        assert!(!said.payload["tenant"].is_null());
        assert!(said.payload["tier"] == "gold" || said.payload["tier"] == 1);
        let typ = said.header["typ"]
            .as_str()
            .expect("typ")
            .to_ascii_lowercase();
        assert_eq!(typ.trim_start_matches("application/"), "at+jwt");
    } else {
        assert_eq!(aud, None);
    }
});

/// What jsonwebtoken alone says of signature and payload, where it reads the header: it wants a text in fields that are none of ours, such as
/// `enc`, and what is not understood there is to be ignored (RFC 7515, 4).
fn second_opinion(token: &[u8], payload: &Map<String, Value>) {
    if jsonwebtoken::decode_header(token).is_err() {
        return;
    }
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(SECRET).unwrap();
    let theirs = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
    assert_eq!(&theirs.expect("a good signature").claims, payload);
}

//! A key set: who reads it believes only what is signed with a key that stands in it.
#![no_main]

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use destrier::auth::{Guard, IssuerKeys};
use destrier::config;
use destrier_fuzz::{NOW, SECRET, configuration, valid_token};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static AUTH: LazyLock<config::Auth> =
    LazyLock::new(|| configuration("[[auth.issuer]]\njwks_file = 'unused'\n"));
static TOKEN: LazyLock<String> = LazyLock::new(valid_token);
static K: LazyLock<String> = LazyLock::new(|| URL_SAFE_NO_PAD.encode(SECRET));

fuzz_target!(|set: &[u8]| {
    let Ok(keys) = IssuerKeys::from_jwks(set, &[]) else {
        return;
    };
    // A number that is in no use may be larger than any that can be held.
    let Ok(json) = serde_json::from_slice::<Value>(set) else {
        return;
    };
    let holds_k = holds(&json);
    assert!(keys.holds_secret() || !holds_k || !is_oct_somewhere(&json));
    // A secret that stands where a name belongs is told with that name.
    if !without_k(&json).to_string().contains(&**K) {
        for told in [format!("{keys:?}"), format!("{:?}", keys.warnings())] {
            assert!(!told.contains(&**K), "a secret is told");
        }
    }
    let guard = Guard::new(&AUTH, vec![keys]).expect("no rules");
    if guard.verify(TOKEN.as_bytes(), NOW).is_ok() {
        assert!(holds_k, "another key verified it");
    }
});

/// Whether the secret stands anywhere. With zeros behind it, it is the same key for an HMAC, which fills up with zeros what is shorter than a
/// block (RFC 2104, 2).
fn holds(value: &Value) -> bool {
    match value {
        Value::String(text) => URL_SAFE_NO_PAD.decode(text).is_ok_and(|key| {
            let zeros = key.strip_prefix(SECRET);
            zeros.is_some_and(|zeros| zeros.iter().all(|byte| *byte == 0))
        }),
        Value::Array(items) => items.iter().any(holds),
        Value::Object(members) => members.values().any(holds),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// All but the secrets of keys.
fn without_k(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_k).collect(),
        Value::Object(members) => {
            let others = members.iter().filter(|(name, _)| *name != "k");
            let others = others.map(|(name, value)| (name.clone(), without_k(value)));
            Value::Object(others.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Whether a key, as far as one can tell, is a shared secret.
fn is_oct_somewhere(value: &Value) -> bool {
    let is_oct = |key: &Value| key["kty"] == "oct" && key["k"] == **K;
    let keys = value["keys"].as_array();
    is_oct(value) || keys.is_some_and(|keys| keys.iter().any(is_oct))
}

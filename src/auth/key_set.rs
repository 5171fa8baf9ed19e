//! A key set as it is written (RFC 7517 section 5), to be changed by whoever rotates keys. What is not understood stays as it is.

use serde_json::{Map, Value};

use super::jwk::{self, Holds, Jwk};
use super::keys::KeyError;
use super::material::Material;
use super::signing::SigningKey;

/// The members of a set and its keys, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct KeySet {
    members: Map<String, Value>,
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads a JWK set, or one JWK, which becomes a set.
    pub fn read(text: &[u8]) -> Result<Self, KeyError> {
        let malformed = |error: serde_json::Error| KeyError::Jwks(error.to_string());
        let keys = jwk::members(text)?
            .into_iter()
            .map(|key| serde_json::from_str(key).map_err(malformed))
            .collect::<Result<_, _>>()?;
        let members: Map<String, Value> = serde_json::from_slice(text).map_err(malformed)?;
        let is_set = members.contains_key("keys");
        Ok(Self {
            members: if is_set { members } else { Map::new() },
            keys,
        })
    }

    /// Whether one of its keys is a secret, or has a private half.
    pub fn holds_secret(&self) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|key| jwk::holds(&key.to_string()) != Holds::Public)
    }

    /// Whether it has room for one more that is used.
    pub fn has_room(&self) -> bool {
        self.keys.len() < jwk::MAX_KEYS
    }

    /// Whether the public half of `key` is in it, whatever it is called.
    pub fn holds(&self, key: &SigningKey) -> bool {
        let public = key.public();
        public.is_some() && self.keys.iter().any(|each| material(each) == public)
    }

    /// Adds a public key, as a JWK.
    pub fn add(&mut self, jwk: Value) {
        self.keys.push(jwk);
    }

    /// Keeps of the public keys the halves of `kept`; those that cannot be read stay. What was taken out: the `kid` of each.
    pub fn keep_only(&mut self, kept: &[&SigningKey]) -> Vec<String> {
        let kept: Vec<_> = kept.iter().filter_map(|key| key.public()).collect();
        let (stay, go): (Vec<_>, Vec<_>) = self
            .keys
            .drain(..)
            .partition(|each| material(each).is_none_or(|public| kept.contains(&public)));
        self.keys = stay;
        let name = |key: &Value| key.get("kid").and_then(Value::as_str).map(str::to_owned);
        go.iter()
            .map(|key| name(key).unwrap_or_else(|| "a key without `kid`".to_owned()))
            .collect()
    }

    /// As it is written to a file.
    pub fn to_text(&self) -> String {
        let mut members = self.members.clone();
        members.insert("keys".to_owned(), self.keys.clone().into());
        format!("{:#}\n", Value::from(members))
    }
}

fn material(key: &Value) -> Option<Material> {
    Jwk::read(&key.to_string()).ok()?.material().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ED25519, P256, RSA, SECRET, base64url, with};
    use super::*;

    fn read(set: &Value) -> KeySet {
        KeySet::read(set.to_string().as_bytes()).unwrap()
    }

    fn private(pem: &str) -> SigningKey {
        SigningKey::from_pem(pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_key_is_added_and_everything_else_stays() {
        let odd = json!({"kty": "new", "x": 1});
        let mut set = read(&json!({"keys": [odd, RSA.public_jwk], "about": "us"}));
        let p256 = private(&P256.private_pem);
        assert!(set.holds(&private(&RSA.private_pem)) && !set.holds(&p256));
        set.add(with(&P256.public_jwk, json!({"kid": "b"})));
        assert!(set.holds(&p256));
        let written: Value = serde_json::from_str(&set.to_text()).unwrap();
        let expected = with(&P256.public_jwk, json!({"kid": "b"}));
        assert_eq!(
            written,
            json!({"keys": [odd, RSA.public_jwk, expected], "about": "us"})
        );
    }

    #[test]
    fn one_key_becomes_a_set() {
        let mut set = read(&RSA.public_jwk);
        set.add(P256.public_jwk.clone());
        let written: Value = serde_json::from_str(&set.to_text()).unwrap();
        assert_eq!(written, json!({"keys": [RSA.public_jwk, P256.public_jwk]}));
    }

    #[test]
    fn only_public_keys_that_are_not_named_go() {
        let odd = json!({"kty": "new"});
        let mut set = read(&json!({"keys": [
            with(&RSA.public_jwk, json!({"kid": "a"})), ED25519.public_jwk, odd, P256.public_jwk,
        ]}));
        let p256 = private(&P256.private_pem);
        let gone = set.keep_only(&[&p256]);
        assert_eq!(gone, ["a", "a key without `kid`"]);
        assert_eq!(set.keys, [odd, P256.public_jwk.clone()]);
        assert!(set.keep_only(&[&p256]).is_empty());
    }

    #[test]
    fn a_secret_in_it_is_seen() {
        assert!(!read(&json!({"keys": [RSA.public_jwk]})).holds_secret());
        for secret in [
            json!({"kty": "oct", "k": base64url(SECRET)}),
            with(&P256.public_jwk, json!({"d": "AAAA"})),
        ] {
            let set = read(&json!({"keys": [RSA.public_jwk, secret]}));
            assert!(set.holds_secret(), "{secret}");
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "[]", "{\"keys\":1}", "{\"keys\":[],\"keys\":[]}"] {
            assert!(KeySet::read(text.as_bytes()).is_err(), "{text}");
        }
    }
}

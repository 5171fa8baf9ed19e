//! Public keys as others get them, and what they are called: JWKs without a private half (RFC 7517).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::algorithm;
use super::keys::IssuerKeys;
use super::material::Material;
use super::signing::SigningKey;
use crate::config::Algorithm;

/// A public key as a JWK (RFC 7518 section 6, RFC 8037 section 2) that verifies signatures; a shared secret is none.
pub(super) fn jwk(
    material: &Material,
    algorithm: Option<Algorithm>,
    kid: Option<&str>,
) -> Option<Value> {
    let text = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode(bytes));
    let mut jwk = Map::new();
    let mut member = |name: &str, value: Value| jwk.insert(name.to_owned(), value);
    match material {
        Material::Secret(_) => return None,
        Material::Rsa { n, e } => {
            member("kty", "RSA".into());
            member("n", text(n));
            member("e", text(e));
        }
        Material::P256(point) | Material::P384(point) => {
            // SEC 1 section 2.3.3: 4, then both coordinates in full length.
            let coordinates = point.get(1..)?;
            let (x, y) = coordinates.split_at(coordinates.len() / 2);
            let curve = if x.len() == 48 { "P-384" } else { "P-256" };
            member("kty", "EC".into());
            member("crv", curve.into());
            member("x", text(x));
            member("y", text(y));
        }
        Material::Ed25519(octets) => {
            member("kty", "OKP".into());
            member("crv", "Ed25519".into());
            member("x", text(octets));
        }
    }
    member("use", "sig".into());
    if let Some(algorithm) = algorithm {
        member("alg", algorithm::name(algorithm).into());
    }
    if let Some(kid) = kid {
        member("kid", kid.into());
    }
    Some(jwk.into())
}

impl IssuerKeys {
    /// What the public half of `key` is called here, where it verifies `algorithm`. Keys are the same when they are made of
    /// the same; names are not compared.
    pub(super) fn kid_of(&self, key: &SigningKey, algorithm: Algorithm) -> Option<&str> {
        let public = key.public()?;
        self.keys()
            .filter(|each| each.public() == Some(&public) && each.serves(algorithm))
            .find_map(|each| each.kid())
    }

    /// Every public key as a JWK, in its order; the one that signs, with what it signs by and is called.
    pub(super) fn published(
        &self,
        signing: &SigningKey,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Vec<Value> {
        let own = signing.public();
        self.keys()
            .filter_map(|key| {
                let is_own = own.as_ref() == key.public() && key.serves(algorithm);
                let made_for = key.only_algorithm().or_else(|| is_own.then_some(algorithm));
                let kid = key.kid().or_else(|| kid.filter(|_| is_own));
                jwk(key.public()?, made_for, kid)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{ED25519, P256, RSA, SECRET, base64url, with};
    use super::*;

    fn set(keys: &[Value]) -> IssuerKeys {
        IssuerKeys::from_jwks(json!({ "keys": keys }).to_string().as_bytes(), &[]).unwrap()
    }

    #[test]
    fn a_key_is_called_what_the_set_calls_the_same_key() {
        let key = SigningKey::from_pem(RSA.private_pem.as_bytes()).unwrap();
        let named = |kid: &str, alg: &str| with(&RSA.public_jwk, json!({"kid": kid, "alg": alg}));
        let keys = set(&[
            with(&P256.public_jwk, json!({"kid": "other"})),
            named("rs", "RS256"),
            named("ps", "PS256"),
        ]);
        assert_eq!(keys.kid_of(&key, Algorithm::Rs256), Some("rs"));
        assert_eq!(keys.kid_of(&key, Algorithm::Ps256), Some("ps"));
        assert_eq!(keys.kid_of(&key, Algorithm::Rs512), None);
        let nameless = set(std::slice::from_ref(&RSA.public_jwk));
        assert_eq!(nameless.kid_of(&key, Algorithm::Rs256), None);
        let secret = SigningKey::from_secret(SECRET).unwrap();
        assert_eq!(keys.kid_of(&secret, Algorithm::Hs256), None);
    }

    #[test]
    fn every_public_key_is_published_and_no_secret() {
        let oct = json!({"kty": "oct", "kid": "hidden", "k": base64url(SECRET)});
        let keys = set(&[
            with(&ED25519.public_jwk, json!({"kid": "old"})),
            oct,
            RSA.public_jwk.clone(),
        ]);
        let key = SigningKey::from_pem(RSA.private_pem.as_bytes()).unwrap();
        let published = keys.published(&key, Algorithm::Ps256, Some("now"));
        let names: Vec<_> = published
            .iter()
            .map(|jwk| (jwk["kid"].as_str(), jwk["alg"].as_str()))
            .collect();
        let expected = [(Some("old"), Some("EdDSA")), (Some("now"), Some("PS256"))];
        assert_eq!(names, expected);
        let text = Value::from(published).to_string();
        assert!(!text.contains("hidden") && !text.contains(&base64url(SECRET)));
        // Of a key of another kind that serves several, none is chosen for its owner.
        let other = SigningKey::from_pem(ED25519.private_pem.as_bytes()).unwrap();
        let published = keys.published(&other, Algorithm::EdDsa, None);
        assert_eq!(published[1].get("alg"), None, "{published:?}");
    }
}

//! Keys that sign tokens, parsed once. aws-lc-rs is used without jsonwebtoken around it, because that parses
//! the private key again for every token, which makes RS256 three times as dear.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPairComponents;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use aws_lc_rs::{error::KeyRejected, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::ThumbprintHash;
use serde_json::{Map, Value};

use super::jwk::{self, Jwk, magnitude, octets};
use super::keys::KeyError;
use super::material::Material;
use super::{algorithm, published};
use crate::config::Algorithm;

/// Why a token cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// An algorithm of another kind of key, or a secret that is too short for it.
    #[error("{} cannot be used with this key, it serves {}", algorithm::name(*.asked), algorithm::list(.served))]
    Algorithm {
        /// What was asked for.
        asked: Algorithm,
        /// What the key can do.
        served: Vec<Algorithm>,
    },
    /// aws-lc gives no reason.
    #[error("the signature could not be made")]
    Failed,
}

/// A secret or private key.
pub struct SigningKey {
    kind: Kind,
    kid: Option<String>,
    /// The first is what it is made for.
    algorithms: Vec<Algorithm>,
}

enum Kind {
    Secret(Vec<u8>),
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("SigningKey");
        shown.field("algorithms", &self.algorithms);
        shown.finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A key of any kind: PEM, which other text may precede, JWK, or a secret without a line break after it.
    pub fn read(content: &[u8]) -> Result<Self, KeyError> {
        const PEM: &[u8] = b"-----BEGIN ";
        if content.windows(PEM.len()).any(|window| window == PEM) {
            Self::from_pem(content)
        } else if content.trim_ascii_start().starts_with(b"{") {
            Self::from_jwk(content)
        } else {
            Self::from_secret(content)
        }
    }

    /// A shared secret, for every HS algorithm that it is long enough for (RFC 7518 section 3.2).
    pub fn from_secret(secret: &[u8]) -> Result<Self, KeyError> {
        let material = Material::secret(secret.to_vec())?;
        material.serves(Algorithm::Hs256)?;
        let serves = |algorithm: &Algorithm| material.serves(*algorithm).is_ok();
        let algorithms = algorithm::ALL.into_iter().filter(serves).collect();
        Ok(Self::new(Kind::Secret(secret.to_vec()), algorithms))
    }

    /// An unencrypted private key in PEM: PKCS#8, PKCS#1 for RSA, SEC 1 for P-256 and P-384.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::parse_many(text).map_err(|_| KeyError::PrivatePem)?;
        let mut keys = blocks
            .iter()
            .filter(|block| block.tag().ends_with("PRIVATE KEY"));
        let (Some(key), None) = (keys.next(), keys.next()) else {
            return Err(KeyError::PrivatePem);
        };
        let der = key.contents();
        if let Ok(key) = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der)) {
            return Ok(Self::rsa(key));
        }
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self::new(Kind::Ed25519(key), vec![Algorithm::EdDsa]));
        }
        [Algorithm::Es256, Algorithm::Es384]
            .into_iter()
            .find_map(|algorithm| {
                let key = EcdsaKeyPair::from_private_key_der(curve(algorithm), der).ok()?;
                Some(Self::new(Kind::Ecdsa(key), vec![algorithm]))
            })
            .ok_or(KeyError::PrivatePem)
    }

    /// A private or symmetric JWK (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).
    pub fn from_jwk(text: &[u8]) -> Result<Self, KeyError> {
        let mut members = jwk::members(text)?;
        let (Some(member), true) = (members.pop(), members.is_empty()) else {
            return Err(KeyError::Jwks("one key is needed to sign".to_owned()));
        };
        let jwk = Jwk::read(member)?;
        jwk.may("sign")?;
        let made_for = jwk.algorithm()?;
        let mut key = Self::from_members(&jwk)?;
        key.kid = jwk.kid;
        if let Some(made_for) = made_for {
            if !key.algorithms.contains(&made_for) {
                return Err(KeyError::Jwk(format!(
                    "its `alg` {} does not fit its kind or size",
                    algorithm::name(made_for)
                )));
            }
            key.algorithms = vec![made_for];
        }
        Ok(key)
    }

    /// The `kid` of its JWK.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What it can sign with; the first is what it is made for.
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }

    /// A token in the compact serialization (RFC 7515 section 3.1) with these claims; `kid` is the key's own when absent.
    pub fn sign(
        &self,
        algorithm: Algorithm,
        typ: &str,
        kid: Option<&str>,
        claims: &Map<String, Value>,
    ) -> Result<String, SignError> {
        if !self.algorithms.contains(&algorithm) {
            return Err(SignError::Algorithm {
                asked: algorithm,
                served: self.algorithms.clone(),
            });
        }
        let mut header = Map::new();
        header.insert("alg".to_owned(), algorithm::name(algorithm).into());
        header.insert("typ".to_owned(), typ.into());
        if let Some(kid) = kid.or_else(|| self.kid()) {
            header.insert("kid".to_owned(), kid.into());
        }
        let mut token = String::new();
        URL_SAFE_NO_PAD.encode_string(Value::from(header).to_string(), &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(Value::from(claims.clone()).to_string(), &mut token);
        let signature = self.signature(algorithm, token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// The public half as a JWK (RFC 7517) for one algorithm; a shared secret has none.
    pub fn public_jwk(&self, algorithm: Algorithm) -> Option<Value> {
        published::jwk(&self.public()?, Some(algorithm), self.kid())
    }

    /// The public half as a JWK that is called by what it is made of: its SHA-256 thumbprint (RFC 7638). With the name.
    /// Without an algorithm it is for all that the key serves.
    pub fn public_jwk_by_thumbprint(
        &self,
        algorithm: Option<Algorithm>,
    ) -> Option<(Value, String)> {
        let public = self.public()?;
        let nameless: jsonwebtoken::jwk::Jwk =
            serde_json::from_value(published::jwk(&public, None, None)?).ok()?;
        let kid = nameless.thumbprint(ThumbprintHash::SHA256).ok()?;
        let jwk = published::jwk(&public, algorithm, Some(&kid))?;
        Some((jwk, kid))
    }

    /// The public half; a shared secret has none.
    pub(super) fn public(&self) -> Option<Material> {
        match &self.kind {
            Kind::Secret(_) => None,
            Kind::Rsa(key) => {
                let key = key.public_key();
                Some(Material::Rsa {
                    n: key.modulus().big_endian_without_leading_zero().to_vec(),
                    e: key.exponent().big_endian_without_leading_zero().to_vec(),
                })
            }
            Kind::Ecdsa(key) => {
                let point = key.public_key().as_ref().to_vec();
                Some(if self.algorithms.contains(&Algorithm::Es384) {
                    Material::P384(point)
                } else {
                    Material::P256(point)
                })
            }
            Kind::Ed25519(key) => Some(Material::Ed25519(key.public_key().as_ref().to_vec())),
        }
    }

    fn signature(&self, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match &self.kind {
            Kind::Secret(secret) => {
                let hash = algorithm::hmac(algorithm).ok_or(SignError::Failed)?;
                let tag = hmac::sign(&hmac::Key::new(hash, secret), message);
                Ok(tag.as_ref().to_vec())
            }
            Kind::Rsa(key) => {
                let encoding = rsa_encoding(algorithm).ok_or(SignError::Failed)?;
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature)
                    .map_err(|_| SignError::Failed)?;
                Ok(signature)
            }
            Kind::Ecdsa(key) => key
                .sign(&random, message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Failed),
            Kind::Ed25519(key) => key
                .try_sign(message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SignError::Failed),
        }
    }

    fn new(kind: Kind, algorithms: Vec<Algorithm>) -> Self {
        Self {
            kind,
            kid: None,
            algorithms,
        }
    }

    fn rsa(key: RsaKeyPair) -> Self {
        let fits = |algorithm: &Algorithm| rsa_encoding(*algorithm).is_some();
        let algorithms = algorithm::ALL.into_iter().filter(fits).collect();
        Self::new(Kind::Rsa(key), algorithms)
    }

    fn from_members(jwk: &Jwk) -> Result<Self, KeyError> {
        let d = || octets("d", jwk.d.as_ref());
        let (key, kind): (Result<Self, KeyRejected>, _) = match jwk.material()? {
            Material::Secret(secret) => return Self::from_secret(&secret),
            Material::Ed25519(public) => {
                let key = Ed25519KeyPair::from_seed_and_public_key(&d()?, &public);
                let key = key.map(|key| Self::new(Kind::Ed25519(key), vec![Algorithm::EdDsa]));
                (key, "Ed25519 key")
            }
            Material::P256(public) => (ecdsa(Algorithm::Es256, &d()?, &public), "P-256 key"),
            Material::P384(public) => (ecdsa(Algorithm::Es384, &d()?, &public), "P-384 key"),
            Material::Rsa { n, e } => {
                let key = RsaKeyPair::from_components(&KeyPairComponents {
                    public_key: RsaPublicKeyComponents { n, e },
                    d: magnitude("d", jwk.d.as_ref())?,
                    p: magnitude("p", jwk.p.as_ref())?,
                    q: magnitude("q", jwk.q.as_ref())?,
                    dP: magnitude("dp", jwk.dp.as_ref())?,
                    dQ: magnitude("dq", jwk.dq.as_ref())?,
                    qInv: magnitude("qi", jwk.qi.as_ref())?,
                });
                (key.map(Self::rsa), "RSA key")
            }
        };
        key.map_err(|_| KeyError::Invalid(kind))
    }
}

fn ecdsa(algorithm: Algorithm, d: &[u8], public: &[u8]) -> Result<SigningKey, KeyRejected> {
    EcdsaKeyPair::from_private_key_and_public_key(curve(algorithm), d, public)
        .map(|key| SigningKey::new(Kind::Ecdsa(key), vec![algorithm]))
}

fn curve(algorithm: Algorithm) -> &'static signature::EcdsaSigningAlgorithm {
    if algorithm == Algorithm::Es384 {
        &signature::ECDSA_P384_SHA384_FIXED_SIGNING
    } else {
        &signature::ECDSA_P256_SHA256_FIXED_SIGNING
    }
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    match algorithm {
        Algorithm::Rs256 => Some(&signature::RSA_PKCS1_SHA256),
        Algorithm::Rs384 => Some(&signature::RSA_PKCS1_SHA384),
        Algorithm::Rs512 => Some(&signature::RSA_PKCS1_SHA512),
        Algorithm::Ps256 => Some(&signature::RSA_PSS_SHA256),
        Algorithm::Ps384 => Some(&signature::RSA_PSS_SHA384),
        Algorithm::Ps512 => Some(&signature::RSA_PSS_SHA512),
        Algorithm::Hs256
        | Algorithm::Hs384
        | Algorithm::Hs512
        | Algorithm::Es256
        | Algorithm::Es384
        | Algorithm::EdDsa => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixtures::{
        ED25519, NOW, P256, P384, RSA, SECRET, TestKey, base64url, fresh, guard, issuer, with,
    };
    use super::*;
    use crate::auth::IssuerKeys;

    fn round_trip(key: &SigningKey, keys: IssuerKeys) {
        let guard = guard(vec![(issuer("a"), keys)], Vec::new());
        let claims = fresh(json!({"sub": "u"}));
        for algorithm in key.algorithms() {
            let token = key.sign(*algorithm, "JWT", Some("k"), claims.as_object().unwrap());
            let read = guard.verify(token.unwrap().as_bytes(), NOW);
            assert_eq!(read.unwrap().subject(), Some("u"), "{algorithm:?}");
        }
    }

    #[test]
    fn what_a_key_signs_its_public_half_verifies() {
        let all: [&TestKey; 4] = [&RSA, &P256, &P384, &ED25519];
        for key in all {
            let public = IssuerKeys::from_pem(key.public_pem.as_bytes(), &[]).unwrap();
            round_trip(
                &SigningKey::from_pem(key.private_pem.as_bytes()).unwrap(),
                public,
            );
        }
        let secret = IssuerKeys::from_secret(SECRET, &[]).unwrap();
        round_trip(&SigningKey::from_secret(SECRET).unwrap(), secret);
    }

    #[test]
    fn a_key_is_called_by_its_thumbprint() {
        // RFC 8037 appendix A.1 and A.3.
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let key = SigningKey::from_jwk(jwk.to_string().as_bytes()).unwrap();
        let (jwk, kid) = key
            .public_jwk_by_thumbprint(Some(Algorithm::EdDsa))
            .unwrap();
        assert_eq!(kid, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        assert_eq!(jwk["kid"], kid);
        assert_eq!(jwk.get("d"), None);
        for key in [&RSA, &P256, &P384] {
            let key = SigningKey::from_pem(key.private_pem.as_bytes()).unwrap();
            let (_, kid) = key.public_jwk_by_thumbprint(None).unwrap();
            assert_eq!(kid.len(), 43);
        }
        let secret = SigningKey::from_secret(SECRET).unwrap();
        assert_eq!(secret.public_jwk_by_thumbprint(None), None);
    }

    #[test]
    fn the_public_half_as_a_jwk_verifies_what_was_signed() {
        let all: [&TestKey; 4] = [&RSA, &P256, &P384, &ED25519];
        for key in all {
            let key = SigningKey::from_pem(key.private_pem.as_bytes()).unwrap();
            let algorithm = key.algorithms()[0];
            let jwk = key.public_jwk(algorithm).unwrap();
            assert_eq!(jwk.get("d"), None);
            let public = IssuerKeys::from_jwks(jwk.to_string().as_bytes(), &[]).unwrap();
            assert!(!public.holds_secret());
            let guard = guard(vec![(issuer("a"), public)], Vec::new());
            let claims = fresh(json!({"sub": "u"}));
            let token = key.sign(algorithm, "JWT", None, claims.as_object().unwrap());
            assert!(guard.verify(token.unwrap().as_bytes(), NOW).is_ok());
        }
        let secret = SigningKey::from_secret(SECRET).unwrap();
        assert_eq!(secret.public_jwk(Algorithm::Hs256), None);
    }

    #[test]
    fn a_symmetric_jwk_signs_with_its_alg_and_kid() {
        let jwk = json!({"kty": "oct", "k": base64url(SECRET), "alg": "HS384", "kid": "one"});
        let key = SigningKey::from_jwk(jwk.to_string().as_bytes()).unwrap();
        assert_eq!(
            (key.algorithms(), key.kid()),
            (&[Algorithm::Hs384][..], Some("one"))
        );
        let claims = Map::new();
        let error = key
            .sign(Algorithm::Hs256, "JWT", None, &claims)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "HS256 cannot be used with this key, it serves HS384"
        );
        let token = key.sign(Algorithm::Hs384, "JWT", None, &claims).unwrap();
        assert_eq!(
            super::super::inspect(token.as_bytes()).unwrap().header["kid"],
            "one"
        );
    }

    #[test]
    fn the_keys_of_rfc_7515_and_rfc_8037_sign() {
        // RFC 7515 appendix A.3.1 and RFC 8037 appendix A.1.
        for jwk in [
            json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}),
            json!({"kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        ] {
            let text = jwk.to_string();
            let public = IssuerKeys::from_jwks(text.as_bytes(), &[]).unwrap();
            round_trip(&SigningKey::from_jwk(text.as_bytes()).unwrap(), public);
        }
    }

    #[test]
    fn a_public_key_or_one_not_meant_to_sign_does_not_sign() {
        let public = P256.public_jwk.to_string();
        assert!(SigningKey::from_jwk(public.as_bytes()).is_err());
        assert!(SigningKey::from_pem(P256.public_pem.as_bytes()).is_err());
        let jwk = json!({"kty": "oct", "k": base64url(SECRET)});
        for members in [
            json!({"use": "enc"}),
            json!({"key_ops": ["verify"]}),
            json!({"alg": "ES256"}),
        ] {
            let text = with(&jwk, members).to_string();
            assert!(SigningKey::from_jwk(text.as_bytes()).is_err(), "{text}");
        }
        assert!(SigningKey::from_secret(&SECRET[..31]).is_err());
        let error = SigningKey::from_secret(P256.public_pem.as_bytes()).unwrap_err();
        assert_eq!(error, KeyError::SecretIsKey);
    }

    #[test]
    fn debug_output_shows_no_key() {
        let key = SigningKey::from_secret(SECRET).unwrap();
        assert_eq!(
            format!("{key:?}"),
            "SigningKey { algorithms: [Hs256, Hs384, Hs512], .. }"
        );
    }
}

//! The keys of one issuer: what each is for is judged once, when it is loaded (RFC 8725 section 3.1).

use super::material::{Material, Verifier};
use super::{algorithm, jwk};
use crate::config::Algorithm;

/// Why key material cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// RFC 7518 section 3.2.
    #[error(
        "the secret has {found} bytes, {} needs at least {needed}",
        algorithm::name(*.algorithm)
    )]
    SecretTooShort {
        /// The algorithm it was meant for.
        algorithm: Algorithm,
        /// The size of its hash.
        needed: usize,
        /// The bytes there are.
        found: usize,
    },
    /// A public key used as a secret would let anyone sign.
    #[error("the secret is a PEM file; name a public key with `public_key_file`")]
    SecretIsPem,
    /// An algorithm of another kind of key.
    #[error("{} cannot be used with {kind}", algorithm::name(*.algorithm))]
    WrongKind {
        /// The algorithm that was asked for.
        algorithm: Algorithm,
        /// What the key is.
        kind: &'static str,
    },
    /// Of the algorithms that are allowed, none is for this key.
    #[error("{kind} serves none of the allowed algorithms {}", algorithm::list(.allowed))]
    NoAlgorithm {
        /// What the key is.
        kind: &'static str,
        /// What the issuer may use.
        allowed: Vec<Algorithm>,
    },
    /// A private key has no business on a server that only verifies.
    #[error("it holds a private key; only the public key is needed here")]
    Private,
    /// Neither a public key nor a certificate.
    #[error("it is not a public key or certificate in PEM (RSA, P-256, P-384 or Ed25519)")]
    Pem,
    /// Which of them shall be used?
    #[error("it holds {0} public keys; several keys need a JWK set")]
    SeveralPem(usize),
    /// Shorter is breakable, longer makes a request expensive.
    #[error("the RSA modulus has {0} bits, 2048 to 8192 are accepted")]
    RsaSize(usize),
    /// Not odd, 1, or longer than 33 bits.
    #[error("the RSA exponent is not an odd number from 3 to 33 bits")]
    RsaExponent,
    /// Not a point of the curve, or of the wrong size.
    #[error("it is not a valid {0}")]
    Invalid(&'static str),
    /// RFC 7517.
    #[error("it is not a JWK or JWK set: {0}")]
    Jwks(String),
    /// One key of a set.
    #[error("{0}")]
    Jwk(String),
    /// Every key of a set was skipped.
    #[error("no key of the set can be used: {}", .0.join("; "))]
    NoKey(Vec<String>),
}

/// The keys of one issuer, parsed and ready to verify.
#[derive(Debug)]
pub struct IssuerKeys {
    keys: Vec<Key>,
    /// No key has a name, so a name in a token tells nothing.
    is_nameless: bool,
    holds_secret: bool,
    warnings: Vec<String>,
}

impl IssuerKeys {
    /// A shared secret. `allowed` empty means every HS algorithm that it is long enough for (RFC 7518 section 3.2).
    pub fn from_secret(secret: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Err(KeyError::SecretIsPem);
        }
        Self::from_material(&Material::Secret(secret.to_vec()), allowed)
    }

    /// A public key (SPKI or PKCS#1) or a certificate in PEM; of a chain, the first certificate.
    pub fn from_pem(pem: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        Self::from_material(&Material::from_pem(pem)?, allowed)
    }

    /// A JWK or JWK set (RFC 7517). A key that cannot be used is skipped with a warning; it is an error when none is left.
    pub fn from_jwks(json: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        let mut warnings = Vec::new();
        for (index, member) in jwk::members(json)?.into_iter().enumerate() {
            match jwk::read(member, allowed) {
                Ok(key) => keys.push(key),
                Err(problem) => warnings.push(format!("key {} is skipped: {problem}", index + 1)),
            }
        }
        if keys.is_empty() {
            return Err(KeyError::NoKey(warnings));
        }
        Ok(Self {
            warnings,
            ..Self::from_keys(keys)
        })
    }

    /// What the operator should know: keys that were skipped.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether whoever can read the keys could also sign.
    pub fn holds_secret(&self) -> bool {
        self.holds_secret
    }

    /// The keys that a token with this header may be signed with.
    pub(super) fn matching<'a>(
        &'a self,
        kid: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Verifier> {
        let named = move |key: &&Key| match kid {
            Some(kid) => self.is_nameless || key.kid.as_deref() == Some(kid),
            None => true,
        };
        self.keys
            .iter()
            .filter(named)
            .filter_map(move |key| key.verifier(algorithm))
    }

    /// Whether a key has this name, or names do not count here.
    pub(super) fn knows(&self, kid: &str) -> bool {
        self.is_nameless || self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    fn from_material(material: &Material, allowed: &[Algorithm]) -> Result<Self, KeyError> {
        for algorithm in allowed {
            material.serves(*algorithm)?;
        }
        let key = Key::new(None, material, allowed)?;
        Ok(Self::from_keys(vec![key]))
    }

    fn from_keys(keys: Vec<Key>) -> Self {
        Self {
            is_nameless: keys.iter().all(|key| key.kid.is_none()),
            holds_secret: keys.iter().any(Key::is_secret),
            keys,
            warnings: Vec::new(),
        }
    }
}

/// One key, with one verifier for each algorithm it may be used with.
#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    verifiers: Vec<(Algorithm, Verifier)>,
}

impl Key {
    /// `allowed` empty means every algorithm that the key can serve.
    pub(super) fn new(
        kid: Option<String>,
        material: &Material,
        allowed: &[Algorithm],
    ) -> Result<Self, KeyError> {
        // A secret that serves no algorithm at all is too short even for the least of them.
        if let Material::Secret(_) = material {
            material.serves(Algorithm::Hs256)?;
        }
        let mut verifiers = Vec::new();
        for algorithm in algorithm::ALL {
            let is_allowed = allowed.is_empty() || allowed.contains(&algorithm);
            if is_allowed && material.serves(algorithm).is_ok() {
                verifiers.push((algorithm, material.verifier(algorithm)?));
            }
        }
        if verifiers.is_empty() {
            return Err(KeyError::NoAlgorithm {
                kind: material.kind(),
                allowed: allowed.to_vec(),
            });
        }
        Ok(Self { kid, verifiers })
    }

    fn verifier(&self, wanted: Algorithm) -> Option<&Verifier> {
        self.verifiers
            .iter()
            .find_map(|(algorithm, verifier)| (*algorithm == wanted).then_some(verifier))
    }

    fn is_secret(&self) -> bool {
        self.verifiers
            .iter()
            .any(|(_, verifier)| matches!(verifier, Verifier::Secret(_)))
    }
}

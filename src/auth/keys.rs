//! The keys of one issuer: what each is for is judged once, when it is loaded (RFC 8725 section 3.1).

use super::certificate::{Validity, is_certificate, validity};
use super::jwk::{self, Holds};
use super::material::{Material, Verifier};
use super::{UnixTime, algorithm};
use crate::config::{Algorithm, Issuer, KeySource};

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
    #[error(
        "the secret is a public or private key; a secret is random bytes, a public key is named with `public_key_file` or `jwks_file`"
    )]
    SecretIsKey,
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
    /// Encrypted, several, or of another kind.
    #[error(
        "it is not one unencrypted private key in PEM (RSA of 2048 bits or more, P-256, P-384 or Ed25519)"
    )]
    PrivatePem,
    /// Which of them shall be used?
    #[error("it holds {0} public keys; several keys need a JWK set")]
    SeveralPem(usize),
    /// Shorter is breakable, longer makes a request expensive.
    #[error("the RSA modulus has {0} bits, 2048 to 8192 are accepted")]
    RsaSize(usize),
    /// Not odd, 1, or longer than 33 bits.
    #[error("the RSA exponent is not an odd number from 3 to 33 bits")]
    RsaExponent,
    /// Anyone can make signatures that it accepts.
    #[error("it is an Ed25519 key of small order, or not in its canonical form")]
    WeakEd25519,
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
    #[error("no key of the set can be used{}{}", if .0.is_empty() { ", it is empty" } else { ": " }, .0.join("; "))]
    NoKey(Vec<String>),
}

/// The keys of one issuer, parsed and ready to verify.
#[derive(Debug)]
pub struct IssuerKeys {
    keys: Vec<Key>,
    /// No key has a name, so a name in a token tells nothing.
    is_nameless: bool,
    holds_secret: bool,
    /// Of the certificate that they come from.
    validity: Option<Validity>,
    warnings: Vec<String>,
}

impl IssuerKeys {
    /// The keys of `issuer` in what its source holds: a secret without a line break after it, a PEM or a JWK set.
    pub fn read(issuer: &Issuer, content: &[u8]) -> Result<Self, KeyError> {
        let allowed = &issuer.algorithms;
        match issuer.keys {
            KeySource::Secret { .. } => Self::from_secret(content, allowed),
            KeySource::PublicKey(_) => Self::from_pem(content, allowed),
            KeySource::Jwks(_) => Self::from_jwks(content, allowed),
            KeySource::Remote(_) => Self::from_fetched_jwks(content, allowed),
        }
    }

    /// A shared secret. `allowed` empty means every HS algorithm that it is long enough for (RFC 7518 section 3.2).
    pub fn from_secret(secret: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        Self::from_material(&Material::secret(secret.to_vec())?, allowed)
    }

    /// A public key (SPKI or PKCS#1) or a certificate in PEM; of a chain, the first certificate.
    pub fn from_pem(pem: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        let mut keys = Self::from_material(&Material::from_pem(pem)?, allowed)?;
        let blocks = pem::parse_many(pem).map_err(|_| KeyError::Pem)?;
        let mut certificates = blocks.iter().filter(|block| is_certificate(block));
        keys.validity = certificates.next().and_then(validity);
        let others = certificates.count();
        if others > 0 {
            keys.warnings.push(format!(
                "of its {} certificates the key of the first is used",
                others + 1
            ));
        }
        Ok(keys)
    }

    /// Adds a warning when the keys come from a certificate that is not valid at this time.
    pub fn warn_of_dates(&mut self, now: UnixTime) {
        let problem = self.validity.and_then(|validity| validity.problem(now));
        self.warnings.extend(problem.map(str::to_owned));
    }

    /// A JWK or JWK set (RFC 7517), of which the first 100 keys count. A key that cannot be read or used is skipped with
    /// a warning; it is an error when none is left.
    pub fn from_jwks(json: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        Self::from_set(json, allowed, |_| Ok(()))
    }

    /// As [`Self::from_jwks`], of a set that was fetched: a secret in it is skipped too, for whoever can fetch it could sign.
    pub fn from_fetched_jwks(json: &[u8], allowed: &[Algorithm]) -> Result<Self, KeyError> {
        Self::from_set(json, allowed, |key| {
            if key.is_secret() {
                Err("it is a secret, which everybody can fetch")
            } else {
                Ok(())
            }
        })
    }

    /// No keys, for none are known yet.
    pub fn none() -> Self {
        Self::from_keys(Vec::new())
    }

    fn from_set(
        json: &[u8],
        allowed: &[Algorithm],
        judge: impl Fn(&Key) -> Result<(), &'static str>,
    ) -> Result<Self, KeyError> {
        let mut keys = Vec::new();
        let mut warnings = Vec::new();
        let members = jwk::members(json)?;
        let mut holds_secret = false;
        // Those that are not used too: whoever can read the file can read them.
        for (index, member) in members.iter().enumerate() {
            let holds = jwk::holds(member);
            holds_secret |= holds != Holds::Public;
            if holds == Holds::Private && index < jwk::MAX_KEYS {
                let number = index + 1;
                warnings.push(format!(
                    "key {number} holds a private key; only the public half is needed here"
                ));
            }
        }
        for (index, member) in members.iter().take(jwk::MAX_KEYS).enumerate() {
            match jwk::read(member, allowed) {
                Ok(key) => match judge(&key) {
                    Ok(()) => keys.push(key),
                    Err(problem) => {
                        warnings.push(format!("key {} is skipped: {problem}", index + 1));
                    }
                },
                Err(problem) => warnings.push(format!("key {} is skipped: {problem}", index + 1)),
            }
        }
        if members.len() > jwk::MAX_KEYS {
            warnings.push(format!(
                "of the {} keys of the set only the first {} are used",
                members.len(),
                jwk::MAX_KEYS
            ));
        }
        if keys.is_empty() {
            return Err(KeyError::NoKey(warnings));
        }
        Ok(Self {
            holds_secret,
            warnings,
            ..Self::from_keys(keys)
        })
    }

    /// What the operator should know: keys that were skipped, certificates.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// Whether whoever can read the keys, those of a set that are not used too, could also sign.
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

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
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
            is_nameless: !keys.is_empty() && keys.iter().all(|key| key.kid.is_none()),
            holds_secret: keys.iter().any(Key::is_secret),
            keys,
            validity: None,
            warnings: Vec::new(),
        }
    }
}

/// One key, with one verifier for each algorithm it may be used with.
#[derive(Debug)]
pub(super) struct Key {
    kid: Option<String>,
    /// What it is made of, unless that is a secret.
    public: Option<Material>,
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
        let public = match material {
            Material::Secret(_) => None,
            Material::Rsa { .. } | Material::P256(_) | Material::P384(_) | Material::Ed25519(_) => {
                Some(material.clone())
            }
        };
        Ok(Self {
            kid,
            public,
            verifiers,
        })
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Absent for a secret.
    pub(super) fn public(&self) -> Option<&Material> {
        self.public.as_ref()
    }

    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        self.verifier(algorithm).is_some()
    }

    /// The one that it may be used with, when it is one.
    pub(super) fn only_algorithm(&self) -> Option<Algorithm> {
        match self.verifiers.as_slice() {
            [(algorithm, _)] => Some(*algorithm),
            _ => None,
        }
    }

    pub(super) fn verifier(&self, wanted: Algorithm) -> Option<&Verifier> {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures::{ED25519, P256, P384, RSA, SECRET, TestKey, base64url, with};
    use super::*;

    fn served(keys: &IssuerKeys) -> Vec<Algorithm> {
        let verifiers = keys.keys.iter().flat_map(|key| &key.verifiers);
        verifiers.map(|(algorithm, _)| *algorithm).collect()
    }

    fn set(keys: &[Value]) -> Result<IssuerKeys, KeyError> {
        IssuerKeys::from_jwks(json!({"keys": keys}).to_string().as_bytes(), &[])
    }

    /// Why the only key of a set is not used.
    fn skipped(key: &Value) -> String {
        match set(std::slice::from_ref(key)) {
            Err(KeyError::NoKey(reasons)) => reasons.join(" "),
            other => panic!("{key} gives {other:?}"),
        }
    }

    #[test]
    fn a_secret_serves_the_algorithms_whose_hash_is_not_longer() {
        use Algorithm::{Hs256, Hs384, Hs512};
        for (size, algorithms) in [
            (32, vec![Hs256]),
            (47, vec![Hs256]),
            (48, vec![Hs256, Hs384]),
            (64, vec![Hs256, Hs384, Hs512]),
        ] {
            let keys = IssuerKeys::from_secret(&SECRET[..size], &[]).unwrap();
            assert_eq!(served(&keys), algorithms, "{size}");
        }
    }

    #[test]
    fn a_secret_that_is_too_short_names_both_sizes() {
        let error = IssuerKeys::from_secret(&SECRET[..31], &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the secret has 31 bytes, HS256 needs at least 32"
        );
        let asked = [Algorithm::Hs256, Algorithm::Hs512];
        let error = IssuerKeys::from_secret(&SECRET[..48], &asked).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the secret has 48 bytes, HS512 needs at least 64"
        );
    }

    #[test]
    fn a_public_key_is_no_secret() {
        for key in [&RSA, &P256, &ED25519] {
            let result = IssuerKeys::from_secret(key.public_pem.as_bytes(), &[]);
            assert_eq!(result.unwrap_err(), KeyError::SecretIsKey);
        }
    }

    #[test]
    fn an_algorithm_of_another_kind_of_key_is_refused() {
        let error = IssuerKeys::from_secret(SECRET, &[Algorithm::Rs256]).unwrap_err();
        assert_eq!(error.to_string(), "RS256 cannot be used with a secret");
        let error = IssuerKeys::from_pem(RSA.public_pem.as_bytes(), &[Algorithm::Hs256]);
        assert_eq!(
            error.unwrap_err().to_string(),
            "HS256 cannot be used with an RSA key"
        );
    }

    #[test]
    fn a_set_that_was_fetched_has_no_secrets() {
        let secret = json!({"kty": "oct", "k": base64url(SECRET)});
        let set = |keys: &[&Value]| json!({ "keys": keys }).to_string();
        let both = set(&[&secret, &P256.public_jwk]);
        let keys = IssuerKeys::from_fetched_jwks(both.as_bytes(), &[]).unwrap();
        assert_eq!(served(&keys), [Algorithm::Es256]);
        assert_eq!(
            keys.warnings(),
            ["key 1 is skipped: it is a secret, which everybody can fetch"]
        );
        let result = IssuerKeys::from_fetched_jwks(set(&[&secret]).as_bytes(), &[]);
        assert!(matches!(result, Err(KeyError::NoKey(_))), "{result:?}");
    }

    #[test]
    fn where_no_keys_are_known_no_name_is() {
        assert!(!IssuerKeys::none().knows("a"));
    }

    #[test]
    fn a_pem_serves_what_its_kind_is_for() {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let all: [(&TestKey, &[Algorithm]); 4] = [
            (&RSA, &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512]),
            (&P256, &[Es256]),
            (&P384, &[Es384]),
            (&ED25519, &[EdDsa]),
        ];
        for (key, algorithms) in all {
            let keys = IssuerKeys::from_pem(key.public_pem.as_bytes(), &[]).unwrap();
            assert_eq!(served(&keys), algorithms);
            let text = key.public_jwk.to_string();
            let keys = IssuerKeys::from_jwks(text.as_bytes(), &[]).unwrap();
            assert_eq!(served(&keys), algorithms);
            assert!(!keys.holds_secret());
        }
    }

    #[test]
    fn a_private_key_is_refused_where_a_public_one_is_needed() {
        for key in [&RSA, &P256, &ED25519] {
            let result = IssuerKeys::from_pem(key.private_pem.as_bytes(), &[]);
            assert_eq!(result.unwrap_err(), KeyError::Private);
        }
    }

    #[test]
    fn a_certificate_stands_for_its_key() {
        let pem = include_bytes!("fixtures/p256.crt");
        let keys = IssuerKeys::from_pem(pem, &[]).unwrap();
        assert_eq!(served(&keys), [Algorithm::Es256]);
        let pem = include_bytes!("fixtures/p384-signed-by-ed25519.crt");
        let keys = IssuerKeys::from_pem(pem, &[]).unwrap();
        assert_eq!(served(&keys), [Algorithm::Es384]);
    }

    #[test]
    fn a_chain_and_a_certificate_out_of_date_are_warned_of() {
        let pem = include_str!("fixtures/p256.crt");
        let chain = [pem, include_str!("fixtures/p384-signed-by-ed25519.crt")].concat();
        let keys = IssuerKeys::from_pem(chain.as_bytes(), &[]).unwrap();
        assert_eq!(served(&keys), [Algorithm::Es256]);
        assert_eq!(
            keys.warnings(),
            ["of its 2 certificates the key of the first is used"]
        );
        let mut keys = IssuerKeys::from_pem(pem.as_bytes(), &[]).unwrap();
        keys.warn_of_dates(UnixTime(0));
        assert_eq!(
            keys.warnings(),
            ["the certificate is not valid yet; its key is used all the same"]
        );
    }

    #[test]
    fn what_is_no_pem_is_refused() {
        for text in [
            "",
            "x",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        ] {
            let result = IssuerKeys::from_pem(text.as_bytes(), &[]);
            assert_eq!(result.unwrap_err(), KeyError::Pem, "{text}");
        }
        let certificate = include_str!("fixtures/p256.crt");
        for other in [P384.public_pem.as_str(), certificate] {
            for two in [[&P256.public_pem, other], [other, &P256.public_pem]] {
                let result = IssuerKeys::from_pem(two.concat().as_bytes(), &[]);
                assert_eq!(result.unwrap_err(), KeyError::SeveralPem(2));
            }
        }
    }

    #[test]
    fn a_jwk_serves_only_its_alg() {
        let key = with(&RSA.public_jwk, json!({"alg": "PS384"}));
        assert_eq!(served(&set(&[key]).unwrap()), [Algorithm::Ps384]);
    }

    #[test]
    fn a_jwk_whose_words_do_not_fit_is_skipped() {
        for (members, reason) in [
            (
                json!({"alg": "ES384"}),
                "ES384 cannot be used with a P-256 key",
            ),
            (
                json!({"alg": "HS256"}),
                "HS256 cannot be used with a P-256 key",
            ),
            (json!({"alg": "none"}), "`none` is not known"),
            (json!({"use": "enc"}), "its `use` is `enc`"),
            (json!({"key_ops": ["sign"]}), "does not hold `verify`"),
            (json!({"key_ops": []}), "does not hold `verify`"),
            (json!({"crv": "P-384"}), "its `x` has 32 bytes, not 48"),
            (json!({"crv": "secp256k1"}), "not supported"),
            (json!({"kty": "AKP"}), "not supported"),
            (json!({"kid": 7}), "wrong type"),
            (json!({"x": base64url([0; 32])}), "not a valid P-256 key"),
            (json!({"x": "====" }), "not base64url"),
        ] {
            let problem = skipped(&with(&P256.public_jwk, members));
            assert!(problem.contains(reason), "{problem}");
        }
    }

    #[test]
    fn one_bad_key_of_a_set_is_skipped_with_a_warning() {
        let bad = with(&P256.public_jwk, json!({"kid": 1}));
        let keys = set(&[bad, P384.public_jwk.clone()]).unwrap();
        assert_eq!(served(&keys), [Algorithm::Es384]);
        assert_eq!(keys.warnings().len(), 1);
        assert!(keys.warnings()[0].starts_with("key 1 is skipped"));
    }

    #[test]
    fn a_key_that_cannot_be_read_does_not_cost_the_others() {
        let good = &P256.public_jwk;
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for bad in [
            r#"{"kty":"EC","kty":"EC"}"#,
            r#"{"kty":"EC","x":"\ud800"}"#,
            r#"{"kty":"EC","more":1e400}"#,
            r#"{"kty":"EC","more":{"a":1,"a":2}}"#,
            "7",
            "null",
            "[]",
            &deep,
        ] {
            let text = format!(r#"{{"keys":[{bad},{good}],"more":{bad}}}"#);
            let keys = IssuerKeys::from_jwks(text.as_bytes(), &[]).unwrap();
            assert_eq!(served(&keys), [Algorithm::Es256], "{bad}");
            let warnings = keys.warnings();
            assert!(
                warnings.len() == 1 && warnings[0].starts_with("key 1 is skipped: "),
                "{warnings:?}"
            );
        }
        // One that stands alone is as bad as a set of nothing else.
        let error = IssuerKeys::from_jwks(br#"{"kty":"EC","kty":"EC"}"#, &[]).unwrap_err();
        assert!(matches!(error, KeyError::NoKey(_)), "{error}");
    }

    #[test]
    fn the_first_hundred_keys_of_a_set_count() {
        let many = vec![P256.public_jwk.clone(); 101];
        let keys = set(&many).unwrap();
        assert_eq!(served(&keys).len(), 100);
        assert_eq!(
            keys.warnings(),
            ["of the 101 keys of the set only the first 100 are used"]
        );
        assert!(set(&many[..100]).unwrap().warnings().is_empty());
    }

    #[test]
    fn a_set_without_a_usable_key_is_an_error() {
        assert_eq!(set(&[]).unwrap_err(), KeyError::NoKey(Vec::new()));
        let only = [Algorithm::Es256];
        let text = RSA.public_jwk.to_string();
        let error = IssuerKeys::from_jwks(text.as_bytes(), &only).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("an RSA key serves none of the allowed")
        );
        let error = IssuerKeys::from_jwks(b"{}", &[]).unwrap_err();
        assert!(matches!(error, KeyError::NoKey(_)), "{error}");
        for text in ["", "[]", r#"{"keys":{}}"#, r#"{"keys":[],"keys":[]}"#] {
            let error = IssuerKeys::from_jwks(text.as_bytes(), &[]).unwrap_err();
            assert!(matches!(error, KeyError::Jwks(_)), "{text}: {error}");
        }
    }

    #[test]
    fn rsa_sizes_and_exponents_are_bounded() {
        let modulus = |size: usize| base64url(vec![0xff; size]);
        for (members, reason) in [
            (json!({"n": modulus(128)}), "1024 bits"),
            (json!({"n": modulus(255)}), "2040 bits"),
            (json!({"n": modulus(1025)}), "8200 bits"),
            (json!({"e": "AQ"}), "exponent"),
            (json!({"e": "AA"}), "`e` is zero"),
            (json!({"e": "BA"}), "exponent"),
            (json!({"e": base64url([0xff; 5])}), "exponent"),
        ] {
            let problem = skipped(&with(&RSA.public_jwk, members));
            assert!(problem.contains(reason), "{problem}");
        }
    }

    #[test]
    fn a_leading_zero_of_the_modulus_is_forgiven() {
        use base64::Engine as _;
        let n = RSA.public_jwk["n"].as_str().unwrap();
        let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let mut padded = vec![0];
        padded.extend(engine.decode(n).unwrap());
        let key = with(
            &RSA.public_jwk,
            json!({"n": base64url(padded), "alg": "RS256"}),
        );
        assert_eq!(served(&set(&[key]).unwrap()), [Algorithm::Rs256]);
    }

    #[test]
    fn an_ed25519_key_has_exactly_32_bytes() {
        for size in [31, 33] {
            let key = json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(vec![1; size])});
            assert!(skipped(&key).contains("not a valid Ed25519 key"));
        }
    }

    #[test]
    fn an_ed25519_key_that_anyone_can_sign_for_is_refused() {
        let key = |x: &[u8]| json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(x)});
        let little_endian = |low: u8, rest: u8, high: u8| {
            let mut bytes = [rest; 32];
            bytes[0] = low;
            bytes[31] = high;
            bytes
        };
        let order_8 = |text: &str| -> [u8; 32] {
            let byte = |place| u8::from_str_radix(&text[place..place + 2], 16).unwrap();
            std::array::from_fn(|index| byte(2 * index))
        };
        let mut weak = vec![
            order_8("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
            order_8("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
            little_endian(0, 0, 0),
            little_endian(1, 0, 0),
        ];
        // From p - 1, which has order 2, to what is written with more than p.
        weak.extend((0xec..=0xff).map(|low| little_endian(low, 0xff, 0x7f)));
        for mut x in weak {
            assert!(skipped(&key(&x)).contains("small order"), "{x:?}");
            x[31] |= 0x80;
            assert!(skipped(&key(&x)).contains("small order"), "{x:?}");
        }
        assert!(set(std::slice::from_ref(&ED25519.public_jwk)).is_ok());
    }

    #[test]
    fn a_symmetric_jwk_is_a_secret_and_bound_by_its_size() {
        let key = json!({"kty": "oct", "k": base64url(SECRET), "alg": "HS512"});
        assert!(set(&[key]).unwrap().holds_secret());
        let key = json!({"kty": "oct", "k": base64url(&SECRET[..16])});
        assert!(skipped(&key).contains("HS256 needs at least 32"));
    }

    #[test]
    fn a_set_with_a_private_or_secret_member_is_a_secret() {
        for (bad, is_warned) in [
            (with(&P256.public_jwk, json!({"d": "AAAA"})), true),
            (json!({"kty": "RSA", "p": "AAAA", "use": "enc"}), true),
            (json!({"kty": "unheard", "priv": "AAAA"}), true),
            (json!({"kty": "oct", "k": "AAAA"}), false),
            (json!({"kty": "oct", "k": [], "use": "enc"}), false),
        ] {
            let keys = set(&[P384.public_jwk.clone(), bad.clone()]).unwrap();
            assert!(keys.holds_secret(), "{bad}");
            let told = |warning: &String| warning.contains("key 2 holds a private key");
            assert_eq!(keys.warnings().iter().any(told), is_warned, "{bad}");
        }
        let doubled = format!(r#"{{"keys":[{},{{"d":1,"d":2}}]}}"#, P384.public_jwk);
        let keys = IssuerKeys::from_jwks(doubled.as_bytes(), &[]).unwrap();
        assert!(keys.holds_secret());
    }

    #[test]
    fn a_symmetric_jwk_that_holds_a_public_key_is_skipped() {
        for key in [RSA.public_pem.as_str(), &P256.public_jwk.to_string()] {
            let key = json!({"kty": "oct", "k": base64url(key)});
            assert!(skipped(&key).contains("is a public or private key"));
        }
    }

    #[test]
    fn no_message_or_debug_output_shows_a_secret() {
        let secret = base64url(SECRET);
        let keys = set(&[json!({"kty": "oct", "k": secret})]).unwrap();
        assert!(!format!("{keys:?}").contains(&secret));
        let problem = skipped(&json!({"kty": "oct", "k": [secret]}));
        assert!(!problem.contains(&secret));
    }
}

//! Keys and tokens for the unit tests. Tokens are signed by jsonwebtoken, so that two implementations must agree.

use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use pem::Pem;
use serde_json::{Value, json};

use super::{Guard, IssuerKeys, UnixTime};
use crate::config::{Access, Auth, Binding, Issuer, KeySource, Rule, TokenSource};

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);
pub(super) const SECRET: &[u8] =
    b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A key pair in every form.
pub(super) struct TestKey {
    pub(super) private_pem: String,
    pub(super) public_pem: String,
    pub(super) public_jwk: Value,
    pub(super) signs: EncodingKey,
}

pub(super) static RSA: LazyLock<TestKey> = LazyLock::new(|| {
    let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public_key());
    let private_pem = armour("PRIVATE KEY", key.as_der().unwrap().as_ref());
    TestKey {
        public_pem: armour("PUBLIC KEY", key.public_key().as_der().unwrap().as_ref()),
        public_jwk: json!({"kty": "RSA", "n": base64url(parts.n), "e": base64url(parts.e)}),
        signs: EncodingKey::from_rsa_pem(private_pem.as_bytes()).unwrap(),
        private_pem,
    }
});

pub(super) static P256: LazyLock<TestKey> =
    LazyLock::new(|| ec("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING));

pub(super) static P384: LazyLock<TestKey> =
    LazyLock::new(|| ec("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING));

pub(super) static ED25519: LazyLock<TestKey> = LazyLock::new(|| {
    let key = Ed25519KeyPair::generate().unwrap();
    let private_pem = armour("PRIVATE KEY", key.to_pkcs8().unwrap().as_ref());
    let public = key.public_key();
    TestKey {
        public_pem: armour("PUBLIC KEY", public.as_der().unwrap().as_ref()),
        public_jwk: json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(public)}),
        signs: EncodingKey::from_ed_pem(private_pem.as_bytes()).unwrap(),
        private_pem,
    }
});

fn ec(crv: &str, algorithm: &'static EcdsaSigningAlgorithm) -> TestKey {
    let key = EcdsaKeyPair::generate(algorithm).unwrap();
    let private_pem = armour("PRIVATE KEY", key.to_pkcs8v1().unwrap().as_ref());
    let (x, y) = {
        let point = &key.public_key().as_ref()[1..];
        point.split_at(point.len() / 2)
    };
    TestKey {
        public_pem: armour("PUBLIC KEY", key.public_key().as_der().unwrap().as_ref()),
        public_jwk: json!({"kty": "EC", "crv": crv, "x": base64url(x), "y": base64url(y)}),
        signs: EncodingKey::from_ec_pem(private_pem.as_bytes()).unwrap(),
        private_pem,
    }
}

fn armour(tag: &str, der: &[u8]) -> String {
    pem::encode(&Pem::new(tag, der))
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The JWK with more members.
pub(super) fn with(jwk: &Value, members: Value) -> Value {
    let mut jwk = jwk.clone();
    let Value::Object(members) = members else {
        panic!("members are an object")
    };
    jwk.as_object_mut().unwrap().extend(members);
    jwk
}

/// An issuer that asks for nothing but a signature and `exp`.
pub(super) fn issuer(name: &str) -> Issuer {
    Issuer {
        name: name.to_owned(),
        keys: KeySource::PublicKey("unused".into()),
        issuer: None,
        audience: Vec::new(),
        algorithms: Vec::new(),
        leeway: Duration::ZERO,
        require: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        typ: Vec::new(),
        binding: Binding::None,
        signs_refresh_tokens: false,
        signs_sliding_tokens: false,
    }
}

pub(super) fn secret_keys() -> IssuerKeys {
    IssuerKeys::from_secret(SECRET, &[]).unwrap()
}

pub(super) fn guard(issuers: Vec<(Issuer, IssuerKeys)>, rules: Vec<Rule>) -> Guard {
    let (issuers, keys) = issuers.into_iter().unzip();
    let config = Auth {
        issuers,
        rules,
        ..auth()
    };
    Guard::new(&config, keys).unwrap()
}

/// Without issuers and rules.
pub(super) fn auth() -> Auth {
    Auth {
        realm: "test".to_owned(),
        token_from: vec![TokenSource::Authorization],
        dpop_window: Duration::from_mins(1),
        ..Auth::default()
    }
}

pub(super) fn rule(path: &str, methods: &[&str], access: Access) -> Rule {
    Rule {
        path: path.to_owned(),
        methods: methods.iter().map(|&method| method.to_owned()).collect(),
        hosts: Vec::new(),
        access,
        scopes: Vec::new(),
        any_scopes: Vec::new(),
        roles: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        max_age: None,
        audit: false,
        request_timeout: None,
        max_body: u64::MAX,
        query_token: None,
        client_cert: None,
        rate: None,
    }
}

/// Any header and payload text, signed.
pub(super) fn sign_text(
    key: &EncodingKey,
    algorithm: jsonwebtoken::Algorithm,
    header: &str,
    payload: &str,
) -> String {
    let message = format!("{}.{}", base64url(header), base64url(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

pub(super) fn sign(key: &EncodingKey, header: &Value, payload: &Value) -> String {
    let algorithm = header["alg"].as_str().unwrap().parse().unwrap();
    sign_text(key, algorithm, &header.to_string(), &payload.to_string())
}

/// Signed with [`SECRET`].
pub(super) fn hs256(payload: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET).unwrap();
    sign(&key, &json!({"alg": "HS256", "typ": "JWT"}), payload)
}

/// Claims that are valid for a minute from [`NOW`].
pub(super) fn fresh(more: Value) -> Value {
    with(&json!({"exp": NOW.0 + 60}), more)
}

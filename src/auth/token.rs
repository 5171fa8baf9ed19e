//! One token against the issuers: its parts, its key, its signature, its claims, in this order.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::claims::{self, ClaimError, Claims};
use super::header::Header;
use super::keys::IssuerKeys;
use super::{UnixTime, algorithm, json, shown};
use crate::config::{Algorithm, Issuer};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// An issuer with its keys.
#[derive(Debug)]
pub(super) struct TrustedIssuer {
    policy: Issuer,
    keys: IssuerKeys,
}

impl TrustedIssuer {
    pub(super) fn new(policy: Issuer, keys: IssuerKeys) -> Self {
        Self { policy, keys }
    }
}

/// Why a token is not believed; fit for a log, never holds the token or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// RFC 7519 sets no bound, a server must.
    #[error("the token has {0} bytes, more than {MAX_TOKEN}")]
    TooLong(usize),
    /// RFC 7515 section 7.1.
    #[error("the token does not have three parts")]
    Parts,
    /// RFC 7515 section 2: the URL alphabet, no padding, no stray bits.
    #[error("the {0} is not base64url without padding")]
    Base64(&'static str),
    /// It cannot be read, or says something that must not be ignored.
    #[error("header: {0}")]
    Header(String),
    /// It cannot be read.
    #[error("payload: {0}")]
    Payload(String),
    /// `iss` is none of those who may sign.
    #[error("no issuer is configured for iss {}", .0.as_deref().map_or(Cow::Borrowed("(absent)"), |iss| shown(iss).into()))]
    UnknownIssuer(Option<String>),
    /// The issuer has no key of this name.
    #[error("issuer {issuer}: no key has the kid {}", shown(.kid))]
    UnknownKey {
        /// The name of the issuer.
        issuer: String,
        /// What the header says.
        kid: String,
    },
    /// The key decides about the algorithm, not the token (RFC 8725 section 3.1).
    #[error("issuer {issuer}: {} is not allowed for its keys", algorithm::name(*.algorithm))]
    Algorithm {
        /// The name of the issuer.
        issuer: String,
        /// What the header says.
        algorithm: Algorithm,
    },
    /// RFC 8725 section 3.11.
    #[error("issuer {issuer}: typ {} is not accepted", .typ.as_deref().map_or(Cow::Borrowed("(absent)"), |typ| shown(typ).into()))]
    Type {
        /// The name of the issuer.
        issuer: String,
        /// What the header says.
        typ: Option<String>,
    },
    /// Made by someone else, or changed.
    #[error("issuer {issuer}: the signature is not valid")]
    Signature {
        /// The name of the issuer.
        issuer: String,
    },
    /// Signed by the issuer, but not acceptable.
    #[error("issuer {issuer}: {error}")]
    Claims {
        /// The name of the issuer.
        issuer: String,
        /// What is wrong.
        error: ClaimError,
    },
}

impl TokenError {
    /// How far the token came; of several issuers the one where it came furthest gives the reason.
    const fn progress(&self) -> u8 {
        match self {
            Self::TooLong(_) | Self::Parts | Self::Base64(_) => 0,
            Self::Header(_) | Self::Payload(_) | Self::UnknownIssuer(_) => 0,
            Self::UnknownKey { .. } => 1,
            Self::Algorithm { .. } => 2,
            Self::Signature { .. } => 3,
            Self::Type { .. } => 4,
            Self::Claims { .. } => 5,
        }
    }
}

/// The claims, when one of the issuers signed the token and accepts it.
pub(super) fn verify(
    token: &[u8],
    issuers: &[TrustedIssuer],
    now: UnixTime,
) -> Result<Claims, TokenError> {
    let parts = Parts::split(token)?;
    let header_json = decode(parts.header, "header")?;
    let header = Header::read(&header_json).map_err(TokenError::Header)?;
    let signature = decode(parts.signature, "signature")?;
    // Read before the signature is checked, because `iss` chooses the keys. Nothing of it is believed yet.
    let payload = json::object(&decode(parts.payload, "payload")?).map_err(TokenError::Payload)?;

    // Who is named by `iss` comes first, so that in a draw its reason is the one that is told.
    let iss = payload.get("iss").and_then(Value::as_str);
    let named = issuers
        .iter()
        .filter(|issuer| issuer.policy.issuer.is_some());
    let named = named.filter(|issuer| issuer.policy.issuer.as_deref() == iss);
    let unnamed = issuers
        .iter()
        .filter(|issuer| issuer.policy.issuer.is_none());

    let mut reason = None;
    for issuer in named.chain(unnamed) {
        let verdict = signed_by(issuer, &header, parts.signed, &signature)
            .and_then(|()| accepted_by(issuer, &header, &payload, now));
        match verdict {
            Ok(()) => return Ok(Claims::new(payload)),
            Err(error) => {
                let furthest = reason.as_ref().map(TokenError::progress);
                if furthest < Some(error.progress()) {
                    reason = Some(error);
                }
            }
        }
    }
    Err(reason.unwrap_or_else(|| TokenError::UnknownIssuer(iss.map(str::to_owned))))
}

/// What a token says, nothing checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Unverified {
    /// The JOSE header.
    pub header: Map<String, Value>,
    /// The claims.
    pub payload: Map<String, Value>,
}

/// Header and payload as they stand: only for a person to look at.
pub fn inspect(token: &[u8]) -> Result<Unverified, TokenError> {
    let parts = Parts::split(token)?;
    let header = json::object(&decode(parts.header, "header")?).map_err(TokenError::Header)?;
    let payload = json::object(&decode(parts.payload, "payload")?).map_err(TokenError::Payload)?;
    Ok(Unverified { header, payload })
}

/// The compact serialization (RFC 7515 section 3.1).
struct Parts<'a> {
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
    /// Header, dot and payload.
    signed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn split(token: &'a [u8]) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong(token.len()));
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Parts);
        };
        let signed = token
            .get(..header.len() + 1 + payload.len())
            .ok_or(TokenError::Parts)?;
        Ok(Self {
            header,
            payload,
            signature,
            signed,
        })
    }
}

fn decode(part: &[u8], name: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Base64(name))
}

fn signed_by(
    issuer: &TrustedIssuer,
    header: &Header<'_>,
    signed: &[u8],
    signature: &[u8],
) -> Result<(), TokenError> {
    let name = || issuer.policy.name.clone();
    if let Some(kid) = header.kid.as_deref().filter(|kid| !issuer.keys.knows(kid)) {
        return Err(TokenError::UnknownKey {
            issuer: name(),
            kid: kid.to_owned(),
        });
    }
    let mut keys = issuer
        .keys
        .matching(header.kid.as_deref(), header.algorithm)
        .peekable();
    if keys.peek().is_none() {
        return Err(TokenError::Algorithm {
            issuer: name(),
            algorithm: header.algorithm,
        });
    }
    if keys.any(|key| key.accepts(signed, signature)) {
        Ok(())
    } else {
        Err(TokenError::Signature { issuer: name() })
    }
}

fn accepted_by(
    issuer: &TrustedIssuer,
    header: &Header<'_>,
    payload: &Map<String, Value>,
    now: UnixTime,
) -> Result<(), TokenError> {
    let typ = header.typ.as_deref();
    let accepted = &issuer.policy.typ;
    let is_accepted = accepted.is_empty()
        || typ.is_some_and(|typ| accepted.iter().any(|each| is_same_type(each, typ)));
    if !is_accepted {
        return Err(TokenError::Type {
            issuer: issuer.policy.name.clone(),
            typ: typ.map(str::to_owned),
        });
    }
    claims::check(payload, &issuer.policy, now).map_err(|error| TokenError::Claims {
        issuer: issuer.policy.name.clone(),
        error,
    })
}

/// RFC 7515 section 4.1.9: a media type, whose `application/` may be left out.
fn is_same_type(one: &str, other: &str) -> bool {
    fn bare(typ: &str) -> &str {
        const PREFIX: &str = "application/";
        match typ.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            Some(_) | None => typ,
        }
    }
    bare(one).eq_ignore_ascii_case(bare(other))
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::EncodingKey;
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::fixtures::{
        ED25519, NOW, P256, P384, RSA, SECRET, TestKey, base64url, fresh, hs256, issuer,
        secret_keys, sign, sign_text, with,
    };
    use super::*;

    fn trust(keys: IssuerKeys) -> Vec<TrustedIssuer> {
        vec![TrustedIssuer::new(issuer("a"), keys)]
    }

    fn jwks(keys: &[Value]) -> Vec<TrustedIssuer> {
        let set = json!({"keys": keys}).to_string();
        trust(IssuerKeys::from_jwks(set.as_bytes(), &[]).unwrap())
    }

    fn pem(key: &TestKey) -> Vec<TrustedIssuer> {
        trust(IssuerKeys::from_pem(key.public_pem.as_bytes(), &[]).unwrap())
    }

    fn refused(token: &str, issuers: &[TrustedIssuer]) -> TokenError {
        verify(token.as_bytes(), issuers, NOW).unwrap_err()
    }

    /// Signed with [`SECRET`], whatever the header says.
    fn forged(header: &str) -> String {
        let key = EncodingKey::from_secret(SECRET);
        let payload = fresh(json!({})).to_string();
        sign_text(&key, jsonwebtoken::Algorithm::HS256, header, &payload)
    }

    #[test]
    fn a_token_of_every_algorithm_is_verified() {
        let secret = EncodingKey::from_secret(SECRET);
        for alg in ["HS256", "HS384", "HS512"] {
            let token = sign(&secret, &json!({"alg": alg}), &fresh(json!({"sub": "u"})));
            let claims = verify(token.as_bytes(), &trust(secret_keys()), NOW).unwrap();
            assert_eq!(claims.subject(), Some("u"), "{alg}");
        }
        let all: [(&TestKey, &[&str]); 4] = [
            (
                &RSA,
                &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"],
            ),
            (&P256, &["ES256"]),
            (&P384, &["ES384"]),
            (&ED25519, &["EdDSA"]),
        ];
        for (key, algorithms) in all {
            for alg in algorithms {
                let token = sign(&key.signs, &json!({"alg": alg}), &fresh(json!({})));
                for issuers in [pem(key), jwks(std::slice::from_ref(&key.public_jwk))] {
                    assert!(verify(token.as_bytes(), &issuers, NOW).is_ok(), "{alg}");
                }
            }
        }
    }

    #[test]
    fn alg_none_is_refused() {
        let payload = base64url(fresh(json!({})).to_string());
        for alg in ["none", "None", "NONE"] {
            let header = base64url(json!({"alg": alg}).to_string());
            for token in [
                format!("{header}.{payload}."),
                format!("{header}.{payload}.AAAA"),
            ] {
                let error = refused(&token, &trust(secret_keys()));
                assert!(matches!(error, TokenError::Header(_)), "{error}");
            }
        }
    }

    #[test]
    fn a_public_key_used_as_a_secret_verifies_nothing() {
        let secret = EncodingKey::from_secret(RSA.public_pem.as_bytes());
        let token = sign(&secret, &json!({"alg": "HS256"}), &fresh(json!({})));
        let error = refused(&token, &pem(&RSA));
        assert!(matches!(
            error,
            TokenError::Algorithm {
                algorithm: Algorithm::Hs256,
                ..
            }
        ));
    }

    #[test]
    fn the_key_decides_about_the_algorithm() {
        let only = [Algorithm::Rs256];
        let keys = IssuerKeys::from_pem(RSA.public_pem.as_bytes(), &only).unwrap();
        let issuers = trust(keys);
        let rs256 = sign(&RSA.signs, &json!({"alg": "RS256"}), &fresh(json!({})));
        assert!(verify(rs256.as_bytes(), &issuers, NOW).is_ok());
        for alg in ["RS512", "PS256"] {
            let token = sign(&RSA.signs, &json!({"alg": alg}), &fresh(json!({})));
            let error = refused(&token, &issuers);
            assert!(matches!(error, TokenError::Algorithm { .. }), "{error}");
        }
    }

    #[test]
    fn a_changed_token_is_refused() {
        let token = hs256(&fresh(json!({"sub": "u"})));
        let parts: Vec<_> = token.split('.').collect();
        let other = base64url(fresh(json!({"sub": "root"})).to_string());
        let error = refused(
            &format!("{}.{other}.{}", parts[0], parts[2]),
            &trust(secret_keys()),
        );
        assert!(matches!(error, TokenError::Signature { .. }));
        for signature in ["", "AAAA", &base64url([0; 32])] {
            let token = format!("{}.{}.{signature}", parts[0], parts[1]);
            let error = refused(&token, &trust(secret_keys()));
            assert!(matches!(error, TokenError::Signature { .. }));
        }
    }

    #[test]
    fn an_expired_token_is_refused() {
        let error = refused(&hs256(&json!({"exp": NOW.0})), &trust(secret_keys()));
        let expired = "issuer a: the token expired at 1800000000, it is 1800000000";
        assert_eq!(error.to_string(), expired);
    }

    #[test]
    fn a_token_has_three_parts() {
        let token = hs256(&fresh(json!({})));
        let two = token.rsplit_once('.').unwrap().0;
        for text in [
            "",
            ".",
            "x",
            two,
            &format!("{token}.AAAA"),
            &format!("{token}."),
        ] {
            assert_eq!(
                refused(text, &trust(secret_keys())),
                TokenError::Parts,
                "{text}"
            );
        }
    }

    #[test]
    fn base64url_is_strict() {
        let token = hs256(&fresh(json!({})));
        for text in [
            format!("{token}="),
            format!("{token}=="),
            token.replacen('.', "=.", 1),
            format!("{token} "),
            format!("\n{token}"),
        ] {
            let error = refused(&text, &trust(secret_keys()));
            assert!(matches!(error, TokenError::Base64(_)), "{error}");
        }
        // 32 bytes leave two bits of the last character unused; they must be zero.
        let (rest, last) = token.split_at(token.len() - 1);
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = alphabet.find(last).unwrap();
        let stray = &alphabet[place + 1..=place + 1];
        let error = refused(&format!("{rest}{stray}"), &trust(secret_keys()));
        assert_eq!(error, TokenError::Base64("signature"));
    }

    #[test]
    fn length_is_bounded_before_anything_is_decoded() {
        let long = "A".repeat(MAX_TOKEN + 1);
        assert_eq!(
            refused(&long, &trust(secret_keys())),
            TokenError::TooLong(MAX_TOKEN + 1)
        );
    }

    #[test]
    fn a_token_that_brings_its_key_is_judged_by_ours() {
        for name in ["jwk", "jku", "x5u", "x5c"] {
            let header = json!({"alg": "ES256", name: P256.public_jwk});
            let token = sign(&P256.signs, &header, &fresh(json!({})));
            let error = refused(&token, &trust(secret_keys()));
            assert!(matches!(error, TokenError::Algorithm { .. }), "{name}");
            assert!(verify(token.as_bytes(), &pem(&P256), NOW).is_ok(), "{name}");
        }
    }

    #[test]
    fn crit_is_refused_though_the_signature_is_good() {
        let token = forged(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#);
        let error = refused(&token, &trust(secret_keys()));
        assert!(error.to_string().contains("`crit` is not supported"));
    }

    #[test]
    fn duplicate_members_are_refused() {
        let key = EncodingKey::from_secret(SECRET);
        let payload = r#"{"exp":1900000000,"sub":"a","sub":"b"}"#;
        let token = sign_text(
            &key,
            jsonwebtoken::Algorithm::HS256,
            r#"{"alg":"HS256"}"#,
            payload,
        );
        let error = refused(&token, &trust(secret_keys()));
        assert!(error.to_string().contains("`sub` occurs twice"), "{error}");
        let error = refused(
            &forged(r#"{"alg":"HS256","alg":"HS256"}"#),
            &trust(secret_keys()),
        );
        assert!(matches!(error, TokenError::Header(_)));
    }

    #[test]
    fn an_unknown_kid_is_refused_where_keys_have_names() {
        let issuers = jwks(&[
            with(&P256.public_jwk, json!({"kid": "one"})),
            with(&RSA.public_jwk, json!({"kid": "two"})),
        ]);
        let token = |kid: &str| {
            let header = json!({"alg": "ES256", "kid": kid});
            sign(&P256.signs, &header, &fresh(json!({})))
        };
        assert!(verify(token("one").as_bytes(), &issuers, NOW).is_ok());
        let error = refused(&token("three"), &issuers);
        assert_eq!(error.to_string(), "issuer a: no key has the kid `three`");
        // The key of that name is an RSA key.
        assert!(matches!(
            refused(&token("two"), &issuers),
            TokenError::Algorithm { .. }
        ));
    }

    #[test]
    fn a_token_without_kid_is_tried_against_every_key_of_its_algorithm() {
        let issuers = jwks(&[
            with(&P384.public_jwk, json!({"kid": "one"})),
            with(&P256.public_jwk, json!({"kid": "two"})),
        ]);
        let token = sign(&P256.signs, &json!({"alg": "ES256"}), &fresh(json!({})));
        assert!(verify(token.as_bytes(), &issuers, NOW).is_ok());
    }

    #[test]
    fn a_key_without_name_serves_any_kid() {
        let token = forged(r#"{"alg":"HS256","kid":"any"}"#);
        assert!(verify(token.as_bytes(), &trust(secret_keys()), NOW).is_ok());
    }

    #[test]
    fn typ_is_compared_without_case_and_prefix() {
        let issuers = |typ: &[&str]| {
            let policy = Issuer {
                typ: typ.iter().map(|&each| each.to_owned()).collect(),
                ..issuer("a")
            };
            vec![TrustedIssuer::new(policy, secret_keys())]
        };
        for (typ, accepted) in [
            (Some("at+jwt"), true),
            (Some("AT+JWT"), true),
            (Some("Application/at+jwt"), true),
            (Some("JWT"), false),
            (Some(""), false),
            (None, false),
        ] {
            let header = typ.map_or(
                json!({"alg": "HS256"}),
                |typ| json!({"alg": "HS256", "typ": typ}),
            );
            let token = forged(&header.to_string());
            let result = verify(token.as_bytes(), &issuers(&["application/AT+jwt"]), NOW);
            assert_eq!(result.is_ok(), accepted, "{typ:?}");
            assert!(verify(token.as_bytes(), &issuers(&[]), NOW).is_ok());
        }
    }

    fn named(name: &str, iss: Option<&str>, keys: IssuerKeys) -> TrustedIssuer {
        let policy = Issuer {
            issuer: iss.map(str::to_owned),
            ..issuer(name)
        };
        TrustedIssuer::new(policy, keys)
    }

    fn public(key: &TestKey) -> IssuerKeys {
        IssuerKeys::from_pem(key.public_pem.as_bytes(), &[]).unwrap()
    }

    #[test]
    fn an_issuer_vouches_only_for_its_own_iss() {
        let issuers = [
            named("a", Some("A"), public(&P256)),
            named("b", Some("B"), public(&P384)),
        ];
        let header = json!({"alg": "ES256"});
        let own = sign(&P256.signs, &header, &fresh(json!({"iss": "A"})));
        assert!(verify(own.as_bytes(), &issuers, NOW).is_ok());
        let strange = sign(&P256.signs, &header, &fresh(json!({"iss": "B"})));
        let error = refused(&strange, &issuers);
        assert_eq!(
            error.to_string(),
            "issuer b: ES256 is not allowed for its keys"
        );
        let unknown = sign(&P256.signs, &header, &fresh(json!({"iss": "C"})));
        let error = refused(&unknown, &issuers);
        assert_eq!(error.to_string(), "no issuer is configured for iss `C`");
    }

    #[test]
    fn one_issuer_that_accepts_is_enough() {
        let issuers = [
            named("a", None, public(&P256)),
            named("b", None, public(&P384)),
        ];
        let token = sign(&P384.signs, &json!({"alg": "ES384"}), &fresh(json!({})));
        assert!(verify(token.as_bytes(), &issuers, NOW).is_ok());
    }

    #[test]
    fn the_issuer_where_the_token_came_furthest_gives_the_reason() {
        let issuers = [
            named("a", None, public(&P384)),
            named("b", None, public(&P256)),
            named("c", None, secret_keys()),
        ];
        let token = sign(&P256.signs, &json!({"alg": "ES256"}), &json!({"exp": 5}));
        let reason = refused(&token, &issuers).to_string();
        assert!(
            reason.starts_with("issuer b: the token expired"),
            "{reason}"
        );
    }

    #[test]
    fn no_reason_holds_the_token() {
        let token = hs256(&json!({"exp": 1, "sub": "somebody"}));
        let error = refused(&token, &trust(secret_keys()));
        for part in token.split('.') {
            assert!(!format!("{error:?} {error}").contains(part));
        }
    }

    #[test]
    fn inspecting_needs_no_key() {
        let token = hs256(&json!({"exp": 1}));
        let said = inspect(token.as_bytes()).unwrap();
        assert_eq!(said.header["alg"], "HS256");
        assert_eq!(said.payload["exp"], 1);
        assert!(inspect(b"a.b").is_err());
    }

    proptest! {
        #[test]
        fn no_token_makes_it_panic(bytes in any::<Vec<u8>>(), text in "[A-Za-z0-9_-]{0,20}(\\.[A-Za-z0-9_-]{0,20}){0,4}") {
            drop(verify(&bytes, &trust(secret_keys()), NOW));
            drop(verify(text.as_bytes(), &trust(secret_keys()), NOW));
        }

        #[test]
        fn one_flipped_bit_is_one_too_many(place in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut token = hs256(&fresh(json!({"sub": "u", "scope": "a"}))).into_bytes();
            let place = place.index(token.len());
            token[place] ^= 1 << bit;
            prop_assert!(verify(&token, &trust(secret_keys()), NOW).is_err());
        }
    }
}

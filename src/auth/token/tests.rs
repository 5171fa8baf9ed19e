//! What a token must be to be believed.

use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::json;

use super::super::fixtures::{
    ED25519, NOW, P256, P384, RSA, SECRET, TestKey, base64url, fresh, hs256, issuer, secret_keys,
    sign, sign_text, with,
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
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let payload = fresh(json!({})).to_string();
    sign_text(&key, jsonwebtoken::Algorithm::HS256, header, &payload)
}

#[test]
fn a_token_of_every_algorithm_is_verified() {
    let secret = EncodingKey::from_secret(SECRET).unwrap();
    for alg in ["HS256", "HS384", "HS512"] {
        let token = sign(&secret, &json!({"alg": alg}), &fresh(json!({"sub": "u"})));
        let accepted = verify(token.as_bytes(), &trust(secret_keys()), NOW).unwrap();
        assert_eq!(accepted.claims.subject(), Some("u"), "{alg}");
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
fn ed25519_is_eddsa_in_tokens_and_keys() {
    let payload = fresh(json!({})).to_string();
    let eddsa = jsonwebtoken::Algorithm::EdDSA;
    for alg in ["EdDSA", "Ed25519"] {
        let header = json!({"alg": alg}).to_string();
        let token = sign_text(&ED25519.signs, eddsa, &header, &payload);
        for made_for in ["EdDSA", "Ed25519"] {
            let issuers = jwks(&[with(&ED25519.public_jwk, json!({"alg": made_for}))]);
            assert!(
                verify(token.as_bytes(), &issuers, NOW).is_ok(),
                "{alg} {made_for}"
            );
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
    let secret = EncodingKey::from_secret(RSA.public_pem.as_bytes()).unwrap();
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
    let key = EncodingKey::from_secret(SECRET).unwrap();
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
fn an_issuer_without_iss_cannot_speak_in_the_name_of_another() {
    let strict = Issuer {
        issuer: Some("A".to_owned()),
        require: vec!["tenant".to_owned()],
        ..issuer("a")
    };
    let issuers = [
        named("any", None, public(&P256)),
        TrustedIssuer::new(strict, public(&P384)),
    ];
    let header = json!({"alg": "ES256"});
    let token = |claims| sign(&P256.signs, &header, &fresh(claims));
    for claims in [json!({}), json!({"iss": "B"})] {
        assert!(verify(token(claims).as_bytes(), &issuers, NOW).is_ok());
    }
    let error = refused(&token(json!({"iss": "A"})), &issuers);
    assert_eq!(
        error.to_string(),
        "issuer a: ES256 is not allowed for its keys"
    );
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

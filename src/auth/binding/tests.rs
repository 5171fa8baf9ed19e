//! What a guard says of tokens that are bound, and of those that should be.

use aws_lc_rs::digest::{SHA256, digest};
use http::header::{AUTHORIZATION, COOKIE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::super::fixtures::{
    NOW, P256, auth, base64url, fresh, hs256, issuer, rule, secret_keys, sign,
};
use super::super::{Freshness, Guard, Passed, Refusal, RequestView, Verdict};
use crate::config::{Access, Auth, Binding, Issuer, Rule, TokenSource};

const CERTIFICATE: &[u8] = b"the DER of a certificate";

fn guard(binding: Binding) -> Guard {
    guard_with(binding, rule("/me", &[], Access::Token))
}

fn guard_with(binding: Binding, rule: Rule) -> Guard {
    let issuer = Issuer {
        binding,
        ..issuer("a")
    };
    let config = Auth {
        issuers: vec![issuer],
        rules: vec![rule],
        token_from: vec![
            TokenSource::Authorization,
            TokenSource::Cookie("at".to_owned()),
        ],
        ..auth()
    };
    Guard::new(&config, vec![secret_keys()]).unwrap()
}

/// Of the one key that signs proofs here (RFC 7638 section 3.1).
fn jkt() -> String {
    let member = |name: &str| P256.public_jwk[name].as_str().unwrap();
    let canonical = format!(
        r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
        member("x"),
        member("y")
    );
    base64url(digest(&SHA256, canonical.as_bytes()))
}

fn x5t() -> String {
    base64url(digest(&SHA256, CERTIFICATE))
}

fn token(cnf: &Value) -> String {
    hs256(&fresh(json!({"sub": "u", "cnf": cnf})))
}

fn proof(token: &str) -> String {
    let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": P256.public_jwk});
    let payload = json!({
        "jti": "one",
        "htm": "GET",
        "htu": "https://api.example/me",
        "iat": NOW.0,
        "ath": base64url(digest(&SHA256, token.as_bytes())),
    });
    sign(&P256.signs, &header, &payload)
}

fn judge(guard: &Guard, fields: &[(HeaderName, String)], certificate: Option<&[u8]>) -> Verdict {
    let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("api.example"))]);
    for (name, value) in fields {
        headers.append(name, HeaderValue::try_from(value).unwrap());
    }
    let request = RequestView {
        method: "GET",
        path: "/me",
        query: None,
        headers: &headers,
        client_certificate: certificate,
        client_names: &[],
        is_https: false,
    };
    guard.judge(&request, NOW)
}

fn shown(scheme: &str, token: &str) -> (HeaderName, String) {
    (AUTHORIZATION, format!("{scheme} {token}"))
}

fn proved(token: &str) -> (HeaderName, String) {
    (HeaderName::from_static("dpop"), proof(token))
}

#[track_caller]
fn refusal(verdict: Verdict) -> Refusal {
    match verdict {
        Verdict::Refuse(refusal) => refusal,
        Verdict::Pass(passed) => panic!("{passed:?}"),
    }
}

#[track_caller]
fn passed(verdict: Verdict) -> Passed {
    match verdict {
        Verdict::Pass(passed) => passed,
        Verdict::Refuse(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn a_bound_token_does_not_pass_as_one_that_is_bound_to_nothing() {
    for (cnf, key) in [
        (json!({"jkt": jkt()}), "`dpop`"),
        (json!({"x5t#S256": x5t()}), "`mtls`"),
    ] {
        let token = token(&cnf);
        let fields = [shown("Bearer", &token), proved(&token)];
        let refusal = refusal(judge(&guard(Binding::None), &fields, Some(CERTIFICATE)));
        assert_eq!((refusal.status, refusal.code), (401, "token_not_valid"));
        assert!(refusal.reason.contains("set `auth.issuer.binding`"));
        assert!(refusal.reason.contains(key), "{}", refusal.reason);
    }
    // What is not known binds to nothing that could be checked (RFC 7800 section 3.1).
    let token = token(&json!({"kid": "x"}));
    passed(judge(
        &guard(Binding::None),
        &[shown("Bearer", &token)],
        None,
    ));
}

#[test]
fn a_confirmation_that_cannot_be_understood_is_refused() {
    for cnf in [
        json!(null),
        json!("x"),
        json!([]),
        json!({"jkt": 1}),
        json!({"x5t#S256": null}),
    ] {
        for binding in [Binding::None, Binding::Dpop, Binding::Mtls] {
            let token = token(&cnf);
            let verdict = judge(&guard(binding), &[shown("Bearer", &token)], None);
            let reason = refusal(verdict).reason;
            assert!(reason.contains("`cnf` is not"), "{cnf}: {reason}");
        }
    }
}

#[test]
fn a_token_that_should_be_bound_and_is_not_is_refused() {
    for (binding, cnf, missing) in [
        (Binding::Dpop, json!({}), "`cnf.jkt` is missing"),
        (
            Binding::Dpop,
            json!({"x5t#S256": x5t()}),
            "`cnf.jkt` is missing",
        ),
        (Binding::Mtls, json!({}), "`cnf.x5t#S256` is missing"),
        (
            Binding::Mtls,
            json!({"jkt": jkt()}),
            "`cnf.x5t#S256` is missing",
        ),
    ] {
        let token = token(&cnf);
        let fields = [shown("DPoP", &token), proved(&token)];
        let refusal = refusal(judge(&guard(binding), &fields, Some(CERTIFICATE)));
        assert_eq!(refusal.status, 401);
        assert!(refusal.reason.contains(missing), "{}", refusal.reason);
    }
}

#[test]
fn a_token_that_is_bound_to_more_than_is_checked_is_refused() {
    let token = token(&json!({"jkt": jkt(), "x5t#S256": x5t()}));
    for (binding, scheme) in [(Binding::Dpop, "DPoP"), (Binding::Mtls, "Bearer")] {
        let fields = [shown(scheme, &token), proved(&token)];
        let refusal = refusal(judge(&guard(binding), &fields, Some(CERTIFICATE)));
        assert!(
            refusal.reason.contains("else anybody"),
            "{}",
            refusal.reason
        );
    }
}

#[test]
fn a_token_with_its_proof_passes_and_the_proof_must_be_new() {
    let guard = guard(Binding::Dpop);
    let token = token(&json!({"jkt": jkt()}));
    // The second time the token was verified before, and its proof counts all the same.
    for _ in 0..2 {
        let judged = judge(&guard, &[shown("DPoP", &token), proved(&token)], None);
        let passed = passed(judged);
        assert!(passed.claims.is_some() && passed.proof.is_some());
        let refusal = refusal(judge(&guard, &[shown("DPoP", &token)], None));
        assert_eq!((refusal.status, refusal.code), (401, "invalid_dpop_proof"));
        let challenge = refusal.challenge.unwrap();
        assert!(
            challenge.starts_with("DPoP realm=\"test\", algs=\"ES256 "),
            "{challenge}"
        );
        assert!(
            challenge.ends_with("error=\"invalid_dpop_proof\""),
            "{challenge}"
        );
    }
    let judged = || {
        passed(judge(
            &guard,
            &[shown("DPoP", &token), proved(&token)],
            None,
        ))
    };
    passed(guard.settle(judged(), Freshness::Fresh));
    let again = refusal(guard.settle(judged(), Freshness::Seen));
    assert_eq!((again.status, again.code), (401, "invalid_dpop_proof"));
    let unknown = refusal(guard.settle(judged(), Freshness::Unknown));
    assert_eq!((unknown.status, unknown.challenge), (503, None));
}

#[test]
fn a_token_that_needs_a_proof_is_no_bearer_token() {
    let guard = guard(Binding::Dpop);
    let token = token(&json!({"jkt": jkt()}));
    let fields = [shown("Bearer", &token), proved(&token)];
    let refusal = refusal(judge(&guard, &fields, None));
    assert_eq!((refusal.status, refusal.code), (401, "token_not_valid"));
    let challenge = refusal.challenge.unwrap();
    assert!(challenge.starts_with("DPoP ") && challenge.ends_with("error=\"invalid_token\""));
}

#[test]
fn a_key_that_is_not_the_token_s_is_a_matter_of_the_token() {
    let token = token(&json!({"jkt": "another"}));
    let fields = [shown("DPoP", &token), proved(&token)];
    let refusal = refusal(judge(&guard(Binding::Dpop), &fields, None));
    assert_eq!((refusal.status, refusal.code), (401, "token_not_valid"));
    assert!(
        refusal
            .challenge
            .unwrap()
            .ends_with("error=\"invalid_token\"")
    );
}

#[test]
fn a_token_in_a_cookie_needs_its_proof_too() {
    let guard = guard(Binding::Dpop);
    let token = token(&json!({"jkt": jkt()}));
    let cookie = (COOKIE, format!("at={token}"));
    passed(judge(&guard, &[cookie.clone(), proved(&token)], None));
    assert_eq!(
        refusal(judge(&guard, &[cookie], None)).code,
        "invalid_dpop_proof"
    );
}

#[test]
fn a_token_that_is_bound_to_nothing_is_not_shown_with_a_proof() {
    let token = hs256(&fresh(json!({})));
    for fields in [
        vec![shown("DPoP", &token)],
        vec![shown("DPoP", &token), proved(&token)],
    ] {
        let refusal = refusal(judge(&guard(Binding::None), &fields, None));
        assert_eq!((refusal.status, refusal.code), (401, "token_not_valid"));
    }
    passed(judge(
        &guard(Binding::None),
        &[shown("Bearer", &token), proved(&token)],
        None,
    ));
}

#[test]
fn a_token_that_is_bound_to_a_certificate_is_for_whoever_has_it() {
    let guard = guard(Binding::Mtls);
    let token = token(&json!({"x5t#S256": x5t()}));
    let judge = |scheme, certificate| judge(&guard, &[shown(scheme, &token)], certificate);
    assert!(passed(judge("Bearer", Some(CERTIFICATE))).proof.is_none());
    for (certificate, words) in [
        (None, "has shown none"),
        (Some(&b"another"[..]), "is not the one"),
        (Some(&b""[..]), "is not the one"),
    ] {
        let refusal = refusal(judge("Bearer", certificate));
        assert_eq!((refusal.status, refusal.code), (401, "token_not_valid"));
        assert!(refusal.reason.contains(words), "{}", refusal.reason);
        let challenge = refusal.challenge.unwrap();
        assert_eq!(challenge, r#"Bearer realm="test", error="invalid_token""#);
    }
    assert_eq!(refusal(judge("DPoP", Some(CERTIFICATE))).status, 401);
}

#[test]
fn an_audit_says_what_is_wrong_with_a_proof_and_believes_nobody() {
    let mut audit = rule("/me", &[], Access::Token);
    audit.audit = true;
    let guard = guard_with(Binding::Dpop, audit);
    let token = token(&json!({"jkt": jkt()}));
    let without = passed(judge(&guard, &[shown("DPoP", &token)], None));
    assert_eq!(
        without.audited.map(|refusal| refusal.code),
        Some("invalid_dpop_proof")
    );
    assert_eq!((without.claims, without.proof), (None, None));
    let with = passed(judge(
        &guard,
        &[shown("DPoP", &token), proved(&token)],
        None,
    ));
    assert!(with.audited.is_none() && with.claims.is_some());
    let again = passed(guard.settle(with, Freshness::Seen));
    assert_eq!(
        again.audited.map(|refusal| refusal.code),
        Some("invalid_dpop_proof")
    );
    assert_eq!(again.claims, None);
}

#[test]
fn an_explanation_names_what_it_does_not_look_at() {
    let token = token(&json!({"jkt": jkt()}));
    let mut headers = HeaderMap::new();
    let field = format!("Bearer {token}");
    headers.insert(AUTHORIZATION, HeaderValue::try_from(field).unwrap());
    let request = RequestView {
        method: "GET",
        path: "/me",
        query: None,
        headers: &headers,
        client_certificate: None,
        client_names: &[],
        is_https: false,
    };
    let explanation = guard(Binding::Dpop).explain(&request, NOW);
    assert_eq!(explanation.unproven, Some(Binding::Dpop));
    passed(explanation.verdict);
    let explanation = guard(Binding::None).explain(&request, NOW);
    assert_eq!(explanation.unproven, None);
    assert!(
        refusal(explanation.verdict)
            .reason
            .contains("set `auth.issuer.binding`")
    );
}

//! Each check of a proof, wrong in turn; and the example of RFC 9449.

use http::header::HOST;
use http::{HeaderMap, HeaderValue};
use jsonwebtoken::EncodingKey;
use proptest::prelude::*;
use serde_json::json;

use super::super::fixtures::{
    ED25519, NOW, P256, P384, RSA, SECRET, TestKey, auth, base64url, sign, sign_text, with,
};
use super::*;

const TOKEN: &[u8] = b"a.b.c";

fn jkt(key: &TestKey) -> String {
    thumbprint(&key.public_jwk.to_string()).unwrap()
}

fn header() -> Value {
    json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": P256.public_jwk})
}

fn payload() -> Value {
    json!({
        "jti": "one",
        "htm": "GET",
        "htu": "https://api.example/me",
        "iat": NOW.0,
        "ath": base64url(digest(&SHA256, TOKEN)),
    })
}

fn proof(header: &Value, payload: &Value) -> String {
    sign(&P256.signs, header, payload)
}

/// Judges `GET /me` at api.example with these fields, as one whose token is bound to [`P256`].
fn judge(dpop: &Dpop, proofs: &[&str]) -> Result<Proof, ProofError> {
    judge_at(dpop, proofs, ("GET", "/me"), NOW)
}

fn judge_at(
    dpop: &Dpop,
    proofs: &[&str],
    (method, path): (&str, &str),
    now: UnixTime,
) -> Result<Proof, ProofError> {
    let mut headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("api.example"))]);
    for proof in proofs {
        headers.append(FIELD, HeaderValue::from_bytes(proof.as_bytes()).unwrap());
    }
    let request = RequestView {
        method,
        path,
        query: Some("x=1"),
        headers: &headers,
        client_certificate: None,
        client_names: &[],
        is_https: false,
    };
    dpop.check(&request, TOKEN, &jkt(&P256), now)
}

fn dpop() -> Dpop {
    Dpop::new(&auth())
}

fn check(header: &Value, payload: &Value) -> Result<Proof, ProofError> {
    judge(&dpop(), &[&proof(header, payload)])
}

fn with_header(members: Value) -> ProofError {
    check(&with(&header(), members), &payload()).unwrap_err()
}

fn with_payload(members: Value) -> Result<Proof, ProofError> {
    check(&header(), &with(&payload(), members))
}

fn without(payload: &Value, name: &str) -> Value {
    let mut payload = payload.clone();
    payload.as_object_mut().unwrap().remove(name);
    payload
}

#[test]
fn a_proof_for_the_request_is_right_until_its_window_ends() {
    let proof = check(&header(), &payload()).unwrap();
    assert_eq!(proof.until, UnixTime(NOW.0 + 60));
}

/// RFC 9449 section 7.1.
#[test]
fn the_example_of_rfc_9449_is_right() {
    let proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";
    let headers = HeaderMap::from_iter([
        (HOST, HeaderValue::from_static("resource.example.org")),
        (FIELD, HeaderValue::from_static(proof)),
    ]);
    let request = RequestView {
        method: "GET",
        path: "/protectedresource",
        query: None,
        headers: &headers,
        client_certificate: None,
        client_names: &[],
        is_https: false,
    };
    let token = b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU";
    let jkt = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I";
    let check = |token: &[u8], jkt| dpop().check(&request, token, jkt, UnixTime(1_562_262_620));
    assert_eq!(check(token, jkt).unwrap().until, UnixTime(1_562_262_678));
    assert_eq!(check(b"another", jkt), Err(ProofError::Token));
    assert_eq!(check(token, "another"), Err(ProofError::OtherKey));
}

#[test]
fn every_kind_of_key_can_prove() {
    for (key, algorithm) in [
        (&P256, "ES256"),
        (&P384, "ES384"),
        (&ED25519, "EdDSA"),
        (&RSA, "RS256"),
        (&RSA, "PS512"),
    ] {
        let header = json!({"typ": "dpop+jwt", "alg": algorithm, "jwk": key.public_jwk});
        let proof = sign(&key.signs, &header, &payload());
        let headers = HeaderMap::from_iter([
            (HOST, HeaderValue::from_static("api.example")),
            (FIELD, HeaderValue::try_from(proof).unwrap()),
        ]);
        let request = RequestView {
            method: "GET",
            path: "/me",
            query: None,
            headers: &headers,
            client_certificate: None,
            client_names: &[],
            is_https: false,
        };
        let check = |jkt: &str| dpop().check(&request, TOKEN, jkt, NOW);
        assert!(check(&jkt(key)).is_ok(), "{algorithm}");
        assert_eq!(check("another"), Err(ProofError::OtherKey), "{algorithm}");
    }
}

#[test]
fn there_is_exactly_one_proof() {
    let proof = proof(&header(), &payload());
    assert_eq!(judge(&dpop(), &[]), Err(ProofError::Absent));
    assert_eq!(judge(&dpop(), &[&proof, &proof]), Err(ProofError::Several));
    let listed = format!("{proof}, {proof}");
    assert!(matches!(
        judge(&dpop(), &[&listed]),
        Err(ProofError::Jwt(_))
    ));
    for rubbish in ["", "x", "a.b", "a.b.c.d", "é.é.é"] {
        assert!(judge(&dpop(), &[rubbish]).is_err(), "{rubbish}");
    }
    let long = "a".repeat(PROOF_MAX + 1);
    assert_eq!(
        judge(&dpop(), &[&long]),
        Err(ProofError::TooLong(long.len()))
    );
}

#[test]
fn its_type_says_that_it_is_a_proof() {
    for typ in [json!("JWT"), json!("at+jwt"), json!("dpop"), json!("")] {
        assert_eq!(with_header(json!({ "typ": typ })), ProofError::Type);
    }
    let plain = without(&header(), "typ");
    assert_eq!(check(&plain, &payload()), Err(ProofError::Type));
    for typ in ["DPoP+JWT", "application/dpop+jwt"] {
        assert!(check(&with(&header(), json!({ "typ": typ })), &payload()).is_ok());
    }
}

#[test]
fn its_algorithm_is_none_with_a_shared_secret() {
    let secret = json!({"kty": "oct", "k": base64url(SECRET)});
    for (jwk, key) in [
        (secret, EncodingKey::from_secret(SECRET).unwrap()),
        (
            P256.public_jwk.clone(),
            EncodingKey::from_secret(SECRET).unwrap(),
        ),
    ] {
        let header = with(&header(), json!({"alg": "HS256", "jwk": jwk}));
        let error = judge(&dpop(), &[&sign(&key, &header, &payload())]);
        assert_eq!(error, Err(ProofError::Algorithm(Algorithm::Hs256)));
    }
    let none = with(&header(), json!({"alg": "none"})).to_string();
    let text = payload().to_string();
    let unsigned = format!("{}.{}.", base64url(&none), base64url(&text));
    assert!(matches!(
        judge(&dpop(), &[&unsigned]),
        Err(ProofError::Header(_))
    ));
    for members in [json!({"crit": ["x"]}), json!({"b64": true})] {
        assert!(matches!(with_header(members), ProofError::Header(_)));
    }
}

#[test]
fn its_key_is_public_whole_and_made_for_its_algorithm() {
    assert_eq!(
        check(&without(&header(), "jwk"), &payload()),
        Err(ProofError::NoKey)
    );
    let jwk = |members| with_header(json!({ "jwk": with(&P256.public_jwk, members) }));
    for member in ["d", "k", "p", "oth", "priv"] {
        assert_eq!(
            jwk(json!({ member: "AQAB" })),
            ProofError::PrivateKey,
            "{member}"
        );
    }
    for members in [
        json!({"alg": "ES384"}),
        json!({"use": "enc"}),
        json!({"key_ops": ["sign"]}),
        json!({"x": base64url([1; 32])}),
        json!({"x": base64url([1; 31])}),
        json!({"crv": "P-384"}),
        json!({"crv": "secp256k1"}),
        json!({"kty": "OKP"}),
        json!({"x": null}),
    ] {
        let error = jwk(members.clone());
        assert!(matches!(error, ProofError::Key(_)), "{members}: {error}");
    }
    for jwk in [json!(null), json!("x"), json!([]), json!(1)] {
        let error = with_header(json!({ "jwk": jwk }));
        assert!(
            matches!(error, ProofError::Key(_) | ProofError::NoKey),
            "{error}"
        );
    }
    let small = json!({"kty": "RSA", "e": "AQAB", "n": base64url([0xff; 128])});
    let error = with_header(json!({ "jwk": small }));
    assert!(matches!(error, ProofError::Key(_)), "{error}");
}

#[test]
fn it_is_signed_by_its_key_which_is_that_of_the_token() {
    let other = with(&header(), json!({"alg": "ES384", "jwk": P384.public_jwk}));
    let foreign = sign(&P384.signs, &other, &payload());
    assert_eq!(judge(&dpop(), &[&foreign]), Err(ProofError::OtherKey));
    // The right key, but the one who shows it does not have it.
    let stolen = sign_text(
        &EncodingKey::from_secret(SECRET).unwrap(),
        jsonwebtoken::Algorithm::HS256,
        &header().to_string(),
        &payload().to_string(),
    );
    assert_eq!(judge(&dpop(), &[&stolen]), Err(ProofError::Signature));
    let one = proof(&header(), &payload());
    let changed = proof(&header(), &with(&payload(), json!({"jti": "two"})));
    let (message, _) = changed.rsplit_once('.').unwrap();
    let (_, signature) = one.rsplit_once('.').unwrap();
    let mixed = format!("{message}.{signature}");
    assert_eq!(judge(&dpop(), &[&mixed]), Err(ProofError::Signature));
}

#[test]
fn its_id_is_there_and_short() {
    for jti in [json!(null), json!(1), json!(["x"])] {
        assert_eq!(
            with_payload(json!({ "jti": jti })),
            Err(ProofError::NoText("jti"))
        );
    }
    for jti in [String::new(), "x".repeat(JTI_MAX + 1)] {
        assert_eq!(with_payload(json!({ "jti": jti })), Err(ProofError::Id));
    }
    assert!(with_payload(json!({"jti": "x".repeat(JTI_MAX)})).is_ok());
}

#[test]
fn its_method_is_that_of_the_request() {
    for htm in ["POST", "get", "GET ", ""] {
        let error = with_payload(json!({ "htm": htm }));
        assert_eq!(error, Err(ProofError::Method(htm.to_owned())));
    }
}

#[test]
fn every_claim_that_is_needed_is_there() {
    for name in ["jti", "htm", "htu", "ath"] {
        let error = check(&header(), &without(&payload(), name));
        assert_eq!(error, Err(ProofError::NoText(name)));
    }
    let error = check(&header(), &without(&payload(), "iat"));
    assert!(matches!(
        error,
        Err(ProofError::Claim(ClaimError::Missing(_)))
    ));
    let twice = payload().to_string().replacen('{', "{\"jti\":\"two\",", 1);
    let proof = sign_text(
        &P256.signs,
        jsonwebtoken::Algorithm::ES256,
        &header().to_string(),
        &twice,
    );
    assert!(matches!(
        judge(&dpop(), &[&proof]),
        Err(ProofError::Payload(_))
    ));
}

#[test]
fn its_address_is_that_of_the_request_however_it_is_spelled() {
    for htu in [
        "https://api.example/me",
        "http://api.example/me",
        "HTTPS://API.Example/me",
        "https://api.example:443/me",
        "http://api.example:80/me",
        "https://api.example/%6de",
        "https://api.example/me?y=2",
        "https://api.example/me#top",
    ] {
        assert!(with_payload(json!({ "htu": htu })).is_ok(), "{htu}");
    }
    for htu in [
        "https://evil.example/me",
        "https://api.example:8443/me",
        "https://api.example:80/me",
        "http://api.example:443/me",
        "https://api.example/",
        "https://api.example/ME",
        "https://api.example/me/",
        "https://api.example/x/../me",
        "https://api.example//me",
        "https://user@api.example/me",
        "https://api.example.evil/me",
        "ftp://api.example/me",
        "/me",
        "api.example/me",
        "",
        "https://",
        "https:///me",
    ] {
        let error = with_payload(json!({ "htu": htu }));
        assert_eq!(error, Err(ProofError::Address(htu.to_owned())), "{htu}");
    }
}

#[test]
fn where_the_origin_is_known_it_counts_and_not_the_host_field() {
    let dpop = Dpop::new(&config::Auth {
        dpop_origin: Some("https://public.example".to_owned()),
        ..auth()
    });
    let with_htu = |htu| {
        let proof = proof(&header(), &with(&payload(), json!({ "htu": htu })));
        judge(&dpop, &[&proof])
    };
    assert!(with_htu("https://public.example/me").is_ok());
    assert!(with_htu("https://public.example:443/me").is_ok());
    for htu in [
        "http://public.example/me",
        "https://api.example/me",
        "https://public.example:8443/me",
    ] {
        assert!(with_htu(htu).is_err(), "{htu}");
    }
}

#[test]
fn it_was_made_just_now() {
    let made = |iat: u64| with_payload(json!({ "iat": iat }));
    assert!(made(NOW.0 - 60).is_ok());
    assert!(made(NOW.0 + 10).is_ok());
    for iat in [NOW.0 - 61, NOW.0 + 11, 0] {
        assert!(matches!(made(iat), Err(ProofError::Time { .. })), "{iat}");
    }
    for iat in [json!("1"), json!(null), json!(1e300)] {
        assert!(matches!(
            with_payload(json!({ "iat": iat })),
            Err(ProofError::Claim(_))
        ));
    }
}

#[test]
fn dates_that_nobody_asked_for_count_too() {
    assert!(with_payload(json!({"exp": NOW.0 + 1, "nbf": NOW.0 + 10})).is_ok());
    for members in [
        json!({"exp": NOW.0}),
        json!({"nbf": NOW.0 + 11}),
        json!({"exp": "x"}),
    ] {
        assert!(matches!(with_payload(members), Err(ProofError::Claim(_))));
    }
}

#[test]
fn it_is_for_this_token() {
    for ath in [base64url(digest(&SHA256, b"another")), String::new()] {
        assert_eq!(with_payload(json!({ "ath": ath })), Err(ProofError::Token));
    }
}

#[test]
fn proofs_are_known_again_by_key_id_and_address() {
    let print = |members| with_payload(members).unwrap().fingerprint;
    let one = print(json!({}));
    // The same proof, signed again.
    assert_eq!(print(json!({})), one);
    assert_ne!(print(json!({"jti": "two"})), one);
    assert_ne!(print(json!({"htu": "http://api.example/me"})), one);
    assert_ne!(fingerprint(["a", "bc", "d"]), fingerprint(["ab", "c", "d"]));
}

proptest! {
    #[test]
    fn no_field_makes_it_panic(field in "[ -~]{0,80}", header in "\\{[\"a-z:,0-9{}]{0,40}\\}") {
        drop(judge(&dpop(), &[&field]));
        let parts = format!("{}.{}.{}", base64url(&header), base64url(&header), base64url(&field));
        drop(judge(&dpop(), &[&parts]));
    }

    #[test]
    fn a_proof_is_accepted_exactly_within_its_window(late in -200_i64..200) {
        let now = UnixTime(NOW.0.checked_add_signed(late).unwrap());
        let proof = proof(&header(), &payload());
        let accepted = judge_at(&dpop(), &[&proof], ("GET", "/me"), now).is_ok();
        prop_assert_eq!(accepted, (-10..=60).contains(&late));
    }

    #[test]
    fn a_proof_is_for_one_path(path in "/[a-z%0-9]{0,6}") {
        let proof = proof(&header(), &payload());
        let accepted = judge_at(&dpop(), &[&proof], ("GET", &path), NOW).is_ok();
        let is_same = path::normalise(&path).is_ok_and(|path| path == "/me");
        prop_assert_eq!(accepted, is_same);
    }
}

#[test]
fn where_the_connection_is_encrypted_its_address_is_too() {
    let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("api.example"))]);
    let mut request = RequestView {
        method: "GET",
        path: "/me",
        query: None,
        headers: &headers,
        client_certificate: None,
        client_names: &[],
        is_https: false,
    };
    for (htu, by_either, by_https) in [
        ("https://api.example/me", true, true),
        ("http://api.example/me", true, false),
        ("HTTP://api.example/me", true, false),
    ] {
        request.is_https = false;
        assert_eq!(dpop().is_address_of(htu, &request), by_either, "{htu}");
        request.is_https = true;
        assert_eq!(dpop().is_address_of(htu, &request), by_https, "{htu}");
    }
}

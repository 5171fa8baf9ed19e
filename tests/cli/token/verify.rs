//! `destrier token verify`.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use insta::assert_snapshot;

use super::{SECRET, TIMES, forged, place};
use crate::place::{Outcome, Place, masked};

const FAR: &str = r#"{"sub":"a","exp":9999999999}"#;

/// A token of the secret with `claims`, put to `token verify --secret secret OPTIONS`.
#[track_caller]
fn verified(claims: &str, options: &str) -> Outcome {
    let place = Place::new();
    place.write_as(0o600, "secret", SECRET);
    let token = place.run(&format!("token issue --key secret --sub a {claims}"));
    place.run_on(
        token.data(),
        &format!("token verify --secret secret {options}"),
    )
}

/// The token in a place with a secret `secret`.
#[track_caller]
fn refused(token: impl AsRef<[u8]>) -> Outcome {
    let place = Place::new();
    place.write_as(0o600, "secret", SECRET);
    let outcome = place.run_on(&token, "token verify --secret secret");
    let token = String::from_utf8_lossy(token.as_ref()).trim().to_owned();
    assert!(
        token.len() < 9 || !outcome.stderr.contains(&token[..9]),
        "{outcome}"
    );
    outcome
}

#[test]
fn a_valid_token_is_its_claims_on_standard_output() {
    let _masks = masked(&TIMES);
    assert_snapshot!(verified("", ""), @r#"
    exit 0
    --- stdout
    {"sub":"a","iat":[time],"exp":[time],"jti":"[random]"}
    "#);
}

#[test]
fn the_token_comes_from_a_file_or_from_standard_input() {
    let place = Place::new();
    place.write_as(0o600, "secret", SECRET);
    let token = place.run("token issue --key secret --sub a").data();
    place.write("token", format!("\n  {token}\n"));
    let claims = place
        .run("token verify --secret secret --token-file token")
        .data();
    let dash = "token verify --secret secret --token-file -";
    assert_eq!(place.run_on(&token, dash).data(), claims);
    assert_eq!(
        place.run_on(&token, "token verify --secret secret").data(),
        claims
    );
}

#[test]
fn what_the_claims_must_be() {
    let _masks = masked(&TIMES);
    assert_snapshot!(verified("--claim exp=1000", ""), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: the token expired at 1000, it is [now]
    "#);
    assert_snapshot!(verified("--claim exp=null", ""), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: claim `exp` is not a number of seconds since 1970
    "#);
    assert_snapshot!(verified("--claim nbf=9999999999", ""), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: the token is not valid before 9999999999, it is [now]
    "#);
    assert_snapshot!(verified("--audience web", ""), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: claim `aud` is present, but no audience is configured
    "#);
    assert_snapshot!(verified("", "--audience api"), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: claim `aud` is missing
    "#);
    assert_snapshot!(verified("--audience web", "--audience api --audience admin"), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: claim `aud` holds none of the accepted audiences
    "#);
    assert_snapshot!(verified("", "--issuer https://a.example"), @r#"
    exit 1
    --- stderr
    token is not valid: no issuer is configured for iss (absent)
    "#);
    assert_snapshot!(verified("--claim iss=https://b.example", "--issuer https://a.example"), @r#"
    exit 1
    --- stderr
    token is not valid: no issuer is configured for iss `https://b.example`
    "#);
    assert_snapshot!(verified("--claim tenant=acme", "--require tenant --require email"), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: claim `email` is missing
    "#);
    assert_snapshot!(verified("", "--typ at+jwt"), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: typ `JWT` is not accepted
    "#);
    assert_snapshot!(verified("", "--alg HS256,hs384"), @r#"
    exit 0
    --- stdout
    {"sub":"a","iat":[time],"exp":[time],"jti":"[random]"}
    "#);
    assert_snapshot!(verified("--alg HS512", "--alg HS256,HS384"), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: HS512 is not allowed for its keys
    "#);
    for (claims, options) in [
        (
            "--audience web --audience api",
            "--audience api --audience admin",
        ),
        (
            "--claim iss=https://a.example",
            "--issuer https://a.example",
        ),
        ("--claim tenant=acme", "--require tenant"),
        ("", "--typ at+jwt --typ jwt"),
    ] {
        assert_eq!(
            verified(claims, options).code,
            Some(0),
            "{claims} {options}"
        );
    }
}

#[test]
fn a_claim_must_have_the_value_that_was_asked_for() {
    let claims = r#"--claim tenant=acme --claim n=1 --claim text="1" --claim roles=["a","b"]"#;
    for equal in [
        "tenant=acme",
        "tenant=\"acme\"",
        "n=1",
        "text=\"1\"",
        r#"roles=["a", "b"]"#,
    ] {
        let outcome = verified(claims, &format!("--claim {}", equal.replace(' ', "")));
        assert_eq!(outcome.code, Some(0), "{equal}");
    }
    assert_snapshot!(verified(claims, "--claim tenant=other"), @r#"
    exit 1
    --- stderr
    token is not valid: claim `tenant` is not "other"
    "#);
    assert_snapshot!(verified(claims, "--claim text=1"), @r#"
    exit 1
    --- stderr
    token is not valid: claim `text` is not 1
    "#);
    assert_snapshot!(verified(claims, r#"--claim roles=["b"]"#), @r#"
    exit 1
    --- stderr
    token is not valid: claim `roles` is not ["b"]
    "#);
    assert_snapshot!(verified(claims, "--claim absent=null"), @r#"
    exit 1
    --- stderr
    token is not valid: claim `absent` is not null
    "#);
    assert_snapshot!(verified(claims, "--claim tenant"), @r#"
    exit 2
    --- stderr
    token: `--claim` must be NAME=VALUE, found `tenant`
    "#);
}

#[test]
fn leeway_is_a_time_or_a_number_of_seconds() {
    let now = destrier::sys::clock::unix().as_secs();
    let expired = format!("--claim exp={}", now - 20);
    assert_eq!(verified(&expired, "").code, Some(1));
    assert_eq!(verified(&expired, "--leeway 5").code, Some(1));
    assert_eq!(verified(&expired, "--leeway 300").code, Some(0));
    assert_eq!(verified(&expired, "--leeway 5m").code, Some(0));
    assert_snapshot!(verified("", "--leeway soon"), @r#"
    exit 2
    --- stderr
    token: `--leeway` must be a duration as in 30s or 1h, found `soon`: expected number at 0
    "#);
}

#[test]
fn what_no_key_has_signed_is_refused() {
    let place = Place::new();
    place.write_as(0o600, "other", SECRET.to_uppercase());
    let other = place.run("token issue --key other --sub a").data();
    assert_snapshot!(refused(&other), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: the signature is not valid
    "#);
    assert_snapshot!(refused(forged(r#"{"alg":"none"}"#, FAR, "")), @r#"
    exit 1
    --- stderr
    token is not valid: header: `alg` `none` is not known
    "#);
    assert_snapshot!(refused(forged(r#"{"alg":"None"}"#, FAR, "AAAA")), @r#"
    exit 1
    --- stderr
    token is not valid: header: `alg` `None` is not known
    "#);
    assert_snapshot!(refused(forged(r#"{"alg":"HS256"}"#, FAR, "")), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: the signature is not valid
    "#);
    assert_snapshot!(refused(forged(r#"{"alg":"HS256"}"#, FAR, "AAAA")), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: the signature is not valid
    "#);
    assert_snapshot!(refused(forged(r#"{"alg":"RS256"}"#, FAR, "AAAA")), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --secret: RS256 is not allowed for its keys
    "#);
    assert_snapshot!(refused(forged(r#"{"alg":"HS256","crit":["exp"]}"#, FAR, "AAAA")), @r#"
    exit 1
    --- stderr
    token is not valid: header: `crit` is not supported at line 1 column 21
    "#);
    assert_snapshot!(refused(forged(r#"{"alg":"HS256","kid":1}"#, FAR, "AAAA")), @r#"
    exit 1
    --- stderr
    token is not valid: header: `kid` is not a string at line 1 column 23
    "#);
}

#[test]
fn what_is_no_token_is_refused() {
    assert_snapshot!(refused(""), @r#"
    exit 1
    --- stderr
    token: standard input holds no token
    "#);
    assert_snapshot!(refused(" \n"), @r#"
    exit 1
    --- stderr
    token: standard input holds no token
    "#);
    assert_snapshot!(refused("hello"), @r#"
    exit 1
    --- stderr
    token is not valid: the token does not have three parts
    "#);
    assert_snapshot!(refused("a.b.c.d"), @r#"
    exit 1
    --- stderr
    token is not valid: the token does not have three parts
    "#);
    assert_snapshot!(refused("%%%%%%%%%%.b.c"), @r#"
    exit 1
    --- stderr
    token is not valid: the header is not base64url without padding
    "#);
    assert_snapshot!(refused(b"\xff\xfe\xfd.b.c"), @r#"
    exit 1
    --- stderr
    token is not valid: the header is not base64url without padding
    "#);
    assert_snapshot!(refused("Bearer aaaa.bbbb.cccc"), @r#"
    exit 1
    --- stderr
    token: standard input holds white space within the token; leave out `Bearer` and line breaks
    "#);
    assert_snapshot!(refused("a".repeat(20_000)), @r#"
    exit 1
    --- stderr
    token is not valid: the token has 20000 bytes, more than 16384
    "#);
    assert_snapshot!(refused("a".repeat(2_000_000)), @r#"
    exit 1
    --- stderr
    token: standard input holds more than any token
    "#);
}

/// The classic: the public key, which everybody knows, as the secret of an HMAC (RFC 8725 section 2.1).
#[test]
fn a_public_key_is_never_a_secret() {
    let place = Place::new();
    place.run("key generate RS256 --out key.pem");
    let public = place.read("key.pem.pub");
    let signed = forged(r#"{"alg":"HS256"}"#, FAR, "");
    let signed = signed.trim_end_matches('.');
    let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, signed.as_bytes()));
    let token = format!("{signed}.{signature}");
    assert_snapshot!(place.run_on(&token, "token verify --public-key key.pem.pub"), @r#"
    exit 1
    --- stderr
    token is not valid: issuer --public-key: HS256 is not allowed for its keys
    "#);
    assert_snapshot!(place.run_on(&token, "token verify --public-key key.pem.pub --alg HS256"), @r#"
    exit 2
    --- stderr
    token verify: --public-key: `key.pem.pub`: HS256 cannot be used with an RSA key
    "#);
    place.write_as(0o600, "secret", public);
    assert_snapshot!(place.run_on(&token, "token verify --secret secret"), @r#"
    exit 2
    --- stderr
    token verify: --secret: `secret`: the secret is a public or private key; a secret is random bytes, a public key is named with `public_key_file` or `jwks_file`
    "#);
    assert_snapshot!(place.run_on(&token, "token verify --public-key key.pem"), @r#"
    exit 2
    --- stderr
    token verify: --public-key: `key.pem`: it holds a private key; only the public key is needed here
    "#);
}

#[test]
fn the_issuers_of_the_configuration_judge_each_by_its_own_policy() {
    let place = place();
    let issue = |claims: &str| {
        place
            .run(&format!("token issue -c app.toml --sub a {claims}"))
            .data()
    };
    let verify = |token: String| place.run_on(token, "token verify -c app.toml");
    let _masks = masked(&TIMES);
    assert_snapshot!(verify(issue("")), @r#"
    exit 1
    --- stderr
    token is not valid: issuer own: claim `tenant` is missing
    "#);
    assert_snapshot!(verify(issue("--claim tenant=1 --claim iss=https://partner.example")), @r#"
    exit 1
    --- stderr
    token is not valid: issuer partner: HS256 is not allowed for its keys
    "#);
    assert_snapshot!(verify(issue("--claim tenant=1 --claim iss=https://nobody.example")), @r#"
    exit 1
    --- stderr
    token is not valid: no issuer is configured for iss `https://nobody.example`
    "#);
    assert_snapshot!(verify(issue("--claim tenant=1 --audience web")), @r#"
    exit 1
    --- stderr
    token is not valid: issuer own: claim `aud` holds none of the accepted audiences
    "#);
    let token = issue("--claim tenant=1");
    let line = "token verify -c app.toml --claim tenant=2";
    assert_snapshot!(place.run_on(token, line), @r#"
    exit 1
    --- stderr
    token is not valid: claim `tenant` is not 2
    "#);
}

#[test]
fn a_look_at_a_token_makes_no_secret() {
    let place = Place::new();
    place.write(
        "app.toml",
        "[[auth.issuer]]\nname = \"own\"\nsecret_file = \"own.secret\"\ncreate_missing = true\n",
    );
    assert_snapshot!(place.run_on("a.b.c", "token verify -c app.toml"), @r#"
    exit 2
    --- stderr
    config: auth.issuer `own`: `/srv/own.secret` does not exist; destrier makes it when it starts or issues a token
    "#);
    assert_eq!(place.names(), ["app.toml"]);
}

#[test]
fn keys_of_a_set_that_are_no_use_are_told() {
    let place = Place::new();
    place.write_as(
        0o600,
        "keys.json",
        format!(
            r#"{{"keys":[{{"kty":"oct","kid":"new","k":"{}"}},{{"kty":"EC","kid":"old","crv":"secp256k1"}}]}}"#,
            "A".repeat(64)
        ),
    );
    place.write_as(0o600, "other", SECRET);
    let token = place
        .run("token issue --key other --sub a --kid old")
        .data();
    assert_snapshot!(place.run_on(token, "token verify --jwks keys.json"), @r#"
    exit 1
    --- stderr
    warning: auth.issuer `--jwks`: key 2 is skipped: its `kty` `EC` with `crv` `secp256k1` is not supported
    token is not valid: issuer --jwks: no key has the kid `old`
    "#);
}

#[test]
fn wrong_usage_is_told_from_a_token_that_is_not_valid() {
    let place = place();
    place.write("empty.toml", "");
    assert_snapshot!(place.run("token verify --secret nope"), @r#"
    exit 2
    --- stderr
    token verify: --secret: `nope` does not exist; make it with `destrier key generate`, or correct the path
    "#);
    assert_snapshot!(place.run("token verify --secret own.secret --token-file nope"), @r#"
    exit 2
    --- stderr
    token: cannot read `nope`: No such file or directory (os error 2)
    "#);
    assert_snapshot!(place.run("token verify --secret own.secret --alg RS256"), @r#"
    exit 2
    --- stderr
    token verify: --secret: `own.secret`: RS256 cannot be used with a secret
    "#);
    assert_snapshot!(place.run("token verify --secret own.secret --alg HS1"), @r#"
    exit 2
    --- stderr
    token: `--alg` must be one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, found `HS1`
    "#);
    assert_snapshot!(place.run("token verify --jwks own.secret"), @r#"
    exit 2
    --- stderr
    token verify: --jwks: `own.secret`: it is not a JWK or JWK set: not a JSON object
    "#);
    assert_snapshot!(place.run("token verify --secret own.secret --jwks keys.json"), @r#"
    exit 2
    --- stderr
    error: the argument '--secret <FILE>' cannot be used with '--jwks <FILE>'

    Usage: destrier token verify --secret <FILE>

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("token verify -c app.toml --issuer own"), @r#"
    exit 2
    --- stderr
    error: the argument '--config <FILE>' cannot be used with '--issuer <NAME>'

    Usage: destrier token verify --config <FILE>

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("token verify --alg HS256"), @r#"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <--jwks <FILE>|--public-key <FILE>|--secret <FILE>>

    Usage: destrier token verify --alg <LIST> <--jwks <FILE>|--public-key <FILE>|--secret <FILE>>

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("token verify -c empty.toml"), @r#"
    exit 2
    --- stderr
    token verify: `/srv/empty.toml` has no [[auth.issuer]]; name a key with `--secret`, `--public-key` or `--jwks`
    "#);
    assert_snapshot!(place.run("token verify -c app.toml eyJh.eyJh.AAAA"), @r#"
    exit 2
    --- stderr
    token: a token on the command line is shown to every user of this machine; pass it on standard input or with `--token-file`
    "#);
    assert_snapshot!(place.run("token verify eyJh.eyJh.AAAA"), @r#"
    exit 2
    --- stderr
    token: a token on the command line is shown to every user of this machine; pass it on standard input or with `--token-file`
    "#);
}

#[test]
fn a_bound_token_is_judged_alone_and_what_is_needed_besides_is_noted() {
    let place = Place::new();
    place.write_as(0o600, "secret", SECRET);
    let verified = |claim: &str| {
        let mut issue = place.command("token issue --key secret --sub a");
        issue.args(["--claim", claim]);
        let token = place.outcome(issue).data();
        place.run_on(token, "token verify --secret secret")
    };
    let _masks = masked(&TIMES);
    assert_snapshot!(verified(r#"cnf={"jkt":"x"}"#), @r#"
    exit 0
    --- stdout
    {"sub":"a","iat":[time],"exp":[time],"jti":"[random]","cnf":{"jkt":"x"}}
    --- stderr
    note: the token is bound to a key (`cnf.jkt`); a worker asks for a DPoP proof besides, and takes it only from an issuer with `binding = "dpop"`
    "#);
    assert_snapshot!(verified(r#"cnf={"x5t#S256":"x"}"#), @r##"
    exit 0
    --- stdout
    {"sub":"a","iat":[time],"exp":[time],"jti":"[random]","cnf":{"x5t#S256":"x"}}
    --- stderr
    note: the token is bound to a certificate (`cnf.x5t#S256`); a worker asks for the client's certificate besides, and takes it only from an issuer with `binding = "mtls"`
    "##);
    assert_snapshot!(verified(r#"cnf={"kid":"x"}"#), @r#"
    exit 0
    --- stdout
    {"sub":"a","iat":[time],"exp":[time],"jti":"[random]","cnf":{"kid":"x"}}
    "#);
    assert_snapshot!(verified("cnf=x"), @"
    exit 1
    --- stderr
    token is not valid: issuer --secret: claim `cnf` is not an object whose `jkt` and `x5t#S256` are strings
    ");
}

//! `destrier token issue`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use insta::assert_snapshot;
use serde_json::Value;

use super::{SECRET, TIMES, place};
use crate::place::{Place, masked};

/// What a token that `line` issues says.
#[track_caller]
fn issued(place: &Place, line: &str) -> Value {
    let token = place.run(line).data();
    let said = place.run_on(token, "token inspect");
    serde_json::from_str(&said.stdout).unwrap()
}

#[test]
fn the_issuer_of_the_configuration_signs_as_it_verifies() {
    let place = place();
    let line = "token issue -c app.toml --sub alice --scope read --scope write --claim tenant=acme";
    let token = place.run(line).data();
    assert_eq!(token.lines().count(), 1);
    let _masks = masked(&TIMES);
    assert_snapshot!(place.run_on(&token, "token verify -c app.toml"), @r#"
    exit 0
    --- stdout
    {"iss":"https://own.example","sub":"alice","aud":["api","admin"],"iat":[time],"exp":[time],"jti":"[random]","scope":"read write","tenant":"acme"}
    "#);
}

#[test]
fn a_private_key_signs_in_the_name_of_its_issuer() {
    let place = place();
    let line = "token issue -c app.toml --issuer partner --key partner.pem --sub alice";
    let said = issued(&place, line);
    assert_eq!(said["header"]["alg"], "ES256");
    assert_eq!(said["header"]["typ"], "at+jwt");
    assert_eq!(said["claims"]["iss"], "https://partner.example");
    let token = place.run(line).data();
    place.run_on(token, "token verify -c app.toml").data();
}

#[test]
fn a_key_alone_signs_in_nobodys_name() {
    let place = place();
    let said = issued(
        &place,
        "token issue --key partner.pem --sub alice --kid one --ttl 1h",
    );
    assert_eq!(
        said["header"],
        serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": "one"})
    );
    assert_eq!(said["claims"]["sub"], "alice");
    assert!(said["claims"].get("iss").is_none());
    let time = |name: &str| said["claims"][name].as_u64().unwrap();
    assert_eq!(time("exp") - time("iat"), 3600);
}

/// RFC 8037 appendix A.2, and what A.1 adds.
const PUBLIC: &str =
    r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;
const PRIVATE: &str = r#""d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A""#;

#[test]
fn a_jwk_signs_with_what_it_is_made_for_and_names_itself() {
    let place = Place::new();
    let key = format!(
        r#"{{"kty":"oct","kid":"2026","alg":"HS512","k":"{}"}}"#,
        URL_SAFE_NO_PAD.encode(SECRET)
    );
    place.write_as(0o600, "oct.json", key);
    let said = issued(&place, "token issue --key oct.json --sub a");
    assert_eq!(said["header"]["alg"], "HS512");
    assert_eq!(said["header"]["kid"], "2026");
    let token = place.run("token issue --key oct.json --sub a").data();
    place.run_on(token, "token verify --jwks oct.json").data();

    place.write("public.json", format!("{{\"keys\":[{{{PUBLIC}}}]}}"));
    place.write_as(0o600, "private.json", format!("{{{PUBLIC},{PRIVATE}}}"));
    let token = place.run("token issue --key private.json --sub a").data();
    place
        .run_on(token, "token verify --jwks public.json --alg EdDSA")
        .data();
}

#[test]
fn a_claim_is_json_or_else_text_and_the_last_word() {
    let place = Place::new();
    place.write_as(0o600, "secret", SECRET);
    let line = r#"token issue --key secret --sub a --claim roles=["a","b"] --claim tenant=acme --claim n=1 --claim sub=b --claim empty="#;
    let claims = issued(&place, line)["claims"].clone();
    assert_eq!(claims["roles"], serde_json::json!(["a", "b"]));
    assert_eq!(claims["tenant"], "acme");
    assert_eq!(claims["n"], 1);
    assert_eq!(claims["sub"], "b");
    assert_eq!(claims["empty"], "");
}

#[test]
fn audiences_are_one_or_several() {
    let place = place();
    let aud = |line: &str| issued(&place, line)["claims"]["aud"].clone();
    let own = "token issue -c app.toml --sub a";
    assert_eq!(aud(own), serde_json::json!(["api", "admin"]));
    assert_eq!(aud(&format!("{own} --audience x")), "x");
    let several = format!("{own} --audience x --audience y");
    assert_eq!(aud(&several), serde_json::json!(["x", "y"]));
}

#[test]
fn what_cannot_be_signed_is_refused_with_the_reason() {
    let place = place();
    place.write_as(0o644, "readable", SECRET);
    place.write_as(0o600, "short", "0123456789");
    assert_snapshot!(place.run("token issue -c app.toml --sub a --issuer nope"), @r#"
    exit 2
    --- stderr
    token issue: `/srv/app.toml` has no [[auth.issuer]] named `nope`, only `partner`, `own`
    "#);
    assert_snapshot!(place.run("token issue -c app.toml --sub a --issuer partner"), @r#"
    exit 2
    --- stderr
    token issue: issuer `partner` has public keys only, which cannot sign; name its private key with `--key`
    "#);
    assert_snapshot!(place.run("token issue -c app.toml --sub a --key partner.pem"), @r#"
    exit 2
    --- stderr
    token issue: `--issuer` must say in whose name `--key` signs; leave `--config` out to sign in nobody's
    "#);
    assert_snapshot!(place.run("token issue -c app.toml --sub a --issuer partner --key own.secret"), @r#"
    exit 2
    --- stderr
    token issue: the key serves HS256, HS384, HS512, the issuer accepts ES256
    "#);
    assert_snapshot!(place.run("token issue --sub a --key nope"), @r#"
    exit 2
    --- stderr
    token issue: `nope` does not exist; make it with `destrier key generate`, or correct the path
    "#);
    assert_snapshot!(place.run("token issue --sub a --key ."), @r#"
    exit 2
    --- stderr
    token issue: `.` is a directory, not a key file
    "#);
    assert_snapshot!(place.run("token issue --sub a --key readable"), @r#"
    exit 2
    --- stderr
    token issue: `readable` can be read by everyone (mode 0644); run `chmod 600 readable`
    "#);
    assert_snapshot!(place.run("token issue --sub a --key short"), @r#"
    exit 2
    --- stderr
    token issue: `short`: the secret has 10 bytes, HS256 needs at least 32
    "#);
    assert_snapshot!(place.run("token issue --sub a --key partner.pem.pub"), @r#"
    exit 2
    --- stderr
    token issue: `partner.pem.pub`: it is not one unencrypted private key in PEM (RSA of 2048 bits or more, P-256, P-384 or Ed25519)
    "#);
    assert_snapshot!(place.run("token issue --sub a --key partner.pem --alg HS256"), @r#"
    exit 2
    --- stderr
    token issue: HS256 cannot be used with this key, it serves ES256
    "#);
    assert_snapshot!(place.run("token issue --sub a --key own.secret --alg none"), @r#"
    exit 2
    --- stderr
    token: `--alg` must be one of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, found `none`
    "#);
    assert_snapshot!(place.run("token issue --sub a --key own.secret --ttl 0s"), @r#"
    exit 2
    --- stderr
    token: `--ttl` must be 1s to 100 years (36500d), found `0s`
    "#);
    assert_snapshot!(place.run("token issue --sub a --key own.secret --ttl soon"), @r#"
    exit 2
    --- stderr
    token: `--ttl` must be a duration as in 30s or 1h, found `soon`: expected number at 0
    "#);
    assert_snapshot!(place.run("token issue --sub a --key own.secret --claim tenant"), @r#"
    exit 2
    --- stderr
    token: `--claim` must be NAME=VALUE, found `tenant`
    "#);
    assert_snapshot!(place.run("token issue -c app.toml"), @r#"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --sub <NAME>

    Usage: destrier token issue --sub <NAME> --config <FILE>

    For more information, try '--help'.
    "#);
}

#[test]
fn a_configuration_that_cannot_sign_says_so() {
    let place = place();
    place.write("empty.toml", "");
    assert_snapshot!(place.run("token issue -c empty.toml --sub a"), @r#"
    exit 2
    --- stderr
    token issue: no [[auth.issuer]] of `/srv/empty.toml` has a secret; name a key with `--key`
    "#);
    assert_snapshot!(place.run("token issue -c empty.toml --sub a --issuer own"), @r#"
    exit 2
    --- stderr
    token issue: `/srv/empty.toml` has no [[auth.issuer]], so none named `own`
    "#);
}

#[test]
fn a_missing_secret_is_made_where_the_configuration_says_so() {
    let place = Place::new();
    let issuer = "[[auth.issuer]]\nsecret_file = \"own.secret\"\n";
    place.write("app.toml", issuer);
    assert_snapshot!(place.run("token issue -c app.toml --sub a"), @r#"
    exit 2
    --- stderr
    token issue: `/srv/own.secret` does not exist; make it with `destrier key generate`, or correct the path
    "#);
    assert_eq!(place.names(), ["app.toml"]);
    place.write("app.toml", format!("{issuer}create_missing = true\n"));
    let token = place.run("token issue -c app.toml --sub a").data();
    assert_eq!(place.mode("own.secret"), 0o600);
    place.run_on(token, "token verify -c app.toml").data();
}

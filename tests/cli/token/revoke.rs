//! `destrier token revoke`: what was revoked is on the list, and a token is judged by it at once.

use serde_json::{Value, json};

use crate::place::Place;

const CONFIG: &str = r#"[auth.revocation]
file = "revoked.json"
[[auth.issuer]]
name = "own"
secret_file = "own.secret"
[[auth.rule]]
path = "/**"
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("app.toml", CONFIG);
    place.write_as(0o600, "own.secret", super::SECRET);
    place.write("revoked.json", "{\"revoked\": []}");
    place
}

fn list(place: &Place) -> Vec<Value> {
    let list: Value = serde_json::from_str(&place.read("revoked.json")).unwrap();
    list["revoked"].as_array().unwrap().clone()
}

#[test]
fn a_revoked_token_is_on_the_list_and_not_valid_any_more() {
    let place = place();
    let issued = place.run("token issue -c app.toml --sub alice");
    place.write("token", issued.stdout.trim());
    let verify = "token verify -c app.toml --token-file token";
    assert_eq!(place.run(verify).code, Some(0));
    let outcome = place.run("token revoke -c app.toml --token-file token");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let refused = place.run(verify);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused
            .stderr
            .contains("the token is revoked: its jti is on a deny list"),
        "{refused:?}"
    );
    assert!(list(&place)[0]["exp"].is_u64());
    let again = place.run("token revoke -c app.toml --token-file token");
    assert!(again.stderr.contains("already"), "{again:?}");
    assert_eq!(list(&place).len(), 1);
}

#[test]
fn the_tokens_of_a_subject_end_but_not_those_that_come_later() {
    let place = place();
    let outcome = place.run("token revoke -c app.toml --sub alice --iss own --ttl 1h");
    assert_eq!(
        outcome.stderr.trim_end(),
        "the tokens of `alice` that were issued until now are on `/srv/revoked.json`"
    );
    let entry = &list(&place)[0];
    assert_eq!(
        (&entry["sub"], &entry["iss"]),
        (&json!("alice"), &json!("own"))
    );
    let (before, exp) = (entry["issued_before"].as_u64(), entry["exp"].as_u64());
    assert_eq!(exp.unwrap() - before.unwrap(), 3599);
    place.run("token revoke -c app.toml --sub bob --for-good");
    assert_eq!(list(&place)[1], json!({"sub": "bob"}));
    place.run("token revoke -c app.toml --sid 7");
    assert_eq!(list(&place)[2], json!({"sid": "7"}));
}

#[test]
fn what_cannot_be_done_is_told_and_nothing_is_written() {
    let place = place();
    for words in ["", "--jti a --sub b", "--jti a --for-good"] {
        let line = format!("token revoke -c app.toml {words}");
        assert_eq!(place.run(&line).code, Some(2), "{words}");
    }
    place.write("revoked.json", "{\"revoked\": [{\"jit\": \"a\"}]}");
    let outcome = place.run("token revoke -c app.toml --jti a");
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("revoked.json"), "{outcome:?}");
    assert!(place.read("revoked.json").contains("jit"));
    place.write("app.toml", CONFIG.replace("file = \"revoked.json\"", ""));
    let outcome = place.run("token revoke -c app.toml --jti a");
    assert_eq!(outcome.code, Some(2));
    assert!(
        outcome.stderr.contains("has no `auth.revocation.file`")
            && outcome
                .stderr
                .contains("hint: put `{\"revoked\": []}` into a file, set `file ="),
        "{outcome:?}"
    );
}

#[test]
fn a_list_that_is_missing_is_told_with_what_makes_it() {
    let place = place();
    std::fs::remove_file(place.path("revoked.json")).unwrap();
    let outcome = place.run("token revoke -c app.toml --jti a");
    assert_eq!(outcome.code, Some(2));
    assert_eq!(
        outcome.stderr,
        "token: `/srv/revoked.json`, which `auth.revocation.file` names, does not exist\n\
         hint: put `{\"revoked\": []}` into a file there; workers read it, so it is no secret\n"
    );
    assert!(!place.names().contains(&"revoked.json".to_owned()));
}

#[test]
fn a_lifetime_that_no_token_has_is_refused() {
    let place = place();
    for ttl in ["0s", "999ms", "99999999d", "36501d"] {
        let outcome = place.run(&format!("token revoke -c app.toml --jti a --ttl {ttl}"));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        let told = format!("token: `--ttl` must be 1s to 100 years (36500d), found `{ttl}`\n");
        assert_eq!(outcome.stderr, told);
    }
    assert!(list(&place).is_empty());
    let outcome = place.run("token revoke -c app.toml --jti a --ttl 36500d");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn a_file_without_a_token_that_could_be_revoked_is_wrong_usage() {
    let place = place();
    let nameless = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AA";
    place.write("empty", "");
    place.write("words", "no token");
    place.write("text", "abc");
    place.write("nameless", nameless);
    for file in ["missing", "empty", "words", "text", "nameless"] {
        let outcome = place.run(&format!("token revoke -c app.toml --token-file {file}"));
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.starts_with("token"), "{outcome:?}");
        assert!(!outcome.stderr.contains(nameless));
    }
    assert!(list(&place).is_empty());
}

#[test]
fn whoever_else_changes_files_of_the_folder_is_waited_for() {
    let place = place();
    place.assert_waits_for_the_folder("token revoke -c app.toml --jti a");
    assert_eq!(list(&place).len(), 1);
}

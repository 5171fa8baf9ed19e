//! `destrier key generate`: keys that nobody else can read, that never replace another, whole or not at all.

use insta::assert_snapshot;

use crate::place::Place;

const PAIRS: [&str; 4] = ["RS256", "ES256", "ES384", "EdDSA"];
const SECRETS: [(&str, usize); 3] = [("HS256", 32), ("HS384", 48), ("HS512", 64)];

#[test]
fn a_pair_signs_and_verifies() {
    let place = Place::new();
    for algorithm in PAIRS {
        let outcome = place.run(&format!("key generate {algorithm} --out {algorithm}.pem"));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(outcome.stdout, "", "a key is no data for a pipe");
        let private = format!("{algorithm}.pem");
        assert_eq!(place.mode(&private), 0o600);
        assert_eq!(place.mode(&format!("{private}.pub")), 0o644);
        let token = place.run(&format!("token issue --key {private} --sub alice"));
        let verify = format!("token verify --public-key {private}.pub --alg {algorithm}");
        let claims = place.run_on(token.data(), &verify).data();
        assert!(claims.contains("\"sub\":\"alice\""), "{claims}");
    }
}

#[test]
fn a_secret_is_as_long_as_its_algorithm_wants() {
    let place = Place::new();
    for (algorithm, bytes) in SECRETS {
        let outcome = place.run(&format!("key generate {algorithm} --out {algorithm}"));
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
        assert_eq!(place.mode(algorithm), 0o600);
        assert!(place.read(algorithm).trim_end().len() >= bytes);
        let token = place.run(&format!(
            "token issue --key {algorithm} --sub a --alg {algorithm}"
        ));
        let verify = format!("token verify --secret {algorithm} --alg {algorithm}");
        place.run_on(token.data(), &verify).data();
    }
    assert_eq!(place.names(), ["HS256", "HS384", "HS512"]);
}

#[test]
fn it_says_where_the_keys_are() {
    let place = Place::new();
    assert_snapshot!(place.run("key generate hs256 -o a.secret"), @r#"
    exit 0
    --- stderr
    secret in `a.secret`
    "#);
    assert_snapshot!(place.run("key generate EDDSA -o b.pem --public-out b.pub.pem"), @r#"
    exit 0
    --- stderr
    private key in `b.pem`, public key in `b.pub.pem`
    "#);
    // One RSA key serves both families.
    assert_snapshot!(place.run("key generate PS512 -o c.pem"), @r#"
    exit 0
    --- stderr
    private key in `c.pem`, public key in `c.pem.pub`
    "#);
}

#[test]
fn an_existing_file_is_never_overwritten_and_no_half_remains() {
    let place = Place::new();
    place.write("old", "precious");
    assert_snapshot!(place.run("key generate HS256 -o old"), @r#"
    exit 1
    --- stderr
    key generate: `old` exists and is not overwritten; remove it or choose another name
    "#);
    assert_snapshot!(place.run("key generate ES256 -o old --public-out new.pub"), @r#"
    exit 1
    --- stderr
    key generate: `old` exists and is not overwritten; remove it or choose another name
    "#);
    assert_snapshot!(place.run("key generate ES256 -o new --public-out old"), @r#"
    exit 1
    --- stderr
    key generate: `old` exists and is not overwritten; remove it or choose another name
    "#);
    assert_snapshot!(place.run("key generate ES256 -o new --public-out nowhere/new.pub"), @r#"
    exit 1
    --- stderr
    key generate: cannot write `nowhere/new.pub`: its folder does not exist
    "#);
    assert_snapshot!(place.run("key generate ES256 -o nowhere/new"), @r#"
    exit 1
    --- stderr
    key generate: cannot write `nowhere/new`: its folder does not exist
    "#);
    assert_eq!(place.names(), ["old"]);
    assert_eq!(place.read("old"), "precious");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let place = Place::new();
    assert_snapshot!(place.run("key generate ES256 -o same --public-out same"), @r#"
    exit 2
    --- stderr
    key generate: `--out` and `--public-out` are the same file
    "#);
    assert_snapshot!(place.run("key generate HS256 -o a --public-out a.pub"), @r#"
    exit 2
    --- stderr
    key generate: a shared secret has no public half, leave out `--public-out`
    "#);
    assert_snapshot!(place.run("key generate HS256 -o -"), @r#"
    exit 2
    --- stderr
    key generate: a key goes to a file, which nobody else can read, not to standard output
    "#);
    assert_snapshot!(place.run("key generate HS256"), @r#"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --out <FILE>

    Usage: destrier key generate --out <FILE> <ALGORITHM>

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("key generate none -o a"), @r#"
    exit 2
    --- stderr
    error: invalid value 'none' for '<ALGORITHM>'
      [possible values: HS256, HS384, HS512, RS256, ES256, ES384, EdDSA]

    For more information, try '--help'.
    "#);
    assert_snapshot!(place.run("key generate ES256 -o .."), @r#"
    exit 1
    --- stderr
    key generate: cannot write `..`: it does not name a file
    "#);
    assert!(place.names().is_empty());
}

const CONFIG: &str = r#"
[auth.tokens]
database = "sqlite:tokens.db"
signing_key_file = "key.pem"
refresh_lifetime = "1d"
[[auth.issuer]]
name = "own"
jwks_file = "keys.json"
[[auth.rule]]
path = "/**"
"#;

/// A token service whose key can be rotated.
fn rotated() -> Place {
    let place = Place::new();
    place.write("destrier.toml", CONFIG);
    let made = place.run("key generate ES256 --out key.pem --jwks-out keys.json");
    assert_eq!(made.code, Some(0), "{made:?}");
    place
}

#[test]
fn rotate_waits_for_whoever_else_changes_files_of_the_folder() {
    let place = rotated();
    place.assert_waits_for_the_folder("key rotate add");
    assert!(place.names().contains(&"key.pem.next".to_owned()));
}

/// What `key rotate` says, with names and times of keys by other names.
fn rotate(place: &Place, words: &str) -> String {
    let outcome = place.run(&format!("key rotate {words}")).to_string();
    let mut shown = outcome;
    for (number, kid) in kids(place).iter().enumerate() {
        shown = shown.replace(kid, &format!("KEY{number}"));
    }
    shown
}

fn kids(place: &Place) -> Vec<String> {
    let set: serde_json::Value = serde_json::from_str(&place.read("keys.json")).unwrap();
    let kid = |key: &serde_json::Value| key["kid"].as_str().unwrap().to_owned();
    set["keys"].as_array().unwrap().iter().map(kid).collect()
}

#[test]
fn a_key_follows_another_in_three_steps_each_of_which_can_be_repeated() {
    insta::with_settings!({filters => vec![(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME")]}, {
        let place = rotated();
        let first = kids(&place);
        assert_snapshot!(rotate(&place, "promote"), @r#"
        exit 1
        --- stderr
        key rotate: there is no next key in `/srv/key.pem.next`; run `destrier key rotate add` first
        "#);
        assert_snapshot!(rotate(&place, "retire"), @r#"
        exit 0
        --- stderr
        there is no former key to retire
        "#);
        assert_snapshot!(rotate(&place, "add"), @r#"
        exit 0
        --- stderr
        next key `KEY1` (ES256): private in `/srv/key.pem.next`, public in `/srv/keys.json`
        from TIME on, when whoever fetches the set knows it: `destrier key rotate promote`
        "#);
        let added = place.read("key.pem.next");
        assert_eq!((place.mode("key.pem.next"), place.mode("keys.json")), (0o600, 0o644));
        assert_snapshot!(rotate(&place, "add"), @r#"
        exit 0
        --- stderr
        the next key (ES256) is in `/srv/key.pem.next` already, its public half in `/srv/keys.json`
        from TIME on, when whoever fetches the set knows it: `destrier key rotate promote`
        "#);
        assert_snapshot!(rotate(&place, "add --algorithm EdDSA"), @r#"
        exit 1
        --- stderr
        key rotate: `/srv/key.pem.next` is there already, with a key of another kind (ES256); remove it to make another one
        "#);
        assert_eq!(kids(&place).len(), 2);
        assert_snapshot!(rotate(&place, "promote"), @r#"
        exit 1
        --- stderr
        key rotate: the next key was added less than 1h ago, and whoever fetched the set before may not know it: wait until TIME, or say `--now`
        "#);
        assert_eq!(place.read("key.pem.next"), added);
        assert_snapshot!(rotate(&place, "promote --now"), @r#"
        exit 0
        --- stderr
        `/srv/key.pem` is the next key now, the former one is in `/srv/key.pem.previous`
        from TIME on, when the tokens of the former one have ended: `destrier key rotate retire`
        "#);
        assert_eq!((place.read("key.pem"), place.mode("key.pem")), (added, 0o600));
        assert_snapshot!(rotate(&place, "promote"), @r#"
        exit 0
        --- stderr
        the next key signs already
        from TIME on, when the tokens of the former one have ended: `destrier key rotate retire`
        "#);
        assert_eq!(place.run("check -c destrier.toml").code, Some(0));
        assert_snapshot!(rotate(&place, "retire"), @r#"
        exit 1
        --- stderr
        key rotate: tokens of KEY0 may be valid until TIME: wait until then, or say `--now` to end them
        "#);
        assert_eq!(kids(&place).len(), 2);
        let gone = format!("out of `/srv/keys.json`: `{}`", first[0]);
        let outcome = place.run("key rotate retire --now");
        assert!(outcome.stderr.contains(&gone), "{outcome}");
        assert_snapshot!(rotate(&place, "retire"), @r#"
        exit 0
        --- stderr
        there is no former key to retire
        "#);
        assert_eq!(place.names(), ["destrier.toml", "key.pem", "keys.json"]);
        assert_eq!(place.run("check -c destrier.toml").code, Some(0));
    });
}

#[test]
fn what_was_left_half_done_is_finished() {
    let place = rotated();
    let before = place.read("keys.json");
    assert_eq!(place.run("key rotate add").code, Some(0));
    // As if the set had not been written.
    let next = place.read("key.pem.next");
    place.write("keys.json", &before);
    let refused = place.run("key rotate promote --now");
    assert!(
        refused
            .stderr
            .contains("run `destrier key rotate add` again"),
        "{refused}"
    );
    assert_eq!(place.run("key rotate add").code, Some(0));
    assert_eq!((place.read("key.pem.next"), kids(&place).len()), (next, 2));
    // As if the former key had been kept, and no more.
    std::fs::hard_link(place.path("key.pem"), place.path("key.pem.previous")).unwrap();
    let former = place.read("key.pem");
    assert_eq!(place.run("key rotate promote --now").code, Some(0));
    assert_eq!(place.read("key.pem.previous"), former);
    assert_ne!(place.read("key.pem"), former);
}

#[test]
fn a_key_can_be_followed_by_one_of_another_kind_that_the_issuer_accepts() {
    let place = rotated();
    assert_eq!(place.run("key rotate add --algorithm EdDSA").code, Some(0));
    assert_eq!(place.run("key rotate promote --now").code, Some(0));
    assert_eq!(place.run("check -c destrier.toml").code, Some(0));
    let place = rotated();
    let only = CONFIG.replace("jwks_file", "algorithms = [\"ES256\"]\njwks_file");
    place.write("destrier.toml", only);
    assert_snapshot!(rotate(&place, "add --algorithm EdDSA"), @r#"
    exit 1
    --- stderr
    key rotate: auth.issuer `own`: the key serves EdDSA, the issuer accepts ES256
    "#);
    assert_eq!(place.names(), ["destrier.toml", "key.pem", "keys.json"]);
}

#[test]
fn keys_that_cannot_be_rotated_are_told() {
    let place = rotated();
    place.write("destrier.toml", "");
    assert_snapshot!(rotate(&place, "add"), @r#"
    exit 2
    --- stderr
    key rotate: there is no token service: the configuration has no `auth.tokens.database`
    "#);
    place.write(
        "destrier.toml",
        CONFIG.replace("jwks_file", "public_key_file"),
    );
    assert_snapshot!(rotate(&place, "add"), @r#"
    exit 2
    --- stderr
    key rotate: `auth.tokens` must have a `signing_key_file` and its issuer `own` a `jwks_file`: only a set can hold the old and the next key
    "#);
    place.write("destrier.toml", CONFIG);
    let set = place.read("keys.json");
    let private = set.replace("\"use\"", "\"d\": \"AAAA\", \"use\"");
    place.write_as(0o600, "keys.json", private);
    assert_snapshot!(rotate(&place, "add"), @r#"
    exit 1
    --- stderr
    key rotate: `/srv/keys.json` holds a secret or private key; it is published, and may hold public keys only
    "#);
    place.write("keys.json", set);
    let other = place.run("key generate ES256 --out key2.pem");
    assert_eq!(other.code, Some(0));
    place.write_as(0o600, "key.pem", place.read("key2.pem"));
    assert_snapshot!(rotate(&place, "add"), @r#"
    exit 1
    --- stderr
    key rotate: `/srv/keys.json` does not hold the public half of `/srv/key.pem`, so its tokens are refused as it is
    "#);
    assert_snapshot!(rotate(&place, "add --algorithm HS256"), @r#"
    exit 1
    --- stderr
    key rotate: `/srv/keys.json` does not hold the public half of `/srv/key.pem`, so its tokens are refused as it is
    "#);
}

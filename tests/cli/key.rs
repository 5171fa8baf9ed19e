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

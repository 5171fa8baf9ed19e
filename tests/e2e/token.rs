//! What `destrier token verify` answers to whoever runs it over many tokens: 0 valid, 1 not valid, 2 wrong usage.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use destrier::sys::clock;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{self, Outcome, destrier};

const SECRET: &[u8; 64] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// [`SECRET`] as the `k` of a JWK.
const K: &str =
    "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg";

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.put("set", 0o600, own_set().to_string());
        place.put("token", 0o644, token());
        place
    }

    fn put(&self, name: &str, mode: u32, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// `destrier LINE`; a blank ends a word.
    #[track_caller]
    fn destrier(&self, line: &str) -> Outcome {
        let mut command = command::command(&destrier());
        command
            .args(line.split_whitespace())
            .current_dir(self.0.path());
        command::run(command)
    }

    #[track_caller]
    fn verify(&self, line: &str) -> Outcome {
        self.destrier(&format!("token verify {line}"))
    }

    /// With the set as it is, and this token.
    #[track_caller]
    fn verify_token(&self, token: impl AsRef<[u8]>) -> Outcome {
        self.put("other", 0o644, token);
        self.verify("--jwks set --token-file other")
    }

    /// With the token as it is, and this set.
    #[track_caller]
    fn verify_with(&self, mode: u32, set: &Value) -> Outcome {
        self.put("keys", mode, set.to_string());
        self.verify("--jwks keys --alg HS256,RS256 --token-file token")
    }
}

fn own_key() -> Value {
    json!({"kty": "oct", "kid": "own", "alg": "HS256", "k": K})
}

fn own_set() -> Value {
    json!({"keys": [own_key()]})
}

fn token() -> String {
    let claims = json!({"sub": "u", "exp": clock::unix().as_secs() + 600});
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("own".to_owned());
    encode(&header, &claims, &EncodingKey::from_secret(SECRET).unwrap()).unwrap()
}

#[test]
fn keys_that_others_can_read_are_a_warning_on_the_command_line() {
    let place = Place::new();
    let outcome = place.verify_with(0o644, &own_set());
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(
        outcome
            .stderr
            .starts_with("warning: --jwks: `keys` can be read by everyone"),
        "{outcome:?}"
    );
    place.put("secret", 0o644, SECRET);
    let outcome = place.verify("--secret secret --token-file token");
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let outcome = place.verify_with(0o600, &own_set());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_set_without_a_key_that_can_be_used_makes_every_token_invalid() {
    let place = Place::new();
    for set in [
        json!({"keys": []}),
        json!({"keys": [{"kty": "EC", "crv": "secp256k1"}]}),
        json!({"kty": "oct", "k": K, "alg": "HS384"}),
        json!({"kty": "oct", "k": "AAAA"}),
    ] {
        let outcome = place.verify_with(0o600, &set);
        assert_eq!(outcome.code, Some(1), "{set}: {outcome:?}");
        assert!(
            outcome.stderr.starts_with("token is not valid: --jwks: "),
            "{outcome:?}"
        );
    }
}

#[test]
fn one_key_or_a_set_with_keys_of_others_is_as_good() {
    let place = Place::new();
    let foreign = json!([
        {"kty": "EC", "crv": "secp256k1", "kid": "a"},
        {"kty": "OKP", "crv": "X25519", "x": "AAAA", "use": "enc"},
        own_key(),
        {"kty": "unheard"}, {}, 7,
    ]);
    for set in [own_key(), json!({"keys": foreign, "more": {"a": [1]}})] {
        let outcome = place.verify_with(0o600, &set);
        assert_eq!(outcome.code, Some(0), "{set}: {outcome:?}");
    }
}

#[test]
fn a_token_that_is_none_is_not_valid() {
    let place = Place::new();
    let valid = token();
    for (what, text) in [
        ("nothing", String::new()),
        ("white space", " \r\n\t\n".to_owned()),
        ("two tokens", format!("{valid}\n{valid}")),
        ("a scheme", format!("Bearer {valid}")),
        ("more than any token", "A".repeat(20_000)),
        ("far more", "A".repeat(3_000_000)),
        (
            "something after a long blank",
            format!("{valid}{}x", " ".repeat(40_000)),
        ),
        ("a NUL", format!("{valid}\0")),
    ] {
        let outcome = place.verify_token(&text);
        assert_eq!(outcome.code, Some(1), "{what}: {outcome:?}");
        assert!(!outcome.stderr.contains("panicked"), "{what}: {outcome:?}");
    }
    assert_eq!(place.verify_token(b"\xff\xfe.a.b").code, Some(1));
    assert_eq!(place.verify_token(format!("\n {valid} \n")).code, Some(0));
}

#[test]
fn a_pipe_gives_keys_and_tokens() {
    let place = Place::new();
    place.put("secret", 0o600, SECRET);
    for options in [
        "--jwks <(cat set) --token-file <(cat token)",
        "--secret <(cat secret) --token-file token",
        "--jwks /dev/stdin --token-file token <set",
    ] {
        let mut shell = command::command("bash".as_ref());
        let line = format!("cat set | \"$0\" token verify {options}");
        shell
            .args(["-c", &line])
            .arg(destrier())
            .current_dir(place.0.path())
            .stdin(File::open("/dev/null").unwrap());
        let outcome = command::run(shell);
        assert_eq!(outcome.code, Some(0), "{options}: {outcome:?}");
    }
}

#[test]
fn a_private_key_is_found_behind_other_text() {
    let place = Place::new();
    place.destrier("key generate ES256 --out key.pem");
    let pem = fs::read_to_string(place.0.path().join("key.pem")).unwrap();
    place.put(
        "bag",
        0o600,
        format!("Bag Attributes\n    friendlyName: x\n{pem}"),
    );
    let issued = place.destrier("token issue --key bag --sub u");
    assert_eq!(issued.code, Some(0), "{issued:?}");
    place.put("issued", 0o644, &issued.stdout);
    let verified = place.verify("--public-key key.pem.pub --token-file issued");
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn a_public_key_signs_nothing_as_a_secret() {
    let place = Place::new();
    place.destrier("key generate ES256 --out key.pem");
    let pem = fs::read_to_string(place.0.path().join("key.pem.pub")).unwrap();
    place.put("commented", 0o600, format!("# our key\n{pem}"));
    for line in [
        "token issue --key commented --sub u",
        "token verify --secret commented --token-file token",
    ] {
        let outcome = place.destrier(line);
        assert_eq!(outcome.code, Some(2), "{line}: {outcome:?}");
    }
}

#[test]
fn leeway_is_a_number_of_seconds_or_a_duration() {
    let place = Place::new();
    let now = clock::unix().as_secs();
    let claims = json!({"sub": "u", "exp": now - 5, "nbf": now + 40});
    let key = EncodingKey::from_secret(SECRET).unwrap();
    place.put(
        "late",
        0o644,
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap(),
    );
    for (leeway, code) in [
        ("60", 0),
        ("60s", 0),
        ("1m", 0),
        ("600", 0),
        ("0", 1),
        ("6", 1),
    ] {
        let outcome = place.verify(&format!("--jwks set --leeway {leeway} --token-file late"));
        assert_eq!(outcome.code, Some(code), "{leeway}: {outcome:?}");
    }
}

#[test]
fn a_claim_is_compared_as_json_or_else_as_text() {
    let place = Place::new();
    let exp = clock::unix().as_secs() + 60;
    let claims = json!({"exp": exp, "n": 42, "s": "42", "t": "a b", "l": ["x"]});
    let key = EncodingKey::from_secret(SECRET).unwrap();
    place.put(
        "some",
        0o644,
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap(),
    );
    for (claim, code) in [
        ("n=42", 0),
        ("s=\"42\"", 0),
        ("l=[\"x\"]", 0),
        ("s=42", 1),
        ("n=\"42\"", 1),
        ("l=x", 1),
        ("m=1", 1),
    ] {
        let outcome = place.verify(&format!("--jwks set --claim {claim} --token-file some"));
        assert_eq!(outcome.code, Some(code), "{claim}: {outcome:?}");
    }
}

#[test]
fn wrong_usage_is_not_a_verdict_on_the_token() {
    let place = Place::new();
    for line in [
        "--jwks missing --token-file token",
        "--jwks set --token-file missing",
        "--jwks . --token-file token",
        "--jwks token --token-file token",
        "--jwks set --alg none --token-file token",
        "--jwks set --leeway soon --token-file token",
        "--jwks set --leeway 601 --token-file token",
        "--jwks set --leeway 1.5 --token-file token",
        "--jwks set --leeway 500ms --token-file token",
        "--jwks set --claim x --token-file token",
        "--jwks set --unheard",
    ] {
        let outcome = place.verify(line);
        assert_eq!(outcome.code, Some(2), "{line}: {outcome:?}");
    }
}

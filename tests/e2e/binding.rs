//! A token that is bound to a key or a certificate opens nothing for whoever has the token alone.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use destrier::sys::clock;
use http_body_util::Empty;
use hyper::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::client::{Address, Answer, Blocking};
use crate::support::server::{Server, Setup};

const SECRET: &str = "a secret of thirty-two octets!!!";

/// Everything needs a token of one issuer, bound as `binding` says.
fn auth(binding: &str) -> String {
    format!(
        "[[auth.issuer]]\nname = \"own\"\nsecret_file = \"secret\"\nbinding = \"{binding}\"\n[[auth.rule]]\npath = \"/**\"\n"
    )
}

fn setup(binding: &str, workers: i64) -> Setup {
    let mut setup = Setup::new().set("workers.count", workers);
    setup.config.set_auth(&auth(binding));
    let secret = setup.folder().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    setup
}

fn token(cnf: &Value) -> String {
    let now = clock::unix().as_secs();
    let claims = json!({"sub": "alice", "iat": now, "exp": now + 300, "cnf": cnf});
    let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
    encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sha256(bytes: &[u8]) -> String {
    base64url(digest(&SHA256, bytes))
}

/// Somebody with a key, and a token that is bound to it.
struct Client {
    key: EcdsaKeyPair,
    x: String,
    y: String,
    token: String,
}

impl Client {
    fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (base64url(x), base64url(y));
        // RFC 7638 section 3.1: these members, in this order.
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let token = token(&json!({"jkt": sha256(members.as_bytes())}));
        Self { key, x, y, token }
    }

    /// A proof that no other one is like, for `GET` of `path`.
    fn proof(&self, path: &str) -> String {
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": self.x, "y": self.y});
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let payload = json!({
            "jti": format!("{:016x}", fastrand::u64(..)),
            "htm": "GET",
            "htu": format!("https://test{path}"),
            "iat": clock::unix().as_secs(),
            "ath": sha256(self.token.as_bytes()),
        });
        let message = format!(
            "{}.{}",
            base64url(header.to_string()),
            base64url(payload.to_string())
        );
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes());
        format!("{message}.{}", base64url(signature.unwrap()))
    }

    fn authorization(&self, scheme: &str) -> String {
        format!("{scheme} {}", self.token)
    }

    /// Shows the token with this proof, on a connection of its own.
    fn show(&self, address: &Address, proof: &str) -> Answer {
        let authorization = self.authorization("DPoP");
        let fields = [("authorization", authorization.as_str()), ("dpop", proof)];
        ask(address, "/pid", &fields)
    }
}

fn ask(address: &Address, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", "test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request: Request<Empty<Bytes>> = request.body(Empty::new()).unwrap();
    Blocking::open(address).unwrap().send(request).unwrap()
}

#[track_caller]
fn assert_replay(answer: &Answer) {
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(answer.json()["code"], "invalid_dpop_proof");
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.starts_with("DPoP realm=\"destrier\", algs=\"ES256 "),
        "{challenge}"
    );
    assert!(
        challenge.ends_with("error=\"invalid_dpop_proof\""),
        "{challenge}"
    );
}

/// Shows new proofs, each of which passes, until every worker has had one.
#[track_caller]
fn shown_to_all(server: &Server, client: &Client) -> Vec<String> {
    let address = server.address();
    let all: BTreeSet<u32> = server.pids().into_iter().collect();
    let (mut reached, mut proofs) = (BTreeSet::new(), Vec::new());
    while reached != all {
        assert!(proofs.len() < 1000, "{reached:?} of {all:?}");
        let proof = client.proof("/pid");
        let answer = client.show(&address, &proof);
        assert_eq!(answer.status, 200, "{answer:?}");
        reached.insert(answer.pid().unwrap());
        proofs.push(proof);
    }
    proofs
}

/// Shows each of them to whichever worker takes it.
#[track_caller]
fn assert_spent(server: &Server, client: &Client, proofs: &[String]) {
    for _ in 0..4 {
        for proof in proofs {
            assert_replay(&client.show(&server.address(), proof));
        }
    }
}

#[test]
fn a_proof_passes_once_whoever_it_is_shown_to() {
    let server = setup("dpop", 4).start();
    server.until_workers(4);
    let client = Client::new();
    let mut proofs = shown_to_all(&server, &client);
    assert_spent(&server, &client, &proofs);
    server.reload();
    server.until_workers(4);
    assert_spent(&server, &client, &proofs);
    proofs.extend(shown_to_all(&server, &client));
    server.upgrade();
    server.until_workers(4);
    assert_spent(&server, &client, &proofs);
    proofs.extend(shown_to_all(&server, &client));
    server.reload();
    server.until_workers(4);
    assert_spent(&server, &client, &proofs);
}

#[test]
fn of_sixteen_clients_with_one_proof_exactly_one_passes() {
    let server = setup("dpop", 4).start();
    server.until_workers(4);
    let client = Client::new();
    let address = server.address();
    for _ in 0..20 {
        let proof = client.proof("/pid");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let show = || client.show(&address, &proof).status;
            let shows: Vec<_> = (0..16).map(|_| scope.spawn(show)).collect();
            shows.into_iter().map(|show| show.join().unwrap()).collect()
        });
        let passed = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(passed, 1, "{statuses:?}");
        assert!(
            statuses.iter().all(|status| [200, 401].contains(status)),
            "{statuses:?}"
        );
    }
}

#[test]
fn a_reload_may_begin_to_ask_for_proofs() {
    let mut server = setup("none", 2).start();
    let client = Client::new();
    let refused = client.show(&server.address(), &client.proof("/pid"));
    assert_eq!(refused.json()["code"], "token_not_valid");
    server.config.set_auth(&auth("dpop"));
    server.config.write();
    server.reload();
    server.until_workers(2);
    let proofs = shown_to_all(&server, &client);
    assert_spent(&server, &client, &proofs);
}

#[test]
fn a_token_that_is_bound_is_no_bearer_token() {
    for binding in ["none", "dpop"] {
        let server = setup(binding, 1).start();
        let client = Client::new();
        let (bearer, proof) = (client.authorization("Bearer"), client.proof("/pid"));
        let answer = ask(
            &server.address(),
            "/pid",
            &[("authorization", bearer.as_str()), ("dpop", &proof)],
        );
        assert_eq!(answer.status, 401);
        assert_eq!(answer.json()["code"], "token_not_valid");
        let unbound = format!("Bearer {}", token(&json!({})));
        let answer = ask(&server.address(), "/pid", &[("authorization", &unbound)]);
        assert_eq!(answer.status, if binding == "none" { 200 } else { 401 });
    }
}

#[test]
fn a_token_without_its_proof_is_told_what_is_missing() {
    let server = setup("dpop", 1).start();
    let client = Client::new();
    let address = server.address();
    let missing = ask(&address, "/pid", &[]);
    let challenge = missing.headers["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.starts_with("DPoP ") && !challenge.contains("error"),
        "{challenge}"
    );
    let dpop = client.authorization("DPoP");
    assert_replay(&ask(&address, "/pid", &[("authorization", &dpop)]));
    let elsewhere = client.proof("/me");
    assert_replay(&client.show(&address, &elsewhere));
    let (one, other) = (client.proof("/pid"), client.proof("/pid"));
    let both = [
        ("authorization", dpop.as_str()),
        ("dpop", &one),
        ("dpop", &other),
    ];
    assert_replay(&ask(&address, "/pid", &both));
    // None of it has spent the proof.
    assert_eq!(client.show(&address, &one).status, 200);
}

const CERTIFICATE: &[u8] = b"the DER of a certificate, which the proxy has looked at";

fn certificate_of(bytes: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(bytes))
}

fn show_certificate(server: &Server, certificate: Option<&str>) -> Answer {
    let bearer = format!(
        "Bearer {}",
        token(&json!({"x5t#S256": sha256(CERTIFICATE)}))
    );
    let mut fields = vec![("authorization", bearer.as_str())];
    fields.extend(certificate.map(|certificate| ("client-cert", certificate)));
    ask(&server.address(), "/headers", &fields)
}

#[test]
fn a_certificate_counts_where_a_trusted_proxy_passes_it_on() {
    let server = setup("mtls", 1)
        .set("server.trusted_proxies", "127.0.0.0/8")
        .start();
    let right = certificate_of(CERTIFICATE);
    assert_eq!(show_certificate(&server, Some(&right)).status, 200);
    for wrong in [None, Some(certificate_of(b"another"))] {
        let answer = show_certificate(&server, wrong.as_deref());
        assert_eq!(answer.status, 401, "{wrong:?}");
        assert_eq!(answer.json()["code"], "token_not_valid");
    }
    assert_eq!(show_certificate(&server, Some("rubbish")).status, 400);
}

#[test]
fn a_certificate_does_not_count_where_anybody_else_passes_it_on() {
    let server = setup("mtls", 1)
        .set("server.trusted_proxies", "192.0.2.1")
        .start();
    let right = certificate_of(CERTIFICATE);
    assert_eq!(show_certificate(&server, Some(&right)).status, 401);
    // Where nobody asks for certificates the application does not see one either.
    let server = Setup::new().set("workers.count", 1).start();
    let fields = [
        ("client-cert", right.as_str()),
        ("client_cert", &right),
        ("x-kept", "1"),
    ];
    let answer = ask(&server.address(), "/headers", &fields);
    let seen = answer.json()["headers"].clone();
    let names: Vec<_> = seen.as_object().unwrap().keys().collect();
    assert_eq!(names, ["host", "x-kept"]);
}

#[test]
fn a_peer_on_a_unix_socket_is_trusted_where_the_configuration_says_so() {
    for (proxies, status) in [("unix", 200), ("127.0.0.1", 401)] {
        let server = setup("mtls", 1)
            .set("server.bind", "unix:app.sock")
            .set("server.trusted_proxies", proxies)
            .start();
        let right = certificate_of(CERTIFICATE);
        assert_eq!(
            show_certificate(&server, Some(&right)).status,
            status,
            "{proxies}"
        );
    }
}

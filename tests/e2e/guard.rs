//! A request without a valid token never reaches the application.

use bytes::Bytes;
use destrier::sys::clock;
use http_body_util::Empty;
use hyper::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::client::{Address, Answer, Blocking};
use crate::support::command::{self, destrier};
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};

/// Three parties that may sign: by secret, by PEM key, by a key set in which keys have names.
const AUTH: &str = r#"
[[auth.issuer]]
name = "secret"
secret_file = "secret"
issuer = "https://secret.example"
audience = "api"
[[auth.issuer]]
name = "pem"
public_key_file = "rsa.pem.pub"
issuer = "https://pem.example"
audience = "api"
[[auth.issuer]]
name = "set"
jwks_file = "set.json"
issuer = "https://set.example"
audience = "api"
[[auth.rule]]
path = "/hello"
access = "public"
[[auth.rule]]
path = "/admin"
scopes = ["admin"]
[[auth.rule]]
path = "/**"
"#;

const SECRET: &str = "a secret of thirty-two octets!!!";

/// A server whose `/fault/crash` ends its worker: whoever gets through to the application leaves a trace.
fn start() -> Server {
    let mut setup = Setup::new().set("workers.count", 1).set("app.faults", true);
    setup.config.set_auth(AUTH);
    let folder = setup.folder().to_owned();
    std::fs::write(folder.join("secret"), SECRET).unwrap();
    keep_private(&folder.join("secret"));
    let mut generate = command::command(&destrier());
    generate
        .args(["key", "generate", "RS256", "--out"])
        .arg(folder.join("rsa.pem"));
    assert_eq!(command::run(generate).code, Some(0));
    // RFC 7515 appendix A.1: a published secret, under a name.
    let key = json!({"kty": "oct", "kid": "known", "alg": "HS256", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"});
    std::fs::write(
        folder.join("set.json"),
        json!({ "keys": [key] }).to_string(),
    )
    .unwrap();
    keep_private(&folder.join("set.json"));
    setup.start()
}

/// A server whose `[auth]` is this; an issuer may sign with [`SECRET`], in the file `secret`.
fn start_with(auth: &str) -> Server {
    let mut setup = Setup::new().set("workers.count", 1);
    setup.config.set_auth(auth);
    let secret = setup.folder().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    keep_private(&secret);
    setup.start()
}

fn keep_private(file: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn claims(issuer: &str) -> Value {
    let now = clock::unix().as_secs();
    json!({"iss": issuer, "aud": "api", "sub": "alice", "iat": now, "exp": now + 300})
}

fn signed(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    encode(header, claims, key).unwrap()
}

fn by_secret(claims: &Value) -> String {
    signed(
        &Header::new(Algorithm::HS256),
        claims,
        &EncodingKey::from_secret(SECRET.as_bytes()).unwrap(),
    )
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

fn ask(address: &Address, path: &str, fields: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path).header("host", "test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request: Request<Empty<Bytes>> = request.body(Empty::new()).unwrap();
    Blocking::open(address).unwrap().send(request).unwrap()
}

fn with_token(address: &Address, path: &str, token: &str) -> Answer {
    ask(
        address,
        path,
        &[("authorization", &format!("Bearer {token}"))],
    )
}

#[test]
fn hostile_tokens_are_refused_and_the_application_is_not_called() {
    let server = start();
    let address = server.address();
    let pids = server.pids();
    let good = claims("https://secret.example");
    let now = clock::unix().as_secs();
    let part = |value: &Value| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
    };
    let unsigned = format!("{}.{}.", part(&json!({"alg": "none"})), part(&good));
    let public_key = std::fs::read(server.folder().join("rsa.pem.pub")).unwrap();
    let confused = signed(
        &Header::new(Algorithm::HS256),
        &claims("https://pem.example"),
        &EncodingKey::from_secret(&public_key).unwrap(),
    );
    let mut unknown = Header::new(Algorithm::HS256);
    unknown.kid = Some("unknown".to_owned());
    let unknown_key = signed(
        &unknown,
        &claims("https://set.example"),
        &EncodingKey::from_secret(SECRET.as_bytes()).unwrap(),
    );
    let hostile = [
        ("alg none", unsigned),
        ("the public key as a secret", confused),
        ("an unknown kid", unknown_key),
        ("expired", by_secret(&with(good.clone(), "exp", now - 1))),
        (
            "not yet valid",
            by_secret(&with(good.clone(), "nbf", now + 300)),
        ),
        (
            "wrong iss",
            by_secret(&with(good.clone(), "iss", "https://evil.example")),
        ),
        (
            "iss of another key",
            by_secret(&with(good.clone(), "iss", "https://pem.example")),
        ),
        ("wrong aud", by_secret(&with(good.clone(), "aud", "other"))),
        (
            "no aud",
            by_secret(&{
                let mut claims = good.clone();
                claims.as_object_mut().unwrap().remove("aud");
                claims
            }),
        ),
        (
            "another secret",
            signed(
                &Header::new(Algorithm::HS256),
                &good,
                &EncodingKey::from_secret(&[7; 32]).unwrap(),
            ),
        ),
        ("no token at all", "x".to_owned()),
    ];
    for (what, token) in hostile {
        let answer = with_token(&address, "/fault/crash", &token);
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(
            challenge.starts_with("Bearer realm=\"destrier\", error=\"invalid_token\""),
            "{what}: {challenge}"
        );
        assert_eq!(answer.json()["code"], "token_not_valid", "{what}");
    }
    assert_eq!(server.pids(), pids, "somebody reached the application");
    // The trap works: with a good token the application is called, and the worker ends.
    let request = Request::get("/fault/crash")
        .header("host", "test")
        .header("authorization", format!("Bearer {}", by_secret(&good)));
    let cut = Blocking::open(&address)
        .unwrap()
        .send(request.body(Empty::new()).unwrap());
    assert!(cut.is_err(), "{cut:?}");
}

#[test]
fn a_request_without_a_token_is_told_what_to_bring() {
    let server = start();
    let address = server.address();
    for fields in [
        &[][..],
        &[
            ("x-auth-subject", "admin"),
            ("x_auth_scope", "admin"),
            ("remote-user", "root"),
        ],
        &[("authorization", "Basic YWxpY2U6c2VjcmV0")],
    ] {
        let answer = ask(&address, "/fault/crash", fields);
        assert_eq!(answer.status, 401, "{fields:?}");
        assert_eq!(
            answer.headers["www-authenticate"],
            "Bearer realm=\"destrier\""
        );
        assert_eq!(
            answer.json(),
            json!({"detail": "Authentication credentials were not provided.", "code": "not_authenticated"})
        );
    }
}

#[test]
fn two_authorization_fields_are_refused() {
    let server = start();
    let token = format!("Bearer {}", by_secret(&claims("https://secret.example")));
    let fields = [
        ("authorization", token.as_str()),
        ("authorization", token.as_str()),
    ];
    let answer = ask(&server.address(), "/fault/crash", &fields);
    assert_eq!(answer.status, 400);
    assert_eq!(server.status().totals.refused, 1);
}

#[test]
fn a_valid_token_passes_and_its_claims_reach_the_application() {
    let server = start();
    let address = server.address();
    let good = claims("https://secret.example");
    let answer = with_token(&address, "/me", &by_secret(&good));
    assert_eq!(answer.status, 200);
    assert_eq!(
        (&answer.json()["subject"], &answer.json()["claims"]),
        (&json!("alice"), &good)
    );
    let answer = with_token(&address, "/admin", &by_secret(&good));
    assert_eq!(answer.status, 403);
    assert_eq!(
        answer.headers["www-authenticate"],
        "Bearer realm=\"destrier\", error=\"insufficient_scope\", scope=\"admin\""
    );
    let admin = by_secret(&with(good, "scope", "read admin"));
    assert_eq!(with_token(&address, "/admin", &admin).status, 200);
}

#[test]
fn fields_that_claim_an_identity_never_reach_the_application() {
    let server = start();
    let token = format!("Bearer {}", by_secret(&claims("https://secret.example")));
    let fields = [
        ("authorization", token.as_str()),
        ("x-auth-subject", "admin"),
        ("x_auth_roles", "root"),
        ("remote_user", "root"),
        ("x-other", "1"),
    ];
    let seen = ask(&server.address(), "/headers", &fields).json();
    assert_eq!(seen["headers"]["x-other"], "1");
    for name in ["x-auth-subject", "x_auth_roles", "remote_user"] {
        assert_eq!(seen["headers"][name], Value::Null, "{name}");
    }
}

/// An application that routes on the path as written must not take another route than the rule that decided.
#[test]
fn the_application_gets_the_path_that_was_judged() {
    let mut setup = Setup::new();
    setup.config.set_auth(
        "[[auth.rule]]\npath = \"/headers\"\naccess = \"public\"\n[[auth.rule]]\npath = \"/**\"\n",
    );
    let server = setup.start();
    let seen = ask(&server.address(), "/%68eader%73?a=%61", &[]).json();
    assert_eq!(
        (&seen["path"], &seen["query"]),
        (&json!("/headers"), &json!("a=%61"))
    );
    assert_eq!(ask(&server.address(), "/%68eader", &[]).status, 401);
}

#[test]
fn a_token_issued_by_the_command_passes_and_one_that_verifies_there_too() {
    let server = start();
    let outcome = server.cli(["token", "issue", "--sub", "bob", "--scope", "admin"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let token = outcome.stdout.trim();
    assert_eq!(with_token(&server.address(), "/admin", token).status, 200);
}

#[test]
fn an_audited_rule_lets_pass_what_it_would_refuse_and_says_so() {
    let server = start_with(
        "[[auth.issuer]]\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/hello\"\nroles = \"ops\"\naudit = true\n\
         [[auth.rule]]\npath = \"/pid\"\nhosts = \"*.int.example\"\naccess = \"public\"\n",
    );
    let address = server.address();
    let answer = ask(&address, "/hello", &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = server.wait_for_log(Mark::START, "would be refused, but the rule is an audit");
    assert_eq!(
        (&line["status"], &line["path"]),
        (&json!(401), &json!("/hello"))
    );
    assert_eq!(server.status().totals.audited, 1);
    assert_eq!(server.status().totals.refused, 0);
    // A rule for some hosts is for no other.
    let status = |host: &str| {
        let request = Request::get("/pid").header("host", host);
        let request: Request<Empty<Bytes>> = request.body(Empty::new()).unwrap();
        Blocking::open(&address)
            .unwrap()
            .send(request)
            .unwrap()
            .status
    };
    assert_eq!(status("a.int.example:80"), 200);
    assert_eq!(status("int.example"), 401);
}

#[test]
fn a_cookie_is_as_good_as_a_bearer_token_but_not_for_other_sites() {
    let server = start_with(
        "[auth]\ntoken_from = [\"authorization\", \"cookie:at\", \"header:X-Auth-Token\"]\n\
         [[auth.issuer]]\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/**\"\n",
    );
    let address = server.address();
    let now = clock::unix().as_secs();
    let token = by_secret(&json!({"sub": "alice", "exp": now + 300}));
    let cookie = format!("at={token}");
    let me = ask(&address, "/me", &[("cookie", &cookie)]);
    assert_eq!(
        (me.status, &me.json()["claims"]["sub"]),
        (200, &json!("alice"))
    );
    let post = |origin: &str| {
        let request = Request::post("/echo")
            .header("host", "shop.example")
            .header("cookie", &cookie)
            .header("origin", origin);
        let request: Request<Empty<Bytes>> = request.body(Empty::new()).unwrap();
        Blocking::open(&address)
            .unwrap()
            .send(request)
            .unwrap()
            .status
    };
    assert_eq!(post("https://shop.example"), 200);
    assert_eq!(post("https://evil.example"), 403);
    let both = [
        ("cookie", &*cookie),
        ("authorization", &*format!("Bearer {token}")),
    ];
    assert_eq!(ask(&address, "/me", &both).status, 400);
    // A field that only destrier may set towards the application may carry a token towards destrier.
    let headers = ask(&address, "/headers", &[("x-auth-token", &token)]);
    assert_eq!(headers.status, 200);
    assert!(!headers.json().to_string().contains(&token), "{headers:?}");
}

#[test]
fn the_metadata_of_the_resource_are_served_without_a_token() {
    let server = start_with(
        "[auth]\nresource = \"https://api.example/v1\"\n\
         [[auth.issuer]]\nsecret_file = \"secret\"\nissuer = \"https://login.example\"\n\
         [[auth.rule]]\npath = \"/**\"\nscopes = \"read\"\n",
    );
    let address = server.address();
    let refused = ask(&address, "/me", &[]);
    let challenge = refused.headers["www-authenticate"].to_str().unwrap();
    let place = "https://api.example/.well-known/oauth-protected-resource/v1";
    assert_eq!(
        challenge,
        format!("Bearer realm=\"destrier\", resource_metadata=\"{place}\"")
    );
    let path = place.strip_prefix("https://api.example").unwrap();
    let metadata = ask(&address, path, &[]);
    assert_eq!(metadata.status, 200);
    assert_eq!(
        metadata.json(),
        json!({
            "resource": "https://api.example/v1",
            "authorization_servers": ["https://login.example"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["read"],
        })
    );
}

/// Claims in fields of their own, on routes of every kind.
const FIELDS: &str = r#"
[auth]
token_from = ["authorization", "header:X-Auth-Token"]
payload_header = "X-Payload"
[auth.headers]
"X-Auth-Subject" = "sub"
"Tenant-Id" = "org.tenant"
"X-Roles" = "realm_access.roles"
"X-Org" = { claim = "org", format = "json" }
[[auth.issuer]]
secret_file = "secret"
[[auth.rule]]
path = "/headers"
hosts = "public.example"
access = "public"
[[auth.rule]]
path = "/headers"
hosts = "optional.example"
access = "optional"
[[auth.rule]]
path = "/headers"
hosts = "audit.example"
audit = true
[[auth.rule]]
path = "/headers"
"#;

/// The fields that `/headers` got.
fn fields_seen(address: &Address, host: &str, fields: &[(&str, &str)]) -> Value {
    let mut request = Request::get("/headers").header("host", host);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request: Request<Empty<Bytes>> = request.body(Empty::new()).unwrap();
    let answer = Blocking::open(address).unwrap().send(request).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["headers"].clone()
}

#[test]
fn claims_reach_the_application_in_the_fields_that_the_configuration_names() {
    let server = start_with(FIELDS);
    let address = server.address();
    let roles = ["ops", "a,b\r\nX-Auth-Subject: root", "é "];
    let claims = json!({
        "sub": "al%ice", "exp": clock::unix().as_secs() + 300,
        "org": {"tenant": 7, "name": "é"}, "realm_access": {"roles": roles},
    });
    let token = by_secret(&claims);
    let bearer = ("authorization", &*format!("Bearer {token}"));
    // Twice: the second time the token is known already.
    for _ in 0..2 {
        for host in ["token.example", "optional.example", "audit.example"] {
            let seen = fields_seen(&address, host, &[bearer, ("x-roles", "root")]);
            assert_eq!(seen["x-auth-subject"], "al%25ice");
            assert_eq!(seen["tenant-id"], "7");
            let written = "ops,a%2Cb%0D%0AX-Auth-Subject: root,%C3%A9%20";
            assert_eq!(seen["x-roles"], written);
            assert_eq!(seen["x-org"], r#"{"tenant":7,"name":"\u00e9"}"#);
            let payload = token.split('.').nth(1).unwrap();
            assert_eq!(seen["x-payload"], payload);
        }
    }
    // A token in a field that only destrier may set is read, and does not reach the application.
    let seen = fields_seen(&address, "token.example", &[("x-auth-token", &token)]);
    assert_eq!(
        (&seen["tenant-id"], &seen["x-auth-token"]),
        (&json!("7"), &Value::Null)
    );
    let poor = by_secret(&json!({"exp": clock::unix().as_secs() + 300}));
    let poor = format!("Bearer {poor}");
    let seen = fields_seen(&address, "token.example", &[("authorization", &poor)]);
    for name in ["x-auth-subject", "tenant-id", "x-roles", "x-org"] {
        assert_eq!(seen[name], Value::Null, "{name}");
    }
}

#[test]
fn fields_that_the_configuration_names_are_never_those_of_the_client() {
    let server = start_with(FIELDS);
    let address = server.address();
    let names = [
        "X-Auth-Subject",
        "x_auth_subject",
        "TENANT-ID",
        "Tenant_Id",
        "X-Roles",
        "X_Roles",
        "x-org",
        "X_ORG",
        "X-Payload",
        "x_payload",
        "X-Auth-Anything",
        "Remote_User",
    ];
    let mut forged: Vec<_> = names.map(|name| (name, "root")).into();
    forged.push(("x-other", "1"));
    let expired = by_secret(&json!({"exp": 1}));
    let expired = ("authorization", &*format!("Bearer {expired}"));
    for (host, fields) in [
        ("public.example", forged.clone()),
        ("public.example", [&[expired], &*forged].concat()),
        ("optional.example", forged.clone()),
        ("audit.example", forged.clone()),
        ("audit.example", [&[expired], &*forged].concat()),
    ] {
        let seen = fields_seen(&address, host, &fields);
        assert_eq!(seen["x-other"], "1");
        for name in names {
            assert_eq!(seen[name.to_lowercase()], Value::Null, "{host} {name}");
        }
    }
}

#[test]
fn a_token_that_says_more_than_fields_can_hold_is_refused() {
    let server = start_with(FIELDS);
    let address = server.address();
    let claims = |roles: usize| {
        let roles = vec!["a role".to_owned(); roles];
        json!({"sub": "u", "exp": clock::unix().as_secs() + 300, "realm_access": {"roles": roles}})
    };
    // As few as still fit are shown whole; the payload counts too.
    let fits = format!("Bearer {}", by_secret(&claims(300)));
    let seen = fields_seen(&address, "token.example", &[("authorization", &fits)]);
    assert_eq!(seen["x-roles"].as_str().unwrap().split(',').count(), 300);
    let too_many = format!("Bearer {}", by_secret(&claims(600)));
    let answer = ask(&address, "/headers", &[("authorization", &too_many)]);
    assert_eq!(answer.status, 431);
    assert_eq!(answer.json()["code"], "claims_too_large");
    let line = server.wait_for_log(Mark::START, "refused");
    let reason = "the fields that are made of the claims have more than 8192 bytes";
    assert_eq!(line["reason"], reason);
    let fields = [("authorization", &*too_many), ("x-roles", "root")];
    let seen = fields_seen(&address, "audit.example", &fields);
    for name in ["x-roles", "x-auth-subject", "x-payload"] {
        assert_eq!(seen[name], Value::Null, "{name}");
    }
}

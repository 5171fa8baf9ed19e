//! The token service answers as `SimpleJWT` does, and of many refreshes with one token one wins.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::sync::Barrier;
use std::thread;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use crate::support::client::Address;
use crate::support::command::{self, Outcome, destrier};
use crate::support::eventually;
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};

pub(crate) const SECRET: &str = "a secret of thirty-two octets!!!";
pub(crate) const PASSWORD: &str = "correct horse";

pub(crate) const AUTH: &str = r#"
[auth.tokens]
database = "sqlite:tokens.db"
rotate_refresh_tokens = true
blacklist_after_rotation = true
[[auth.issuer]]
name = "own"
secret_file = "secret"
[[auth.rule]]
path = "/admin"
roles = ["ops"]
[[auth.rule]]
path = "/**"
"#;

pub(crate) fn set_up(auth: &str) -> Setup {
    use std::os::unix::fs::PermissionsExt;
    let mut setup = Setup::new();
    setup.config.set_auth(auth);
    let secret = setup.folder().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    setup
}

/// A server with the user `alice`.
fn start(auth: &str) -> Server {
    let server = set_up(auth).start();
    let outcome = user(&server, &["add", "alice", "--role", "ops"], PASSWORD);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    server
}

/// `destrier user …` with a password on standard input.
pub(crate) fn user(server: &Server, words: &[&str], password: &str) -> Outcome {
    let mut command = command::command(&destrier());
    let file = server.folder().join("password");
    std::fs::write(&file, password).unwrap();
    command
        .arg("user")
        .args(words)
        .arg("-c")
        .arg(server.config.file())
        .stdin(Stdio::from(std::fs::File::open(file).unwrap()));
    command::run(command)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        let value = self.json()[name].as_str().map(str::to_owned);
        value.unwrap_or_else(|| panic!("no `{name}` in {self:?}"))
    }
}

pub(crate) fn request(address: &Address, head: &str, body: &[u8]) -> Answer {
    let Address::Tcp(address) = address else {
        panic!("not on TCP")
    };
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let head =
        format!("{head}\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

pub(crate) fn post(address: &Address, path: &str, body: &Value) -> Answer {
    let head = format!("POST {path} HTTP/1.1\r\nContent-Type: application/json");
    request(address, &head, body.to_string().as_bytes())
}

pub(crate) fn get(address: &Address, path: &str, token: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}");
    request(address, &head, b"")
}

pub(crate) fn login(address: &Address) -> Answer {
    let body = json!({"username": "alice", "password": PASSWORD});
    post(address, "/api/token/", &body)
}

pub(crate) fn refresh(address: &Address, token: &str) -> Answer {
    post(address, "/api/token/refresh/", &json!({ "refresh": token }))
}

pub(crate) fn claims_of(token: &str) -> String {
    use base64::Engine;
    let payload = token.split('.').nth(1).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload);
    String::from_utf8(bytes.unwrap()).unwrap()
}

pub(crate) const BLACKLISTED: &str =
    r#"{"detail":"Token is blacklisted","code":"token_not_valid"}"#;

#[test]
fn a_pair_is_issued_whose_access_token_passes_the_guard_and_whose_refresh_token_does_not() {
    let server = start(AUTH);
    let address = server.address();
    let answer = login(&address);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.starts_with(r#"{"refresh":"eyJ"#), "{answer:?}");
    for field in [
        "content-type: application/json",
        "allow: POST, OPTIONS",
        "x-frame-options: DENY",
        "x-content-type-options: nosniff",
        "referrer-policy: same-origin",
        "cross-origin-opener-policy: same-origin",
    ] {
        assert!(answer.head.contains(field), "{answer:?}");
    }
    let (access, token) = (answer.text("access"), answer.text("refresh"));
    let claims = claims_of(&access);
    assert!(
        claims.starts_with(r#"{"token_type":"access","exp":"#),
        "{claims}"
    );
    assert!(
        claims.ends_with(r#","user_id":"1","roles":["ops"]}"#),
        "{claims}"
    );
    // `{"alg":"HS256","typ":"JWT"}`, and nothing else.
    assert!(access.starts_with("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."));
    assert_eq!(get(&address, "/admin", &access).status, 200);
    assert_eq!(get(&address, "/me", &token).status, 401);
    let made = refresh(&address, &token);
    assert!(made.body.starts_with(r#"{"access":"eyJ"#), "{made:?}");
    assert_eq!(get(&address, "/me", &made.text("access")).status, 200);
    // A rule of the service's own paths does not exist, and none is needed.
    assert_eq!(get(&address, "/api/token/other/", "x").status, 401);
}

#[test]
fn whoever_may_not_log_in_is_told_the_same_whatever_the_reason() {
    let server = start(AUTH);
    let address = server.address();
    let outcome = user(&server, &["add", "gone"], PASSWORD);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert_eq!(user(&server, &["disable", "gone"], "").code, Some(0));
    let refused = |username: &str, password: &str| {
        let body = json!({"username": username, "password": password});
        let answer = post(&address, "/api/token", &body);
        assert_eq!(answer.status, 401, "{answer:?}");
        assert!(
            answer
                .head
                .contains("www-authenticate: Bearer realm=\"destrier\"")
        );
        answer.body
    };
    let said = r#"{"detail":"No active account found with the given credentials"}"#;
    assert_eq!(refused("alice", "wrong"), said);
    assert_eq!(refused("nobody", PASSWORD), said);
    assert_eq!(refused("gone", PASSWORD), said);
    for reason in ["wrong password", "no such user", "the user is not active"] {
        let line = server
            .log
            .wait_for(Mark::START, crate::support::PATIENCE, |line| {
                line["message"] == "login failed" && line["reason"] == reason
            });
        assert!(line.is_some(), "{reason}");
    }
    let log = format!("{:?}", server.log.since(Mark::START));
    assert!(!log.contains(PASSWORD) && !log.contains("nobody"), "{log}");
}

#[test]
fn a_token_that_is_no_good_is_refused_in_the_words_of_simplejwt() {
    let server = start(AUTH);
    let address = server.address();
    let sign = |claims: &Value| {
        let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    };
    let now = destrier::sys::clock::unix().as_secs();
    let good =
        json!({"token_type": "refresh", "exp": now + 60, "iat": now, "jti": "a", "user_id": "1"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().shift_remove(name);
        sign(&claims)
    };
    let not_valid = |detail: &str| format!(r#"{{"detail":"{detail}","code":"token_not_valid"}}"#);
    let no_account = r#"{"detail":"No active account found for the given token."}"#;
    for (token, said) in [
        ("x".to_owned(), not_valid("Token is invalid")),
        (with("exp", json!(now - 1)), not_valid("Token is expired")),
        (without("exp"), not_valid("Token has no 'exp' claim")),
        (without("jti"), not_valid("Token has no id")),
        (without("token_type"), not_valid("Token has no type")),
        (
            with("token_type", json!("access")),
            not_valid("Token has wrong type"),
        ),
        (with("exp", json!("1")), not_valid("Token is invalid")),
        (with("exp", json!(1e20)), not_valid("Token is invalid")),
        (
            with("exp", json!(99_999_999_999_999_u64)),
            not_valid("Token is invalid"),
        ),
        (with("user_id", json!("x")), no_account.to_owned()),
        (with("user_id", json!([1])), no_account.to_owned()),
        (with("user_id", json!("77")), no_account.to_owned()),
    ] {
        let answer = refresh(&address, &token);
        assert_eq!((answer.status, answer.body.as_str()), (401, said.as_str()));
    }
    // One that another server with the same secret issued is as good as one of ours, with the number as a number too.
    assert_eq!(refresh(&address, &with("user_id", json!(1))).status, 200);
    assert_eq!(refresh(&address, &without("user_id")).status, 200);
}

#[test]
fn a_request_that_cannot_be_read_is_refused_as_django_rest_framework_does() {
    let server = start(AUTH);
    let address = server.address();
    let ask = |head: &str, body: &str| {
        let answer = request(&address, head, body.as_bytes());
        format!("{} {}", answer.status, answer.body)
    };
    let json = "Content-Type: application/json";
    assert_eq!(
        ask(&format!("POST /api/token/ HTTP/1.1\r\n{json}"), "{}"),
        r#"400 {"username":["This field is required."],"password":["This field is required."]}"#
    );
    assert_eq!(
        ask(&format!("POST /api/token/verify HTTP/1.1\r\n{json}"), "{"),
        r#"400 {"detail":"JSON parse error - Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"}"#
    );
    assert_eq!(
        ask("POST /api/token/ HTTP/1.1\r\nContent-Type: text/plain", "x"),
        r#"415 {"detail":"Unsupported media type \"text/plain\" in request."}"#
    );
    assert_eq!(
        ask("GET /api/token/refresh HTTP/1.1", ""),
        r#"405 {"detail":"Method \"GET\" not allowed."}"#
    );
    assert_eq!(
        ask("GET /api/token/ HTTP/1.1\r\nAccept: text/html", ""),
        r#"406 {"detail":"Could not satisfy the request Accept header."}"#
    );
    assert!(
        ask("OPTIONS /api/token/ HTTP/1.1", "").starts_with(r#"200 {"name":"Token Obtain Pair""#)
    );
    let form = "POST /api/token/ HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded";
    assert!(ask(form, "username=alice&password=correct+horse").starts_with("200 "));
    let long = "x".repeat(64 * 1024 + 1);
    assert!(ask(&format!("POST /api/token/ HTTP/1.1\r\n{json}"), &long).starts_with("413 "));
}

#[test]
fn of_the_logins_for_one_account_and_from_one_address_so_many_are_tried() {
    let logins = |settings: &str, names: &[&str]| {
        let auth = AUTH.replace("database", &format!("{settings}\ndatabase"));
        let mut setup = set_up(&auth);
        setup.config.set("workers.count", 1);
        let server = setup.start();
        let address = server.address();
        let mut statuses = Vec::new();
        for username in names {
            let body = json!({"username": username, "password": PASSWORD});
            let answer = post(&address, "/api/token/", &body);
            statuses.push(answer.status);
            if answer.status == 429 {
                let seconds = answer.head.split("retry-after: ").nth(1).unwrap();
                let seconds: u32 = seconds.lines().next().unwrap().parse().unwrap();
                assert!((1..=20).contains(&seconds), "{answer:?}");
                let plural = if seconds == 1 { "" } else { "s" };
                let said = format!(
                    "{{\"detail\":\"Request was throttled. Expected available in {seconds} second{plural}.\"}}"
                );
                assert_eq!(answer.body, said);
            }
        }
        (server, statuses)
    };
    let names = ["mallory", "Mallory", "MALLORY", "mallory", "trent"];
    let (server, statuses) = logins("throttle_account = '3/min'", &names);
    assert_eq!(statuses, [401, 401, 401, 429, 401]);
    let line = server.wait_for_log(Mark::START, "login throttled");
    assert_eq!(
        (&line["reason"], &line["client"]),
        (&json!("account"), &json!("127.0.0.1"))
    );
    assert!(
        line["request"].is_string() && !line.to_string().to_lowercase().contains("mallory"),
        "{line}"
    );
    let (server, statuses) = logins("throttle_address = '3/min'", &["a", "b", "c", "d"]);
    assert_eq!(statuses, [401, 401, 401, 429]);
    assert_eq!(
        server.wait_for_log(Mark::START, "login throttled")["reason"],
        "address"
    );
    let (_, statuses) = logins("throttle_account = 'off'", &["mallory"; 12]);
    assert_eq!(statuses, [401; 12]);
}

#[test]
fn a_blacklisted_token_is_refused_everywhere() {
    let server = start(AUTH);
    let address = server.address();
    let token = login(&address).text("refresh");
    let verify = |token: &str| post(&address, "/api/token/verify/", &json!({ "token": token }));
    let blacklist = || {
        post(
            &address,
            "/api/token/blacklist/",
            &json!({ "refresh": token }),
        )
    };
    assert_eq!(
        (verify(&token).status, verify(&token).body.as_str()),
        (200, "{}")
    );
    assert_eq!((blacklist().status, blacklist().status), (200, 401));
    assert_eq!(refresh(&address, &token).body, BLACKLISTED);
    let answer = verify(&token);
    let said = r#"{"non_field_errors":["Token is blacklisted"]}"#;
    assert_eq!((answer.status, answer.body.as_str()), (400, said));
}

#[test]
fn sixteen_refreshes_at_once_make_one_pair_and_a_later_one_ends_the_family() {
    race(set_up(&racing(AUTH)));
}

/// A grace that the slowest machine keeps within one round.
pub(crate) fn racing(auth: &str) -> String {
    auth.replace("blacklist_after", "reuse_grace = \"5s\"\nblacklist_after")
}

/// Hundred times sixteen refreshes with one token, in four workers.
pub(crate) fn race(mut setup: Setup) {
    const ROUNDS: usize = 100;
    setup.config.set("workers.count", 4);
    let server = setup.start();
    assert_eq!(user(&server, &["add", "alice"], PASSWORD).code, Some(0));
    let address = server.address();
    let mut token = login(&address).text("refresh");
    let first = token.clone();
    for round in 0..ROUNDS {
        let answers = refresh_at_once(&address, &token);
        let bodies: BTreeSet<(u16, String)> = answers
            .iter()
            .map(|answer| (answer.status, answer.body.clone()))
            .collect();
        assert_eq!(bodies.len(), 1, "round {round}: {bodies:?}");
        token = answers[0].text("refresh");
    }
    assert_eq!(server.count_log(Mark::START, "token refreshed"), ROUNDS);
    // The first token is older than the grace by now, or will be soon: until then it gets its own pair again.
    let stolen = crate::support::within(crate::support::PATIENCE, "the end of the grace", || {
        let answer = refresh(&address, &first);
        (answer.status != 200).then_some(answer)
    });
    assert_eq!((stolen.status, stolen.body.as_str()), (401, BLACKLISTED));
    assert_eq!(refresh(&address, &token).body, BLACKLISTED);
    server.wait_for_log(
        Mark::START,
        "a refresh token was used again, its family is revoked",
    );
    // Another login is another family.
    assert_eq!(
        refresh(&address, &login(&address).text("refresh")).status,
        200
    );
}

fn refresh_at_once(address: &Address, token: &str) -> Vec<Answer> {
    const CLIENTS: usize = 16;
    let barrier = Barrier::new(CLIENTS);
    thread::scope(|scope| {
        let ask = || {
            barrier.wait();
            refresh(address, token)
        };
        let asking: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        asking
            .into_iter()
            .map(|each| each.join().unwrap())
            .collect()
    })
}

#[test]
fn who_is_disabled_or_has_a_new_password_must_log_in_anew() {
    let server = start(AUTH);
    let address = server.address();
    let old = login(&address).text("refresh");
    assert_eq!(user(&server, &["passwd", "alice"], PASSWORD).code, Some(0));
    assert_eq!(refresh(&address, &old).body, BLACKLISTED);
    let token = login(&address).text("refresh");
    assert_eq!(user(&server, &["disable", "alice"], "").code, Some(0));
    let said = r#"{"detail":"No active account found for the given token."}"#;
    assert_eq!(refresh(&address, &token).body, said);
    assert_eq!(user(&server, &["enable", "alice"], "").code, Some(0));
    assert_eq!(login(&address).status, 200);
}

#[test]
fn a_private_key_signs_and_its_public_half_is_served() {
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let mut setup = set_up(
            "[auth.tokens]\ndatabase = 'sqlite:tokens.db'\nsigning_key_file = 'key.pem'\n[[auth.issuer]]\npublic_key_file = 'key.pem.pub'\nissuer = 'https://own.example'\naudience = 'api'\n[[auth.rule]]\npath = '/**'\n",
        );
        setup.config.set("workers.count", 1);
        let mut generate = command::command(&destrier());
        generate
            .args(["key", "generate", algorithm, "--out"])
            .arg(setup.folder().join("key.pem"));
        assert_eq!(command::run(generate).code, Some(0));
        let server = setup.start();
        assert_eq!(user(&server, &["add", "alice"], PASSWORD).code, Some(0));
        let address = server.address();
        let access = login(&address).text("access");
        let end = r#""user_id":"1","aud":"api","iss":"https://own.example"}"#;
        assert!(claims_of(&access).ends_with(end), "{access}");
        assert_eq!(get(&address, "/me", &access).status, 200);
        let keys = get(&address, "/.well-known/jwks.json", "");
        let jwks = server.folder().join("jwks.json");
        std::fs::write(&jwks, &keys.body).unwrap();
        let token = server.folder().join("token");
        std::fs::write(&token, &access).unwrap();
        let mut verify = command::command(&destrier());
        verify
            .args(["token", "verify", "--audience", "api", "--jwks"])
            .arg(jwks);
        verify.arg("--token-file").arg(token);
        let outcome = command::run(verify);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    }
}

#[test]
fn a_database_that_cannot_be_opened_fails_the_boot_with_the_reason() {
    let mut setup = set_up(&AUTH.replace("sqlite:tokens.db", "sqlite:nowhere/tokens.db"));
    setup.config.set("workers.count", 1);
    let server = setup.launch();
    assert_eq!(server.wait_for_exit(crate::support::PATIENCE), Some(3));
    server.assert_said("nowhere/tokens.db`: No such file or directory");
}

#[test]
fn the_service_signs_with_the_secret_that_its_issuer_has_now() {
    let server = start(&AUTH.replace("database", "throttle_account = 'off'\ndatabase"));
    let address = server.address();
    let access = || login(&address).text("access");
    let before = access();
    assert_eq!(get(&address, "/", &before).status, 200);
    let new = server.folder().join("new");
    std::fs::copy(server.folder().join("secret"), &new).unwrap();
    std::fs::write(&new, SECRET.to_uppercase()).unwrap();
    let mark = server.log.mark();
    std::fs::rename(&new, server.folder().join("secret")).unwrap();
    server.wait_for_log(mark, "changed, in force without a reload");
    eventually("every worker signs with it", || {
        let is_accepted = |_| get(&address, "/", &access()).status == 200;
        let is_refused = |_| get(&address, "/", &before).status == 401;
        ((0..8).all(is_accepted) && (0..8).all(is_refused)).then_some(())
    });
}

/// Whoever is logged in with an access token that every worker accepts is not any more soon after `end`.
pub(crate) fn assert_access_ends(server: &Server, end: impl Fn(&str)) {
    let address = server.address();
    let access = login(&address).text("access");
    let statuses = || -> Vec<u16> {
        let ask = |_| get(&address, "/me", &access).status;
        (0..8).map(ask).collect()
    };
    assert_eq!(statuses(), [200; 8]);
    end(&access);
    eventually("the access token is refused", || {
        (statuses() == [401; 8]).then_some(())
    });
}

pub(crate) const REVOCATION: &str = "[auth.revocation]\ndatabase = true\npoll_interval = \"1s\"\n";

#[test]
fn access_tokens_end_when_a_user_is_disabled_or_they_are_revoked_in_the_database() {
    let server = start(&[REVOCATION, AUTH].concat());
    assert_access_ends(&server, |access| {
        let token = server.folder().join("token");
        std::fs::write(&token, access).unwrap();
        let token = token.display().to_string();
        let outcome = server.cli(["token", "revoke", "--token-file", &token]);
        assert_eq!(outcome.code, Some(0), "{outcome:?}");
    });
    assert_access_ends(&server, |_| {
        let outcome = user(&server, &["disable", "alice"], "");
        let said = "access tokens end within `auth.revocation.poll_interval`";
        assert!(outcome.stderr.contains(said), "{outcome:?}");
    });
    assert_eq!(login(&server.address()).status, 401);
}

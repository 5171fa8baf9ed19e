//! How many requests one client may make, counted once for all workers.

use std::io::{Read, Write};
use std::thread;

use bytes::Bytes;
use destrier::sys::clock;
use http_body_util::Empty;
use hyper::Request;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use crate::support::client::{Answer, Blocking};
use crate::support::journal::Mark;
use crate::support::server::{Server, Setup};

/// A rule for each path; nothing is given back while a test runs.
fn start(rules: &str) -> Server {
    let mut setup = Setup::new().set("workers.count", 4);
    setup.config.set_auth(rules);
    setup.start()
}

const BY_ADDRESS: &str = r#"
[[auth.rule]]
path = "/hello"
access = "public"
rate = "20/day"
[[auth.rule]]
path = "/pid"
access = "public"
rate = "20/day"
rate_burst = 1
[[auth.rule]]
path = "/**"
access = "public"
"#;

fn get(server: &Server, path: &str, token: Option<&str>) -> Answer {
    let mut request = Request::get(path).header("host", "test");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let mut connection = Blocking::open(&server.address()).unwrap();
    connection.send(request).unwrap()
}

/// Of so many requests at once, each on a connection of its own, how many pass.
fn passed(server: &Server, path: &str, count: usize) -> usize {
    let mut streams: Vec<_> = (0..count).map(|_| server.connect()).collect();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    let asking: Vec<_> = streams
        .drain(..)
        .map(|mut stream| {
            let request = request.clone();
            thread::spawn(move || {
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            })
        })
        .collect();
    let answers = asking.into_iter().map(|asking| asking.join().unwrap());
    let statuses: Vec<String> = answers.map(|answer| answer[9..12].to_owned()).collect();
    assert!(
        statuses
            .iter()
            .all(|status| ["200", "429"].contains(&status.as_str())),
        "{statuses:?}"
    );
    statuses.iter().filter(|status| *status == "200").count()
}

#[test]
fn of_two_hundred_parallel_requests_exactly_the_burst_passes() {
    let server = start(BY_ADDRESS);
    assert_eq!(passed(&server, "/hello", 200), 20);
    // Rules count each alone, and a rule without a rate counts nothing.
    assert_eq!(passed(&server, "/pid", 20), 1);
    assert_eq!(passed(&server, "/headers", 20), 20);
    let refused = get(&server, "/pid", None);
    assert_eq!(refused.status, 429);
    // A twentieth of a day.
    let wait: u32 = refused.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((4_200..=4_320).contains(&wait), "{wait}");
    let body = refused.json();
    assert_eq!(body["code"], "throttled");
    assert_eq!(
        body["detail"],
        format!("Request was throttled. Expected available in {wait} seconds.")
    );
    let line = server.wait_for_log(Mark::START, "refused");
    assert_eq!(line["status"], 429, "{line}");
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.contains("auth.rule[0]") && reason.contains("address"),
        "{line}"
    );
}

#[test]
fn a_rate_outlives_a_reload_and_is_told_by_explain() {
    let mut server = start(BY_ADDRESS);
    assert_eq!(passed(&server, "/hello", 30), 20);
    server.reload();
    assert_eq!(passed(&server, "/hello", 30), 0);
    // What is said anew counts anew, also where no rule had a rate before.
    let others = BY_ADDRESS.replace("20/day", "21/day");
    server.config.set_auth(&others);
    server.config.write();
    server.reload();
    assert_eq!(passed(&server, "/hello", 30), 21);
    let explained = server.cli(["auth", "explain", "GET", "/pid"]);
    let words = "/pid, public, 21/day by address, 1 at once";
    assert!(explained.stdout.contains(words), "{explained:?}");
    server.upgrade();
    assert_eq!(passed(&server, "/pid", 5), 1);
}

#[test]
fn the_first_rate_that_a_reload_brings_counts_for_all_workers() {
    let mut server = start("[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n");
    assert_eq!(passed(&server, "/hello", 30), 30);
    server.config.set_auth(BY_ADDRESS);
    server.config.write();
    server.reload();
    assert_eq!(passed(&server, "/hello", 60), 20);
}

#[test]
fn subjects_are_counted_each_alone() {
    const SECRET: &str = "a secret of thirty-two octets!!!";
    const RULES: &str = r#"
[[auth.issuer]]
secret_file = "secret"
[[auth.rule]]
path = "/me"
rate = "3/day"
[[auth.rule]]
path = "/hello"
rate = "1/day"
audit = true
"#;
    use std::os::unix::fs::PermissionsExt;
    let mut setup = Setup::new().set("workers.count", 4);
    setup.config.set_auth(RULES);
    let file = setup.folder().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = setup.start();
    let token = |subject: &str| {
        let claims = json!({"sub": subject, "exp": clock::unix().as_secs() + 300});
        let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
    };
    let statuses = |path: &str, token: &str| {
        let ask = |_| get(&server, path, Some(token)).status;
        (0..5).map(ask).collect::<Vec<_>>()
    };
    // A token that is refused counts for nobody.
    assert_eq!(statuses("/me", "a.b.c"), [401; 5]);
    assert_eq!(statuses("/me", &token("alice")), [200, 200, 200, 429, 429]);
    assert_eq!(statuses("/me", &token("bob")), [200, 200, 200, 429, 429]);
    assert_eq!(statuses("/hello", &token("alice")), [200; 5]);
    let line = server.wait_for_log(Mark::START, "would be refused, but the rule is an audit");
    assert_eq!(line["status"], 429, "{line}");
}

//! Orders on the admin listener: done as those of commands are, for whom they are meant and for nobody else, and never by a page of somebody
//! else. Browsers give some in `tests/browser`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::{fs, thread};

use serde_json::{Value, json};

use crate::admin::{SECRET, later, token, with_issuer};
use crate::identity::unprivileged;
use crate::support::client::{self, Address};
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os};

const ORDER: &str = "X-Destrier-Order: 1\r\n";

fn on_a_unix_socket(setup: Setup) -> Setup {
    let path = setup.folder().join("admin.sock");
    setup.set("admin.bind", format!("unix:{}", path.display()))
}

/// With a token of `admin.issuer`, whose secret is [`SECRET`].
fn over_tcp(setup: Setup) -> Setup {
    let setup = with_issuer(setup.set("admin.bind", "127.0.0.1:0"));
    setup.set("admin.scopes", "metrics")
}

fn bearer(scope: &str) -> String {
    let claims = json!({ "exp": later(), "scope": scope, "sub": "alice" });
    format!("Authorization: Bearer {}\r\n", token(SECRET, &claims))
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: Value,
}

impl Answer {
    fn code(&self) -> (u16, &str) {
        (self.status, self.body["code"].as_str().unwrap_or_default())
    }

    #[track_caller]
    fn assert_done(&self, done: &str) {
        assert_eq!(
            (self.status, &self.body["done"]),
            (200, &json!(done)),
            "{self:?}"
        );
    }
}

/// `None` where the connection ends without an answer.
fn send(server: &Server, line: &str, fields: &str, body: &str) -> Option<Answer> {
    let bind = server.until("an address of its own", |status| {
        Some(status.admin.first()?.address.clone())
    });
    let length = body.len();
    let host = if fields.to_ascii_lowercase().contains("host:") {
        ""
    } else {
        "Host: localhost\r\n"
    };
    let request = format!(
        "{line} HTTP/1.1\r\n{host}Connection: close\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    let mut answer = String::new();
    // What is answered before all of it has been read may end in a reset, after the answer.
    let _reset = if let Some(path) = bind.strip_prefix("unix:") {
        let mut stream = UnixStream::connect(path).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).ok()?;
        stream.read_to_string(&mut answer)
    } else {
        let mut stream = TcpStream::connect(&bind).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).ok()?;
        stream.read_to_string(&mut answer)
    };
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_ascii_lowercase(),
        body: serde_json::from_str(body).unwrap_or_default(),
    })
}

fn try_order(server: &Server, what: &str, fields: &str, body: &str) -> Option<Answer> {
    let line = format!("POST /control/{what}");
    send(server, &line, &format!("{ORDER}{fields}"), body)
}

/// An agent may be about to be replaced.
#[track_caller]
fn order(server: &Server, what: &str, fields: &str, body: &str) -> Answer {
    eventually("an answer", || try_order(server, what, fields, body))
}

/// What may be ordered, and why nothing.
#[track_caller]
fn permitted(server: &Server, fields: &str) -> (Vec<String>, String) {
    let answer = eventually("an answer", || send(server, "GET /control", fields, ""));
    assert_eq!(answer.status, 200, "{answer:?}");
    let orders = answer.body["orders"].as_array().unwrap().iter();
    let orders = orders.map(|it| it.as_str().unwrap().to_owned()).collect();
    let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
    (orders, code)
}

fn all() -> (Vec<String>, String) {
    let all = ["reload", "scale", "pause"].map(str::to_owned);
    (all.into(), String::new())
}

fn none(code: &str) -> (Vec<String>, String) {
    (Vec::new(), code.to_owned())
}

/// Kind, reason and message of what has happened, the newest last.
fn told(server: &Server) -> Vec<(String, Option<String>, String)> {
    let events = server.status().events.into_iter().rev();
    events
        .map(|event| (event.kind, event.reason, event.message))
        .collect()
}

#[test]
fn whoever_may_use_the_control_socket_orders_on_the_admin_socket_and_hears_what_came_of_it() {
    let server = on_a_unix_socket(Setup::new()).start();
    assert_eq!(permitted(&server, ""), all());
    order(&server, "reload", "", "").assert_done("generation 2 serves");
    assert_eq!(server.status().generation, Some(2));
    let done = "3 workers serve, until the next reload";
    order(&server, "scale", "", "{\"workers\":3}").assert_done(done);
    server.until_workers(3);
    let done = "2 workers serve, until the next reload";
    order(&server, "scale", "", "{\"by\":-1}").assert_done(done);
    server.until_workers(2);
    let by = format!(
        "on the admin listener, by uid {}, process {}",
        nix::unistd::geteuid(),
        std::process::id()
    );
    let event = |kind: &str, reason: Option<&str>, message: String| {
        (kind.to_owned(), reason.map(str::to_owned), message)
    };
    let scaled = |after, before| {
        let message =
            format!("{after} workers instead of {before}, asked for on the admin listener");
        event("scaled", None, message)
    };
    assert_eq!(
        told(&server)[1..],
        [
            event("ordered", Some("reload"), format!("reload {by}")),
            event(
                "reloaded",
                None,
                "generation 2 serves with 2 workers".to_owned()
            ),
            event("ordered", Some("scale"), format!("scale to 3 {by}")),
            scaled(3, 2),
            event("ordered", Some("scale"), format!("one worker less {by}")),
            scaled(2, 3),
        ]
    );
}

#[test]
fn a_reload_that_is_refused_is_told_with_its_reason_and_everything_serves_on() {
    let mut server = on_a_unix_socket(Setup::new()).start();
    server.config.set("workers.count", 0);
    server.config.write();
    let refused = order(&server, "reload", "", "{}");
    assert_eq!(refused.status, 409);
    let reason = refused.body["failed"].as_str().unwrap();
    assert!(
        reason.contains("`workers.count` must be 1 to 512"),
        "{reason}"
    );
    assert_eq!(server.status().generation, Some(1));
    client::get(&server.address(), "/hello").unwrap();
    let events = told(&server);
    assert_eq!(events[1].0, "ordered");
    assert_eq!(events[2].0, "reload_failed");
}

#[test]
fn a_pause_lasts_until_somebody_orders_a_reload() {
    let server = on_a_unix_socket(Setup::new()).start();
    let paused = order(&server, "pause", "", "");
    assert_eq!(paused.status, 200, "{paused:?}");
    server.until("a pause", |status| {
        (status.state == "paused" && status.workers.is_empty()).then_some(())
    });
    order(&server, "reload", "", "").assert_done("generation 2 serves");
    client::get(&server.address(), "/hello").unwrap();
}

#[test]
fn another_user_orders_nothing_though_the_socket_is_open_to_everybody() {
    let Some(user) = unprivileged() else { return };
    let setup = on_a_unix_socket(Setup::new());
    let path = setup.folder().join("admin.sock");
    fs::set_permissions(setup.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = setup.start();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let ask = |words: &[&str]| -> Value {
        let output = Command::new("curl")
            .args(["-s", "--unix-socket"])
            .arg(&path)
            .args(["-w", "\n%{http_code}"])
            .args(words)
            .uid(user.uid.as_raw())
            .gid(user.gid.as_raw())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        let mut answer: Value = serde_json::from_str(body).unwrap();
        answer["status"] = status.parse::<u16>().unwrap().into();
        answer
    };
    let permitted = ask(&["http://localhost/control"]);
    assert_eq!(permitted["orders"], json!([]));
    assert_eq!(permitted["code"], "wrong_user");
    let field = ORDER.trim_end();
    for what in ["reload", "scale", "pause"] {
        let address = format!("http://localhost/control/{what}");
        let refused = ask(&["-X", "POST", "-H", field, &address]);
        assert_eq!(refused["status"], 403, "{what}: {refused}");
        assert_eq!(refused["code"], "wrong_user");
        let detail = refused["detail"].as_str().unwrap();
        assert!(
            detail.contains(&format!("this is uid {}", user.uid)),
            "{detail}"
        );
    }
    assert_eq!(told(&server).len(), 1, "nothing has happened");
}

#[test]
fn what_is_no_order_is_refused_with_a_reason() {
    let server = on_a_unix_socket(Setup::new()).start();
    let post = |fields: &str, body: &str| {
        eventually("an answer", || {
            send(&server, "POST /control/reload", fields, body)
        })
    };
    let with = |field: &str| format!("{ORDER}{field}\r\n");
    assert_eq!(post("", "").code(), (403, "field_missing"));
    for fields in [
        with("Sec-Fetch-Site: cross-site"),
        with("Sec-Fetch-Site: same-site"),
        with("Origin: http://evil.example"),
    ] {
        assert_eq!(post(&fields, "").code(), (403, "cross_site"), "{fields}");
    }
    let rebound = with("Host: evil.example");
    assert_eq!(post(&rebound, "").code(), (403, "foreign_host"));
    assert_eq!(
        permitted(&server, "Host: evil.example\r\n"),
        none("foreign_host")
    );
    assert_eq!(
        post(ORDER, &" ".repeat(1025)).code(),
        (413, "body_too_large")
    );
    assert_eq!(post(ORDER, "{\"fast\":true}").code(), (400, "bad_body"));
    for body in ["", "{}", "{\"workers\":0}", "{\"by\":5}", "[]"] {
        let answer = order(&server, "scale", "", body);
        assert_eq!(answer.code(), (400, "bad_body"), "{body}");
    }
    for what in ["reload", "scale", "pause"] {
        for method in ["GET", "PUT", "OPTIONS"] {
            let line = format!("{method} /control/{what}");
            let answer = eventually("an answer", || send(&server, &line, ORDER, ""));
            assert_eq!(answer.code(), (405, "method_not_allowed"), "{line}");
            assert!(answer.head.contains("allow: post"), "{}", answer.head);
            assert!(!answer.head.contains("access-control"), "{}", answer.head);
        }
    }
    assert_eq!(order(&server, "stop", "", "").status, 404);
    assert_eq!(told(&server).len(), 1, "nothing has happened");
}

#[test]
fn over_tcp_nobody_orders_anything_where_no_scopes_are_set() {
    let server = over_tcp(Setup::new()).start();
    let refused = order(&server, "reload", &bearer("metrics control"), "");
    assert_eq!(refused.code(), (403, "orders_off"));
    let detail = refused.body["detail"].as_str().unwrap();
    assert!(detail.contains("`admin.control_scopes`"), "{detail}");
    assert_eq!(
        permitted(&server, &bearer("metrics control")),
        none("orders_off")
    );
}

#[test]
fn over_tcp_whoever_has_a_token_with_the_scopes_orders_and_hears_of_it_though_the_agent_is_replaced()
 {
    let setup = over_tcp(Setup::new()).set("admin.control_scopes", "control");
    let server = setup.start();
    let bare = order(&server, "reload", "", "");
    assert_eq!(bare.status, 401);
    assert!(
        bare.head.contains("www-authenticate: bearer"),
        "{}",
        bare.head
    );
    assert!(permitted(&server, "").0.is_empty());
    let reader = bearer("metrics");
    assert_eq!(order(&server, "reload", &reader, "").status, 403);
    assert!(permitted(&server, &reader).0.is_empty());
    let operator = bearer("control");
    assert_eq!(permitted(&server, &operator), all());
    let without_field = send(&server, "POST /control/reload", &operator, "").unwrap();
    assert_eq!(without_field.code(), (403, "field_missing"));
    // Each generation has keys of its own, and so an agent of its own.
    for generation in 2..6 {
        let agent = server.until("an agent", |status| status.agent.as_ref()?.pid);
        let done = format!("generation {generation} serves");
        let answer = eventually("an answer", || try_order(&server, "reload", &operator, ""));
        answer.assert_done(&done);
        server.until("another agent", |status| {
            status.agent.as_ref()?.pid.filter(|pid| *pid != agent)
        });
    }
    let events = told(&server);
    let by = "reload on the admin listener, by a token of `alice`";
    assert_eq!(
        events[1],
        (
            "ordered".to_owned(),
            Some("reload".to_owned()),
            by.to_owned()
        )
    );
}

#[test]
fn too_many_orders_are_refused_and_later_ones_are_not() {
    let server = on_a_unix_socket(Setup::new()).start();
    let refused = eventually("too many", || {
        let answer = order(&server, "scale", "", "{\"workers\":2}");
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(refused.code(), (429, "too_many"));
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
    eventually("an order that is done", || {
        let answer = order(&server, "scale", "", "{\"workers\":2}");
        (answer.status == 200).then_some(())
    });
}

#[test]
fn an_agent_that_dies_takes_no_order_with_it_but_its_answer() {
    let server = on_a_unix_socket(Setup::faulty()).let_boot("ok").start();
    server.let_boot("wait");
    thread::scope(|scope| {
        let giver = scope.spawn(|| try_order(&server, "reload", "", ""));
        server.until("a candidate", |status| {
            (status.state == "reloading").then_some(())
        });
        os::kill(server.until("an agent", |status| status.agent.as_ref()?.pid));
        assert!(giver.join().unwrap().is_none(), "nobody can tell");
    });
    server.let_boot("ok");
    server.until("the candidate", |status| {
        (status.generation == Some(2)).then_some(())
    });
    order(&server, "reload", "", "").assert_done("generation 3 serves");
}

#[test]
fn a_worker_that_boots_slowly_keeps_no_probe_from_its_answer() {
    let server = on_a_unix_socket(Setup::faulty()).let_boot("ok").start();
    server.let_boot("wait");
    thread::scope(|scope| {
        // As many as wait at once; the rate bounds how many the master takes in.
        let givers: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| try_order(&server, "reload", "", "").unwrap()))
            .collect();
        server.until("a candidate", |status| {
            (status.state == "reloading").then_some(())
        });
        let livez = send(&server, "GET /livez", "", "").unwrap();
        assert_eq!(livez.status, 200);
        server.let_boot("ok");
        let answers: Vec<_> = givers.into_iter().map(|it| it.join().unwrap()).collect();
        assert!(
            answers.iter().any(|answer| answer.status == 200),
            "{answers:?}"
        );
        assert!(
            answers.iter().any(|answer| answer.status == 429),
            "{answers:?}"
        );
    });
    let path = server.folder().join("admin.sock");
    assert_eq!(
        client::get(&Address::Unix(path), "/readyz").unwrap().status,
        200
    );
}

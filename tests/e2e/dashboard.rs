//! The page of the admin listener: what it is told, by whom it may be asked, and that it costs nothing while nobody looks. Browsers look
//! at it in `tests/browser`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::admin::{SECRET, later, token, with_issuer};
use crate::support::client::{self, Address, Blocking};
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os};

fn watched(setup: Setup) -> Setup {
    setup.set("admin.bind", "127.0.0.1:0")
}

fn address(server: &Server) -> Address {
    server.until("an address of its own", |status| {
        let bind = &status.admin.first()?.address;
        Some(match bind.strip_prefix("unix:") {
            Some(path) => Address::Unix(path.into()),
            None => Address::Tcp(bind.parse().ok()?),
        })
    })
}

/// Somebody who watches.
struct Watcher(Box<dyn BufRead + Send>);

impl Watcher {
    /// The status, and the stream where that is 200.
    fn open(address: &Address, fields: &str) -> (u16, Self) {
        let request =
            format!("GET /events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n");
        let mut stream: Box<dyn BufRead + Send> = match address {
            Address::Tcp(address) => {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                Box::new(BufReader::new(stream))
            }
            Address::Unix(path) => {
                let mut stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                Box::new(BufReader::new(stream))
            }
            other @ (Address::Tls(..) | Address::Announced(_)) => panic!("{other:?}"),
        };
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        (status, Self(stream))
    }

    #[track_caller]
    fn of(server: &Server) -> Self {
        let (status, watcher) = Self::open(&address(server), "");
        assert_eq!(status, 200);
        watcher
    }

    /// The next thing of this name that it is told.
    fn next(&mut self, name: &str) -> Value {
        let mut is_it = false;
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "the stream ended");
            if let Some(event) = line.strip_prefix("event: ") {
                is_it = event.trim_end() == name;
            } else if let Some(data) = line.strip_prefix("data: ").filter(|_| is_it) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    fn until(&mut self, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
        loop {
            let told = self.next(name);
            if holds(&told) {
                return told;
            }
        }
    }
}

#[test]
fn the_page_is_part_of_the_program_and_lets_nothing_else_in() {
    let server = watched(Setup::new()).start();
    let mut connection = Blocking::open(&address(&server)).unwrap();
    let page = connection.get("/").unwrap();
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert!(
        !text.contains("http:") && !text.contains("https:"),
        "{text}"
    );
    for path in ["/dashboard.css", "/dashboard.js", "/dashboard.svg", "/"] {
        let answer = connection.get(path).unwrap();
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["x-frame-options"], "DENY");
    }
}

#[test]
fn whoever_watches_is_told_of_figures_and_of_a_death_with_its_reason() {
    let server = watched(Setup::new()).set("app.faults", true).start();
    let mut watcher = Watcher::of(&server);
    let first = watcher.next("timeline");
    assert_eq!(first[0]["kind"], "started");
    let sample = watcher.next("sample");
    assert_eq!(sample["state"], "serving");
    assert_eq!(sample["readiness"]["status"], "ok");
    assert_eq!(sample["workers"].as_array().unwrap().len(), 2);
    let waiting = client::get_meanwhile(&server.address(), "/slow?ms=600000");
    let sample = watcher.until("sample", |sample| sample["in_flight"] == 1);
    let busy = sample["workers"].as_array().unwrap().iter();
    let busy: Vec<&Value> = busy.filter(|worker| worker["in_flight"] == 1).collect();
    assert_eq!(busy[0]["oldest"]["method"], "GET");
    assert_eq!(busy[0]["oldest"]["path"], "/slow", "without its query");
    client::get(&server.address(), "/hello").unwrap();
    let sample = watcher.until("sample", |sample| sample["p99"].as_f64().is_some());
    assert!(sample["requests_per_second"].as_f64().is_some(), "{sample}");
    let pid = u32::try_from(busy[0]["pid"].as_u64().unwrap()).unwrap();
    os::kill(pid);
    drop(waiting.join());
    let timeline = watcher.until("timeline", |events| events.as_array().unwrap().len() > 1);
    let death = &timeline[1];
    assert_eq!(death["kind"], "worker_died");
    assert_eq!(death["reason"], "signal");
    assert_eq!(death["worker"], busy[0]["worker"]);
    let message = death["message"].as_str().unwrap();
    assert_eq!(message, "killed by SIGKILL, 1 in flight");
    watcher.until("sample", |sample| {
        let workers = sample["workers"].as_array().unwrap();
        workers.len() == 2 && workers.iter().all(|worker| worker["pid"] != pid)
    });
    // Another agent knows what the one before it did.
    os::kill(server.until("an agent", |status| status.agent.as_ref()?.pid));
    let events = eventually("another agent", || {
        let (status, mut watcher) = Watcher::open(&address(&server), "");
        (status == 200).then(|| watcher.next("timeline"))
    });
    assert_eq!(events[1], *death);
}

#[test]
fn samples_are_taken_only_while_somebody_watches() {
    let server = watched(Setup::new()).start();
    let agent = server.until("an agent", |status| status.agent.as_ref()?.pid);
    let switches = || {
        let line = os::status_line(agent, "voluntary_ctxt_switches");
        line.parse::<u64>().unwrap()
    };
    let mut watcher = Watcher::of(&server);
    let (first, second) = (watcher.next("sample"), watcher.next("sample"));
    let apart = second["now"].as_f64().unwrap() - first["now"].as_f64().unwrap();
    assert!(apart > 0.9, "{apart} s");
    drop(watcher);
    // The last one finds that nobody is there.
    eventually("a second in which it sleeps", || {
        let before = switches();
        let until = destrier::sys::clock::monotonic() + std::time::Duration::from_millis(1500);
        eventually("a moment", || {
            (destrier::sys::clock::monotonic() > until).then_some(())
        });
        (switches() == before).then_some(())
    });
    let mut again = Watcher::of(&server);
    assert!(again.next("sample")["now"].as_f64() > second["now"].as_f64());
}

#[test]
fn those_who_watch_are_bounded() {
    let server = watched(Setup::new()).start();
    let mut watchers: Vec<Watcher> = (0..16).map(|_| Watcher::of(&server)).collect();
    assert_eq!(Watcher::open(&address(&server), "").0, 503);
    let _sample = watchers[15].next("sample");
    drop(watchers.pop());
    eventually("a place", || {
        let (status, watcher) = Watcher::open(&address(&server), "");
        (status == 200).then_some(watcher)
    });
    assert_eq!(
        Blocking::open(&address(&server))
            .unwrap()
            .get("/readyz")
            .unwrap()
            .status,
        200
    );
}

#[test]
fn what_has_happened_is_told_by_status_and_goes_on_over_an_upgrade() {
    let mut server = watched(Setup::new()).start();
    assert_eq!(server.cli(["scale", "3"]).code, Some(0));
    server.config.set("workers.count", 0);
    server.config.write();
    assert_ne!(server.cli(["reload"]).code, Some(0));
    server.config.set("workers.count", 2);
    server.config.write();
    server.upgrade();
    os::kill(server.until_workers(2)[0]);
    server.until("a death", |status| {
        (status.events.first()?.kind == "worker_died").then_some(())
    });
    let events = server.status().events;
    let told: Vec<(u64, &str, Option<&str>)> = events
        .iter()
        .rev()
        .map(|event| (event.number, event.kind.as_str(), event.reason.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            (1, "started", None),
            (2, "scaled", None),
            (3, "reload_failed", Some("refused")),
            (4, "upgraded", None),
            (5, "reloaded", None),
            (6, "worker_died", Some("signal")),
        ]
    );
    assert!(events[3].message.contains("workers.count"), "{events:?}");
    let mut watcher = Watcher::of(&server);
    let shown = watcher.until("timeline", |shown| shown.as_array().unwrap().len() == 6);
    assert_eq!(shown[5], serde_json::to_value(&events[0]).unwrap());
}

#[test]
fn over_tcp_whoever_watches_may_need_a_token_and_the_page_itself_never_does() {
    let setup = with_issuer(watched(Setup::new()));
    let server = setup.set("admin.scopes", "metrics").start();
    let address = address(&server);
    let bearer = |secret: &str, scope: &str| {
        let claims = json!({ "exp": later(), "scope": scope });
        format!("Authorization: Bearer {}\r\n", token(secret, &claims))
    };
    let (status, mut refused) = Watcher::open(&address, "");
    assert_eq!(status, 401);
    let mut answer = String::new();
    refused.0.read_to_string(&mut answer).unwrap();
    assert!(
        answer
            .to_ascii_lowercase()
            .contains("www-authenticate: bearer"),
        "{answer}"
    );
    // What the page tells whoever brought a token that is none.
    assert!(answer.contains("\"detail\":"), "{answer}");
    let forged = bearer("another secret of at least 32 octets", "metrics");
    assert_eq!(Watcher::open(&address, &forged).0, 401);
    assert_eq!(Watcher::open(&address, &bearer(SECRET, "other")).0, 403);
    let (status, mut watcher) = Watcher::open(&address, &bearer(SECRET, "metrics"));
    assert_eq!(status, 200);
    assert_eq!(watcher.next("timeline")[0]["kind"], "started");
    let mut connection = Blocking::open(&address).unwrap();
    for path in ["/", "/dashboard.js", "/dashboard.css"] {
        assert_eq!(connection.get(path).unwrap().status, 200, "{path}");
    }
}

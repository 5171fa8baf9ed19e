//! Monitoring sees what is so: probes follow the life of the server, metrics add up whatever becomes of workers and programs, and
//! nothing of it depends on the workers, nor they on it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use destrier::sys::clock;
use http_body_util::Empty;
use hyper::Request;
use jsonwebtoken::{EncodingKey, Header, encode};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::client::{self, Address, Answer, Blocking, Failure};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::{PATIENCE, eventually, os, timed, within};

/// Where monitoring asks first.
fn admin(server: &Server) -> Address {
    let bind = server.until("an address of its own", |status| {
        let first = status.admin.first()?;
        Some(first.address.clone())
    });
    match bind.strip_prefix("unix:") {
        Some(path) => Address::Unix(path.into()),
        None => Address::Tcp(bind.parse().unwrap()),
    }
}

pub(crate) fn monitored(setup: Setup) -> Setup {
    setup.set("admin.bind", "127.0.0.1:0")
}

fn ask_with(address: &Address, path: &str, fields: &[(&str, &str)]) -> Result<Answer, Failure> {
    let mut request = Request::get(path).header("host", "test");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request: Request<Empty<Bytes>> = request.body(Empty::new()).unwrap();
    Blocking::open(address)?.send(request)
}

fn ask(server: &Server, path: &str) -> Answer {
    ask_with(&admin(server), path, &[]).unwrap()
}

/// The status of a probe, and the first reason.
fn probe(server: &Server, path: &str) -> (u16, String) {
    let answer = ask(server, path);
    let reason = answer.json()["reasons"][0]["code"].clone();
    (
        answer.status,
        reason.as_str().unwrap_or_default().to_owned(),
    )
}

#[track_caller]
fn assert_probe(server: &Server, path: &str, status: u16, reason: &str) {
    assert_eq!(probe(server, path), (status, reason.to_owned()), "{path}");
}

#[track_caller]
fn until_probe(server: &Server, path: &str, status: u16, reason: &str) {
    eventually(&format!("{path}: {status} {reason}"), || {
        (probe(server, path) == (status, reason.to_owned())).then_some(())
    });
}

type Metrics = BTreeMap<String, u64>;

/// Its whole part: what is compared here are numbers of things.
fn whole(value: &str) -> u64 {
    let whole = value.split('.').next().filter(|_| !value.contains('e'));
    whole.map_or(0, |whole| whole.parse().unwrap())
}

/// The metrics by name and labels, as they are written.
fn try_scrape(address: &Address) -> Option<Metrics> {
    let answer = ask_with(address, "/metrics", &[]).ok()?;
    if answer.status != 200 {
        return None;
    }
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), whole(value))
    });
    Some(parsed.collect())
}

#[track_caller]
pub(crate) fn scrape(server: &Server) -> Metrics {
    let address = admin(server);
    eventually("a scrape", || try_scrape(&address))
}

/// All series of a metric together.
fn sum(metrics: &Metrics, name: &str) -> u64 {
    let series = metrics.iter().filter(|(series, _)| {
        *series == name
            || series
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{'))
    });
    series.map(|(_, value)| value).sum()
}

fn agent_of(server: &Server) -> u32 {
    server.until("an agent", |status| status.agent.as_ref()?.pid)
}

#[test]
fn probes_follow_the_life_of_the_server() {
    let mut setup = Setup::faulty().let_boot("wait");
    // Where nobody says where, it is beside the control socket.
    setup.config.unset("admin.bind");
    let server = setup.launch();
    let address = Address::Unix(server.folder().join("control.admin.sock"));
    let livez = eventually("the agent", || ask_with(&address, "/livez", &[]).ok());
    assert_eq!(livez.status, 200);
    assert_eq!(admin(&server), address);
    assert_probe(&server, "/startupz", 503, "booting");
    assert_probe(&server, "/readyz", 503, "booting");
    server.let_boot("ok");
    server.wait_until_ready();
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_probe(&server, path, 200, "");
    }
    let verbose = ask(&server, "/readyz?verbose");
    let text = String::from_utf8(verbose.body.to_vec()).unwrap();
    assert!(text.contains("[+]workers ok: 2 of 2"), "{text}");
    assert_eq!(ask(&server, "/else").status, 404);
    // A candidate that does not get ready costs nothing.
    server.let_boot("fail");
    assert_ne!(server.cli(["reload"]).code, Some(0));
    assert_probe(&server, "/readyz", 200, "");
    server.let_boot("ok");
    server.reload();
    assert_probe(&server, "/readyz", 200, "");
    let metrics = scrape(&server);
    assert_eq!(metrics["destrier_reloads_total{outcome=\"committed\"}"], 1);
    assert_eq!(
        metrics["destrier_reloads_total{outcome=\"rolled_back\"}"],
        1
    );
    assert_eq!(metrics["destrier_ready"], 1);
    server.signal(Signal::SIGWINCH);
    until_probe(&server, "/readyz", 503, "paused");
    assert_probe(&server, "/startupz", 200, "");
    assert_probe(&server, "/livez", 200, "");
    server.reload();
    until_probe(&server, "/readyz", 200, "");
}

#[test]
fn a_server_that_was_told_to_stop_is_not_ready_but_lives_and_serves() {
    let server = monitored(Setup::new())
        .set("workers.drain_delay", "1h")
        .start();
    server.signal(Signal::SIGTERM);
    until_probe(&server, "/readyz", 503, "stopping");
    assert_probe(&server, "/livez", 200, "");
    assert_probe(&server, "/startupz", 200, "");
    client::get(&server.address(), "/hello").unwrap();
    assert_eq!(scrape(&server)["destrier_ready"], 0);
}

#[test]
fn a_server_with_too_few_workers_is_not_ready_until_they_are_back() {
    let server = monitored(Setup::new())
        .set("health.ready_min", 2)
        .set("app.faults", true)
        .set("workers.backoff_initial", "1h")
        .set("workers.backoff_max", "1h")
        .start();
    assert_probe(&server, "/readyz", 200, "");
    // The first death of a slot costs nothing; the next one has to wait.
    within(PATIENCE, "a slot that waits", || {
        let _gone = client::get(&server.address(), "/fault/exit?code=9");
        (server.status().workers.len() < 2).then_some(())
    });
    assert_probe(&server, "/readyz", 503, "degraded");
    assert_probe(&server, "/livez", 200, "");
    assert_probe(&server, "/startupz", 200, "");
    let metrics = scrape(&server);
    assert!(metrics["destrier_worker_ends_total{reason=\"exit\"}"] >= 2);
    server.reload();
    until_probe(&server, "/readyz", 200, "");
}

#[test]
fn a_master_that_does_not_turn_its_loop_does_not_live() {
    let server = monitored(Setup::new()).start();
    let address = admin(&server);
    assert_probe(&server, "/livez", 200, "");
    os::send(server.pid, Signal::SIGSTOP);
    let answer = ask_with(&address, "/livez", &[]);
    let metrics = ask_with(&address, "/metrics", &[]);
    os::send(server.pid, Signal::SIGCONT);
    let answer = answer.unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["reasons"][0]["code"], "master_silent");
    assert_eq!(metrics.unwrap().status, 503);
    until_probe(&server, "/livez", 200, "");
}

#[test]
fn monitoring_is_answered_while_no_worker_does() {
    let server = monitored(Setup::new())
        .set("app.faults", true)
        .set("workers.hang_timeout", "1h")
        .start();
    let mut hanging = Vec::new();
    // Some wait in the queue of a worker that hangs already.
    let metrics = eventually("two requests in flight", || {
        let hang = client::get_meanwhile(&server.address(), "/fault/hang");
        hanging.push(hang);
        let metrics = scrape(&server);
        (metrics["destrier_requests_in_flight"] == 2).then_some(metrics)
    });
    assert_eq!(metrics["destrier_workers{state=\"accepting\"}"], 2);
    let address = admin(&server);
    let mut connection = Blocking::open(&address).unwrap();
    let times = (0..20).map(|_| timed(|| connection.get("/readyz").unwrap()).1);
    let best = times.min().unwrap();
    assert!(best < Duration::from_millis(10), "{best:?}");
    server.signal(Signal::SIGQUIT);
    for waiting in hanging {
        drop(waiting.join());
    }
}

#[test]
fn the_agent_can_be_killed_and_nobody_but_who_asks_it_notices() {
    let server = monitored(Setup::new()).start();
    let load = Load::start(&server.address(), Plan::LIGHT);
    let before = scrape(&server);
    let agent = agent_of(&server);
    os::kill(agent);
    let next = server.until("another agent", |status| {
        status.agent.as_ref()?.pid.filter(|pid| *pid != agent)
    });
    load.wait_for_answers(20);
    let after = scrape(&server);
    assert_ne!(next, agent);
    for name in [
        "destrier_requests_total",
        "destrier_connections_accepted_total",
    ] {
        assert!(sum(&after, name) >= sum(&before, name), "{name}");
    }
    load.finish().assert_nothing_lost();
}

/// Scrapes again and again, and holds that no counter is ever less than it was.
fn watch(address: Address, is_over: Arc<AtomicBool>) -> thread::JoinHandle<u32> {
    const SUMS: [&str; 7] = [
        "destrier_requests_total",
        "destrier_connections_accepted_total",
        "destrier_request_body_bytes_total",
        "destrier_response_body_bytes_total",
        "destrier_request_duration_seconds_count",
        "destrier_request_duration_seconds_sum",
        "destrier_worker_ends_total",
    ];
    thread::spawn(move || {
        let mut last = BTreeMap::new();
        let mut scrapes = 0;
        while !is_over.load(Relaxed) {
            let Some(metrics) = try_scrape(&address) else {
                continue;
            };
            scrapes += 1;
            for name in SUMS {
                let now = sum(&metrics, name);
                let before = last.insert(name, now).unwrap_or(0);
                assert!(now >= before, "{name}: {before}, then {now}");
            }
        }
        scrapes
    })
}

#[test]
fn what_is_counted_is_what_clients_got_whatever_becomes_of_workers_and_programs() {
    let server = monitored(Setup::new()).start();
    let is_over = Arc::new(AtomicBool::new(false));
    let watcher = watch(admin(&server), Arc::clone(&is_over));
    let load = Load::start(&server.address(), Plan::LIGHT);
    server.reload();
    load.wait_for_answers(20);
    assert_eq!(server.cli(["scale", "3"]).code, Some(0));
    load.wait_for_answers(20);
    os::kill(server.pids()[0]);
    load.wait_for_answers(20);
    assert_eq!(server.cli(["scale", "1"]).code, Some(0));
    load.wait_for_answers(20);
    server.upgrade();
    load.wait_for_answers(20);
    server.reload();
    load.wait_for_answers(20);
    let report = load.finish();
    is_over.store(true, Relaxed);
    assert!(watcher.join().unwrap() > 5);
    // A worker that was killed may have counted an answer that its client did not get whole.
    let (least, most) = (report.answered, report.answered + report.failures());
    // A reload forgets `destrier scale`.
    server.until_workers(2);
    let metrics = eventually("every request to be over", || {
        let metrics = scrape(&server);
        let ended = metrics["destrier_request_duration_seconds_count"];
        (metrics["destrier_requests_in_flight"] == 0 && ended >= least).then_some(metrics)
    });
    let counted = metrics["destrier_requests_total{status=\"2xx\"}"];
    assert!(
        (least..=most).contains(&counted),
        "{least} to {most}: {counted}"
    );
    assert_eq!(sum(&metrics, "destrier_requests_total"), counted);
    let ended = metrics["destrier_request_duration_seconds_count"];
    assert!(
        (least..=most).contains(&ended),
        "{least} to {most}: {ended}"
    );
    let last = metrics["destrier_request_duration_seconds_bucket{le=\"+Inf\"}"];
    assert_eq!(last, ended);
    assert!(metrics["destrier_response_body_bytes_total"] > least);
    assert_eq!(metrics["destrier_upgrades_total{outcome=\"done\"}"], 1);
    assert_eq!(metrics["destrier_worker_ends_total{reason=\"signal\"}"], 1);
    assert_eq!(sum(&metrics, "destrier_workers"), 2);
    let status = server.status();
    assert_eq!(status.totals.requests, counted, "status says the same");
    assert_eq!(metrics["destrier_generation"], status.generation.unwrap());
}

#[test]
fn why_tokens_are_refused_and_how_many_are_recognised_is_counted() {
    let mut setup = monitored(Setup::new()).set("workers.count", 1);
    setup.config.set_auth(
        "[[auth.issuer]]\nname = \"own\"\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/hello\"\n[[auth.rule]]\npath = \"/**\"\nscopes = [\"more\"]\n",
    );
    put_secret(&setup, "secret", SECRET);
    let server = setup.start();
    let bearer = |token: &str| format!("Bearer {token}");
    let good = bearer(&token(SECRET, &json!({"exp": later()})));
    let get = |path: &str, authorization: Option<&str>| {
        let fields: Vec<_> = authorization
            .map(|it| ("authorization", it))
            .into_iter()
            .collect();
        ask_with(&server.address(), path, &fields).unwrap().status
    };
    assert_eq!(
        [get("/hello", Some(&good)), get("/hello", Some(&good))],
        [200, 200]
    );
    assert_eq!(get("/hello", None), 401);
    assert_eq!(get("/hello", Some("Bearer nonsense")), 401);
    let old = bearer(&token(SECRET, &json!({"exp": 1000})));
    assert_eq!(get("/hello", Some(&old)), 401);
    let forged = bearer(&token(
        "another secret of at least 32 octets",
        &json!({"exp": later()}),
    ));
    assert_eq!(get("/hello", Some(&forged)), 401);
    assert_eq!(get("/pid", Some(&good)), 403);
    let metrics = scrape(&server);
    for reason in [
        "no_token",
        "unreadable_token",
        "expired",
        "signature",
        "permission",
    ] {
        let name = format!("destrier_requests_refused_total{{reason=\"{reason}\"}}");
        assert_eq!(metrics[&name], 1, "{reason}");
    }
    assert_eq!(sum(&metrics, "destrier_requests_refused_total"), 5);
    assert_eq!(
        metrics["destrier_token_cache_lookups_total{result=\"hit\"}"],
        2
    );
    assert_eq!(metrics["destrier_requests_total{status=\"2xx\"}"], 2);
}

pub(crate) const SECRET: &str = "a secret of thirty-two octets!!!";

pub(crate) fn token(secret: &str, claims: &serde_json::Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes()).unwrap();
    encode(&Header::default(), claims, &key).unwrap()
}

pub(crate) fn later() -> u64 {
    clock::unix().as_secs() + 3600
}

/// Monitoring needs tokens of an issuer whose secret is [`SECRET`]; the application needs none.
pub(crate) fn with_issuer(setup: Setup) -> Setup {
    let mut setup = setup.set("admin.issuer", "own");
    setup.config.set_auth(
        "[[auth.issuer]]\nname = \"own\"\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/**\"\naccess = \"public\"\n",
    );
    put_secret(&setup, "secret", SECRET);
    setup
}

pub(crate) fn put_secret(setup: &Setup, name: &str, secret: &str) {
    crate::support::tls::put(&setup.folder().join(name), secret);
}

#[test]
fn over_tcp_the_metrics_may_need_a_token_and_probes_never_do() {
    let setup = with_issuer(monitored(Setup::new()));
    let server = setup.set("admin.scopes", "metrics").start();
    let address = admin(&server);
    let scrape_with = |authorization: &str| {
        let fields = [("authorization", authorization)];
        ask_with(&address, "/metrics", &fields).unwrap().status
    };
    let bare = ask_with(&address, "/metrics", &[]).unwrap();
    assert_eq!(bare.status, 401);
    assert!(bare.headers.contains_key("www-authenticate"));
    let with = |secret: &str, scope: &str| {
        let claims = json!({"exp": later(), "scope": scope});
        format!("Bearer {}", token(secret, &claims))
    };
    assert_eq!(scrape_with(&with(SECRET, "other")), 403);
    assert_eq!(scrape_with(&with(SECRET, "metrics")), 200);
    for path in ["/livez", "/readyz", "/startupz"] {
        assert_probe(&server, path, 200, "");
    }
    // Keys that change are in force here too.
    let next = "another secret of at least 32 octets";
    assert_eq!(scrape_with(&with(next, "metrics")), 401);
    crate::support::tls::put(&server.folder().join("secret"), next);
    eventually("the new secret", || {
        let fields = with(next, "metrics");
        let answer = ask_with(&address, "/metrics", &[("authorization", fields.as_str())]);
        answer.ok().filter(|it| it.status == 200).map(drop)
    });
    assert_eq!(scrape_with(&with(SECRET, "metrics")), 401);
}

#[test]
fn a_candidate_does_not_decide_who_may_read_the_metrics() {
    let setup = with_issuer(monitored(Setup::faulty()));
    let mut server = setup.let_boot("ok").start();
    let address = admin(&server);
    server.config.unset("admin.issuer");
    server.config.write();
    server.let_boot("wait");
    server.signal(Signal::SIGHUP);
    server.until("a candidate", |status| {
        (status.state == "reloading").then_some(())
    });
    // One that is born while the candidate boots.
    let agent = agent_of(&server);
    os::kill(agent);
    server.until("another agent", |status| {
        status.agent.as_ref()?.pid.filter(|pid| *pid != agent)
    });
    let bare = || {
        let answer = eventually("an answer", || ask_with(&address, "/metrics", &[]).ok());
        answer.status
    };
    assert_eq!(bare(), 401, "what serves wants a token");
    server.let_boot("ok");
    eventually("no token to be needed", || (bare() == 200).then_some(()));
}

#[test]
fn addresses_of_monitoring_come_and_go_with_a_reload_and_none_is_one_too() {
    let mut server = monitored(Setup::new()).start();
    let tcp = admin(&server);
    let path = server.folder().join("admin.sock");
    let unix = Address::Unix(path.clone());
    server.config.set(
        "admin.bind",
        vec!["127.0.0.1:0".to_owned(), "unix:admin.sock".to_owned()],
    );
    server.config.write();
    server.reload();
    for address in [&tcp, &unix] {
        let answer = eventually("the new agent", || ask_with(address, "/readyz", &[]).ok());
        assert_eq!(answer.status, 200);
    }
    assert_eq!(admin(&server), tcp, "the port has stayed");
    server.config.set("admin.bind", "unix:admin.sock");
    server.config.write();
    server.reload();
    eventually("the port to be closed", || {
        let refused = ask_with(&tcp, "/readyz", &[]).err();
        (refused == Some(Failure::Refused)).then_some(())
    });
    assert_eq!(ask_with(&unix, "/readyz", &[]).unwrap().status, 200);
    server.config.set("admin.bind", Vec::<String>::new());
    server.config.write();
    server.reload();
    eventually("the agent to go", || {
        (!path.exists() && server.status().agent.is_none()).then_some(())
    });
    // An address that cannot be had refuses the reload, and nothing has changed.
    let taken = server.port().to_string();
    server.config.set("admin.bind", taken.as_str());
    server.config.write();
    assert_ne!(server.cli(["reload"]).code, Some(0));
    assert!(server.status().admin.is_empty());
}

#[test]
fn a_reload_that_monitoring_refuses_leaves_no_listener_behind() {
    let mut server = monitored(Setup::new()).start();
    let before = server.status().listeners.len();
    let (port, path) = (server.port(), server.folder().join("other.sock"));
    server
        .config
        .set("server.bind", vec!["127.0.0.1:0", "unix:other.sock"])
        .set("admin.bind", port.to_string());
    server.config.write();
    let refused = server.cli(["reload"]);
    assert_ne!(refused.code, Some(0));
    assert_eq!(server.status().listeners.len(), before);
    assert!(!path.exists(), "nobody would answer there");
    client::get(&server.address(), "/hello").unwrap();
}

#[test]
fn whoever_does_not_know_openmetrics_gets_the_older_text() {
    let server = monitored(Setup::new()).start();
    let answer = ask_with(
        &admin(&server),
        "/metrics",
        &[("accept", "text/plain;version=0.0.4")],
    );
    let answer = answer.unwrap();
    assert_eq!(
        answer.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        text.contains("# TYPE destrier_requests_total counter"),
        "{text}"
    );
    let _first_line = server.wait_for_log(Mark::START, "agent started");
}

#[test]
fn an_agent_that_nobody_asks_sleeps() {
    let server = monitored(Setup::new()).start();
    let agent = agent_of(&server);
    assert_probe(&server, "/livez", 200, "");
    let switches = || {
        os::status_line(agent, "voluntary_ctxt_switches")
            .parse::<u64>()
            .unwrap()
    };
    let before = switches();
    let until = clock::monotonic() + Duration::from_secs(3);
    eventually("three seconds", || {
        (clock::monotonic() > until).then_some(())
    });
    let woken = switches() - before;
    assert!(woken < 6, "woken {woken} times in 3 s");
}

//! A request that workers die of again and again is blocked for a while, and no other is.

use destrier::sys::clock;
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::client::{self, Answer, Blocking, Failure};
use crate::support::journal::Mark;
use crate::support::os;
use crate::support::server::{Server, Setup};

/// One worker that comes back at once, and an application that can die in many ways.
fn setup() -> Setup {
    Setup::faulty()
        .set("workers.count", 1)
        .set("workers.backoff_initial", "1ms")
        .set("workers.backoff_max", "1ms")
        .set("workers.poison_guard", true)
        .set("app.faults", true)
}

/// Sends a request that ends the worker, so many times; each is over when its death is known.
#[track_caller]
fn die(server: &Server, path: &str, times: usize) {
    for _ in 0..times {
        let [pid] = server.until_workers(1)[..] else {
            panic!("more than one worker");
        };
        let answer = client::get(&server.address(), path);
        assert!(is_lost(&answer), "{path}: {answer:?}");
        server.until("its death", |status| {
            (status.deaths.first()?.pid == pid).then_some(())
        });
    }
}

/// Whether the worker died of it.
fn is_lost(answer: &Result<Answer, Failure>) -> bool {
    matches!(answer, Err(Failure::CutOff | Failure::Reset))
}

#[track_caller]
fn assert_blocked(server: &Server, path: &str) {
    let answer = client::get(&server.address(), path);
    assert_eq!(answer.unwrap_err(), Failure::NotSuccess(503), "{path}");
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    let request = Request::get(path).header("host", "test");
    request.body(Empty::new()).unwrap()
}

#[test]
fn a_request_that_three_workers_died_of_is_answered_with_503_and_no_other_is() {
    let server = setup().start();
    // In flight in each worker that dies, and never the cause.
    let neighbours: Vec<_> = (0..3)
        .map(|number| {
            let neighbour = client::get_meanwhile(&server.address(), "/slow?ms=600000");
            server.until_in_flight(1);
            die(&server, "/fault/crash?x=1", 1);
            if number == 2 {
                // Its line may be read later than the answer to the question for its status.
                server.wait_for_log(Mark::START, BLOCKED);
            }
            assert_eq!(server.count_log(Mark::START, BLOCKED), number / 2);
            neighbour
        })
        .collect();
    for neighbour in neighbours {
        assert!(neighbour.join().unwrap().is_err());
    }
    let pid = server.until_workers(1)[0];
    let mut connection = Blocking::open(&server.address()).unwrap();
    let answer = connection.send(request("/fault/crash?x=1")).unwrap();
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["code"], "blocked");
    let left: u64 = answer.headers["retry-after"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!((590..=600).contains(&left), "the default window: {left}");
    // Another spelling of the path is no other request.
    assert_blocked(&server, "/fault/%63rash?x=1");
    assert!(connection.get("/slow?ms=1").is_ok());
    assert_eq!(server.pids(), [pid], "the worker serves on");
    assert_eq!(server.status().totals.blocked, 2);
    die(&server, "/fault/crash?x=2", 1);
    die(&server, "/fault/crash", 1);
    let line = server.wait_for_log(Mark::START, "blocked");
    assert_eq!(
        line["request"],
        answer.headers["x-request-id"].to_str().unwrap()
    );
    assert_eq!(
        (&line["path"], &line["status"]),
        (&json!("/fault/crash"), &json!(503))
    );
    assert!(line["reason"].as_str().unwrap().contains("poison_guard"));
    let line = server.wait_for_log(Mark::START, BLOCKED);
    assert_eq!(line["level"], "WARN");
    assert_eq!(
        (&line["method"], &line["path"]),
        (&json!("GET"), &json!("/fault/crash"))
    );
    assert!(server.cli(["status"]).stdout.contains(", 2 blocked)"));
}

const BLOCKED: &str = "blocked: workers keep dying of this request, it is answered with 503";

#[test]
fn a_blocked_request_may_be_tried_again_when_the_window_has_passed() {
    let server = setup().set("workers.poison_window", "3s").start();
    die(&server, "/fault/exit?code=9", 3);
    assert_blocked(&server, "/fault/exit?code=9");
    let line = server.wait_for_log(Mark::START, "a blocked request may be tried again");
    assert_eq!(
        (&line["method"], &line["path"]),
        (&json!("GET"), &json!("/fault/exit"))
    );
    die(&server, "/fault/exit?code=9", 1);
    assert_eq!(server.status().totals.blocked, 1);
}

#[test]
fn a_request_that_three_workers_hung_in_is_blocked_too() {
    let server = setup().set("workers.hang_timeout", "200ms").start();
    die(&server, "/fault/hang", 3);
    assert_blocked(&server, "/fault/hang");
}

#[test]
fn what_is_blocked_stays_so_over_a_reload_and_is_let_go_when_the_guard_is_taken_off() {
    let mut server = setup().start();
    die(&server, "/fault/crash", 3);
    assert_blocked(&server, "/fault/crash");
    server.reload();
    server.until_workers(1);
    assert_blocked(&server, "/fault/crash");
    server.config.set("workers.poison_guard", false).write();
    server.reload();
    die(&server, "/fault/crash", 1);
}

#[test]
fn without_the_guard_nothing_is_blocked() {
    let server = setup().set("workers.poison_guard", false).start();
    die(&server, "/fault/crash", 5);
    assert_eq!(server.status().totals.blocked, 0);
}

#[test]
fn a_death_whose_cause_is_not_certain_counts_against_no_request() {
    let server = setup().start();
    die(&server, "/die/thread", 4);
    die(&server, "/die/_exit", 4);
    die(&server, "/die/task", 4);
    for _ in 0..4 {
        let client = client::get_meanwhile(&server.address(), "/fault/hang");
        server.until_in_flight(1);
        let pid = server.pids()[0];
        assert!(os::send(pid, Signal::SIGSEGV));
        assert!(is_lost(&client.join().unwrap()));
        server.until("its death", |status| {
            (status.deaths.first()?.pid == pid).then_some(())
        });
    }
    assert_eq!(server.status().totals.blocked, 0);
}

#[test]
fn nobody_can_have_the_request_of_another_subject_blocked() {
    const SECRET: &str = "a secret of thirty-two octets!!!";
    let mut setup = setup();
    setup.config.set_auth(
        "[[auth.issuer]]\nsecret_file = \"secret\"\n[[auth.rule]]\npath = \"/**\"\naccess = \"optional\"\n",
    );
    let secret = setup.folder().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let server = setup.start();
    let crash_as = |subject: &str, number: u64| {
        let deaths = server.status().deaths.len();
        // A new token each time: the subject counts.
        let claims = json!({"sub": subject, "jti": number.to_string(), "exp": clock::unix().as_secs() + 600});
        let key = EncodingKey::from_secret(SECRET.as_bytes()).unwrap();
        let token = encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap();
        let mut request = request("/fault/crash");
        let field = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", field);
        let mut connection = Blocking::open(&server.address()).unwrap();
        let status = connection.send(request).map(|answer| answer.status).ok();
        if status.is_none() {
            server.until("its death", |status| {
                (status.deaths.len() > deaths).then_some(())
            });
            server.until_workers(1);
        }
        status
    };
    for number in 0..3 {
        assert_eq!(crash_as("mallory", number), None);
    }
    assert_eq!(crash_as("mallory", 3), Some(503));
    assert_eq!(crash_as("alice", 4), None);
    die(&server, "/fault/crash", 1);
}

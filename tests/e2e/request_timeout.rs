//! A request on which the application takes too long costs that request, and no other.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;

use crate::support::client::{self, Blocking, Failure};
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Server, Setup};
use crate::support::timed;

#[test]
fn a_request_that_takes_too_long_is_answered_with_504_and_its_neighbours_are_not() {
    let server = Setup::new()
        .set("workers.count", 1)
        .set("http.request_timeout", "1s")
        .start();
    let neighbour = client::get_meanwhile(&server.address(), "/slow?ms=800");
    let mut connection = Blocking::open(&server.address()).unwrap();
    let (answer, took) = timed(|| connection.send(get("/slow?ms=600000")).unwrap());
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json()["code"], "request_timed_out");
    let wanted = Duration::from_millis(950)..Duration::from_secs(3);
    assert!(wanted.contains(&took), "{took:?}");
    assert_eq!(neighbour.join().unwrap().unwrap().status, 200);
    let line = server.wait_for_log(Mark::START, "the application did not answer in time");
    assert_eq!(
        (&line["method"], &line["path"], &line["worker"]),
        (&"GET".into(), &"/slow".into(), &1.into())
    );
    let age = humantime::parse_duration(line["age"].as_str().unwrap()).unwrap();
    assert!(wanted.contains(&age), "{age:?}");
    assert_eq!(
        line["request"],
        answer.headers["x-request-id"].to_str().unwrap()
    );
    // The connection goes on, and so does the worker.
    assert!(connection.get("/hello").is_ok());
    assert_eq!(server.pids().len(), 1);
}

#[test]
fn a_rule_may_have_a_time_out_of_its_own() {
    const RULES: &str = r#"
[[auth.rule]]
path = "/slow"
methods = "GET"
access = "public"
request_timeout = "300ms"
[[auth.rule]]
path = "/**"
access = "public"
request_timeout = "0s"
"#;
    let mut setup = Setup::new().set("http.request_timeout", "600ms");
    setup.config.set_auth(RULES);
    let server = setup.start();
    let (answer, took) = timed(|| client::get(&server.address(), "/slow?ms=600000"));
    assert_eq!(answer.unwrap_err(), Failure::NotSuccess(504));
    assert!(took >= Duration::from_millis(290), "{took:?}");
    let mut connection = Blocking::open(&server.address()).unwrap();
    let answer = connection.send(post("/slow?ms=900"));
    assert_eq!(answer.unwrap().status, 200);
}

/// An application with a fault, requests have 300 ms, and `GET /slow` has all the time in the world.
fn impatient() -> Setup {
    const RULES: &str = r#"
[[auth.rule]]
path = "/slow"
methods = "GET"
access = "public"
request_timeout = "0s"
[[auth.rule]]
path = "/**"
access = "public"
"#;
    let mut setup = Setup::faulty()
        .set("workers.count", 1)
        .set("http.request_timeout", "300ms")
        .set("app.faults", true);
    setup.config.set_auth(RULES);
    setup
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    let request = Request::get(path).header("host", "test");
    request.body(Empty::new()).unwrap()
}

fn post(path: &str) -> Request<Empty<Bytes>> {
    let request = Request::post(path).header("host", "test");
    request.body(Empty::new()).unwrap()
}

/// Asks for what is not answered in time, and says which request that was.
#[track_caller]
fn id_of_504(server: &Server, request: Request<Empty<Bytes>>) -> String {
    let mut connection = Blocking::open(&server.address()).unwrap();
    let answer = connection.send(request).unwrap();
    assert_eq!(answer.status, 504);
    let id = answer.headers["x-request-id"].to_str().unwrap();
    id.to_owned()
}

const STUCK: &str =
    "a request is stuck: its client has long been answered, and the application still works on it";

#[test]
fn the_worker_of_a_stuck_request_is_replaced_the_new_one_first_and_its_neighbours_finish() {
    let server = impatient().start();
    let before = server.pids();
    let neighbour = client::get_meanwhile(&server.address(), "/slow?ms=4000");
    server.until_in_flight(1);
    let load = Load::start(&server.address(), Plan::LIGHT);
    server.let_boot("wait");
    let id = id_of_504(&server, get("/fault/stuck"));
    let line = server.wait_for_log(Mark::START, STUCK);
    for (field, value) in [
        ("request", id.as_str()),
        ("method", "GET"),
        ("path", "/fault/stuck"),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["worker"], 1, "{line}");
    let age = humantime::parse_duration(line["age"].as_str().unwrap()).unwrap();
    assert!(age >= Duration::from_millis(1300), "{age:?}");
    let line = server.wait_for_log(Mark::START, "worker shall be replaced");
    assert_eq!(line["reason"], "a request is stuck");
    // The old one serves until the new one does, and still has the request.
    server.until("a replacement that boots", |status| {
        let [old, new] = status.workers.as_slice() else {
            return None;
        };
        assert_eq!((old.pid, old.state.as_str()), (before[0], "accepting"));
        let mut in_flight = old.requests_in_flight.iter();
        assert!(in_flight.any(|request| request.id == id), "{old:?}");
        (new.state == "booting").then_some(())
    });
    server.let_boot("ok");
    let line = server.wait_for_log(Mark::START, "worker finished");
    assert_eq!(line["worker"], 1, "{line}");
    assert_eq!(neighbour.join().unwrap().unwrap().status, 200);
    load.finish().assert_nothing_lost();
    assert_ne!(server.until_workers(1), before);
}

/// That nothing comes of a request is certain when something has come of a later one.
#[test]
fn a_request_that_ends_when_it_is_dropped_or_soon_after_is_not_stuck() {
    let server = impatient().start();
    for request in [post("/slow?ms=600000"), get("/fault/stuck?ms=400")] {
        id_of_504(&server, request);
    }
    let id = id_of_504(&server, get("/fault/stuck"));
    assert_eq!(server.wait_for_log(Mark::START, STUCK)["request"], id);
    assert_eq!(server.count_log(Mark::START, STUCK), 1);
}

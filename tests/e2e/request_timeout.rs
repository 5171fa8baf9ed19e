//! A request on which the application takes too long costs that request, and no other.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;

use crate::support::client::{self, Blocking, Failure};
use crate::support::journal::Mark;
use crate::support::server::Setup;
use crate::support::timed;

#[test]
fn a_request_that_takes_too_long_is_answered_with_504_and_its_neighbours_are_not() {
    let server = Setup::new()
        .set("workers.count", 1)
        .set("http.request_timeout", "1s")
        .start();
    let neighbour = client::get_meanwhile(&server.address(), "/slow?ms=800");
    let request: Request<Empty<Bytes>> = Request::get("/slow?ms=600000")
        .header("host", "test")
        .body(Empty::new())
        .unwrap();
    let mut connection = Blocking::open(&server.address()).unwrap();
    let (answer, took) = timed(|| connection.send(request).unwrap());
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
    let patient = Request::post("/slow?ms=900").header("host", "test");
    let answer = connection.send(patient.body(Empty::new()).unwrap());
    assert_eq!(answer.unwrap().status, 200);
}

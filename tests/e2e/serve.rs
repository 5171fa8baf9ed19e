//! The demo answers over HTTP/1.1, as an inspection kit should.

use crate::support::client::{self, Failure};
use crate::support::server::Setup;

#[test]
fn the_demo_answers() {
    let server = Setup::new().start();
    let address = server.address();
    let hello = client::get(&address, "/hello").unwrap();
    assert_eq!(hello.json()["message"], "hello");
    assert!(!hello.headers["x-request-id"].is_empty());
    assert_eq!(
        client::get(&address, "/big?n=3000000").unwrap().body.len(),
        3_000_000
    );
    assert_eq!(client::get(&address, "/status/204").unwrap().status, 204);
    assert_eq!(
        client::get(&address, "/status/503").unwrap_err(),
        Failure::NotSuccess(503)
    );
    assert_eq!(
        client::get(&address, "/nothing").unwrap_err(),
        Failure::NotSuccess(404)
    );
    let chunks = client::get(&address, "/stream").unwrap();
    assert!(chunks.body.starts_with(b"chunk 0\n") && chunks.body.ends_with(b"chunk 9\n"));
    let seen = client::get(&address, "/headers").unwrap();
    assert_eq!(seen.json()["headers"]["host"], "test");
    let pid = client::get(&address, "/pid").unwrap().pid().unwrap();
    assert!(server.pids().contains(&pid));
}

#[test]
fn every_worker_gets_a_share_of_the_connections() {
    for balance in ["per-worker", "shared"] {
        let server = Setup::new()
            .set("workers.count", 3)
            .set("server.balance", balance)
            .start();
        let load =
            crate::support::load::Load::start(&server.address(), crate::support::load::Plan::FIFTY);
        load.wait_for_answers(600);
        let report = load.finish();
        report.assert_nothing_lost();
        assert_eq!(report.by_pid.len(), 3, "{balance}: {report:?}");
        let least = *report.by_pid.values().min().unwrap();
        assert!(least * 12 >= report.answered, "{balance}: {report:?}");
    }
}

//! A worker that has served enough is replaced, and nobody notices.

use std::time::Duration;

use crate::support::client;
use crate::support::journal::Mark;
use crate::support::load::{Load, Plan};
use crate::support::server::{Setup, accepting};
use crate::support::{PATIENCE, eventually};

/// Workers that shall go are many, and each boot takes a second: at no time are there fewer than there shall be.
#[test]
fn workers_that_served_out_are_replaced_one_by_one_and_nothing_is_lost() {
    let server = Setup::faulty()
        .set("workers.count", 4)
        .set("workers.max_requests", 60)
        .set("workers.max_requests_jitter", 10)
        .start();
    server.let_boot("slow");
    let load = Load::start(&server.address(), Plan::LIGHT);
    let mut replaced = 0;
    let mark = Mark::START;
    eventually("six replacements", || {
        let status = server.status();
        assert!(accepting(&status).len() >= 4, "{status:?}");
        let booting = status
            .workers
            .iter()
            .filter(|worker| worker.state == "booting");
        assert!(booting.count() <= 1, "{status:?}");
        replaced = server.count_log(mark, "worker finished");
        (replaced >= 6).then_some(())
    });
    let report = load.finish();
    report.assert_nothing_lost();
    let reasons = server
        .log
        .since(mark)
        .into_iter()
        .filter(|line| line["message"] == "worker shall be replaced");
    assert!(
        reasons
            .into_iter()
            .all(|line| line["reason"] == "max_requests")
    );
}

#[test]
fn a_worker_that_has_lived_long_enough_is_replaced() {
    let server = Setup::new()
        .set("workers.count", 1)
        .set("workers.max_lifetime", "300ms")
        .start();
    let first = client::get(&server.address(), "/pid").unwrap().pid();
    let line = server.wait_for_log(Mark::START, "worker shall be replaced");
    assert_eq!(line["reason"], "max_lifetime");
    eventually("another worker answers", || {
        let now = client::get(&server.address(), "/pid").unwrap().pid();
        (now != first).then_some(())
    });
}

#[test]
fn a_replacement_that_cannot_boot_leaves_the_old_worker_serving() {
    let server = Setup::faulty()
        .set("workers.count", 1)
        .set("workers.max_requests", 3)
        .start();
    server.let_boot("fail");
    let address = server.address();
    let first = client::get(&address, "/pid").unwrap().pid();
    let mark = server.log.mark();
    while server.count_log(mark, "worker cannot boot") < 2 {
        assert_eq!(client::get(&address, "/pid").unwrap().pid(), first);
    }
    server.let_boot("ok");
    let healed = server
        .log
        .wait_for(mark, PATIENCE + Duration::from_secs(30), |line| {
            line["message"] == "worker finished"
        });
    assert!(healed.is_some());
    assert_ne!(client::get(&address, "/pid").unwrap().pid(), first);
}
